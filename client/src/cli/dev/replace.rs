//! `redoubt dev replace`: a node of a local cluster becomes new hardware of its name: its processes end, its disks and the store of its HA daemon
//! are blank, it starts again and is filled.

use std::time::Duration;

use ha_api::config::HaConfig;
use ha_api::pb::NodeWish;
use ha_api::{HaClient, HaError, ReplacementStep};
use serde_json::json;
use tokio::time::Instant;
use types::NodeId;

use super::Service;
use super::cluster::{ClusterFile, NodeFile};
use super::down::stop;
use super::{process, wipe};
use crate::cli::exit::{Exit, Failure};
use crate::cli::{Common, output};

/// How often HA is asked how far it is.
const LOOK_INTERVAL: Duration = Duration::from_millis(100);

/// Arguments of `dev replace`.
#[derive(clap::Args)]
pub struct Arguments {
    /// The node, as node-2
    node: String,
    /// How long to wait until nothing is missing on it
    #[arg(long, default_value_t = 600, value_name = "SECONDS")]
    wait: u64,
}

/// Runs the verb. Broken off, it goes on when it is called again.
pub async fn run(common: &Common, arguments: &Arguments) -> Result<(), Failure> {
    let began = Instant::now();
    let (file, _lock) = super::alone_with(common).await?;
    let node = file.node(&arguments.node)?;
    let id = NodeId(node.id);
    let others: Vec<String> = file.ha.iter().filter(|address| **address != node.ha).cloned().collect();
    let ha = super::ha_at(&others, "redoubt dev replace")?;
    ha.ask_node(id, NodeWish::Replace, false).await.map_err(|e| Failure::from(&e))?;
    let deadline = began + Duration::from_secs(arguments.wait);
    if step_of(&ha, id).await.map_err(|e| Failure::from(&e))?.is_some_and(|step| step < ReplacementStep::Awaited) {
        let running: Vec<_> = [Service::Node, Service::Ha].into_iter().filter_map(|s| process::running(&file, node, s)).collect();
        stop(&running).await?;
        wait(&ha, id, deadline, |step| step.is_none_or(|step| step >= ReplacementStep::Awaited)).await?;
    }
    if step_of(&ha, id).await.map_err(|e| Failure::from(&e))? == Some(ReplacementStep::Awaited) && !runs(&file, node) {
        blank(&file, node)?;
    }
    for service in [Service::Ha, Service::Node] {
        if process::settled(&file, node, service).await?.is_none() {
            process::start(&file, node, service)?;
        }
    }
    wait(&ha, id, deadline, |step| step.is_none()).await?;
    let seconds = began.elapsed().as_secs_f64();
    output::value(common.output, &json!({ "node": node.name, "seconds": seconds }), || {
        format!("{} is new, and nothing is missing on it, after {seconds:.1} s", node.name)
    })
}

fn runs(file: &ClusterFile, node: &NodeFile) -> bool {
    [Service::Node, Service::Ha].into_iter().any(|service| process::running(file, node, service).is_some())
}

/// New disks, and nothing that its HA daemon knew.
fn blank(file: &ClusterFile, node: &NodeFile) -> Result<(), Failure> {
    wipe::empty(&wipe::devices(file, node, None)?)?;
    let path = file.config(node, Service::Ha);
    let store = HaConfig::load(&path).map_err(|e| Failure::other(e.to_string()))?.dir;
    match std::fs::remove_dir_all(&store) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(Failure::io(store.display(), &error)),
        _ => Ok(()),
    }
}

async fn step_of(ha: &HaClient, id: NodeId) -> Result<Option<ReplacementStep>, HaError> {
    Ok(ha.status().await?.replacing.get(&id).map(|going| going.step))
}

async fn wait(ha: &HaClient, id: NodeId, deadline: Instant, is_so: impl Fn(Option<ReplacementStep>) -> bool) -> Result<(), Failure> {
    loop {
        let step = step_of(ha, id).await;
        if matches!(step, Ok(step) if is_so(step)) {
            return Ok(());
        }
        if Instant::now() >= deadline {
            let word = step.map_or_else(|e| e.to_string(), |step| step.map_or("", ReplacementStep::word).into());
            let words = format!("not done in time ({word}): `ha node show {id}` says how far it is; the same command goes on");
            return Err(Failure::new(Exit::Unavailable, words));
        }
        tokio::time::sleep(LOOK_INTERVAL).await;
    }
}
