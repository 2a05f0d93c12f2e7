//! Devices that hang, that an operator gives up, that no log is kept for, and that make errors.

use types::state::DeviceState;
use types::{DeviceId, GroupId};

use super::super::Fitness;
use super::*;
use crate::command::{Change, DeviceWish};
use crate::event::Subject;
use crate::sample::{GROUPS, Log, META, devices};

fn group(index: u32) -> GroupId {
    GroupId { pool: META, index }
}

#[test]
fn a_device_that_hangs_is_failed_only_where_every_group_has_enough_without_it() {
    let mut log = Log::running();
    let incarnation = |log: &Log, device: DeviceId| log.state.map().devices[&device].incarnation;
    let hangs = |log: &Log, device| Change::DeviceHangs { device, incarnation: incarnation(log, device), reason: "it hangs".into() };
    let state_of = |log: &Log, device: DeviceId| log.state.map().devices[&device].state;
    // A storage system below all of them stalls: 4+2 can do without two of six, and 1+2 without one of three.
    let all: Vec<DeviceId> = (1..=6).map(DeviceId).collect();
    for device in &all {
        assert_eq!(log.put(hangs(&log, *device)), Ok(Done::Changed));
        assert_eq!(log.put(hangs(&log, *device)), Ok(Done::AlreadySo));
    }
    let failed: Vec<DeviceId> = all.iter().copied().filter(|d| state_of(&log, *d) == DeviceState::Failed).collect();
    assert_eq!(failed, [DeviceId(1), DeviceId(2)], "they share no replicated group");
    let kept = all[2];
    assert_eq!(state_of(&log, kept), DeviceState::Transient);
    assert!(log.state.map().devices[&kept].reason.contains("not FAILED: group"), "{}", log.state.map().devices[&kept].reason);
    let last = log.state.events().rev().find(|event| event.subject == Subject::Device(kept)).expect("an event");
    assert!(last.cause.contains("it hangs; not FAILED"), "{last:?}");
    for i in 0..GROUPS {
        assert!(log.state.map().view(group(i)).expect("a view").primary.is_none(), "none is of use for now");
    }
    // Its process starts again, and it is there with what it had.
    log.start(2);
    log.recover(2);
    assert_eq!((state_of(&log, kept), log.state.fitness(kept)), (DeviceState::Online, Some(Fitness::Online)));
    // What fails for another reason has failed, whatever lacks it.
    let broke = Change::DeviceFailed { device: kept, incarnation: incarnation(&log, kept), ended: true, reason: "sync failed".into() };
    log.put(broke).expect("failed");
    assert_eq!(state_of(&log, kept), DeviceState::Failed);
}

#[test]
fn a_device_that_hangs_and_holds_less_than_its_groups_is_not_spared_for_them() {
    let mut log = Log::running();
    log.lose(1).expect("lost");
    log.start_with(1, &[(DeviceId(1), Found::Blank), (DeviceId(2), Found::Blank)]);
    let incarnation = log.state.map().devices[&DeviceId(1)].incarnation;
    log.put(Change::DeviceHangs { device: DeviceId(1), incarnation, reason: "it hangs".into() }).expect("applied");
    assert_eq!(log.state.map().devices[&DeviceId(1)].state, DeviceState::Failed);
    let other = (3..=6).map(DeviceId).find(|d| log.state.short_of_members_without(*d).is_some()).expect("one that shares a group");
    let incarnation = log.state.map().devices[&other].incarnation;
    log.put(Change::DeviceHangs { device: other, incarnation, reason: "it hangs".into() }).expect("applied");
    assert_eq!(log.state.map().devices[&other].state, DeviceState::Transient);
}

#[test]
fn an_operator_gives_up_no_device_that_a_group_needs() {
    let mut log = Log::running();
    let ask = |log: &Log, device: DeviceId| {
        let incarnation = log.state.map().devices[&device].incarnation;
        Change::AskDevice { device, incarnation, wish: DeviceWish::Fail }
    };
    let first = ask(&log, DeviceId(1));
    assert_eq!(log.put(first.clone()), Ok(Done::Changed));
    assert_eq!(log.put(first), Ok(Done::AlreadySo));
    assert_eq!(log.state.map().devices[&DeviceId(1)].state, DeviceState::Failed);
    let needed = (3..=6).map(DeviceId).find(|d| log.state.short_of_members_without(*d).is_some()).expect("one that shares a group");
    let second = ask(&log, needed);
    assert!(matches!(log.put(second), Err(Refused::Placement { .. })));
    assert_eq!(log.state.map().devices[&needed].state, DeviceState::Online);
}

#[test]
fn a_device_that_no_log_is_kept_for_is_no_primary_until_it_has_recovered() {
    let mut log = Log::running();
    let id = DeviceId(1);
    let incarnation = log.state.map().devices[&id].incarnation;
    let lags = |device, incarnation| Change::DeviceLags { device, incarnation, reason: "the log is full".into() };
    assert_eq!(log.put(lags(id, incarnation)), Err(Refused::OldIncarnation { device: id, incarnation }), "it is there");
    log.lose(1).expect("lost");
    assert_eq!(log.put(lags(id, incarnation)), Ok(Done::Changed));
    assert_eq!(log.put(lags(id, incarnation)), Ok(Done::AlreadySo));
    assert!(log.state.device(id).expect("it").blank);
    log.start(1);
    assert_eq!(log.state.fitness(id), None, "it is being filled");
    // A second one would leave no majority of any group that has both.
    let shares = |other: DeviceId| {
        (0..GROUPS).any(|i| {
            let members = &log.state.map().view(group(i)).expect("a view").members;
            members.contains(&id) && members.contains(&other)
        })
    };
    let other = devices(2).into_iter().find(|other| shares(*other)).expect("they share a group");
    log.lose(2).expect("lost");
    let incarnation = log.state.map().devices[&other].incarnation;
    assert!(matches!(log.put(lags(other, incarnation)), Err(Refused::Placement { .. })));
    log.start(2);
    log.recover(2);
    log.recover(1);
    assert_eq!(log.state.fitness(id), Some(Fitness::Online));
}

#[test]
fn errors_of_a_device_are_counted_once_a_report() {
    let mut log = Log::running();
    let incarnation = log.state.map().devices[&DeviceId(1)].incarnation;
    let error = |report| Change::DeviceError { device: DeviceId(1), incarnation, count: 3, error: "EIO at 4096".into(), report };
    let epoch = log.state.epoch();
    assert_eq!(log.put(error(1)), Ok(Done::Changed));
    assert_eq!(log.put(error(1)), Ok(Done::AlreadySo));
    assert_eq!(log.put(error(2)), Ok(Done::Changed));
    assert_eq!(log.state.device(DeviceId(1)).expect("it").errors, 6);
    assert_eq!(log.state.epoch(), epoch);
}
