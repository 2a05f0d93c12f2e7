//! What a cluster can hold and bear, by the places that its groups have. Everything here follows from [`layout`], which places real groups, too.

use std::collections::{BTreeMap, BTreeSet};

use layout::place::{Wish, place};
use types::map::{ClusterMap, Group, GroupView, Pool, Slots};
use types::scheme::{FailureDomain, Scheme};
use types::state::DeviceState;
use types::{DeviceId, Epoch, GroupId, NodeId, PoolId, ViewNumber};

/// What may be lost, from the smallest on.
pub const DOMAINS: [FailureDomain; 5] =
    [FailureDomain::Device, FailureDomain::DiskGroup, FailureDomain::Node, FailureDomain::Rack, FailureDomain::StorageSet];

/// What holds of one pool.
#[derive(Clone, Debug, PartialEq)]
pub struct Figures {
    /// Its groups.
    pub groups: usize,
    /// Bytes of objects that it takes where it has all devices for itself, evenly filled; none of a pool of records.
    pub usable: Option<u64>,
    /// How many of each of [`DOMAINS`] may be lost at once, whichever they are.
    pub bears: Vec<usize>,
    /// What follows from the loss of the device, and of the node, that has most of it.
    pub device: Option<Loss>,
    pub node: Option<Loss>,
}

/// What follows from a loss where the pool is full.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Loss {
    /// Bytes that were on what is lost.
    pub bytes: u64,
    /// Slots that were there.
    pub slots: usize,
    /// Of these the ones that no other device may take: they wait for new hardware.
    pub waits: usize,
    /// How long it takes at least to build them anew.
    pub seconds: f64,
}

/// Places the groups of a pool of a cluster that is thought of.
pub fn place_pool(map: &mut ClusterMap, id: PoolId, groups: u32, avoid_node: bool) -> Result<(), String> {
    let placed = place(map, id, Wish { groups, avoid_node, grow: true }).map_err(|e| e.to_string())?;
    let replicated = map.pools.get(&id).is_some_and(|pool| matches!(pool.scheme, Scheme::Replicated { .. }));
    for (index, slots) in (0u32..).zip(placed) {
        let number = ViewNumber(1);
        let group = if replicated {
            let members: Vec<DeviceId> = slots.into_iter().flatten().collect();
            let old = members.clone();
            Group::Replicated(GroupView { number, created: Epoch(1), primary: None, old, members, learners: Vec::new(), active: number })
        } else {
            Group::Erasure(Slots { number, slots })
        };
        map.groups.insert(GroupId { pool: id, index }, group);
    }
    Ok(())
}

fn groups_of(map: &ClusterMap, pool: PoolId) -> Vec<Vec<Option<DeviceId>>> {
    let slots = |group: &Group| match group {
        Group::Replicated(view) => view.members.iter().copied().map(Some).collect(),
        Group::Erasure(slots) => slots.slots.clone(),
    };
    map.groups.range(GroupId { pool, index: 0 }..=GroupId { pool, index: u32::MAX }).map(|(_, group)| slots(group)).collect()
}

fn count(groups: &[Vec<Option<DeviceId>>]) -> BTreeMap<DeviceId, usize> {
    let mut count = BTreeMap::new();
    for device in groups.iter().flatten().flatten() {
        *count.entry(*device).or_default() += 1;
    }
    count
}

/// What holds of a pool; `rate` is what a device reads and writes a second to build anew.
pub fn of(map: &ClusterMap, pool: &Pool, rate: u64) -> Figures {
    let groups = groups_of(map, pool.id);
    let slots = count(&groups);
    let unit = match pool.scheme {
        Scheme::Erasure { .. } => unit_bytes(map, &slots),
        Scheme::Replicated { .. } => None,
    };
    let data = (pool.scheme.width() - pool.scheme.tolerance()) as u64;
    let most = |of: &dyn Fn(DeviceId) -> NodeId| {
        let mut nodes = BTreeMap::<NodeId, usize>::new();
        slots.iter().for_each(|(device, count)| *nodes.entry(of(*device)).or_default() += count);
        nodes.into_iter().max_by_key(|(id, count)| (*count, std::cmp::Reverse(*id))).map(|(id, _)| id)
    };
    let node_of = |device: DeviceId| map.node_of(device).map_or(NodeId(0), |node| node.id);
    let device = slots.iter().max_by_key(|(id, count)| (**count, std::cmp::Reverse(**id))).map(|(id, _)| BTreeSet::from([*id]));
    let node = most(&node_of).map(|node| map.devices.values().filter(|device| device.node == node).map(|device| device.id).collect());
    let lost = |lost: Option<BTreeSet<DeviceId>>| Some(loss(map, pool, &groups, &lost?, unit?, rate));
    Figures {
        groups: groups.len(),
        usable: unit.map(|unit| unit * data * groups.len() as u64),
        bears: DOMAINS.iter().map(|domain| bears(map, pool, &groups, *domain)).collect(),
        device: lost(device),
        node: lost(node),
    }
}

