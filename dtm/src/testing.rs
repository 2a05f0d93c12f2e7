//! Replicas in a known state, for the unit tests: a group of dev-1, dev-2, dev-3, created as view 10.

use std::sync::Arc;

use types::ops::{Condition, Op};
use types::record::{Coordination, Outcome, Position, Record, RowKey, Write};
use types::state::DeviceState;
use types::wire::dtm::{Envelope, Message};
use types::{Boot, CatalogueId, DeviceId, DtxId, Epoch, GroupId, HaTime, Incarnation, Seq, SessionId, ViewNumber};

use crate::{ClientId, Config, Effect, Event, Execute, Identity, Instant, Lease, Peer, Placement, Replica, Ticket};

pub(crate) const ME: DeviceId = DeviceId(1);
pub(crate) const B: DeviceId = DeviceId(2);
pub(crate) const C: DeviceId = DeviceId(3);
pub(crate) const NOW: Instant = Instant(1000);
pub(crate) const V: ViewNumber = ViewNumber(10);

pub(crate) fn placement(number: u64, primary: DeviceId) -> Placement {
    let members = vec![ME, B, C];
    let peer =
        |d: &DeviceId| Peer { state: DeviceState::Online, boot: Boot(u64::from(d.0)), incarnation: Incarnation(1), ..Peer::default() };
    Placement {
        epoch: Epoch(number),
        number: ViewNumber(number),
        primary: Some((primary, Boot(u64::from(primary.0)))),
        peers: members.iter().map(|d| (*d, peer(d))).collect(),
        old: members.clone(),
        members,
        learners: Vec::new(),
    }
}

pub(crate) fn identity() -> Identity {
    Identity { group: GroupId::default(), device: ME, boot: Boot(1), incarnation: Incarnation(1), registered: Epoch(2) }
}

pub(crate) fn config() -> Config {
    Config { prune_records_min: 1, ..Config::default() }
}

/// dev-1, which knows no view yet.
pub(crate) fn fresh() -> Replica {
    Replica::first_member(identity(), Arc::new(config()), V)
}

pub(crate) fn step(replica: &mut Replica, event: Event) -> Vec<Effect> {
    let mut effects = Vec::new();
    replica.handle(event, NOW, &mut effects);
    effects
}

pub(crate) fn persist(replica: &mut Replica) -> Vec<Effect> {
    let upto = replica.issued;
    step(replica, Event::Persisted(upto))
}

pub(crate) fn lease() -> Event {
    Event::Lease(Lease { until: Instant(2000), epoch: Epoch(10), ha_time: HaTime(5000) })
}

pub(crate) fn view(number: u64, primary: DeviceId) -> Event {
    Event::Placement(Box::new(placement(number, primary)))
}

/// dev-1 as a participant of view 10, whose primary is dev-2.
pub(crate) fn follower() -> Replica {
    let mut replica = fresh();
    step(&mut replica, view(10, B));
    step(&mut replica, lease());
    replica
}

/// dev-1 as the active primary of view 10, with nothing in its log.
pub(crate) fn primary() -> Replica {
    let mut replica = fresh();
    step(&mut replica, view(10, ME));
    step(&mut replica, lease());
    step(&mut replica, said(B, state(10, Some(10), (0, 0), 0)));
    persist(&mut replica);
    step(&mut replica, said(B, persistent(10, 0)));
    step(&mut replica, said(C, persistent(10, 0)));
    step(&mut replica, Event::Flush);
    assert!(replica.is_active());
    replica
}

pub(crate) fn row(key: u8) -> RowKey {
    RowKey { catalogue: CatalogueId(1), key: vec![1, key] }
}

pub(crate) fn dtx(counter: u64) -> DtxId {
    DtxId { session: SessionId(1), counter, at: HaTime(5000) }
}

/// A record that puts its seq under the key of its seq.
pub(crate) fn record(seq: u64, view: u64) -> Arc<Record> {
    let version = Seq(seq);
    Arc::new(Record {
        seq: version,
        view: ViewNumber(view),
        at: HaTime(5000),
        dtx: dtx(seq),
        writes: vec![Write::Put { row: row(seq as u8), value: vec![seq as u8] }],
        outcome: Outcome::Done { version, previous: vec![None], versioning: types::object::Versioning::Off },
        coordination: Coordination::Local,
    })
}

pub(crate) fn records(seqs: std::ops::RangeInclusive<u64>, view: u64) -> Vec<Arc<Record>> {
    seqs.map(|seq| record(seq, view)).collect()
}

pub(crate) fn at(seq: u64, view: u64) -> Position {
    Position { seq: Seq(seq), view: ViewNumber(view) }
}

/// What a client that wants to put `value` under `key` hands in; its dtx and call have this number.
pub(crate) fn put(number: u64, key: u8, condition: Condition) -> Event {
    let ops = vec![Op::Put { row: row(key), value: vec![key], condition }];
    Event::Execute(Execute { client: ClientId(number), view: V, dtx: dtx(number), ops, parts: Vec::new(), rows: Vec::new() })
}

pub(crate) fn said(from: DeviceId, message: Message) -> Event {
    let boot = Boot(u64::from(from.0));
    Event::Message(Envelope { group: GroupId::default(), from, to: ME, boot, incarnation: Incarnation(1), message })
}

pub(crate) fn sends(to: DeviceId, after: Option<u64>, message: Message) -> Effect {
    let envelope = Envelope { group: GroupId::default(), from: ME, to, boot: Boot(1), incarnation: Incarnation(1), message };
    Effect::Send { envelope, after: after.map(Ticket) }
}

pub(crate) fn redo(view: u64, base: u64, prev: Position, records: Vec<Arc<Record>>, stable: u64) -> Message {
    let (view, base, stable) = (ViewNumber(view), Seq(base), Seq(stable));
    Message::Redo { view, base, prev, records, stable, all_persistent: Seq(0) }
}

pub(crate) fn persistent(view: u64, upto: u64) -> Message {
    Message::Persistent { view: ViewNumber(view), normal: Some(ViewNumber(view)), upto: Seq(upto), stable: Seq(0) }
}

pub(crate) fn state(view: u64, normal: Option<u64>, last: (u64, u64), stable: u64) -> Message {
    Message::PeerState { view: ViewNumber(view), normal: normal.map(ViewNumber), last: at(last.0, last.1), stable: Seq(stable) }
}
