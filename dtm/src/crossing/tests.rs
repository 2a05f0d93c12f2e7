//! Both sides of a crossing, step by step; the group of the tests is 0.0, the other one 1.7.

use types::ops::Condition;
use types::record::Outcome;
use types::wire::dtm::{Envelope, Message, Part};
use types::wire::request::{ExecuteReply, Refusal};
use types::{Boot, HaTime, Incarnation, ViewNumber};

use super::*;
use crate::effect::Effect;
use crate::event::{ClientId, Event, Instant};
use crate::replica::Replica;
use crate::restore::Restore;
use crate::testing::{B, ME, V, config, dtx, identity, persist, persistent, primary, put, row, said, step};

const OTHER: GroupId = GroupId { pool: PoolId(1), index: 7 };
const HERE: GroupId = GroupId { pool: PoolId(0), index: 0 };

fn write(key: u8) -> Write {
    Write::Put { row: row(key), value: vec![key] }
}

/// A client's transaction with a part in the other group.
fn crossing(number: u64, client: u64) -> Event {
    let Event::Execute(mut execute) = put(number, 1, Condition::Always) else { unreachable!() };
    execute.client = ClientId(client);
    execute.parts = vec![(OTHER, vec![write(2)])];
    Event::Execute(execute)
}

/// All members hold everything, it is synced, applied and committed: everything that was done meanwhile.
fn settle(replica: &mut Replica) -> Vec<Effect> {
    let mut effects = step(replica, Event::Flush);
    effects.extend(persist(replica));
    let last = replica.log_range().1.0;
    effects.extend(step(replica, said(B, persistent(10, last))));
    for _ in 0..2 {
        effects.extend(persist(replica));
    }
    effects
}

fn parts(effects: &[Effect]) -> Vec<(GroupId, Part)> {
    effects.iter().filter_map(|e| if let Effect::SendPart { group, part } = e { Some((*group, part.clone())) } else { None }).collect()
}

fn answers(effects: &[Effect]) -> Vec<(u64, ExecuteReply)> {
    effects
        .iter()
        .filter_map(|e| if let Effect::Complete { client, reply, .. } = e { Some((client.0, reply.clone())) } else { None })
        .collect()
}

fn logged(effects: &[Effect]) -> Vec<Coordination> {
    let of =
        |e: &Effect| if let Effect::Append { records, .. } = e { records.iter().map(|r| r.coordination.clone()).collect() } else { vec![] };
    effects.iter().flat_map(of).collect()
}

fn part_stable(seq: u64) -> Event {
    said(B, Message::PartStable { view: ViewNumber(3), participant: OTHER, seq: Seq(seq) })
}

fn the_part(seq: u64, low: u64) -> Part {
    Part { dtx: dtx(90 + seq), coordinator: OTHER, seq: Seq(seq), low: Seq(low), writes: vec![write(9)] }
}

/// A part that comes from the device, which may be this one.
fn part_from(device: types::DeviceId, seq: u64, low: u64) -> Event {
    let message = Message::Part { view: V, part: the_part(seq, low) };
    let (boot, incarnation) = (Boot(u64::from(device.0)), Incarnation(1));
    Event::Message(Envelope { group: HERE, from: device, to: ME, boot, incarnation, message })
}

fn said_stable(effects: &[Effect]) -> Vec<u64> {
    let of = |e: &Effect| match e {
        Effect::Send { envelope, after: None } if envelope.group == OTHER => match envelope.message {
            Message::PartStable { participant: HERE, seq, .. } => Some(seq.0),
            _ => None,
        },
        _ => None,
    };
    effects.iter().filter_map(of).collect()
}

#[test]
fn parts_go_out_when_the_transaction_is_stable_and_the_client_is_answered_when_they_are() {
    let mut replica = primary();
    let effects = step(&mut replica, crossing(21, 1));
    assert!(parts(&effects).is_empty() && logged(&effects) == [Coordination::Coordinator { parts: vec![(OTHER, vec![write(2)])] }]);
    let effects = settle(&mut replica);
    let part = Part { dtx: dtx(21), coordinator: HERE, seq: Seq(1), low: Seq(1), writes: vec![write(2)] };
    assert_eq!(parts(&effects), [(OTHER, part.clone())]);
    assert_eq!((answers(&effects), replica.unfinished()), (Vec::new(), 1));
    // A copy of the call waits with it; somebody else's word changes nothing.
    assert_eq!(answers(&step(&mut replica, crossing(21, 2))), []);
    assert!(step(&mut replica, said(B, Message::PartStable { view: V, participant: HERE, seq: Seq(1) })).is_empty());
    let effects = step(&mut replica, part_stable(1));
    let done = Ok(Outcome::Done { version: Seq(1), previous: vec![None], versioning: types::object::Versioning::Off });
    assert_eq!(answers(&effects), [(1, done.clone()), (2, done.clone())]);
    assert_eq!(logged(&effects), [Coordination::Done { seq: Seq(1) }]);
    assert!(step(&mut replica, part_stable(1)).is_empty(), "once");
    assert_eq!(answers(&step(&mut replica, crossing(21, 3))), [(3, done)]);
    settle(&mut replica);
    assert_eq!(replica.unfinished(), 0);
    assert_eq!(replica.crossings, Crossings::default());
}

