//! What would not be served without a node. A node in maintenance may be stopped at any time, so it counts as if it were.

use std::collections::BTreeMap;

use ha_api::Status;
use types::map::{ClusterMap, Group, GroupView, Node, Slots};
use types::scheme::Scheme;
use types::state::ProcessState;
use types::{DeviceId, GroupId, PoolId};

use super::groups_of;

/// Why the cluster needs a node, in words; nothing where it does not.
pub fn reasons(status: &Status, node: &Node) -> Vec<String> {
    let map = &status.map;
    let mut reasons = Vec::new();
    let voters = map.nodes.values().filter(|n| n.voter).count();
    let others =
        map.nodes.values().filter(|n| n.voter && n.id != node.id && !status.maintenance.contains_key(&n.id) && answers(status, n)).count();
    if others <= voters / 2 {
        reasons.push(format!("HA: only {others} of {voters} voters would be left that answer"));
    }
    let mut short: BTreeMap<PoolId, usize> = BTreeMap::new();
    for (id, group) in &map.groups {
        let serves = match group {
            Group::Replicated(view) => has_majority(status, view, node),
            Group::Erasure(slots) => left(status, *id, slots, node) >= data_units(map, id.pool),
        };
        *short.entry(id.pool).or_default() += usize::from(!serves);
    }
    for (pool, groups) in short.into_iter().filter(|(_, groups)| *groups > 0) {
        let name = map.pools.get(&pool).map_or_else(|| pool.to_string(), |p| p.name.clone());
        reasons.push(format!("pool `{name}`: {groups} groups would not be served"));
    }
    let erasure = |pool: &&types::map::Pool| matches!(pool.scheme, Scheme::Erasure { .. });
    let takes = |pool: &types::map::Pool| groups_of(map, pool.id).any(|(_, group)| takes_units(status, group, node));
    if map.pools.values().any(|p| erasure(&p)) && !map.pools.values().filter(erasure).any(takes) {
        reasons.push("no erasure-coded pool would have a group left that takes new objects".into());
    }
    reasons
}

fn answers(status: &Status, node: &Node) -> bool {
    status.nodes.get(&node.id).is_some_and(|extra| extra.daemon_reachable)
}

fn data_units(map: &ClusterMap, pool: PoolId) -> usize {
    map.pools.get(&pool).map_or(0, |pool| pool.scheme.width() - pool.scheme.tolerance())
}

/// Whether a device serves, and not on that node.
fn serves(status: &Status, device: DeviceId, without: &Node) -> bool {
    let stays = |n: &&Node| n.id != without.id && n.state == ProcessState::Online && !status.maintenance.contains_key(&n.id);
    status.map.node_of(device).filter(stays).is_some() && status.map.devices.get(&device).is_some_and(|d| d.state.is_readable())
}

fn has_majority(status: &Status, view: &GroupView, node: &Node) -> bool {
    view.members.iter().filter(|member| serves(status, **member, node)).count() >= view.quorum()
}

fn left(status: &Status, group: GroupId, slots: &Slots, node: &Node) -> usize {
    let lacks = |slot: u8| status.unfilled.get(&group).is_some_and(|lacking| lacking.contains(&slot));
    let has = |(slot, device): &(u8, &Option<DeviceId>)| !lacks(*slot) && device.is_some_and(|id| serves(status, id, node));
    (0u8..).zip(&slots.slots).filter(has).count()
}

fn takes_units(status: &Status, group: &Group, node: &Node) -> bool {
    let Group::Erasure(Slots { slots, .. }) = group else { return false };
    slots.iter().all(|device| device.is_some_and(|id| serves(status, id, node)))
}
