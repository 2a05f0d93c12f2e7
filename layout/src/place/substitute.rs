//! One device in another's place: who is to take over a member of a replicated group, or a slot of an erasure-coded one.

use std::collections::BTreeSet;

use types::map::{ClusterMap, Group};
use types::{DeviceId, GroupId};

use super::site::{Rules, Site, mix};

/// The device that may take the place of `out` in a group, by the rules for it: it serves, is none of `not`, and of those the one with the fewest
/// places in groups of that kind for its size. `None` where there is none.
pub fn substitute(map: &ClusterMap, group: GroupId, out: DeviceId, not: &BTreeSet<DeviceId>) -> Option<DeviceId> {
    let pool = map.pools.get(&group.pool)?;
    let (present, is_kind): (Vec<DeviceId>, fn(&Group) -> bool) = match map.groups.get(&group)? {
        Group::Replicated(view) => (view.members.clone(), |g| matches!(g, Group::Replicated(_))),
        Group::Erasure(slots) => (slots.slots.iter().flatten().copied().collect(), |g| matches!(g, Group::Erasure(_))),
    };
    let present = in_one_set(map, present);
    let site = Site::of(map, pool);
    let rules = Rules::of(pool);
    // One that is in no usable state keeps its place: it counts by its domains only where it is known.
    let stay: Vec<Option<usize>> = present.iter().filter(|m| **m != out).map(|m| site.index.get(m).copied()).collect();
    let may = |device: &DeviceId| {
        let serves = map.devices.get(device).is_some_and(|d| d.state.is_readable());
        serves && *device != out && !not.contains(device) && !present.contains(device)
    };
    let load = |device: DeviceId| map.groups.values().filter(|g| is_kind(g) && g.devices().contains(&device)).count();
    let candidates = site.devices.iter().enumerate().filter(|(index, dev)| may(&dev.id) && site.fits(&rules, &stay, *index));
    let ranked = candidates.map(|(_, dev)| {
        let share = (load(dev.id) + 1) as f64 / dev.weight;
        (share, mix(u64::from(group.index), u64::from(dev.id.0)), dev.id)
    });
    ranked.min_by(|a, b| a.0.total_cmp(&b.0).then(a.1.cmp(&b.1))).map(|(_, _, id)| id)
}

/// Of a group that is on its way from one storage set to another: its devices in the set that most of them are in. The others break no rule
/// there, for they go.
fn in_one_set(map: &ClusterMap, present: Vec<DeviceId>) -> Vec<DeviceId> {
    let set = |id: &DeviceId| map.node_of(*id).map(|node| node.storage_set);
    let count = |wanted: Option<u16>| present.iter().filter(|id| set(id) == wanted).count();
    let most = present.iter().map(set).max_by_key(|of| (count(*of), std::cmp::Reverse(*of)));
    present.iter().copied().filter(|id| Some(set(id)) == most).collect()
}

#[cfg(test)]
mod tests {
    use types::map::{Device, GroupView, Node, Pool, Slots};
    use types::scheme::FailureDomain;
    use types::state::DeviceState;
    use types::{DiskGroupId, Epoch, Incarnation, NodeId, PoolId, ViewNumber};

    use super::*;

    const GROUP: GroupId = GroupId { pool: PoolId(1), index: 0 };

    /// Nodes of two devices each; one group on the first devices of the first three.
    fn map(nodes: u16) -> ClusterMap {
        let mut map = ClusterMap::default();
        for node in 1..=nodes {
            let of = Node {
                id: NodeId(node),
                name: format!("node-{node}"),
                storage_set: 0,
                rack: 0,
                ha_address: String::new(),
                fabric_address: String::new(),
                state: types::state::ProcessState::Online,
                boot: types::Boot(1),
                voter: true,
            };
            map.nodes.insert(NodeId(node), of);
            for id in [2 * u32::from(node) - 1, 2 * u32::from(node)].map(DeviceId) {
                let device = Device {
                    id,
                    node: NodeId(node),
                    disk_group: DiskGroupId(id.0),
                    state: DeviceState::Online,
                    incarnation: Incarnation(1),
                    registered: Epoch(1),
                    bytes: 1 << 30,
                    reason: String::new(),
                };
                map.devices.insert(id, device);
            }
        }
        let pool = Pool {
            id: PoolId(1),
            name: "meta".into(),
            scheme: "1+2".parse().expect("a scheme"),
            failure_domain: FailureDomain::Node,
            devices: map.devices.keys().copied().collect(),
            groups: 1,
            priority: 0,
        };
        map.pools.insert(PoolId(1), pool);
        put(&mut map, 0, [1, 3, 5]);
        map
    }

