//! `redoubt dev down`: stops every process of a local cluster; nothing of it is left running.

use std::time::Duration;

use rustix::process::Signal;
use serde_json::json;

use super::Service;
use super::cluster::ClusterFile;
use super::process::{Running, ended, running, signal};
use crate::cli::exit::{Exit, Failure};
use crate::cli::{Common, output};

/// How long a process may take to end by itself.
const PATIENCE: Duration = Duration::from_secs(5);
/// How long the kernel may take to end it.
const KILL_PATIENCE: Duration = Duration::from_secs(10);

/// Arguments of `dev down`.
#[derive(clap::Args)]
pub struct Arguments {
    /// Remove the directory with all data too
    #[arg(long)]
    purge: bool,
}

/// Runs the verb.
pub async fn run(common: &Common, arguments: &Arguments) -> Result<(), Failure> {
    let file = ClusterFile::read(&common.dir)?;
    let mut stopped = 0;
    // Storage processes first: they have somebody to tell that they go.
    for service in [Service::Node, Service::Ha] {
        let processes: Vec<Running> = file.nodes.iter().filter_map(|node| running(&file, node, service)).collect();
        for process in &processes {
            signal(*process, Signal::TERM)?;
            signal(*process, Signal::CONT)?;
        }
        for process in processes {
            stop(process).await?;
            stopped += 1;
        }
    }
    if arguments.purge {
        std::fs::remove_dir_all(&file.dir).map_err(|e| Failure::io(file.dir.display(), &e))?;
    }
    output::value(common.output, &json!({"stopped": stopped}), || format!("{stopped} processes stopped"))
}

async fn stop(process: Running) -> Result<(), Failure> {
    if ended(process, PATIENCE).await {
        return Ok(());
    }
    signal(process, Signal::KILL)?;
    if ended(process, KILL_PATIENCE).await {
        return Ok(());
    }
    Err(Failure::new(Exit::Failure, format!("process {} does not end", process.pid)))
}
