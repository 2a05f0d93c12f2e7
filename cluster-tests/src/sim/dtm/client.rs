//! A simulated client: one operation at a time, sent again under the same name until it is answered or the client's patience ends.

use types::ops::{Condition as Needs, Op};
use types::record::{Outcome, Row, RowKey, Write};
use types::wire::request::Refusal;
use types::{CatalogueId, DtxId, GroupId, HaTime, PoolId, SessionId, Version, ViewNumber, keys};

use dtm::Placement;
use serde::{Deserialize, Serialize};

use super::packet::Packet;
use crate::checkers::history::{Action, Answer, Condition, Moment, Operation, Value};
use crate::sim::heap::Micros;
use crate::sim::network::NodeNumber;

/// What a client is to do next.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Intent {
    /// On which row.
    pub row: u64,
    /// What.
    pub kind: Kind,
    /// It gives up after so long, while there are faults.
    pub patience: Micros,
    /// It asks again after so long.
    pub again: Micros,
}

/// Kinds of operations.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Kind {
    /// A read.
    Read,
    /// A read of that member, after a word of the primary.
    ReadNear(NodeNumber),
    /// A write.
    Put(When),
    /// A delete.
    Delete(When),
    /// A write with parts in these other groups, in as many bits.
    Cross(u8),
}

/// Kinds of conditions.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum When {
    /// No condition.
    Always,
    /// The row is not there.
    Absent,
    /// The row is there.
    Present,
    /// The row is as this client saw it last.
    AsSeen,
}

/// An operation as it was done, with the versions that the answer named; values are filled in from the log at the end.
#[derive(Clone, Copy, Debug)]
pub struct Done {
    /// The operation.
    pub operation: Operation,
    /// The version that the row had before, where the answer said that.
    pub version_before: Option<Option<Version>>,
}

#[derive(Clone, Debug)]
struct Pending {
    call: u64,
    packet: Packet,
    /// Of which member a row is read once the primary has answered.
    near: Option<(NodeNumber, RowKey)>,
    place: usize,
    give_up: Micros,
    again: Micros,
    sent: u32,
}

/// A client.
#[derive(Clone, Debug)]
pub struct Client {
    /// Its number in the network.
    pub number: NodeNumber,
    session: SessionId,
    view: ViewNumber,
    primary: Option<NodeNumber>,
    nodes: u32,
    counter: u64,
    pending: Option<Pending>,
    seen: std::collections::BTreeMap<u64, (Version, Value)>,
}

/// What came of a reply.
#[derive(Clone, Debug, PartialEq)]
pub enum Came {
    /// Nothing that ends the operation.
    Nothing,
    /// The client is to ask again soon.
    Again,
    /// The client asks somebody else now.
    Next(NodeNumber, Packet),
    /// The operation is over.
    Over,
    /// The reply makes no sense.
    Broken(String),
}

impl Client {
    /// A client that knows nothing yet.
    pub fn new(number: NodeNumber, nodes: u32, session: SessionId) -> Self {
        Self { number, session, view: ViewNumber(0), primary: None, nodes, counter: 0, pending: None, seen: Default::default() }
    }

    /// Whether it waits for an answer.
    pub fn is_waiting(&self) -> bool {
        self.pending.is_some()
    }

    /// The call that it waits for, and when it asks again.
    pub fn waits_for(&self) -> Option<(u64, Micros)> {
        self.pending.as_ref().map(|p| (p.call, p.again))
    }

    /// Learns where the primary is.
    pub fn learn(&mut self, placement: &Placement) {
        if placement.number >= self.view {
            self.view = placement.number;
            self.primary = placement.primary.map(|(device, _)| device.0 - 1);
        }
    }

    /// Begins an operation; `value` is the one it writes, if it writes.
    pub fn begin(&mut self, intent: Intent, value: Value, now: Micros, moment: Moment, history: &mut Vec<Done>) -> (NodeNumber, Packet) {
        self.counter += 1;
        let row = row_key(intent.row);
        let call = self.counter;
        let dtx = DtxId { session: self.session, counter: self.counter, at: HaTime(now / 1000) };
        let (condition, needs) = match intent.kind {
            Kind::Read | Kind::ReadNear(_) | Kind::Cross(_) => (Condition::Always, Needs::Always),
            Kind::Put(when) | Kind::Delete(when) => self.condition(intent.row, when),
        };
        let (action, packet) = match intent.kind {
            Kind::Read => (Action::Read, Packet::Read { call, view: self.view, row }),
            Kind::ReadNear(_) => (Action::Read, Packet::ReadPoint { call, view: self.view }),
            Kind::Put(_) => {
                let ops = vec![Op::Put { row, value: value.to_le_bytes().to_vec(), condition: needs }];
                (Action::Put(value, condition), Packet::Execute { call, view: self.view, dtx, ops, parts: Vec::new() })
            }
            Kind::Cross(others) => {
                let parts = crossing_parts(others, intent.row, value);
                let ops = vec![Op::Put { row, value: value.to_le_bytes().to_vec(), condition: needs }];
                (Action::Put(value, condition), Packet::Execute { call, view: self.view, dtx, ops, parts })
            }
            Kind::Delete(_) => {
                let ops = vec![Op::Delete { row, condition: needs }];
                (Action::Delete(condition), Packet::Execute { call, view: self.view, dtx, ops, parts: Vec::new() })
            }
        };
        let operation = Operation { client: self.number, row: intent.row, call: moment, ret: Moment::MAX, action, answer: Answer::Unknown };
        history.push(Done { operation, version_before: None });
        let give_up = now + intent.patience;
        let near = if let Kind::ReadNear(member) = intent.kind { Some((member, row_key(intent.row))) } else { None };
        self.pending = Some(Pending { call, packet, near, place: history.len() - 1, give_up, again: intent.again, sent: 0 });
        self.send().expect("an operation has begun")
    }

