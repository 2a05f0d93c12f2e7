//! A simulated storage process: the driver's loop around one machine, with a disk, a clock of its own rate, and a life that may end.
//!
//! It keeps the contract that the product's driver keeps: a turn hands in everything that is ready, commits the changes as one batch, sends
//! what need not wait, and sends and answers the rest once its batch is committed or synced.

use std::collections::BTreeMap;
use std::sync::Arc;

use dtm::{ClientId, Config, Effect, Event, Identity, Instant, Lease, Placement, Replica, Report};
use types::ops::Op;
use types::record::{Record, RowKey, Write};
use types::wire::dtm::{Envelope, Part};
use types::wire::request::{ExecuteReply, Refusal};
use types::{Boot, DeviceId, DtxId, Epoch, GroupId, HaTime, Incarnation, Seq, ViewNumber};

use super::device::Device;
use super::packet::{Caller, Packet};
use super::settings::{DRIFT_PPM, LEASE};
use crate::sim::disk::{Disk, Ticket};
use crate::sim::heap::Micros;
use crate::sim::life::Life;
use crate::sim::network::NodeNumber;

/// The epoch that created the group and its devices.
pub const CREATED: Epoch = Epoch(1);
/// The first format of every device.
const FIRST_FORMAT: Format = Format { incarnation: Incarnation(1), registered: CREATED };

/// What the superblock of a device says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Format {
    /// Which format it is.
    pub incarnation: Incarnation,
    /// The epoch in which it was registered.
    pub registered: Epoch,
}

/// What waits for a process's next turn.
#[derive(Clone, Debug)]
enum Input {
    Event(Event),
    Execute { caller: (NodeNumber, u64), view: ViewNumber, dtx: DtxId, ops: Vec<Op>, parts: Vec<(GroupId, Vec<Write>)> },
    Read { caller: (NodeNumber, u64), view: ViewNumber, row: RowKey },
    Point { caller: (NodeNumber, u64), view: ViewNumber },
    ReadNear { caller: (NodeNumber, u64), point: Seq, row: RowKey },
}

/// What a process wants of the world.
#[derive(Debug, Default)]
pub struct Outbox {
    /// Messages, in order.
    pub packets: Vec<(NodeNumber, Packet)>,
    /// Syncs that have begun.
    pub syncs: Vec<Ticket>,
    /// Whether it wants a turn.
    pub turn: bool,
    /// When its machine wants to be called, in true time.
    pub deadline: Option<Micros>,
    /// What happened, for the oracle.
    pub seen: Vec<Seen>,
    /// What is for other groups.
    pub crossing: Vec<Crossing>,
}

/// What goes from group to group.
#[derive(Clone, Debug)]
pub enum Crossing {
    /// A part, for the primary of a group.
    Part {
        /// From which device of the sender's group.
        from: DeviceId,
        /// For which group.
        group: GroupId,
        /// The part.
        part: Part,
    },
    /// A message for one replica of another group.
    Answer(Envelope),
}

/// What the oracle has to know.
#[derive(Debug)]
pub enum Seen {
    /// Records were applied.
    Applied(Vec<Arc<Record>>),
    /// The log was cut, or may have fewer durable records than before.
    Cut(Seq),
    /// A process begins with its rows as of here, or they were all taken away.
    Restored(Seq),
    /// A full copy is complete: its rows are as of here.
    Filled(Seq),
    /// A copy begins to go out.
    CopyBegun,
    /// An answer to a client was let go.
    Answered(DtxId, ExecuteReply),
    /// The machine reports something.
    Reported(Report),
    /// Something is broken.
    Broken(String),
}

