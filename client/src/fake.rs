//! A cluster for tests, in memory: the map of [`crate::sample`], primaries that decide with the product's own `decide`, devices that keep
//! units, and faults to be set.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard};

use async_trait::async_trait;
use bytes::Bytes;
use net::{BufPool, Lend, NetError, Peer, Reply, Request, Transport};
use serde::Serialize;
use tokio::time::Instant;
use types::checksum::first_bad_chunk;
use types::limits::CHUNK_BYTES;
use types::map::{CatalogueKind, ClusterMap};
use types::ops::decide;
use types::record::{Outcome, Row, RowKey, Write};
use types::records::{RecordChange, RecordDone};
use types::wire::Operation;
use types::wire::request::*;
use types::{CatalogueId, DeviceId, DtxId, Epoch, Fid, GroupId, HaTime, NodeId, Seq, SessionId, codec};

use crate::control::{Control, ControlError};
use crate::sample;

/// What a node does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Health {
    /// Refuses connections.
    Down,
    /// Never answers.
    Frozen,
    /// Does what it is asked to and never answers.
    Mute,
}

/// Bytes of a unit and the checksums of its chunks.
type Unit = (Vec<u8>, Vec<u32>);

/// What is in the cluster.
#[derive(Default)]
pub struct World {
    pub map: ClusterMap,
    pub health: BTreeMap<NodeId, Health>,
    /// Units after which a node freezes.
    pub freeze_after_units: Option<(NodeId, usize)>,
    pub rows: BTreeMap<RowKey, Row>,
    pub done: BTreeMap<DtxId, Outcome>,
    pub seq: u64,
    pub units: BTreeMap<(DeviceId, Fid, u32), Unit>,
    /// Devices that give damaged bytes with the right checksums, as a torn wire would.
    pub damaged: BTreeSet<DeviceId>,
    pub sessions: u64,
    pub closed: BTreeSet<SessionId>,
    /// What the next transactions are told, each once it is done.
    pub then_told: VecDeque<Refusal>,
    /// What every transaction is told, before it is looked at.
    pub all_told: Option<Refusal>,
    pub calls: usize,
    /// Members that were asked for rows, in order.
    pub read_near: Vec<DeviceId>,
    /// Members that have not applied as much as their primaries.
    pub lagging: BTreeSet<DeviceId>,
}

/// Way to HA and to the processes in one.
pub struct Fake {
    pub world: Mutex<World>,
    pool: BufPool,
}

impl Fake {
    pub fn new() -> Arc<Self> {
        let world = World { map: sample::map(), ..World::default() };
        Arc::new(Self { world: Mutex::new(world), pool: BufPool::new(64 << 20).expect("a pool") })
    }

    pub fn lock(&self) -> MutexGuard<'_, World> {
        self.world.lock().expect("nobody panics with this lock held")
    }

    /// The node is so, and HA does not know yet.
    pub fn set(&self, node: u16, health: Option<Health>) {
        match health {
            Some(health) => self.lock().health.insert(NodeId(node), health),
            None => self.lock().health.remove(&NodeId(node)),
        };
    }

    /// Rows whose key is of that kind.
    pub fn rows_of_kind(&self, kind: u8) -> usize {
        self.lock().rows.keys().filter(|row| row.key[0] == kind).count()
    }
}

impl World {
    fn serve(&mut self, node: NodeId, operation: Operation, head: &[u8], lend: Option<&mut Lend>) -> (Vec<u8>, usize) {
        fn answer<T: Serialize>(answer: Result<T, Refusal>) -> (Vec<u8>, usize) {
            (codec::encode(&answer), 0)
        }
        match operation {
            Operation::Execute => answer(self.execute(node, codec::decode(head).expect("an Execute"))),
            Operation::Read => {
                let read: Read = codec::decode(head).expect("a Read");
                answer(self.check(node, read.group).map(|()| read.rows.iter().map(|row| self.rows.get(row).cloned()).collect::<Vec<_>>()))
            }
            Operation::ReadPoint => {
                let point: ReadPoint = codec::decode(head).expect("a ReadPoint");
                answer(self.check(node, point.group).map(|()| Seq(self.seq)))
            }
            Operation::ReadNear => {
                let read: ReadNear = codec::decode(head).expect("a ReadNear");
                self.read_near.push(read.device);
                let here = self.map.node_of(read.device).is_some_and(|n| n.id == node) && read.point.0 <= self.seq;
                let rows = read.rows.iter().map(|row| self.rows.get(row).cloned()).collect::<Vec<_>>();
                answer(if here && !self.lagging.contains(&read.device) { Ok(rows) } else { Err(Refusal::Busy("behind".into())) })
            }
            Operation::Scan => answer(self.scan(node, &codec::decode(head).expect("a Scan"))),
            Operation::WriteUnit => {
                let Some(Lend::Give(buf)) = lend else { panic!("a unit is lent") };
                answer(self.write_unit(node, codec::decode(head).expect("a WriteUnit"), buf))
            }
            Operation::ReadUnit => {
                let Some(Lend::Room(buf)) = lend else { panic!("room is lent") };
                let read: ReadUnit = codec::decode(head).expect("a ReadUnit");
                let pushed = buf.len();
                (codec::encode(&self.read_unit(&read, buf)), pushed)
            }
            other => panic!("{other:?} is not asked by a client"),
        }
    }

