//! Screens of clusters as HA describes them.

use std::collections::{BTreeMap, BTreeSet};

use ha_api::{EventLine, NodeStatus, RebalanceStatus, Status};
use types::load::{NodeLoad, Work};
use types::map::{ClusterMap, Device, Node};
use types::state::{DeviceState, ProcessState};
use types::wire::request::DeviceUsage;
use types::{Boot, DeviceId, DiskGroupId, Epoch, HaTime, Incarnation, NodeId};

use super::super::view::Key;
use super::*;
use crate::exit::{Exit, Failure};

/// Devices of a node.
const DEVICES: u32 = 2;

fn node(id: u16) -> Node {
    Node {
        id: NodeId(id),
        name: format!("node-{id}"),
        storage_set: 1,
        rack: 1,
        ha_address: String::new(),
        fabric_address: String::new(),
        state: ProcessState::Online,
        boot: Boot(1),
        voter: true,
    }
}

fn status(nodes: u16, done: u64) -> Status {
    let device = |id: u32| Device {
        id: DeviceId(id),
        node: NodeId(((id - 1) / DEVICES + 1) as u16),
        disk_group: DiskGroupId(id),
        state: DeviceState::Online,
        incarnation: Incarnation(1),
        registered: Epoch(1),
        bytes: 1 << 30,
        reason: String::new(),
    };
    let ids = || 1..=u32::from(nodes) * DEVICES;
    let work =
        Work { count: done, micros: done * 1000, bytes: done << 20, steps: std::array::from_fn(|step| if step == 4 { done } else { 0 }) };
    let said = NodeStatus {
        daemon_reachable: true,
        load: Some(NodeLoad { at_ms: done * 10, work: [work; 4], ..NodeLoad::default() }),
        ..NodeStatus::default()
    };
    let usage =
        |id| DeviceUsage { device: DeviceId(id), bytes: 1 << 30, free: (1 << 30) - (u64::from(id) << 20), ..DeviceUsage::default() };
    Status {
        answered_by: NodeId(1),
        leader: Some(NodeId(2)),
        confirmed: true,
        map: ClusterMap {
            nodes: (1..=nodes).map(|id| (NodeId(id), node(id))).collect(),
            devices: ids().map(|id| (DeviceId(id), device(id))).collect(),
            ..ClusterMap::default()
        },
        nodes: (1..=nodes).map(|id| (NodeId(id), said.clone())).collect(),
        device_errors: BTreeMap::new(),
        usage: ids().map(|id| (DeviceId(id), usage(id))).collect(),
        units_missing: BTreeSet::new(),
        unfilled: BTreeMap::new(),
        repair_paused: false,
        rebalance: None,
        device_away_ms: 0,
        node_away_ms: 0,
        maintenance: BTreeMap::new(),
        away: BTreeMap::new(),
        leaving: BTreeSet::new(),
        removing: BTreeSet::new(),
        replacing: Default::default(),
        dropped: 0,
        wall_ms: 1_795_260_479_123 + done * 10,
        client_sessions: 3,
        warnings: Vec::new(),
    }
}

fn events(count: u64) -> Vec<EventLine> {
    let event = |index| EventLine {
        index,
        epoch: Epoch(index),
        at: HaTime(index),
        wall_ms: 1_795_260_479_123,
        subject: "node-1".into(),
        what: "RECOVERING -> ONLINE".into(),
        cause: format!("cause {index}"),
    };
    (1..=count).map(event).collect()
}

fn view(status: &Status) -> View {
    let mut view = View::default();
    view.take(Ok(Seen::of(status, &events(40))));
    view
}

fn text(view: &View, width: u16, height: u16) -> String {
    let lines: Vec<String> = draw(view, width, height).iter().map(|line| line.painted(false)).collect();
    assert!(lines.len() <= usize::from(height), "{} lines on {height} rows", lines.len());
    assert!(lines.iter().all(|line| line.chars().count() <= usize::from(width)), "a line is wider than {width}");
    lines.join("\n")
}

