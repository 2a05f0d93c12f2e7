//! Who votes: 3, 5 or 7 daemons, as many as there are nodes for, spread over racks and storage sets. Whoever votes keeps its vote until its
//! node is to be removed; the others follow.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use ha_api::RaftStatus;
use ha_api::config::topology::{voters_count, voters_of};
use ha_state::{Change, State};
use types::NodeId;
use types::map::Node;

use crate::core::Core;
use crate::raft::{AgreeError, Consensus};

/// How long a change of the voters may take, before scaling: two entries that a quorum of both has.
const CHANGE: Duration = Duration::from_millis(3000);
/// How far a daemon may be behind that is to vote.
const BEHIND_MAX: u64 = 200;

/// One step towards the voters that there should be, where this daemon leads: the group first, then the state, which shows it.
pub(super) async fn look(core: &Core, reachable: &BTreeSet<NodeId>) {
    let status = core.group.status();
    let present: BTreeSet<NodeId> = status.voters.iter().copied().collect();
    let (wanted, known, strangers) = core.machine.read(|state| {
        let nodes = &state.map().nodes;
        let known: BTreeSet<NodeId> = nodes.values().filter(|node| node.voter).map(|node| node.id).collect();
        let strangers: BTreeSet<NodeId> =
            status.learners.iter().copied().filter(|id| state.topology().is_some() && !nodes.contains_key(id)).collect();
        (wanted(state, &status, reachable), known, strangers)
    });
    let within = CHANGE.mul_f64(core.factor);
    let (what, done) = match wanted {
        Some(wanted) if wanted != present => ("voters", core.group.set_voters(&wanted, within).await),
        _ if known != present => ("voters", shown(core, &present, within).await),
        _ if !strangers.is_empty() => ("members", core.group.forget(&strangers, within).await),
        _ => return,
    };
    match done {
        Ok(()) => tracing::info!(what, ?present, "changed"),
        Err(error) => tracing::warn!(what, %error, "not changed yet"),
    }
}

async fn shown(core: &Core, voters: &BTreeSet<NodeId>, within: Duration) -> Result<(), AgreeError> {
    let (_, outcome) = core.lead.agree(Change::SetVoters(voters.iter().copied().collect()), within).await?;
    outcome.map(|_| ()).map_err(|refused| AgreeError::Ended(refused.to_string()))
}

/// Who should vote; nothing where not enough of those that should can: then all stays as it is.
fn wanted(state: &State, status: &RaftStatus, reachable: &BTreeSet<NodeId>) -> Option<BTreeSet<NodeId>> {
    let nodes: Vec<&Node> = state.map().nodes.values().filter(|node| !state.removing().contains(&node.id)).collect();
    let follows = |id: &NodeId| status.replicated.get(id).is_some_and(|index| index + BEHIND_MAX >= status.last_log_index);
    let may = |id: &NodeId| status.voters.contains(id) || (reachable.contains(id) && follows(id));
    let places: BTreeMap<NodeId, (u16, u16)> =
        nodes.iter().filter(|node| may(&node.id)).map(|node| (node.id, (node.rack, node.storage_set))).collect();
    let keep = |id: &NodeId| status.voters.contains(id);
    let voters = voters_of(nodes.len(), &places, keep);
    (voters.len() == voters_count(nodes.len())).then_some(voters)
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
    fn who_votes_keeps_its_vote_and_the_number_is_odd() {
        assert_eq!(chosen(4, &[1, 2, 3, 4], &[2, 3, 4]), [2, 3, 4], "a node that came first takes no vote away");
        assert_eq!(chosen(5, &[1, 2, 3, 4, 5], &[1, 2, 3]), [1, 2, 3, 4, 5]);
        assert_eq!(chosen(9, &[1, 2, 3, 4, 5, 6, 7, 8, 9], &[1, 2, 9]).len(), 7);
        assert_eq!(chosen(3, &[2, 3, 4], &[2, 3]), [2, 3, 4], "who is to go is followed by another");
        assert!(chosen(3, &[2, 3], &[2, 3]).len() < voters_count(3), "nobody follows who could take its place: all stays as it is");
    }
}