/// A process.
#[derive(Clone, Debug)]
pub struct Process {
    /// Its group.
    pub group: GroupId,
    /// Its number in the network; its device's number is one more.
    pub number: NodeNumber,
    /// Whether it lives, and what waits while it stands still.
    pub life: Life<super::packet::Happening>,
    /// Its disk.
    pub disk: Disk<Device>,
    /// Its machine, once it is registered.
    pub replica: Option<Replica>,
    /// The placement that it knows.
    pub placement: Option<Placement>,
    boot: Option<Boot>,
    /// None: the device is empty, and is formatted when its process registers.
    format: Option<Format>,
    drift_ppm: i64,
    pipelined: bool,
    config: Arc<Config>,
    inbox: Vec<Input>,
    /// What the last turn owes: it comes before everything else.
    owed: Vec<Event>,
    turn_wanted: bool,
    syncs: Vec<(Ticket, dtm::Ticket)>,
    committed: dtm::Ticket,
    synced: dtm::Ticket,
    sends: Vec<(dtm::Ticket, Envelope)>,
    answers: Vec<(dtm::Ticket, ClientId, ExecuteReply, Option<Instant>)>,
    calls: BTreeMap<ClientId, (Caller, DtxId)>,
    next_call: u64,
    lease_sent: Micros,
    /// Snapshots for copies that go out.
    snapshots: BTreeMap<DeviceId, Device>,
}

impl Process {
    /// A process that has not started, with an empty device.
    pub fn new(group: GroupId, number: NodeNumber, drift_ppm: i64, pipelined: bool, config: Arc<Config>) -> Self {
        Self {
            group,
            number,
            life: Life::default(),
            disk: Disk::new(Device::default()),
            replica: None,
            placement: None,
            boot: None,
            format: Some(FIRST_FORMAT),
            drift_ppm,
            pipelined,
            config,
            inbox: Vec::new(),
            owed: Vec::new(),
            turn_wanted: false,
            syncs: Vec::new(),
            committed: dtm::Ticket(0),
            synced: dtm::Ticket(0),
            sends: Vec::new(),
            answers: Vec::new(),
            calls: BTreeMap::new(),
            next_call: 0,
            lease_sent: 0,
            snapshots: BTreeMap::new(),
        }
    }

    /// Its device.
    pub fn device(&self) -> DeviceId {
        DeviceId(self.number + 1)
    }

    /// Its boot, once registered.
    pub fn boot(&self) -> Option<Boot> {
        self.boot
    }

    /// Dies: everything but the disk is gone, and of the disk what was not synced, but for some.
    pub fn kill(&mut self, kept_per_mille: u64) {
        let kept = self.disk.unsynced() as u64 * kept_per_mille / 1000;
        self.disk.crash(kept as usize);
        let mut dead = Self::new(self.group, self.number, self.drift_ppm, self.pipelined, Arc::clone(&self.config));
        dead.life.start = self.life.start;
        dead.format = self.format;
        std::mem::swap(&mut dead.disk, &mut self.disk);
        *self = dead;
    }

    /// Its device, while it is dead, is replaced by an empty one.
    pub fn wipe(&mut self) {
        self.disk = Disk::new(Device::default());
        self.format = None;
    }

    /// Whether its device holds less than its group: it was formatted anew and is not filled yet.
    pub fn is_blank(&self) -> bool {
        let state = self.disk.current().state.as_ref();
        self.format.is_none_or(|format| format.registered > CREATED && state.is_none_or(|state| state.normal.is_none()))
    }

    /// Whether its replica was wiped for a full copy and does not count again yet.
    pub fn is_refilled(&self) -> bool {
        self.disk.current().state.as_ref().is_some_and(|state| state.normal.is_none())
    }

    /// Its own monotonic clock, in microseconds.
    pub fn clock(&self, now: Micros) -> Micros {
        let origin = (u64::from(self.number) + 1) * 10_000_000;
        origin + now.saturating_add_signed(now as i64 * self.drift_ppm / 1_000_000)
    }

    fn instant(&self, now: Micros) -> Instant {
        Instant(self.clock(now) / 1000)
    }

    /// True time at which its clock shows an instant, or a little later.
    fn true_time(&self, instant: Instant) -> Micros {
        let local = (instant.0.saturating_mul(1000)).saturating_sub(self.clock(0));
        (u128::from(local) * 1_000_000 / (1_000_000 + i128::from(self.drift_ppm)) as u128) as Micros + 2
    }

    /// Whether it would serve a read now, and what its rows show. A read comes after what has come before it: of a view that has come and is not
    /// taken in yet, the machine knows by then.
    pub fn serves(&self, now: Micros) -> Option<Seq> {
        let is_told = self.inbox.iter().any(|input| matches!(input, Input::Event(Event::Placement(_))));
        let replica = self.replica.as_ref().filter(|_| !self.life.is_down() && !is_told)?;
        replica.read(replica.promised(), self.instant(now)).ok().map(|_| self.disk.current().applied())
    }

