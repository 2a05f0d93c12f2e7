//! The rules of the state, each tried by itself.

use types::map::Group;
use types::state::{DeviceState, ProcessState};
use types::{DeviceId, GroupId, HaTime, Incarnation, NodeId, PoolId, SessionId, ViewNumber};

use super::*;
use crate::command::{Found, GroupSlots, LossReason, MemberChange, ViewChange};
use crate::outcome::{Registered, Verdict};
use crate::sample::{GROUPS, Log, META, devices, topology};

fn group(index: u32) -> GroupId {
    GroupId { pool: META, index }
}

fn numbers(log: &Log) -> Vec<ViewNumber> {
    (0..GROUPS).map(|i| log.state.map().view(group(i)).expect("a view").number).collect()
}

#[test]
fn a_cluster_is_created_once() {
    let mut log = Log::created();
    assert_eq!(log.state.map().nodes.len(), 3);
    assert_eq!(log.put(Change::Bootstrap(topology())), Ok(Done::AlreadySo));
    let mut other = topology();
    other.nodes.pop();
    assert_eq!(log.put(Change::Bootstrap(other)), Err(Refused::CreatedOtherwise));
    assert_eq!(Log::default().put(Change::AdvanceTime), Err(Refused::NotCreated));
}

#[test]
fn a_topology_with_two_nodes_of_one_name_is_refused_by_name() {
    let mut bad = topology();
    bad.nodes[1].name = "node-1".into();
    let error = Log::default().put(Change::Bootstrap(bad)).expect_err("refused");
    assert_eq!(error.to_string(), "the topology: node name node-1 is given twice");
}

#[test]
fn a_topology_that_refers_to_what_is_not_there_is_refused() {
    let changes: [fn(&mut Topology); 7] = [
        |t| t.devices[0].node = NodeId(9),
        |t| t.devices[1].disk_group = t.devices[5].disk_group,
        |t| t.pools[0].devices = vec![DeviceId(99)],
        |t| t.nodes[2].fabric_address = t.nodes[0].fabric_address.clone(),
        |t| t.pools[1].id = t.pools[0].id,
        |t| t.nodes.clear(),
        |t| t.devices[3].id = DeviceId(1),
    ];
    for change in changes {
        let mut bad = topology();
        change(&mut bad);
        assert!(bad.validate().is_err());
    }
}

#[test]
fn a_second_process_of_a_name_with_blank_devices_takes_nothing_from_the_one_that_lives() {
    let mut log = Log::running();
    let before = log.state.map().clone();
    let blank = devices(2).map(|id| (id, Found::Blank)).to_vec();
    let second = |pid| Change::RegisterProcess { node: NodeId(2), pid, nonce: 77, devices: blank.clone() };
    let [device, _] = devices(2);
    assert_eq!(log.put(second(200)), Err(Refused::Usurped { node: NodeId(2), pid: 100, device }));
    assert_eq!((&log.state.map().nodes, &log.state.map().devices), (&before.nodes, &before.devices));
    // Once the first has ended it is a node with new disks.
    log.lose(2).expect("lost");
    assert!(matches!(log.put(second(200)), Ok(Done::Registered(_))));
}

#[test]
fn what_lies_in_the_place_of_a_device_is_told_in_words() {
    let mut log = Log::running();
    let [first, second] = devices(1);
    for (found, says) in [
        (Found::OtherCluster, "a device of another cluster"),
        (Found::OtherDevice, "another device of this cluster"),
        (Found::Newer, "newer software"),
        (Found::Unusable, "does not open"),
    ] {
        log.lose(1).expect("lost");
        let told = log.start_with(1, &[(first, found), (second, log.as_known(second))]);
        let reason = &log.state.map().devices[&first].reason;
        assert!(reason.contains(says), "{reason}");
        assert_eq!(told.devices[&first], Verdict::Refuse(reason.clone()));
        let noted = |event: &&crate::event::Event| event.subject == crate::event::Subject::Device(first) && event.cause == *reason;
        assert!(log.state.events().any(|event| noted(&event)), "the history says it too");
        assert_eq!(log.state.map().devices[&first].state, DeviceState::Transient);
    }
}

