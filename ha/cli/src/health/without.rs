//! What would not be served without a node.

use std::collections::BTreeMap;

use ha_api::Status;
use types::map::{ClusterMap, Group, GroupView, Node, Slots};
use types::scheme::Scheme;
use types::state::ProcessState;
use types::{DeviceId, GroupId, PoolId};

use super::{Unfilled, groups_of};

/// Why the cluster needs a node, in words; nothing where it does not.
pub fn reasons(status: &Status, node: &Node) -> Vec<String> {
    let map = &status.map;
    let mut reasons = Vec::new();
    let voters = map.nodes.values().filter(|n| n.voter).count();
    let others = map.nodes.values().filter(|n| n.voter && n.id != node.id && answers(status, n)).count();
    if others <= voters / 2 {
        reasons.push(format!("HA: only {others} of {voters} voters would be left that answer"));
    }
    let mut short: BTreeMap<PoolId, usize> = BTreeMap::new();
    for (id, group) in &map.groups {
        let serves = match group {
            Group::Replicated(view) => has_majority(map, view, node),
            Group::Erasure(slots) => left(map, &status.unfilled, *id, slots, node) >= data_units(map, id.pool),
        };
        *short.entry(id.pool).or_default() += usize::from(!serves);
    }
    for (pool, groups) in short.into_iter().filter(|(_, groups)| *groups > 0) {
        let name = map.pools.get(&pool).map_or_else(|| pool.to_string(), |p| p.name.clone());
        reasons.push(format!("pool `{name}`: {groups} groups would not be served"));
    }
    let erasure = |pool: &&types::map::Pool| matches!(pool.scheme, Scheme::Erasure { .. });
    let takes = |pool: &types::map::Pool| groups_of(map, pool.id).any(|(_, group)| takes_units(map, group, node));
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
fn serves(map: &ClusterMap, device: DeviceId, without: &Node) -> bool {
    let node = map.node_of(device).filter(|n| n.id != without.id && n.state == ProcessState::Online);
    node.is_some() && map.devices.get(&device).is_some_and(|d| d.state.is_readable())
}

fn has_majority(map: &ClusterMap, view: &GroupView, node: &Node) -> bool {
    view.members.iter().filter(|member| serves(map, **member, node)).count() >= view.quorum()
}

fn left(map: &ClusterMap, unfilled: &Unfilled, group: GroupId, slots: &Slots, node: &Node) -> usize {
    let lacks = |slot: u8| unfilled.get(&group).is_some_and(|lacking| lacking.contains(&slot));
    let has = |(slot, device): &(u8, &Option<DeviceId>)| !lacks(*slot) && device.is_some_and(|id| serves(map, id, node));
    (0u8..).zip(&slots.slots).filter(has).count()
}

fn takes_units(map: &ClusterMap, group: &Group, node: &Node) -> bool {
    let Group::Erasure(Slots { slots, .. }) = group else { return false };
    slots.iter().all(|device| device.is_some_and(|id| serves(map, id, node)))
}
