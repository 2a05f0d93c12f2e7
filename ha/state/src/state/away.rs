//! What is away, and when that is final: for how long a device or a node is waited for is the cluster's policy, and a node in maintenance is
//! waited for until an operator ends that.
//!
//! ```text
//! TRANSIENT --back--> RECOVERING
//!     |---- policy over, no maintenance, no group needs it ----> FAILED: rebuilt elsewhere
//! ```
//! FAILED is final for a format of a device, so the state itself checks all of that again when the command comes. What it cannot know, whether
//! another device could take the place, is looked at by the director before.

#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::fmt;

use serde::{Deserialize, Serialize};
use types::map::Device;
use types::state::{DeviceState, ProcessState};
use types::{DeviceId, GroupId, HaTime, Incarnation, NodeId};

use super::{State, is_live};
use crate::command::NodeWish;
use crate::event::Subject;
use crate::outcome::{Done, Outcome, Refused};

/// How long a device is waited for, in milliseconds, unless an operator says otherwise. Nodes are, for ever.
pub const DEVICE_AWAY_MS: u64 = 15 * 60 * 1000;

/// For how long what is away is waited for, in milliseconds of HA time; 0 is for ever.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AwayPolicy {
    /// A device that its process, which lives, does not use.
    pub device_ms: u64,
    /// The devices of a node whose process is away.
    pub node_ms: u64,
    /// HA time of its last change: nothing is given up for what was before.
    pub since: HaTime,
}

impl Default for AwayPolicy {
    fn default() -> Self {
        Self { device_ms: DEVICE_AWAY_MS, node_ms: 0, since: HaTime(0) }
    }
}

/// What becomes of a device that is away and does not come back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    /// FAILED at that HA time.
    Fails(HaTime),
    /// Nothing, for now.
    Waits(Why),
}

/// Why a device that is away is waited for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Why {
    /// By the policy, for ever.
    Policy,
    /// Its node is in maintenance.
    Maintenance,
    /// So many nodes of its storage set are away at once: then it is something else.
    NodesAway(usize),
    /// Nothing lies on it that could be rebuilt.
    Unused,
    /// That group cannot do without what is on it.
    Needed(GroupId),
}

impl fmt::Display for Why {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Policy => f.write_str("by the policy it is waited for"),
            Self::Maintenance => f.write_str("its node is in maintenance"),
            Self::NodesAway(count) => write!(f, "{count} nodes of its storage set are away at once"),
            Self::Unused => f.write_str("no group is on it"),
            Self::Needed(group) => write!(f, "group {group} needs what is on it"),
        }
    }
}

impl State {
    /// For how long what is away is waited for.
    pub fn away_policy(&self) -> AwayPolicy {
        self.away_policy
    }

    /// Nodes in maintenance, each with the HA time since when.
    pub fn maintenance(&self) -> &BTreeMap<NodeId, HaTime> {
        &self.maintenance
    }

    /// Whether the node of a device is in maintenance.
    pub fn is_resting(&self, id: DeviceId) -> bool {
        self.map.devices.get(&id).is_some_and(|device| self.maintenance.contains_key(&device.node))
    }

    /// Whether primaries are better off on another device: its groups are to move to others, or its node may be stopped at any time.
    pub fn is_avoided(&self, id: DeviceId) -> bool {
        self.is_going(id) || self.is_resting(id)
    }

    /// Since when the absence of a device counts, for one that is away.
    pub fn away_since(&self, id: DeviceId) -> Option<HaTime> {
        let device = self.away(id)?;
        let times = [
            self.devices.get(&id).map(|extra| extra.since),
            self.processes.get(&device.node).map(|process| process.since),
            self.counted_from.get(&device.node).copied(),
            Some(self.away_policy.since),
        ];
        times.into_iter().flatten().max()
    }

    /// What becomes of a device that is away.
    pub fn fate(&self, id: DeviceId) -> Option<Fate> {
        match self.fate_by_time(id)? {
            Fate::Fails(_) if !self.map.groups.values().any(|group| group.devices().contains(&id)) => Some(Fate::Waits(Why::Unused)),
            Fate::Fails(at) => Some(self.group_that_needs(id).map_or(Fate::Fails(at), |group| Fate::Waits(Why::Needed(group)))),
            waits => Some(waits),
        }
    }

