//! Both ends of a full copy, step by step.

use types::ops::Condition;
use types::record::{Position, Row, RowKey};
use types::state::DeviceState;
use types::wire::dtm::{Message, Reason};
use types::{Boot, Seq, ViewNumber};

use crate::effect::{Effect, Reader, Ticket};
use crate::event::{Event, Instant};
use crate::placement::Peer;
use crate::replica::Replica;
use crate::restore::Restore;
use crate::results::result_row;
use crate::role::Role;
use crate::testing::{
    B, C, ME, NOW, V, at, config, follower, identity, persist, persistent, placement, primary, put, record, records, redo, said, sends,
    state, step, view,
};

/// What a copy at `seq` brings: a row and the result of each record.
fn rows(seq: u64) -> Vec<(RowKey, Row)> {
    (1..=seq).map(|s| result_row(&record(s, 9))).collect()
}

fn piece(seq: u64, number: u64, rows: Vec<(RowKey, Row)>, end: bool) -> Message {
    Message::CopyPiece { view: ViewNumber(12), at: at(seq, 9), number, rows, end }
}

fn taken(seq: u64, number: u64) -> Message {
    Message::CopyTaken { view: ViewNumber(12), at: Seq(seq), number }
}

/// dev-1, which has two records of view 10, and is told by the primary of view 12 that all up to 5 is pruned.
fn lagging() -> Replica {
    let mut replica = follower();
    step(&mut replica, said(B, redo(10, 0, at(0, 0), records(1..=2, 10), 2)));
    step(&mut replica, Event::Flush);
    persist(&mut replica);
    let effects = step(&mut replica, said(C, redo(12, 5, at(5, 9), vec![], 5)));
    assert!(matches!(&effects[0], Effect::Send { envelope, .. } if matches!(envelope.message, Message::Gap { .. })), "{effects:?}");
    persist(&mut replica);
    replica
}

fn pruned(floor: Position) -> Message {
    Message::Refused { view: ViewNumber(12), reason: Reason::Pruned(floor) }
}

#[test]
fn who_lacks_what_was_pruned_asks_and_is_wiped_only_by_the_first_piece() {
    let mut replica = lagging();
    let effects = step(&mut replica, said(C, pruned(at(5, 9))));
    assert_eq!(effects, [sends(C, None, Message::CopyRequest { view: ViewNumber(12) })]);
    assert_eq!(step(&mut replica, said(C, piece(5, 1, rows(5), true))), [], "the first is missing");
    assert_eq!((replica.normal(), replica.log_range().1), (Some(V), Seq(2)));
    let effects = step(&mut replica, said(C, piece(5, 0, rows(3), false)));
    let ticket = Ticket(3);
    let state = replica.state();
    assert_eq!((state.normal, state.copying, state.floor, state.applied), (None, true, at(5, 9), Seq(5)));
    let fill = Effect::Fill { ticket, rows: rows(3) };
    assert_eq!(effects, [Effect::Wipe { ticket }, fill, sends(C, None, taken(5, 0)), Effect::SaveState { ticket, state, sync: true }]);
}

#[test]
fn what_comes_meanwhile_is_logged_and_applied_only_after_the_last_piece() {
    let mut replica = lagging();
    step(&mut replica, said(C, piece(5, 0, rows(3), false)));
    step(&mut replica, said(C, redo(12, 5, at(5, 9), vec![record(6, 12)], 6)));
    let flow = Message::Persistent { view: ViewNumber(12), normal: None, upto: Seq(6), stable: Seq(5) };
    assert_eq!(step(&mut replica, Event::Flush), [sends(C, Some(4), flow)]);
    persist(&mut replica);
    let rest: Vec<_> = rows(5).split_off(3);
    assert_eq!(step(&mut replica, said(C, piece(5, 2, rest.clone(), true))), [], "a piece is missing");
    step(&mut replica, said(C, piece(5, 1, rest, true)));
    assert_eq!((replica.normal(), replica.applied(), replica.state().copying), (None, Seq(5), false));
    persist(&mut replica);
    let effects = step(&mut replica, said(C, redo(12, 5, at(6, 12), vec![], 6)));
    assert_eq!((replica.normal(), replica.applied()), (Some(ViewNumber(12)), Seq(6)));
    assert!(matches!(&effects[0], Effect::Apply { records, .. } if **records == [record(6, 12)]), "{effects:?}");
}

