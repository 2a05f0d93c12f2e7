//! `redoubt dev up`: creates and starts a local cluster, or starts one that is there again, and waits until it serves.

use std::time::Duration;

use client::{Client, Options};
use ha_api::config::Factor;
use serde_json::{Value, json};
use tokio::time::Instant;
use types::map::ClusterMap;
use types::state::ProcessState;

use super::cluster::ClusterFile;
use super::plan::{Wish, create};
use super::process::{self, running};
use crate::cli::exit::{Exit, Failure};
use crate::cli::pool::is_ready;
use crate::cli::{Common, output};

/// How often the cluster is asked whether it serves.
const LOOK_INTERVAL: Duration = Duration::from_millis(50);

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
        if running(&file, node, service).is_none() {
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

/// Waits until every node is ONLINE and every group takes writes; an error as soon as a process has ended.
async fn wait_until_serving(file: &ClusterFile, deadline: Instant) -> Result<(), Failure> {
    let mut client = None;
    loop {
        if let Some((node, service)) = file.services().find(|(node, service)| running(file, node, *service).is_none()) {
            let log = process::log_tail(file, node, service);
            return Err(Failure::other(format!("{} of {} has ended; its log says\n{log}", service.executable(), node.name)));
        }
        let missing = match look(file, &mut client).await {
            Ok(None) => return Ok(()),
            Ok(Some(words)) => words,
            Err(error) => error.message,
        };
        if Instant::now() >= deadline {
            let hint = format!("look at the logs in {}/node-*/", file.dir.display());
            return Err(Failure::new(Exit::Unavailable, format!("the cluster does not serve in time: {missing}; {hint}")));
        }
        tokio::time::sleep(LOOK_INTERVAL).await;
    }
}

/// What is missing before the cluster serves; `None` where nothing is.
async fn look(file: &ClusterFile, client: &mut Option<Client>) -> Result<Option<String>, Failure> {
    if client.is_none() {
        let options = Options { timeout: Duration::from_secs(2), ..Options::default() };
        *client = Some(Client::connect(&file.ha, options).await?);
    }
    let Some(client) = client else { return Ok(Some("no client".into())) };
    let map = client.map(Duration::ZERO).await?;
    Ok(missing(&map, file.nodes.len()))
}

fn missing(map: &ClusterMap, nodes: usize) -> Option<String> {
    let online = map.nodes.values().filter(|node| node.state == ProcessState::Online).count();
    if online < nodes {
        return Some(format!("{online} of {nodes} nodes are ONLINE"));
    }
    let ready = map.groups.values().filter(|group| is_ready(map, group)).count();
    if map.groups.is_empty() || ready < map.groups.len() {
        return Some(format!("{ready} of {} groups are ready", map.groups.len()));
    }
    None
}
