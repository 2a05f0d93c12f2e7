//! The bytes of what is persisted and sent never change within a format: each is compared with the golden file beside this test.
//!
//! A change of these bytes is a new format with a number of its own. `GOLDEN_WRITE=1` writes the file anew.

use std::fmt::Write as _;
use std::sync::Arc;

use dtm::{ReplicaState, StoredResult, result_row};
use types::record::{Coordination, Outcome, Position, Record, RowKey, Write};
use types::wire::dtm::{Envelope, Message, Part, Reason, encode};
use types::{Boot, CatalogueId, DeviceId, DtxId, Epoch, GroupId, HaTime, Incarnation, PoolId, Seq, SessionId, ViewNumber, codec};

const GROUP: GroupId = GroupId { pool: PoolId(1), index: 300 };

fn record(seq: u64, outcome: Outcome, coordination: Coordination) -> Record {
    let row = |key: u8| RowKey { catalogue: CatalogueId(7), key: vec![1, key] };
    Record {
        seq: Seq(seq),
        view: ViewNumber(70_000),
        at: HaTime(1_234_567),
        dtx: DtxId { session: SessionId(9), counter: 251, at: HaTime(1_234_000) },
        writes: vec![Write::Put { row: row(2), value: b"value".to_vec() }, Write::Delete { row: row(3) }],
        outcome,
        coordination,
    }
}

fn samples() -> Vec<(&'static str, Vec<u8>)> {
    let done = Outcome::Done { version: Seq(4), previous: vec![None, Some(Seq(3))], versioning: types::object::Versioning::Off };
    let local = record(4, done.clone(), Coordination::Local);
    let refused = record(5, Outcome::Refused { op: 1, current: Some(Seq(4)) }, Coordination::Local);
    let parts = Coordination::Coordinator { parts: vec![(GROUP, local.writes.clone())] };
    let part = Coordination::Part { coordinator: GROUP, seq: Seq(8), low: Seq(2) };
    let state = ReplicaState {
        promised: ViewNumber(70_001),
        normal: Some(ViewNumber(70_000)),
        floor: Position { seq: Seq(2), view: ViewNumber(9) },
        last: Seq(5),
        stable: Seq(4),
        applied: Seq(3),
        copying: false,
    };
    let (view, base, prev) = (ViewNumber(70_000), Seq(1), Position { seq: Seq(3), view: ViewNumber(9) });
    let records = vec![Arc::new(local.clone()), Arc::new(refused.clone())];
    let messages = [
        Message::Redo { view, base, prev, records: records.clone(), stable: Seq(3), all_persistent: Seq(2) },
        Message::Persistent { view, normal: Some(view), upto: Seq(5), stable: Seq(3) },
        Message::Gap { view, normal: Some(view), last: Seq(2), stable: Seq(1) },
        Message::Peer { view },
        Message::PeerState { view, normal: None, last: prev, stable: Seq(1) },
        Message::Fetch { view, after: Seq(3) },
        Message::Fetched { view, prev, records, last: prev },
        Message::End { epoch: Epoch(6), view, boot: Boot(5) },
        Message::Refused { view, reason: Reason::Superseded(ViewNumber(8)) },
        Message::CopyRequest { view },
        Message::CopyPiece { view, at: prev, number: 1, rows: vec![result_row(&local)], end: true },
        Message::CopyTaken { view, at: Seq(3), number: 1 },
        Message::Refused { view, reason: Reason::Pruned(prev) },
        Message::Part { view, part: Part { dtx: local.dtx, coordinator: GROUP, seq: Seq(8), low: Seq(2), writes: local.writes.clone() } },
        Message::PartStable { view, participant: GROUP, seq: Seq(8) },
    ];
    let envelope =
        |message| Envelope { group: GROUP, from: DeviceId(1), to: DeviceId(2), boot: Boot(4), incarnation: Incarnation(3), message };
    let envelopes: Vec<Envelope> = messages.into_iter().map(envelope).collect();
    vec![
        ("replica state", state.encode()),
        ("blank replica state", ReplicaState { copying: true, ..ReplicaState::default() }.encode()),
        ("record, done", codec::encode(&local)),
        ("record, refused", codec::encode(&refused)),
        ("record, coordinator", codec::encode(&record(6, done.clone(), parts))),
        ("record, part", codec::encode(&record(7, done.clone(), part))),
        ("record, all parts done", codec::encode(&record(8, done, Coordination::Done { seq: Seq(6) }))),
        ("results row, done", result_row(&local).1.value),
        ("results row, refused", result_row(&refused).1.value),
        ("envelopes", encode(&[DeviceId(1)], &envelopes)),
    ]
}

#[test]
fn persisted_and_sent_bytes_are_those_of_the_golden_file() {
    let mut text = String::new();
    for (name, bytes) in samples() {
        let hex: String = bytes.iter().map(|b| format!("{b:02x}")).collect();
        writeln!(text, "{name}: {hex}").expect("a string takes everything");
    }
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/golden/format-1.txt");
    if std::env::var_os("GOLDEN_WRITE").is_some() {
        std::fs::write(path, &text).expect("the golden file can be written");
    }
    let golden = std::fs::read_to_string(path).expect("the golden file is there");
    assert_eq!(text, golden);
}

#[test]
fn golden_bytes_are_read_back_and_every_damage_is_an_error_or_another_value() {
    for (name, bytes) in samples() {
        for cut in 0..bytes.len() {
            assert!(!whole(name, &bytes[..cut]), "{name} cut at {cut}");
        }
        for bit in 0..bytes.len() * 8 {
            let mut damaged = bytes.clone();
            damaged[bit / 8] ^= 1 << (bit % 8);
            // Decides nothing but that nothing panics: what lies on a device or crosses a wire has its checksum besides.
            whole(name, &damaged);
        }
        assert!(whole(name, &bytes), "{name}");
    }
}

fn whole(name: &str, bytes: &[u8]) -> bool {
    match name {
        "replica state" | "blank replica state" => ReplicaState::decode(bytes).is_ok(),
        "results row, done" | "results row, refused" => StoredResult::decode(bytes).is_ok(),
        "envelopes" => types::wire::dtm::decode(bytes).is_ok(),
        _ => codec::decode::<Record>(bytes).is_ok(),
    }
}
