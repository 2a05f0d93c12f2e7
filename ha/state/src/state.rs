//! The state itself and the one way to change it: [`State::apply`].
//!
//! The part that everybody needs is a [`ClusterMap`], kept as such; beside it stands what only HA and the processes need. A rejected
//! command leaves everything but the cursor and HA time untouched. The epoch moves with every change of configuration, states or
//! placement, and with nothing else.

mod accounts;
mod anew;
mod away;
mod buckets;
mod device;
mod growth;
mod members;
mod placement;
mod process;
mod records;
mod removal;
mod replacement;
mod slots;
mod targets;
#[cfg(test)]
mod tests;
mod views;

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use serde::{Deserialize, Serialize};
use types::codec::{CodecError, decode, encode};
use types::map::{CatalogueKind, ClusterMap, Group, Node, Pool, Primary};
use types::quota::Quota;
use types::records::{Account, Bucket, Target};
use types::state::ProcessState;
use types::{Boot, CatalogueId, DeviceId, Epoch, GroupId, HaTime, NodeId, PoolId, SessionId};

use crate::command::{Change, ClusterWish, Command, versioned};
use crate::event::{EVENTS_MAX, Event, Subject, cut};
use crate::outcome::{Done, Outcome, Refused};
use crate::topology::Topology;

pub use anew::ANEW_ENTRIES;
pub use away::{AwayPolicy, DEVICE_AWAY_MS, Fate, Why};
pub use growth::Rebalance;
pub use members::Filled;
pub use records::{CATALOGUE_WIDTH, CATALOGUES_MAX, DEFAULT_BUCKET, Dropped, SESSIONS_MAX, Session};
pub use replacement::Replacing;
pub use slots::{FilledSlot, Unfilled};
pub use views::Fitness;

/// Version of the byte form of a snapshot, its first byte.
pub const SNAPSHOT_VERSION: u8 = 5;
/// The versions before. What came with a version stands at the end, and was empty then.
const SNAPSHOT_VERSION_1: u8 = 1;
const SNAPSHOT_VERSION_2: u8 = 2;
const SNAPSHOT_VERSION_3: u8 = 3;
const SNAPSHOT_VERSION_4: u8 = 4;

/// What HA replicates.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct State {
    map: ClusterMap,
    topology: Option<Topology>,
    processes: BTreeMap<NodeId, Process>,
    devices: BTreeMap<DeviceId, DeviceExtra>,
    groups: BTreeMap<GroupId, GroupExtra>,
    sessions: BTreeMap<SessionId, Session>,
    catalogues_made: u64,
    events: VecDeque<Event>,
    /// Event being written: time and cause of the command in hand.
    wall_ms: u64,
    /// Since version 2: catalogues that are being emptied.
    dropped: BTreeMap<CatalogueId, Dropped>,
    /// Since version 2: devices that were formatted anew while slots of erasure-coded groups were on them; what those held is not there.
    units_missing: BTreeSet<DeviceId>,
    /// Since version 3: learners that hold what their groups hold.
    filled: BTreeMap<GroupId, Filled>,
    /// Since version 3: devices that an operator wants replaced.
    leaving: BTreeSet<DeviceId>,
    /// Since version 4: what is kept of buckets beside the map.
    buckets: BTreeMap<CatalogueId, Bucket>,
    /// Since version 4: who may use S3.
    accounts: BTreeMap<String, Account>,
    /// Since version 4: devices that an operator asked to be scrubbed, with the entry that last did.
    scrubs: BTreeMap<DeviceId, u64>,
    /// Since version 4: slots that lack units.
    unfilled: BTreeMap<GroupId, Unfilled>,
    /// Since version 4: an operator wants nothing rebuilt.
    repair_paused: bool,
    /// Since version 5: places are being spread over all devices.
    rebalance: Option<Rebalance>,
    /// Since version 5: names of accounts that were deleted.
    former_accounts: BTreeSet<String>,
    /// Since version 5: for how long what is away is waited for.
    away_policy: AwayPolicy,
    /// Since version 5: nodes in maintenance, since when.
    maintenance: BTreeMap<NodeId, HaTime>,
    /// Since version 5: from when on the absence of a node counts whose maintenance ended while it was away.
    counted_from: BTreeMap<NodeId, HaTime>,
    /// Since version 5: nodes that an operator wants to be rid of.
    removing: BTreeSet<NodeId>,
    /// Since version 5: the greatest numbers of nodes and devices that were removed.
    used: (NodeId, DeviceId),
    /// Since version 5: nodes that are being replaced.
    replacing: BTreeMap<NodeId, Replacing>,
    /// Since version 5: stores of HA daemons that may never take part again.
    former_stores: BTreeSet<u128>,
    /// Since version 5: how much the buckets of an account may hold together, where that is bounded.
    quotas: BTreeMap<String, Quota>,
    /// Since version 5: whom events may be told to.
    targets: BTreeMap<String, Target>,
}

