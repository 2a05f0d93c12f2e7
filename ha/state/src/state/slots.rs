//! Slots of erasure-coded groups: they move, and are filled with the units that belong into them.
//!
//! ```text
//! device FAILED, or to go --SetPlacement--> the slot is another device's, not filled --SlotsFilled--> it has all its units
//! device back, blank ------RegisterProcess--> its slots are not filled ----------------SlotsFilled--> it has all its units
//! ```
//! What goes on is seen from the state alone, so any leader goes on with it. Writes under the new view go to the new device; what was written
//! before is rebuilt there by the process that has it, which says when that is done.

use std::collections::{BTreeMap, BTreeSet};

use types::map::{Group, Slots};
use types::state::DeviceState;
use types::{Boot, DeviceId, GroupId, Incarnation, ViewNumber};

use super::State;
use crate::command::GroupSlots;
use crate::event::Subject;
use crate::outcome::{Done, Outcome, Refused};

/// Slots of one group that lack units, each with a device that still has those units, where there is one.
pub type Unfilled = BTreeMap<u8, Option<DeviceId>>;
/// A slot that was filled: of which group, in which view, by which device in which format of it.
pub type FilledSlot = (GroupId, ViewNumber, u8, DeviceId, Incarnation);

impl State {
    /// Slots that lack units of before they came to their device, or of before that was formatted.
    pub fn unfilled(&self) -> &BTreeMap<GroupId, Unfilled> {
        &self.unfilled
    }

    /// Whether nothing is rebuilt because an operator wants it so.
    pub fn repair_is_paused(&self) -> bool {
        self.repair_paused
    }

    /// Whether a slot of a group lacks units.
    pub fn is_unfilled(&self, group: GroupId, slot: usize) -> bool {
        self.unfilled.get(&group).is_some_and(|slots| slots.keys().any(|known| usize::from(*known) == slot))
    }

    /// Slots of a group whose units are all there, on devices that are not given up.
    pub fn sound_slots(&self, group: GroupId) -> usize {
        let Some(Slots { slots, .. }) = self.map.slots(group) else { return 0 };
        let is_sound = |(slot, device): (usize, &Option<DeviceId>)| {
            let failed = device.is_none_or(|id| self.has_failed(id));
            !failed && !self.is_unfilled(group, slot)
        };
        slots.iter().enumerate().filter(|(slot, device)| is_sound((*slot, device))).count()
    }

    /// N of a group.
    pub fn data_units(&self, group: GroupId) -> usize {
        self.pool(group.pool).map_or(0, |pool| pool.scheme.width() - pool.scheme.tolerance())
    }

    pub(super) fn has_failed(&self, id: DeviceId) -> bool {
        self.map.devices.get(&id).is_none_or(|device| device.state == DeviceState::Failed)
    }

    /// Erasure-coded groups with the slots that are on a device.
    fn slots_on(&self, id: DeviceId) -> Vec<(GroupId, u8)> {
        let on = |(group, of): (&GroupId, &Group)| match of {
            Group::Erasure(Slots { slots, .. }) => {
                (0u8..).zip(slots).find(|(_, device)| **device == Some(id)).map(|(slot, _)| (*group, slot))
            }
            Group::Replicated(_) => None,
        };
        self.map.groups.iter().filter_map(on).collect()
    }

    /// A device holds nothing of what it held: its slots are to be filled, and it fills no other.
    pub(super) fn empty_slots_of(&mut self, id: DeviceId) {
        let slots = self.slots_on(id);
        if !slots.is_empty() {
            self.units_missing.insert(id);
        }
        for (group, slot) in slots {
            // Who had its units before has them still.
            self.unfilled.entry(group).or_default().entry(slot).or_insert(None);
        }
        self.forget_source(id);
    }

    /// A device is no place to take units from any more.
    pub(super) fn forget_source(&mut self, id: DeviceId) {
        for from in self.unfilled.values_mut().flat_map(BTreeMap::values_mut) {
            *from = from.filter(|device| *device != id);
        }
    }

    pub(super) fn set_placement(&mut self, moves: &[GroupSlots]) -> Outcome {
        let current = |m: &GroupSlots| self.map.slots(m.group).is_some_and(|s| s.slots == m.slots);
        if moves.iter().all(current) {
            return Ok(Done::AlreadySo);
        }
        for m in moves {
            self.check_move(m)?;
        }
        self.move_epoch();
        let number = ViewNumber(self.map.index);
        let (mut moved, mut gone) = (0, BTreeSet::new());
        for m in moves {
            let Some(Group::Erasure(slots)) = self.map.groups.get_mut(&m.group) else { continue };
            let before = std::mem::replace(slots, Slots { number, slots: m.slots.clone() }).slots;
            for (slot, (was, is)) in (0u8..).zip(before.into_iter().zip(&m.slots)).filter(|(_, (was, is))| was != *is) {
                moved += 1;
                gone.extend(was);
                self.note_moved(m.group, slot, was, *is);
            }
        }
        self.settle_missing();
        let from: Vec<String> = gone.iter().map(ToString::to_string).collect();
        self.note(Subject::Cluster, &format!("{moved} slots of {} groups move", moves.len()), &format!("from {}", from.join(", ")));
        Ok(Done::Changed)
    }

