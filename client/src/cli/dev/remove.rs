//! `redoubt dev remove`: a node leaves a local cluster that runs.

use std::time::Duration;

use ha_api::pb::NodeWish;
use serde_json::json;
use tokio::time::Instant;
use types::NodeId;

use super::Service;
use super::down::stop;
use super::process;
use crate::cli::exit::{Exit, Failure};
use crate::cli::{Common, output};

/// How often HA is asked whether the node is gone.
const LOOK_INTERVAL: Duration = Duration::from_millis(200);

/// Arguments of `dev remove`.
#[derive(clap::Args)]
pub struct Arguments {
    /// The node, as node-2
    node: String,
    /// How long to wait until what it has is elsewhere
    #[arg(long, default_value_t = 3600, value_name = "SECONDS")]
    wait: u64,
}

/// Runs the verb. Broken off, it goes on when it is called again; `ha node keep` takes it back until then.
pub async fn run(common: &Common, arguments: &Arguments) -> Result<(), Failure> {
    let began = Instant::now();
    let (mut file, _lock) = super::alone_with(common).await?;
    let node = file.node(&arguments.node)?.clone();
    let id = NodeId(node.id);
    let others: Vec<String> = file.ha.iter().filter(|address| **address != node.ha).cloned().collect();
    let ha = super::ha_at(&others, "redoubt dev remove")?;
    let is_there = async || Ok::<_, ha_api::HaError>(ha.status().await?.map.nodes.contains_key(&id));
    if is_there().await.map_err(|e| Failure::from(&e))? {
        ha.ask_node(id, NodeWish::Remove, false).await.map_err(|e| Failure::from(&e))?;
    }
    let deadline = began + Duration::from_secs(arguments.wait);
    while is_there().await.unwrap_or(true) {
        if Instant::now() >= deadline {
            let words = format!("{} still has something: `ha repair status` shows how far it is; say the same again to go on", node.name);
            return Err(Failure::new(Exit::Unavailable, words));
        }
        tokio::time::sleep(LOOK_INTERVAL).await;
    }
    let running: Vec<_> = [Service::Node, Service::Ha].into_iter().filter_map(|service| process::running(&file, &node, service)).collect();
    stop(&running).await?;
    file.ha.retain(|address| *address != node.ha);
    file.last_removed = file.last_removed.max(node.id);
    file.nodes.retain(|known| known.id != node.id);
    file.write()?;
    let value = json!({ "node": node.name, "seconds": began.elapsed().as_secs_f64() });
    output::value(common.output, &value, || {
        let dir = file.node_dir(&node);
        format!("{} is removed after {:.1} s; {} may be deleted", node.name, began.elapsed().as_secs_f64(), dir.display())
    })
}
