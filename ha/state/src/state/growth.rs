//! The cluster grows: nodes join it, and places are spread over all devices afterwards.
//!
//! ```text
//! AddNode --> the node is UNKNOWN, its devices too; its processes start, its HA daemon follows the log
//!         --> members and slots move to its devices one by one, by what `layout` wants now --Balanced--> nothing is left to move
//! ```
//! That a rebalance goes on is kept here; what it still has to move is seen from the map, so any leader goes on with it.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};
use types::map::{Device, Group, Node};
use types::state::{DeviceState, ProcessState};
use types::{DeviceId, Epoch};

use super::{DeviceExtra, Process, State};
use crate::command::ClusterWish;
use crate::event::Subject;
use crate::outcome::{Done, Outcome, Refused};
use crate::topology::{DeviceSpec, NodeSpec, PoolSpec, Topology, TopologyError};

/// A rebalance that goes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rebalance {
    /// The entry that last asked for it.
    pub since: u64,
    /// An operator wants nothing moved for it.
    pub paused: bool,
}

impl State {
    /// The rebalance that goes on, if one does.
    pub fn rebalance(&self) -> Option<Rebalance> {
        self.rebalance
    }

    pub(super) fn add_node(&mut self, node: &NodeSpec, devices: &[DeviceSpec]) -> Outcome {
        let Some(present) = &self.topology else { return Err(Refused::NotCreated) };
        let node = NodeSpec { voter: false, ..node.clone() };
        if is_there(present, &node, devices) {
            return Ok(Done::AlreadySo);
        }
        let mut topology = present.clone();
        self.numbers_are_new(present, &node, devices).map_err(Refused::Topology)?;
        topology.nodes.push(node.clone());
        topology.devices.extend_from_slice(devices);
        topology.validate().map_err(Refused::Topology)?;
        self.insert_node(&node);
        for device in devices {
            self.insert_device(device);
        }
        for spec in topology.pools.iter().filter(|spec| takes_all(spec)) {
            if let Some(pool) = self.map.pools.get_mut(&spec.id) {
                pool.devices.extend(devices.iter().map(|d| d.id));
            }
        }
        self.topology = Some(topology);
        self.begin_rebalance();
        self.move_epoch();
        self.note(Subject::Process(node.id), "added", &format!("an operator asked for it: `{}` with {} devices", node.name, devices.len()));
        Ok(Done::Changed)
    }

    /// Places are to be spread anew; where an operator has paused that, it stays paused.
    pub(super) fn begin_rebalance(&mut self) {
        self.rebalance = Some(Rebalance { since: self.map.index, paused: self.rebalance.is_some_and(|r| r.paused) });
    }

    /// A number is given once for life: what was written under it may still lie somewhere.
    fn numbers_are_new(&self, present: &Topology, node: &NodeSpec, devices: &[DeviceSpec]) -> Result<(), TopologyError> {
        let bounds = |what: String, problem: String| Err(TopologyError::Bounds { what, problem });
        if devices.is_empty() {
            return bounds(format!("node `{}`", node.name), "say its devices".into());
        }
        let last = present.nodes.iter().map(|n| n.id).max().unwrap_or_default().max(self.used.0);
        if node.id <= last {
            return bounds(node.id.to_string(), format!("numbers of nodes are given in order, and once: the last is {last}"));
        }
        for device in devices {
            if device.node != node.id {
                return bounds(device.id.to_string(), format!("is in {}, not in {}", device.node, node.id));
            }
            if device.id <= self.used.1 {
                return bounds(
                    device.id.to_string(),
                    format!("numbers of devices are given once: {} was the last of a node that was removed", self.used.1),
                );
            }
        }
        Ok(())
    }

    pub(super) fn insert_node(&mut self, spec: &NodeSpec) {
        let node = Node {
            id: spec.id,
            name: spec.name.clone(),
            storage_set: spec.storage_set,
            rack: spec.rack,
            ha_address: spec.ha_address.clone(),
            fabric_address: spec.fabric_address.clone(),
            state: ProcessState::Unknown,
            boot: types::Boot(0),
            voter: spec.voter,
        };
        self.map.nodes.insert(spec.id, node);
        self.processes.insert(spec.id, Process::default());
    }

    pub(super) fn insert_device(&mut self, spec: &DeviceSpec) {
        let device = Device {
            id: spec.id,
            node: spec.node,
            disk_group: spec.disk_group,
            state: DeviceState::Unknown,
            incarnation: types::Incarnation(0),
            registered: Epoch(0),
            bytes: spec.bytes,
            reason: "never seen".into(),
        };
        self.map.devices.insert(spec.id, device);
        self.devices.insert(spec.id, DeviceExtra::default());
    }

    pub(super) fn ask_rebalance(&mut self, wish: ClusterWish) -> Outcome {
        let next = match (wish, self.rebalance) {
            (ClusterWish::Rebalance, None) => Some(Rebalance { since: self.map.index, paused: false }),
            (ClusterWish::PauseRebalance, Some(present)) => Some(Rebalance { paused: true, ..present }),
            (ClusterWish::Rebalance | ClusterWish::ResumeRebalance, Some(present)) => Some(Rebalance { paused: false, ..present }),
            (_, present) => present,
        };
        if next == self.rebalance {
            return Ok(Done::AlreadySo);
        }
        self.rebalance = next;
        let paused = next.is_some_and(|r| r.paused);
        self.note(Subject::Cluster, if paused { "rebalance is paused" } else { "rebalance goes on" }, "an operator asked for it");
        Ok(Done::Changed)
    }

    /// Nothing was left to move in the state of that epoch.
    pub(super) fn balanced(&mut self, epoch: Epoch) -> Outcome {
        if self.rebalance.is_none() {
            return Ok(Done::AlreadySo);
        }
        if epoch != self.map.epoch {
            return Err(Refused::Superseded);
        }
        self.rebalance = None;
        let used: BTreeSet<DeviceId> = self.map.groups.values().flat_map(Group::devices).collect();
        let idle = self.map.devices.values().filter(|device| device.state.is_readable() && !used.contains(&device.id)).count();
        let words = match idle {
            0 => "every device has its share".to_owned(),
            _ => format!("{idle} devices have no place: no pool takes them, or their storage set has too few nodes for a group"),
        };
        self.note(Subject::Cluster, "rebalance has ended", &words);
        Ok(Done::Changed)
    }
}

fn takes_all(pool: &PoolSpec) -> bool {
    pool.devices.is_empty()
}

fn is_there(present: &Topology, node: &NodeSpec, devices: &[DeviceSpec]) -> bool {
    let same = |known: &NodeSpec| NodeSpec { voter: false, ..known.clone() } == *node;
    let mut known: Vec<&DeviceSpec> = present.devices.iter().filter(|d| d.node == node.id).collect();
    let mut wanted: Vec<&DeviceSpec> = devices.iter().collect();
    known.sort_by_key(|d| d.id);
    wanted.sort_by_key(|d| d.id);
    present.nodes.iter().any(same) && known == wanted
}