    /// What must hold for new slots of one group, whatever the leader computed.
    fn check_move(&self, m: &GroupSlots) -> Result<(), Refused> {
        let Some(pool) = self.pool(m.group.pool) else { return Err(Refused::NoPool(m.group.pool)) };
        let refused = |problem: String| Err(Refused::Placement { group: m.group, problem });
        let Some(present) = self.map.slots(m.group).filter(|s| s.number == m.from) else { return Err(Refused::Superseded) };
        // A slot that stays where it was may be on a failed device: what moves is checked.
        let stays = |slot: usize| present.slots.get(slot) == m.slots.get(slot);
        let moved: Vec<Option<DeviceId>> = m.slots.iter().enumerate().map(|(i, slot)| slot.filter(|_| !stays(i))).collect();
        self.check_slots(pool, &moved).or_else(refused)?;
        let all: Vec<DeviceId> = m.slots.iter().flatten().copied().collect();
        if all.iter().collect::<BTreeSet<_>>().len() != all.len() {
            return refused("one device fills two slots".into());
        }
        // Whoever moves a slot that has its units leaves the group without them for a while.
        let sound = |slot: &usize| {
            let device = present.slots.get(*slot).copied().flatten();
            device.is_some_and(|id| !self.has_failed(id)) && !self.is_unfilled(m.group, *slot)
        };
        let given_up = (0..m.slots.len()).filter(|slot| !stays(*slot)).filter(sound).count();
        if given_up > 0 && self.sound_slots(m.group) - given_up < self.data_units(m.group) {
            return refused("too few slots with all their units would be left".into());
        }
        Ok(())
    }

    fn note_moved(&mut self, group: GroupId, slot: u8, was: Option<DeviceId>, is: Option<DeviceId>) {
        let known = self.unfilled.get(&group).and_then(|slots| slots.get(&slot)).copied();
        // Who had the units has them still, unless it failed; who did not have them all yet passes on where they are.
        let source = known.unwrap_or_else(|| was.filter(|id| !self.has_failed(*id)));
        let slots = self.unfilled.entry(group).or_default();
        if is.is_some() {
            slots.insert(slot, source.filter(|from| Some(*from) != is));
        } else {
            slots.remove(&slot);
        }
        self.unfilled.retain(|_, slots| !slots.is_empty());
    }

    /// Devices all of whose slots are filled miss no units.
    fn settle_missing(&mut self) {
        let lacking: BTreeSet<DeviceId> = self
            .unfilled
            .iter()
            .flat_map(|(group, lacking)| {
                let slots = self.map.slots(*group).map(|s| s.slots.as_slice()).unwrap_or_default();
                lacking.keys().filter_map(|slot| slots.get(usize::from(*slot)).copied().flatten())
            })
            .collect();
        let back: Vec<DeviceId> = self.units_missing.iter().copied().filter(|id| !lacking.contains(id)).collect();
        for id in back {
            self.units_missing.remove(&id);
            if self.map.devices.get(&id).is_some_and(|device| device.state == DeviceState::Rebalancing) {
                self.set_device(id, DeviceState::Online, "its units are back");
            }
        }
    }

    pub(super) fn slots_filled(&mut self, boot: Boot, filled: &[FilledSlot]) -> Outcome {
        let Some(node) = self.live(boot) else { return Err(Refused::OldBoot { boot }) };
        let mut recorded = BTreeMap::<DeviceId, usize>::new();
        let mut already = 0;
        for (group, number, slot, device, incarnation) in filled {
            let is_its =
                self.map.devices.get(device).is_some_and(|d| d.node == node && d.incarnation == *incarnation && d.state.is_writable());
            let present = self.map.slots(*group).filter(|s| s.number == *number);
            if !is_its || present.is_none_or(|s| s.slots.get(usize::from(*slot)).copied().flatten() != Some(*device)) {
                continue;
            }
            let Some(slots) = self.unfilled.get_mut(group).filter(|slots| slots.contains_key(slot)) else {
                already += 1;
                continue;
            };
            slots.remove(slot);
            *recorded.entry(*device).or_default() += 1;
        }
        if recorded.is_empty() {
            return if already > 0 || filled.is_empty() { Ok(Done::AlreadySo) } else { Err(Refused::Superseded) };
        }
        self.unfilled.retain(|_, slots| !slots.is_empty());
        // What may be written and forgotten where changes with it, as by any change of placement.
        self.move_epoch();
        self.settle_missing();
        for (device, count) in recorded {
            self.note(Subject::Device(device), &format!("{count} slots filled"), "their units are rebuilt");
        }
        Ok(Done::Changed)
    }

    pub(super) fn pause_repair(&mut self, pause: bool) -> Outcome {
        if self.repair_paused == pause {
            return Ok(Done::AlreadySo);
        }
        self.repair_paused = pause;
        // Those who rebuild follow the epoch.
        self.move_epoch();
        self.note(Subject::Cluster, if pause { "repair is paused" } else { "repair goes on" }, "an operator asked for it");
        Ok(Done::Changed)
    }
}
