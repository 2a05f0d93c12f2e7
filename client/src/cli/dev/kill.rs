//! `redoubt dev kill`: sends a signal to the processes of a node, SIGKILL unless told otherwise.

use std::time::Duration;

use rustix::process::Signal;
use serde_json::json;

use super::Nodes;
use super::cluster::ClusterFile;
use super::process::{ended, running, signal};
use crate::cli::exit::{Exit, Failure};
use crate::cli::{Common, output};

/// How long the kernel may take to end a process.
const PATIENCE: Duration = Duration::from_secs(10);

/// Arguments of `dev kill`.
#[derive(clap::Args)]
pub struct Arguments {
    #[command(flatten)]
    nodes: Nodes,
    /// Which signal
    #[arg(long, value_enum, default_value_t = Which::Kill)]
    signal: Which,
}

/// Signals that make sense here.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
#[value(rename_all = "UPPER")]
enum Which {
    /// Ends it, at once.
    Kill,
    /// Asks it to end.
    Term,
    /// Freezes it.
    Stop,
    /// Lets it go on.
    Cont,
}

/// Runs the verb.
pub async fn run(common: &Common, arguments: &Arguments) -> Result<(), Failure> {
    let file = ClusterFile::read(&common.dir)?;
    let services = arguments.nodes.services(&file)?;
    let processes: Vec<_> = services.iter().filter_map(|(node, service)| running(&file, node, *service)).collect();
    if processes.is_empty() {
        return Err(Failure::new(Exit::NotFound, "none of these processes runs; `redoubt dev status` shows which do"));
    }
    let number = match arguments.signal {
        Which::Kill => Signal::KILL,
        Which::Term => Signal::TERM,
        Which::Stop => Signal::STOP,
        Which::Cont => Signal::CONT,
    };
    // All at once, then wait for all.
    for process in &processes {
        signal(*process, number)?;
    }
    if matches!(arguments.signal, Which::Kill | Which::Term) {
        for process in &processes {
            if !ended(*process, PATIENCE).await {
                return Err(Failure::other(format!("process {} does not end", process.pid)));
            }
        }
    }
    let pids: Vec<u32> = processes.iter().map(|process| process.pid).collect();
    output::value(common.output, &json!({"signalled": pids}), || format!("{} processes signalled", pids.len()))
}