    /// What it says to the authority from time to time.
    pub fn renewal(&self, now: Micros) -> Vec<Packet> {
        let Some(boot) = self.boot else { return vec![Packet::Register { start: self.life.start, blank: self.format.is_none() }] };
        let epoch = self.placement.as_ref().map_or(Epoch(0), |p| p.epoch);
        let mut packets = vec![Packet::Renew { boot, sent: self.clock(now), epoch }];
        let Some(replica) = &self.replica else { return packets };
        if replica.is_active() {
            packets.push(Packet::Active { view: replica.promised() });
        }
        let announced = self.placement.as_ref().and_then(|p| p.peers.get(&self.device())).and_then(|peer| peer.recovering);
        if announced.is_some() && replica.ended() == announced {
            packets.extend(announced.map(|epoch| Packet::Recovered { epoch, boot }));
        }
        packets
    }

    /// A message has arrived.
    pub fn receive(&mut self, from: NodeNumber, packet: Packet, now: Micros, out: &mut Outbox) {
        match packet {
            Packet::Replica(envelope) => self.push(Input::Event(Event::Message(envelope)), out),
            Packet::Execute { call, view, dtx, ops, parts } => {
                self.push(Input::Execute { caller: (from, call), view, dtx, ops, parts }, out)
            }
            Packet::Read { call, view, row } => self.push(Input::Read { caller: (from, call), view, row }, out),
            Packet::ReadPoint { call, view } => self.push(Input::Point { caller: (from, call), view }, out),
            Packet::ReadNear { call, point, row } => self.push(Input::ReadNear { caller: (from, call), point, row }, out),
            // Its machine has the first boot that it got. Where a late message made the authority give another, its lease is refused.
            Packet::Registered { start, boot, incarnation, registered } if start == self.life.start && self.boot.is_none() => {
                (self.boot, self.format) = (Some(boot), Some(Format { incarnation, registered }));
            }
            Packet::Placement(placement) => self.take_placement(*placement, now, out),
            Packet::Lease { boot, sent, epoch, ha_time } if self.boot == Some(boot) => self.take_lease(sent, epoch, ha_time, out),
            _ => {}
        }
    }

    fn take_placement(&mut self, placement: Placement, now: Micros, out: &mut Outbox) {
        if self.placement.as_ref().is_some_and(|known| known.epoch >= placement.epoch) {
            return;
        }
        let Some(boot) = self.boot else { return };
        if placement.peers.get(&self.device()).is_none_or(|me| me.boot != boot) {
            return;
        }
        if self.replica.is_none() {
            let (group, device) = (self.group, self.device());
            let Some(Format { incarnation, registered }) = self.format else { return };
            let me = Identity { group, device, boot, incarnation, registered };
            match self.disk.current().restore(me, Arc::clone(&self.config), &placement, CREATED) {
                Ok(replica) => self.replica = Some(replica),
                Err(error) => return out.seen.push(Seen::Broken(format!("{device} does not come back: {error}"))),
            }
            out.seen.push(Seen::Restored(self.disk.current().applied()));
        }
        self.placement = Some(placement.clone());
        self.push(Input::Event(Event::Placement(Box::new(placement))), out);
        out.packets.extend(self.renewal(now).into_iter().map(|packet| (self.authority(), packet)));
    }

    fn take_lease(&mut self, sent: Micros, epoch: Epoch, ha_time: HaTime, out: &mut Outbox) {
        if sent < self.lease_sent {
            return;
        }
        self.lease_sent = sent;
        let length = LEASE * (1_000_000 - DRIFT_PPM) / (1_000_000 + DRIFT_PPM);
        let lease = Lease { until: Instant((sent + length) / 1000), epoch, ha_time };
        self.push(Input::Event(Event::Lease(lease)), out);
    }

    /// The authority's number: it comes after the processes; a placement says how many those are.
    fn authority(&self) -> NodeNumber {
        self.placement.as_ref().map_or(0, |p| p.members.len() as NodeNumber)
    }

    /// Its machine's deadline is over.
    pub fn tick(&mut self, out: &mut Outbox) {
        self.push(Input::Event(Event::Tick), out);
    }

