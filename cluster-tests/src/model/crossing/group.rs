//! A group of the model of crossings: one replica that is its own majority, with its disk. A crash loses the tail of the log that is not
//! STABLE, or keeps some of it, as a change of primary does in a group of several.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Arc;

use dtm::{Config, Effect, Event, Identity, Instant, Lease, Peer, Placement, Replica};
use types::state::DeviceState;
use types::wire::dtm::{Envelope, Message};
use types::{Boot, DeviceId, Epoch, GroupId, HaTime, Incarnation, ViewNumber};

use crate::model::node::Came;
use crate::sim::disk::Durable;
use crate::sim::dtm::client::group_id;
use crate::sim::dtm::device::Device;

/// The epoch that created the groups.
const CREATED: Epoch = Epoch(1);
/// No lease ends.
const NEVER: Instant = Instant(u64::MAX / 2);
/// Most rounds of one turn: more is a machine that spins.
const ROUNDS_MAX: usize = 100;

/// A group.
#[derive(Clone, Debug)]
pub struct Group {
    number: u32,
    /// Its machine.
    pub replica: Replica,
    /// What a crash leaves of its disk.
    synced: Device,
    /// What it reads from its disk.
    pub current: Device,
    unsynced: Vec<Arc<Vec<Effect>>>,
    needs_sync: bool,
    /// Epoch, view and boot of its last start.
    start: u64,
    clock: Instant,
    hash: u64,
}

/// The device of a group.
pub fn device(number: u32) -> DeviceId {
    DeviceId(number + 1)
}

impl Group {
    /// A group that has just started with what is on its disk.
    pub fn start(number: u32, start: u64, disk: Device, config: &Arc<Config>, time: HaTime, came: &mut Came) -> Result<Self, String> {
        let (me, boot) = (device(number), Boot(start));
        let identity = Identity { group: group_id(number), device: me, boot, incarnation: Incarnation(1), registered: CREATED };
        let peer = Peer { state: DeviceState::Online, boot, incarnation: Incarnation(1), ..Peer::default() };
        let placement = Placement {
            epoch: Epoch(start),
            number: ViewNumber(start),
            primary: Some((me, boot)),
            members: vec![me],
            old: vec![me],
            learners: Vec::new(),
            peers: [(me, peer)].into(),
        };
        let replica = disk.restore(identity, Arc::clone(config), &placement, CREATED)?;
        let (clock, current) = (Instant(0), disk.clone());
        let mut group = Self { number, replica, synced: disk, current, unsynced: Vec::new(), needs_sync: false, start, clock, hash: 0 };
        group.turn(vec![Event::Placement(Box::new(placement)), group.lease(time)], came);
        while group.needs_sync {
            group.sync(came);
        }
        Ok(group)
    }

    /// It dies, so many of its batches that are not synced are kept, and its next start is the primary of a new view.
    pub fn crash(&self, kept: usize, config: &Arc<Config>, time: HaTime, came: &mut Came) -> Result<Self, String> {
        let mut disk = self.synced.clone();
        self.unsynced.iter().take(kept).for_each(|batch| disk.write(batch));
        Self::start(self.number, self.start + 1, disk, config, time, came)
    }

    /// Batches that a crash may keep or lose.
    pub fn unsynced(&self) -> usize {
        self.unsynced.len()
    }

    /// Whether anything waits for a sync.
    pub fn wants_sync(&self) -> bool {
        self.needs_sync
    }

    /// A lease that does not end, at a time of HA.
    pub fn lease(&self, time: HaTime) -> Event {
        Event::Lease(Lease { until: NEVER, epoch: Epoch(self.start), ha_time: time })
    }

    /// Its view.
    pub fn view(&self) -> ViewNumber {
        ViewNumber(self.start)
    }

    /// Its next deadline is over, if it has one.
    pub fn tick(&mut self, came: &mut Came) {
        if let Some((at, _)) = self.replica.next_deadline().filter(|(at, _)| *at < NEVER) {
            self.clock = self.clock.max(at);
            self.turn(vec![Event::Tick], came);
        }
    }

    /// Whether it serves reads, and of how much.
    pub fn serves(&self) -> bool {
        self.replica.read(self.view(), self.clock).is_ok()
    }

    /// One turn of the driver's loop, and as many more as follow from it at once. The sync is another step.
    pub fn turn(&mut self, mut events: Vec<Event>, came: &mut Came) {
        for _ in 0..ROUNDS_MAX {
            let mut effects = Vec::new();
            for event in events.drain(..).chain([Event::Flush]) {
                self.replica.handle(event, self.clock, &mut effects);
            }
            let (changes, rest): (Vec<_>, Vec<_>) = effects.into_iter().partition(|effect| effect.ticket().is_some());
            if let Some(ticket) = changes.iter().filter_map(Effect::ticket).max() {
                self.commit(changes, came);
                events.push(Event::Committed(ticket));
            }
            for effect in rest {
                self.carry_out(effect, &mut events, came);
            }
            if events.is_empty() {
                break;
            }
        }
        self.rehash();
    }

    fn commit(&mut self, changes: Vec<Effect>, came: &mut Came) {
        for change in &changes {
            if let Effect::Apply { records, .. } = change {
                came.applied.extend(records.iter().cloned());
            }
        }
        self.needs_sync |= changes.iter().any(Effect::needs_sync);
        let batch = Arc::new(changes);
        self.current.write(&batch);
        self.unsynced.push(batch);
    }

    fn carry_out(&mut self, effect: Effect, events: &mut Vec<Event>, came: &mut Came) {
        match effect {
            Effect::Send { envelope, .. } => came.sent.push(envelope),
            Effect::SendPart { group: GroupId { index, .. }, part } => came.sent.push(Envelope {
                group: group_id(index),
                from: device(self.number),
                to: device(index),
                boot: Boot(0),
                incarnation: Incarnation(1),
                message: Message::Part { view: ViewNumber(0), part },
            }),
            Effect::Complete { client, reply, .. } => came.answered.push((client.0, reply)),
            Effect::ReadLog { reader, from, upto, bytes_max } => {
                events.push(Event::LogRead { reader, from, records: self.current.read_log(from, upto, bytes_max) });
            }
            _ => {}
        }
    }

    /// Everything written is synced.
    pub fn sync(&mut self, came: &mut Came) {
        let ticket = self.unsynced.iter().flat_map(|batch| batch.iter()).filter_map(Effect::ticket).max();
        self.synced = self.current.clone();
        self.unsynced.clear();
        self.needs_sync = false;
        if let Some(ticket) = ticket {
            self.turn(vec![Event::Persisted(ticket)], came);
        }
        if self.unsynced.is_empty() {
            // Tickets count from the last that is synced: their numbers do not make states different.
            let by = self.replica.synced_ticket();
            self.replica.rebase_tickets(by);
        }
        self.rehash();
    }

    fn rehash(&mut self) {
        let mut hasher = DefaultHasher::new();
        (&self.replica, &self.synced, &self.current, &self.unsynced, self.start, self.clock).hash(&mut hasher);
        self.hash = hasher.finish();
    }

    /// A hash of everything in it.
    pub fn hash(&self) -> u64 {
        self.hash
    }
}
