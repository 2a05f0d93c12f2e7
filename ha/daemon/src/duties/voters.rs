//! Who votes: 3, 5 or 7 daemons, as many as there are nodes for, spread over racks and storage sets. Whoever votes keeps its vote until its
//! node is to be removed; the others follow.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use ha_api::RaftStatus;
use ha_api::config::topology::{voters_count, voters_of};
use ha_state::state::is_live;
use ha_state::{Change, State};
use types::NodeId;
use types::map::Node;

use crate::core::Core;
use crate::raft::{AgreeError, Consensus};

/// How long a change of the voters may take, before scaling: two entries that a quorum of both has.
const CHANGE: Duration = Duration::from_millis(3000);
/// How far a daemon may be behind that is to vote.
const BEHIND_MAX: u64 = 200;

/// One step towards the voters and members that there should be, where this daemon leads: the group first, then the state, which shows it.
pub(super) async fn look(core: &Core, reachable: &BTreeSet<NodeId>) {
    let status = core.group.status();
    let present: BTreeSet<NodeId> = status.voters.iter().copied().collect();
    let gone = core.machine.read(|state| gone(state, core.node(), reachable));
    let (wanted, known, strangers) = core.machine.read(|state| {
        let nodes = &state.map().nodes;
        let known: BTreeSet<NodeId> = nodes.values().filter(|node| node.voter).map(|node| node.id).collect();
        let is_stranger = |id: &NodeId| (state.topology().is_some() && !nodes.contains_key(id)) || gone.contains(id);
        let strangers: BTreeSet<NodeId> = status.learners.iter().copied().filter(is_stranger).collect();
        (wanted(state, &status, reachable, &gone), known, strangers)
    });
    let within = CHANGE.mul_f64(core.factor);
    let all_vote = wanted.as_ref() == Some(&present);
    let (what, done) = match next(wanted, &present, core.group.half_way_to()) {
        Some(voters) => ("voters", core.group.set_voters(&voters, within).await),
        _ if known != present => ("voters", agreed(core, Change::SetVoters(present.iter().copied().collect()), within).await),
        _ if !strangers.is_empty() => ("members", core.group.forget(&strangers, within).await),
        _ => match replacement(core, &gone, all_vote) {
            Some(change) => ("a node that is replaced", agreed(core, change, within).await),
            None => return,
        },
    };
    match done {
        Ok(()) => tracing::info!(what, ?present, "changed"),
        Err(error) => tracing::warn!(what, %error, "not changed yet"),
    }
}

/// The voters to change to, if any. A change that its leader left half way is finished first of all: `present` has all who vote in it, those of
/// before and those of after, so they may look as they should, and yet the group stands still when one of those of before is away.
fn next(wanted: Option<BTreeSet<NodeId>>, present: &BTreeSet<NodeId>, half_way_to: Option<BTreeSet<NodeId>>) -> Option<BTreeSet<NodeId>> {
    match wanted {
        Some(wanted) if wanted != *present || half_way_to.is_some() => Some(wanted),
        Some(_) => None,
        None => half_way_to,
    }
}

async fn agreed(core: &Core, change: Change, within: Duration) -> Result<(), AgreeError> {
    let (_, outcome) = core.lead.agree(change, within).await?;
    outcome.map(|_| ()).map_err(|refused| AgreeError::Ended(refused.to_string()))
}

/// Nodes that are to be replaced, and whose daemon and storage process do not run any more.
fn gone(state: &State, own: NodeId, reachable: &BTreeSet<NodeId>) -> BTreeSet<NodeId> {
    let runs = |id: &NodeId| *id == own || reachable.contains(id) || state.map().nodes.get(id).is_some_and(is_live);
    state.replacing().keys().copied().filter(|id| state.is_to_go_out(*id) && !runs(id)).collect()
}

