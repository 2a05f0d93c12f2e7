//! What is away is given up when its time is over, and not where anything speaks against it.

use types::state::DeviceState;
use types::{DeviceId, HaTime, NodeId};

use super::{DEVICE_AWAY_MS, Fate, Why};
use crate::command::{Change, ClusterWish, NodeWish};
use crate::outcome::{Done, Outcome, Refused};
use crate::sample::{Log, devices};
use crate::{DeviceWish, State};

/// A cluster of 4+2 on six devices gives up two of them and no third.
fn running() -> Log {
    Log::running()
}

fn state_of(log: &Log, id: DeviceId) -> DeviceState {
    log.state.map().devices[&id].state
}

fn give_up(log: &mut Log, id: DeviceId) -> Outcome {
    let incarnation = log.state.map().devices[&id].incarnation;
    log.put(Change::GiveUp { device: id, incarnation })
}

fn pass(log: &mut Log, ms: u64) {
    let at = HaTime(log.state.ha_time().0 + ms);
    log.put_at(at, Change::AdvanceTime).expect("applied");
}

/// A device that its process does not find.
fn without(log: &mut Log, node: u16) -> DeviceId {
    let [gone, kept] = devices(node);
    log.start_with(node, &[(kept, log.as_known(kept))]);
    log.recover(node);
    log.activate();
    gone
}

fn patience(log: &mut Log, wish: ClusterWish) {
    log.put(Change::AskCluster(wish)).expect("taken");
}

fn fails_at(state: &State, id: DeviceId) -> Option<u64> {
    match state.fate(id)? {
        Fate::Fails(at) => Some(at.0),
        Fate::Waits(_) => None,
    }
}

#[test]
fn a_device_that_its_process_does_not_find_is_given_up_after_a_quarter_of_an_hour_and_no_sooner() {
    let mut log = running();
    assert_eq!(log.state.fate(devices(1)[0]), None, "it is there");
    let gone = without(&mut log, 1);
    let since = log.state.process(NodeId(1)).expect("it").since.0;
    assert_eq!(fails_at(&log.state, gone), Some(since + DEVICE_AWAY_MS), "it counts from when its process was ONLINE without it");
    let left = since + DEVICE_AWAY_MS - log.state.ha_time().0;
    pass(&mut log, left - 20);
    assert_eq!(give_up(&mut log, gone), Err(Refused::NotOver(gone)));
    pass(&mut log, 20);
    assert_eq!(give_up(&mut log, gone), Ok(Done::Changed));
    assert_eq!(state_of(&log, gone), DeviceState::Failed);
    assert!(log.state.map().devices[&gone].reason.starts_with("away for 9"), "{}", log.state.map().devices[&gone].reason);
    assert_eq!(give_up(&mut log, gone), Ok(Done::AlreadySo));
}

#[test]
fn a_device_that_comes_back_in_time_begins_anew() {
    let mut log = running();
    let gone = without(&mut log, 1);
    pass(&mut log, DEVICE_AWAY_MS + 10);
    log.start(1);
    assert_eq!(log.state.fate(gone), None);
    assert_eq!(give_up(&mut log, gone), Err(Refused::NotOver(gone)), "it was decided before it came back");
    log.recover(1);
    let gone = without(&mut log, 1);
    assert_eq!(give_up(&mut log, gone), Err(Refused::NotOver(gone)), "the absence of before does not count");
}

#[test]
fn a_node_is_waited_for_unless_an_operator_says_for_how_long() {
    let mut log = running();
    log.lose(2).expect("lost");
    let [one, other] = devices(2);
    pass(&mut log, 1000 * DEVICE_AWAY_MS);
    assert_eq!(log.state.fate(one), Some(Fate::Waits(Why::Policy)));
    patience(&mut log, ClusterWish::NodeAway(5000));
    assert_eq!(fails_at(&log.state, one), Some(log.state.ha_time().0 + 5000), "from when that was said");
    pass(&mut log, 5000);
    assert_eq!(give_up(&mut log, one), Ok(Done::Changed));
    assert_eq!(give_up(&mut log, other), Ok(Done::Changed));
    assert_eq!(log.put(Change::AskCluster(ClusterWish::NodeAway(5000))), Ok(Done::AlreadySo));
}

