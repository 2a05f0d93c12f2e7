//! What placement guarantees, tried on declared clusters and on drawn ones.

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;
use types::map::{ClusterMap, Device, Group, GroupView, Node, Pool, Slots};
use types::scheme::FailureDomain;
use types::state::{DeviceState, ProcessState};
use types::{Boot, DeviceId, DiskGroupId, Epoch, GroupId, Incarnation, NodeId, PoolId, ViewNumber};

use super::{Groups, PlacementError, Wish, place};

const POOL: PoolId = PoolId(1);

struct Shape {
    nodes: u16,
    per_set: u16,
    disk_groups: u32,
    devices: u32,
}

fn add_node(map: &mut ClusterMap, node: u16, shape: &Shape, bytes: impl Fn(u32) -> u64) {
    map.nodes.insert(
        NodeId(node),
        Node {
            id: NodeId(node),
            name: format!("node-{node}"),
            storage_set: (node - 1) / shape.per_set,
            rack: 0,
            ha_address: String::new(),
            fabric_address: String::new(),
            state: ProcessState::Online,
            boot: Boot(1),
            voter: false,
        },
    );
    for dg in 0..shape.disk_groups {
        for d in 0..shape.devices {
            let disk_group = (u32::from(node) - 1) * shape.disk_groups + dg + 1;
            let id = DeviceId((disk_group - 1) * shape.devices + d + 1);
            let device = Device {
                id,
                node: NodeId(node),
                disk_group: DiskGroupId(disk_group),
                state: DeviceState::Online,
                incarnation: Incarnation(1),
                registered: Epoch(1),
                bytes: bytes(id.0),
                reason: String::new(),
            };
            map.devices.insert(id, device);
        }
    }
}

fn cluster(shape: &Shape, scheme: &str, domain: FailureDomain, bytes: impl Fn(u32) -> u64) -> ClusterMap {
    let mut map = ClusterMap::default();
    for node in 1..=shape.nodes {
        add_node(&mut map, node, shape, &bytes);
    }
    let pool = Pool {
        id: POOL,
        name: "data".into(),
        scheme: scheme.parse().expect("a scheme"),
        failure_domain: domain,
        devices: map.devices.keys().copied().collect(),
        groups: 0,
        priority: 0,
    };
    map.pools.insert(POOL, pool);
    map
}

fn adopt(map: &mut ClusterMap, groups: &Groups) {
    let pool = map.pools.get_mut(&POOL).expect("the pool");
    pool.groups = groups.len() as u32;
    let replicated = matches!(pool.scheme, types::scheme::Scheme::Replicated { .. });
    map.groups.clear();
    for (index, slots) in groups.iter().enumerate() {
        let members: Vec<DeviceId> = slots.iter().flatten().copied().collect();
        let group = if replicated {
            Group::Replicated(GroupView {
                number: ViewNumber(1),
                created: Epoch(1),
                primary: None,
                old: members.clone(),
                members,
                learners: vec![],
                active: ViewNumber(0),
            })
        } else {
            Group::Erasure(Slots { number: ViewNumber(1), slots: slots.clone() })
        };
        map.groups.insert(GroupId { pool: POOL, index: index as u32 }, group);
    }
}

fn load(groups: &Groups) -> BTreeMap<DeviceId, usize> {
    let mut load = BTreeMap::new();
    for device in groups.iter().flatten().flatten() {
        *load.entry(*device).or_insert(0) += 1;
    }
    load
}

/// Every rule of one group, whatever the cluster is.
fn assert_legal(map: &ClusterMap, groups: &Groups, per_disk_group: usize, per_node: usize) {
    for (index, slots) in groups.iter().enumerate() {
        assert_eq!(slots.len(), map.pools[&POOL].scheme.width());
        let (mut seen, mut sets) = (BTreeSet::new(), BTreeSet::new());
        let (mut in_group, mut in_node) = (BTreeMap::new(), BTreeMap::new());
        for id in slots.iter().flatten() {
            let device = &map.devices[id];
            assert!(seen.insert(*id), "group {index}: {id} twice");
            assert!(!matches!(device.state, DeviceState::Failed | DeviceState::Unknown), "group {index}: {id} is {}", device.state);
            sets.insert(map.nodes[&device.node].storage_set);
            *in_group.entry(device.disk_group).or_insert(0) += 1;
            *in_node.entry(device.node).or_insert(0) += 1;
        }
        assert!(sets.len() <= 1, "group {index}: sets {sets:?}");
        assert!(in_group.values().all(|n| *n <= per_disk_group), "group {index}: disk groups {in_group:?}");
        assert!(in_node.values().all(|n| *n <= per_node), "group {index}: nodes {in_node:?}");
    }
}

