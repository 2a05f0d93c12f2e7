//! `redoubt dev wipe`: empties devices of a node that does not run, as if each had been replaced by a new one. The node is filled again after its
//! next start.

use std::path::PathBuf;

use ha_api::config::NodeConfig;
use serde_json::json;

use super::Service;
use super::cluster::{ClusterFile, NodeFile};
use super::lock::Lock;
use super::process::{adopt, running};
use crate::cli::exit::{Exit, Failure};
use crate::cli::{Common, output};

/// Arguments of `dev wipe`.
#[derive(clap::Args)]
pub struct Arguments {
    /// The node, as node-2; its storage process must not run
    node: String,
    /// Only this device, by its number
    #[arg(long)]
    device: Option<u32>,
}

/// Runs the verb.
pub async fn run(common: &Common, arguments: &Arguments) -> Result<(), Failure> {
    let file = ClusterFile::read(&common.dir)?;
    let node = file.node(&arguments.node)?;
    let _lock = Lock::take(&file.dir, super::LOCK_PATIENCE).await?;
    adopt(&file)?;
    if running(&file, node, Service::Node).is_some() {
        let what = format!("{} runs: `redoubt dev kill {} --only node` first", node.name, node.name);
        return Err(Failure::new(Exit::Condition, what));
    }
    let devices = devices(&file, node, arguments.device)?;
    empty(&devices)?;
    let paths: Vec<String> = devices.iter().map(|device| device.display().to_string()).collect();
    output::value(common.output, &json!({"wiped": paths}), || format!("{} devices are empty now", paths.len()))
}

/// The directories of a node's devices, or of one of them.
pub fn devices(file: &ClusterFile, node: &NodeFile, wanted: Option<u32>) -> Result<Vec<PathBuf>, Failure> {
    let path = file.config(node, Service::Node);
    let config = NodeConfig::load(&path).map_err(|e| Failure::other(format!("{}: {e}", path.display())))?;
    let chosen = |id: u32| wanted.is_none_or(|wanted| wanted == id);
    let devices: Vec<PathBuf> = config.devices.into_iter().filter(|device| chosen(device.id.0)).map(|device| device.path).collect();
    if devices.is_empty() {
        return Err(Failure::new(Exit::NotFound, format!("{} has no such device", node.name)));
    }
    Ok(devices)
}

/// Nothing is in these directories any more.
pub fn empty(devices: &[PathBuf]) -> Result<(), Failure> {
    for device in devices {
        std::fs::remove_dir_all(device).map_err(|e| Failure::io(device.display(), &e))?;
        std::fs::create_dir(device).map_err(|e| Failure::io(device.display(), &e))?;
    }
    Ok(())
}
