//! A node is replaced: new hardware takes its name, its number and its addresses, with blank disks and a blank store of HA.
//!
//! ```text
//! AskNode(Replace) --> it is in maintenance: primaries leave it, nothing is given to it. Its processes are stopped, where they still run;
//!                      its daemon loses its vote, then its membership
//!        --NodeOut---> what is on its devices counts as lost, the store of its daemon is nobody's: another one may take the name
//!        --RegisterProcess--> it is back, its maintenance is over; its devices are filled, its daemon follows, and votes where one is missing
//!        --NodeReplaced-----> nothing is missing on it
//! ```
//! What is left to do is seen from the state and from the members of the Raft group, so any leader goes on with it. No vote is given twice: the
//! store that voted is out of the group by an entry that is committed before the one that lets another in.

#[cfg(test)]
mod tests;

use serde::{Deserialize, Serialize};
use types::map::{Group, GroupView};
use types::state::{DeviceState, ProcessState};
use types::{DeviceId, GroupId, HaTime, NodeId};

use super::{State, is_live};
use crate::event::Subject;
use crate::outcome::{Done, Outcome, Refused};

/// A node that is being replaced.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Replacing {
    /// HA time when an operator asked for it.
    pub since: HaTime,
    /// The entry with which what it was is out.
    pub out: Option<u64>,
}

impl State {
    /// Nodes that are being replaced.
    pub fn replacing(&self) -> &std::collections::BTreeMap<NodeId, Replacing> {
        &self.replacing
    }

    /// Stores of HA daemons that may never take part again: their nodes were replaced.
    pub fn former_stores(&self) -> &std::collections::BTreeSet<u128> {
        &self.former_stores
    }

    /// Whether a node is to be replaced, and what it was takes part still.
    pub fn is_to_go_out(&self, id: NodeId) -> bool {
        self.replacing.get(&id).is_some_and(|replacing| replacing.out.is_none())
    }

    /// The new hardware is to come, or what is there is to stay after all.
    pub(super) fn ask_replacement(&mut self, id: NodeId) -> Outcome {
        let Some(node) = self.map.nodes.get(&id) else { return Err(Refused::NoNode(id)) };
        let refused = |why: String| Err(Refused::NotReplaceable { node: id, why });
        if self.replacing.contains_key(&id) {
            return Ok(Done::AlreadySo);
        }
        if self.removing.contains(&id) {
            return refused("it is to be removed (`ha node keep` ends that)".into());
        }
        // One whose new hardware is awaited or filled hinders nobody: whether this one can be spared is asked below.
        if let Some(other) = self.replacing.keys().find(|other| self.is_to_go_out(**other)) {
            return refused(format!("{other} is going out: one after the other"));
        }
        if node.boot.0 == 0 {
            return refused("its storage process never started: there is nothing to replace, start it".into());
        }
        if let Some(group) = self.group_that_needs_node(id) {
            return refused(format!("group {group} has too few devices with everything without it"));
        }
        let (name, now) = (node.name.clone(), self.map.ha_time);
        self.replacing.insert(id, Replacing { since: now, out: None });
        self.maintenance.entry(id).or_insert(now);
        self.note(Subject::Process(id), "is to be replaced", &format!("an operator asked for it: `{name}` is to be new hardware"));
        Ok(Done::Changed)
    }

    /// The replacement is taken back, while what the node was is there.
    pub(super) fn keep_hardware(&mut self, id: NodeId) -> Outcome {
        if !self.is_to_go_out(id) {
            let why = "what it was is out already: start the new one, or remove it (`ha node remove`)".into();
            return Err(Refused::NotReplaceable { node: id, why });
        }
        self.replacing.remove(&id);
        self.maintenance.remove(&id);
        self.note(Subject::Process(id), "is to be kept", "an operator asked for it: it is not replaced");
        Ok(Done::Changed)
    }

