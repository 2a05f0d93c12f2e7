//! What operators are shown.

use ha_api::{EventLine, NodeStatus, Status};
use types::DeviceId;

use crate::core::Core;
use crate::raft::Consensus;

use super::convert::event_line;

/// Most lines of history in one answer.
const EVENTS_MAX: usize = 10_000;

/// The cluster, with what the leader adds where it answers.
pub async fn status(core: &Core) -> Status {
    core.catch_up().await;
    let view = core.leader_view().await;
    let (confirmed, view) = (view.is_some(), view.unwrap_or_default());
    let standing = core.group.standing();
    let reachable = core.reachable.lock().expect("nobody panics with the lock").clone();
    let own = core.node();
    core.machine.read(|state| {
        let map = state.map().clone();
        let nodes = map.nodes.values().map(|node| {
            let process = state.process(node.id).cloned().unwrap_or_default();
            let status = NodeStatus {
                pid: process.pid,
                since: process.since,
                reason: process.reason,
                confirmed_index: view.confirmed.get(&node.boot).copied(),
                lease_age_ms: view.lease_age_ms.get(&node.boot).copied(),
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
            warnings: view.warnings,
            map,
        }
    })
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
