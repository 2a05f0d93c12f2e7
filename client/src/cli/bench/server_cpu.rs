//! CPU time of the cluster's processes, from `/proc`: what an operation costs, whoever else uses the machine.

use crate::cli::Common;
use crate::cli::dev::cluster::ClusterFile;
use crate::cli::dev::pids;

/// What `/proc` counts in: fixed by the kernel's interface, whatever its own clock.
const TICKS_PER_SECOND: f64 = 100.0;

/// Processes whose CPU time is looked at.
pub struct ServerCpu(Vec<u32>);

impl ServerCpu {
    /// The processes of the local cluster; none where the cluster is elsewhere.
    pub fn of(common: &Common) -> Self {
        if !common.ha.is_empty() {
            return Self(Vec::new());
        }
        Self(ClusterFile::read(&common.dir).map(|file| pids(&file)).unwrap_or_default())
    }

    /// These processes.
    pub fn these(pids: Vec<u32>) -> Self {
        Self(pids)
    }

    /// This process.
    pub fn own() -> Self {
        Self(vec![std::process::id()])
    }

    /// CPU seconds of all of them so far.
    pub fn seconds(&self) -> Option<f64> {
        if self.0.is_empty() {
            return None;
        }
        let ticks: u64 = self.0.iter().filter_map(|pid| ticks(*pid)).sum();
        Some(ticks as f64 / TICKS_PER_SECOND)
    }
}

/// User and system time of a process, in ticks.
fn ticks(pid: u32) -> Option<u64> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let (_, rest) = stat.rsplit_once(") ")?;
    let mut fields = rest.split(' ').skip(11);
    let mut next = || fields.next()?.parse::<u64>().ok();
    Some(next()? + next()?)
}