    fn push(&mut self, input: Input, out: &mut Outbox) {
        self.inbox.push(input);
        self.want_turn(out);
    }

    fn want_turn(&mut self, out: &mut Outbox) {
        let blocked = !self.pipelined && !self.syncs.is_empty();
        let idle = self.inbox.is_empty() && self.owed.is_empty();
        if !idle && !self.turn_wanted && !blocked && self.replica.is_some() {
            self.turn_wanted = true;
            out.turn = true;
        }
    }

    /// One turn of the loop.
    pub fn turn(&mut self, now: Micros, out: &mut Outbox) {
        self.turn_wanted = false;
        let at = self.instant(now);
        let Some(mut replica) = self.replica.take() else { return };
        let mut effects = Vec::new();
        for event in std::mem::take(&mut self.owed) {
            replica.handle(event, at, &mut effects);
        }
        for input in std::mem::take(&mut self.inbox) {
            match input {
                Input::Event(event) => replica.handle(event, at, &mut effects),
                Input::Execute { caller, view, dtx, ops, parts } => {
                    let event = self.execute(caller, view, dtx, ops, parts);
                    replica.handle(event, at, &mut effects);
                }
                Input::Read { caller: (to, call), view, row } => {
                    let reply = replica.read(view, at).map(|_| self.disk.current().rows.get(&row).cloned());
                    out.packets.push((to, Packet::ReadDone { call, reply }));
                }
                Input::Point { caller: (to, call), view } => {
                    let reply = replica.read(view, at).map(|permit| permit.stable);
                    out.packets.push((to, Packet::Point { call, reply }));
                }
                Input::ReadNear { caller: (to, call), point, row } => {
                    let reply = replica.read_nearest(point, at).map(|_| self.disk.current().rows.get(&row).cloned());
                    out.packets.push((to, Packet::ReadDone { call, reply }));
                }
            }
        }
        replica.handle(Event::Flush, at, &mut effects);
        out.deadline = replica.next_deadline().map(|(deadline, _)| self.true_time(deadline).max(now + 1));
        self.replica = Some(replica);
        self.carry_out(effects, now, out);
        self.want_turn(out);
    }

    fn execute(
        &mut self,
        (from, call): (NodeNumber, u64),
        view: ViewNumber,
        dtx: DtxId,
        ops: Vec<Op>,
        parts: Vec<(GroupId, Vec<Write>)>,
    ) -> Event {
        self.next_call += 1;
        let client = ClientId(self.next_call);
        self.calls.insert(client, (Caller { client, from, call }, dtx));
        let device = self.disk.current();
        let rows = ops.iter().flat_map(Op::rows).filter_map(|key| device.rows.get(&key).map(|row| (key.clone(), row.clone()))).collect();
        Event::Execute(dtm::Execute { client, view, dtx, ops, parts, rows })
    }

    fn carry_out(&mut self, effects: Vec<Effect>, now: Micros, out: &mut Outbox) {
        let (changes, rest): (Vec<_>, Vec<_>) = effects.into_iter().partition(|effect| effect.ticket().is_some());
        self.commit(changes, out);
        for effect in rest {
            match effect {
                Effect::Send { envelope, after: Some(after) } if after > self.synced => self.sends.push((after, envelope)),
                Effect::Send { envelope, .. } if envelope.group != self.group => out.crossing.push(Crossing::Answer(envelope)),
                Effect::Send { envelope, .. } => out.packets.push((envelope.to.0 - 1, Packet::Replica(envelope))),
                Effect::SendPart { group, part } => out.crossing.push(Crossing::Part { from: self.device(), group, part }),
                Effect::Complete { client, reply, after, before } => self.answers.push((after.unwrap_or_default(), client, reply, before)),
                Effect::ReadLog { reader, from, upto, bytes_max } => {
                    let records = self.disk.current().read_log(from, upto, bytes_max);
                    self.owed.push(Event::LogRead { reader, from, records });
                }
                Effect::OpenCopy { target } => {
                    let snapshot = self.disk.current().clone();
                    self.owed.push(Event::CopyOpened { target, applied: snapshot.applied() });
                    self.snapshots.insert(target, snapshot);
                    out.seen.push(Seen::CopyBegun);
                }
                Effect::ReadCopy { target, number, after, rows_max, bytes_max } => {
                    let Some(snapshot) = self.snapshots.get(&target) else {
                        out.seen.push(Seen::Broken(format!("a copy to {target} is read that was not opened")));
                        continue;
                    };
                    let (rows, end) = snapshot.page(after.as_ref(), rows_max, bytes_max);
                    self.owed.push(Event::CopyRead { target, number, rows, end });
                }
                Effect::CloseCopy { target } => drop(self.snapshots.remove(&target)),
                Effect::Report(report) => self.report(report, out),
                _ => {}
            }
        }
        self.answer(now, out);
    }