/// What HA knows of a node's process beside the map.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Process {
    /// Its process id on its node.
    pub pid: u32,
    /// Which registration gave it its boot.
    pub nonce: u64,
    /// The epoch that announced its boot RECOVERING.
    pub announced: Epoch,
    /// HA time of its last change of state.
    pub since: HaTime,
    /// Why it is in this state, in words.
    pub reason: String,
}

/// What HA knows of a device beside the map.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeviceExtra {
    /// Uuid of its format, once it was seen.
    pub uuid: Option<u128>,
    /// It holds less than its groups: formatted anew after they were put on it, or away for so long that no log is kept for it; and not filled
    /// since. No primary, and no log waits for it while it is away.
    pub blank: bool,
    /// Errors reported in this incarnation.
    pub errors: u64,
    /// The last report counted: of which boot, and its number.
    pub last_report: (Boot, u64),
    /// HA time of its last change of state.
    pub since: HaTime,
}

/// What HA knows of a replicated group beside the map.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct GroupExtra {
    /// Members of the last view recorded active; the first members before any was.
    pub active_members: Vec<DeviceId>,
    /// The primary that was told to give up, and may not know yet.
    pub stepping_down: Option<Primary>,
}

impl State {
    /// The state before the first command.
    pub fn new() -> Self {
        Self::default()
    }

    /// Applies entry `index` of the log. Total and deterministic; no effect but on the cursor where it is refused.
    pub fn apply(&mut self, index: u64, command: &Command) -> Outcome {
        if index <= self.map.index {
            return Err(Refused::Replayed { index, last: self.map.index });
        }
        self.map.index = index;
        self.map.ha_time = self.map.ha_time.max(command.at);
        self.wall_ms = command.wall_ms;
        if self.topology.is_none() && !matches!(command.change, Change::Bootstrap(_)) {
            return Err(Refused::NotCreated);
        }
        match &command.change {
            Change::Bootstrap(topology) => self.bootstrap(topology),
            Change::RegisterProcess { node, pid, nonce, devices } => self.register(*node, *pid, *nonce, devices),
            Change::ProcessLost { node, boot, reason } => self.process_lost(*node, *boot, *reason),
            Change::Recovered { boot, epoch } => self.recovered(*boot, *epoch),
            Change::Active { boot, groups } => self.record_active(*boot, groups),
            Change::ChangeViews(changes) => self.change_views(changes),
            Change::CreateGroups { pool, groups } => self.create_groups(*pool, groups),
            Change::SetPlacement(moves) => self.set_placement(moves),
            Change::DeviceError { device, incarnation, count, error, report } => {
                self.device_error(*device, *incarnation, *count, error, *report)
            }
            Change::DeviceFailed { device, incarnation, ended, reason } => self.device_failed(*device, *incarnation, *ended, reason),
            Change::DeviceLags { device, incarnation, reason } => self.device_lags(*device, *incarnation, reason),
            Change::DeviceHangs { device, incarnation, reason } => self.device_hangs(*device, *incarnation, reason),
            Change::Filled { boot, groups } => self.record_filled(*boot, groups),
            Change::AskDevice { device, incarnation, wish } => self.ask_device(*device, *incarnation, *wish),
            Change::CreateCatalogue { name, kind, pool, width } => self.create_catalogue(name, *kind, *pool, *width),
            Change::DropCatalogue { id } => self.drop_catalogue(*id),
            Change::CataloguesEmptied { boot, emptied } => self.catalogues_emptied(*boot, emptied),
            Change::OpenSession { nonce, name } => self.open_session(*nonce, name),
            Change::CloseSession { session } => self.close_session(*session),
            Change::SlotsFilled { boot, slots } => self.slots_filled(*boot, slots),
            Change::AskCluster(ClusterWish::PauseRepair) => self.pause_repair(true),
            Change::AskCluster(ClusterWish::ResumeRepair) => self.pause_repair(false),
            Change::AskCluster(ClusterWish::DeviceAway(ms)) => self.set_away_policy(*ms, self.away_policy.node_ms),
            Change::AskCluster(ClusterWish::NodeAway(ms)) => self.set_away_policy(self.away_policy.device_ms, *ms),
            Change::AskCluster(wish) => self.ask_rebalance(*wish),
            Change::AskNode { node, wish } => self.ask_node(*node, *wish),
            Change::GiveUp { device, incarnation } => self.give_up(*device, *incarnation),
            Change::AddNode { node, devices } => self.add_node(node, devices),
            Change::Balanced(epoch) => self.balanced(*epoch),
            Change::RemoveNode(node) => self.remove_node(*node),
            Change::NodeOut { node, store } => self.node_out(*node, *store),
            Change::NodeReplaced(node) => self.node_replaced(*node),
            Change::AdvanceTime => Ok(Done::Changed),
            Change::SetVoters(voters) => self.set_voters(voters),
            Change::Record(change) => self.change_record(change),
        }
    }

