//! Devices: formats, errors, failure. FAILED is final for an incarnation; only a new format brings a device back.

#[cfg(test)]
mod tests;

use types::map::{Group, GroupView, Slots};
use types::state::DeviceState;
use types::{DeviceId, Epoch, GroupId, Incarnation};

use super::State;
use crate::command::Found;
use crate::event::{Subject, cut};
use crate::outcome::{Done, Outcome, Refused};

impl State {
    /// The state of a device whose process registers; true where it begins a new incarnation.
    pub(super) fn register_device(&mut self, id: DeviceId, found: Option<Found>) -> bool {
        let Some(device) = self.map.devices.get(&id) else { return false };
        let known = device.incarnation;
        let failed = device.state == DeviceState::Failed;
        let uuid = self.devices.get(&id).and_then(|d| d.uuid);
        match found {
            Some(Found::Blank) => {
                // What it had has moved, or does: it is to have its share again.
                if failed || self.leaving.contains(&id) {
                    self.begin_rebalance();
                }
                self.begin_incarnation(id);
                true
            }
            Some(Found::Formatted { incarnation, .. }) if failed && incarnation == known => false,
            Some(Found::Formatted { uuid: seen, incarnation })
                if incarnation == known && known.0 != 0 && uuid.is_none_or(|u| u == seen) =>
            {
                if let Some(extra) = self.devices.get_mut(&id) {
                    extra.uuid = Some(seen);
                }
                self.set_device(id, DeviceState::Recovering, "found");
                false
            }
            Some(Found::Formatted { incarnation, .. }) => {
                self.set_away(id, failed, &format!("it carries {incarnation}, the cluster knows {known}: wipe it to use it as a new one"));
                false
            }
            Some(Found::Unusable) => {
                self.set_away(id, failed, "it does not open: the log of its process says why");
                false
            }
            Some(Found::OtherCluster) => {
                self.set_away(
                    id,
                    failed,
                    "a device of another cluster lies there: put the right one there, or wipe it to use it as a new one",
                );
                false
            }
            Some(Found::OtherDevice) => {
                self.set_away(id, failed, "another device of this cluster lies there: put each into its place");
                false
            }
            Some(Found::Newer) => {
                self.set_away(id, failed, "newer software wrote it: install that on this node");
                false
            }
            None => {
                self.set_away(id, failed, "not found");
                false
            }
        }
    }

    fn set_away(&mut self, id: DeviceId, failed: bool, reason: &str) {
        if failed {
            return;
        }
        let was_away = self.map.devices.get(&id).is_some_and(|device| device.state == DeviceState::Transient && device.reason != reason);
        self.set_device(id, DeviceState::Transient, reason);
        if was_away {
            // It was away with its process, and that process, which is back, does not use it.
            self.note(Subject::Device(id), "left alone", reason);
        }
    }

    fn begin_incarnation(&mut self, id: DeviceId) {
        let holds_groups = self.map.groups.values().any(|g| g.devices().contains(&id));
        self.empty_slots_of(id);
        // What was to be replaced is.
        self.leaving.remove(&id);
        let incarnation = Incarnation(self.map.index);
        if let Some(device) = self.map.devices.get_mut(&id) {
            device.incarnation = incarnation;
            device.registered = Epoch(incarnation.0);
        }
        if let Some(extra) = self.devices.get_mut(&id) {
            (extra.uuid, extra.errors, extra.last_report, extra.blank) = (None, 0, Default::default(), holds_groups);
        }
        self.set_device(id, DeviceState::Recovering, "blank: a new incarnation");
    }

    pub(super) fn set_device(&mut self, id: DeviceId, state: DeviceState, reason: &str) {
        let now = self.map.ha_time;
        let Some(device) = self.map.devices.get_mut(&id) else { return };
        let before = std::mem::replace(&mut device.state, state);
        device.reason = cut(reason);
        if before != state {
            if let Some(extra) = self.devices.get_mut(&id) {
                extra.since = now;
            }
            self.note(Subject::Device(id), &format!("{before} -> {state}"), reason);
        }
    }

    pub(super) fn device_error(&mut self, id: DeviceId, incarnation: Incarnation, count: u32, error: &str, report: u64) -> Outcome {
        let Some(device) = self.map.devices.get(&id) else { return Err(Refused::NoDevice(id)) };
        if device.incarnation != incarnation {
            return Err(Refused::OldIncarnation { device: id, incarnation });
        }
        let boot = self.map.nodes.get(&device.node).map(|n| n.boot).unwrap_or_default();
        let Some(extra) = self.devices.get_mut(&id) else { return Err(Refused::NoDevice(id)) };
        let (last_boot, last) = extra.last_report;
        if last_boot == boot && report <= last {
            return Ok(Done::AlreadySo);
        }
        extra.last_report = (boot, report);
        extra.errors = extra.errors.saturating_add(u64::from(count));
        let what = format!("{count} errors, {} in all", extra.errors);
        self.note(Subject::Device(id), &what, error);
        Ok(Done::Changed)
    }

