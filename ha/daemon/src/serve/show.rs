//! What operators are shown.

use std::collections::BTreeMap;
use std::time::Duration;

use ha_api::{Away, EventLine, NodeStatus, RebalanceStatus, Replacement, ReplacementStep, Status};
use ha_state::state::{Fate, is_live};
use ha_state::{State, Subject};
use types::map::Group;
use types::{DeviceId, HaTime, NodeId};

use crate::core::{Core, RETRY};
use crate::lead::{LeaderView, wall_ms};
use crate::raft::Consensus;

use super::convert::event_line;

/// How long a leader is waited for before what is known here is shown, before scaling: less than a client's attempt.
const SETTLE: Duration = Duration::from_millis(1200);
/// Most lines of history in one answer.
const EVENTS_MAX: usize = 10_000;

/// The cluster, with what the leader adds where it answers within so many milliseconds; 0 is as long as is usual.
pub async fn status(core: &Core, wait_ms: u64) -> Status {
    let view = settle(core, wait_ms).await;
    status_by(core, view)
}

/// The cluster as it is known here, with what a leader adds.
pub fn status_by(core: &Core, view: Option<LeaderView>) -> Status {
    let (confirmed, view) = (view.is_some(), view.unwrap_or_default());
    let standing = core.group.standing();
    let reachable = core.reachable.lock().expect("nobody panics with the lock").clone();
    let own = core.node();
    let members = core.machine.members();
    core.machine.read(|state| {
        let map = state.map().clone();
        let since = changes_of_processes(state);
        let nodes = map.nodes.values().map(|node| {
            let process = state.process(node.id).cloned().unwrap_or_default();
            let status = NodeStatus {
                pid: process.pid,
                since: process.since,
                since_wall_ms: since.get(&node.id).copied().unwrap_or(0),
                reason: process.reason,
                confirmed_index: view.confirmed.get(&node.boot).copied(),
                lease_age_ms: view.lease_age_ms.get(&node.boot).copied(),
                load: view.load.get(&node.boot).cloned(),
                daemon_reachable: node.id == own || reachable.contains(&node.id),
            };
            (node.id, status)
        });
        let errors = |id: &DeviceId| state.device(*id).map_or(0, |extra| extra.errors);
        Status {
            answered_by: own,
            leader: standing.leader,
            confirmed,
            nodes: nodes.collect(),
            device_errors: map.devices.keys().map(|id| (*id, errors(id))).collect(),
            client_sessions: state.sessions().values().filter(|s| s.node.is_none()).count(),
            usage: view.usage,
            units_missing: state.units_missing().clone(),
            unfilled: state.unfilled().iter().map(|(group, slots)| (*group, slots.keys().copied().collect())).collect(),
            repair_paused: state.repair_is_paused(),
            rebalance: state.rebalance().map(|rebalance| RebalanceStatus {
                paused: rebalance.paused,
                to_move: view.to_move,
                filling: map.groups.values().filter(|group| has_learner(group)).count(),
            }),
            device_away_ms: state.away_policy().device_ms,
            node_away_ms: state.away_policy().node_ms,
            maintenance: state.maintenance().iter().map(|(id, since)| (*id, passed_ms(state, *since))).collect(),
            away: state.map().devices.keys().filter_map(|id| Some((*id, away(state, *id)?))).collect(),
            leaving: state.leaving().clone(),
            removing: state.removing().clone(),
            replacing: state
                .replacing()
                .keys()
                .filter_map(|id| Some((*id, replacement(state, *id, reachable.contains(id) || *id == own, members.contains(id))?)))
                .collect(),
            dropped: state.dropped().len(),
            wall_ms: wall_ms(),
            warnings: view.warnings,
            map,
        }
    })
}

/// How far the replacement of a node is.
fn replacement(state: &State, id: NodeId, answers: bool, is_member: bool) -> Option<Replacement> {
    let (replacing, node) = (state.replacing().get(&id)?, state.map().nodes.get(&id)?);
    let (step, lacks) = match replacing.out {
        None if answers || is_live(node) => (ReplacementStep::Leaving, "stop its HA daemon and its storage process".into()),
        None => (ReplacementStep::TakenOut, "its HA daemon leaves the group".into()),
        Some(out) if node.boot.0 < out => (ReplacementStep::Awaited, "start the new one, with its number and blank disks".into()),
        Some(_) => {
            let daemon = (!is_member).then(|| "its HA daemon does not follow yet".to_owned());
            (ReplacementStep::Filling, state.lacks_still(id).or(daemon).unwrap_or_else(|| "nothing".into()))
        }
    };
    Some(Replacement { for_ms: passed_ms(state, replacing.since), step, lacks })
}

fn has_learner(group: &Group) -> bool {
    matches!(group, Group::Replicated(view) if !view.learners.is_empty())
}

fn passed_ms(state: &State, since: HaTime) -> u64 {
    state.ha_time().0.saturating_sub(since.0)
}

/// What becomes of a device, if it is away.
pub fn away(state: &State, id: DeviceId) -> Option<Away> {
    let (fails_in_ms, waits) = match state.fate(id)? {
        Fate::Fails(at) => (Some(at.0.saturating_sub(state.ha_time().0)), None),
        Fate::Waits(why) => (None, Some(why.to_string())),
    };
    Some(Away { for_ms: passed_ms(state, state.away_since(id)?), fails_in_ms, waits })
}

/// Waits for a leader, as after the loss of one, and until the state here has all that was committed; what the leader adds. Without one for
/// long the state as it is here must do.
pub async fn settle(core: &Core, wait_ms: u64) -> Option<LeaderView> {
    let usual = SETTLE.mul_f64(core.factor);
    let wait = if wait_ms == 0 { usual } else { usual.min(Duration::from_millis(wait_ms)) };
    tokio::time::timeout(wait, leader(core)).await.ok()
}

/// The leader's view, once there is one.
async fn leader(core: &Core) -> LeaderView {
    loop {
        let mut standings = core.group.standings();
        standings.mark_unchanged();
        if core.catch_up().await
            && let Some(view) = core.leader_view().await
        {
            return view;
        }
        // Until somebody leads, another one does, or a quorum has confirmed it.
        drop(tokio::time::timeout(RETRY.mul_f64(core.factor), standings.changed()).await);
    }
}

/// The wall clock of the last change of state of each process, as the history has it: the same whoever leads. The oldest entry that is known
/// where the change is older than the history.
fn changes_of_processes(state: &State) -> BTreeMap<NodeId, u64> {
    let oldest = state.events().next().map_or(0, |event| event.wall_ms);
    let mut since = BTreeMap::new();
    for event in state.events().rev() {
        if since.len() == state.map().nodes.len() {
            break;
        }
        if let Subject::Process(node) = event.subject {
            since.entry(node).or_insert(event.wall_ms);
        }
    }
    state.map().nodes.keys().map(|node| (*node, since.get(node).copied().unwrap_or(oldest))).collect()
}

/// The newest lines of the history after an entry.
pub fn events(core: &Core, after_index: u64, limit: u32) -> Vec<EventLine> {
    let limit = (limit as usize).min(EVENTS_MAX);
    core.machine.read(|state| {
        let mut lines: Vec<EventLine> = state.events().rev().take_while(|e| e.index > after_index).take(limit).map(event_line).collect();
        lines.reverse();
        lines
    })
}
