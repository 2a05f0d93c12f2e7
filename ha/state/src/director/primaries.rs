//! Primaries: those that gave up are followed by others, and those away from their preferred member go back to it.

use std::collections::BTreeMap;

use types::map::{Group, GroupView};
use types::{Boot, DeviceId, Epoch, GroupId, NodeId};

use super::Observations;
use crate::command::{Change, MemberChange, ViewChange};
use crate::state::{Fitness, GroupExtra, State, is_live};

/// How long a process is ONLINE, in milliseconds of HA time, before primaries go back to it: one that comes and goes gets none.
pub const BALANCE_AFTER_MS: u64 = 1000;
/// Views changed by one command for balance: groups pause for a moment, so not all at once.
pub const BALANCE_A_ROUND_MAX: usize = 256;

fn views(state: &State) -> impl Iterator<Item = (GroupId, &GroupView, &GroupExtra)> {
    state.map().groups.iter().filter_map(|(id, group)| match group {
        Group::Replicated(view) => state.group(*id).map(|extra| (*id, view, extra)),
        Group::Erasure(_) => None,
    })
}

/// Whether a primary that was told to give up by the view `number`, or by one before, surely serves no more.
fn is_over(state: &State, seen: &Observations<'_>, boot: Boot, number: u64) -> bool {
    state.live(boot).is_none()
        || seen.ended.contains(&boot)
        || seen.confirmed.get(&boot).is_some_and(|index| *index >= number)
        || seen.leases.is_over_before(boot, Epoch(number), seen.now)
}

/// Primaries for the groups that have none and may have one now.
pub(super) fn appoint(state: &State, seen: &Observations<'_>) -> Option<Change> {
    let mut load = state.primaries();
    let mut changes = Vec::new();
    for (group, view, extra) in views(state).filter(|(_, view, _)| view.primary.is_none()) {
        if let Some(old) = extra.stepping_down
            && !is_over(state, seen, old.boot, view.number.0)
        {
            continue;
        }
        if let Some(device) = best(state, &view.members, &mut load) {
            changes.push(ViewChange { group, from: view.number, change: MemberChange::Appoint(device) });
        }
    }
    (!changes.is_empty()).then_some(Change::ChangeViews(changes))
}

/// The preferred member where it is among the fittest; else the fittest on the node with the fewest primaries.
fn best(state: &State, members: &[DeviceId], load: &mut BTreeMap<NodeId, usize>) -> Option<DeviceId> {
    let node_of = |device: &DeviceId| state.map().devices.get(device).map(|d| d.node);
    let fittest = members.iter().filter_map(|m| state.fitness(*m)).min()?;
    let mut fit: Vec<DeviceId> = members.iter().copied().filter(|m| state.fitness(*m) == Some(fittest)).collect();
    if fit.iter().any(|m| !state.is_avoided(*m)) {
        fit.retain(|m| !state.is_avoided(*m));
    }
    let count = |device: &DeviceId| node_of(device).and_then(|n| load.get(&n).copied()).unwrap_or(0);
    let device = if fit.first() == members.first() { *fit.first()? } else { *fit.iter().min_by_key(|d| count(d))? };
    *load.entry(node_of(&device)?).or_insert(0) += 1;
    Some(device)
}

/// Groups whose preferred member, the first, is ONLINE and settled while another one is primary, and groups whose primary is on a node that may
/// be stopped at any time while another member could be: that one gives up, the better one is appointed when it has.
pub(super) fn balance(state: &State, seen: &Observations<'_>) -> Option<Change> {
    if views(state).any(|(_, _, extra)| extra.stepping_down.is_some()) {
        return None;
    }
    let settled = |device: DeviceId| {
        let node = state.map().devices.get(&device).and_then(|d| state.map().nodes.get(&d.node))?;
        let since = state.process(node.id)?.since;
        (is_live(node) && state.fitness(device) == Some(Fitness::Online) && seen.ha_time.0 >= since.0.saturating_add(BALANCE_AFTER_MS))
            .then_some(())
    };
    let misplaced = |view: &GroupView| {
        let (first, primary) = (*view.members.first()?, view.primary?);
        if view.active != view.number {
            return None;
        }
        if state.is_resting(primary.device) {
            let others = || view.members.iter().copied().filter(|member| *member != primary.device && !state.is_avoided(*member));
            return others().any(|member| settled(member).is_some()).then_some(());
        }
        (first != primary.device && !state.is_avoided(first)).then_some(())?;
        settled(first)
    };
    let change = |(group, view, _): (GroupId, &GroupView, &GroupExtra)| {
        misplaced(view)?;
        Some(ViewChange { group, from: view.number, change: MemberChange::StepDown })
    };
    let changes: Vec<ViewChange> = views(state).filter_map(change).take(BALANCE_A_ROUND_MAX).collect();
    (!changes.is_empty()).then_some(Change::ChangeViews(changes))
}