#[test]
fn a_piece_that_comes_twice_is_confirmed_twice_and_one_of_an_older_copy_is_ignored() {
    let mut replica = lagging();
    step(&mut replica, said(C, piece(5, 0, rows(3), false)));
    assert_eq!(step(&mut replica, said(C, piece(5, 0, rows(3), false))), [sends(C, None, taken(5, 0))]);
    assert_eq!(step(&mut replica, said(C, piece(4, 0, rows(2), false))), []);
    let again = step(&mut replica, said(C, piece(7, 0, rows(2), false)));
    assert!(matches!(again[0], Effect::Wipe { .. }), "the source gave the first up: {again:?}");
}

#[test]
fn another_primary_or_another_start_wipes_what_there_is_of_a_copy() {
    let mut replica = lagging();
    step(&mut replica, said(C, piece(5, 0, rows(3), false)));
    let saved = replica.state();
    let effects = step(&mut replica, said(B, Message::Peer { view: ViewNumber(13) }));
    assert!(effects.iter().any(|e| matches!(e, Effect::Wipe { .. })), "{effects:?}");
    assert_eq!((replica.log_range(), replica.state().copying), ((Seq(1), Seq(0)), false));
    let mut restore = Restore::new(identity(), std::sync::Arc::new(config()), saved);
    assert!(restore.is_over());
    restore.record(record(6, 12)).expect("nobody looks at it");
    let mut replica = restore.finish().expect("a blank one");
    let effects = step(&mut replica, Event::Flush);
    assert!(matches!(effects[..], [Effect::Wipe { .. }, Effect::SaveState { sync: true, .. }]), "{effects:?}");
    assert_eq!((replica.promised(), replica.normal(), replica.applied()), (ViewNumber(12), None, Seq(0)));
}

/// dev-1, which counts in view 12 with two records, and is told that all up to 5 is pruned.
fn counting() -> Replica {
    let mut replica = lagging();
    step(&mut replica, said(C, redo(12, 2, at(2, 10), vec![], 2)));
    assert_eq!(replica.normal(), Some(ViewNumber(12)));
    persist(&mut replica);
    assert_eq!(
        step(&mut replica, said(C, piece(5, 0, rows(5), true))),
        [sends(C, None, taken(5, 0))],
        "nobody said that it lacks anything"
    );
    let effects = step(&mut replica, said(C, pruned(at(5, 12))));
    assert_eq!(effects, [sends(C, None, Message::CopyRequest { view: ViewNumber(12) })]);
    replica
}

#[test]
fn who_counts_in_a_view_is_wiped_in_it_where_all_that_it_holds_was_pruned() {
    let mut replica = counting();
    assert_eq!(replica.normal(), Some(ViewNumber(12)), "only the first piece ends what it counts for");
    let effects = step(&mut replica, said(C, piece(5, 0, rows(3), false)));
    assert!(matches!(effects[0], Effect::Wipe { .. }), "{effects:?}");
    assert_eq!((replica.normal(), replica.state().copying), (None, true));
}

#[test]
fn who_counts_in_a_view_and_holds_what_was_not_pruned_is_not_wiped_in_it() {
    let mut replica = counting();
    // They were on their way when the primary pruned.
    step(&mut replica, said(C, redo(12, 2, at(2, 10), records(3..=5, 12), 5)));
    persist(&mut replica);
    assert_eq!(step(&mut replica, said(C, piece(6, 0, rows(6), true))), [sends(C, None, taken(6, 0))]);
    assert_eq!(step(&mut replica, said(C, pruned(at(5, 12)))), []);
    assert_eq!((replica.normal(), replica.log_range().1), (Some(ViewNumber(12)), Seq(5)));
    // What another primary pruned is another matter.
    let mut replica = counting();
    step(&mut replica, said(B, redo(13, 2, at(2, 10), vec![], 2)));
    assert_eq!((replica.normal(), replica.told_floor), (Some(ViewNumber(13)), Seq(0)));
}

#[test]
fn a_copy_that_stops_is_asked_for_again() {
    let mut replica = lagging();
    step(&mut replica, said(C, piece(5, 0, rows(3), false)));
    let (at, _) = replica.next_deadline().expect("it waits for a piece");
    assert_eq!(at, NOW.after_ms(config().copy_again_ms));
    let mut effects = Vec::new();
    replica.handle(Event::Tick, at, &mut effects);
    assert_eq!(effects, [sends(C, None, Message::CopyRequest { view: ViewNumber(12) })]);
}