#[test]
fn a_first_start_formats_and_a_second_one_uses() {
    let mut log = Log::created();
    let first = log.start(1);
    assert_eq!(first.epoch, log.state.epoch());
    assert_eq!(first.boot.0, log.state.index());
    assert!(first.devices.values().all(|v| *v == Verdict::Format(Incarnation(first.boot.0))));
    assert_eq!(log.state.map().nodes[&NodeId(1)].state, ProcessState::Recovering);
    let second = log.start(1);
    assert!(second.boot > first.boot);
    assert!(second.devices.values().all(|v| *v == Verdict::Use(Incarnation(first.boot.0))));
    assert!(log.state.session_is_open(SessionId(second.boot.0)) && !log.state.session_is_open(SessionId(first.boot.0)));
}

#[test]
fn the_same_registration_sent_again_gets_the_same_answer() {
    let mut log = Log::created();
    let first = log.start(1);
    let (_, command) = log.entries.last().cloned().expect("it");
    assert_eq!(log.put(command.change), Ok(Done::Registered(Registered { ha_time: log.state.ha_time(), ..first.clone() })));
    assert_eq!(log.state.epoch(), first.epoch);
}

#[test]
fn a_lost_process_takes_its_devices_its_primaries_and_its_session_with_it() {
    let mut log = Log::running();
    let before = numbers(&log);
    let boot = log.boot(1);
    let mine: Vec<u32> = (0..GROUPS).filter(|i| log.node_of_primary(*i) == Some(1)).collect();
    assert!(!mine.is_empty());
    assert_eq!(log.lose(1), Ok(Done::Changed));
    assert_eq!(log.state.map().nodes[&NodeId(1)].state, ProcessState::Transient);
    for id in devices(1) {
        assert_eq!(log.state.map().devices[&id].state, DeviceState::Transient);
    }
    assert!(!log.state.session_is_open(SessionId(boot.0)));
    let after = numbers(&log);
    for i in 0..GROUPS {
        let node = log.node_of_primary(i).expect("a primary");
        assert_ne!(node, 1);
        assert_eq!(after[i as usize] != before[i as usize], mine.contains(&i), "only its own groups change");
    }
    let load: Vec<usize> = log.state.primaries().values().copied().collect();
    assert_eq!(load, [3, 3], "what it had is spread over the others");
    assert_eq!(log.lose(1), Ok(Done::AlreadySo));
}

#[test]
fn a_decision_about_an_older_boot_is_refused() {
    let mut log = Log::running();
    let (boot, epoch) = (log.boot(1), log.state.process(NodeId(1)).expect("it").announced);
    log.start(1);
    let lost = Change::ProcessLost { node: NodeId(1), boot, reason: LossReason::LeaseExpired };
    assert_eq!(log.put(lost), Err(Refused::OldBoot { boot }));
    assert_eq!(log.put(Change::Recovered { boot, epoch }), Err(Refused::OldBoot { boot }));
    let now = log.boot(1);
    assert!(matches!(log.put(Change::Recovered { boot: now, epoch }), Err(Refused::OtherEpoch { .. })));
    assert_eq!(log.state.map().nodes[&NodeId(1)].state, ProcessState::Recovering);
}

#[test]
fn a_return_gives_every_group_of_the_process_a_view_of_its_epoch() {
    let mut log = Log::running();
    log.lose(1).expect("lost");
    log.activate();
    let registered = log.start(1);
    for (i, number) in numbers(&log).into_iter().enumerate() {
        assert_eq!(number.0, registered.epoch.0);
        let node = log.node_of_primary(i as u32).expect("a primary");
        assert_ne!(node, 1, "a RECOVERING process gets no primary while ONLINE members are left");
    }
    assert_eq!(log.state.groups_to_recover(NodeId(1)).len(), GROUPS as usize);
    log.recover(1);
    assert_eq!(log.state.map().devices[&DeviceId(1)].state, DeviceState::Online);
}

