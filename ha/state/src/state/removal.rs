//! Nodes leave the cluster: emptied first, as devices that are to be replaced are, then forgotten.
//!
//! ```text
//! AskNode(Remove) --> its devices are to go: members and slots move to others; its daemon gives up its vote
//!                 --RemoveNode--> nothing of it is in any group: it is in no map any more, and places are spread anew
//! ```

use types::map::Group;
use types::{DeviceId, NodeId};

use super::{State, is_live};
use crate::command::LossReason;
use crate::event::Subject;
use crate::outcome::{Done, Outcome, Refused};

impl State {
    /// Nodes that an operator wants to be rid of.
    pub fn removing(&self) -> &std::collections::BTreeSet<NodeId> {
        &self.removing
    }

    /// The node is to go, or to stay after all.
    pub(super) fn ask_removal(&mut self, id: NodeId, remove: bool) -> Outcome {
        let Some(node) = self.map.nodes.get(&id) else { return Err(Refused::NoNode(id)) };
        let name = node.name.clone();
        let devices = self.devices_of(id);
        match remove {
            true if self.removing.insert(id) => {
                self.leaving.extend(devices);
                if self.replacing.remove(&id).is_some() {
                    self.maintenance.remove(&id);
                }
                self.note(
                    Subject::Process(id),
                    "is to be removed",
                    &format!("an operator asked for it: what `{name}` has moves to others"),
                );
                Ok(Done::Changed)
            }
            false if self.removing.remove(&id) => {
                self.leaving.retain(|device| !devices.contains(device));
                self.note(Subject::Process(id), "is to be kept", "an operator asked for it: what has not moved stays");
                Ok(Done::Changed)
            }
            _ => Ok(Done::AlreadySo),
        }
    }

    /// Why the node cannot be forgotten yet.
    pub fn holds_still(&self, id: NodeId) -> Option<String> {
        let devices = self.devices_of(id);
        let here = |device: &DeviceId| devices.contains(device);
        let uses = |group: &Group| match group {
            // What `old` names is of no use once the view is active.
            Group::Replicated(view) => view.members.iter().chain(&view.learners).any(here) || view.active != view.number,
            Group::Erasure(slots) => slots.slots.iter().flatten().any(here),
        };
        if let Some((group, _)) = self.map.groups.iter().find(|(_, group)| uses(group)) {
            return Some(format!("group {group} has not moved, or is not active without it yet"));
        }
        if self.groups.values().any(|extra| extra.active_members.iter().any(here)) {
            return Some("a group was last active with it".into());
        }
        if self.unfilled.values().flat_map(|slots| slots.values().flatten()).any(here) {
            return Some("slots are being filled from it".into());
        }
        self.map.nodes.get(&id).filter(|node| node.voter).map(|_| "its HA daemon votes".into())
    }

    pub(super) fn remove_node(&mut self, id: NodeId) -> Outcome {
        let Some(node) = self.map.nodes.get(&id) else { return Ok(Done::AlreadySo) };
        if !self.removing.contains(&id) {
            return Err(Refused::NodeInUse { node: id, why: "nobody wants it removed".into() });
        }
        if let Some(why) = self.holds_still(id) {
            return Err(Refused::NodeInUse { node: id, why });
        }
        let (name, boot) = (node.name.clone(), node.boot);
        if is_live(node) {
            self.process_lost(id, boot, LossReason::Stopped)?;
        }
        let devices = self.devices_of(id);
        self.used = (self.used.0.max(id), self.used.1.max(devices.iter().copied().max().unwrap_or_default()));
        for device in &devices {
            self.map.devices.remove(device);
            self.devices.remove(device);
            self.leaving.remove(device);
            self.units_missing.remove(device);
            self.scrubs.remove(device);
        }
        self.map.nodes.remove(&id);
        self.processes.remove(&id);
        self.removing.remove(&id);
        self.maintenance.remove(&id);
        self.counted_from.remove(&id);
        self.map.pools.values_mut().for_each(|pool| pool.devices.retain(|device| !devices.contains(device)));
        if let Some(topology) = &mut self.topology {
            topology.nodes.retain(|node| node.id != id);
            topology.devices.retain(|device| device.node != id);
            topology.pools.iter_mut().for_each(|pool| pool.devices.retain(|device| !devices.contains(device)));
        }
        self.begin_rebalance();
        self.move_epoch();
        self.note(Subject::Process(id), "removed", &format!("`{name}` is empty"));
        Ok(Done::Changed)
    }
}
