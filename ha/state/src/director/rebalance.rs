//! Where places are to be, while a rebalance goes on: what `layout` wants now, beside what is. Members and slots move there by the steps that
//! serve replacement, a few at a time, and only while nothing is to be repaired.

#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};

use types::map::{ClusterMap, Group};
use types::state::DeviceState;
use types::{DeviceId, GroupId};

use super::{PlaceRequest, Placers, some_of};
use crate::command::Change;
use crate::state::State;

/// What a rebalance is after.
#[derive(Debug, Default)]
pub(super) struct Aims {
    /// Groups that are not where they are to be: a device a member or slot.
    groups: BTreeMap<GroupId, Vec<Option<DeviceId>>>,
    /// A rebalance goes on, and something else comes first.
    pub(super) waits: bool,
}

impl Aims {
    /// Places that are to move.
    pub(super) fn count(&self, map: &ClusterMap) -> usize {
        self.groups.keys().map(|group| self.moves(*group, &places(map, *group)).count()).sum()
    }

    /// The moves of one group: a member or slot number, who has it, and who is to.
    pub(super) fn moves<'a>(
        &'a self,
        group: GroupId,
        present: &'a [Option<DeviceId>],
    ) -> impl Iterator<Item = (usize, DeviceId, DeviceId)> {
        let wanted = self.groups.get(&group).map(Vec::as_slice).unwrap_or_default();
        let pairs = present.iter().zip(wanted).enumerate();
        // A device has one place in a group: one that is to change places with another waits until that is free.
        pairs
            .filter_map(|(at, (from, to))| Some((at, (*from)?, (*to)?)).filter(|(_, from, to)| from != to && !present.contains(&Some(*to))))
    }

    /// Groups with moves.
    pub(super) fn groups(&self) -> impl Iterator<Item = GroupId> {
        self.groups.keys().copied()
    }
}

/// A device a place of that group.
pub(super) fn places(map: &ClusterMap, group: GroupId) -> Vec<Option<DeviceId>> {
    match map.groups.get(&group) {
        Some(Group::Replicated(view)) => view.members.iter().copied().map(Some).collect(),
        Some(Group::Erasure(slots)) => slots.slots.clone(),
        None => Vec::new(),
    }
}

/// What the rebalance that goes on is after; nothing where none does.
pub(super) fn aims(state: &State, place: Placers<'_>, warnings: &mut Vec<String>) -> Aims {
    let mut aims = Aims::default();
    if state.rebalance().is_none_or(|rebalance| rebalance.paused) {
        return aims;
    }
    let map = state.map();
    let in_use: BTreeSet<DeviceId> = map.groups.values().flat_map(Group::devices).collect();
    let going: Vec<DeviceId> = in_use.iter().copied().filter(|id| state.is_going(*id)).collect();
    let missing: Vec<DeviceId> =
        map.devices.values().filter(|d| !d.state.is_readable() && d.state != DeviceState::Failed).map(|d| d.id).collect();
    if !going.is_empty() {
        warnings.push(format!("rebalance waits until what is on {} has moved elsewhere", some_of(&going)));
    } else if !missing.is_empty() {
        warnings.push(format!("rebalance waits for {} devices to be ONLINE: {}", missing.len(), some_of(&missing)));
    }
    let resting: Vec<String> = state.maintenance().keys().filter_map(|id| Some(map.nodes.get(id)?.name.clone())).collect();
    if !resting.is_empty() {
        warnings.push(format!("rebalance waits for the end of the maintenance of {}", resting.join(", ")));
    }
    aims.waits = !going.is_empty() || !missing.is_empty() || !resting.is_empty();
    if aims.waits {
        return aims;
    }
    // Who is to go gets nothing new.
    let mut planned = map.clone();
    for device in planned.devices.values_mut().filter(|d| state.leaving().contains(&d.id)) {
        device.state = DeviceState::Failed;
    }
    let specs = state.topology().map(|t| t.pools.as_slice()).unwrap_or_default();
    for spec in specs.iter().filter(|spec| map.pools.get(&spec.id).is_some_and(|pool| pool.groups > 0)) {
        match (place.groups)(&planned, &PlaceRequest { pool: spec.id, groups: 0, avoid_node: spec.avoid_node, grow: false }) {
            Ok(wanted) => {
                let of = (0u32..).map(|index| GroupId { pool: spec.id, index }).zip(wanted);
                aims.groups.extend(of.filter(|(group, wanted)| *wanted != places(map, *group)));
            }
            Err(problem) => warnings.push(problem),
        }
    }
    aims
}

/// The end of a rebalance that has nothing left to move, and nothing under way.
pub(super) fn ended(state: &State, aims: &Aims) -> Option<Change> {
    let goes_on = state.rebalance().is_some_and(|rebalance| !rebalance.paused) && !aims.waits;
    let is_settled = |group: &Group| match group {
        Group::Replicated(view) => view.learners.is_empty(),
        Group::Erasure(_) => true,
    };
    let done = goes_on && aims.count(state.map()) == 0 && state.unfilled().is_empty() && state.map().groups.values().all(is_settled);
    done.then(|| Change::Balanced(state.epoch()))
}