#[test]
fn a_restart_faster_than_the_detection_moves_its_primaries_as_well() {
    let mut log = Log::running();
    log.start(2);
    for i in 0..GROUPS {
        let primary = log.state.map().view(group(i)).expect("a view").primary.expect("a primary");
        assert!(log.state.primary_is_live(&primary));
        assert_ne!(log.node_of_primary(i), Some(2));
    }
}

#[test]
fn after_a_cold_start_recovering_members_are_primaries() {
    let mut log = Log::running();
    for node in 1..=3 {
        log.lose(node).expect("lost");
    }
    assert!((0..GROUPS).all(|i| log.node_of_primary(i).is_none()));
    assert!(log.state.groups_to_recover(NodeId(1)).is_empty());
    for node in 1..=3 {
        log.start(node);
    }
    assert!((0..GROUPS).all(|i| log.node_of_primary(i).is_some()));
    for node in 1..=3 {
        log.recover(node);
    }
}

#[test]
fn a_view_is_recorded_active_only_while_it_is_the_present_one_and_by_its_own_primary() {
    let mut log = Log::running();
    let old = log.state.map().view(group(0)).expect("a view").clone();
    let boot = old.primary.expect("a primary").boot;
    let epoch = log.state.epoch();
    assert_eq!(log.put(Change::Active { boot, groups: vec![(group(0), old.number)] }), Ok(Done::AlreadySo));
    let node = log.node_of_primary(0).expect("a node");
    log.lose(node).expect("lost");
    assert_eq!(log.put(Change::Active { boot, groups: vec![(group(0), old.number)] }), Err(Refused::Superseded));
    let new = log.state.map().view(group(0)).expect("a view").clone();
    assert_eq!(new.active, old.number);
    assert_eq!(log.put(Change::Active { boot, groups: vec![(group(0), new.number)] }), Err(Refused::Superseded));
    let boot = new.primary.expect("a primary").boot;
    let at = log.state.epoch();
    assert!(at > epoch);
    assert_eq!(log.put(Change::Active { boot, groups: vec![(group(0), new.number)] }), Ok(Done::Changed));
    assert_eq!(log.state.epoch(), at, "Active does not move the epoch");
}

#[test]
fn a_live_primary_steps_down_before_another_is_appointed() {
    let mut log = Log::running();
    let view = log.state.map().view(group(0)).expect("a view").clone();
    let other = view.members[1];
    let appoint = |from| Change::ChangeViews(vec![ViewChange { group: group(0), from, change: MemberChange::Appoint(other) }]);
    assert_eq!(log.put(appoint(view.number)), Err(Refused::Superseded));
    let down = Change::ChangeViews(vec![ViewChange { group: group(0), from: view.number, change: MemberChange::StepDown }]);
    assert_eq!(log.put(down.clone()), Ok(Done::Changed));
    assert_eq!(log.put(down), Err(Refused::Superseded));
    let vacant = log.state.map().view(group(0)).expect("a view").clone();
    assert_eq!(vacant.primary, None);
    let again = Change::ChangeViews(vec![ViewChange { group: group(0), from: vacant.number, change: MemberChange::StepDown }]);
    assert_eq!(log.put(again), Err(Refused::Superseded), "who is waited for is not forgotten");
    assert_eq!(log.state.group(group(0)).expect("it").stepping_down, view.primary);
    assert_eq!(log.put(appoint(vacant.number)), Ok(Done::Changed));
    assert_eq!(log.state.map().view(group(0)).expect("a view").primary.map(|p| p.device), Some(other));
    assert_eq!(log.state.group(group(0)).expect("it").stepping_down, None);
}

