//! Taking processor time or memory from processes: a control group with a quota, of version 1 or 2 of the kernel's interface.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};

/// Where the quota of version 1 is.
const FIRST: &str = "/sys/fs/cgroup/cpu";
/// Where groups of version 2 are.
const SECOND: &str = "/sys/fs/cgroup";
/// Where the limit of memory of version 1 is.
const FIRST_MEMORY: &str = "/sys/fs/cgroup/memory";
/// The period that quotas are of, in microseconds.
const PERIOD: u32 = 100_000;

/// Processes that starve, as long as this lives.
pub struct Starved {
    group: PathBuf,
    home: PathBuf,
}

impl Starved {
    /// Leaves these processes that part of one processor.
    pub fn begin(name: &str, pids: &[u32], percent: u32) -> Result<Self> {
        let quota = (PERIOD / 100).saturating_mul(percent);
        let (home, file, text) = if Path::new(FIRST).join("cpu.cfs_quota_us").exists() || Path::new(FIRST).join("cgroup.procs").exists() {
            (FIRST, "cpu.cfs_quota_us", quota.to_string())
        } else if fs::read_to_string(Path::new(SECOND).join("cgroup.controllers")).is_ok_and(|all| all.contains("cpu")) {
            (SECOND, "cpu.max", format!("{quota} {PERIOD}"))
        } else {
            bail!("this machine has no control groups with a quota of processor time: `starve` cannot be done here");
        };
        Self::enter(home, file, &text, name, pids)
    }

    /// Leaves these processes so much memory.
    pub fn squeezed(name: &str, pids: &[u32], bytes: u64) -> Result<Self> {
        let (home, file) = if Path::new(FIRST_MEMORY).join("cgroup.procs").exists() {
            (FIRST_MEMORY, "memory.limit_in_bytes")
        } else if fs::read_to_string(Path::new(SECOND).join("cgroup.controllers")).is_ok_and(|all| all.contains("memory")) {
            (SECOND, "memory.max")
        } else {
            bail!("this machine has no control groups with a limit of memory: `squeeze` cannot be done here");
        };
        Self::enter(home, file, &bytes.to_string(), name, pids)
    }

    fn enter(home: &str, file: &str, text: &str, name: &str, pids: &[u32]) -> Result<Self> {
        let home = PathBuf::from(home);
        let group = home.join(name);
        let failed = |path: &Path| format!("{}: this needs root and writable control groups", path.display());
        fs::create_dir_all(&group).with_context(|| failed(&group))?;
        let starved = Self { group: group.clone(), home };
        fs::write(group.join(file), text).with_context(|| failed(&group.join(file)))?;
        for pid in pids {
            fs::write(group.join("cgroup.procs"), pid.to_string()).with_context(|| failed(&group))?;
        }
        Ok(starved)
    }
}

impl Drop for Starved {
    fn drop(&mut self) {
        let left = fs::read_to_string(self.group.join("cgroup.procs")).unwrap_or_default();
        for pid in left.lines() {
            // One that has ended meanwhile starves no more.
            let _ = fs::write(self.home.join("cgroup.procs"), pid);
        }
        if let Err(error) = fs::remove_dir(&self.group) {
            eprintln!("{}: {error}", self.group.display());
        }
    }
}
