//! What processes report to HA, what HA tells them, and what operators are shown: plain types, sent as bytes by `types::codec`.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};
use types::load::NodeLoad;
use types::map::ClusterMap;
use types::wire::request::DeviceUsage;
use types::{Boot, DeviceId, Epoch, GroupId, HaTime, Incarnation, NodeId};

/// What a process found on one of its devices.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Found {
    /// Nothing: it is to be formatted.
    Blank,
    /// A format of this cluster.
    Formatted {
        /// The uuid in its superblock.
        uuid: u128,
        /// The incarnation in its superblock.
        incarnation: Incarnation,
    },
    /// It is there and does not open.
    Unusable,
    /// What lies there belongs to another cluster.
    OtherCluster,
    /// What lies there is another device of this cluster.
    OtherDevice,
    /// What lies there was written by newer software.
    Newer,
}

/// What a process is to do with a device.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Verdict {
    /// Go on with what is on it.
    Use(Incarnation),
    /// Format it with this incarnation.
    Format(Incarnation),
    /// Leave it alone; in words, why.
    Refuse(String),
}

/// What a process is told at registration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Registered {
    /// This start of the process; also its session as a writer.
    pub boot: Boot,
    /// The epoch that announced it RECOVERING, to be named in `report_recovered`.
    pub epoch: Epoch,
    /// HA time of that.
    pub ha_time: HaTime,
    /// What to do with each of its configured devices.
    pub devices: BTreeMap<DeviceId, Verdict>,
}

/// A lease, renewed: it runs from the moment its renewal was sent, and may be used once HA's log is taken in up to `epoch`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Grant {
    /// The epoch of the state on which it was granted.
    pub epoch: Epoch,
    /// HA time when it was granted.
    pub ha_time: HaTime,
}

/// Errors of a device, as its node reports them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeviceReport {
    /// Which device.
    pub device: DeviceId,
    /// In which format of it.
    pub incarnation: Incarnation,
    /// What is wrong with it.
    pub trouble: DeviceTrouble,
    /// Operation, code and offset, in words.
    pub error: String,
}

/// How bad it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum DeviceTrouble {
    /// Errors that did not end it.
    Errors {
        /// How many of this kind since the last report.
        count: u32,
        /// The node's count of its reports on this device in this boot, from 1: the same one sent again is not counted again.
        report: u64,
    },
    /// The node has stopped using it.
    Ended,
    /// Its peers saw that it holds less than it said, in one incarnation: it cannot be trusted any more.
    Amnesia,
    /// Its peers keep no log of what it lacks any longer.
    Lags,
    /// It answers nothing, and the node has stopped using it; what it had is on it.
    Hangs,
}

/// One line of the cluster's history.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct EventLine {
    /// The log entry that did it.
    pub index: u64,
    /// The epoch after it.
    pub epoch: Epoch,
    /// HA time of it.
    pub at: HaTime,
    /// The leader's wall clock, milliseconds since 1970.
    pub wall_ms: u64,
    /// To whom: `node-1`, `dev-3`, `cluster`.
    pub subject: String,
    /// What, as in `ONLINE -> TRANSIENT`.
    pub what: String,
    /// Why.
    pub cause: String,
}

/// What becomes of a device that is away.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Away {
    /// For how many milliseconds its absence counts.
    pub for_ms: u64,
    /// After how many more it is FAILED; `None` where it is waited for.
    pub fails_in_ms: Option<u64>,
    /// Why it is waited for, in words.
    pub waits: Option<String>,
}

/// The cluster as one daemon sees it, with what the leader adds.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Status {
    /// The daemon that answers.
    pub answered_by: NodeId,
    /// The leader that it knows of.
    pub leader: Option<NodeId>,
    /// Whether that leader answered just now, with a quorum behind it. Where not, what follows may be old.
    pub confirmed: bool,
    /// Nodes, devices, pools, groups and catalogues, with their states.
    pub map: ClusterMap,
    /// What the map does not say of each node.
    pub nodes: BTreeMap<NodeId, NodeStatus>,
    /// Errors counted on each device in its present format.
    pub device_errors: BTreeMap<DeviceId, u64>,
    /// How full each device of a live process is, where its process has said so to the leader.
    pub usage: BTreeMap<DeviceId, DeviceUsage>,
    /// Devices that were formatted anew and whose units of before are not there.
    pub units_missing: BTreeSet<DeviceId>,
    /// Slots of erasure-coded groups that lack units.
    pub unfilled: BTreeMap<GroupId, BTreeSet<u8>>,
    /// Whether an operator has paused repair.
    pub repair_paused: bool,
    /// The rebalance that goes on.
    pub rebalance: Option<RebalanceStatus>,
    /// After how many milliseconds a device that its process does not use is given up; 0 is never.
    pub device_away_ms: u64,
    /// After how many the devices of a node that is away are; 0 is never.
    pub node_away_ms: u64,
    /// Nodes in maintenance, for how many milliseconds.
    pub maintenance: BTreeMap<NodeId, u64>,
    /// Devices that are away.
    pub away: BTreeMap<DeviceId, Away>,
    /// Devices that an operator wants replaced: their replicated groups move to others.
    pub leaving: BTreeSet<DeviceId>,
    /// Nodes that an operator wants to be rid of: what they have moves to others.
    pub removing: BTreeSet<NodeId>,
    /// Nodes that are being replaced.
    pub replacing: BTreeMap<NodeId, Replacement>,
    /// Catalogues that were dropped and are being emptied.
    pub dropped: usize,
    /// The wall clock of the daemon that answers, milliseconds since 1970.
    pub wall_ms: u64,
    /// Open sessions of native clients.
    pub client_sessions: usize,
    /// What an operator should know.
    pub warnings: Vec<String>,
}