#[test]
fn a_process_that_returns_does_not_get_the_primary_of_one_that_is_still_stepping_down() {
    let mut log = Log::running();
    let view = log.state.map().view(group(0)).expect("a view").clone();
    let node = log.node_of_primary(0).expect("a node");
    log.put(Change::ChangeViews(vec![ViewChange { group: group(0), from: view.number, change: MemberChange::StepDown }])).expect("done");
    let other = (1..=3).find(|n| *n != node).expect("another");
    log.start(other);
    assert_eq!(log.state.map().view(group(0)).expect("a view").primary, None);
    log.lose(node).expect("lost");
    assert!(log.node_of_primary(0).is_some(), "once it is lost there is nothing to wait for");
}

#[test]
fn members_change_one_at_a_time_and_only_when_recorded_active() {
    let mut log = Log::running();
    let view = log.state.map().view(group(0)).expect("a view").clone();
    let spare = (1..=6).map(DeviceId).find(|d| !view.members.contains(d)).expect("a spare");
    let change = |log: &Log, change| {
        let from = log.state.map().view(group(0)).expect("a view").number;
        Change::ChangeViews(vec![ViewChange { group: group(0), from, change }])
    };
    let replace = MemberChange::Replace { from: view.members[2], to: spare };
    let c = change(&log, replace.clone());
    assert_eq!(log.put(c), Err(Refused::Superseded), "not a learner yet");
    let c = change(&log, MemberChange::Learners(vec![spare]));
    assert_eq!(log.put(c), Ok(Done::Changed));
    let c = change(&log, replace.clone());
    assert_eq!(log.put(c), Err(Refused::Superseded), "not filled yet");
    assert!(log.fill(0, spare).is_err(), "the view is not recorded active");
    log.activate();
    assert_eq!(log.fill(0, spare), Ok(Done::Changed));
    assert_eq!(log.fill(0, spare), Ok(Done::AlreadySo));
    let c = change(&log, replace);
    assert_eq!(log.put(c), Ok(Done::Changed));
    let changed = log.state.map().view(group(0)).expect("a view").clone();
    assert_eq!(changed.old, view.members);
    assert!(changed.members.contains(&spare) && changed.learners.is_empty());
    let c = change(&log, MemberChange::Learners(vec![view.members[2]]));
    log.put(c).expect("a learner again");
    assert!(log.fill(0, view.members[2]).is_err(), "the view is not recorded active");
    let back = MemberChange::Replace { from: view.members[1], to: view.members[2] };
    let c = change(&log, back.clone());
    assert_eq!(log.put(c), Err(Refused::Superseded), "the change before was not recorded active");
    assert_eq!(log.state.map().view(group(0)).expect("a view").old, view.members, "old is of the last active view");
    log.activate();
    log.fill(0, view.members[2]).expect("filled");
    let c = change(&log, back);
    assert_eq!(log.put(c), Ok(Done::Changed));
}

#[test]
fn failed_is_final_for_an_incarnation_and_a_wiped_device_is_a_new_one() {
    let mut log = Log::running();
    let id = DeviceId(1);
    let incarnation = log.state.map().devices[&id].incarnation;
    let fail = Change::DeviceFailed { device: id, incarnation, ended: true, reason: "sync failed".into() };
    assert_eq!(log.put(fail.clone()), Ok(Done::Changed));
    assert_eq!(log.put(fail.clone()), Ok(Done::AlreadySo));
    for i in 0..GROUPS {
        let primary = log.state.map().view(group(i)).expect("a view").primary.expect("a primary");
        assert_ne!(primary.device, id);
    }
    log.lose(1).expect("lost");
    let again = log.start(1);
    assert!(matches!(&again.devices[&id], Verdict::Refuse(reason) if reason == "sync failed"));
    log.recover(1);
    assert_eq!(log.state.map().devices[&id].state, DeviceState::Failed);
    let known = log.as_known(devices(1)[1]);
    let wiped = log.start_with(1, &[(id, Found::Blank), (devices(1)[1], known)]);
    assert_eq!(wiped.devices[&id], Verdict::Format(Incarnation(wiped.boot.0)));
    assert_eq!(log.put(fail), Err(Refused::OldIncarnation { device: id, incarnation }));
    assert!(log.state.device(id).expect("it").blank);
    assert_eq!(log.state.fitness(id), None, "a blank device is no primary");
    assert!(log.state.fitness(devices(1)[1]).is_some());
    log.recover(1);
    assert_eq!(log.state.fitness(id), Some(Fitness::Online));
}