    /// Entry `index` of the log holds no command of ours (Raft's own): only the cursor moves.
    pub fn pass(&mut self, index: u64) {
        self.map.index = self.map.index.max(index);
    }

    /// The cluster map as of the last entry.
    pub fn map(&self) -> &ClusterMap {
        &self.map
    }

    /// The topology: as the cluster was created, and what was added since.
    pub fn topology(&self) -> Option<&Topology> {
        self.topology.as_ref()
    }

    /// The last entry taken in.
    pub fn index(&self) -> u64 {
        self.map.index
    }

    /// The last entry that changed configuration, states or placement.
    pub fn epoch(&self) -> Epoch {
        self.map.epoch
    }

    /// The greatest HA time that a command carried.
    pub fn ha_time(&self) -> HaTime {
        self.map.ha_time
    }

    /// The history, oldest first, at most [`EVENTS_MAX`].
    pub fn events(&self) -> impl DoubleEndedIterator<Item = &Event> + ExactSizeIterator {
        self.events.iter()
    }

    /// The history after entry `index`, oldest first.
    pub fn events_after(&self, index: u64) -> impl Iterator<Item = &Event> {
        let first = self.events.partition_point(|event| event.index <= index);
        self.events.range(first..)
    }

    /// What HA knows of a node's process beside the map.
    pub fn process(&self, node: NodeId) -> Option<&Process> {
        self.processes.get(&node)
    }

    /// What HA knows of a device beside the map.
    pub fn device(&self, device: DeviceId) -> Option<&DeviceExtra> {
        self.devices.get(&device)
    }

    /// What HA knows of a replicated group beside the map.
    pub fn group(&self, group: GroupId) -> Option<&GroupExtra> {
        self.groups.get(&group)
    }

    /// Catalogues that were dropped and are not empty yet.
    pub fn dropped(&self) -> &BTreeMap<CatalogueId, Dropped> {
        &self.dropped
    }

    /// Devices whose units of before their last format are not there.
    pub fn units_missing(&self) -> &BTreeSet<DeviceId> {
        &self.units_missing
    }

    /// Devices that an operator asked to be scrubbed, with the entry that last did.
    pub fn scrubs(&self) -> &BTreeMap<DeviceId, u64> {
        &self.scrubs
    }

    /// Open sessions of writers, processes and clients.
    pub fn sessions(&self) -> &BTreeMap<SessionId, Session> {
        &self.sessions
    }

    /// Whether what a writer of that session sends may still be accepted. One that is not known yet has an id above [`State::index`]: take
    /// in the log first.
    pub fn session_is_open(&self, session: SessionId) -> bool {
        self.sessions.contains_key(&session)
    }

    /// The node whose live process has that boot.
    pub fn live(&self, boot: Boot) -> Option<NodeId> {
        self.map.nodes.values().find(|n| n.boot == boot && is_live(n)).map(|n| n.id)
    }

    /// The bytes of the whole state, for Raft's snapshots and for subscribers.
    pub fn encode(&self) -> Vec<u8> {
        let mut bytes = vec![SNAPSHOT_VERSION];
        bytes.extend_from_slice(&encode(self));
        bytes
    }