#[test]
fn a_small_cluster_is_whole_on_a_small_terminal() {
    let text = text(&view(&status(3, 0)), 80, 24);
    for word in ["HEALTHY", "leader node-2", "node-3", "dev-6", "repair idle", "rebalance idle", "cause 40"] {
        assert!(text.contains(word), "{word}: {text}");
    }
    assert!(!text.contains("more"), "{text}");
}

#[test]
fn a_large_cluster_has_something_of_everything_on_a_small_terminal_and_all_on_a_page() {
    let view = view(&status(36, 0));
    let small = text(&view, 80, 24);
    for word in ["node-1 ", "more nodes", "DEVICE", "cause 40"] {
        assert!(small.contains(word), "{word}: {small}");
    }
    let page = text(&view, 120, u16::MAX);
    assert!(page.contains("node-36") && page.contains("dev-72") && page.contains("cause 1") && !page.contains("more"), "{page}");
    // Nothing panics on a terminal that is too small for anything.
    for (width, height) in [(0, 0), (1, 1), (20, 5), (79, 12), (400, 200)] {
        text(&view, width, height);
    }
}

#[test]
fn what_goes_on_is_the_difference_of_two_answers() {
    let mut view = view(&status(3, 100));
    assert!(text(&view, 120, 40).contains("\n-\n"), "nothing is known yet");
    view.take(Ok(Seen::of(&status(3, 300), &[])));
    // Of each node 200 in 2 s of every kind, 1 MiB each.
    let shown = text(&view, 120, 40);
    let line = shown.lines().find(|line| line.starts_with("transactions")).expect("a line");
    assert_eq!(line.split_whitespace().collect::<Vec<_>>(), ["transactions", "300", "300.0", "MiB", "1.0", "ms", "1.0", "ms"]);
    let line = shown.lines().find(|line| line.starts_with("node-1 ")).expect("a line");
    assert!(line.contains("400  100.0 MiB  100.0 MiB"), "{line}");
    // An answer with nothing new in it leaves what was shown.
    view.take(Ok(Seen::of(&status(3, 300), &[])));
    assert!(text(&view, 120, 40).contains("300.0 MiB"));
    // One of a process that began anew is no difference.
    let mut anew = status(3, 10);
    anew.map.nodes.values_mut().for_each(|node| node.boot = Boot(2));
    view.take(Ok(Seen::of(&anew, &[])));
    assert!(text(&view, 120, 40).contains("\n-\n"));
}

#[test]
fn no_answer_and_no_majority_are_said_plainly() {
    let mut fresh = View::default();
    fresh.take(Err(Failure::new(Exit::Unavailable, "nobody answers")));
    assert!(text(&fresh, 80, 24).contains("NO ANSWER"));
    let mut view = view(&status(3, 0));
    view.take(Err(Failure::new(Exit::Unavailable, "nobody answers")));
    let shown = text(&view, 80, 24);
    assert!(shown.contains("NO ANSWER; what follows is") && shown.contains("node-1"), "{shown}");
    let mut alone = status(3, 0);
    alone.confirmed = false;
    alone.nodes.get_mut(&NodeId(3)).expect("it").daemon_reachable = false;
    view.take(Ok(Seen::of(&alone, &[])));
    let shown = text(&view, 80, 24);
    assert!(
        shown.contains("NO MAJORITY") && shown.contains("no answer") && shown.contains("leader none") && !shown.contains("NO ANSWER;"),
        "{shown}"
    );
}

