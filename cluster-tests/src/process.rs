//! Real processes: a cluster of the product's own binaries on loopback, driven only through its command lines.
//!
//! What is measured here is what a user sees. Every command has a deadline; dropping a [`Cluster`] stops its processes and removes its
//! directory. The binaries are those beside the test's own (`make build` makes them). Where a command's start would be part of what is
//! measured, [`Clients`] are long-lived clients of the Rust API, [`Load`] keeps them busy, and [`Moment`] is when a signal was sent.

mod beside;
pub(crate) mod clients;
mod command;
mod events;
mod files;
mod ledger;
mod load;
mod pace;
mod signal;

pub use beside::Beside;
pub use clients::{BUCKET, Clients, INDEX, Kind, Usage};
pub use command::{Run, run};
pub use events::Event;
pub use files::{Pattern, compare_trees, copy_some_files, first_difference};
pub use ledger::{Holds, Ledger};
pub use load::{Crew, Load, Step, Verb, Worked};
pub use pace::{pressure, say, within};
pub use signal::{Moment, Pids, Signal, send};

use std::ffi::OsStr;
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
    env: Vec<(&'static str, String)>,
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
    /// A directory for a cluster, and nothing in it yet.
    pub fn new() -> Result<Self> {
        let dir = std::env::temp_dir().join(format!("redoubt-{}-{:x}", std::process::id(), unique()));
        std::fs::create_dir(&dir)?;
        Ok(Self { dir, bin: binaries()?, env: Vec::new(), keep: false })
    }

    /// Starts a fresh cluster of `nodes` nodes in a directory of its own and waits until it serves.
    pub fn up(nodes: u32, more: &[&str]) -> Result<Self> {
        Self::up_with(nodes, more, &[])
    }

    /// The same, with variables in the environment of all its processes, those that are started later too.
    pub fn up_with(nodes: u32, more: &[&str], env: &[(&'static str, &str)]) -> Result<Self> {
        let dir = std::env::temp_dir().join(format!("redoubt-{}-{:x}", std::process::id(), unique()));
        let env = env.iter().map(|(key, value)| (*key, (*value).to_string())).collect();
        let cluster = Self { dir, bin: binaries()?, env, keep: false };
        let count = nodes.to_string();
        let mut args = vec!["dev", "up", "--nodes", &count, "--device-bytes", "512MiB"];
        if more.contains(&"--device-bytes") {
            args.truncate(4);
        }
        args.extend_from_slice(more);
        cluster.ok(&args)?;
        Ok(cluster)
    }

    /// A cluster that somebody else planned in a directory; its processes are stopped and the directory is removed like those of any other.
    pub fn planned(dir: PathBuf, env: Vec<(&'static str, String)>) -> Result<Self> {
        Ok(Self { dir, bin: binaries()?, env, keep: false })
    }

    /// Where the product's binaries are.
    pub fn bin(&self) -> &Path {
        &self.bin
    }

    /// Variables in the environment of its processes.
    pub fn env(&self) -> &[(&'static str, String)] {
        &self.env
    }

    /// Puts a variable in the environment of all that is started from here on, or has none of that name there.
    pub fn set_env(&mut self, key: &'static str, value: Option<&str>) {
        self.env.retain(|(known, _)| *known != key);
        self.env.extend(value.map(|value| (key, value.to_string())));
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
        self.run_within("redoubt", args, seconds)
    }

    /// Runs one of the product's programs on this cluster.
    pub fn run_within(&self, program: &str, args: &[&str], seconds: u64) -> Result<Run> {
        let mut env: Vec<(&str, &dyn AsRef<OsStr>)> = vec![("REDOUBT_DIR", &self.dir)];
        env.extend(self.env.iter().map(|(key, value)| (*key, value as &dyn AsRef<OsStr>)));
        run(&self.bin.join(program), args, &env, Duration::from_secs(seconds))
    }

    /// Starts a program beside the cluster, with what it says in a file; it is killed when what is given is dropped.
    pub fn start_beside(&self, program: &str, args: &[&str], log: &Path) -> Result<Beside> {
        Beside::start(&self.bin.join(program), args, &self.dir, log)
    }

    /// The configurations of all processes that run for the cluster's directory, as the kernel knows them.
    pub fn running(&self) -> Result<Vec<String>> {
        let mut found = Vec::new();
        for entry in std::fs::read_dir("/proc")?.flatten() {
            // One that has ended meanwhile has none.
            let line = std::fs::read(entry.path().join("cmdline")).unwrap_or_default();
            let words: Vec<_> = line.split(|byte| *byte == 0).map(String::from_utf8_lossy).collect();
            let config = words.iter().position(|word| word == "--config").and_then(|at| words.get(at + 1));
            found.extend(config.filter(|config| Path::new(config.as_ref()).starts_with(&self.dir)).map(ToString::to_string));
        }
        Ok(found)
    }

    /// Waits until something is so.
    pub fn wait_for(&self, what: &str, within: Duration, mut is_so: impl FnMut() -> Result<bool>) -> Result<()> {
        let began = Instant::now();
        while !is_so()? {
            if began.elapsed() > within {
                bail!("{what}: not after {within:?}");
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        Ok(())
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
        last_value(&self.run_within("ha", &args, COMMAND_SECONDS)?.success()?)
    }

    /// Kills both processes of a node with SIGKILL.
    pub fn kill(&self, node: &str) -> Result<()> {
        self.ok(&["dev", "kill", node]).map(drop)
    }

    /// Starts what is not running of a node.
    pub fn start(&self, node: &str) -> Result<()> {
        self.ok(&["dev", "start", node]).map(drop)
    }

    /// The names of its nodes.
    pub fn nodes(&self) -> Result<Vec<String>> {
        let status = self.json(&["dev", "status"])?;
        let nodes = status["nodes"].as_array().context("`dev status` gives nodes")?;
        Ok(nodes.iter().filter_map(|node| node["name"].as_str().map(String::from)).collect())
    }

    /// The name of the node whose daemon leads HA; waits for one.
    pub fn leader(&self, within: Duration) -> Result<String> {
        let began = Instant::now();
        loop {
            let status = self.ha(&["status"])?;
            if let Some(leader) = status["leader"].as_str().filter(|_| status["confirmed"] == true) {
                return Ok(leader.into());
            }
            if began.elapsed() > within {
                bail!("nobody leads HA after {within:?}: {status}");
            }
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// Waits until the process that every node has now is ONLINE: what HA says of one before it does not count.
    pub fn all_online(&self, within: Duration) -> Result<()> {
        let until = Instant::now() + within;
        let pids = self.pids()?;
        loop {
            let list = self.ha(&["node", "list"])?;
            let nodes = list.as_array().context("`ha node list` gives a list")?;
            let is_online = |node: &&Value| {
                let pid = node["name"].as_str().and_then(|name| pids.get(name)).and_then(|pids| pids.node);
                node["state"] == "ONLINE" && pid.is_some() && node["pid"].as_u64() == pid.map(u64::from)
            };
            let Some(away) = nodes.iter().find(|node| !is_online(node)) else { return Ok(()) };
            if Instant::now() > until {
                bail!("not ONLINE with its process after {within:?}: {away}; {pids:?}");
            }
            std::thread::sleep(Duration::from_millis(20));
        }
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
pub(crate) fn unique() -> u128 {
    std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).map_or(0, |d| d.as_nanos())
}

/// The most memory that a process has had resident, in bytes.
pub fn peak_resident_bytes(pid: u32) -> Result<u64> {
    let status = std::fs::read_to_string(Path::new("/proc").join(pid.to_string()).join("status"))?;
    let line = status.lines().find(|l| l.starts_with("VmHWM:")).context("no VmHWM")?;
    let kib: u64 = line.split_whitespace().nth(1).context("no figure")?.parse()?;
    Ok(kib * 1024)
}
