//! Members that are to go: each group of theirs gets a learner, and the learner their place once it is filled.

use types::map::{Group, GroupView};
use types::state::{DeviceState, ProcessState};
use types::{DeviceId, GroupId};

use super::rebalance::{self, Aims, fits};
use super::{Observations, Placers, SubstituteRequest};
use crate::command::{Change, MemberChange, ViewChange};
use crate::state::{Fitness, State};

/// Groups that have a learner at once, in the whole cluster: each is a full copy, beside what clients do.
pub const REPLACEMENTS_MAX: usize = 8;
/// A learner that is away for so long, in milliseconds of HA time, is given up for another.
pub const LEARNER_AWAY_MS: u64 = 60_000;

/// The next step of every group that has a member to be replaced, or a learner.
pub(super) fn replace(
    state: &State,
    seen: &Observations<'_>,
    place: Placers<'_>,
    aims: &Aims,
    warnings: &mut Vec<String>,
) -> Option<Change> {
    let views = || {
        state.map().groups.iter().filter_map(|(id, group)| match group {
            Group::Replicated(view) => Some((*id, view)),
            Group::Erasure(_) => None,
        })
    };
    // Who is to have a primary gets one first.
    if views().any(|(id, _)| state.group(id).is_some_and(|extra| extra.stepping_down.is_some())) {
        return None;
    }
    // What is for balance takes no room from repair.
    let learning = |(_, view): &(GroupId, &GroupView)| !view.learners.is_empty();
    let mut repairing = views().filter(learning).filter(|(_, view)| going(state, view).is_some()).count();
    let mut under_way = views().filter(learning).count();
    let not = state.not_for_more();
    let (mut changes, mut without_place) = (Vec::new(), Vec::new());
    for (group, view) in views() {
        let learner = view.learners.first().copied();
        let wish = going(state, view).map(|from| (from, None)).or_else(|| aim(state, place, aims, group, learner));
        // One change at a time: the members that there are have to be recorded active first.
        if (wish.is_none() && learner.is_none()) || view.active != view.number {
            continue;
        }
        let next = match (learner, wish) {
            (Some(learner), Some((from, to))) if !is_over(state, seen, learner) => match take_place(state, group, from, learner) {
                // It came for another member, and beside those that stay it breaks a rule.
                Some(_) if to.is_none() && !fits(state, place, group, from, learner) => Some(MemberChange::Learners(Vec::new())),
                next => next,
            },
            // What it has copied is of use when the rebalance goes on.
            (Some(learner), None) if aims.waits && !is_over(state, seen, learner) => None,
            (Some(_), _) => Some(MemberChange::Learners(Vec::new())),
            (None, Some((_, None))) if repairing >= REPLACEMENTS_MAX => None,
            (None, Some((_, Some(_)))) if under_way >= REPLACEMENTS_MAX => None,
            (None, Some((from, to))) => {
                let chosen = to.or_else(|| (place.substitute)(state.map(), &SubstituteRequest { group, out: from, not: &not }));
                match chosen {
                    Some(_) => (repairing, under_way) = (repairing + usize::from(to.is_none()), under_way + 1),
                    None => without_place.push(from),
                }
                chosen.map(|to| MemberChange::Learners(vec![to]))
            }
            (None, None) => None,
        };
        changes.extend(next.map(|change| ViewChange { group, from: view.number, change }));
    }
    without_place.sort_unstable();
    without_place.dedup();
    if !without_place.is_empty() {
        warnings.push(format!("no device is left that could take the groups of {}: add or repair one", super::some_of(&without_place)));
    }
    (!changes.is_empty()).then_some(Change::ChangeViews(changes))
}

/// The member that gives its place to another for balance, and to whom: to the learner where there is one.
fn aim(state: &State, place: Placers<'_>, aims: &Aims, group: GroupId, learner: Option<DeviceId>) -> Option<(DeviceId, Option<DeviceId>)> {
    let places = rebalance::places(state.map(), group);
    let mut moves = aims.moves(group, &places).filter(|(_, from, to)| match learner {
        Some(learner) => learner == *to,
        None => fits(state, place, group, *from, *to),
    });
    moves.next().map(|(_, from, to)| (from, Some(to)))
}

/// The member that is to go first: one that has failed, else one that an operator wants replaced.
fn going(state: &State, view: &GroupView) -> Option<DeviceId> {
    let failed = |id: &&DeviceId| state.is_going(**id) && !state.leaving().contains(id);
    view.members.iter().find(failed).or_else(|| view.members.iter().find(|id| state.is_going(**id))).copied()
}

/// Whether a learner is not to be waited for.
fn is_over(state: &State, seen: &Observations<'_>, learner: DeviceId) -> bool {
    let since = state.device(learner).map_or(0, |extra| extra.since.0);
    let away = state.map().devices.get(&learner).is_none_or(|d| matches!(d.state, DeviceState::Transient | DeviceState::Unknown));
    // A process that serves without the device does not take it back by itself.
    let left_alone = state.map().node_of(learner).is_some_and(|node| node.state == ProcessState::Online);
    state.is_going(learner) || (away && (left_alone || seen.ha_time.0 >= since.saturating_add(LEARNER_AWAY_MS)))
}

fn take_place(state: &State, group: GroupId, from: DeviceId, to: DeviceId) -> Option<MemberChange> {
    let ready = state.is_filled(group, to) && state.fitness(to) == Some(Fitness::Online);
    ready.then_some(MemberChange::Replace { from, to })
}
