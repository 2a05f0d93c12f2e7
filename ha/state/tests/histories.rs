//! Drawn histories of commands, stale and senseless ones among them: what must hold after every entry, whatever came before.

use proptest::prelude::*;
use types::map::{CatalogueKind, ClusterMap, Group};
use types::scheme::FailureDomain;
use types::state::{DeviceState, ProcessState};
use types::{Boot, CatalogueId, ClusterId, DeviceId, DiskGroupId, Epoch, GroupId, HaTime, NodeId, PoolId, SessionId, ViewNumber};

use ha_state::state::Fitness;
use ha_state::{
    Change, ClusterWish, Command, DeviceSpec, DeviceWish, Done, Found, GroupSlots, LossReason, MemberChange, NodeSpec, NodeWish, PoolSpec,
    State, Topology, ViewChange,
};

const NODES: u16 = 3;
const DEVICES: u32 = 6;
const GROUPS: u32 = 4;

fn topology() -> Topology {
    let node = |id: u16| NodeSpec {
        id: NodeId(id),
        name: format!("node-{id}"),
        storage_set: 0,
        rack: 0,
        ha_address: format!("h:{id}"),
        fabric_address: format!("f:{id}"),
        voter: true,
    };
    let device = |id: u32| DeviceSpec { id: DeviceId(id), node: NodeId((id as u16).div_ceil(2)), disk_group: DiskGroupId(id), bytes: 1 };
    let pool = |id: u16, scheme: &str| PoolSpec {
        id: PoolId(id),
        name: format!("pool-{id}"),
        scheme: scheme.parse().expect("a scheme"),
        failure_domain: FailureDomain::DiskGroup,
        devices: vec![],
        groups: GROUPS,
        priority: 0,
        avoid_node: false,
    };
    Topology {
        cluster: ClusterId(1),
        nodes: (1..=NODES).map(node).collect(),
        devices: (1..=DEVICES).map(device).collect(),
        pools: vec![pool(1, "1+2"), pool(2, "4+2")],
    }
}

/// What somebody tries; `old` makes it say something of before.
#[derive(Clone, Debug)]
enum Try {
    Register { node: u16, found: [u8; 2], nonce: u64 },
    Lose { node: u16, old: u64 },
    Recover { node: u16, old: u64 },
    Activate { node: u16, old: u64 },
    View { group: u32, kind: u8, device: u32, old: u64 },
    Create { pool: u16 },
    Slots { group: u32, slot: usize, device: Option<u32>, old: u64 },
    Fail { device: u32, old: u64, ended: bool },
    Ask { device: u32, wish: u8 },
    Fill { group: u32, slot: u8, old: u64 },
    Repair { pause: bool },
    Away { of_node: bool, ms: u64 },
    Maintain { node: u16, end: bool },
    GiveUp { device: u32 },
    Error { device: u32, report: u64 },
    Catalogue { name: u8, drop: bool },
    Session { nonce: u64, close: Option<u64> },
    Voters { nodes: Vec<u16> },
    Time,
    Bootstrap,
}

fn tries() -> impl Strategy<Value = Vec<Try>> {
    let node = || 1..=NODES + 1;
    let old = || prop_oneof![6 => Just(0u64), 1 => 1u64..4];
    let device = || 1..=DEVICES + 1;
    let group = || 0..=GROUPS;
    let one = prop_oneof![
        6 => (1..=NODES, any::<[u8; 2]>(), 0u64..40).prop_map(|(node, found, nonce)| Try::Register { node, found, nonce }),
        3 => (node(), old()).prop_map(|(node, old)| Try::Lose { node, old }),
        5 => (node(), old()).prop_map(|(node, old)| Try::Recover { node, old }),
        5 => (node(), old()).prop_map(|(node, old)| Try::Activate { node, old }),
        5 => (group(), 0u8..5, device(), old()).prop_map(|(group, kind, device, old)| Try::View { group, kind, device, old }),
        3 => (1u16..4).prop_map(|pool| Try::Create { pool }),
        2 => (group(), 0usize..7, prop::option::of(device()), old()).prop_map(|(group, slot, device, old)| Try::Slots { group, slot, device, old }),
        1 => (device(), old(), any::<bool>()).prop_map(|(device, old, ended)| Try::Fail { device, old, ended }),
        2 => (group(), 0u8..6, old()).prop_map(|(group, slot, old)| Try::Fill { group, slot, old }),
        1 => any::<bool>().prop_map(|pause| Try::Repair { pause }),
        1 => (any::<bool>(), prop_oneof![Just(0u64), 1u64..30]).prop_map(|(of_node, ms)| Try::Away { of_node, ms }),
        1 => (node(), any::<bool>()).prop_map(|(node, end)| Try::Maintain { node, end }),
        2 => device().prop_map(|device| Try::GiveUp { device }),
        1 => (device(), 0u8..5).prop_map(|(device, wish)| Try::Ask { device, wish }),
        1 => (device(), 0u64..5).prop_map(|(device, report)| Try::Error { device, report }),
        2 => (0u8..4, any::<bool>()).prop_map(|(name, drop)| Try::Catalogue { name, drop }),
        2 => (0u64..4, prop::option::of(0u64..50)).prop_map(|(nonce, close)| Try::Session { nonce, close }),
        1 => prop::collection::vec(node(), 0..3).prop_map(|nodes| Try::Voters { nodes }),
        1 => Just(Try::Time),
        1 => Just(Try::Bootstrap),
    ];
    prop::collection::vec(one, 1..120)
}

