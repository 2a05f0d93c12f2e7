//! One replica of the model with its disk and what its driver holds back.

use std::collections::BTreeMap;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Arc;

use dtm::{Config, Effect, Event, Identity, Instant, Lease, Placement, Replica, Report, Ticket};
use types::record::Record;
use types::wire::dtm::Envelope;
use types::wire::request::ExecuteReply;
use types::{DeviceId, Epoch, GroupId, HaTime};

use super::authority::{CREATED, Member, device};
use crate::sim::disk::Durable;
use crate::sim::dtm::device::Device;

/// A lease of the model lasts so long; a replica's clock moves only to end one.
pub const LEASE_MS: u64 = 1000;
/// Most rounds of one driver's turn: more is a machine that spins.
const ROUNDS_MAX: usize = 100;

/// A replica.
#[derive(Clone, Debug)]
pub struct Node {
    /// Its machine; of an absent one, one that is never called.
    pub replica: Replica,
    /// It holds nothing of the group, and its driver has no machine for it.
    pub absent: bool,
    /// What a crash leaves of its disk.
    pub synced: Device,
    /// What it reads from its disk.
    pub current: Device,
    /// Batches written and not synced.
    pub unsynced: Vec<Arc<Vec<Effect>>>,
    /// Messages that wait for a sync.
    pub held: Vec<(Ticket, Envelope)>,
    /// Up to where it has heard HA.
    pub heard: usize,
    /// Its clock.
    pub clock: Instant,
    /// Snapshots for copies that go out.
    pub snapshots: BTreeMap<DeviceId, Arc<Device>>,
    torn_copies: bool,
    needs_sync: bool,
    hash: u64,
}

/// What came of one step of a replica.
#[derive(Debug, Default)]
pub struct Came {
    /// Messages that are on their way.
    pub sent: Vec<Envelope>,
    /// Records that were applied.
    pub applied: Vec<Arc<Record>>,
    /// Answers to clients, by the call's number.
    pub answered: Vec<(u64, ExecuteReply)>,
    /// Reports.
    pub reports: Vec<Report>,
}

fn identity(number: usize, member: &Member) -> Identity {
    let Member { boot, incarnation, registered, .. } = *member;
    Identity { group: GroupId::default(), device: device(number), boot, incarnation, registered }
}

impl Node {
    /// A replica that has just started from what is on its disk, and has heard nothing of HA yet. An error where the machine refuses that.
    pub fn start(
        number: usize,
        member: &Member,
        disk: Device,
        config: &Arc<Config>,
        placement: &Arc<Placement>,
        heard: usize,
        clock: Instant,
    ) -> Result<Self, String> {
        let me = identity(number, member);
        let replica = if disk.state.is_none() && member.registered <= CREATED {
            // Formatted before the group was created; also a learner that is filled to begin with, for nothing was written yet.
            Replica::first_member(me, Arc::clone(config), types::ViewNumber(CREATED.0))
        } else {
            disk.restore(me, Arc::clone(config), placement, CREATED)?
        };
        let mut node = Self {
            replica,
            absent: false,
            synced: disk.clone(),
            current: disk,
            unsynced: Vec::new(),
            held: Vec::new(),
            heard,
            clock,
            snapshots: BTreeMap::new(),
            torn_copies: false,
            needs_sync: false,
            hash: 0,
        };
        node.rehash();
        Ok(node)
    }

    /// Forgets the group: nothing of it is left, on the device either.
    pub fn forget(&mut self, number: usize, member: &Member, config: &Arc<Config>, placement: &Arc<Placement>) -> Result<(), String> {
        *self = Self { absent: true, ..Self::start(number, member, Device::default(), config, placement, self.heard, self.clock)? };
        self.rehash();
        Ok(())
    }

    /// Its driver makes a machine for the group, of which the device holds nothing: the placement names it.
    pub fn join(&mut self, number: usize, member: &Member, config: &Arc<Config>, placement: &Arc<Placement>) {
        let me = identity(number, member);
        self.replica = Replica::new(me, Arc::clone(config), placement, CREATED);
        self.absent = false;
    }

    /// Whether its driver reads copies from the rows as they are: a bug.
    pub fn with_torn_copies(mut self, torn: bool) -> Self {
        self.torn_copies = torn;
        self
    }

    /// A lease as of an epoch.
    pub fn lease(&self, epoch: Epoch) -> Event {
        Event::Lease(Lease { until: self.clock.after_ms(LEASE_MS), epoch, ha_time: HaTime(0) })
    }