#[test]
fn a_part_that_is_not_answered_is_sent_again_and_a_lost_primary_leaves_its_callers_in_doubt() {
    let mut replica = primary();
    step(&mut replica, crossing(21, 1));
    settle(&mut replica);
    let mut effects = Vec::new();
    while parts(&effects).is_empty() {
        let (at, _) = replica.next_deadline().expect("a part is on its way");
        assert!(at <= Instant(1200), "{at:?}");
        replica.handle(Event::Tick, at, &mut effects);
    }
    let effects = step(&mut replica, said(B, Message::Peer { view: ViewNumber(12) }));
    assert!(matches!(answers(&effects)[..], [(1, Err(Refusal::InDoubt { .. }))]));
}

#[test]
fn a_word_of_a_group_has_the_oldest_part_that_it_let_wait_go_again_at_once() {
    let mut replica = primary();
    for number in 1..=3 {
        step(&mut replica, crossing(20 + number, number));
        settle(&mut replica);
    }
    assert_eq!(parts(&step(&mut replica, part_stable(1))), [], "the others are on their way");
    let mut again = Vec::new();
    while parts(&again).len() < 2 {
        let (at, _) = replica.next_deadline().expect("parts are on their way");
        replica.handle(Event::Tick, at, &mut again);
    }
    let seqs = |effects: &[Effect]| parts(effects).into_iter().map(|(group, part)| (group, part.seq.0)).collect::<Vec<_>>();
    let [second, third] = [seqs(&again)[0].1, seqs(&again)[1].1];
    assert_eq!(seqs(&step(&mut replica, part_stable(third))), [(OTHER, second)]);
    assert_eq!(seqs(&step(&mut replica, part_stable(third))), [], "once for each");
    assert_eq!(seqs(&step(&mut replica, part_stable(second))), [], "none is left");
}

#[test]
fn a_refused_condition_has_no_parts() {
    let mut replica = primary();
    let Event::Execute(mut execute) = crossing(21, 1) else { unreachable!() };
    let types::ops::Op::Put { condition, .. } = &mut execute.ops[0] else { unreachable!() };
    *condition = Condition::Present;
    assert_eq!(logged(&step(&mut replica, Event::Execute(execute))), [Coordination::Local]);
    let effects = settle(&mut replica);
    assert!(parts(&effects).is_empty() && matches!(answers(&effects)[..], [(1, Ok(Outcome::Refused { .. }))]));
}

#[test]
fn what_is_unfinished_is_bounded() {
    let mut replica = primary();
    replica.config = Arc::new(crate::Config { unfinished_max: 1, ..config() });
    step(&mut replica, crossing(21, 1));
    settle(&mut replica);
    assert!(matches!(answers(&step(&mut replica, crossing(22, 2)))[..], [(2, Err(Refusal::Busy(_)))]));
    assert_eq!(logged(&step(&mut replica, put(23, 5, Condition::Always))), [Coordination::Local]);
}

#[test]
fn who_becomes_primary_sends_the_parts_of_what_has_no_done() {
    let mut replica = primary();
    step(&mut replica, crossing(21, 1));
    let notes: Vec<Note> =
        settle(&mut replica).into_iter().flat_map(|e| if let Effect::Note { rows, .. } = e { rows } else { Vec::new() }).collect();
    assert_eq!(replica.pruned(), Seq(0), "a member lags");
    // Its device comes back, the record pruned.
    let mut state = replica.state();
    state.floor = replica.log.last_position();
    let mut restore = Restore::new(identity(), Arc::new(config()), state);
    let (key, result) = crate::results::result_row(replica.log.get(Seq(1)).expect("there"));
    assert_eq!(key, crate::results::result_key(Seq(1)));
    restore.result(Seq(1), &result.value).expect("a result");
    for (key, row) in &notes {
        restore.crossing(key, row.as_ref().expect("nothing is done")).expect("a row of a crossing");
    }
    let mut replica = restore.finish().expect("a replica");
    assert_eq!(replica.unfinished(), 1);
    step(&mut replica, crate::testing::view(12, ME));
    step(&mut replica, crate::testing::lease());
    persist(&mut replica);
    step(&mut replica, said(B, crate::testing::state(12, Some(10), (1, 10), 1)));
    let effects = persist(&mut replica);
    assert_eq!(parts(&effects).len(), 1);
    // Its word comes before the view is active here: remembered until it is.
    assert!(step(&mut replica, part_stable(1)).is_empty());
    let effects = step(&mut replica, said(B, persistent(12, 1)));
    assert_eq!(logged(&effects), [Coordination::Done { seq: Seq(1) }]);
}

