//! A node joins, and gets its share step by step.

use std::time::Duration;

use types::state::ProcessState;
use types::{Boot, DiskGroupId, Epoch, HaTime, NodeId};

use super::*;
use crate::command::{ClusterWish, DeviceWish, NodeWish};
use crate::director::{Observations, SubstituteRequest, propose_with};
use crate::lease::{Leases, Timing};
use crate::outcome::{Done, Refused};
use crate::sample::{Log, devices, topology};
use crate::{DeviceSpec, NodeSpec};

fn node_4() -> (NodeSpec, Vec<DeviceSpec>) {
    let node = NodeSpec {
        id: NodeId(4),
        name: "node-4".into(),
        ha_address: "h:4".into(),
        fabric_address: "f:4".into(),
        ..topology().nodes.remove(0)
    };
    let device = |id: DeviceId| DeviceSpec { id, node: NodeId(4), disk_group: DiskGroupId(id.0), bytes: 1 << 30 };
    (node, devices(4).map(device).to_vec())
}

fn add(log: &mut Log) -> Result<Done, Refused> {
    let (node, devices) = node_4();
    log.put(Change::AddNode { node, devices })
}

/// The first place of each of the first three groups of a pool is to be on the new node.
fn wanted(map: &ClusterMap, request: &PlaceRequest) -> Result<Vec<Vec<Option<DeviceId>>>, String> {
    assert!(!request.grow);
    let groups = map.groups.keys().filter(|g| g.pool == request.pool).copied();
    let serves = |id: &DeviceId| map.devices.get(id).is_some_and(|d| d.state.is_readable());
    let to = |index: u32| Some(devices(4)[(index % 2) as usize]).filter(serves);
    Ok(groups
        .map(|group| {
            let mut places = places(map, group);
            if group.index < 3 {
                places[0] = to(group.index).or(places[0]);
            }
            places
        })
        .collect())
}

/// Any device of the new node that the group does not have.
fn substitute(map: &ClusterMap, request: &SubstituteRequest<'_>) -> Option<DeviceId> {
    let present = places(map, request.group);
    let serves = |id: &DeviceId| map.devices.get(id).is_some_and(|d| d.state.is_readable());
    devices(4).into_iter().find(|id| serves(id) && !present.contains(&Some(*id)) && !request.not.contains(id))
}

const PLACERS: Placers<'static> = Placers { groups: &wanted, substitute: &substitute };

/// What a leader that has been there for long proposes; applied.
fn act(log: &mut Log) -> (Vec<Change>, Vec<String>) {
    act_with(log, &mut Memo::default())
}

fn act_with(log: &mut Log, memo: &mut Memo) -> (Vec<Change>, Vec<String>) {
    let leases = Leases::elected(Timing::default(), Duration::ZERO);
    let confirmed: BTreeMap<Boot, u64> = log.state.map().nodes.values().map(|n| (n.boot, log.state.index())).collect();
    let seen = Observations {
        now: Duration::from_millis(1),
        ha_time: HaTime(log.state.ha_time().0 + 1),
        wall_ms: 0,
        leases: &leases,
        ended: &BTreeSet::new(),
        confirmed: &confirmed,
        sessions_over: &BTreeSet::new(),
    };
    let proposals = propose_with(&log.state, &seen, PLACERS, memo);
    for command in &proposals.commands {
        log.put_at(command.at, command.change.clone()).expect("what a leader proposes on the present state is applied");
    }
    (proposals.commands.into_iter().map(|c| c.change).collect(), proposals.warnings)
}