    /// The state of those bytes; a version that this software does not know is an error.
    pub fn decode(bytes: &[u8]) -> Result<Self, CodecError> {
        let since_2 = || encode(&(BTreeMap::<CatalogueId, Dropped>::new(), BTreeSet::<DeviceId>::new()));
        let since_3 = encode(&(BTreeMap::<GroupId, Filled>::new(), BTreeSet::<DeviceId>::new()));
        let records = encode(&(BTreeMap::<CatalogueId, Bucket>::new(), BTreeMap::<String, Account>::new()));
        let repair = encode(&(BTreeMap::<DeviceId, u64>::new(), BTreeMap::<GroupId, Unfilled>::new(), false));
        let away = (AwayPolicy::default(), BTreeMap::<NodeId, HaTime>::new(), BTreeMap::<NodeId, HaTime>::new());
        let removal = (BTreeSet::<NodeId>::new(), (NodeId::default(), DeviceId::default()));
        let replacement = (BTreeMap::<NodeId, Replacing>::new(), BTreeSet::<u128>::new());
        let records_since_5 = (BTreeMap::<String, Quota>::new(), BTreeMap::<String, Target>::new());
        let since_5 = encode(&(None::<Rebalance>, BTreeSet::<String>::new(), away, removal, replacement, records_since_5));
        let since_4 = [records, repair, since_5.clone()].concat();
        let mut older: Self = match bytes.split_first() {
            Some((&SNAPSHOT_VERSION_1, rest)) => decode(&[rest, &since_2(), &since_3, &since_4].concat())?,
            Some((&SNAPSHOT_VERSION_2, rest)) => decode(&[rest, &since_3, &since_4].concat())?,
            Some((&SNAPSHOT_VERSION_3, rest)) => decode(&[rest, &since_4].concat())?,
            Some((&SNAPSHOT_VERSION_4, rest)) => return decode(&[rest, &since_5].concat()),
            _ => return decode(versioned(bytes, SNAPSHOT_VERSION, "HA snapshot")?),
        };
        // Buckets had no records then.
        let ids: Vec<CatalogueId> = older.map.catalogues.values().filter(|c| c.kind == CatalogueKind::Bucket).map(|c| c.id).collect();
        ids.into_iter().for_each(|id| older.note_bucket(id, "", &BTreeMap::new()));
        // Which slots lacked units was not kept then: all of the devices that lacked some.
        let missing: Vec<DeviceId> = older.units_missing.iter().copied().collect();
        missing.into_iter().for_each(|id| older.empty_slots_of(id));
        Ok(older)
    }

    fn bootstrap(&mut self, topology: &Topology) -> Outcome {
        if let Some(present) = &self.topology {
            return if present == topology { Ok(Done::AlreadySo) } else { Err(Refused::CreatedOtherwise) };
        }
        topology.validate().map_err(Refused::Topology)?;
        self.map.cluster = topology.cluster;
        for n in &topology.nodes {
            self.insert_node(n);
        }
        for d in &topology.devices {
            self.insert_device(d);
        }
        for p in &topology.pools {
            let devices = if p.devices.is_empty() { topology.devices.iter().map(|d| d.id).collect() } else { p.devices.clone() };
            let pool = Pool {
                id: p.id,
                name: p.name.clone(),
                scheme: p.scheme,
                failure_domain: p.failure_domain,
                devices,
                groups: 0,
                priority: p.priority,
            };
            self.map.pools.insert(p.id, pool);
        }
        self.topology = Some(topology.clone());
        self.move_epoch();
        let size = format!("{} nodes, {} devices, {} pools", topology.nodes.len(), topology.devices.len(), topology.pools.len());
        self.note(Subject::Cluster, "created", &size);
        Ok(Done::Changed)
    }

    fn set_voters(&mut self, voters: &[NodeId]) -> Outcome {
        if let Some(stranger) = voters.iter().find(|id| !self.map.nodes.contains_key(id)) {
            return Err(Refused::NoNode(*stranger));
        }
        if self.map.nodes.values().all(|n| n.voter == voters.contains(&n.id)) {
            return Ok(Done::AlreadySo);
        }
        for node in self.map.nodes.values_mut() {
            node.voter = voters.contains(&node.id);
        }
        self.move_epoch();
        let names: Vec<String> = voters.iter().map(ToString::to_string).collect();
        self.note(Subject::Cluster, "voters changed", &names.join(", "));
        Ok(Done::Changed)
    }

    /// The entry in hand changes configuration, states or placement.
    fn move_epoch(&mut self) {
        self.map.epoch = Epoch(self.map.index);
    }

    fn note(&mut self, subject: Subject, what: &str, cause: &str) {
        if self.events.len() == EVENTS_MAX {
            self.events.pop_front();
        }
        let event = Event {
            index: self.map.index,
            epoch: self.map.epoch,
            at: self.map.ha_time,
            wall_ms: self.wall_ms,
            subject,
            what: cut(what),
            cause: cut(cause),
        };
        self.events.push_back(event);
    }

    fn pool(&self, pool: PoolId) -> Option<&Pool> {
        self.map.pools.get(&pool)
    }

    /// Groups of which a device of `node` is a member or a slot.
    fn groups_on(&self, node: NodeId) -> Vec<GroupId> {
        let here = |device: &DeviceId| self.map.devices.get(device).is_some_and(|d| d.node == node);
        let holds = |group: &Group| match group {
            Group::Replicated(view) => view.members.iter().chain(&view.learners).any(here),
            Group::Erasure(slots) => slots.slots.iter().flatten().any(here),
        };
        self.map.groups.iter().filter(|(_, group)| holds(group)).map(|(id, _)| *id).collect()
    }
}

/// Whether the node's process has a boot that is not over.
pub fn is_live(node: &Node) -> bool {
    matches!(node.state, ProcessState::Recovering | ProcessState::Online)
}
