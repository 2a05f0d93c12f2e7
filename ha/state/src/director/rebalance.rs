//! Where places are to be, while a rebalance goes on: what `layout` wants now, beside what is. Members and slots move there by the steps that
//! serve replacement, a few at a time, and only while nothing is to be repaired.

#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};

use types::map::{ClusterMap, Device, Group};
use types::state::DeviceState;
use types::{DeviceId, GroupId, HaTime};

use super::{PlaceRequest, Placers, SubstituteRequest, some_of};
use crate::command::Change;
use crate::state::State;

/// How long, in milliseconds of HA time, what `layout` wanted is gone by before it is asked again: it looks at every group of a pool.
const MEMO_MS: u64 = 5000;

/// A device a member or slot of each group.
type Homes = BTreeMap<GroupId, Vec<Option<DeviceId>>>;

/// What a leader remembers between two looks: nothing but what it could compute again.
#[derive(Clone, Debug, Default)]
pub struct Memo {
    /// Over which devices, since when, and the places that were to be.
    wanted: Option<(BTreeSet<DeviceId>, HaTime, Homes)>,
    /// It was computed in this look.
    is_fresh: bool,
}

/// What a rebalance is after.
#[derive(Debug, Default)]
pub(super) struct Aims {
    /// Groups that are not where they are to be: a device a member or slot.
    groups: Homes,
    /// Likewise, while that waits: where slots of nodes that are emptied are to go.
    homes: Homes,
    /// All of that is of this moment, not remembered.
    is_fresh: bool,
    /// A rebalance goes on, and something else comes first, or an operator has paused it.
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

    /// Where a slot of a node that is emptied is to go.
    pub(super) fn home(&self, group: GroupId, slot: usize) -> Option<DeviceId> {
        self.homes.get(&group)?.get(slot).copied().flatten()
    }

    /// Groups with moves.
    pub(super) fn groups(&self) -> impl Iterator<Item = GroupId> {
        self.groups.keys().copied()
    }
}

/// Whether `to` may take the place of `from` in that group: it serves, has room, and breaks no rule beside the others. Into another storage set
/// a group moves whole, so what it leaves behind is no measure.
pub(super) fn fits(state: &State, place: Placers<'_>, group: GroupId, from: DeviceId, to: DeviceId) -> bool {
    let map = state.map();
    let set = |id: &DeviceId| map.node_of(*id).map(|node| node.storage_set);
    let others: BTreeSet<DeviceId> = map.devices.keys().copied().filter(|id| *id != to).collect();
    let within = places(map, group).iter().flatten().filter(|id| set(id) == set(&to)).count() > 0;
    let serves = map.devices.get(&to).is_some_and(|device| device.state.is_readable()) && !state.not_for_more().contains(&to);
    serves && (!within || (place.substitute)(map, &SubstituteRequest { group, out: from, not: &others }) == Some(to))
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
pub(super) fn aims(state: &State, now: HaTime, place: Placers<'_>, memo: &mut Memo, warnings: &mut Vec<String>) -> Aims {
    let mut aims = Aims::default();
    let map = state.map();
    let rebalance = state.rebalance();
    if rebalance.is_none() && state.removing().is_empty() {
        memo.wanted = None;
        return aims;
    }
    let in_use: BTreeSet<DeviceId> = map.groups.values().flat_map(Group::devices).collect();
    let going: Vec<DeviceId> = in_use.iter().copied().filter(|id| state.is_going(*id)).collect();
    let missing: Vec<DeviceId> =
        map.devices.values().filter(|d| !d.state.is_readable() && d.state != DeviceState::Failed).map(|d| d.id).collect();
    let paused = rebalance.is_none_or(|rebalance| rebalance.paused);
    if !paused && !going.is_empty() {
        warnings.push(format!("rebalance waits until what is on {} has moved elsewhere", some_of(&going)));
    } else if !paused && !missing.is_empty() {
        warnings.push(format!("rebalance waits for {} devices to be ONLINE: {}", missing.len(), some_of(&missing)));
    }
    let resting: Vec<String> = state.maintenance().keys().filter_map(|id| Some(map.nodes.get(id)?.name.clone())).collect();
    if !paused && !resting.is_empty() {
        warnings.push(format!("rebalance waits for the end of the maintenance of {}", resting.join(", ")));
    }
    aims.waits = paused || !going.is_empty() || !missing.is_empty() || !resting.is_empty();
    if aims.waits && state.removing().is_empty() {
        memo.wanted = None;
        return aims;
    }
    let wanted = wanted(state, now, place, memo, warnings);
    let differs = |(group, wanted): (&GroupId, &Vec<Option<DeviceId>>)| (*wanted != places(map, *group)).then(|| (*group, wanted.clone()));
    let differing = wanted.iter().filter_map(differs).collect();
    // Where nodes are emptied, slots go where they are wanted; all else waits.
    *(if aims.waits { &mut aims.homes } else { &mut aims.groups }) = differing;
    aims.is_fresh = memo.is_fresh;
    if !aims.waits && aims.groups.is_empty() {
        // That nothing is left to move is decided by what is wanted now.
        memo.wanted = None;
    }
    aims
}

/// What `layout` wants of every group, with the devices that are there and not to go; remembered for a while.
fn wanted<'a>(state: &State, now: HaTime, place: Placers<'_>, memo: &'a mut Memo, warnings: &mut Vec<String>) -> &'a Homes {
    let map = state.map();
    let takes = |d: &&Device| !matches!(d.state, DeviceState::Failed | DeviceState::Unknown) && !state.leaving().contains(&d.id);
    let key = map.devices.values().filter(takes).map(|d| d.id).collect();
    let is_known = memo.wanted.as_ref().is_some_and(|(known, at, _)| *known == key && now.0 < at.0 + MEMO_MS);
    memo.is_fresh = !is_known;
    if !is_known {
        // Who is to go gets nothing new.
        let mut planned = map.clone();
        for device in planned.devices.values_mut().filter(|d| state.leaving().contains(&d.id)) {
            device.state = DeviceState::Failed;
        }
        let specs = state.topology().map(|t| t.pools.as_slice()).unwrap_or_default();
        let mut all = BTreeMap::new();
        for spec in specs.iter().filter(|spec| map.pools.get(&spec.id).is_some_and(|pool| pool.groups > 0)) {
            match (place.groups)(&planned, &PlaceRequest { pool: spec.id, groups: 0, avoid_node: spec.avoid_node, grow: false }) {
                Ok(wanted) => all.extend((0u32..).map(|index| GroupId { pool: spec.id, index }).zip(wanted)),
                Err(problem) => warnings.push(problem),
            }
        }
        memo.wanted = Some((key, now, all));
    }
    &memo.wanted.as_ref().expect("it was just made where it was not there").2
}

/// The end of a rebalance that has nothing left to move, and nothing under way.
pub(super) fn ended(state: &State, aims: &Aims) -> Option<Change> {
    let goes_on = state.rebalance().is_some_and(|rebalance| !rebalance.paused) && !aims.waits && aims.is_fresh;
    let is_settled = |group: &Group| match group {
        Group::Replicated(view) => view.learners.is_empty(),
        Group::Erasure(_) => true,
    };
    let done = goes_on && aims.count(state.map()) == 0 && state.unfilled().is_empty() && state.map().groups.values().all(is_settled);
    done.then(|| Change::Balanced(state.epoch()))
}
