//! `redoubt dev start`: starts what does not run of a node, and lets go on what is frozen.

use rustix::process::Signal;
use serde_json::json;

use super::Nodes;
use super::cluster::ClusterFile;
use super::lock::Lock;
use super::process::{self, signal};
use crate::cli::exit::Failure;
use crate::cli::{Common, output};

/// Arguments of `dev start`.
#[derive(clap::Args)]
pub struct Arguments {
    #[command(flatten)]
    nodes: Nodes,
}

/// Runs the verb.
pub async fn run(common: &Common, arguments: &Arguments) -> Result<(), Failure> {
    let file = ClusterFile::read(&common.dir)?;
    let _lock = Lock::take(&file.dir, super::LOCK_PATIENCE).await?;
    process::adopt(&file)?;
    let mut started = Vec::new();
    for (node, service) in arguments.nodes.services(&file)? {
        match process::settled(&file, node, service).await? {
            Some(process) if process.is_stopped => signal(process, Signal::CONT)?,
            Some(_) => {}
            None => started.push(process::start(&file, node, service)?),
        }
    }
    output::value(common.output, &json!({"started": started}), || {
        format!("{} processes started; `ha status` shows how they do", started.len())
    })
}