/// Every device carries its share by size: within 5 %, or one slot where that is more.
fn assert_balanced(map: &ClusterMap, groups: &Groups) {
    let load = load(groups);
    let slots: usize = load.values().sum();
    let bytes: u64 = map.devices.values().map(|d| d.bytes).sum();
    for device in map.devices.values() {
        let ideal = slots as f64 * device.bytes as f64 / bytes as f64;
        let have = load.get(&device.id).copied().unwrap_or(0) as f64;
        let bound = (0.05 * ideal).max(1.0 + 1e-6);
        assert!((have - ideal).abs() <= bound, "{} has {have} slots, ideal {ideal:.2}", device.id);
    }
}

fn full(groups: &Groups) -> bool {
    groups.iter().flatten().all(Option::is_some)
}

fn moved(before: &Groups, after: &Groups) -> usize {
    before.iter().zip(after).map(|(b, a)| b.iter().zip(a).filter(|(x, y)| x != y).count()).sum()
}

/// Moves that no way from one load to the other can do without.
fn needed(before: &Groups, after: &Groups) -> usize {
    let old = load(before);
    load(after).iter().map(|(d, n)| n.saturating_sub(old.get(d).copied().unwrap_or(0))).sum()
}

#[test]
fn data_groups_are_legal_and_balanced_at_3_12_and_36_nodes() {
    for nodes in [3, 12, 36] {
        let shape = Shape { nodes, per_set: 3, disk_groups: 2, devices: 1 };
        let map = cluster(&shape, "4+2", FailureDomain::DiskGroup, |_| 1 << 40);
        let groups = place(&map, POOL, Wish { groups: 0, avoid_node: false, grow: true }).expect("a placement");
        assert!(full(&groups));
        assert_legal(&map, &groups, 1, 2);
        assert_balanced(&map, &groups);
        assert!(load(&groups).values().all(|n| *n >= 32));
        let ideal = groups.len() as f64 * 6.0 / map.devices.len() as f64;
        for n in load(&groups).values() {
            assert!((*n as f64 - ideal).abs() <= 0.05 * ideal, "{n} of {ideal}");
        }
    }
}

#[test]
fn sets_of_four_and_five_nodes_with_several_devices_a_disk_group_are_balanced() {
    for per_set in [4, 5] {
        let shape = Shape { nodes: per_set * 3, per_set, disk_groups: 2, devices: 3 };
        let map = cluster(&shape, "4+2", FailureDomain::DiskGroup, |_| 1 << 40);
        let groups = place(&map, POOL, Wish { groups: 0, avoid_node: false, grow: true }).expect("a placement");
        assert!(full(&groups));
        assert_legal(&map, &groups, 1, 2);
        assert_balanced(&map, &groups);
    }
}

#[test]
fn larger_devices_carry_more() {
    let shape = Shape { nodes: 10, per_set: 5, disk_groups: 2, devices: 2 };
    let map = cluster(&shape, "4+2", FailureDomain::DiskGroup, |id| [4, 5, 6, 7][id as usize % 4] << 40);
    let groups = place(&map, POOL, Wish { groups: 0, avoid_node: false, grow: true }).expect("a placement");
    assert_legal(&map, &groups, 1, 2);
    assert_balanced(&map, &groups);
}

#[test]
fn a_third_of_the_second_pools_groups_avoid_each_node() {
    for (nodes, per_set) in [(3, 3), (12, 3), (36, 3), (12, 4), (10, 5)] {
        let shape = Shape { nodes, per_set, disk_groups: 2, devices: 1 };
        let map = cluster(&shape, "2+2", FailureDomain::DiskGroup, |_| 1 << 40);
        let groups = place(&map, POOL, Wish { groups: 0, avoid_node: true, grow: true }).expect("a placement");
        assert!(full(&groups));
        assert_legal(&map, &groups, 1, 2);
        assert_balanced(&map, &groups);
        for node in map.nodes.values() {
            let set_of = |slots: &Vec<Option<DeviceId>>| slots[0].and_then(|d| map.node_of(d)).map(|n| n.storage_set);
            let here: Vec<_> = groups.iter().filter(|g| set_of(g) == Some(node.storage_set)).collect();
            let avoiding = here.iter().filter(|g| g.iter().flatten().all(|d| map.devices[d].node != node.id)).count();
            assert!(avoiding >= here.len() / 3, "{} of {} groups avoid {}", avoiding, here.len(), node.name);
        }
    }
}