/// dev-1 as the active primary of view 10 with three records applied, the first two pruned; dev-3 is blank, by its own word.
fn source() -> Replica {
    let mut replica = primary();
    for number in 1..=3 {
        step(&mut replica, put(20 + number, number as u8, Condition::Always));
    }
    step(&mut replica, Event::Flush);
    persist(&mut replica);
    step(&mut replica, said(B, persistent(10, 3)));
    step(&mut replica, said(C, persistent(10, 2)));
    for _ in 0..2 {
        persist(&mut replica);
    }
    assert_eq!((replica.pruned(), replica.applied()), (Seq(2), Seq(3)));
    let crate::role::Role::Primary(p) = &mut replica.role else { unreachable!() };
    let blank = crate::role::Progress { wait_ms: 100, ..Default::default() };
    p.peers.insert(C, blank);
    replica
}

fn asks() -> Event {
    said(C, Message::CopyRequest { view: V })
}

fn gap(boot: u64) -> Event {
    let message = Message::Gap { view: V, normal: None, last: Seq(0), stable: Seq(0) };
    let Event::Message(mut envelope) = said(C, message) else { unreachable!() };
    envelope.boot = Boot(boot);
    Event::Message(envelope)
}

#[test]
fn pieces_go_out_one_at_a_time_and_records_after_the_first() {
    let mut replica = source();
    let refused = Message::Refused { view: V, reason: Reason::Pruned(at(2, 10)) };
    assert_eq!(step(&mut replica, gap(3)), [sends(C, None, refused)]);
    assert_eq!(step(&mut replica, asks()), [Effect::OpenCopy { target: C }]);
    assert_eq!(step(&mut replica, asks()), [], "one at a time");
    let read = |number, after: Option<RowKey>| {
        let config = config();
        Effect::ReadCopy { target: C, number, after, rows_max: config.copy_rows_max, bytes_max: config.copy_bytes_max }
    };
    assert_eq!(step(&mut replica, Event::CopyOpened { target: C, applied: Seq(3) }), [read(0, None)]);
    let (first, last) = (rows(1), rows(1)[0].0.clone());
    let effects = step(&mut replica, Event::CopyRead { target: C, number: 0, rows: first.clone(), end: false });
    let out = Message::CopyPiece { view: V, at: at(3, 10), number: 0, rows: first, end: false };
    assert_eq!(effects, [sends(C, None, out)]);
    assert!(!step(&mut replica, Event::Flush).iter().any(|e| matches!(e, Effect::Send { envelope, .. } if envelope.to == C)));
    let taken = |number| said(C, Message::CopyTaken { view: V, at: Seq(3), number });
    assert_eq!(step(&mut replica, taken(0)), [read(1, Some(last))]);
    let heartbeat = step(&mut replica, Event::Flush);
    assert!(heartbeat.iter().any(|e| matches!(e, Effect::Send { envelope, .. } if envelope.to == C)), "{heartbeat:?}");
    step(&mut replica, Event::CopyRead { target: C, number: 1, rows: rows(2).split_off(1), end: true });
    assert_eq!(step(&mut replica, taken(1)), [Effect::CloseCopy { target: C }]);
}

/// dev-3 says that it counts in this view, and that its log ends at `last`, below what is left of ours.
fn counts_and_lacks(last: u64) -> Event {
    said(C, Message::Gap { view: V, normal: Some(V), last: Seq(last), stable: Seq(0) })
}

#[test]
fn who_counts_by_a_word_that_was_lost_and_lacks_what_was_pruned_is_filled_anew() {
    let mut replica = source();
    let refused = Message::Refused { view: V, reason: Reason::Pruned(at(2, 10)) };
    assert_eq!(step(&mut replica, counts_and_lacks(1)), [sends(C, None, refused)]);
    assert_eq!(step(&mut replica, asks()), [Effect::OpenCopy { target: C }]);
    step(&mut replica, Event::CopyOpened { target: C, applied: Seq(3) });
    assert_eq!(step(&mut replica, said(C, persistent(10, 1))), [], "the word that was lost, from before it was wiped, ends no copy");
    step(&mut replica, Event::CopyRead { target: C, number: 0, rows: rows(3), end: true });
    step(&mut replica, said(C, Message::CopyTaken { view: V, at: Seq(3), number: 0 }));
    step(&mut replica, said(C, persistent(10, 3)));
    assert_eq!((replica.all_persistent(), replica.copies()), (Seq(3), 0));
}

