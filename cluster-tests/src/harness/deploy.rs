//! The cluster of a run: its processes, each started in the network namespace of its node, killed, frozen and started again from here.

use std::collections::BTreeMap;
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Mutex, MutexGuard};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use client::ReadFrom;
use rand::{Rng, RngCore};

use super::clock;
use super::inject::Injected;
use super::network::{Network, enter};
use super::plan::{self, Node};
use super::scenario::{DiskCall, DiskError, FaultKind, Process, Scenario, Where};
use super::schedule::places;
use super::starve::Starved;
use crate::process::{Clients, Cluster, Pids, Signal, send, unique};

/// Where our own commands are on the network: on no side of any partition.
const OURSELVES: &str = "harness";
/// How long a fresh cluster may take until it serves.
const UP_SECONDS: u64 = 90;
/// How long the kernel may take to end a process.
const DYING: Duration = Duration::from_secs(10);
/// First bytes of a unit's header (`docs/formats/device.md`).
const UNIT_MAGIC: &[u8] = b"RDBTUNIT";
/// How long a command of an operator may take.
const COMMAND_SECONDS: u64 = 20;
/// What units are aligned to; a unit's data begin one block after its header.
const BLOCK: u64 = 4096;

/// One of the two programs of a node.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Program {
    /// The HA daemon.
    Daemon,
    /// The storage process.
    Storage,
}

impl Program {
    /// Which of them are meant: daemons first.
    pub fn of(process: Process) -> &'static [Self] {
        match process {
            Process::Storage => &[Self::Storage],
            Process::Daemon => &[Self::Daemon],
            Process::Both => &[Self::Daemon, Self::Storage],
        }
    }

    fn executable(self) -> &'static str {
        match self {
            Self::Daemon => "redoubt-ha",
            Self::Storage => "redoubt-node",
        }
    }

    fn config(self) -> &'static str {
        match self {
            Self::Daemon => "ha.toml",
            Self::Storage => "node.toml",
        }
    }
}

/// A cluster that runs.
pub struct Deployment {
    // Dropped in this order: processes before the network that they are on.
    cluster: Cluster,
    nodes: Vec<Node>,
    children: Mutex<BTreeMap<(String, Program), Child>>,
    /// The device that units rot on: more than one would be more than a pool bears.
    rotten: Mutex<Option<PathBuf>>,
    network: Option<Network>,
    /// Whether the wall clock of each node can be set.
    has_clocks: bool,
    /// Whoever has fault points armed.
    points: Mutex<()>,
}

impl Deployment {
    /// Plans and starts the cluster of a scenario, and waits until it serves. The calling thread, and all that it starts from now on, is then
    /// on the cluster's network.
    pub fn start(scenario: &Scenario, seed: u64) -> Result<Self> {
        let dir = std::env::temp_dir().join(format!("redoubt-run-{}-{:x}", std::process::id(), unique()));
        let network = match scenario.topology.network {
            Where::Own => Some(make_network(scenario, seed)?),
            Where::Loopback => None,
        };
        std::fs::create_dir_all(&dir).with_context(|| dir.display().to_string())?;
        let nodes = plan::write(scenario, &dir, network.as_ref())?;
        let dead_age = scenario.topology.dead_age.0.as_millis().to_string();
        let cluster = Cluster::planned(dir, vec![("REDOUBT_DEAD_AGE_MS", dead_age)])?;
        if let Some(network) = &network {
            enter(&network.host(OURSELVES)?.namespace)?;
        }
        let has_clocks = scenario.has(FaultKind::Clock);
        let deployment =
            Self { cluster, nodes, children: Mutex::default(), rotten: Mutex::default(), network, has_clocks, points: Mutex::default() };
        if has_clocks {
            deployment.nodes.iter().try_for_each(|node| clock::set(&node.dir, 0))?;
        }
        deployment.start_all()?;
        let seconds = UP_SECONDS.to_string();
        deployment.cluster.redoubt_within(&["dev", "up", "--wait", &seconds], UP_SECONDS + 5)?.success()?;
        Ok(deployment)
    }