    /// The same without a look at the groups: what fails by this may be waited for.
    pub fn fate_by_time(&self, id: DeviceId) -> Option<Fate> {
        let device = self.away(id)?;
        let node = self.map.nodes.get(&device.node)?;
        if self.maintenance.contains_key(&node.id) {
            return Some(Fate::Waits(Why::Maintenance));
        }
        let borne = if is_live(node) { self.away_policy.device_ms } else { self.away_policy.node_ms };
        if borne == 0 {
            return Some(Fate::Waits(Why::Policy));
        }
        let away = self.nodes_away(node.storage_set);
        if !is_live(node) && away > 1 {
            return Some(Fate::Waits(Why::NodesAway(away)));
        }
        Some(Fate::Fails(HaTime(self.away_since(id)?.0.saturating_add(borne))))
    }

    fn away(&self, id: DeviceId) -> Option<&Device> {
        self.map.devices.get(&id).filter(|device| device.state == DeviceState::Transient)
    }

    /// Nodes of a storage set that are away with devices that are not given up yet.
    fn nodes_away(&self, storage_set: u16) -> usize {
        let waited_for = |node: NodeId| self.map.devices.values().any(|d| d.node == node && d.state == DeviceState::Transient);
        let is_away = |n: &&types::map::Node| n.storage_set == storage_set && n.state == ProcessState::Transient && waited_for(n.id);
        self.map.nodes.values().filter(is_away).count()
    }

    pub(super) fn give_up(&mut self, id: DeviceId, incarnation: Incarnation) -> Outcome {
        let Some(device) = self.map.devices.get(&id) else { return Err(Refused::NoDevice(id)) };
        if device.incarnation != incarnation {
            return Err(Refused::OldIncarnation { device: id, incarnation });
        }
        if device.state == DeviceState::Failed {
            return Ok(Done::AlreadySo);
        }
        match self.fate(id) {
            Some(Fate::Fails(at)) if at <= self.map.ha_time => {}
            Some(Fate::Waits(Why::Needed(group))) => {
                return Err(Refused::Placement { group, problem: format!("too few of its devices have everything without {id}") });
            }
            _ => return Err(Refused::NotOver(id)),
        }
        let since = self.devices.get(&id).map_or(0, |extra| extra.since.0);
        let reason = format!("away for {} s: {}", self.map.ha_time.0.saturating_sub(since) / 1000, device.reason);
        // It has no primary, for it is away; should one not have heard of that yet, it gives up first.
        self.device_failed(id, incarnation, false, &reason)
    }

    pub(super) fn set_away_policy(&mut self, device_ms: u64, node_ms: u64) -> Outcome {
        let policy = AwayPolicy { device_ms, node_ms, since: self.map.ha_time };
        if (AwayPolicy { since: self.away_policy.since, ..policy }) == self.away_policy {
            return Ok(Done::AlreadySo);
        }
        self.away_policy = policy;
        let words = |ms: u64| if ms == 0 { "never".to_owned() } else { format!("after {}.{} s", ms / 1000, ms % 1000 / 100) };
        let what = format!("what is away is given up: devices {}, nodes {}", words(device_ms), words(node_ms));
        self.note(Subject::Cluster, &what, "an operator asked for it");
        Ok(Done::Changed)
    }

    pub(super) fn ask_node(&mut self, id: NodeId, wish: NodeWish) -> Outcome {
        let Some(node) = self.map.nodes.get(&id) else { return Err(Refused::NoNode(id)) };
        let (now, live) = (self.map.ha_time, is_live(node));
        let what = match wish {
            NodeWish::Keep if self.replacing.contains_key(&id) => return self.keep_hardware(id),
            NodeWish::Remove | NodeWish::Keep => return self.ask_removal(id, wish == NodeWish::Remove),
            NodeWish::Replace => return self.ask_replacement(id),
            NodeWish::StartMaintenance if self.maintenance.contains_key(&id) => return Ok(Done::AlreadySo),
            NodeWish::StartMaintenance => {
                self.maintenance.insert(id, now);
                "is in maintenance"
            }
            NodeWish::EndMaintenance if self.maintenance.remove(&id).is_none() => return Ok(Done::AlreadySo),
            NodeWish::EndMaintenance => {
                // What is still away is waited for from now on.
                if live {
                    self.counted_from.remove(&id)
                } else {
                    self.counted_from.insert(id, now)
                };
                "is in maintenance no longer"
            }
        };
        self.note(Subject::Process(id), what, "an operator asked for it");
        Ok(Done::Changed)
    }
}
