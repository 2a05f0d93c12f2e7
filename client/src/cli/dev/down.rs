//! `redoubt dev down`: stops every process of a local cluster; nothing of it is left running.

use std::path::Path;
use std::time::Duration;

use rustix::process::Signal;
use serde_json::json;

use super::Service;
use super::cluster::ClusterFile;
use super::lock::Lock;
use super::process::{Running, ended, running_below, signal};
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
    // A `dev up` that was ended at its begin has no `cluster.json` yet: what runs counts.
    if let Err(failure) = ClusterFile::read(&common.dir)
        && [Service::Node, Service::Ha].iter().all(|service| running_below(&common.dir, *service).is_empty())
    {
        return Err(failure);
    }
    let _lock = Lock::take(&common.dir, super::LOCK_PATIENCE).await?;
    let stopped = stop_all(&common.dir).await?;
    if arguments.purge {
        std::fs::remove_dir_all(&common.dir).map_err(|e| Failure::io(common.dir.display(), &e))?;
    }
    output::value(common.output, &json!({"stopped": stopped}), || format!("{stopped} processes stopped"))
}

/// Stops whatever runs for that directory: what the processes were started with says so, not their pid files. Gives how many there were.
async fn stop_all(dir: &Path) -> Result<usize, Failure> {
    let mut stopped = 0;
    // Storage processes first: they have somebody to tell that they go.
    for service in [Service::Node, Service::Ha] {
        let processes: Vec<Running> = running_below(dir, service).into_iter().map(|(process, _)| process).collect();
        stopped += processes.len();
        stop(&processes).await?;
    }
    Ok(stopped)
}

/// Stops processes: all are asked to end at once, and ended where they do not.
pub async fn stop(processes: &[Running]) -> Result<(), Failure> {
    for process in processes {
        signal(*process, Signal::TERM)?;
        signal(*process, Signal::CONT)?;
    }
    for process in processes {
        if ended(*process, PATIENCE).await {
            continue;
        }
        signal(*process, Signal::KILL)?;
        if !ended(*process, KILL_PATIENCE).await {
            return Err(Failure::new(Exit::Failure, format!("process {} does not end", process.pid)));
        }
    }
    Ok(())
}