    /// Its command lines.
    pub fn cluster(&self) -> &Cluster {
        &self.cluster
    }

    /// The directory stays when this is dropped.
    pub fn keep(&mut self) {
        self.cluster.keep();
    }

    /// Its nodes.
    pub fn nodes(&self) -> &[Node] {
        &self.nodes
    }

    /// Its network, if it has one of its own.
    pub fn network(&self) -> Option<&Network> {
        self.network.as_ref()
    }

    fn node(&self, name: &str) -> Result<&Node> {
        self.nodes.iter().find(|node| node.name == name).with_context(|| format!("there is no {name}"))
    }

    /// A client at a place of the network; [`OURSELVES`] where there is none.
    pub fn clients(&self, place: Option<&str>, timeout: Duration) -> Result<Clients> {
        self.clients_reading(ReadFrom::Primary, place, timeout)
    }

    /// The same, of a client that reads from there.
    pub fn clients_reading(&self, read: ReadFrom, place: Option<&str>, timeout: Duration) -> Result<Clients> {
        let addresses: Vec<String> = self.nodes.iter().map(|node| node.ha.clone()).collect();
        let namespace = match (&self.network, place) {
            (Some(network), Some(place)) => Some(network.host(place)?.namespace.clone()),
            _ => None,
        };
        // The threads of a client are where the thread is that starts them.
        let connected = std::thread::spawn(move || {
            namespace.map_or(Ok(()), |namespace| enter(&namespace))?;
            Clients::connect_reading(&addresses, timeout, read)
        });
        connected.join().expect("connecting does not panic").with_context(|| format!("a client at {}", place.unwrap_or(OURSELVES)))
    }

    /// Starts what does not run of all nodes: daemons first.
    pub fn start_all(&self) -> Result<()> {
        for program in [Program::Daemon, Program::Storage] {
            for node in &self.nodes {
                self.start_program(node, program)?;
            }
        }
        Ok(())
    }

    /// Starts what does not run of these programs of a node.
    pub fn start_node(&self, name: &str, process: Process) -> Result<()> {
        let node = self.node(name)?;
        Program::of(process).iter().try_for_each(|program| self.start_program(node, *program))
    }