#[test]
fn trouble_stands_in_words_and_first_if_wanted() {
    let mut status = status(3, 0);
    status.map.nodes.get_mut(&NodeId(3)).expect("it").state = ProcessState::Transient;
    status.map.devices.get_mut(&DeviceId(5)).expect("it").state = DeviceState::Transient;
    status.usage.remove(&DeviceId(5));
    status.usage.get_mut(&DeviceId(4)).expect("it").free = 10 << 20;
    status.warnings = (1..6).map(|i| format!("watch out {i}")).collect();
    let mut view = view(&status);
    let row = |view: &View, heading: &str| {
        let text = text(view, 100, 60);
        text.lines().skip_while(|line| !line.starts_with(heading)).nth(1).expect("a row").to_string()
    };
    assert!(
        text(&view, 100, 60).contains("DEGRADED")
            && text(&view, 100, 60).contains("watch out 3")
            && text(&view, 100, 60).contains("2 more warnings")
    );
    assert!(row(&view, "DEVICE").starts_with("dev-1"));
    view.press(Key::Sort);
    assert!(row(&view, "NODE").starts_with("node-3") && row(&view, "DEVICE").starts_with("dev-5"));
    assert!(row(&view, "DEVICE").contains("TRANSIENT") && row(&view, "DEVICE").contains("unknown"));
    view.press(Key::Sort);
    assert!(row(&view, "DEVICE").starts_with("dev-4") && row(&view, "DEVICE").contains(" 99 "), "{}", row(&view, "DEVICE"));
}

#[test]
fn what_goes_on_for_long_has_progress_and_an_end_in_sight() {
    let mut status = status(3, 0);
    status.rebalance = Some(RebalanceStatus { paused: false, to_move: Some(8), filling: 2 });
    let mut view = view(&status);
    status.rebalance = Some(RebalanceStatus { paused: false, to_move: Some(3), filling: 2 });
    status.wall_ms += 5000;
    view.take(Ok(Seen::of(&status, &[])));
    let shown = text(&view, 100, 30);
    assert!(shown.contains("rebalance running [####....] 50 %  3 places to move, 2 being filled, 5.0 s left"), "{shown}");
}

#[test]
fn what_is_read_and_written_fits_its_column() {
    assert_eq!([short(0), short(100 << 20), short((1 << 30) - 1), short(1000 << 20)], ["0 B", "100.0 MiB", "1024 MiB", "1000 MiB"]);
}

#[test]
fn keys_do_what_help_says() {
    let mut view = view(&status(3, 0));
    view.press(Key::of(b"?").expect("a key"));
    assert!(text(&view, 80, 24).contains("PgDn"));
    assert!(!view.press(Key::Quit), "it leaves the help first");
    view.press(Key::of(b" ").expect("a key"));
    view.take(Ok(Seen::of(&status(4, 0), &[])));
    let shown = text(&view, 80, 24);
    assert!(shown.contains("PAUSED") && !shown.contains("node-4"), "{shown}");
    view.press(Key::of(b"\x1b[6~").expect("a key"));
    assert_eq!(view.scrolled, 5, "not beyond the last device");
    view.press(Key::of(b"\x1b[5~").expect("a key"));
    assert_eq!((view.scrolled, Key::of(b"x")), (0, None));
    assert_eq!(Key::all(b"qx\x1b[A\x1b[6~s\x1b"), [Key::Quit, Key::Scroll(-1), Key::Scroll(10), Key::Sort, Key::Quit]);
    assert_eq!(Key::all(b"\x1b[9"), []);
    assert!([&b"q"[..], b"\x1b", b"\x03"].iter().all(|bytes| view.press(Key::of(bytes).expect("a key"))));
}

#[test]
fn colours_are_of_terminals_and_nothing_that_is_shown_can_steer_one() {
    let mut status = status(3, 0);
    status.warnings = vec!["\x1b[2J\u{9b}2Jcleared".into()];
    let lines = draw(&view(&status), 80, 24);
    let all = |coloured| lines.iter().map(|line| line.painted(coloured)).collect::<String>();
    assert!(!all(false).contains('\x1b') && all(true).contains("\x1b[32mONLINE"), "{}", all(true));
    assert!(all(true).contains("?[2J?2Jcleared"));
}