#[test]
fn copies_are_on_three_nodes_and_first_members_are_spread() {
    for (nodes, groups) in [(3u16, 32u32), (3, 256), (12, 256), (36, 0)] {
        let shape = Shape { nodes, per_set: 3, disk_groups: 2, devices: 1 };
        let map = cluster(&shape, "1+2", FailureDomain::Node, |_| 1 << 40);
        let placed = place(&map, POOL, Wish { groups, avoid_node: false, grow: true }).expect("a placement");
        assert_eq!(placed.len(), if groups == 0 { 256 } else { groups as usize });
        assert_legal(&map, &placed, 1, 1);
        assert_balanced(&map, &placed);
        let mut first: BTreeMap<NodeId, usize> = BTreeMap::new();
        for slots in &placed {
            *first.entry(map.devices[&slots[0].expect("a member")].node).or_insert(0) += 1;
        }
        let (least, most) = (first.values().min().expect("some"), first.values().max().expect("some"));
        assert!(most - least <= 2 && first.len() == usize::from(nodes), "first members by node: {first:?}");
    }
}

#[test]
fn parity_is_spread_over_the_devices() {
    let shape = Shape { nodes: 3, per_set: 3, disk_groups: 2, devices: 1 };
    let map = cluster(&shape, "4+2", FailureDomain::DiskGroup, |_| 1 << 40);
    let groups = place(&map, POOL, Wish { groups: 0, avoid_node: false, grow: true }).expect("a placement");
    let mut parity: BTreeMap<DeviceId, usize> = BTreeMap::new();
    for slots in &groups {
        slots[4..].iter().flatten().for_each(|d| *parity.entry(*d).or_insert(0) += 1);
    }
    let (least, most) = (parity.values().min().expect("some"), parity.values().max().expect("some"));
    assert!(parity.len() == 6 && most - least <= 1, "{parity:?}");
}

#[test]
fn too_few_nodes_or_disk_groups_are_said_clearly() {
    let one = Shape { nodes: 1, per_set: 3, disk_groups: 2, devices: 4 };
    let wish = Wish { groups: 0, avoid_node: false, grow: true };
    let map = cluster(&one, "4+2", FailureDomain::DiskGroup, |_| 1);
    assert!(matches!(place(&map, POOL, wish), Err(PlacementError::TooFewDomains { needed: 6, found: 2, .. })));
    let map = cluster(&one, "1+2", FailureDomain::Node, |_| 1);
    assert!(matches!(place(&map, POOL, wish), Err(PlacementError::TooFewDomains { needed: 3, found: 1, .. })));
    let two = Shape { nodes: 2, per_set: 3, disk_groups: 2, devices: 1 };
    let map = cluster(&two, "2+2", FailureDomain::DiskGroup, |_| 1);
    assert!(place(&map, POOL, wish).is_ok());
    let error = place(&map, POOL, Wish { avoid_node: true, ..wish }).expect_err("two nodes cannot avoid one");
    assert!(matches!(error, PlacementError::CannotAvoid { nodes: 2, avoided: 1, .. }));
    assert!(error.to_string().contains("add nodes"));
    assert!(place(&ClusterMap::default(), POOL, wish).is_err());
    let empty = cluster(&Shape { nodes: 3, per_set: 3, disk_groups: 0, devices: 0 }, "4+2", FailureDomain::DiskGroup, |_| 1);
    assert!(matches!(place(&empty, POOL, wish), Err(PlacementError::TooFewDomains { found: 0, .. })));
}

#[test]
fn a_lost_device_with_no_legal_target_leaves_its_slots_empty_and_the_others_where_they_were() {
    let shape = Shape { nodes: 3, per_set: 3, disk_groups: 2, devices: 1 };
    let mut map = cluster(&shape, "4+2", FailureDomain::DiskGroup, |_| 1 << 40);
    let wish = Wish { groups: 0, avoid_node: false, grow: true };
    let before = place(&map, POOL, wish).expect("a placement");
    adopt(&mut map, &before);
    map.devices.get_mut(&DeviceId(3)).expect("a device").state = DeviceState::Failed;
    let after = place(&map, POOL, wish).expect("a placement");
    assert_eq!(after.len(), before.len());
    for (b, a) in before.iter().zip(&after) {
        for (was, is) in b.iter().zip(a) {
            assert_eq!(*is, was.filter(|d| *d != DeviceId(3)));
        }
    }
}

