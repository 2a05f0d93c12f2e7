//! What a scenario file holds. `docs/harness.md` describes every field; unknown ones are refused.

mod disk;

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_saphyr::Spanned;

use super::amount::{Bytes, Span};

pub use self::disk::{DiskCall, DiskError};

/// A scenario.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Scenario {
    /// Its name, as the file's.
    pub name: Spanned<String>,
    /// What it shows, in a sentence or two.
    pub about: String,
    /// The cluster.
    #[serde(default)]
    pub topology: Topology,
    /// How long the load and the faults last.
    pub duration: Spanned<Span>,
    /// Who does what with the cluster meanwhile.
    pub workload: Vec<Spanned<Workload>>,
    /// Faults at given times.
    #[serde(default)]
    pub faults: Vec<Spanned<Fault>>,
    /// Faults drawn from the seed.
    #[serde(default)]
    pub random: Option<Spanned<Random>>,
    /// What must hold beside what always must.
    #[serde(default)]
    pub checks: Checks,
}

/// The cluster of a scenario.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Topology {
    /// How many nodes.
    pub nodes: Spanned<u16>,
    /// Disk groups of each node, with one device each.
    pub disk_groups: Spanned<u16>,
    /// Size of each device.
    pub device: Spanned<Bytes>,
    /// By what HA's times are scaled.
    pub factor: f64,
    /// How long units of deleted objects stay.
    pub dead_age: Span,
    /// Pools other than the usual ones.
    pub pools: Vec<Spanned<PoolWish>>,
    /// Where the nodes are: each in a network namespace of its own, or all on loopback.
    pub network: Where,
}

impl Default for Topology {
    fn default() -> Self {
        Self {
            nodes: plain(3),
            disk_groups: plain(2),
            device: plain(Bytes(256 << 20)),
            factor: 1.0,
            dead_age: Span(std::time::Duration::from_secs(2)),
            pools: Vec::new(),
            network: Where::Own,
        }
    }
}

/// A value that stands in no file.
pub fn plain<T>(value: T) -> Spanned<T> {
    Spanned::new(value, serde_saphyr::Location::UNKNOWN, serde_saphyr::Location::UNKNOWN)
}

/// How the nodes are connected.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Where {
    /// Each node in a network namespace of its own, with a switch between them that can lose, delay and cut.
    Own,
    /// All on loopback: needs no privilege, and has no faults of the network.
    Loopback,
}

/// A pool.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PoolWish {
    /// Its name.
    pub name: String,
    /// `N+K`, or `1+2f` for copies.
    pub scheme: String,
    /// What may fail as one: `device`, `disk-group`, `node`.
    pub domain: types::scheme::FailureDomain,
    /// How many groups; 0 takes as many as the pool needs.
    #[serde(default)]
    pub groups: u32,
    /// Where the default policy tries it: lower is earlier.
    #[serde(default)]
    pub priority: u8,
    /// Whether for each node a third of the groups avoid it.
    #[serde(default)]
    pub avoid_node: bool,
}

/// Clients of one kind.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Workload {
    /// On what.
    pub on: On,
    /// How many.
    #[serde(default = "one")]
    pub clients: u32,
    /// Where they are on the network: a name of the scenario's own, as `faults` may give it a side.
    #[serde(default = "usual_place")]
    pub from: String,
    /// How often each verb, in parts.
    pub mix: BTreeMap<Verb, u32>,
    /// How many names there are to choose from: for each client, or for all where they are shared.
    #[serde(default = "usual_names")]
    pub names: u32,
    /// How a name is chosen.
    #[serde(default)]
    pub choice: Choice,
    /// Whether all clients of this entry use the same names; what they saw is then checked to be linearizable.
    #[serde(default)]
    pub shared: bool,
    /// Whom rows are read from.
    #[serde(default)]
    pub read: Read,
    /// Sizes to choose from.
    pub sizes: Vec<Bytes>,
    /// Operations a second of each client; as fast as it goes where not given.
    #[serde(default)]
    pub rate: Option<f64>,
    /// How long a client tries.
    #[serde(default = "usual_timeout")]
    pub timeout: Span,
    /// The longest time that any client of this entry may be without a success; not bounded where not given.
    #[serde(default)]
    pub gap: Option<Span>,
    /// Whether operations may fail with a clear error.
    #[serde(default)]
    pub errors: Errors,
}

