//! A node becomes new hardware: when what it was is out, what that means for its devices, and what speaks against it.

use types::NodeId;
use types::state::DeviceState;

use crate::command::{Change, Found, NodeWish};
use crate::outcome::{Done, Refused};
use crate::sample::{Log, devices};

const NODE: NodeId = NodeId(1);
const STORE: u128 = 7;

fn ask(node: NodeId, wish: NodeWish) -> Change {
    Change::AskNode { node, wish }
}

fn out() -> Change {
    Change::NodeOut { node: NODE, store: Some(STORE) }
}

/// The daemons of all nodes but that one vote.
fn without_its_vote(log: &mut Log) {
    let others = log.state.map().nodes.keys().copied().filter(|id| *id != NODE).collect();
    log.put(Change::SetVoters(others)).expect("taken");
}

fn is_refused(log: &mut Log, change: Change, why: &str) {
    match log.put(change) {
        Err(Refused::NotReplaceable { why: said, .. }) => assert!(said.contains(why), "{said}"),
        other => panic!("{why}: {other:?}"),
    }
}

#[test]
fn what_a_node_was_is_out_only_when_it_neither_runs_nor_votes() {
    let mut log = Log::running();
    is_refused(&mut log, out(), "nobody wants that");
    assert_eq!(log.put(ask(NODE, NodeWish::Replace)), Ok(Done::Changed));
    assert_eq!(log.put(ask(NODE, NodeWish::Replace)), Ok(Done::AlreadySo));
    assert!(log.state.maintenance().contains_key(&NODE) && log.state.is_to_go_out(NODE));
    is_refused(&mut log, ask(NodeId(2), NodeWish::Replace), "one after the other");
    is_refused(&mut log, out(), "runs");
    log.lose(1).expect("lost");
    if log.state.map().nodes[&NODE].voter {
        is_refused(&mut log, out(), "votes");
    }
    without_its_vote(&mut log);
    assert_eq!(log.put(out()), Ok(Done::Changed));
    assert_eq!(log.put(out()), Ok(Done::AlreadySo));
    is_refused(&mut log, ask(NodeId(2), NodeWish::Replace), "without it");
    assert!(log.state.former_stores().contains(&STORE) && !log.state.is_to_go_out(NODE));
    is_refused(&mut log, ask(NODE, NodeWish::Keep), "out already");
}

#[test]
fn what_is_on_a_node_that_is_out_counts_as_lost_until_its_blank_devices_are_filled() {
    let mut log = Log::running();
    log.put(ask(NODE, NodeWish::Replace)).expect("asked");
    log.lose(1).expect("lost");
    without_its_vote(&mut log);
    log.put(out()).expect("out");
    assert!(devices(1).iter().all(|id| !log.state.is_whole(*id) && log.state.units_missing().contains(id)));
    // 4+2 on six devices: the four that are left are all that there is.
    for id in devices(2) {
        assert!(log.state.group_that_needs(id).is_some(), "{id}");
    }
    is_refused(&mut log, Change::NodeReplaced(NODE), "ONLINE");
    log.start_with(1, &devices(1).map(|id| (id, Found::Blank)));
    assert!(log.state.maintenance().is_empty(), "it is back");
    log.recover(1);
    log.activate();
    assert!(devices(1).iter().all(|id| log.state.map().devices[id].state == DeviceState::Rebalancing));
    is_refused(&mut log, Change::NodeReplaced(NODE), "does not have everything");
}

#[test]
fn a_node_that_a_group_needs_is_not_replaced_and_one_that_is_kept_is_as_before() {
    let mut log = Log::running();
    log.put(ask(NODE, NodeWish::Replace)).expect("asked");
    log.put(ask(NODE, NodeWish::Keep)).expect("kept");
    assert!(log.state.replacing().is_empty() && log.state.maintenance().is_empty());
    // Another one comes back with nothing on it: until it is filled each of the others is needed.
    log.lose(2).expect("lost");
    log.start_with(2, &devices(2).map(|id| (id, Found::Blank)));
    is_refused(&mut log, ask(NODE, NodeWish::Replace), "too few devices");
    assert_eq!(log.put(ask(NodeId(9), NodeWish::Replace)), Err(Refused::NoNode(NodeId(9))));
}