    fn start_program(&self, node: &Node, program: Program) -> Result<()> {
        let mut children = self.children.lock().expect("nobody panics with the children held");
        let key = (node.name.clone(), program);
        if let Some(child) = children.get_mut(&key)
            && child.try_wait()?.is_none()
        {
            return Ok(());
        }
        let log = File::options().create(true).append(true).open(node.dir.join(format!("{}.log", program.executable())))?;
        let mut command = match &self.network {
            Some(network) => {
                let mut command = Command::new("ip");
                command.args(["netns", "exec", &network.host(&node.name)?.namespace, "setsid"]);
                command
            }
            None => Command::new("setsid"),
        };
        command.arg(self.cluster.bin().join(program.executable())).arg("--config").arg(node.dir.join(program.config()));
        if self.has_clocks {
            command.envs(clock::env(&node.dir)?);
        }
        command.envs(self.cluster.env().iter().map(|(key, value)| (key, value)));
        command.current_dir(&node.dir).stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log);
        let child = command.spawn().context("starting a process of the cluster")?;
        let pid = child.id();
        // The form that `redoubt dev` reads: the pid, and when it was started, in ticks.
        std::fs::write(node.dir.join(format!("{}.pid", program.executable())), format!("{pid} {}\n", started(pid)?))?;
        children.insert(key, child);
        Ok(())
    }

    /// The processes of a node that run.
    pub fn pids(&self, name: &str, process: Process) -> Vec<u32> {
        let mut children = self.children.lock().expect("nobody panics with the children held");
        let mut pids = Vec::new();
        for program in Program::of(process) {
            if let Some(child) = children.get_mut(&(name.to_string(), *program))
                && matches!(child.try_wait(), Ok(None))
            {
                pids.push(child.id());
            }
        }
        pids
    }

    /// Sends a signal to these processes of these nodes, all at one moment; how many there were.
    pub fn signal(&self, nodes: &[String], process: Process, signal: Signal) -> Result<usize> {
        let pids: Vec<u32> = nodes.iter().flat_map(|node| self.pids(node, process)).collect();
        send(&pids, signal)?;
        Ok(pids.len())
    }

    /// Sends a signal that ends them, and waits until they have ended.
    pub fn end(&self, nodes: &[String], process: Process, signal: Signal) -> Result<usize> {
        let count = self.signal(nodes, process, signal)?;
        let until = Instant::now() + DYING;
        while nodes.iter().any(|node| !self.pids(node, process).is_empty()) {
            if Instant::now() > until {
                bail!("{process:?} of {nodes:?} has not ended {DYING:?} after {signal:?}");
            }
            std::thread::sleep(Duration::from_millis(2));
        }
        Ok(count)
    }

    /// Everything runs and nothing is frozen: what a healed cluster begins with.
    pub fn heal(&self) -> Result<()> {
        let all: Vec<String> = self.nodes.iter().map(|node| node.name.clone()).collect();
        self.signal(&all, Process::Both, Signal::CONT)?;
        self.start_all()
    }

    /// The node whose daemon leads HA; the first one where nobody does soon.
    pub fn leader(&self) -> String {
        self.cluster.leader(Duration::from_secs(1)).unwrap_or_else(|_| self.nodes[0].name.clone())
    }

    /// Empties one device of a node whose storage process does not run.
    pub fn wipe(&self, name: &str, random: &mut impl RngCore) -> Result<PathBuf> {
        let node = self.node(name)?;
        let device = node.devices[random.random_range(0..node.devices.len())].clone();
        std::fs::remove_dir_all(&device)?;
        std::fs::create_dir(&device)?;
        Ok(device)
    }

    /// Flips a byte in up to `count` units of one device; the device, and how many there were. All of a run are on the same device.
    pub fn rot(&self, name: &str, count: usize, random: &mut impl RngCore) -> Result<(PathBuf, usize)> {
        let node = self.node(name)?;
        let drawn = node.devices[random.random_range(0..node.devices.len())].clone();
        let device = self.rotten.lock().expect("nobody panics with it held").get_or_insert(drawn).clone();
        let file = File::options().read(true).write(true).open(device.join("blocks"))?;
        let mut units = units(&file)?;
        let mut flipped = 0;
        while flipped < count && !units.is_empty() {
            let header = units.swap_remove(random.random_range(0..units.len()));
            let at = header + BLOCK + random.random_range(0..BLOCK);
            let mut byte = [0];
            file.read_exact_at(&mut byte, at)?;
            file.write_all_at(&[!byte[0]], at)?;
            flipped += 1;
        }
        file.sync_all()?;
        Ok((device, flipped))
    }

    /// Leaves a node a small part of a processor until what is given is dropped.
    pub fn starve(&self, name: &str, percent: u32) -> Result<Starved> {
        Starved::begin(&format!("redoubt-{}-{name}", std::process::id()), &self.pids(name, Process::Both), percent)
    }

    /// Leaves a node so much memory until what is given is dropped.
    pub fn squeeze(&self, name: &str, bytes: u64) -> Result<Starved> {
        Starved::squeezed(&format!("redoubt-{}-{name}", std::process::id()), &self.pids(name, Process::Both), bytes)
    }

    /// Has calls of a node's storage process on one of its devices go wrong; which device.
    pub fn inject(
        &self,
        name: &str,
        call: DiskCall,
        error: DiskError,
        times: Option<u32>,
        random: &mut impl RngCore,
    ) -> Result<(PathBuf, Injected)> {
        let node = self.node(name)?;
        let device = node.devices[random.random_range(0..node.devices.len())].clone();
        let pids = self.pids(name, Process::Storage);
        let pid = *pids.first().with_context(|| format!("the storage process of {name} does not run"))?;
        let log = node.dir.join(format!("injected-{}.log", random.next_u32()));
        Ok((device.clone(), Injected::begin(pid, &device, call, error, times, log)?))
    }

    /// Ends a node's storage process as it begins to sync the journal of one of its devices, and tears what it has written before: which device,
    /// and how many sectors have not reached it.
    pub fn tear(&self, name: &str, random: &mut impl RngCore) -> Result<(PathBuf, usize)> {
        let node = self.node(name)?;
        let device = node.devices[random.random_range(0..node.devices.len())].clone();
        let torn =
            super::tear::tear(|| self.pids(name, Process::Storage), &device, random).with_context(|| device.display().to_string())?;
        Ok((device, torn))
    }

    /// Asks HA for other members in the place of one device of a node, and waits until no group has it any more; its name.
    pub fn replace(&self, name: &str, within: Duration, random: &mut impl RngCore) -> Result<String> {
        let node = self.node(name)?;
        let device = &node.devices[random.random_range(0..node.devices.len())];
        let id = device.file_name().unwrap_or_default().to_string_lossy().into_owned();
        self.cluster.run_within("ha", &["device", "replace", &id], COMMAND_SECONDS)?.success()?;
        let until = Instant::now() + within;
        loop {
            let list = self.cluster.ha(&["device", "list"])?;
            let shown = list.as_array().and_then(|all| all.iter().find(|device| device["id"] == id.as_str()));
            let groups = shown.with_context(|| format!("{id} is not listed"))?["groups"].as_u64();
            if groups == Some(0) {
                return Ok(id);
            }
            if Instant::now() > until {
                bail!("{id} has {groups:?} groups {within:?} after it was to be replaced");
            }
            std::thread::sleep(Duration::from_millis(100));
        }
    }

    /// Held by the one who has fault points armed.
    pub fn points_turn(&self) -> MutexGuard<'_, ()> {
        self.points.lock().expect("nobody panics with it held")
    }

    /// Where the fault points of a process are armed.
    pub fn points_socket(&self, name: &str, process: Process) -> Result<PathBuf> {
        let [ha, storage] = plan::SOCKETS;
        Ok(self.node(name)?.dir.join(if process == Process::Daemon { ha } else { storage }))
    }

    /// The wall clock of a node's processes is off by so many seconds from now on.
    pub fn set_clock(&self, name: &str, seconds: i64) -> Result<()> {
        clock::set(&self.node(name)?.dir, seconds)
    }

    /// What the processes of a node are, by `redoubt dev status`.
    pub fn known_pids(&self) -> Result<BTreeMap<String, Pids>> {
        self.cluster.pids()
    }

    /// Logs with the word that only a broken invariant writes.
    pub fn panics(&self) -> Vec<String> {
        let mut found = Vec::new();
        for node in &self.nodes {
            for program in [Program::Daemon, Program::Storage] {
                let log = std::fs::read(node.dir.join(format!("{}.log", program.executable()))).unwrap_or_default();
                let log = String::from_utf8_lossy(&log);
                if let Some(line) = log.lines().find(|line| line.contains("panicked at")) {
                    found.push(format!("{} of {}: {line}", program.executable(), node.name));
                }
            }
        }
        found
    }
}

fn make_network(scenario: &Scenario, seed: u64) -> Result<Network> {
    let nodes = (1..=scenario.topology.nodes.value).map(|number| format!("node-{number}"));
    let names: Vec<String> = nodes.chain([OURSELVES.into()]).chain(places(scenario)).collect();
    Network::create(&names, seed).context("faults of the network")
}

/// When a process started, in ticks since the machine did.
fn started(pid: u32) -> Result<u64> {
    let stat = std::fs::read_to_string(Path::new("/proc").join(pid.to_string()).join("stat"))?;
    let (_, rest) = stat.rsplit_once(") ").context("the name of a process ends with a bracket")?;
    rest.split(' ').nth(19).and_then(|ticks| ticks.parse().ok()).context("a process has a start")
}

/// Where the headers of units are in a data file.
fn units(file: &File) -> Result<Vec<u64>> {
    let length = file.metadata()?.len();
    let mut found = Vec::new();
    let mut begin = [0; 8];
    for at in (0..length.saturating_sub(2 * BLOCK)).step_by(BLOCK as usize) {
        file.read_exact_at(&mut begin, at)?;
        if begin == UNIT_MAGIC {
            found.push(at);
        }
    }
    Ok(found)
}