#[test]
fn who_is_being_filled_and_is_left_alone_has_not_recovered_and_is_no_primary() {
    let mut log = Log::running();
    log.lose(1).expect("lost");
    let blank = devices(1).map(|id| (id, Found::Blank));
    log.start_with(1, &blank);
    for other in [2, 3] {
        log.lose(other).expect("lost");
    }
    assert!((0..GROUPS).all(|i| log.node_of_primary(i).is_none()), "who is blank can be no primary");
    let on_it = (0..GROUPS).filter(|i| log.state.map().view(group(*i)).expect("a view").members.iter().any(|id| devices(1).contains(id)));
    assert_eq!(log.state.groups_to_recover(NodeId(1)).len(), on_it.count(), "it waits for somebody who can fill it");
    log.start(2);
    assert!((0..GROUPS).all(|i| log.node_of_primary(i) == Some(2)));
}

#[test]
fn a_failed_device_that_may_still_be_in_use_steps_down_first() {
    let mut log = Log::running();
    let view = log.state.map().view(group(0)).expect("a view").clone();
    let id = view.primary.expect("a primary").device;
    let incarnation = log.state.map().devices[&id].incarnation;
    log.put(Change::DeviceFailed { device: id, incarnation, ended: false, reason: "operator".into() }).expect("failed");
    let vacant = log.state.map().view(group(0)).expect("a view").clone();
    assert_eq!((vacant.primary, log.state.group(group(0)).expect("it").stepping_down), (None, view.primary));
}

#[test]
fn a_return_elsewhere_does_not_cut_short_the_wait_for_a_failed_devices_process() {
    // Found by tests/leases.rs: two processes served one group after FailDevice, Start.
    let mut log = Log::running();
    let view = log.state.map().view(group(0)).expect("a view").clone();
    let primary = view.primary.expect("a primary");
    let incarnation = log.state.map().devices[&primary.device].incarnation;
    log.put(Change::DeviceFailed { device: primary.device, incarnation, ended: false, reason: "operator".into() }).expect("failed");
    let node = log.state.map().devices[&primary.device].node.0;
    log.start((1..=3).find(|n| *n != node).expect("another"));
    assert_eq!(log.state.map().view(group(0)).expect("a view").primary, None);
    assert_eq!(log.state.group(group(0)).expect("it").stepping_down, Some(primary));
}

#[test]
fn a_device_that_is_not_found_or_of_another_format_is_away_and_is_told_so() {
    let mut log = Log::running();
    let [first, second] = devices(1);
    let known = log.as_known(second);
    let told = log.start_with(1, &[(second, known)]);
    assert_eq!(told.devices[&first], Verdict::Refuse("not found".into()));
    assert_eq!(log.state.map().devices[&first].state, DeviceState::Transient);
    let foreign = Found::Formatted { uuid: 99, incarnation: log.state.map().devices[&first].incarnation };
    let told = log.start_with(1, &[(first, foreign), (second, known)]);
    assert!(matches!(told.devices[&first], Verdict::Use(_)), "the first uuid seen of a format is the uuid");
    let told = log.start_with(1, &[(first, Found::Formatted { uuid: 98, incarnation: Incarnation(2) }), (second, known)]);
    assert!(matches!(&told.devices[&first], Verdict::Refuse(reason) if reason.contains("wipe it")));
    let stranger = Change::RegisterProcess { node: NodeId(1), pid: 1, nonce: 77, devices: vec![(DeviceId(5), Found::Blank)] };
    assert_eq!(log.put(stranger), Err(Refused::NoDevice(DeviceId(5))));
}