fn one() -> u32 {
    1
}

fn usual_place() -> String {
    "clients".into()
}

fn usual_names() -> u32 {
    24
}

fn usual_timeout() -> Span {
    Span(std::time::Duration::from_secs(15))
}

/// What a workload is on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum On {
    /// Objects of a bucket.
    Objects,
    /// Rows of an index.
    Rows,
}

/// Whom rows are read from, and the records of objects.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Read {
    /// The primary of their group.
    #[default]
    Primary,
    /// Any member that is up to date, by the primary's word.
    Nearest,
}

/// What a client does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Deserialize, serde::Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Verb {
    /// Writes a name.
    Put,
    /// Reads a name and compares.
    Get,
    /// Deletes a name.
    Delete,
    /// Lists the client's names and compares.
    Scan,
}

impl Verb {
    /// Its word.
    pub fn word(self) -> &'static str {
        match self {
            Self::Put => "put",
            Self::Get => "get",
            Self::Delete => "delete",
            Self::Scan => "scan",
        }
    }
}

/// How names are chosen.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Choice {
    /// Each as often as the other.
    #[default]
    Uniform,
    /// The first ones far more often (Zipf, exponent 1).
    Zipf,
    /// One after the other.
    InOrder,
}

/// Whether operations may fail.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Errors {
    /// None may.
    None,
    /// They may, with an error that says so; what they promise is checked all the same.
    #[default]
    Allowed,
}

/// One fault at a given time.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Fault {
    /// When, from the begin of the load.
    pub at: Span,
    /// What.
    #[serde(rename = "do")]
    pub kind: FaultKind,
    /// How long until it is healed.
    #[serde(default, rename = "for")]
    pub lasts: Option<Span>,
    /// Whom: names of nodes, or one of `any`, `leader`, `all`.
    #[serde(default)]
    pub nodes: Vec<String>,
    /// Which process of a node.
    #[serde(default)]
    pub process: Process,
    /// How often, for what is repeated.
    #[serde(default)]
    pub times: Option<u32>,
    /// Pause between repetitions.
    #[serde(default)]
    pub every: Option<Span>,
    /// For `partition`: who is with whom. Who stands on no side reaches everybody.
    #[serde(default)]
    pub sides: Vec<Vec<String>>,
    /// For `partition`: only what the first side sends to the others is lost.
    #[serde(default)]
    pub one_way: bool,
    /// For `links`: what happens to packets.
    #[serde(default)]
    pub packets: Option<Packets>,
    /// For `starve`: what is left of a processor, in per cent.
    #[serde(default)]
    pub percent: Option<u32>,
    /// For `disk`: which calls go wrong.
    #[serde(default)]
    pub call: Option<DiskCall>,
    /// For `disk`: how.
    #[serde(default)]
    pub error: Option<DiskError>,
    /// For `clock`: by how many seconds the wall clock is off from then on.
    #[serde(default)]
    pub seconds: Option<i64>,
    /// For `squeeze`: what memory is left.
    #[serde(default)]
    pub memory: Option<Bytes>,
    /// For `point`: fault points of the product, one after the other, at the nodes in turn.
    #[serde(default)]
    pub points: Vec<String>,
    /// For `point`: what happens there.
    #[serde(default)]
    pub action: Option<PointAction>,
    /// For `point`: how often; always where not given.
    #[serde(default)]
    pub hits: Option<u32>,
    /// For `point`: how many go by first.
    #[serde(default)]
    pub skip: Option<u32>,
}

/// What happens at a fault point.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum PointAction {
    /// The step fails with an error.
    Error,
    /// The process ends at once.
    Crash,
    /// The step does not end.
    Hang,
    /// The step takes its time.
    Delay,
}

impl PointAction {
    /// Its word.
    pub fn word(self) -> &'static str {
        match self {
            Self::Error => "error",
            Self::Crash => "crash",
            Self::Hang => "hang",
            Self::Delay => "delay",
        }
    }
}