/// The next step of a node that is replaced, once the group is as it can be: and as it should be, where `all_vote`.
fn replacement(core: &Core, gone: &BTreeSet<NodeId>, all_vote: bool) -> Option<Change> {
    // By the membership that is applied: who is not in it is in none that could come to count.
    let members = core.machine.members();
    if let Some(node) = gone.iter().copied().find(|node| !members.contains(node)) {
        return Some(Change::NodeOut { node, store: core.peers.store_of(node) });
    }
    core.machine.read(|state| {
        let is_whole = |id: &NodeId| all_vote && !state.is_to_go_out(*id) && members.contains(id) && state.lacks_still(*id).is_none();
        state.replacing().keys().copied().find(is_whole).map(Change::NodeReplaced)
    })
}

/// Who should vote; nothing where not enough of those that should can: then all stays as it is, but for those who are gone.
fn wanted(state: &State, status: &RaftStatus, reachable: &BTreeSet<NodeId>, gone: &BTreeSet<NodeId>) -> Option<BTreeSet<NodeId>> {
    let nodes: Vec<&Node> = state.map().nodes.values().filter(|node| !state.removing().contains(&node.id)).collect();
    let follows = |id: &NodeId| status.replicated.get(id).is_some_and(|index| index + BEHIND_MAX >= status.last_log_index);
    let may = |id: &NodeId| !gone.contains(id) && (status.voters.contains(id) || (reachable.contains(id) && follows(id)));
    let places: BTreeMap<NodeId, (u16, u16)> =
        nodes.iter().filter(|node| may(&node.id)).map(|node| (node.id, (node.rack, node.storage_set))).collect();
    let keep = |id: &NodeId| status.voters.contains(id);
    let voters = voters_of(nodes.len(), &places, keep);
    if voters.len() == voters_count(nodes.len()) {
        return Some(voters);
    }
    // Who is gone takes its vote along, though nobody can take its place yet: those who are left decide alone, as they do anyway.
    let left: BTreeSet<NodeId> = status.voters.iter().copied().filter(|id| !gone.contains(id)).collect();
    (left.len() < status.voters.len() && !left.is_empty()).then_some(left)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chosen(nodes: u16, may: &[u16], present: &[u16]) -> Vec<u16> {
        let places = may.iter().map(|id| (NodeId(*id), (1, 1))).collect();
        let voters = voters_of(usize::from(nodes), &places, |id| present.contains(&id.0));
        voters.into_iter().map(|id| id.0).collect()
    }

    #[test]
    fn a_change_of_voters_that_was_left_half_way_is_finished_though_all_vote_already() {
        let set = |ids: &[u16]| ids.iter().copied().map(NodeId).collect::<BTreeSet<_>>();
        let (two, all) = (set(&[1, 2]), set(&[1, 2, 3]));
        assert_eq!(next(Some(all.clone()), &two, None), Some(all.clone()));
        assert_eq!(next(Some(all.clone()), &all, None), None);
        assert_eq!(next(Some(all.clone()), &all, Some(all.clone())), Some(all.clone()));
        assert_eq!(next(None, &all, Some(two.clone())), Some(two));
        assert_eq!(next(None, &all, None), None);
    }

    #[test]
    fn who_votes_keeps_its_vote_and_the_number_is_odd() {
        assert_eq!(chosen(4, &[1, 2, 3, 4], &[2, 3, 4]), [2, 3, 4], "a node that came first takes no vote away");
        assert_eq!(chosen(5, &[1, 2, 3, 4, 5], &[1, 2, 3]), [1, 2, 3, 4, 5]);
        assert_eq!(chosen(9, &[1, 2, 3, 4, 5, 6, 7, 8, 9], &[1, 2, 9]).len(), 7);
        assert_eq!(chosen(3, &[2, 3, 4], &[2, 3]), [2, 3, 4], "who is to go is followed by another");
        assert!(chosen(3, &[2, 3], &[2, 3]).len() < voters_count(3), "nobody follows who could take its place: all stays as it is");
    }
}