#[test]
fn slots_move_only_from_the_view_they_were_decided_on() {
    let mut log = Log::running();
    let id = GroupId { pool: PoolId(2), index: 0 };
    let before = log.state.map().slots(id).expect("slots").clone();
    let mut slots = before.slots.clone();
    slots[0] = None;
    let m = Change::SetPlacement(vec![GroupSlots { group: id, from: before.number, slots: slots.clone() }]);
    assert_eq!(log.put(m.clone()), Ok(Done::Changed));
    assert!(log.state.map().slots(id).expect("slots").number > before.number);
    assert_eq!(log.put(m), Ok(Done::AlreadySo));
    slots[0] = slots[1];
    let from = log.state.map().slots(id).expect("slots").number;
    let twice = Change::SetPlacement(vec![GroupSlots { group: id, from, slots }]);
    assert!(matches!(log.put(twice), Err(Refused::Placement { .. })));
    let stale = Change::SetPlacement(vec![GroupSlots { group: id, from: before.number, slots: before.slots.clone() }]);
    assert_eq!(log.put(stale), Err(Refused::Superseded));
}

#[test]
fn groups_are_created_once_and_only_whole_and_legal() {
    let mut log = Log::running();
    let groups: Vec<Vec<Option<DeviceId>>> =
        log.state.map().groups.range(group(0)..group(GROUPS)).map(|(_, g)| g.devices().into_iter().map(Some).collect()).collect();
    assert_eq!(log.put(Change::CreateGroups { pool: META, groups: groups.clone() }), Ok(Done::AlreadySo));
    assert_eq!(log.put(Change::CreateGroups { pool: META, groups: groups[..1].to_vec() }), Err(Refused::HasGroups(META)));
    let mut fresh = Log::created();
    assert!(
        matches!(fresh.put(Change::CreateGroups { pool: META, groups: groups.clone() }), Err(Refused::Placement { .. })),
        "devices unknown"
    );
    for node in 1..=3 {
        fresh.start(node);
    }
    let mut holes = groups.clone();
    holes[0][1] = None;
    assert!(matches!(fresh.put(Change::CreateGroups { pool: META, groups: holes }), Err(Refused::Placement { .. })));
    assert!(fresh.state.map().groups.is_empty());
    assert_eq!(fresh.put(Change::CreateGroups { pool: META, groups }), Ok(Done::Changed));
}

#[test]
fn a_blank_device_raises_the_views_of_its_erasure_coded_groups() {
    let mut log = Log::running();
    let id = GroupId { pool: PoolId(2), index: 0 };
    let before = log.state.map().groups[&id].number();
    log.start(1);
    assert_eq!(log.state.map().groups[&id].number(), before);
    let registered = log.start_with(1, &devices(1).map(|d| (d, Found::Blank)));
    assert_eq!(log.state.map().groups[&id].number().0, registered.epoch.0);
}

#[test]
fn units_of_a_device_that_came_back_blank_are_missing_until_its_slots_have_moved() {
    let mut log = Log::running();
    let [wiped, _] = devices(1);
    assert!(log.state.units_missing().is_empty(), "the first format held nothing");
    log.start(1);
    assert!(log.state.units_missing().is_empty());
    log.start_with(1, &[(wiped, Found::Blank)]);
    log.recover(1);
    assert_eq!(log.state.map().devices[&wiped].state, DeviceState::Rebalancing);
    assert!(log.state.units_missing().contains(&wiped), "full copy does not bring units back");
    let slots = |id: GroupId| log.state.map().slots(id).map(|slots| (id, slots.clone()));
    let all: Vec<_> = log.state.map().groups.keys().filter_map(|id| slots(*id)).collect();
    let moves = all.into_iter().map(|(group, slots)| {
        let without = slots.slots.into_iter().map(|slot| slot.filter(|device| *device != wiped)).collect();
        GroupSlots { group, from: slots.number, slots: without }
    });
    let moves = moves.collect();
    assert_eq!(log.put(Change::SetPlacement(moves)), Ok(Done::Changed));
    assert!(log.state.units_missing().is_empty());
}

