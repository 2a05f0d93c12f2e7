//! A simulated client: it finds the group of a row with the product's routing and its primary in the map, does one operation at a time, and
//! sends it again under the same name until it is answered or its patience ends.

use types::map::ClusterMap;
use types::ops::{Condition as Needs, Op};
use types::record::{Outcome, Row, RowKey};
use types::wire::request::{Execute, Read, Refusal};
use types::{DtxId, GroupId, HaTime, SessionId, ViewNumber, keys, routing};

use super::packet::{Intent, Kind, Packet};
use super::settings::host_of;
use crate::checkers::history::{Action, Answer, Condition, Moment, Operation, Value};
use crate::sim::heap::Micros;
use crate::sim::network::NodeNumber;

struct Pending {
    call: u64,
    intent: Intent,
    dtx: DtxId,
    value: Value,
    place: usize,
    give_up: Micros,
}

/// A client.
pub struct Client {
    /// Its number in the network.
    pub number: NodeNumber,
    /// Its session.
    pub session: SessionId,
    /// The daemon that it asks.
    pub daemon: NodeNumber,
    map: Option<Box<ClusterMap>>,
    at: HaTime,
    counter: u64,
    pending: Option<Pending>,
}

/// What came of a reply.
pub enum Came {
    /// Nothing that ends the operation.
    Nothing,
    /// The client needs a newer map.
    Again,
    /// The operation is over.
    Over,
    /// The reply makes no sense.
    Broken(String),
}

impl Client {
    /// A client that knows nothing yet.
    pub fn new(number: NodeNumber, session: SessionId, daemon: NodeNumber) -> Self {
        Self { number, session, daemon, map: None, at: HaTime(0), counter: 0, pending: None }
    }

    /// Whether it waits for an answer.
    pub fn is_waiting(&self) -> bool {
        self.pending.is_some()
    }

    /// The call that it waits for, and when it asks again.
    pub fn waits_for(&self) -> Option<(u64, Micros)> {
        self.pending.as_ref().map(|p| (p.call, p.intent.again))
    }

    /// The map comes.
    pub fn learn(&mut self, map: Box<ClusterMap>, at: HaTime) {
        if self.map.as_ref().is_none_or(|known| known.index <= map.index) {
            self.map = Some(map);
        }
        self.at = self.at.max(at);
    }

    /// Begins an operation; `value` is the one it writes, if it writes.
    pub fn begin(&mut self, intent: Intent, value: Value, now: Micros, moment: Moment, history: &mut Vec<Operation>) {
        self.counter += 1;
        let dtx = DtxId { session: self.session, counter: self.counter, at: self.at };
        let action = match intent.kind {
            Kind::Read => Action::Read,
            Kind::Put => Action::Put(value, Condition::Always),
            Kind::Delete => Action::Delete(Condition::Always),
        };
        history.push(Operation { client: self.number, row: intent.row, call: moment, ret: Moment::MAX, action, answer: Answer::Unknown });
        let pending = Pending { call: self.counter, intent, dtx, value, place: history.len() - 1, give_up: now + intent.patience };
        self.pending = Some(pending);
    }

    /// The message of the operation in hand, by the map that the client knows now, if there is a way.
    pub fn message(&self) -> Option<(NodeNumber, Packet)> {
        let pending = self.pending.as_ref()?;
        let (group, view, row, to) = find(self.map.as_ref()?, pending.intent.row)?;
        let call = pending.call;
        let execute = |op| Packet::Execute {
            call,
            execute: Execute { group, view, dtx: pending.dtx, ops: vec![op], parts: Vec::new(), cause: Default::default() },
        };
        let packet = match pending.intent.kind {
            Kind::Read => Packet::Read { call, read: Read { group, view, rows: vec![row] } },
            Kind::Put => execute(Op::Put { row, value: pending.value.to_le_bytes().to_vec(), condition: Needs::Always }),
            Kind::Delete => execute(Op::Delete { row, condition: Needs::Always }),
        };
        Some((to, packet))
    }

    /// It has waited long enough for the answer to `call`: whether it goes on.
    pub fn impatient(&mut self, call: u64, now: Micros, may_give_up: bool) -> bool {
        let Some(pending) = self.pending.as_ref().filter(|p| p.call == call) else { return false };
        if may_give_up && now >= pending.give_up {
            self.pending = None;
            return false;
        }
        true
    }

    /// A reply has come.
    pub fn receive(&mut self, packet: &Packet, moment: Moment, history: &mut [Operation]) -> Came {
        let (call, answer) = match packet {
            Packet::Executed { call, reply: Ok(Outcome::Done { .. }) } => (*call, Answer::Done(None)),
            Packet::ReadDone { call, reply: Ok(rows) } => (*call, Answer::Read(rows.first().and_then(Option::as_ref).map(value_of))),
            Packet::Executed { call, reply: Err(Refusal::OutcomeUnknown) } => (*call, Answer::Unknown),
            Packet::Executed { call, reply: Err(refusal) } | Packet::ReadDone { call, reply: Err(refusal) } => {
                let mine = self.pending.as_ref().is_some_and(|p| p.call == *call);
                return match refusal {
                    _ if !mine => Came::Nothing,
                    Refusal::WrongView { .. } | Refusal::Busy(_) | Refusal::InDoubt { .. } | Refusal::Full(_) | Refusal::Device { .. } => {
                        Came::Again
                    }
                    other => Came::Broken(format!("a client was told `{other}`")),
                };
            }
            Packet::Executed { call, reply: Ok(other) } => {
                let mine = self.pending.as_ref().is_some_and(|p| p.call == *call);
                return if mine { Came::Broken(format!("a client was told {other:?}")) } else { Came::Nothing };
            }
            _ => return Came::Nothing,
        };
        let Some(pending) = self.pending.take_if(|p| p.call == call) else { return Came::Nothing };
        let done = &mut history[pending.place];
        done.answer = answer;
        if answer != Answer::Unknown {
            done.ret = moment;
        }
        Came::Over
    }
}

/// Where a row is: its group, the view of it, its key, the process of its primary.
fn find(map: &ClusterMap, row: u64) -> Option<(GroupId, ViewNumber, RowKey, NodeNumber)> {
    let catalogue = map.catalogues.values().next()?;
    let pool = map.pools.get(&catalogue.pool)?;
    let name = row.to_be_bytes();
    let group = routing::group_of(catalogue, pool, &name);
    let view = map.view(group)?;
    let node = map.node_of(view.primary?.device)?;
    Some((group, view.number, RowKey { catalogue: catalogue.id, key: keys::user(&name) }, host_of(node.id)))
}

/// The group and the key of a row.
pub fn place_of(map: &ClusterMap, row: u64) -> Option<(GroupId, RowKey)> {
    let catalogue = map.catalogues.values().next()?;
    let pool = map.pools.get(&catalogue.pool)?;
    let name = row.to_be_bytes();
    Some((routing::group_of(catalogue, pool, &name), RowKey { catalogue: catalogue.id, key: keys::user(&name) }))
}

/// The value in a row's bytes; one that nobody writes where they are not ours.
pub fn value_of(row: &Row) -> Value {
    row.value.as_slice().try_into().map_or(Value::MAX, u64::from_le_bytes)
}