#[test]
fn nothing_is_given_up_while_several_nodes_of_a_set_are_away() {
    let mut log = running();
    patience(&mut log, ClusterWish::NodeAway(5000));
    log.lose(2).expect("lost");
    log.lose(3).expect("lost");
    let one = devices(2)[0];
    pass(&mut log, 6000);
    assert_eq!(log.state.fate(one), Some(Fate::Waits(Why::NodesAway(2))));
    assert_eq!(give_up(&mut log, one), Err(Refused::NotOver(one)));
    log.start(3);
    log.recover(3);
    assert_eq!(give_up(&mut log, one), Ok(Done::Changed), "the other is back");
}

#[test]
fn what_a_group_needs_is_not_given_up_however_long_it_is_away() {
    let mut log = running();
    patience(&mut log, ClusterWish::NodeAway(5000));
    for id in devices(1) {
        let incarnation = log.state.map().devices[&id].incarnation;
        log.put(Change::AskDevice { device: id, incarnation, wish: DeviceWish::Fail }).expect("4+2 does without two");
    }
    log.lose(2).expect("lost");
    pass(&mut log, 6000);
    let one = devices(2)[0];
    assert!(matches!(log.state.fate(one), Some(Fate::Waits(Why::Needed(_)))), "{:?}", log.state.fate(one));
    assert!(matches!(give_up(&mut log, one), Err(Refused::Placement { .. })));
    assert_eq!(state_of(&log, one), DeviceState::Transient);
}

#[test]
fn maintenance_suspends_it_and_time_counts_anew_from_its_end() {
    let mut log = running();
    patience(&mut log, ClusterWish::NodeAway(5000));
    let ask = |wish| Change::AskNode { node: NodeId(2), wish };
    assert_eq!(log.put(ask(NodeWish::StartMaintenance)), Ok(Done::Changed));
    assert_eq!(log.put(ask(NodeWish::StartMaintenance)), Ok(Done::AlreadySo));
    assert_eq!(log.put(Change::AskNode { node: NodeId(9), wish: NodeWish::EndMaintenance }), Err(Refused::NoNode(NodeId(9))));
    log.lose(2).expect("lost");
    pass(&mut log, 60_000);
    let one = devices(2)[0];
    assert_eq!(log.state.fate(one), Some(Fate::Waits(Why::Maintenance)));
    assert_eq!(give_up(&mut log, one), Err(Refused::NotOver(one)));
    assert_eq!(log.put(ask(NodeWish::EndMaintenance)), Ok(Done::Changed));
    assert_eq!(log.put(ask(NodeWish::EndMaintenance)), Ok(Done::AlreadySo));
    assert_eq!(fails_at(&log.state, one), Some(log.state.ha_time().0 + 5000 - 10), "from the end of the maintenance, one entry ago");
    pass(&mut log, 5000);
    assert_eq!(give_up(&mut log, one), Ok(Done::Changed));
    assert_eq!(State::decode(&log.state.encode()).as_ref(), Ok(&log.state));
}

#[test]
fn a_lost_primary_goes_to_no_node_in_maintenance_where_another_is_as_fit() {
    let mut log = running();
    log.put(Change::AskNode { node: NodeId(2), wish: NodeWish::StartMaintenance }).expect("taken");
    log.lose(1).expect("lost");
    let on_2 = |log: &Log| (0..crate::sample::GROUPS).filter(|i| log.node_of_primary(*i) == Some(2)).count();
    let before = on_2(&Log::running());
    assert!(on_2(&log) <= before, "{} and {before}", on_2(&log));
    // Where nobody else is there it serves, for it is not stopped yet.
    log.lose(3).expect("lost");
    assert!(on_2(&log) > before);
}