fn placement(map: &ClusterMap, pool: PoolId) -> Vec<Vec<Option<DeviceId>>> {
    let width = map.pools.get(&pool).map_or(3, |p| p.scheme.width()) as u32;
    let step = if width == 3 { 2 } else { 1 };
    (0..GROUPS).map(|g| (0..width).map(|s| Some(DeviceId((g + s * step) % DEVICES + 1))).collect()).collect()
}

/// The command that a try means on this state.
fn change(state: &State, what: &Try) -> Change {
    let map = state.map();
    let boot = |node: u16, old: u64| Boot(map.nodes.get(&NodeId(node)).map_or(0, |n| n.boot.0).saturating_sub(old));
    let id = |index: u32| GroupId { pool: PoolId(1), index };
    match what {
        Try::Register { node, found, nonce } => {
            let devices = [u32::from(*node) * 2 - 1, u32::from(*node) * 2].map(DeviceId);
            let seen = |(device, luck): (DeviceId, u8)| {
                let incarnation = map.devices.get(&device).map(|d| d.incarnation).unwrap_or_default();
                match luck {
                    0..20 => None,
                    20..40 => Some((device, Found::Blank)),
                    40..50 => Some((device, Found::Unusable)),
                    50..60 => Some((device, Found::Formatted { uuid: 1, incarnation: incarnation.next() })),
                    _ if incarnation.0 == 0 => Some((device, Found::Blank)),
                    _ => Some((device, Found::Formatted { uuid: u128::from(device.0), incarnation })),
                }
            };
            let devices = devices.into_iter().zip(*found).filter_map(seen).collect();
            Change::RegisterProcess { node: NodeId(*node), pid: 1, nonce: *nonce, devices }
        }
        Try::Lose { node, old } => Change::ProcessLost { node: NodeId(*node), boot: boot(*node, *old), reason: LossReason::Ended },
        Try::Recover { node, old } => {
            let announced = state.process(NodeId(*node)).map_or(Epoch(0), |p| p.announced);
            Change::Recovered { boot: boot(*node, 0), epoch: Epoch(announced.0.saturating_sub(*old)) }
        }
        Try::Activate { node, old } => {
            let boot = boot(*node, 0);
            let number = |group: &Group| ViewNumber(group.number().0.saturating_sub(*old));
            Change::Active { boot, groups: map.groups.iter().map(|(id, group)| (*id, number(group))).collect() }
        }
        Try::View { group, kind, device, old } => {
            let view = map.view(id(*group));
            let from = ViewNumber(view.map_or(0, |v| v.number.0).saturating_sub(*old));
            let device = DeviceId(*device);
            let member = view.and_then(|v| v.members.last().copied()).unwrap_or(device);
            if *kind == 4 {
                let learner = view.and_then(|v| v.learners.first().copied()).unwrap_or(device);
                let incarnation = map.devices.get(&learner).map(|d| d.incarnation).unwrap_or_default();
                let boot = view.and_then(|v| v.primary).map(|p| p.boot).unwrap_or_default();
                return Change::Filled { boot, groups: vec![(id(*group), from, learner, incarnation)] };
            }
            let change = match kind {
                0 => MemberChange::StepDown,
                1 => MemberChange::Appoint(device),
                2 => MemberChange::Learners(vec![device]),
                _ => MemberChange::Replace { from: member, to: view.and_then(|v| v.learners.first().copied()).unwrap_or(device) },
            };
            Change::ChangeViews(vec![ViewChange { group: id(*group), from, change }])
        }
        Try::Create { pool } => Change::CreateGroups { pool: PoolId(*pool), groups: placement(map, PoolId(*pool)) },
        Try::Slots { group, slot, device, old } => {
            let group = GroupId { pool: PoolId(2), index: *group };
            let present = map.slots(group);
            let mut slots = present.map(|s| s.slots.clone()).unwrap_or_default();
            if let Some(s) = slots.get_mut(*slot) {
                *s = device.map(DeviceId);
            }
            let from = ViewNumber(present.map_or(0, |s| s.number.0).saturating_sub(*old));
            Change::SetPlacement(vec![GroupSlots { group, from, slots }])
        }
        Try::Fill { group, slot, old } => {
            let group = GroupId { pool: PoolId(2), index: *group };
            let present = map.slots(group);
            let device = present.and_then(|s| s.slots.get(usize::from(*slot)).copied().flatten()).unwrap_or(DeviceId(1));
            let known = map.devices.get(&device);
            let incarnation = known.map_or(0, |d| d.incarnation.0).saturating_sub(*old);
            let number = ViewNumber(present.map_or(0, |s| s.number.0));
            let boot = known.map_or(Boot(0), |d| boot(d.node.0, 0));
            Change::SlotsFilled { boot, slots: vec![(group, number, *slot, device, types::Incarnation(incarnation))] }
        }
        Try::Repair { pause: true } => Change::AskCluster(ClusterWish::PauseRepair),
        Try::Repair { pause: false } => Change::AskCluster(ClusterWish::ResumeRepair),
        Try::Away { of_node: false, ms } => Change::AskCluster(ClusterWish::DeviceAway(*ms)),
        Try::Away { of_node: true, ms } => Change::AskCluster(ClusterWish::NodeAway(*ms)),
        Try::Maintain { node, end: false } => Change::AskNode { node: NodeId(*node), wish: NodeWish::StartMaintenance },
        Try::Maintain { node, end: true } => Change::AskNode { node: NodeId(*node), wish: NodeWish::EndMaintenance },
        Try::GiveUp { device } => {
            let incarnation = map.devices.get(&DeviceId(*device)).map(|d| d.incarnation).unwrap_or_default();
            Change::GiveUp { device: DeviceId(*device), incarnation }
        }
        Try::Fail { device, old, ended } => {
            let incarnation = map.devices.get(&DeviceId(*device)).map_or(0, |d| d.incarnation.0).saturating_sub(*old);
            Change::DeviceFailed {
                device: DeviceId(*device),
                incarnation: types::Incarnation(incarnation),
                ended: *ended,
                reason: "test".into(),
            }
        }
        Try::Ask { device, wish } => {
            let device = DeviceId(*device);
            let incarnation = map.devices.get(&device).map(|d| d.incarnation).unwrap_or_default();
            let wish = match wish {
                0 => DeviceWish::Fail,
                1 => DeviceWish::Keep,
                4 => DeviceWish::Scrub,
                2 => DeviceWish::Replace,
                _ => return Change::DeviceHangs { device, incarnation, reason: "test".into() },
            };
            Change::AskDevice { device, incarnation, wish }
        }
        Try::Error { device, report } => {
            let incarnation = map.devices.get(&DeviceId(*device)).map(|d| d.incarnation).unwrap_or_default();
            Change::DeviceError { device: DeviceId(*device), incarnation, count: 1, error: "EIO".into(), report: *report }
        }
        Try::Catalogue { name, drop: true } => {
            let id = map.catalogue_named(CatalogueKind::Index, &name.to_string()).map_or(CatalogueId(u64::from(*name)), |c| c.id);
            Change::DropCatalogue { id }
        }
        Try::Catalogue { name, drop: false } => {
            Change::CreateCatalogue { name: name.to_string(), kind: CatalogueKind::Index, pool: None, width: 2 }
        }
        Try::Session { nonce, close: None } => Change::OpenSession { nonce: *nonce, name: "c".into() },
        Try::Session { close: Some(id), .. } => Change::CloseSession { session: SessionId(*id) },
        Try::Voters { nodes } => Change::SetVoters(nodes.iter().map(|n| NodeId(*n)).collect()),
        Try::Time => Change::AdvanceTime,
        Try::Bootstrap => Change::Bootstrap(topology()),
    }
}

