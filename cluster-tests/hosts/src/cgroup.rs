//! The control groups of a host: they hold all its processes, whatever these fork, so that it can be ended or frozen as a whole.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

/// Where control groups are mounted.
const ROOT: &str = "/sys/fs/cgroup";
/// The hierarchies of version 1 that a booted systemd wants, beside the unified one.
const V1: &[&str] = &["systemd", "memory", "cpu", "cpuacct", "pids", "blkio", "freezer"];
/// How long the kernel may take to end all processes of a host.
const END: Duration = Duration::from_secs(20);
/// How often it is asked whether it has.
const LOOK: Duration = Duration::from_millis(10);

/// The hierarchies of this machine, the unified one first.
pub fn hierarchies() -> Vec<PathBuf> {
    let root = Path::new(ROOT);
    if root.join("cgroup.controllers").is_file() {
        return vec![root.to_path_buf()];
    }
    let unified = root.join("unified");
    if !unified.join("cgroup.procs").is_file() {
        return Vec::new();
    }
    let old = V1.iter().map(|name| root.join(name)).filter(|dir| dir.join("cgroup.procs").is_file());
    std::iter::once(unified).chain(old).collect()
}

/// The groups of one host.
#[derive(Clone, Debug)]
pub struct Groups {
    dirs: Vec<PathBuf>,
}

impl Groups {
    /// The groups of that name, there or not.
    pub fn named(name: &str) -> Self {
        Self { dirs: hierarchies().into_iter().map(|dir| dir.join(format!("redoubt-hosts-{name}"))).collect() }
    }

    /// Makes them and puts the calling process in.
    pub fn enter(&self) -> Result<()> {
        for dir in &self.dirs {
            fs::create_dir_all(dir).with_context(|| dir.display().to_string())?;
            let procs = dir.join("cgroup.procs");
            fs::write(&procs, std::process::id().to_string()).with_context(|| procs.display().to_string())?;
        }
        Ok(())
    }

    fn unified(&self) -> Result<&PathBuf> {
        self.dirs.first().context("this machine has no control groups")
    }

    /// Whether a process is left.
    pub fn is_alive(&self) -> bool {
        let events = self.unified().and_then(|dir| Ok(fs::read_to_string(dir.join("cgroup.events"))?));
        events.is_ok_and(|text| text.lines().any(|line| line == "populated 1"))
    }

    /// Stops or goes on with every process.
    pub fn freeze(&self, stop: bool) -> Result<()> {
        let path = self.unified()?.join("cgroup.freeze");
        fs::write(&path, if stop { "1" } else { "0" }).with_context(|| path.display().to_string())
    }

    /// Ends every process at once, and waits until none is left.
    pub fn kill(&self) -> Result<()> {
        let dir = self.unified()?;
        if !dir.exists() {
            return Ok(());
        }
        let path = dir.join("cgroup.kill");
        fs::write(&path, "1").with_context(|| path.display().to_string())?;
        let end = Instant::now() + END;
        while self.is_alive() {
            if Instant::now() >= end {
                bail!("{}: its processes do not end", dir.display());
            }
            std::thread::sleep(LOOK);
        }
        Ok(())
    }

    /// Removes the groups, innermost first. What is left of them holds no process.
    pub fn remove(&self) {
        self.dirs.iter().for_each(|dir| remove(dir));
    }
}

fn remove(dir: &Path) {
    for entry in fs::read_dir(dir).into_iter().flatten().flatten() {
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            remove(&entry.path());
        }
    }
    // A group that is gone, or that the kernel still takes down, harms nobody.
    let _ = fs::remove_dir(dir);
}