#[test]
fn who_counted_and_was_away_while_no_log_was_kept_for_it_is_filled_anew() {
    let mut replica = source();
    step(&mut replica, said(C, persistent(10, 2)));
    assert_eq!(step(&mut replica, asks()), [], "it counts, and has all that was pruned: an old word");
    let mut away = placement(10, ME);
    let peer = away.peers[&C];
    away.peers.insert(C, Peer { state: DeviceState::Transient, copy: true, ..peer });
    step(&mut replica, Event::Placement(Box::new(away)));
    step(&mut replica, said(B, persistent(10, 3)));
    persist(&mut replica);
    assert_eq!(replica.pruned(), Seq(3));
    let refused = Message::Refused { view: V, reason: Reason::Pruned(at(3, 10)) };
    assert_eq!(step(&mut replica, counts_and_lacks(2)), [sends(C, None, refused)]);
    assert_eq!(step(&mut replica, asks()), [Effect::OpenCopy { target: C }]);
    assert_eq!(replica.stable(), Seq(3));
}

#[test]
fn what_comes_late_of_a_copy_does_not_end_what_the_source_does_in_a_later_view() {
    let mut replica = source();
    step(&mut replica, gap(3));
    step(&mut replica, asks());
    step(&mut replica, view(12, ME));
    persist(&mut replica);
    let later = ViewNumber(12);
    let late = [
        Event::CopyOpened { target: C, applied: Seq(3) },
        said(C, Message::CopyTaken { view: later, at: Seq(3), number: 0 }),
        Event::LogRead { reader: Reader::Redo(C, later), from: Seq(1), records: Vec::new() },
    ];
    for event in late {
        step(&mut replica, event);
        assert!(matches!(replica.role, Role::Collecting(_)), "{:?}", replica.role);
    }
    step(&mut replica, said(B, state(12, Some(10), (3, 10), 3)));
    persist(&mut replica);
    assert!(replica.is_primary());
}

#[test]
fn a_target_that_starts_again_or_falls_silent_ends_its_copy() {
    let mut replica = source();
    step(&mut replica, gap(3));
    step(&mut replica, asks());
    step(&mut replica, Event::CopyOpened { target: C, applied: Seq(3) });
    let effects = step(&mut replica, gap(8));
    assert_eq!(effects[0], Effect::CloseCopy { target: C }, "another start");
    let mut replica = source();
    step(&mut replica, asks());
    step(&mut replica, Event::CopyOpened { target: C, applied: Seq(3) });
    let mut effects = Vec::new();
    let mut reads = 0;
    while !effects.contains(&Effect::CloseCopy { target: C }) {
        reads += effects.iter().filter(|e| matches!(e, Effect::ReadCopy { .. })).count();
        let Instant(at) = replica.next_deadline().expect("it is sent again").0;
        assert!(at <= NOW.0 + 2 * config().copy_silence_ms, "a silent target is given up");
        effects.clear();
        replica.handle(Event::Tick, Instant(at), &mut effects);
    }
    assert!(reads > 3, "{reads}");
}

#[test]
fn the_log_is_kept_from_the_snapshot_on_and_a_blank_device_holds_nothing_back() {
    let mut replica = source();
    step(&mut replica, gap(3));
    let more = |replica: &mut Replica, number: u64| {
        step(replica, put(20 + number, number as u8, Condition::Always));
        step(replica, Event::Flush);
        persist(replica);
        step(replica, said(B, persistent(10, number)));
        for _ in 0..2 {
            persist(replica);
        }
    };
    more(&mut replica, 4);
    assert_eq!(replica.pruned(), Seq(4), "nothing waits for who has nothing");
    step(&mut replica, asks());
    step(&mut replica, Event::CopyOpened { target: C, applied: Seq(4) });
    more(&mut replica, 5);
    assert_eq!(replica.pruned(), Seq(4), "the target has to get the fifth");
    assert_eq!(replica.identity().device, ME);
}

#[test]
fn a_target_that_says_again_and_again_that_it_lacks_what_it_was_taken_to_have_is_filled_anew() {
    let mut replica = source();
    step(&mut replica, gap(3));
    step(&mut replica, asks());
    step(&mut replica, Event::CopyOpened { target: C, applied: Seq(3) });
    step(&mut replica, Event::CopyRead { target: C, number: 0, rows: rows(3), end: true });
    let taken = said(C, Message::CopyTaken { view: V, at: Seq(3), number: 0 });
    assert_eq!(step(&mut replica, taken), [Effect::CloseCopy { target: C }]);
    let refused = sends(C, None, Message::Refused { view: V, reason: Reason::Pruned(at(2, 10)) });
    for _ in 0..2 {
        assert!(!step(&mut replica, gap(3)).contains(&refused), "that may have been said before the copy");
    }
    assert!(step(&mut replica, gap(3)).contains(&refused));
    assert_eq!(step(&mut replica, asks()), [Effect::OpenCopy { target: C }]);
}