#[test]
fn a_device_that_came_back_blank_is_online_when_its_slots_are_filled_in_their_views() {
    let mut log = Log::running();
    let [wiped, _] = devices(1);
    log.start_with(1, &[(wiped, Found::Blank)]);
    log.recover(1);
    let incarnation = log.state.map().devices[&wiped].incarnation;
    let slot = |group: &GroupId, lacking: &crate::state::Unfilled| {
        let slot = *lacking.keys().next().expect("one");
        (*group, log.state.map().slots(*group).expect("it").number, slot, wiped, incarnation)
    };
    let all: Vec<_> = log.state.unfilled().iter().map(|(group, lacking)| slot(group, lacking)).collect();
    assert!(all.len() > 1);
    let report = |boot, slots: &[crate::state::FilledSlot]| Change::SlotsFilled { boot, slots: slots.to_vec() };
    let other = log.boot(2);
    assert_eq!(log.put(report(other, &all)), Err(Refused::Superseded), "it is another process's");
    let old: Vec<_> = all.iter().map(|(g, v, s, d, i)| (*g, ViewNumber(v.0 - 1), *s, *d, *i)).collect();
    let boot = log.boot(1);
    assert_eq!(log.put(report(boot, &old)), Err(Refused::Superseded));
    assert_eq!(log.put(report(boot, &all[1..])), Ok(Done::Changed));
    assert_eq!(log.state.map().devices[&wiped].state, DeviceState::Rebalancing);
    assert_eq!(log.put(report(boot, &all)), Ok(Done::Changed));
    assert_eq!(log.state.map().devices[&wiped].state, DeviceState::Online);
    assert!(log.state.unfilled().is_empty() && log.state.units_missing().is_empty());
    assert_eq!(log.put(report(boot, &all)), Ok(Done::AlreadySo));
}

#[test]
fn a_slot_that_has_its_units_moves_only_where_n_others_have_theirs_and_says_where_they_are() {
    let mut log = Log::running();
    let group = GroupId { pool: PoolId(2), index: 0 };
    let to = |log: &Log, gone: usize| {
        let slots = log.state.map().slots(group).expect("it").clone();
        let empty = slots.slots.iter().enumerate().map(|(i, slot)| slot.filter(|_| i >= gone)).collect();
        Change::SetPlacement(vec![GroupSlots { group, from: slots.number, slots: empty }])
    };
    let change = to(&log, 3);
    assert!(matches!(log.put(change), Err(Refused::Placement { .. })), "4+2 does not lose three");
    let change = to(&log, 2);
    assert_eq!(log.put(change), Ok(Done::Changed));
    assert_eq!(log.state.sound_slots(group), 4);
    let slots = log.state.map().slots(group).expect("it").clone();
    let free = log.state.map().devices.keys().copied().find(|id| !slots.slots.contains(&Some(*id))).expect("one");
    let mut moved = slots.slots.clone();
    moved[0] = Some(free);
    assert_eq!(log.put(Change::SetPlacement(vec![GroupSlots { group, from: slots.number, slots: moved }])), Ok(Done::Changed));
    assert!(log.state.is_unfilled(group, 0) && !log.state.is_unfilled(group, 1));
    assert_eq!(log.state.sound_slots(group), 4);
}