/// The map without what every entry moves.
fn settled(state: &State) -> ClusterMap {
    ClusterMap { index: 0, ha_time: HaTime(0), ..state.map().clone() }
}

/// What is given up for being away was away, for long enough, of a node that nobody works on, and each group has enough without it.
fn assert_given_up(before: &State, after: &State, id: DeviceId) {
    let device = &before.map().devices[&id];
    let live = before.live(before.map().nodes[&device.node].boot).is_some();
    let policy = before.away_policy();
    let borne = if live { policy.device_ms } else { policy.node_ms };
    let since = before.device(id).expect("it").since.0;
    assert_eq!((device.state, after.map().devices[&id].state), (DeviceState::Transient, DeviceState::Failed));
    assert!(borne > 0 && after.ha_time().0 >= since + borne && !before.maintenance().contains_key(&device.node));
    for (group, of) in &after.map().groups {
        let has = |d: &&DeviceId| after.map().devices[d].state != DeviceState::Failed && !after.device(**d).expect("it").blank;
        match of {
            Group::Replicated(view) if view.members.contains(&id) && !before.device(id).expect("it").blank => {
                assert!(view.members.iter().filter(has).count() >= view.quorum(), "group {group}");
            }
            Group::Erasure(slots) if slots.slots.contains(&Some(id)) => {
                let slot = slots.slots.iter().position(|d| *d == Some(id)).expect("it");
                assert!(before.is_unfilled(*group, slot) || after.sound_slots(*group) >= after.data_units(*group), "group {group}");
            }
            _ => {}
        }
    }
}

