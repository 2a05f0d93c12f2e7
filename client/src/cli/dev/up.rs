//! `redoubt dev up`: creates and starts a local cluster, or starts one that is there again, and waits until it serves.

use std::time::Duration;

use ha_api::config::Factor;
use ha_api::{ClientOptions, HaClient, Status};
use serde_json::{Value, json};
use tokio::time::Instant;
use types::NodeId;
use types::state::ProcessState;

use super::cluster::{ClusterFile, NodeFile};
use super::plan::{Wish, create};
use super::process::{self, running};
use crate::cli::exit::{Exit, Failure};
use crate::cli::pool::is_ready;
use crate::cli::{Common, output};

/// How often the cluster is asked whether it serves.
const LOOK_INTERVAL: Duration = Duration::from_millis(50);
/// How long it may take to answer that.
const LOOK_DEADLINE: Duration = Duration::from_secs(2);

/// Arguments of `dev up`.
#[derive(clap::Args)]
pub struct Arguments {
    /// How many nodes
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u16).range(3..=36))]
    nodes: u16,
    /// Disk groups of each node, with one device each
    #[arg(long, default_value_t = 2, value_parser = clap::value_parser!(u16).range(2..=16))]
    disk_groups: u16,
    /// Size of each device for objects, as 512MiB or 4GiB [default: 2GiB, or less where less is free]
    #[arg(long, value_name = "SIZE", value_parser = crate::cli::size::parse)]
    device_bytes: Option<u64>,
    /// By what HA's times are scaled: 1, or 2 on a busy machine
    #[arg(long, default_value_t = 1.0, env = "REDOUBT_DEV_FACTOR")]
    factor: f64,
    /// How long to wait until the cluster serves
    #[arg(long, default_value_t = 60, value_name = "SECONDS")]
    wait: u64,
}

/// Runs the verb.
pub async fn run(common: &Common, arguments: Arguments) -> Result<(), Failure> {
    let began = Instant::now();
    for service in [super::Service::Ha, super::Service::Node] {
        process::executable(service)?;
    }
    let file = if ClusterFile::path(&common.dir).exists() {
        ClusterFile::read(&common.dir)?
    } else {
        let factor = Factor::new(arguments.factor).ok_or_else(|| Failure::usage("a factor is 0.1 to 100"))?;
        let Arguments { nodes, disk_groups, device_bytes, .. } = arguments;
        create(&common.dir, &Wish { nodes, disk_groups, device_bytes, factor })?
    };
    for (node, service) in file.services() {
        if process::settled(&file, node, service).await?.is_none() {
            process::start(&file, node, service)?;
        }
    }
    wait_until_serving(&file, began + Duration::from_secs(arguments.wait)).await?;
    let mut value = json_of(&file);
    value["seconds"] = began.elapsed().as_secs_f64().into();
    output::value(common.output, &value, || {
        let dir = file.dir.display();
        format!(
            "{} nodes serve after {:.1} s in {dir}\nHA at {}\nsay `export REDOUBT_DIR={dir}`, then `redoubt obj put FILE NAME`; `redoubt dev down` stops it",
            file.nodes.len(),
            began.elapsed().as_secs_f64(),
            file.ha.join(" ")
        )
    })
}

/// All endpoints of a cluster.
pub fn json_of(file: &ClusterFile) -> Value {
    let pid = |node, service| running(file, node, service).map(|running| running.pid);
    let nodes: Vec<Value> = file
        .nodes
        .iter()
        .map(|node| {
            json!({
                "name": node.name,
                "ha": node.ha,
                "fabric": node.fabric,
                "dir": file.node_dir(node),
                "ha_pid": pid(node, super::Service::Ha),
                "node_pid": pid(node, super::Service::Node),
            })
        })
        .collect();
    json!({"dir": file.dir, "cluster": file.cluster, "ha": file.ha, "nodes": nodes})
}

/// Waits until the process of every node is ONLINE and every group takes writes; an error as soon as a process has ended.
async fn wait_until_serving(file: &ClusterFile, deadline: Instant) -> Result<(), Failure> {
    let options = ClientOptions { name: "redoubt dev up".into(), deadline: LOOK_DEADLINE, ..ClientOptions::default() };
    let ha = HaClient::with_options(&file.ha, options).map_err(|e| Failure::other(e.to_string()))?;
    loop {
        if let Some((node, service)) = file.services().find(|(node, service)| running(file, node, *service).is_none()) {
            let log = process::log_tail(file, node, service);
            return Err(Failure::other(format!("{} of {} has ended; its log says\n{log}", service.executable(), node.name)));
        }
        let missing = match ha.status().await {
            Ok(status) => match missing(file, &status) {
                None => return Ok(()),
                Some(words) => words,
            },
            Err(error) => error.to_string(),
        };
        if Instant::now() >= deadline {
            let hint = format!("look at the logs in {}/node-*/", file.dir.display());
            return Err(Failure::new(Exit::Unavailable, format!("the cluster does not serve in time: {missing}; {hint}")));
        }
        tokio::time::sleep(LOOK_INTERVAL).await;
    }
}

/// What is missing before the cluster serves; `None` where nothing is.
///
/// After all of it was killed HA says what was so before, until it has heard of the new processes: only these count.
fn missing(file: &ClusterFile, status: &Status) -> Option<String> {
    let map = &status.map;
    let serves = |node: &&NodeFile| {
        let id = NodeId(node.id);
        let pid = running(file, node, super::Service::Node).map(|running| running.pid);
        let is_online = map.nodes.get(&id).is_some_and(|node| node.state == ProcessState::Online);
        is_online && pid.is_some() && status.nodes.get(&id).map(|known| known.pid) == pid
    };
    let (online, nodes) = (file.nodes.iter().filter(serves).count(), file.nodes.len());
    if online < nodes {
        return Some(format!("{online} of {nodes} nodes are ONLINE"));
    }
    let ready = map.groups.values().filter(|group| is_ready(map, group)).count();
    if map.groups.is_empty() || ready < map.groups.len() {
        return Some(format!("{ready} of {} groups are ready", map.groups.len()));
    }
    None
}