    fn put(map: &mut ClusterMap, index: u32, members: [u32; 3]) {
        let members: Vec<DeviceId> = members.map(DeviceId).to_vec();
        let view = GroupView {
            number: ViewNumber(1),
            created: Epoch(1),
            primary: None,
            old: members.clone(),
            members,
            learners: vec![],
            active: ViewNumber(1),
        };
        map.groups.insert(GroupId { pool: PoolId(1), index }, Group::Replicated(view));
    }

    #[test]
    fn a_node_that_has_a_member_gets_no_second_one_and_the_emptiest_device_is_taken() {
        let mut map = map(5);
        put(&mut map, 1, [7, 8, 9]);
        let taken = chosen(&map).expect("one");
        assert!([2, 10].contains(&taken.0), "{taken}: of nodes 1, 4 and 5, the devices without any member");
        let not = BTreeSet::from([DeviceId(2), DeviceId(10)]);
        let next = substitute(&map, GROUP, DeviceId(1), &not).expect("one");
        assert!([7, 8, 9].contains(&next.0), "{next}");
    }

    fn chosen(map: &ClusterMap) -> Option<DeviceId> {
        substitute(map, GROUP, DeviceId(1), &BTreeSet::new())
    }

    #[test]
    fn a_slot_goes_to_a_device_outside_its_group_and_of_all_slots_each_gets_its_share() {
        let mut map = map(5);
        let data = PoolId(2);
        let pool = Pool { id: data, name: "data".into(), scheme: "4+2".parse().expect("a scheme"), ..map.pools[&PoolId(1)].clone() };
        map.pools.insert(data, pool);
        let id = |index| GroupId { pool: data, index };
        for index in 0..10 {
            let slots = (1..=6).map(|device| Some(DeviceId(device))).collect();
            map.groups.insert(id(index), Group::Erasure(Slots { number: ViewNumber(1), slots }));
        }
        map.devices.get_mut(&DeviceId(1)).expect("it").state = DeviceState::Failed;
        let mut taken = std::collections::BTreeMap::new();
        for index in 0..10 {
            let to = substitute(&map, id(index), DeviceId(1), &BTreeSet::new()).expect("one");
            *taken.entry(to.0).or_insert(0) += 1;
            let Some(Group::Erasure(slots)) = map.groups.get_mut(&id(index)) else { panic!("it is there") };
            slots.slots[0] = Some(to);
        }
        assert_eq!(taken.keys().copied().collect::<Vec<_>>(), [7, 8, 9, 10], "{taken:?}");
        assert!(taken.values().all(|slots| (2..=3).contains(slots)), "{taken:?}");
    }

    #[test]
    fn a_group_that_is_half_way_to_another_storage_set_is_mended_where_most_of_it_is() {
        let mut map = map(6);
        for node in 4..=6 {
            map.nodes.get_mut(&NodeId(node)).expect("it").storage_set = 1;
        }
        put(&mut map, 0, [7, 3, 5]);
        map.devices.get_mut(&DeviceId(3)).expect("it").state = DeviceState::Failed;
        let taken = substitute(&map, GROUP, DeviceId(3), &BTreeSet::new()).expect("one");
        assert!([1, 2, 4].contains(&taken.0), "{taken}: of the set of nodes 1 to 3, but not of node 3");
        put(&mut map, 0, [7, 9, 3]);
        let taken = substitute(&map, GROUP, DeviceId(3), &BTreeSet::new()).expect("one");
        assert!([11, 12].contains(&taken.0), "{taken}: it is nearly there");
    }

    #[test]
    fn in_three_nodes_the_other_device_of_the_same_node_takes_over_and_then_nobody() {
        let mut map = map(3);
        assert_eq!(chosen(&map), Some(DeviceId(2)));
        map.devices.get_mut(&DeviceId(2)).expect("it").state = DeviceState::Transient;
        assert_eq!(chosen(&map), None, "what is away is not filled");
        assert_eq!(substitute(&map, GroupId { pool: PoolId(1), index: 7 }, DeviceId(1), &BTreeSet::new()), None);
    }
}