    /// The node's daemon is no member of the group any more: what it was is out.
    pub(super) fn node_out(&mut self, id: NodeId, store: Option<u128>) -> Outcome {
        let refused = |why: &str| Err(Refused::NotReplaceable { node: id, why: why.into() });
        match (self.map.nodes.get(&id), self.replacing.get(&id)) {
            (None, _) => return Err(Refused::NoNode(id)),
            (_, None) => return refused("nobody wants that"),
            (_, Some(Replacing { out: Some(_), .. })) => return Ok(Done::AlreadySo),
            (Some(node), _) if is_live(node) => return refused("its storage process runs"),
            (Some(node), _) if node.voter => return refused("its HA daemon votes"),
            _ => {}
        }
        if let Some(group) = self.group_that_needs_node(id) {
            return refused(&format!("group {group} has too few devices with everything without it"));
        }
        self.move_epoch();
        self.former_stores.extend(store);
        for device in self.devices_of(id) {
            let holds = self.map.groups.values().any(|group| group.devices().contains(&device));
            self.empty_slots_of(device);
            if let Some(extra) = self.devices.get_mut(&device).filter(|_| holds) {
                extra.blank = true;
            }
            self.reissue_for_device(device, true);
        }
        let out = Some(self.map.index);
        self.replacing.entry(id).and_modify(|replacing| replacing.out = out);
        self.note(Subject::Process(id), "is out", "what was on it counts as lost; new hardware may take its name");
        Ok(Done::Changed)
    }

    /// A process of a node that is being replaced has registered: it may be given things again.
    pub(super) fn is_back(&mut self, id: NodeId) {
        if self.replacing.get(&id).is_some_and(|replacing| replacing.out.is_some()) && self.maintenance.remove(&id).is_some() {
            self.note(Subject::Process(id), "is in maintenance no longer", "it is back as new hardware");
        }
    }

    /// What is missing on a node that is being replaced, if it is out; `None` where nothing is.
    pub fn lacks_still(&self, id: NodeId) -> Option<String> {
        let out = self.replacing.get(&id)?.out?;
        let node = self.map.nodes.get(&id)?;
        if node.boot.0 < out || node.state != ProcessState::Online {
            return Some("its storage process is not ONLINE".into());
        }
        let devices = self.devices_of(id);
        let is_whole = |id: &DeviceId| self.map.devices.get(id).is_some_and(|d| d.state == DeviceState::Online) && self.is_whole(*id);
        if let Some(device) = devices.iter().find(|id| !is_whole(id)) {
            let state = self.map.devices.get(device).map(|d| d.state.to_string()).unwrap_or_default();
            return Some(format!("{device} is {state} and does not have everything"));
        }
        let fills = |view: &GroupView| view.learners.iter().any(|learner| devices.contains(learner));
        let filled = self.map.groups.iter().find(|(_, group)| matches!(group, Group::Replicated(view) if fills(view)));
        filled.map(|(group, _)| format!("a member of group {group} is being filled"))
    }

    pub(super) fn node_replaced(&mut self, id: NodeId) -> Outcome {
        let Some(replacing) = self.replacing.get(&id) else { return Ok(Done::AlreadySo) };
        if replacing.out.is_none() {
            return Err(Refused::NotReplaceable { node: id, why: "what it was takes part still".into() });
        }
        if let Some(why) = self.lacks_still(id) {
            return Err(Refused::NotReplaceable { node: id, why });
        }
        self.replacing.remove(&id);
        let idle = self.devices_of(id).into_iter().any(|device| !self.map.groups.values().any(|group| group.devices().contains(&device)));
        if idle {
            self.begin_rebalance();
        }
        self.note(Subject::Process(id), "is replaced", "nothing is missing on it");
        Ok(Done::Changed)
    }

    /// A group that has too few devices with everything without those of a node.
    fn group_that_needs_node(&self, id: NodeId) -> Option<GroupId> {
        let devices = self.devices_of(id);
        let needs = |(group, of): (&GroupId, &Group)| match of {
            Group::Replicated(view) => {
                let whole = view.members.iter().filter(|member| !devices.contains(member) && self.is_whole(**member)).count();
                view.members.iter().any(|member| devices.contains(member)) && whole < view.quorum()
            }
            Group::Erasure(slots) => {
                let here = slots.slots.iter().enumerate().filter(|(_, device)| device.is_some_and(|id| devices.contains(&id)));
                let sound_here =
                    here.clone().filter(|(slot, device)| !device.is_none_or(|id| self.has_failed(id)) && !self.is_unfilled(*group, *slot));
                let sources = self.unfilled.get(group).is_some_and(|of| of.values().flatten().any(|from| devices.contains(from)));
                (here.clone().count() > 0 || sources)
                    && self.sound_slots(*group).saturating_sub(sound_here.count()) < self.data_units(*group)
            }
        };
        self.map.groups.iter().find(|(group, of)| needs((group, of))).map(|(group, _)| *group)
    }
}
