//! `redoubt dev add`: one more node for a local cluster that runs.

use std::time::Duration;

use ha_api::HaError;
use serde_json::json;
use tokio::time::Instant;
use types::NodeId;
use types::state::ProcessState;

use super::Service;
use super::cluster::NodeFile;
use super::plan;
use super::process;
use crate::cli::exit::{Exit, Failure};
use crate::cli::{Common, output};

/// How often HA is asked whether the node is ONLINE.
const LOOK_INTERVAL: Duration = Duration::from_millis(50);

/// Arguments of `dev add`.
#[derive(clap::Args)]
pub struct Arguments {
    /// Size of each device for objects, as 512MiB or 4GiB [default: as those of the first node]
    #[arg(long, value_name = "SIZE", value_parser = crate::cli::size::parse)]
    device_bytes: Option<u64>,
    /// How long to wait until the node is ONLINE
    #[arg(long, default_value_t = 60, value_name = "SECONDS")]
    wait: u64,
}

/// Runs the verb. What an earlier one left half done is gone on with.
pub async fn run(common: &Common, arguments: &Arguments) -> Result<(), Failure> {
    let began = Instant::now();
    let (mut file, _lock) = super::alone_with(common).await?;
    let ha = super::ha_at(&file.ha, "redoubt dev add")?;
    let failed = |e: HaError| Failure::from(&e);
    let state_of = async |node: &NodeFile| Ok::<_, HaError>(ha.status().await?.map.nodes.get(&NodeId(node.id)).map(|known| known.state));
    let last = file.nodes.last().cloned().ok_or_else(|| Failure::other("a cluster without nodes"))?;
    let node = if state_of(&last).await.map_err(failed)? == Some(ProcessState::Unknown) {
        last
    } else {
        let (node, config) = plan::add(&file, arguments.device_bytes)?;
        let entry = config.topology.node_named(&node.name).ok_or_else(|| Failure::other("a node that was planned is not declared"))?;
        let devices: Vec<_> = config.topology.devices.iter().filter(|device| device.node == node.name).cloned().collect();
        ha.add_node(entry, &devices, false).await.map_err(failed)?;
        file.ha.push(node.ha.clone());
        file.nodes.push(node.clone());
        file.write()?;
        node
    };
    for service in [Service::Ha, Service::Node] {
        if process::settled(&file, &node, service).await?.is_none() {
            process::start(&file, &node, service)?;
        }
    }
    let deadline = began + Duration::from_secs(arguments.wait);
    loop {
        let state = state_of(&node).await;
        if matches!(state, Ok(Some(ProcessState::Online))) {
            break;
        }
        if Instant::now() >= deadline {
            let word = state.map_or_else(|e| e.to_string(), |s| s.map_or_else(|| "unknown".into(), |s| s.to_string()));
            let words = format!("{} is not ONLINE ({word}): look at the logs in {}", node.name, file.node_dir(&node).display());
            return Err(Failure::new(Exit::Unavailable, format!("{words}; the same command goes on")));
        }
        tokio::time::sleep(LOOK_INTERVAL).await;
    }
    let value = json!({ "node": node.name, "ha": node.ha, "fabric": node.fabric, "seconds": began.elapsed().as_secs_f64() });
    output::value(common.output, &value, || {
        format!("{} is ONLINE after {:.1} s; `ha rebalance status` shows how it gets its share", node.name, began.elapsed().as_secs_f64())
    })
}
