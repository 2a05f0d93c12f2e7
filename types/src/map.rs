//! The cluster map: what a client or a node has to know to find its way, derived by HA from its state.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::scheme::{FailureDomain, Scheme};
use crate::state::{DeviceState, ProcessState};
use crate::{Boot, CatalogueId, ClusterId, DeviceId, DiskGroupId, Epoch, GroupId, HaTime, Incarnation, NodeId, PoolId, ViewNumber};

/// The cluster as of one HA log index.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ClusterMap {
    /// Which cluster.
    pub cluster: ClusterId,
    /// The HA log index that the map is of: a subscriber's cursor.
    pub index: u64,
    /// The epoch as of that index.
    pub epoch: Epoch,
    /// HA time when the map was made.
    pub ha_time: HaTime,
    /// Nodes and their processes.
    pub nodes: BTreeMap<NodeId, Node>,
    /// Devices.
    pub devices: BTreeMap<DeviceId, Device>,
    /// Pools.
    pub pools: BTreeMap<PoolId, Pool>,
    /// Placement groups.
    pub groups: BTreeMap<GroupId, Group>,
    /// Catalogues: buckets and user indices.
    pub catalogues: BTreeMap<CatalogueId, Catalogue>,
}

/// A node with its one storage process.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Node {
    /// The node's id.
    pub id: NodeId,
    /// The operator's name for it, `node-1`.
    pub name: String,
    /// Which storage set it is of.
    pub storage_set: u16,
    /// Which rack it is in.
    pub rack: u16,
    /// `host:port` of its HA daemon (gRPC).
    pub ha_address: String,
    /// `host:port` of its storage process (fabric).
    pub fabric_address: String,
    /// State of the storage process.
    pub state: ProcessState,
    /// Boot of the storage process; 0 where it never started.
    pub boot: Boot,
    /// Whether its HA daemon votes.
    pub voter: bool,
}

/// A device.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Device {
    /// The device's id.
    pub id: DeviceId,
    /// The node that it is in.
    pub node: NodeId,
    /// Its disk group.
    pub disk_group: DiskGroupId,
    /// What HA says of it.
    pub state: DeviceState,
    /// Its format; 0 where it was never formatted.
    pub incarnation: Incarnation,
    /// The epoch in which that format was registered.
    pub registered: Epoch,
    /// Size for objects, in bytes.
    pub bytes: u64,
    /// Why it is in this state, in words.
    pub reason: String,
}

/// A pool.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pool {
    /// The pool's id.
    pub id: PoolId,
    /// The operator's name for it.
    pub name: String,
    /// How it protects.
    pub scheme: Scheme,
    /// What may fail as one.
    pub failure_domain: FailureDomain,
    /// The devices that it may use.
    pub devices: Vec<DeviceId>,
    /// How many groups it has.
    pub groups: u32,
    /// Where the default policy tries it: lower is earlier; erasure-coded pools only.
    pub priority: u8,
}

/// The member that one view names as primary.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Primary {
    /// Which device.
    pub device: DeviceId,
    /// Which start of its process: no other start acts as primary in this view.
    pub boot: Boot,
}

/// A placement group.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Group {
    /// One of a replicated pool.
    Replicated(GroupView),
    /// One of an erasure-coded pool.
    Erasure(Slots),
}

/// View of a replicated group, see `dtm.md`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct GroupView {
    /// The epoch that last changed the group.
    pub number: ViewNumber,
    /// The epoch that created the group.
    pub created: Epoch,
    /// The primary; `None` where no member can be one now.
    pub primary: Option<Primary>,
    /// The members, `2f+1` of them.
    pub members: Vec<DeviceId>,
    /// The member set of the last view that HA recorded as active.
    pub old: Vec<DeviceId>,
    /// Members to be, being filled.
    pub learners: Vec<DeviceId>,
    /// The last view that HA recorded as active; 0 before the first.
    pub active: ViewNumber,
}

impl GroupView {
    /// f+1 of the members.
    pub fn quorum(&self) -> usize {
        self.members.len() / 2 + 1
    }

    /// Whether a device that had the group may forget it: it is neither member nor learner, and a view without it was recorded active, so that no
    /// change of view asks for what it holds.
    pub fn has_let_go(&self, device: DeviceId) -> bool {
        let named = self.members.contains(&device) || self.learners.contains(&device);
        !named && (self.active == self.number || !self.old.contains(&device))
    }
}

/// View of an erasure-coded group.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Slots {
    /// Raised by any change of a slot; fences unit writes.
    pub number: ViewNumber,
    /// One device a slot, data units first; `None` where no legal device is left.
    pub slots: Vec<Option<DeviceId>>,
}

impl Group {
    /// The number of the group's view.
    pub fn number(&self) -> ViewNumber {
        match self {
            Self::Replicated(view) => view.number,
            Self::Erasure(slots) => slots.number,
        }
    }

    /// Every device that holds a part of the group.
    pub fn devices(&self) -> Vec<DeviceId> {
        match self {
            Self::Replicated(view) => view.members.iter().chain(&view.learners).copied().collect(),
            Self::Erasure(slots) => slots.slots.iter().flatten().copied().collect(),
        }
    }
}

/// What a catalogue is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum CatalogueKind {
    /// Object records: a bucket.
    Bucket,
    /// A user's keys and values.
    Index,
}

/// An ordered map of keys over some groups of a replicated pool.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Catalogue {
    /// The catalogue's id, never used again.
    pub id: CatalogueId,
    /// The user's name for it.
    pub name: String,
    /// What it is for.
    pub kind: CatalogueKind,
    /// The replicated pool whose groups hold it.
    pub pool: PoolId,
    /// Its first group in the pool; the others follow, around the end.
    pub first_group: u32,
    /// How many groups it spans.
    pub width: u32,
}

impl ClusterMap {
    /// The catalogue of that kind and name.
    pub fn catalogue_named(&self, kind: CatalogueKind, name: &str) -> Option<&Catalogue> {
        self.catalogues.values().find(|c| c.kind == kind && c.name == name)
    }

    /// The pool of that name.
    pub fn pool_named(&self, name: &str) -> Option<&Pool> {
        self.pools.values().find(|p| p.name == name)
    }

    /// The node that a device is in.
    pub fn node_of(&self, device: DeviceId) -> Option<&Node> {
        self.nodes.get(&self.devices.get(&device)?.node)
    }

    /// The view of a replicated group.
    pub fn view(&self, group: GroupId) -> Option<&GroupView> {
        match self.groups.get(&group)? {
            Group::Replicated(view) => Some(view),
            Group::Erasure(_) => None,
        }
    }

    /// The slots of an erasure-coded group.
    pub fn slots(&self, group: GroupId) -> Option<&Slots> {
        match self.groups.get(&group)? {
            Group::Erasure(slots) => Some(slots),
            Group::Replicated(_) => None,
        }
    }
}