#[test]
fn a_lost_devices_slots_move_to_others_with_few_other_moves() {
    // In one set only the lost slots move; with several sets some groups leave the smaller set as a whole.
    for (nodes, extra) in [(4, 0.1), (12, 0.5)] {
        let shape = Shape { nodes, per_set: 4, disk_groups: 2, devices: 2 };
        let mut map = cluster(&shape, "4+2", FailureDomain::DiskGroup, |_| 1 << 40);
        let wish = Wish { groups: 0, avoid_node: false, grow: true };
        let before = place(&map, POOL, wish).expect("a placement");
        adopt(&mut map, &before);
        map.devices.get_mut(&DeviceId(5)).expect("a device").state = DeviceState::Failed;
        let after = place(&map, POOL, wish).expect("a placement");
        assert!(full(&after));
        assert_legal(&map, &after, 1, 2);
        let (least, moves) = (needed(&before, &after), moved(&before, &after));
        assert!(least >= load(&before)[&DeviceId(5)]);
        assert!(moves as f64 <= least as f64 * (1.0 + extra), "{moves} moves where {least} are needed");
    }
}

#[test]
fn added_nodes_take_their_share_with_few_moves() {
    // A whole new set, and one node more in each set.
    for (per_set_before, per_set_after, nodes_before, nodes_after) in [(3, 3, 9, 12), (4, 5, 8, 10)] {
        let shape = Shape { nodes: nodes_before, per_set: per_set_before, disk_groups: 2, devices: 1 };
        let mut map = cluster(&shape, "4+2", FailureDomain::DiskGroup, |_| 1 << 40);
        let before = place(&map, POOL, Wish { groups: 320, avoid_node: false, grow: true }).expect("a placement");
        adopt(&mut map, &before);
        for node in nodes_before + 1..=nodes_after {
            add_node(&mut map, node, &Shape { nodes: nodes_after, per_set: per_set_before, disk_groups: 2, devices: 1 }, |_| 1 << 40);
            if per_set_after != per_set_before {
                map.nodes.get_mut(&NodeId(node)).expect("the node").storage_set = node - nodes_before - 1;
            }
        }
        map.pools.get_mut(&POOL).expect("the pool").devices = map.devices.keys().copied().collect();
        let after = place(&map, POOL, Wish { groups: 320, avoid_node: false, grow: true }).expect("a placement");
        assert!(full(&after));
        assert_legal(&map, &after, 1, 2);
        assert_balanced(&map, &after);
        let least = needed(&before, &after);
        let moves = moved(&before, &after);
        assert!(moves <= least + least / 5 + 2, "{moves} moves where {least} are needed");
    }
}

/// As a leader does it: one place, then a look at what is wanted now.
#[test]
fn what_is_wanted_is_reached_one_place_at_a_time_without_detours() {
    for (scheme, domain, avoid_node) in
        [("4+2", FailureDomain::DiskGroup, false), ("2+2", FailureDomain::DiskGroup, true), ("1+2", FailureDomain::Node, false)]
    {
        let shape = Shape { nodes: 3, per_set: 100, disk_groups: 2, devices: 1 };
        let mut map = cluster(&shape, scheme, domain, |_| 1 << 40);
        let before = place(&map, POOL, Wish { groups: 0, avoid_node, grow: true }).expect("a placement");
        adopt(&mut map, &before);
        for node in 4..=5 {
            add_node(&mut map, node, &shape, |_| 1 << 40);
            map.pools.get_mut(&POOL).expect("the pool").devices = map.devices.keys().copied().collect();
            let wish = Wish { groups: 0, avoid_node, grow: false };
            let mut now = super::existing(&map, POOL);
            let at_once = moved(&now, &place(&map, POOL, wish).expect("a placement"));
            let mut steps = 0;
            loop {
                let wanted = place(&map, POOL, wish).expect("a placement");
                assert_eq!(wanted.len(), before.len(), "no new groups");
                let places =
                    wanted.iter().enumerate().flat_map(|(group, slots)| slots.iter().enumerate().map(move |(slot, to)| (group, slot, *to)));
                let mut moves = places.filter(|(group, slot, to)| now[*group][*slot] != *to && !now[*group].contains(to));
                let Some((group, slot, to)) = moves.next() else { break };
                now[group][slot] = to;
                adopt(&mut map, &now);
                steps += 1;
                assert!(steps <= at_once + at_once / 10 + 2, "{scheme}: {steps} steps where {at_once} places move");
            }
            assert_legal(&map, &now, if domain == FailureDomain::DiskGroup { 1 } else { usize::MAX }, if scheme == "1+2" { 1 } else { 2 });
            assert_balanced(&map, &now);
        }
    }
}

