//! Slots that are to move: off devices that have failed, at once, and off devices that are to go, a few at a time. Most exposed groups first,
//! one slot of a group at a time.

use std::collections::BTreeSet;

use types::map::{ClusterMap, Group, Slots};
use types::state::DeviceState;
use types::{DeviceId, GroupId};

use super::rebalance::{self, Aims, fits};
use super::{Placers, SubstituteRequest};
use crate::command::{Change, GroupSlots};
use crate::state::State;

/// Slots that one command moves.
pub const SLOTS_A_ROUND_MAX: usize = 256;
/// Slots of devices that still serve them which are under way at once, in the whole cluster: their groups do with less meanwhile.
pub const DRAINS_MAX: usize = 16;

/// The next slots that move.
pub(super) fn move_slots(state: &State, place: Placers<'_>, aims: &Aims, warnings: &mut Vec<String>) -> Option<Change> {
    if state.repair_is_paused() {
        return None;
    }
    let mut waiting = waiting(state);
    waiting.extend(for_balance(state, place, aims));
    if waiting.is_empty() {
        return None;
    }
    waiting.sort_by_key(|wish| (wish.to_spare, wish.group, wish.serves, wish.slot));
    let mut drains = state.unfilled().values().flatten().filter(|(_, from)| from.is_some()).count();
    // Each choice is one load more for whoever was chosen.
    let (mut planned, not) = (state.map().clone(), state.not_for_more());
    let (mut moves, mut without_place): (Vec<GroupSlots>, _) = (Vec::new(), BTreeSet::new());
    for wish in waiting {
        if moves.len() >= SLOTS_A_ROUND_MAX {
            break;
        }
        if moves.last().is_some_and(|last| last.group == wish.group) {
            continue;
        }
        if wish.serves && (drains >= DRAINS_MAX || wish.to_spare == 0) {
            continue;
        }
        let request = SubstituteRequest { group: wish.group, out: wish.device, not: &not };
        // Which device is the emptiest is not all: groups of some pools are to avoid nodes.
        let home = || aims.home(wish.group, wish.slot).filter(|to| wish.serves && fits(state, place, wish.group, wish.device, *to));
        match wish.to.or_else(home).or_else(|| (place.substitute)(&planned, &request)) {
            Some(to) => {
                drains += usize::from(wish.serves);
                moves.extend(put(&mut planned, &wish, to));
            }
            None => drop(without_place.insert(wish.device)),
        }
    }
    if !without_place.is_empty() {
        let devices: Vec<DeviceId> = without_place.into_iter().collect();
        let words = super::some_of(&devices);
        warnings.push(format!("no device is left that could take the slots of {words}: replace the disk, or add a device or a node"));
    }
    (!moves.is_empty()).then_some(Change::SetPlacement(moves))
}

/// A slot that is to move.
struct Wish {
    group: GroupId,
    slot: usize,
    /// Whose it is.
    device: DeviceId,
    /// Whether that still serves it.
    serves: bool,
    /// Whose it is to be, where that is known.
    to: Option<DeviceId>,
    /// Slots that the group could lose before data is lost.
    to_spare: usize,
}

fn waiting(state: &State) -> Vec<Wish> {
    let going: BTreeSet<DeviceId> = state.map().devices.keys().copied().filter(|id| state.is_going(*id)).collect();
    let failed = |id: &DeviceId| state.map().devices.get(id).is_none_or(|d| d.state == DeviceState::Failed);
    let mut waiting = Vec::new();
    for (group, of) in &state.map().groups {
        let Group::Erasure(Slots { slots, .. }) = of else { continue };
        let on = |slot: &u8| slots.get(usize::from(*slot)).copied().flatten();
        // One at a time: what is being filled, by a device that can, is waited for.
        if state.unfilled().get(group).is_some_and(|lacking| lacking.keys().filter_map(on).any(|id| !failed(&id))) {
            continue;
        }
        let wishes = slots.iter().enumerate().filter_map(|(slot, device)| device.filter(|id| going.contains(id)).map(|id| (slot, id)));
        let to_spare = state.sound_slots(*group).saturating_sub(state.data_units(*group));
        waiting.extend(wishes.map(|(slot, device)| Wish { group: *group, slot, device, serves: !failed(&device), to: None, to_spare }));
    }
    waiting
}

/// Slots that move for balance: none of a group that lacks anything.
fn for_balance(state: &State, place: Placers<'_>, aims: &Aims) -> Vec<Wish> {
    let mut waiting = Vec::new();
    for group in aims.groups().filter(|group| !state.unfilled().contains_key(group) && state.map().slots(*group).is_some()) {
        let to_spare = state.sound_slots(group).saturating_sub(state.data_units(group));
        let places = rebalance::places(state.map(), group);
        let wish = |(slot, device, to)| Wish { group, slot, device, serves: true, to: Some(to), to_spare };
        waiting.extend(aims.moves(group, &places).filter(|(_, from, to)| fits(state, place, group, *from, *to)).map(wish));
    }
    waiting
}

fn put(planned: &mut ClusterMap, wish: &Wish, to: DeviceId) -> Option<GroupSlots> {
    let Some(Group::Erasure(slots)) = planned.groups.get_mut(&wish.group) else { return None };
    *slots.slots.get_mut(wish.slot)? = Some(to);
    Some(GroupSlots { group: wish.group, from: slots.number, slots: slots.slots.clone() })
}
