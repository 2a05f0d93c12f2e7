//! Devices that are given up because they are away for too long: one at a time, and only where all of their groups find another place, for
//! FAILED is final, and what is on a device that comes back later would be lost for nothing.

use types::map::Group;
use types::{DeviceId, HaTime};

use super::{Observations, Placers, SubstituteRequest, some_of};
use crate::command::Change;
use crate::state::{Fate, State, Why};

/// For how long a node may be in maintenance, in milliseconds of HA time, before an operator is reminded.
pub const MAINTENANCE_MS: u64 = 24 * 3600 * 1000;

/// The next device to be given up.
pub(super) fn give_up(state: &State, seen: &Observations<'_>, place: Placers<'_>, warnings: &mut Vec<String>) -> Option<Change> {
    let is_due = |id: &DeviceId| matches!(state.fate_by_time(*id), Some(Fate::Fails(HaTime(at))) if seen.ha_time.0 >= at);
    let (mut needed, mut without_place) = (Vec::new(), Vec::new());
    for id in state.map().devices.keys().copied().filter(is_due) {
        match state.fate(id) {
            Some(Fate::Waits(Why::Needed(_))) => needed.push(id),
            Some(Fate::Fails(_)) if !has_place(state, place, id) => without_place.push(id),
            Some(Fate::Fails(_)) => {
                let incarnation = state.map().devices.get(&id).map(|device| device.incarnation).unwrap_or_default();
                return Some(Change::GiveUp { device: id, incarnation });
            }
            Some(Fate::Waits(_)) | None => {}
        }
    }
    if !needed.is_empty() {
        warnings.push(format!("{} stay away for too long, and groups need what is on them: bring them back", some_of(&needed)));
    }
    if !without_place.is_empty() {
        let words = some_of(&without_place);
        warnings.push(format!("{words} stay away for too long, and no device could take their groups: bring them back, or add one"));
    }
    None
}

/// Whether each group of a device finds another.
fn has_place(state: &State, place: Placers<'_>, id: DeviceId) -> bool {
    let not = state.not_for_more();
    let mut groups = state.map().groups.iter().filter(|(_, group)| match group {
        Group::Replicated(view) => view.members.contains(&id),
        Group::Erasure(slots) => slots.slots.contains(&Some(id)),
    });
    groups.all(|(group, _)| (place.substitute)(state.map(), &SubstituteRequest { group: *group, out: id, not: &not }).is_some())
}

/// Nodes that an operator may have forgotten.
pub(super) fn remind(state: &State, seen: &Observations<'_>, warnings: &mut Vec<String>) {
    for node in state.replacing().keys() {
        let name = state.map().nodes.get(node).map_or_else(|| node.to_string(), |node| node.name.clone());
        warnings.push(format!("{name} is being replaced: `ha node show {name}` says how far it is"));
    }
    for (node, since) in state.maintenance() {
        let passed = seen.ha_time.0.saturating_sub(since.0);
        if passed >= MAINTENANCE_MS {
            let name = state.map().nodes.get(node).map_or_else(|| node.to_string(), |node| node.name.clone());
            warnings.push(format!("{name} is in maintenance for {} h: `ha node maintenance end {name}`?", passed / 3_600_000));
        }
    }
}