#[test]
fn whoever_a_slot_is_filled_from_is_needed_and_known_until_it_is_filled() {
    let mut log = Log::running();
    let group = GroupId { pool: PoolId(2), index: 0 };
    let first = log.state.map().slots(group).expect("it").slots.clone();
    let device = |slot: usize| first[slot].expect("a device");
    let (source, to) = (device(0), device(1));
    let moves = |log: &Log, slots: Vec<Option<DeviceId>>| {
        let from = log.state.map().slots(group).expect("it").number;
        Change::SetPlacement(vec![GroupSlots { group, from, slots }])
    };
    let mut slots = first.clone();
    slots[1] = None;
    let change = moves(&log, slots.clone());
    assert_eq!(log.put(change), Ok(Done::Changed));
    slots[0] = Some(to);
    let change = moves(&log, slots);
    assert_eq!(log.put(change), Ok(Done::Changed));
    assert_eq!(log.state.unfilled()[&group].get(&0), Some(&Some(source)));
    // The new device comes back empty before it is filled: who had the units has them still.
    let node = log.state.map().node_of(to).expect("its node").id.0;
    log.start_with(node, &[(to, Found::Blank)]);
    assert_eq!(log.state.unfilled()[&group].get(&0), Some(&Some(source)));
    // Fewer than N others have theirs: then nothing may give it up.
    let incarnation = |log: &Log, id: DeviceId| log.state.map().devices[&id].incarnation;
    let broke = device(2);
    let failed = Change::DeviceFailed { device: broke, incarnation: incarnation(&log, broke), ended: true, reason: "it broke".into() };
    assert_eq!(log.put(failed), Ok(Done::Changed));
    let ask = Change::AskDevice { device: source, incarnation: incarnation(&log, source), wish: crate::DeviceWish::Fail };
    assert!(log.put(ask).is_err() && log.state.map().devices[&source].state != DeviceState::Failed);
}

#[test]
fn a_clients_session_opens_once_and_a_closed_one_stays_closed() {
    let mut log = Log::running();
    let open = Change::OpenSession { nonce: 5, name: "redoubt".into() };
    let Ok(Done::Session(id)) = log.put(open.clone()) else { panic!("not opened") };
    assert_eq!(log.put(open.clone()), Ok(Done::Session(id)));
    assert!(log.state.session_is_open(id));
    assert_eq!(log.put(Change::CloseSession { session: id }), Ok(Done::Changed));
    assert_eq!(log.put(Change::CloseSession { session: id }), Ok(Done::AlreadySo));
    assert!(!log.state.session_is_open(id));
    assert_ne!(log.put(open), Ok(Done::Session(id)));
    let process = SessionId(log.boot(1).0);
    assert_eq!(log.put(Change::CloseSession { session: process }), Err(Refused::NoSession(process)));
}

#[test]
fn an_entry_at_or_before_the_cursor_is_refused() {
    let mut log = Log::running();
    let before = log.state.clone();
    let (index, command) = log.entries[3].clone();
    assert_eq!(log.state.apply(index, &command), Err(Refused::Replayed { index, last: before.index() }));
    assert_eq!(log.state, before);
}

#[test]
fn ha_time_never_goes_back() {
    let mut log = Log::running();
    let now = log.state.ha_time();
    log.put_at(HaTime(1), Change::AdvanceTime).expect("applied");
    assert_eq!(log.state.ha_time(), now);
}

#[test]
fn the_history_is_bounded_and_in_order() {
    let mut log = Log::created();
    for i in 0..EVENTS_MAX + 10 {
        log.state.map.index += 1;
        log.state.note(Subject::Cluster, &format!("{i}"), "é".repeat(300).as_str());
    }
    assert_eq!(log.state.events().len(), EVENTS_MAX);
    let last = log.state.events().next_back().expect("an event").clone();
    assert!(last.cause.len() <= crate::event::EVENT_TEXT_BYTES_MAX);
    assert_eq!(log.state.events_after(last.index - 3).count(), 3);
}

#[test]
fn a_snapshot_of_another_version_is_refused() {
    let log = Log::running();
    let mut bytes = log.state.encode();
    assert_eq!(State::decode(&bytes).as_ref(), Ok(&log.state));
    bytes[0] = 9;
    assert!(State::decode(&bytes).is_err() && State::decode(&[]).is_err());
    assert!(matches!(log.state.map().groups.values().next(), Some(Group::Replicated(_))));
}