#[test]
fn a_part_is_executed_once_and_said_when_the_rows_show_it() {
    let mut replica = primary();
    // From a primary on the same device, too.
    let effects = step(&mut replica, part_from(ME, 5, 5));
    assert_eq!(logged(&effects), [Coordination::Part { coordinator: OTHER, seq: Seq(5), low: Seq(5) }]);
    assert_eq!(step(&mut replica, part_from(B, 5, 5)), [], "it is on its way");
    step(&mut replica, Event::Flush);
    persist(&mut replica);
    let effects = step(&mut replica, said(B, persistent(10, 1)));
    assert!(effects.iter().any(|e| matches!(e, Effect::Apply { .. })) && said_stable(&effects).is_empty(), "applied, not committed");
    assert_eq!(said_stable(&persist(&mut replica)), [5]);
    let effects = step(&mut replica, part_from(B, 5, 5));
    assert_eq!((said_stable(&effects), logged(&effects)), (vec![5], vec![]));
    // The coordinator says that 5 is done: what comes of it now comes late.
    step(&mut replica, part_from(B, 8, 7));
    assert_eq!(said_stable(&settle(&mut replica)), [8]);
    let effects = step(&mut replica, part_from(B, 5, 5));
    assert_eq!((said_stable(&effects), logged(&effects)), (vec![5], vec![]));
}

#[test]
fn a_part_is_executed_however_old_it_is_and_only_by_the_active_primary() {
    let mut replica = primary();
    let Event::Message(mut envelope) = part_from(B, 5, 5) else { unreachable!() };
    let Message::Part { part, .. } = &mut envelope.message else { unreachable!() };
    part.dtx.at = HaTime(5000 + 10 * replica.config.window_ms);
    assert_eq!(logged(&step(&mut replica, Event::Message(envelope))).len(), 1);
    let mut follower = crate::testing::follower();
    assert_eq!(step(&mut follower, part_from(B, 5, 5)), []);
}

#[test]
fn rows_bring_back_what_records_made() {
    let record = |seq: u64, coordination: Coordination| Record { coordination, ..(*crate::testing::record(seq, 10)).clone() };
    let part = |seq: u64, low: u64| Coordination::Part { coordinator: OTHER, seq: Seq(seq), low: Seq(low) };
    let records = [
        record(1, Coordination::Coordinator { parts: vec![(OTHER, vec![write(3)])] }),
        record(2, part(4, 4)),
        record(3, part(6, 4)),
        record(4, Coordination::Coordinator { parts: vec![(OTHER, vec![write(3)])] }),
        record(5, Coordination::Done { seq: Seq(1) }),
        record(6, part(9, 6)),
    ];
    let mut crossings = Crossings::default();
    let mut rows: BTreeMap<RowKey, Row> = BTreeMap::new();
    for record in &records {
        for (key, row) in crossings.apply(record) {
            match row {
                Some(row) => drop(rows.insert(key, row)),
                None => drop(rows.remove(&key)),
            }
        }
    }
    assert_eq!((crossings.all_unfinished(), crossings.low(Seq(6))), (vec![Seq(4)], Seq(4)));
    assert_eq!(crossings.executed(OTHER, Seq(4), true), Some(Seq(0)));
    assert_eq!(crossings.executed(OTHER, Seq(6), true), Some(Seq(3)));
    assert_eq!(crossings.executed(OTHER, Seq(7), true), None);
    let mut back = Crossings::default();
    for (key, row) in &rows {
        back.take_row(key, row).expect("our own");
        assert!(is_of_machine(key.catalogue));
        for cut in 0..row.value.len().min(8) {
            assert!(Crossings::default().take_row(key, &Row { value: row.value[..cut].to_vec(), ..row.clone() }).is_err());
        }
    }
    assert_eq!(back, crossings);
}