    fn condition(&self, row: u64, when: When) -> (Condition, Needs) {
        match (when, self.seen.get(&row)) {
            (When::Always, _) => (Condition::Always, Needs::Always),
            (When::Absent, _) => (Condition::Absent, Needs::Absent),
            (When::AsSeen, Some((version, value))) => (Condition::Is(*value), Needs::Version(*version)),
            (When::Present | When::AsSeen, _) => (Condition::Present, Needs::Present),
        }
    }

    /// The message of the operation in hand, with the view that the client knows now.
    fn send(&mut self) -> Option<(NodeNumber, Packet)> {
        let pending = self.pending.as_mut()?;
        pending.sent += 1;
        // Where it knows no primary it asks one after the other.
        let to = self.primary.unwrap_or(pending.sent % self.nodes);
        let mut packet = pending.packet.clone();
        if let Packet::Execute { view, .. } | Packet::Read { view, .. } | Packet::ReadPoint { view, .. } = &mut packet {
            *view = self.view;
        }
        Some((to, packet))
    }

    /// It has waited long enough for the answer to `call`: what it sends. Nothing where the operation is over, or given up now.
    pub fn impatient(&mut self, call: u64, now: Micros, may_give_up: bool) -> Option<(NodeNumber, Packet)> {
        let pending = self.pending.as_ref().filter(|p| p.call == call)?;
        if may_give_up && now >= pending.give_up {
            self.pending = None;
            return None;
        }
        self.send()
    }

    /// A reply has come.
    pub fn receive(&mut self, packet: &Packet, moment: Moment, history: &mut [Done]) -> Came {
        if let Packet::Point { call, reply: Ok(point) } = packet {
            let near = self.pending.as_ref().filter(|p| p.call == *call).and_then(|p| p.near.clone());
            return near.map_or(Came::Nothing, |(to, row)| Came::Next(to, Packet::ReadNear { call: *call, point: *point, row }));
        }
        let (call, answer, before, seen) = match packet {
            Packet::Executed { call, reply: Ok(Outcome::Done { version, previous, .. }) } => {
                (*call, Answer::Done(None), previous.first().copied(), Some(*version))
            }
            Packet::Executed { call, reply: Ok(Outcome::Refused { current, .. }) } => (*call, Answer::Refused(None), Some(*current), None),
            Packet::ReadDone { call, reply: Ok(row) } => (*call, Answer::Read(row.as_ref().map(value_of)), None, None),
            Packet::Executed { call, reply: Err(Refusal::OutcomeUnknown) } => (*call, Answer::Unknown, None, None),
            Packet::Executed { call, reply: Err(refusal) }
            | Packet::ReadDone { call, reply: Err(refusal) }
            | Packet::Point { call, reply: Err(refusal) } => {
                let mine = self.pending.as_ref().is_some_and(|p| p.call == *call);
                return match refusal {
                    _ if !mine => Came::Nothing,
                    Refusal::WrongView { .. } | Refusal::Busy(_) | Refusal::InDoubt { .. } => Came::Again,
                    other => Came::Broken(format!("a client was told `{other}`")),
                };
            }
            _ => return Came::Nothing,
        };
        let Some(pending) = self.pending.take_if(|p| p.call == call) else { return Came::Nothing };
        let done = &mut history[pending.place];
        done.operation.answer = answer;
        done.version_before = before;
        if answer != Answer::Unknown {
            done.operation.ret = moment;
        }
        let row = done.operation.row;
        match (done.operation.action, answer, seen, packet) {
            (Action::Put(value, _), _, Some(version), _) => drop(self.seen.insert(row, (version, value))),
            (_, _, _, Packet::ReadDone { reply: Ok(Some(found)), .. }) => drop(self.seen.insert(row, (found.version, value_of(found)))),
            _ => {}
        }
        Came::Over
    }
}

/// Rows from here on are written by parts only.
const ROWS_OF_PARTS: u64 = 1000;

/// The group of a number in a world of several.
pub fn group_id(number: u32) -> GroupId {
    GroupId { pool: PoolId(0), index: number }
}

/// Parts of a transaction for the groups in these bits.
fn crossing_parts(others: u8, row: u64, value: Value) -> Vec<(GroupId, Vec<Write>)> {
    let write = || Write::Put { row: row_key(ROWS_OF_PARTS + row), value: value.to_le_bytes().to_vec() };
    (0..8).filter(|number| others & (1 << number) != 0).map(|number| (group_id(number), vec![write()])).collect()
}

/// The key of a row.
pub fn row_key(row: u64) -> RowKey {
    RowKey { catalogue: CatalogueId(1), key: keys::user(&row.to_be_bytes()) }
}

/// The value in a row's bytes; one that nobody writes where they are not ours.
pub fn value_of(row: &Row) -> Value {
    value_of_bytes(&row.value)
}

/// The value of bytes.
pub fn value_of_bytes(bytes: &[u8]) -> Value {
    bytes.try_into().map_or(Value::MAX, u64::from_le_bytes)
}
