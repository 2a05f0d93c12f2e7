//! What HA says of a group, cut down to what its replicas have to know.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use types::map::{ClusterMap, Device};
use types::state::{DeviceState, ProcessState};
use types::{Boot, DeviceId, Epoch, GroupId, Incarnation, NodeId, ViewNumber};

/// A view of a group with the state of the devices in it, as of an epoch.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Placement {
    /// HA's log is taken in up to here.
    pub epoch: Epoch,
    /// The view's number.
    pub number: ViewNumber,
    /// The view's primary, with the boot that may act as it.
    pub primary: Option<(DeviceId, Boot)>,
    /// The members, `2f+1` of them.
    pub members: Vec<DeviceId>,
    /// Members of the last view recorded active; empty where an operator waived them.
    pub old: Vec<DeviceId>,
    /// Members to be.
    pub learners: Vec<DeviceId>,
    /// Every device named above.
    pub peers: BTreeMap<DeviceId, Peer>,
}

/// What HA says of one device of a group.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Peer {
    /// State of the device; FAILED is final for its incarnation.
    pub state: DeviceState,
    /// Boot of its process.
    pub boot: Boot,
    /// Its format.
    pub incarnation: Incarnation,
    /// The epoch that announced its process RECOVERING, while it is.
    pub recovering: Option<Epoch>,
    /// It holds less than the group, by HA's word: no log waits for it while it is away.
    pub copy: bool,
}

impl Placement {
    /// The placement of a replicated group in a map. `announced` gives the epoch that announced a node's present boot RECOVERING
    /// and `partial` whether a device holds less than its groups (`ha-state` keeps both beside the map).
    pub fn of(map: &ClusterMap, group: GroupId, announced: impl Fn(NodeId) -> Epoch, partial: impl Fn(DeviceId) -> bool) -> Option<Self> {
        let view = map.view(group)?;
        let mut peers = BTreeMap::new();
        for id in view.members.iter().chain(&view.old).chain(&view.learners) {
            let (Some(device), Some(node)) = (map.devices.get(id), map.node_of(*id)) else { continue };
            let recovering = (node.state == ProcessState::Recovering).then(|| announced(node.id));
            let Device { state, incarnation, .. } = *device;
            let peer = Peer { state, boot: node.boot, incarnation, recovering, copy: partial(*id) };
            peers.insert(*id, peer);
        }
        Some(Self {
            epoch: map.epoch,
            number: view.number,
            primary: view.primary.map(|p| (p.device, p.boot)),
            members: view.members.clone(),
            old: view.old.clone(),
            learners: view.learners.clone(),
            peers,
        })
    }

    /// f+1 of the members.
    pub fn quorum(&self) -> usize {
        self.members.len() / 2 + 1
    }
}