    fn check(&self, node: NodeId, group: GroupId) -> Result<(), Refusal> {
        let view = self.map.view(group).ok_or_else(|| Refusal::Invalid("no such group".into()))?;
        let here = view.primary.and_then(|p| self.map.node_of(p.device)).is_some_and(|n| n.id == node);
        if here { Ok(()) } else { Err(Refusal::WrongView { current: view.number, epoch: self.map.epoch }) }
    }

    fn execute(&mut self, node: NodeId, execute: Execute) -> Result<Outcome, Refusal> {
        self.check(node, execute.group)?;
        if let Some(refusal) = &self.all_told {
            return Err(refusal.clone());
        }
        if self.closed.contains(&execute.dtx.session) {
            return Err(Refusal::Fenced(execute.dtx.session));
        }
        if let Some(outcome) = self.done.get(&execute.dtx) {
            return Ok(outcome.clone());
        }
        self.seq += 1;
        types::ops::validate_with(&execute.ops, &execute.parts)?;
        let (mut writes, outcome) = decide(&execute.ops, Seq(self.seq), HaTime(1), &|row| self.rows.get(row).cloned())?;
        if matches!(outcome, Outcome::Done { .. }) {
            writes.extend(execute.parts.into_iter().flat_map(|(_, writes)| writes));
        }
        for write in writes {
            match write {
                Write::Put { row, value } => drop(self.rows.insert(row, Row { version: Seq(self.seq), value })),
                Write::Delete { row } => drop(self.rows.remove(&row)),
            }
        }
        self.done.insert(execute.dtx, outcome.clone());
        self.then_told.pop_front().map_or(Ok(outcome), Err)
    }

    fn scan(&self, node: NodeId, scan: &Scan) -> Result<ScanPage, Refusal> {
        let catalogue = &self.map.catalogues[&scan.catalogue];
        let pool = &self.map.pools[&catalogue.pool];
        let mut rows = Vec::new();
        for (row, value) in &self.rows {
            let routing = types::keys::Key::parse(&row.key).expect("a key").routing().to_vec();
            let group = types::routing::group_of(catalogue, pool, &routing);
            let asked = scan.groups.iter().any(|(g, _)| *g == group) && self.check(node, group).is_ok();
            if asked && row.catalogue == scan.catalogue && row.key >= scan.from && row.key.starts_with(&scan.prefix) {
                rows.push(ScanRow { key: row.key.clone(), row: value.clone() });
            }
        }
        let more = rows.len() > scan.limit as usize;
        rows.truncate(scan.limit as usize);
        Ok(ScanPage { rows, more })
    }

    fn write_unit(&mut self, node: NodeId, write: WriteUnit, bytes: &[u8]) -> Result<(), Refusal> {
        let slots = self.map.slots(write.unit.fid.group).expect("an erasure-coded group");
        assert_eq!(slots.slots[write.unit.slot()], Some(write.device), "the unit goes to the device of its slot");
        assert_eq!(write.unit.length as usize, bytes.len());
        assert_eq!(first_bad_chunk(write.unit.fid, write.unit.unit, 0, bytes, &write.checksums), None);
        if self.closed.contains(&write.unit.fid.session) {
            return Err(Refusal::Fenced(write.unit.fid.session));
        }
        let announced =
            self.rows.keys().any(|row| row.key[0] == types::keys::kind::PENDING && row.key.ends_with(&write.unit.fid.to_bytes()));
        assert!(announced, "no unit is sent before its fid's pending row is STABLE");
        self.units.insert((write.device, write.unit.fid, write.unit.unit), (bytes.to_vec(), write.checksums));
        if let Some((freezing, left)) = &mut self.freeze_after_units
            && *freezing == node
        {
            if *left == 0 {
                self.health.insert(node, Health::Frozen);
            } else {
                *left -= 1;
            }
        }
        Ok(())
    }

