//! Real processes: a cluster of the product's own binaries on loopback, driven only through its command lines.
//!
//! What is measured here is what a user sees. Every command has a deadline; dropping a [`Cluster`] stops its processes and removes its
//! directory. The binaries are those beside the test's own (`make build` makes them).

mod command;
mod files;

pub use command::{Run, run};
pub use files::{Pattern, compare_trees, copy_some_files};

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use serde_json::Value;

/// How long any single command may take here, unless a test says otherwise.
pub const COMMAND_SECONDS: u64 = 60;

/// A running cluster.
pub struct Cluster {
    /// Its directory.
    pub dir: PathBuf,
    bin: PathBuf,
    keep: bool,
}

/// The directory of the product's binaries: the one this executable was built into.
pub fn binaries() -> Result<PathBuf> {
    let own = std::env::current_exe().context("where am I")?;
    let dir = own
        .ancestors()
        .skip(1)
        .find(|dir| dir.join("redoubt").is_file())
        .with_context(|| format!("no `redoubt` beside {}: run `make build` first", own.display()))?;
    for name in ["redoubt", "redoubt-node", "redoubt-ha", "ha"] {
        if !dir.join(name).is_file() {
            bail!("no `{name}` in {}: run `make build` first", dir.display());
        }
    }
    Ok(dir.to_path_buf())
}

impl Cluster {
    /// Starts a fresh cluster of `nodes` nodes in a directory of its own and waits until it serves.
    pub fn up(nodes: u32, more: &[&str]) -> Result<Self> {
        let dir = std::env::temp_dir().join(format!("redoubt-{}-{:x}", std::process::id(), unique()));
        let cluster = Self { dir, bin: binaries()?, keep: false };
        let count = nodes.to_string();
        let mut args = vec!["dev", "up", "--nodes", &count, "--device-bytes", "512MiB"];
        if more.contains(&"--device-bytes") {
            args.truncate(4);
        }
        args.extend_from_slice(more);
        cluster.ok(&args)?;
        Ok(cluster)
    }

    /// Keeps the directory when this is dropped, for a look at the logs.
    pub fn keep(&mut self) {
        self.keep = true;
    }

    /// Runs `redoubt ARGS` on this cluster, whatever comes of it.
    pub fn redoubt(&self, args: &[&str]) -> Result<Run> {
        self.redoubt_within(args, COMMAND_SECONDS)
    }

    /// Runs `redoubt ARGS` with another deadline.
    pub fn redoubt_within(&self, args: &[&str], seconds: u64) -> Result<Run> {
        run(&self.bin.join("redoubt"), args, &[("REDOUBT_DIR", &self.dir)], Duration::from_secs(seconds))
    }

    /// Runs `redoubt ARGS`, which has to succeed, and gives its standard output.
    pub fn ok(&self, args: &[&str]) -> Result<String> {
        self.redoubt(args)?.success()
    }

    /// Runs `redoubt ARGS --output json`, which has to succeed, and gives the value in its last line.
    pub fn json(&self, args: &[&str]) -> Result<Value> {
        let mut args = args.to_vec();
        args.extend_from_slice(&["--output", "json"]);
        last_value(&self.ok(&args)?)
    }

    /// Runs `ha ARGS --output json` likewise.
    pub fn ha(&self, args: &[&str]) -> Result<Value> {
        let mut args = args.to_vec();
        args.extend_from_slice(&["--output", "json"]);
        let run = run(&self.bin.join("ha"), &args, &[("REDOUBT_DIR", &self.dir)], Duration::from_secs(COMMAND_SECONDS))?;
        last_value(&run.success()?)
    }

    /// Kills both processes of a node with SIGKILL.
    pub fn kill(&self, node: &str) -> Result<()> {
        self.ok(&["dev", "kill", node]).map(drop)
    }

    /// Starts what is not running of a node.
    pub fn start(&self, node: &str) -> Result<()> {
        self.ok(&["dev", "start", node]).map(drop)
    }

    /// The state that HA gives a node.
    pub fn node_state(&self, node: &str) -> Result<String> {
        let list = self.ha(&["node", "list"])?;
        let nodes = list.get("nodes").unwrap_or(&list).as_array().context("`ha node list` gives a list")?;
        nodes
            .iter()
            .find(|n| n["name"] == node)
            .and_then(|n| n["state"].as_str())
            .map(String::from)
            .with_context(|| format!("{node} is not in `ha node list`: {list}"))
    }

    /// Waits until HA gives a node that state, and says how long it took.
    pub fn wait_state(&self, node: &str, state: &str, within: Duration) -> Result<Duration> {
        let began = Instant::now();
        loop {
            let now = self.node_state(node).unwrap_or_else(|e| format!("{e:#}"));
            if now == state {
                return Ok(began.elapsed());
            }
            if began.elapsed() > within {
                bail!("{node} is {now} and not {state} after {within:?}");
            }
            std::thread::sleep(Duration::from_millis(20));
        }
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        let down = self.redoubt(&["dev", "down"]).and_then(Run::success);
        if let Err(error) = down {
            eprintln!("dev down: {error:#}");
        }
        let failed = std::thread::panicking();
        if self.keep || failed || std::env::var_os("REDOUBT_KEEP").is_some() {
            eprintln!("the cluster's directory stays for a look: {}", self.dir.display());
        } else if let Err(error) = std::fs::remove_dir_all(&self.dir) {
            eprintln!("{}: {error}", self.dir.display());
        }
    }
}

/// The JSON value in the last line of an output, or in all of it.
pub fn last_value(output: &str) -> Result<Value> {
    if let Ok(value) = serde_json::from_str(output) {
        return Ok(value);
    }
    let line = output.lines().rev().find(|l| !l.trim().is_empty()).context("nothing was printed")?;
    serde_json::from_str(line).with_context(|| format!("not JSON: {line}"))
}

/// A number that no other cluster of this machine has now.
fn unique() -> u128 {
    std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).map_or(0, |d| d.as_nanos())
}

/// Resident memory of a process, in bytes.
pub fn resident_bytes(pid: u32) -> Result<u64> {
    let status = std::fs::read_to_string(Path::new("/proc").join(pid.to_string()).join("status"))?;
    let line = status.lines().find(|l| l.starts_with("VmHWM:")).context("no VmHWM")?;
    let kib: u64 = line.split_whitespace().nth(1).context("no figure")?.parse()?;
    Ok(kib * 1024)
}
