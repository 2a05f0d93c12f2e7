//! Signals straight to the processes of a cluster, several at one moment: a command's start would come between the clock and the signal.

use std::collections::BTreeMap;
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result};
pub use rustix::process::Signal;
use rustix::process::{Pid, kill_process};

use super::Cluster;

/// When something was done, on both clocks: the monotonic one for what is measured here, this machine's wall clock for what is compared with
/// HA's events. All processes of a local cluster read the same two.
#[derive(Clone, Copy, Debug)]
pub struct Moment {
    /// Monotonic.
    pub at: Instant,
    /// Milliseconds since 1970.
    pub wall_ms: u64,
}

impl Moment {
    /// Now.
    pub fn now() -> Self {
        let wall = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |d| u64::try_from(d.as_millis()).unwrap_or(u64::MAX));
        Self { at: Instant::now(), wall_ms: wall }
    }
}

/// The processes of one node that run.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Pids {
    /// The storage process.
    pub node: Option<u32>,
    /// The HA daemon.
    pub ha: Option<u32>,
}

impl Pids {
    /// Both, where they run.
    pub fn both(self) -> Vec<u32> {
        self.node.into_iter().chain(self.ha).collect()
    }
}

impl Cluster {
    /// Which processes run, by the name of their node.
    pub fn pids(&self) -> Result<BTreeMap<String, Pids>> {
        let status = self.json(&["dev", "status"])?;
        let nodes = status["nodes"].as_array().context("`dev status` gives nodes")?;
        let pid = |value: &serde_json::Value| value.as_u64().and_then(|pid| u32::try_from(pid).ok());
        let row = |node: &serde_json::Value| {
            Some((node["name"].as_str()?.to_string(), Pids { node: pid(&node["node_pid"]), ha: pid(&node["ha_pid"]) }))
        };
        nodes.iter().map(|node| row(node).context("a node has a name")).collect()
    }

    /// The processes of one node.
    pub fn pids_of(&self, node: &str) -> Result<Pids> {
        self.pids()?.get(node).copied().with_context(|| format!("there is no {node}"))
    }
}

/// Sends a signal to all these processes, one right after the other; gives the moment just before the first.
pub fn send(pids: &[u32], signal: Signal) -> Result<Moment> {
    let pids: Vec<Pid> = pids.iter().map(|pid| i32::try_from(*pid).ok().and_then(Pid::from_raw).context("a pid")).collect::<Result<_>>()?;
    let moment = Moment::now();
    for pid in pids {
        kill_process(pid, signal).with_context(|| format!("{signal:?} to process {pid:?}"))?;
    }
    Ok(moment)
}