/// How far the replacement of a node is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Replacement {
    /// For how many milliseconds it goes on.
    pub for_ms: u64,
    /// Its step.
    pub step: ReplacementStep,
    /// What is missing before the next one, in words.
    pub lacks: String,
}

/// Steps of the replacement of a node, in their order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum ReplacementStep {
    /// Its processes run still.
    Leaving,
    /// Its daemon loses its vote and its membership.
    TakenOut,
    /// It is out; new hardware is to come.
    Awaited,
    /// It is back, and is filled.
    Filling,
}

impl ReplacementStep {
    /// In a word.
    pub fn word(self) -> &'static str {
        match self {
            Self::Leaving => "leaving",
            Self::TakenOut => "taken-out",
            Self::Awaited => "awaited",
            Self::Filling => "filling",
        }
    }
}

/// A rebalance that goes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RebalanceStatus {
    /// Whether an operator has paused it.
    pub paused: bool,
    /// Members and slots that are still to move, where the leader says so.
    pub to_move: Option<usize>,
    /// Groups that have a learner: a member is being filled.
    pub filling: usize,
}

/// How full some devices are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Space {
    /// Bytes for units, in all.
    pub bytes: u64,
    /// Bytes used of them, on the devices that are known.
    pub used: u64,
    /// Bytes free, likewise.
    pub free: u64,
    /// Devices whose use is not known: they are away.
    pub unknown: usize,
}

impl Status {
    /// How full these devices are together.
    pub fn space(&self, devices: &[DeviceId]) -> Space {
        devices.iter().fold(Space::default(), |sum, id| {
            let declared = self.map.devices.get(id).map_or(0, |device| device.bytes);
            match self.usage.get(id) {
                Some(usage) => Space {
                    bytes: sum.bytes + usage.bytes,
                    used: sum.used + usage.bytes.saturating_sub(usage.free),
                    free: sum.free + usage.free,
                    ..sum
                },
                None => Space { bytes: sum.bytes + declared, unknown: sum.unknown + 1, ..sum },
            }
        })
    }
}

/// What the map does not say of a node.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct NodeStatus {
    /// Its storage process, 0 where it never started.
    pub pid: u32,
    /// HA time of the last change of state of that.
    pub since: HaTime,
    /// The wall clock of that change, milliseconds since 1970; the same whoever leads.
    pub since_wall_ms: u64,
    /// Why it is in its state.
    pub reason: String,
    /// The log index that its storage process has confirmed, to the leader.
    pub confirmed_index: Option<u64>,
    /// How long ago its lease was renewed, in milliseconds, at the leader.
    pub lease_age_ms: Option<u64>,
    /// What its storage process is asked, where it has said so to the leader; without its devices, which are in [`Status::usage`].
    pub load: Option<NodeLoad>,
    /// Whether its HA daemon answers the one that answers this.
    pub daemon_reachable: bool,
}

/// One daemon's view of the Raft group.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RaftStatus {
    /// The daemon that answers.
    pub node: NodeId,
    /// `Leader`, `Follower`, `Candidate` or `Learner`.
    pub state: String,
    /// The term.
    pub term: u64,
    /// The leader that it knows of.
    pub leader: Option<NodeId>,
    /// For a leader: milliseconds since a quorum last confirmed it.
    pub millis_since_quorum_ack: Option<u64>,
    /// The last entry of its log.
    pub last_log_index: u64,
    /// The term of that entry.
    pub last_log_term: u64,
    /// The last entry applied.
    pub applied_index: u64,
    /// The last entry in its snapshot.
    pub snapshot_index: u64,
    /// The last entry purged from its log.
    pub purged_index: u64,
    /// Who votes.
    pub voters: Vec<NodeId>,
    /// Who follows without a vote.
    pub learners: Vec<NodeId>,
    /// For a leader: up to which entry each other daemon has the log.
    pub replicated: BTreeMap<NodeId, u64>,
    /// Uuid of its store.
    pub store: u128,
    /// How often that store was opened.
    pub incarnation: u64,
    /// How often HA was made anew, as it knows.
    pub generation: u64,
}