    /// No log is kept for a device any longer. Never for so many that a group has no majority of members that have everything.
    pub(super) fn device_lags(&mut self, id: DeviceId, incarnation: Incarnation, reason: &str) -> Outcome {
        let Some(device) = self.map.devices.get(&id) else { return Err(Refused::NoDevice(id)) };
        if device.incarnation != incarnation || !matches!(device.state, DeviceState::Transient | DeviceState::Recovering) {
            return Err(Refused::OldIncarnation { device: id, incarnation });
        }
        if !self.is_whole(id) {
            return Ok(Done::AlreadySo);
        }
        if let Some(group) = self.short_of_members_without(id) {
            let problem = format!("without {id}, fewer than f+1 of its members have everything");
            return Err(Refused::Placement { group, problem });
        }
        self.move_epoch();
        if let Some(extra) = self.devices.get_mut(&id) {
            extra.blank = true;
        }
        self.note(Subject::Device(id), "is to be copied anew", reason);
        self.reissue_for_device(id, false);
        Ok(Done::Changed)
    }

    /// Whether a device is in use or away, with everything that its replicated groups are to have.
    pub(super) fn is_whole(&self, id: DeviceId) -> bool {
        let failed = self.map.devices.get(&id).is_none_or(|d| d.state == DeviceState::Failed);
        !failed && self.devices.get(&id).is_some_and(|extra| !extra.blank)
    }

    /// A replicated group that has `id` and would have fewer than f+1 whole members without it.
    pub(super) fn short_of_members_without(&self, id: DeviceId) -> Option<GroupId> {
        let whole_without = |view: &GroupView| view.members.iter().filter(|member| **member != id && self.is_whole(**member)).count();
        self.map.groups.iter().find_map(|(group, of)| match of {
            Group::Replicated(view) if view.members.contains(&id) && whole_without(view) < view.quorum() => Some(*group),
            _ => None,
        })
    }

    /// An erasure-coded group that has `id` and would have fewer than N slots with their units without it.
    fn short_of_units_without(&self, id: DeviceId) -> Option<GroupId> {
        self.map.groups.iter().find_map(|(group, of)| match of {
            Group::Erasure(Slots { slots, .. }) => {
                let is_source = self.unfilled.get(group).is_some_and(|lacking| lacking.values().any(|from| *from == Some(id)));
                if is_source && self.sound_slots(*group) < self.data_units(*group) {
                    return Some(*group);
                }
                let slot = slots.iter().position(|device| *device == Some(id))?;
                // What it lacks itself it does not take away.
                let needed = !self.is_unfilled(*group, slot) && self.sound_slots(*group).saturating_sub(1) < self.data_units(*group);
                needed.then_some(*group)
            }
            Group::Replicated(_) => None,
        })
    }

    /// A group that cannot do without what is on a device.
    pub fn group_that_needs(&self, id: DeviceId) -> Option<GroupId> {
        let members = self.is_whole(id).then(|| self.short_of_members_without(id)).flatten();
        members.or_else(|| self.short_of_units_without(id))
    }

    /// A device answers nothing any more. It may be what lies below several of them that stalls, and FAILED is final: what a group cannot do
    /// without is away instead.
    pub(super) fn device_hangs(&mut self, id: DeviceId, incarnation: Incarnation, reason: &str) -> Outcome {
        let Some(device) = self.map.devices.get(&id) else { return Err(Refused::NoDevice(id)) };
        if device.incarnation != incarnation {
            return Err(Refused::OldIncarnation { device: id, incarnation });
        }
        if !device.state.is_writable() {
            return Ok(Done::AlreadySo);
        }
        let Some(group) = self.group_that_needs(id) else { return self.device_failed(id, incarnation, true, reason) };
        self.move_epoch();
        self.set_device(id, DeviceState::Transient, &format!("{reason}; not FAILED: group {group} has too few without it"));
        self.reissue_for_device(id, true);
        Ok(Done::Changed)
    }

    pub(super) fn device_failed(&mut self, id: DeviceId, incarnation: Incarnation, ended: bool, reason: &str) -> Outcome {
        let Some(device) = self.map.devices.get(&id) else { return Err(Refused::NoDevice(id)) };
        if device.incarnation != incarnation {
            return Err(Refused::OldIncarnation { device: id, incarnation });
        }
        if device.state == DeviceState::Failed {
            return Ok(Done::AlreadySo);
        }
        self.move_epoch();
        self.set_device(id, DeviceState::Failed, reason);
        self.forget_source(id);
        self.reissue_for_device(id, ended);
        Ok(Done::Changed)
    }
}