fn assert_step(before: &State, after: &State, outcome: &ha_state::Outcome) {
    let (old, new) = (before.map(), after.map());
    assert!(new.epoch >= old.epoch && new.epoch.0 <= new.index && new.ha_time >= old.ha_time);
    if outcome.is_err() || *outcome == Ok(Done::AlreadySo) {
        assert_eq!(settled(before), settled(after));
        assert!(before.sessions() == after.sessions() && before.events().eq(after.events()));
    }
    let moved = old.nodes != new.nodes || old.devices != new.devices || old.pools != new.pools;
    let views = |map: &ClusterMap| map.groups.iter().map(|(id, g)| (*id, g.number(), g.devices())).collect::<Vec<_>>();
    let filled = before.unfilled() != after.unfilled() || before.repair_is_paused() != after.repair_is_paused();
    let has_moved = moved || filled || views(old) != views(new);
    assert_eq!(has_moved, new.epoch != old.epoch, "the epoch moves with states and placement, with nothing else");
    for (id, device) in &old.devices {
        let now = &new.devices[id];
        assert!(now.incarnation >= device.incarnation);
        if device.state == DeviceState::Failed && now.incarnation == device.incarnation {
            assert_eq!(now.state, DeviceState::Failed);
        }
    }
    for (id, node) in &old.nodes {
        let now = &new.nodes[id];
        assert!(now.boot >= node.boot);
        if node.boot == now.boot && node.state == ProcessState::Transient {
            assert_eq!(now.state, ProcessState::Transient, "a boot that was declared lost never comes back");
        }
    }
    for (id, group) in &old.groups {
        let now = &new.groups[id];
        assert!(now.number() >= group.number());
        if let (Group::Replicated(was), Group::Replicated(is)) = (group, now) {
            if was.number == is.number {
                assert_eq!((&was.primary, &was.members, &was.old, &was.learners), (&is.primary, &is.members, &is.old, &is.learners));
            }
            assert!(is.active == was.active || (is.active == is.number && is.number == was.number), "only the present view becomes active");
            if was.members != is.members {
                assert_eq!(was.members, before.group(*id).expect("it").active_members, "no second change before the first is active");
                assert_eq!(is.old, was.members);
                assert_eq!(was.members.iter().filter(|m| !is.members.contains(m)).count(), 1);
            }
            if let (Some(p), Some(q)) = (was.primary, is.primary)
                && p != q
            {
                assert!(!before.primary_is_live(&p) || !after.primary_is_live(&p), "a live primary is not replaced without stepping down");
            }
            if let Some(p) = is.primary
                && was.primary != is.primary
                && after.fitness(p.device) == Some(Fitness::Recovering)
            {
                assert!(is.members.iter().all(|m| after.fitness(*m) != Some(Fitness::Online)));
            }
        }
    }
}