impl Scenario {
    /// Whether faults of that kind may happen.
    pub fn has(&self, kind: FaultKind) -> bool {
        let given = self.faults.iter().any(|fault| fault.value.kind == kind);
        given || self.random.as_ref().is_some_and(|random| random.value.kinds.contains(&kind))
    }
}

/// What a fault does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Deserialize, serde::Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum FaultKind {
    /// SIGKILL; started again at the end of it.
    Kill,
    /// SIGSTOP; SIGCONT at the end of it.
    Freeze,
    /// SIGTERM, and started again.
    Restart,
    /// SIGKILL and start, several times without waiting.
    Storm,
    /// Every process of the cluster killed at once.
    PowerLoss,
    /// A node's storage process killed and one of its devices emptied.
    Wipe,
    /// Bytes of units flipped on a device.
    Rot,
    /// The network cut.
    Partition,
    /// The network cut and healed in quick turns.
    Flap,
    /// Packets of a node delayed, lost, doubled, spoilt, or throttled.
    Links,
    /// A node with a small part of a processor.
    Starve,
    /// Calls on the files of one device of a node go wrong.
    Disk,
    /// The wall clock of a node's processes is another from then on.
    Clock,
    /// A node's processes with little memory.
    Squeeze,
    /// A step of the product fails, hangs, takes long or is the last of its process.
    Point,
    /// An operator wants the groups of one device elsewhere.
    Replace,
}

impl FaultKind {
    /// Its word.
    pub fn word(self) -> &'static str {
        match self {
            Self::Kill => "kill",
            Self::Freeze => "freeze",
            Self::Restart => "restart",
            Self::Storm => "storm",
            Self::PowerLoss => "power-loss",
            Self::Wipe => "wipe",
            Self::Rot => "rot",
            Self::Partition => "partition",
            Self::Flap => "flap",
            Self::Links => "links",
            Self::Starve => "starve",
            Self::Disk => "disk",
            Self::Clock => "clock",
            Self::Squeeze => "squeeze",
            Self::Point => "point",
            Self::Replace => "replace",
        }
    }

    /// Whether it is one of the network.
    pub fn is_of_network(self) -> bool {
        matches!(self, Self::Partition | Self::Flap | Self::Links)
    }
}

/// Which of a node's processes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, serde::Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Process {
    /// The storage process.
    Storage,
    /// The HA daemon.
    Daemon,
    /// The whole node.
    #[default]
    Both,
}

/// What happens to the packets of a link, in each direction.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Packets {
    /// How much later they come.
    pub delay: Span,
    /// Up to how much later than that: they overtake each other.
    pub jitter: Span,
    /// Per cent that are lost.
    pub loss: f64,
    /// Per cent that come twice.
    pub double: f64,
    /// Per cent with a flipped bit.
    pub spoil: f64,
    /// Bytes a second.
    pub bandwidth: Option<Bytes>,
}

/// Faults drawn from the seed.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Random {
    /// Which kinds; each run of a swarm draws its own part of them.
    pub kinds: Vec<FaultKind>,
    /// How long one lasts, least and most.
    #[serde(rename = "for")]
    pub lasts: [Span; 2],
    /// How long nothing is broken between two, least and most.
    pub pause: [Span; 2],
    /// Whether each seed draws which of the kinds it has.
    #[serde(default)]
    pub swarm: bool,
}

/// What is checked beside what always is.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Checks {
    /// How long the cluster may take until everything is ONLINE once all is healed.
    pub heal: Span,
    /// For each partition: within that time the side with a majority serves every group that it can, and nobody serves another one.
    pub sides: Option<Span>,
    /// All rows and names are read once with each node away: every replica says the same.
    pub replicas: bool,
    /// At the end everything is deleted, and no unit and no lost space may be left.
    pub space: bool,
    /// In the end no fid is left that was begun and neither committed nor given up.
    pub pending: bool,
}

impl Default for Checks {
    fn default() -> Self {
        Self { heal: Span(std::time::Duration::from_secs(30)), sides: None, replicas: false, space: false, pending: false }
    }
}