/// The processes do what is theirs: slots and learners are filled, primaries report.
fn serve(log: &mut Log) {
    log.activate();
    let learners: Vec<(u32, DeviceId)> =
        log.state.map().groups.keys().filter_map(|g| Some((g.index, *log.state.map().view(*g)?.learners.first()?))).collect();
    for (index, learner) in learners {
        log.fill(index, learner).expect("filled");
    }
    let lacking: Vec<_> = log.state.unfilled().iter().flat_map(|(g, slots)| slots.keys().map(|s| (*g, *s)).collect::<Vec<_>>()).collect();
    for (group, slot) in lacking {
        let slots = log.state.map().slots(group).expect("slots");
        let (number, device) = (slots.number, slots.slots[usize::from(slot)].expect("a device"));
        let of = &log.state.map().devices[&device];
        let (incarnation, boot) = (of.incarnation, log.state.map().nodes[&of.node].boot);
        log.put(Change::SlotsFilled { boot, slots: vec![(group, number, slot, device, incarnation)] }).expect("filled");
    }
}

#[test]
fn a_node_that_joins_gets_its_share_one_place_of_a_group_at_a_time_and_then_it_ends() {
    let mut log = Log::running();
    assert_eq!(add(&mut log), Ok(Done::Changed));
    assert_eq!(log.state.map().nodes[&NodeId(4)].state, ProcessState::Unknown);
    assert!(log.state.map().pools.values().all(|pool| pool.devices.ends_with(&devices(4))), "pools that take all take these");
    // A leader remembers what was wanted: not past what that was computed of.
    let mut memo = Memo::default();
    let (changes, warnings) = act_with(&mut log, &mut memo);
    assert!(changes.is_empty() && warnings[0].contains("waits for 2 devices"), "{changes:?} {warnings:?}");
    log.start(4);
    log.recover(4);
    let mut steps = 0;
    while log.state.rebalance().is_some() {
        let (changes, warnings) = act_with(&mut log, &mut memo);
        let at_the_end = places(log.state.map(), GroupId { pool: types::PoolId(2), index: 2 })[0] == Some(devices(4)[0]);
        assert!((at_the_end || !changes.is_empty()) && warnings.is_empty(), "{changes:?} {warnings:?}");
        serve(&mut log);
        steps += 1;
        assert!(steps < 50, "it ends");
    }
    for group in log.state.map().groups.keys().filter(|g| g.index < 3) {
        assert!(devices(4).map(Some).contains(&places(log.state.map(), *group)[0]), "{group}");
    }
    assert!(log.state.unfilled().is_empty() && act(&mut log).0.iter().all(|c| matches!(c, Change::ChangeViews(_))), "but for primaries");
}

#[test]
fn a_rebalance_that_is_paused_moves_nothing_and_one_waits_for_what_is_to_be_repaired() {
    let mut log = Log::running();
    add(&mut log).expect("added");
    log.start(4);
    log.recover(4);
    log.put(Change::AskCluster(ClusterWish::PauseRebalance)).expect("paused");
    assert_eq!(act(&mut log).0, []);
    log.put(Change::AskCluster(ClusterWish::ResumeRebalance)).expect("goes on");
    let device = devices(1)[0];
    let incarnation = log.state.map().devices[&device].incarnation;
    log.put(Change::AskDevice { device, incarnation, wish: DeviceWish::Replace }).expect("it is to go");
    let (_, warnings) = act(&mut log);
    assert!(warnings.iter().any(|w| w.contains("rebalance waits until what is on dev-1")), "{warnings:?}");
    log.put(Change::AskDevice { device, incarnation, wish: DeviceWish::Keep }).expect("it stays");
    assert!(!act(&mut log).0.is_empty());
    assert_eq!(log.put(Change::Balanced(Epoch(1))), Err(Refused::Superseded), "of a state that is past");
}