#[test]
fn groups_that_avoid_nodes_have_all_their_places_and_still_do_when_a_node_of_four_leaves() {
    let shape = Shape { nodes: 3, per_set: 100, disk_groups: 2, devices: 1 };
    let mut map = cluster(&shape, "2+2", FailureDomain::DiskGroup, |_| 1 << 40);
    let wish = Wish { groups: 0, avoid_node: true, grow: true };
    let three = place(&map, POOL, wish).expect("a placement");
    adopt(&mut map, &three);
    add_node(&mut map, 4, &shape, |_| 1 << 40);
    map.pools.get_mut(&POOL).expect("the pool").devices = map.devices.keys().copied().collect();
    let wish = Wish { grow: false, ..wish };
    let four = place(&map, POOL, wish).expect("a placement");
    adopt(&mut map, &four);
    for device in map.devices.values_mut().filter(|device| device.node == NodeId(1)) {
        device.state = DeviceState::Failed;
    }
    let after = place(&map, POOL, wish).expect("a placement");
    assert!(full(&after));
    assert_legal(&map, &after, 1, 2);
    for node in 2..=4 {
        let avoiding = |slots: &&Vec<Option<DeviceId>>| slots.iter().flatten().all(|id| map.devices[id].node != NodeId(node));
        let count = after.iter().filter(avoiding).count();
        assert!(count * 4 >= after.len(), "{count} of {} groups avoid node {node}", after.len());
    }
}

#[test]
fn nothing_moves_when_nothing_changed() {
    for (scheme, domain, avoid_node) in
        [("4+2", FailureDomain::DiskGroup, false), ("2+2", FailureDomain::DiskGroup, true), ("1+2", FailureDomain::Node, false)]
    {
        let shape = Shape { nodes: 12, per_set: 4, disk_groups: 2, devices: 2 };
        let mut map = cluster(&shape, scheme, domain, |id| (10 + u64::from(id % 3)) << 36);
        let wish = Wish { groups: 0, avoid_node, grow: true };
        let before = place(&map, POOL, wish).expect("a placement");
        adopt(&mut map, &before);
        assert_eq!(place(&map, POOL, wish).expect("a placement"), before, "{scheme}");
    }
}

fn drawn() -> impl Strategy<Value = (Shape, &'static str, FailureDomain, bool, Vec<u64>, Vec<u32>)> {
    let shape = (1u16..13, 3u16..6, 1u32..4, 1u32..4).prop_map(|(nodes, per_set, disk_groups, devices)| Shape {
        nodes,
        per_set,
        disk_groups,
        devices,
    });
    let scheme = prop_oneof![Just("4+2"), Just("2+2"), Just("8+2"), Just("1+2"), Just("1+4")];
    let domain = prop_oneof![Just(FailureDomain::Device), Just(FailureDomain::DiskGroup), Just(FailureDomain::Node)];
    (shape, scheme, domain, any::<bool>(), prop::collection::vec(1u64..9, 1..7), prop::collection::vec(0u32..120, 0..6))
}

impl std::fmt::Debug for Shape {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} nodes by {}, {} disk groups of {}", self.nodes, self.per_set, self.disk_groups, self.devices)
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 150, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn no_drawn_cluster_and_no_loss_breaks_a_rule((shape, scheme, domain, avoid_node, sizes, lost) in drawn()) {
        let mut map = cluster(&shape, scheme, domain, |id| sizes[id as usize % sizes.len()] << 30);
        let width = map.pools[&POOL].scheme.width();
        let copies = matches!(map.pools[&POOL].scheme, types::scheme::Scheme::Replicated { .. });
        let tolerance = map.pools[&POOL].scheme.tolerance();
        let per_group = if domain == FailureDomain::DiskGroup || (copies && domain == FailureDomain::Node) { 1 } else { width };
        let per_node = match domain {
            FailureDomain::Node if copies => 1,
            FailureDomain::Node => tolerance,
            _ => width,
        };
        let wish = Wish { groups: 0, avoid_node, grow: true };
        let Ok(before) = place(&map, POOL, wish) else { return Ok(()) };
        prop_assert!(full(&before));
        prop_assert_eq!(place(&map, POOL, wish).expect("the same again"), before.clone());
        assert_legal(&map, &before, per_group, per_node);
        adopt(&mut map, &before);
        for id in lost {
            if let Some(device) = map.devices.get_mut(&DeviceId(id)) {
                device.state = DeviceState::Failed;
            }
        }
        if let Ok(after) = place(&map, POOL, wish) {
            assert_legal(&map, &after, per_group, per_node);
            prop_assert_eq!(after.len().max(before.len()), after.len());
        }
    }
}