    /// One turn of the driver's loop, and as many more as follow from it at once. The sync is another step.
    pub fn turn(&mut self, events: Vec<Event>, came: &mut Came) {
        let mut events = events;
        if self.absent {
            return self.rehash();
        }
        for _ in 0..ROUNDS_MAX {
            let mut effects = Vec::new();
            for event in events.drain(..) {
                self.replica.handle(event, self.clock, &mut effects);
            }
            self.replica.handle(Event::Flush, self.clock, &mut effects);
            if self.replica.next_deadline().is_some_and(|(at, _)| at <= self.clock) {
                events.push(Event::Tick);
            }
            self.carry_out(effects, &mut events, came);
            if events.is_empty() {
                break;
            }
        }
        self.rehash();
    }

    fn carry_out(&mut self, effects: Vec<Effect>, events: &mut Vec<Event>, came: &mut Came) {
        let (changes, rest): (Vec<_>, Vec<_>) = effects.into_iter().partition(|effect| effect.ticket().is_some());
        if let Some(ticket) = changes.iter().filter_map(Effect::ticket).max() {
            for change in &changes {
                if let Effect::Apply { records, .. } = change {
                    came.applied.extend(records.iter().cloned());
                }
            }
            self.needs_sync |= changes.iter().any(Effect::needs_sync);
            let batch = Arc::new(changes);
            self.current.write(&batch);
            self.unsynced.push(batch);
            events.push(Event::Committed(ticket));
        }
        for effect in rest {
            match effect {
                Effect::Send { envelope, after: Some(ticket) } => self.held.push((ticket, envelope)),
                Effect::Send { envelope, after: None } => came.sent.push(envelope),
                Effect::Complete { client, reply, .. } => came.answered.push((client.0, reply)),
                Effect::ReadLog { reader, from, upto, bytes_max } => {
                    events.push(Event::LogRead { reader, from, records: self.current.read_log(from, upto, bytes_max) });
                }
                Effect::OpenCopy { target } => {
                    events.push(Event::CopyOpened { target, applied: self.current.applied() });
                    self.snapshots.insert(target, Arc::new(self.current.clone()));
                }
                Effect::ReadCopy { target, number, after, rows_max, bytes_max } => {
                    let Some(snapshot) = self.snapshots.get(&target) else { continue };
                    let device = if self.torn_copies { &self.current } else { &**snapshot };
                    let (rows, end) = device.page(after.as_ref(), rows_max, bytes_max);
                    events.push(Event::CopyRead { target, number, rows, end });
                }
                Effect::CloseCopy { target } => drop(self.snapshots.remove(&target)),
                Effect::Report(report) => came.reports.push(report),
                _ => {}
            }
        }
    }

    /// Whether anything waits for a sync.
    pub fn wants_sync(&self) -> bool {
        self.needs_sync
    }

    /// Everything written is synced.
    pub fn sync(&mut self, came: &mut Came) {
        let ticket = self.unsynced.iter().flat_map(|batch| batch.iter()).filter_map(Effect::ticket).max();
        for batch in std::mem::take(&mut self.unsynced) {
            self.synced.write(&batch);
        }
        self.needs_sync = false;
        came.sent.extend(std::mem::take(&mut self.held).into_iter().map(|(_, envelope)| envelope));
        if let Some(ticket) = ticket {
            self.turn(vec![Event::Persisted(ticket)], came);
        }
        self.rebase();
        self.rehash();
    }

    /// Counts tickets from the last that is synced, so that their numbers do not make states different.
    fn rebase(&mut self) {
        let by = self.replica.synced_ticket();
        self.replica.rebase_tickets(by);
        for batch in &mut self.unsynced {
            for effect in Arc::make_mut(batch) {
                match effect {
                    Effect::Append { ticket, .. }
                    | Effect::Cut { ticket, .. }
                    | Effect::SaveState { ticket, .. }
                    | Effect::Apply { ticket, .. }
                    | Effect::Note { ticket, .. }
                    | Effect::Prune { ticket, .. }
                    | Effect::Wipe { ticket }
                    | Effect::Fill { ticket, .. } => ticket.0 -= by.0,
                    _ => {}
                }
            }
        }
        for (ticket, _) in &mut self.held {
            ticket.0 -= by.0;
        }
    }

    /// What a crash leaves that happens to keep the first `kept` batches.
    pub fn crashed(&self, kept: usize) -> Device {
        let mut disk = self.synced.clone();
        for batch in self.unsynced.iter().take(kept) {
            disk.write(batch);
        }
        disk
    }

    fn rehash(&mut self) {
        let mut hasher = DefaultHasher::new();
        (&self.replica, self.absent, &self.synced, &self.unsynced, &self.held, self.heard, self.clock, &self.snapshots).hash(&mut hasher);
        self.hash = hasher.finish();
    }

    /// A hash of everything in it.
    pub fn hash(&self) -> u64 {
        self.hash
    }

    /// Marks that something outside of a turn has changed.
    pub fn touched(&mut self) {
        self.rehash();
    }
}