#[test]
fn a_node_that_is_removed_is_emptied_gives_up_its_vote_and_its_numbers_are_never_used_again() {
    let mut log = Log::running();
    add(&mut log).expect("added");
    log.start(4);
    log.recover(4);
    assert_eq!(log.put(Change::AskNode { node: NodeId(9), wish: NodeWish::Remove }), Err(Refused::NoNode(NodeId(9))));
    log.put(Change::AskNode { node: NodeId(1), wish: NodeWish::Remove }).expect("it is to go");
    assert!(matches!(log.put(Change::RemoveNode(NodeId(1))), Err(Refused::NodeInUse { .. })), "it has members and slots");
    assert!(matches!(log.put(Change::RemoveNode(NodeId(2))), Err(Refused::NodeInUse { .. })), "nobody asked for that");
    let mut steps = 0;
    while log.state.map().nodes.contains_key(&NodeId(1)) {
        act(&mut log);
        serve(&mut log);
        if log.state.holds_still(NodeId(1)).is_some_and(|why| why.contains("votes")) {
            log.put(Change::SetVoters(vec![NodeId(2), NodeId(3), NodeId(4)])).expect("others vote");
        }
        steps += 1;
        assert!(steps < 100, "{:?}", log.state.holds_still(NodeId(1)));
    }
    let map = log.state.map();
    let gone = devices(1);
    assert!(map.groups.values().all(|group| group.devices().iter().all(|d| !gone.contains(d))));
    assert!(
        map.pools.values().all(|pool| pool.devices.iter().all(|d| !gone.contains(d))) && gone.iter().all(|d| !map.devices.contains_key(d))
    );
    assert!(log.state.leaving().is_empty() && log.state.removing().is_empty() && log.state.rebalance().is_some());
    assert_eq!(log.put(Change::RemoveNode(NodeId(1))), Ok(Done::AlreadySo));
    // The last node goes, too, and its number does not come again.
    log.put(Change::AskNode { node: NodeId(4), wish: NodeWish::Remove }).expect("asked");
    log.put(Change::AskNode { node: NodeId(4), wish: NodeWish::Keep }).expect("taken back");
    assert!(log.state.leaving().is_empty());
    let mut node = node_4();
    (node.0.id, node.0.name, node.0.ha_address, node.0.fabric_address) = (NodeId(1), "node-9".into(), "h:9".into(), "f:9".into());
    node.1.iter_mut().for_each(|device| (device.id, device.node) = (DeviceId(device.id.0 + 10), NodeId(1)));
    assert!(matches!(log.put(Change::AddNode { node: node.0, devices: node.1 }), Err(Refused::Topology(_))));
    assert_eq!(State::decode(&log.state.encode()), Ok(log.state));
}

#[test]
fn a_node_joins_once_and_only_under_numbers_names_and_addresses_that_are_new() {
    let mut log = Log::running();
    assert_eq!(add(&mut log), Ok(Done::Changed));
    assert_eq!(add(&mut log), Ok(Done::AlreadySo));
    let refused = |log: &mut Log, change: &dyn Fn(&mut NodeSpec, &mut Vec<DeviceSpec>)| {
        let (mut node, mut devices) = node_4();
        (node.id, node.name, node.ha_address, node.fabric_address) = (NodeId(5), "node-5".into(), "h:5".into(), "f:5".into());
        for device in &mut devices {
            (device.node, device.id, device.disk_group) = (NodeId(5), DeviceId(device.id.0 + 2), DiskGroupId(device.id.0 + 2));
        }
        change(&mut node, &mut devices);
        let before = log.state.map().nodes.len();
        let outcome = log.put(Change::AddNode { node, devices });
        assert_eq!(log.state.map().nodes.len(), before);
        matches!(outcome, Err(Refused::Topology(_)))
    };
    assert!(refused(&mut log, &|node, _| node.name = "node-1".into()), "a name");
    assert!(refused(&mut log, &|node, _| node.ha_address = topology().nodes[0].ha_address.clone()), "an address");
    assert!(
        refused(&mut log, &|node, devices| {
            node.id = NodeId(1);
            devices.iter_mut().for_each(|d| d.node = NodeId(1));
        }),
        "a number"
    );
    assert!(refused(&mut log, &|_, devices| devices[0].id = DeviceId(1)), "a device's number");
    assert!(refused(&mut log, &|_, devices| devices[0].node = NodeId(1)), "a device elsewhere");
    assert!(refused(&mut log, &|_, devices| devices.clear()), "no device");
}
