//! Members of replicated groups: learners that join, are filled, and take a member's place; devices that an operator wants to be rid of.
//!
//! ```text
//! member FAILED, or to be replaced --Learners--> one learner --Filled--> it holds the group --Replace--> it is a member, with `old` as recorded
//! ```
//! What goes on is seen from the state alone, so any leader goes on with it: who is to go by the devices, who comes by the view, whether it may by
//! `filled`. The present members have to be recorded active before the next change of them.

use std::collections::BTreeSet;

use types::map::Group;
use types::state::DeviceState;
use types::{Boot, DeviceId, GroupId, Incarnation, ViewNumber};

use super::State;
use crate::command::DeviceWish;
use crate::event::Subject;
use crate::outcome::{Done, Outcome, Refused};

/// A learner of a group that its active primary has reported filled: the device, and in which format.
pub type Filled = (DeviceId, Incarnation);

impl State {
    /// Devices that an operator wants replaced: their replicated groups move to others.
    pub fn leaving(&self) -> &BTreeSet<DeviceId> {
        &self.leaving
    }

    /// Devices that take no more groups: an operator is about to take them away.
    pub fn not_for_more(&self) -> BTreeSet<DeviceId> {
        let stopped = self.map.devices.values().filter(|device| self.maintenance().contains_key(&device.node)).map(|device| device.id);
        stopped.chain(self.leaving.iter().copied()).collect()
    }

    /// Whether the learner of a group holds what the group holds.
    pub fn is_filled(&self, group: GroupId, learner: DeviceId) -> bool {
        let incarnation = self.map.devices.get(&learner).map(|d| d.incarnation);
        self.filled.get(&group).is_some_and(|(device, of)| *device == learner && Some(*of) == incarnation)
    }

    /// Whether the groups of a device are to move to others.
    pub fn is_going(&self, id: DeviceId) -> bool {
        let failed = self.map.devices.get(&id).is_none_or(|d| d.state == DeviceState::Failed);
        failed || self.leaving.contains(&id)
    }

    pub(super) fn record_filled(&mut self, boot: Boot, groups: &[(GroupId, ViewNumber, DeviceId, Incarnation)]) -> Outcome {
        let (mut recorded, mut already) = (0, 0);
        for (id, number, learner, incarnation) in groups {
            let Some(view) = self.map.view(*id) else { continue };
            let present = view.number == *number && view.active == *number && view.primary.is_some_and(|p| p.boot == boot);
            let known = self.map.devices.get(learner).is_some_and(|d| d.incarnation == *incarnation);
            if !present || !known || !view.learners.contains(learner) {
                continue;
            }
            if self.filled.insert(*id, (*learner, *incarnation)) == Some((*learner, *incarnation)) {
                already += 1;
                continue;
            }
            recorded += 1;
            self.note(Subject::Group(*id), &format!("{learner} is filled"), "its primary says so");
        }
        match (recorded, already) {
            (0, 0) if !groups.is_empty() => Err(Refused::Superseded),
            (0, _) => Ok(Done::AlreadySo),
            _ => Ok(Done::Changed),
        }
    }

    pub(super) fn ask_device(&mut self, id: DeviceId, incarnation: Incarnation, wish: DeviceWish) -> Outcome {
        let Some(device) = self.map.devices.get(&id) else { return Err(Refused::NoDevice(id)) };
        if device.incarnation != incarnation {
            return Err(Refused::OldIncarnation { device: id, incarnation });
        }
        match wish {
            DeviceWish::Replace if self.leaving.insert(id) => {
                self.note(Subject::Device(id), "is to be replaced", "an operator asked for it: its groups and slots move to others");
                Ok(Done::Changed)
            }
            DeviceWish::Keep if self.leaving.remove(&id) => {
                self.note(Subject::Device(id), "is to be kept", "an operator asked for it: what has not moved stays");
                Ok(Done::Changed)
            }
            DeviceWish::Replace | DeviceWish::Keep => Ok(Done::AlreadySo),
            DeviceWish::Scrub => {
                // Asked again, it is read once more: the entry tells one wish from the next.
                self.scrubs.insert(id, self.map.index);
                self.note(Subject::Device(id), "is to be scrubbed", "an operator asked for it");
                Ok(Done::Changed)
            }
            DeviceWish::Fail if device.state == DeviceState::Failed => Ok(Done::AlreadySo),
            DeviceWish::Fail => {
                if let Some(group) = self.group_that_needs(id) {
                    return Err(Refused::Placement { group, problem: format!("too few of its devices have everything without {id}") });
                }
                // Its process may use it still: its primaries step down first.
                self.device_failed(id, incarnation, false, "an operator gave it up")
            }
        }
    }

    pub(super) fn set_learners(&mut self, id: GroupId, learners: &[DeviceId]) -> bool {
        let Some(view) = self.map.view(id) else { return false };
        let known = learners.iter().all(|d| self.map.devices.contains_key(d) && !view.members.contains(d));
        if !known || learners.len() > view.members.len() || *learners == view.learners {
            return false;
        }
        let what = match learners {
            [] => "has no learner any more".to_owned(),
            some => format!("{} learns", some.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")),
        };
        let primary = view.primary;
        if let Some(Group::Replicated(v)) = self.map.groups.get_mut(&id) {
            v.learners = learners.to_vec();
        }
        self.filled.remove(&id);
        self.issue(id, primary);
        self.move_epoch();
        self.note(Subject::Group(id), &what, "a member is to be replaced, or no longer");
        true
    }

    /// A learner that is filled takes a member's place. Where that is the primary, it gives up first, as for any other reason.
    pub(super) fn replace_member(&mut self, id: GroupId, from: DeviceId, to: DeviceId) -> bool {
        let Some(view) = self.map.view(id) else { return false };
        let settled = self.groups.get(&id).is_some_and(|g| g.active_members == view.members) && view.active.0 != 0;
        if !settled || !view.members.contains(&from) || !view.learners.contains(&to) || !self.is_filled(id, to) {
            return false;
        }
        let primary = view.primary;
        if let Some(Group::Replicated(v)) = self.map.groups.get_mut(&id) {
            for member in v.members.iter_mut().filter(|m| **m == from) {
                *member = to;
            }
            v.learners.retain(|l| *l != to);
        }
        self.filled.remove(&id);
        match primary {
            Some(p) if p.device == from => self.step_down(id, primary),
            _ => self.issue(id, primary),
        }
        self.move_epoch();
        self.note(Subject::Group(id), &format!("{to} takes the place of {from}"), "it is filled");
        true
    }
}