/// Bytes of one slot when the first device is full: all groups are filled alike.
fn unit_bytes(map: &ClusterMap, slots: &BTreeMap<DeviceId, usize>) -> Option<u64> {
    slots.iter().filter_map(|(id, count)| Some(map.devices.get(id)?.bytes / *count as u64)).min()
}

/// How many of these may be lost at once, whichever they are, so that no group loses more than it bears.
fn bears(map: &ClusterMap, pool: &Pool, groups: &[Vec<Option<DeviceId>>], domain: FailureDomain) -> usize {
    let of = |id: &DeviceId| {
        let (device, node) = (map.devices.get(id)?, map.node_of(*id)?);
        Some(match domain {
            FailureDomain::Device => (u64::from(id.0), 0),
            FailureDomain::DiskGroup => (u64::from(device.disk_group.0), 0),
            FailureDomain::Node => (u64::from(node.id.0), 0),
            FailureDomain::Rack => (u64::from(node.storage_set), u64::from(node.rack)),
            FailureDomain::StorageSet => (u64::from(node.storage_set), 0),
        })
    };
    let of_group = |slots: &Vec<Option<DeviceId>>| {
        // A slot without a device is lost already.
        let present: Vec<_> = slots.iter().flatten().filter_map(of).collect();
        let mut left = pool.scheme.tolerance().checked_sub(pool.scheme.width() - present.len())?;
        let mut in_each = BTreeMap::<_, usize>::new();
        present.into_iter().for_each(|domain| *in_each.entry(domain).or_default() += 1);
        let mut worst: Vec<usize> = in_each.into_values().collect();
        worst.sort_unstable_by(|a, b| b.cmp(a));
        let mut borne = 0;
        for count in worst {
            let Some(less) = left.checked_sub(count) else { break };
            (left, borne) = (less, borne + 1);
        }
        Some(borne)
    };
    groups.iter().map(|slots| of_group(slots).unwrap_or(0)).min().unwrap_or(0)
}

/// What follows from the loss of these devices: where each slot goes, and the most that any device reads and writes for it.
fn loss(map: &ClusterMap, pool: &Pool, groups: &[Vec<Option<DeviceId>>], lost: &BTreeSet<DeviceId>, unit: u64, rate: u64) -> Loss {
    let mut without = map.clone();
    without.devices.values_mut().filter(|device| lost.contains(&device.id)).for_each(|device| device.state = DeviceState::Failed);
    let moved = place(&without, pool.id, Wish { groups: 0, avoid_node: false, grow: false }).unwrap_or_default();
    let data = pool.scheme.width() - pool.scheme.tolerance();
    let mut work = BTreeMap::<DeviceId, f64>::new();
    let (mut slots, mut waits, mut new) = (0, 0, 0.0);
    for (index, group) in groups.iter().enumerate() {
        let survivors: Vec<DeviceId> = group.iter().flatten().copied().filter(|id| !lost.contains(id)).collect();
        let here: Vec<usize> = (0..group.len()).filter(|slot| group[*slot].is_some_and(|id| lost.contains(&id))).collect();
        slots += here.len();
        for slot in here {
            // Each is built from as many units as hold the data, of which every survivor reads its share.
            let share = unit as f64 * data as f64 / survivors.len().max(1) as f64;
            survivors.iter().for_each(|id| *work.entry(*id).or_default() += share);
            match moved.get(index).and_then(|group| *group.get(slot)?) {
                Some(target) if !lost.contains(&target) => *work.entry(target).or_default() += unit as f64,
                _ => (waits, new) = (waits + 1, new + unit as f64),
            }
        }
    }
    // New hardware has as many devices as were lost.
    let most = work.into_values().fold(new / lost.len().max(1) as f64, f64::max);
    Loss { bytes: unit * slots as u64, slots, waits, seconds: most / rate.max(1) as f64 }
}

/// Whether new objects find a group whatever node is lost, and records a majority.
pub fn writes_without_any_node(map: &ClusterMap) -> bool {
    let without = |node: NodeId| {
        let there = |id: &DeviceId| map.node_of(*id).is_some_and(|of| of.id != node);
        let takes = |group: &Group| match group {
            Group::Erasure(slots) => slots.slots.iter().all(|slot| slot.as_ref().is_some_and(there)),
            Group::Replicated(_) => false,
        };
        let decides = |group: &Group| match group {
            Group::Replicated(view) => view.members.iter().filter(|id| there(id)).count() >= view.quorum(),
            Group::Erasure(_) => true,
        };
        map.groups.values().any(takes) && map.groups.values().all(decides)
    };
    map.nodes.keys().all(|node| without(*node))
}