fn assert_state(state: &State) {
    let map = state.map();
    let mut lacking = std::collections::BTreeSet::new();
    for (id, slots) in state.unfilled() {
        assert!(!slots.is_empty());
        for (slot, from) in slots {
            let device = map.slots(*id).and_then(|s| s.slots[usize::from(*slot)]).expect("what lacks units is somebody's");
            assert!(*from != Some(device));
            lacking.insert(device);
        }
    }
    assert!(state.units_missing().iter().all(|id| lacking.contains(id)), "a device that misses units has a slot that does");
    for device in map.devices.values().filter(|d| d.state == DeviceState::Rebalancing) {
        assert!(state.units_missing().contains(&device.id));
    }
    for (id, group) in &map.groups {
        assert!(group.number().0 <= map.epoch.0);
        if let Group::Replicated(view) = group {
            assert!(view.active <= view.number && view.number.0 >= view.created.0);
            if let Some(primary) = view.primary {
                assert!(state.primary_is_live(&primary) && view.members.contains(&primary.device), "group {id}");
                assert!(!state.device(primary.device).expect("it").blank);
                assert_eq!(state.group(*id).expect("it").stepping_down, None);
            }
        }
    }
    for (id, node) in &map.nodes {
        let live = matches!(node.state, ProcessState::Recovering | ProcessState::Online);
        assert_eq!(live, state.session_is_open(SessionId(node.boot.0)) && node.boot.0 != 0);
        for device in map.devices.values().filter(|d| d.node == *id) {
            assert!(live || !device.state.is_writable(), "{} of a process that is {}", device.state, node.state);
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn every_history_keeps_the_rules_and_every_subscriber_ends_with_the_same_state(tries in tries(), cut in 0usize..120) {
        let mut state = State::new();
        let mut entries: Vec<(u64, Vec<u8>)> = Vec::new();
        let mut snapshot = (0, state.encode());
        let mut index = 0;
        let start = [Try::Bootstrap];
        for (i, what) in start.iter().chain(&tries).enumerate() {
            index += 1 + u64::from(i.is_multiple_of(3));
            let command = Command { epoch: state.epoch(), at: HaTime(index * 7 % 50 + index), wall_ms: 1, change: change(&state, what) };
            let bytes = command.encode();
            prop_assert_eq!(Command::decode(&bytes), Ok(command.clone()));
            entries.push((index, bytes));
            let before = state.clone();
            let outcome = state.apply(index, &command);
            assert_step(&before, &state, &outcome);
            if let (Change::GiveUp { device, .. }, Ok(Done::Changed)) = (&command.change, &outcome) {
                assert_given_up(&before, &state, *device);
            }
            assert_state(&state);
            // The same command again changes nothing; refused or answered, but never a second effect.
            let mut twice = state.clone();
            let again = twice.apply(index + 1, &command);
            prop_assert_eq!(settled(&twice), settled(&state));
            prop_assert_eq!(twice.sessions(), state.sessions());
            if let (Ok(Done::Registered(a)), Ok(Done::Registered(b))) = (&outcome, &again) {
                prop_assert_eq!((&a.boot, &a.devices), (&b.boot, &b.devices));
            }
            if i == cut {
                snapshot = (index, state.encode());
            }
        }
        let mut follower = State::decode(&snapshot.1).expect("our own snapshot");
        let mut latecomer = State::new();
        for (index, bytes) in &entries {
            let command = Command::decode(bytes).expect("our own command");
            if *index > snapshot.0 {
                let _ = follower.apply(*index, &command);
            }
            let _ = latecomer.apply(*index, &command);
        }
        prop_assert_eq!(&follower, &state);
        prop_assert_eq!(&latecomer, &state);
        prop_assert_eq!(follower.encode(), state.encode());
    }

    #[test]
    fn no_bytes_make_the_decoders_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        let mut versioned = vec![1];
        versioned.extend_from_slice(&bytes);
        for bytes in [&bytes, &versioned] {
            let _ = Command::decode(bytes);
            let _ = State::decode(bytes);
        }
    }
}