    fn read_unit(&self, read: &ReadUnit, room: &mut [u8]) -> ReadUnitReply {
        let &ReadUnit { device, fid, unit, offset, length } = read;
        let (bytes, checksums) = self.units.get(&(device, fid, unit)).ok_or(Refusal::NoUnit { device, fid, unit })?;
        let (first, last) = (offset as usize, (offset + length) as usize);
        room.copy_from_slice(&bytes[first..last]);
        if self.damaged.contains(&device) {
            room[0] ^= 1;
        }
        Ok(checksums[first / CHUNK_BYTES..last.div_ceil(CHUNK_BYTES)].to_vec())
    }
}

#[async_trait]
impl Transport for Fake {
    fn pool(&self) -> &BufPool {
        &self.pool
    }

    async fn call(&self, peer: &Peer, request: Request, deadline: Instant) -> Result<Reply, NetError> {
        tokio::task::yield_now().await;
        let node = peer.node.expect("a client knows whom it calls");
        let Request { operation, head, mut lend } = request;
        let timed_out = NetError::TimedOut { peer: peer.address.clone(), operation };
        self.lock().calls += 1;
        let health = self.lock().health.get(&node).copied();
        match health {
            Some(Health::Down) => return Err(NetError::Unreachable { peer: peer.address.clone(), reason: "down".into() }),
            Some(Health::Frozen) => {
                tokio::time::sleep_until(deadline).await;
                return Err(timed_out);
            }
            Some(Health::Mute) | None => {}
        }
        let (head, pushed) = self.lock().serve(node, operation, &head, lend.as_mut());
        if health == Some(Health::Mute) {
            tokio::time::sleep_until(deadline).await;
            return Err(timed_out);
        }
        let lent = lend.map(|(Lend::Give(buf) | Lend::Room(buf))| buf);
        Ok(Reply { head: head.into(), lent, pushed })
    }

    fn post(&self, _: &Peer, _: Operation, _: Bytes) -> Result<(), NetError> {
        Err(NetError::Closed)
    }

    fn disconnect(&self, _: &Peer) {}
}

#[async_trait]
impl Control for Fake {
    async fn map(&self, _: Epoch) -> Result<ClusterMap, ControlError> {
        Ok(self.lock().map.clone())
    }

    async fn open_session(&self) -> Result<Ticket, ControlError> {
        let mut world = self.lock();
        world.sessions += 1;
        Ok(Ticket { session: SessionId(world.sessions), at: HaTime(1000) })
    }

    async fn renew_session(&self, session: SessionId) -> Result<Ticket, ControlError> {
        if self.lock().closed.contains(&session) {
            return Err(ControlError::NotFound(session.to_string()));
        }
        Ok(Ticket { session, at: HaTime(2000) })
    }

    async fn close_session(&self, session: SessionId) -> Result<(), ControlError> {
        self.lock().closed.insert(session);
        Ok(())
    }

    async fn create_catalogue(&self, kind: CatalogueKind, name: &str, _: Option<u32>) -> Result<bool, ControlError> {
        let mut world = self.lock();
        if world.map.catalogue_named(kind, name).is_some() {
            return Ok(false);
        }
        let id = CatalogueId(world.map.catalogues.len() as u64 + 1);
        let catalogue = types::map::Catalogue { id, name: name.into(), kind, pool: sample::META, first_group: 0, width: 4 };
        world.map.catalogues.insert(id, catalogue);
        world.map.index += 1;
        Ok(true)
    }

    async fn drop_catalogue(&self, id: CatalogueId) -> Result<(), ControlError> {
        let mut world = self.lock();
        world.map.index += 1;
        world.map.catalogues.remove(&id).map(drop).ok_or_else(|| ControlError::NotFound(id.to_string()))
    }

    async fn change_record(&self, change: &RecordChange) -> Result<RecordDone, ControlError> {
        match change {
            RecordChange::SealBucket { .. } => Ok(RecordDone::Sealed(1)),
            RecordChange::RemoveBucket { bucket, .. } => self.drop_catalogue(*bucket).await.map(|()| RecordDone::Done),
            _ => Ok(RecordDone::Done),
        }
    }
}
