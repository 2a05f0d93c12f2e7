//! `redoubt dev`: a cluster on this machine, of real processes with their own directories, to try things on and to break.

mod add;
pub mod cluster;
mod down;
mod kill;
mod lock;
pub mod plan;
mod process;
mod remove;
mod replace;
mod start;
mod status;
mod up;
mod wipe;

use std::time::Duration;

use super::Common;
use super::exit::Failure;
use cluster::{ClusterFile, NodeFile};
use ha_api::{ClientOptions, HaClient};
use lock::Lock;
use process::Service;

/// How long a command waits for another one that works on the same directory.
const LOCK_PATIENCE: Duration = Duration::from_secs(10);
/// How long an answer of HA to a verb that changes the cluster may take.
const ANSWER: Duration = Duration::from_secs(5);

/// Verbs on the local cluster.
#[derive(clap::Subcommand)]
pub enum Verb {
    /// Creates and starts a cluster, or starts one that is there again
    Up(up::Arguments),
    /// Stops all of it; the data stays
    Down(down::Arguments),
    /// Shows what runs, and what HA says of it
    Status,
    /// Adds a node to the cluster that runs
    Add(add::Arguments),
    /// Removes a node from the cluster that runs: what it has moves to others first
    Remove(remove::Arguments),
    /// Makes a node new hardware of its name: blank disks, filled by the others
    Replace(replace::Arguments),
    /// Sends a signal to the processes of a node
    Kill(kill::Arguments),
    /// Starts what does not run of a node
    Start(start::Arguments),
    /// Empties devices of a node that does not run, as if they were new
    Wipe(wipe::Arguments),
}

/// Which of a node's two processes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Only {
    /// The storage process.
    Node,
    /// The HA daemon.
    Ha,
}

/// Which nodes of the cluster.
#[derive(clap::Args)]
pub struct Nodes {
    /// Nodes, as node-2
    #[arg(required_unless_present = "all", conflicts_with = "all")]
    nodes: Vec<String>,
    /// All nodes
    #[arg(long)]
    all: bool,
    /// Only this one of a node's two processes
    #[arg(long, value_enum)]
    only: Option<Only>,
}

impl Nodes {
    /// The processes that are meant.
    fn services<'a>(&self, file: &'a ClusterFile) -> Result<Vec<(&'a NodeFile, Service)>, Failure> {
        let nodes: Vec<&NodeFile> =
            if self.all { file.nodes.iter().collect() } else { self.nodes.iter().map(|n| file.node(n)).collect::<Result<_, _>>()? };
        let services = match self.only {
            None => &[Service::Ha, Service::Node][..],
            Some(Only::Ha) => &[Service::Ha],
            Some(Only::Node) => &[Service::Node],
        };
        Ok(nodes.into_iter().flat_map(|node| services.iter().map(move |service| (node, *service))).collect())
    }
}

/// The cluster as it is while nobody else changes it: until the lock is dropped.
async fn alone_with(common: &Common) -> Result<(ClusterFile, Lock), Failure> {
    ClusterFile::read(&common.dir)?;
    let lock = Lock::take(&common.dir, LOCK_PATIENCE).await?;
    let file = ClusterFile::read(&common.dir)?;
    process::adopt(&file)?;
    Ok((file, lock))
}

/// HA at these addresses, for a verb that changes the cluster.
fn ha_at(addresses: &[String], name: &str) -> Result<HaClient, Failure> {
    let options = ClientOptions { name: name.into(), deadline: ANSWER, ..ClientOptions::default() };
    HaClient::with_options(addresses, options).map_err(|e| Failure::other(e.to_string()))
}

/// The pids of all processes of the cluster that run.
pub fn pids(file: &ClusterFile) -> Vec<u32> {
    file.services().filter_map(|(node, service)| process::running(file, node, service)).map(|running| running.pid).collect()
}

/// Runs a verb.
pub async fn run(common: &Common, verb: Verb) -> Result<(), Failure> {
    match verb {
        Verb::Up(arguments) => up::run(common, arguments).await,
        Verb::Down(arguments) => down::run(common, &arguments).await,
        Verb::Status => status::run(common).await,
        Verb::Add(arguments) => add::run(common, &arguments).await,
        Verb::Remove(arguments) => remove::run(common, &arguments).await,
        Verb::Replace(arguments) => replace::run(common, &arguments).await,
        Verb::Kill(arguments) => kill::run(common, &arguments).await,
        Verb::Start(arguments) => start::run(common, &arguments).await,
        Verb::Wipe(arguments) => wipe::run(common, &arguments).await,
    }
}