    fn commit(&mut self, changes: Vec<Effect>, out: &mut Outbox) {
        let Some(ticket) = changes.iter().filter_map(Effect::ticket).max() else { return };
        let mut copying = self.disk.current().state.as_ref().is_some_and(|state| state.copying);
        for change in &changes {
            match change {
                Effect::Apply { records, .. } => out.seen.push(Seen::Applied(records.clone())),
                Effect::Cut { after, .. } => out.seen.push(Seen::Cut(*after)),
                Effect::Wipe { .. } => {
                    copying = true;
                    out.seen.push(Seen::Restored(Seq(0)));
                }
                Effect::SaveState { state, .. } => {
                    if copying && !state.copying {
                        out.seen.push(Seen::Filled(state.applied));
                    }
                    copying = state.copying;
                }
                _ => {}
            }
        }
        let sync = changes.iter().any(Effect::needs_sync);
        self.disk.write(Arc::new(changes));
        self.committed = ticket;
        if sync {
            let disk_ticket = self.disk.begin_sync();
            self.syncs.push((disk_ticket, ticket));
            out.syncs.push(disk_ticket);
        }
        if !sync || self.pipelined {
            self.owed.push(Event::Committed(ticket));
        }
    }

    /// A sync has ended.
    pub fn synced(&mut self, ticket: Ticket, now: Micros, out: &mut Outbox) {
        if !self.disk.end_sync(ticket) {
            return;
        }
        self.syncs.retain(|(disk_ticket, upto)| {
            if *disk_ticket <= ticket {
                self.synced = self.synced.max(*upto);
            }
            *disk_ticket > ticket
        });
        let (ready, waiting): (Vec<_>, Vec<_>) = std::mem::take(&mut self.sends).into_iter().partition(|(after, _)| *after <= self.synced);
        self.sends = waiting;
        out.packets.extend(ready.into_iter().map(|(_, envelope)| (envelope.to.0 - 1, Packet::Replica(envelope))));
        self.answer(now, out);
        self.owed.push(Event::Persisted(self.synced));
        self.want_turn(out);
    }

    fn answer(&mut self, now: Micros, out: &mut Outbox) {
        // A process that waits for a sync does not see its commit before the sync's end.
        let committed = if self.pipelined || self.syncs.is_empty() { self.committed } else { self.synced };
        let (ready, waiting): (Vec<_>, Vec<_>) = std::mem::take(&mut self.answers).into_iter().partition(|(after, ..)| *after <= committed);
        self.answers = waiting;
        for (_, client, reply, before) in ready {
            let Some((caller, dtx)) = self.calls.remove(&client) else { continue };
            let over = before.is_some_and(|end| self.instant(now) >= end);
            let reply = if over { Err(Refusal::Busy("the process has no lease".into())) } else { reply };
            out.seen.push(Seen::Answered(dtx, reply.clone()));
            out.packets.push((caller.from, Packet::Executed { call: caller.call, reply }));
        }
    }

    fn report(&self, report: Report, out: &mut Outbox) {
        let authority = self.authority();
        match &report {
            Report::Active { view } => out.packets.push((authority, Packet::Active { view: *view })),
            Report::NeedsCopy { device, incarnation } => {
                out.packets.push((authority, Packet::NeedsCopy { device: *device, incarnation: *incarnation }));
            }
            Report::Recovered { epoch, boot } => out.packets.push((authority, Packet::Recovered { epoch: *epoch, boot: *boot })),
            _ => {}
        }
        out.seen.push(Seen::Reported(report));
    }
}
