//! One driver for each device: a thread that runs the machines of all replicas on it and does their I/O.
//!
//! A turn of its loop: take what is ready, hand it all to the machines, send what need not wait, change the device in one batch with at
//! most one sync, tell the machines, send and answer the rest. Reads of clients never come here. An error of a metadata write is the end of
//! the device in this incarnation: everybody who waits is told, nothing is acknowledged any more, the thread ends.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;
use std::time::Instant;

use ::dtm::{ClientId, Effect, Event, Replica};
use types::wire::dtm::Envelope;
use types::wire::request::{Execute, ExecuteReply, Refusal};
use types::{Boot, DeviceId, GroupId, Incarnation, NodeId};

pub mod inbox;
pub mod store;

mod clock;
mod copy;
mod hosted;
mod intake;
mod restore;
mod turn;

use crate::fences::Fences;
use crate::lease::Lease;
use crate::peers::Peers;
use crate::permits::Permits;
use crate::report::{DeviceEnd, HowEnded, Reports};
use crate::rooms::Rooms;
use crate::view::{ClusterView, Views};
pub use clock::{Clock, Hand};
use hosted::Hosted;
use inbox::Inbox;
pub use restore::replicas;
use store::Store;

/// Calls that may wait for their answers at one driver.
const CALLS_MAX: usize = 16 * 1024;

/// What waits for a driver.
pub type DriverInbox = Inbox<ClientRequest, Envelope>;

/// A transaction, and who waits for its outcome.
pub struct ClientRequest {
    /// The transaction.
    pub execute: Execute,
    /// Who waits.
    pub caller: Box<dyn Caller>,
}

/// Somebody who waits for the outcome of a transaction. Dropped without an answer, it finds out by its own deadline.
pub trait Caller: Send {
    /// Gives the answer; called on the driver's thread, must not block.
    fn answer(self: Box<Self>, reply: ExecuteReply);
    /// Whether nobody waits any more: what was not begun is not begun then.
    fn is_over(&self) -> bool {
        false
    }
}

impl std::fmt::Debug for ClientRequest {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ClientRequest").field("execute", &self.execute).finish_non_exhaustive()
    }
}

/// Where a driver's messages go.
pub trait Post: Send + 'static {
    /// Sends each envelope to the process that has its device; never blocks, may lose.
    fn send(&self, envelopes: Vec<Envelope>);
}

impl Post for Arc<Peers> {
    fn send(&self, envelopes: Vec<Envelope>) {
        Peers::send(self, envelopes);
    }
}

/// Which device a driver works for, in which start of which process.
#[derive(Clone, Copy, Debug)]
pub struct Place {
    /// The node.
    pub node: NodeId,
    /// The start of its process.
    pub boot: Boot,
    /// The device.
    pub device: DeviceId,
    /// Its format.
    pub incarnation: Incarnation,
}

/// What a driver shares with the rest of the process.
#[derive(Clone)]
pub struct Surroundings {
    /// What is known of the cluster.
    pub views: Arc<Views>,
    /// How far each device has taken that in.
    pub fences: Arc<Fences>,
    /// Which groups may be read.
    pub permits: Arc<Permits>,
    /// The lease of the process.
    pub lease: Arc<Lease>,
    /// Which devices are full.
    pub rooms: Arc<Rooms>,
    /// What HA is to be told.
    pub reports: Reports,
}

/// The driver of one device.
pub struct Driver<S: Store, P: Post> {
    place: Place,
    store: S,
    post: P,
    around: Surroundings,
    inbox: Arc<DriverInbox>,
    clock: Clock,
    config: Arc<::dtm::Config>,
    replicas: BTreeMap<GroupId, Hosted>,
    /// Groups whose machine was handed something in this turn: nobody looks at the others.
    turned: BTreeSet<GroupId>,
    /// Groups with changes that are not synced yet.
    unsynced: BTreeSet<GroupId>,
    /// When machines want to be called.
    deadlines: BTreeSet<(::dtm::Instant, GroupId)>,
    snapshots: copy::Snapshots<S::Snapshot>,
    calls: HashMap<ClientId, Box<dyn Caller>>,
    next_call: u64,
    taken_in: Arc<ClusterView>,
    leases_seen: u64,
}

/// Why a driver ended by itself.
#[derive(Debug, thiserror::Error)]
pub enum DriverError<E: std::error::Error + 'static> {
    /// The device failed.
    #[error("device: {0}")]
    Store(#[from] E),
    /// What lies on the device cannot be.
    #[error("group {group}: {error}")]
    Replica {
        /// Of which group.
        group: GroupId,
        /// What is wrong.
        error: ::dtm::DtmError,
    },
}

impl<S: Store, P: Post> Driver<S, P> {
    /// A driver of these replicas.
    pub fn new(place: Place, store: S, post: P, around: Surroundings, inbox: Arc<DriverInbox>, replicas: Vec<(GroupId, Replica)>) -> Self {
        let replicas: BTreeMap<_, _> = replicas
            .into_iter()
            .map(|(group, replica)| (group, Hosted::new(replica, around.permits.shown_of(place.device, group))))
            .collect();
        Self {
            place,
            store,
            post,
            around,
            inbox,
            clock: Clock::start(),
            config: Arc::default(),
            turned: replicas.keys().copied().collect(),
            unsynced: BTreeSet::new(),
            deadlines: BTreeSet::new(),
            replicas,
            snapshots: BTreeMap::new(),
            calls: HashMap::new(),
            next_call: 0,
            taken_in: Arc::default(),
            leases_seen: 0,
        }
    }

    /// The same, by another clock than the process's own.
    pub fn with_clock(self, clock: Clock) -> Self {
        Self { clock, ..self }
    }

    /// The same, with another configuration of its machines.
    pub fn with_config(self, config: Arc<::dtm::Config>) -> Self {
        Self { config, ..self }
    }

    /// Runs until the inbox is stopped or the device fails. To be called on a thread of its own.
    pub fn run(mut self) {
        let ended = self.work();
        self.end(ended);
    }

    /// One turn with what is ready, without waiting: for who has no thread for a driver. Says when the next is due at the latest. After an
    /// error, or to stop, [`Self::end`] follows.
    pub fn step(&mut self) -> Result<Option<Instant>, DriverError<S::Error>> {
        // The deadline is over: nothing is waited for.
        let batch = self.inbox.drain(Some(Instant::now()));
        self.turn(batch.clients, batch.peers)?;
        Ok(self.deadlines.first().map(|(at, _)| self.clock.to_std(*at)))
    }

    /// The machines as they are.
    pub fn machines(&self) -> impl Iterator<Item = (GroupId, &Replica)> {
        self.replicas.iter().map(|(group, hosted)| (*group, &hosted.replica))
    }

    /// Tells everybody who waits that it has ended, and why.
    pub fn end(mut self, ended: Result<(), DriverError<S::Error>>) {
        let reason = match &ended {
            Ok(()) => "the process is stopping".to_owned(),
            Err(error) => error.to_string(),
        };
        let waiting = self.inbox.abandon();
        self.inbox.rests();
        self.around.permits.withdraw(self.place.device);
        self.around.fences.retire(self.place.device);
        // HA says from now on that it is over; nobody is refused for its sake.
        self.around.rooms.tell(self.place.device, false);
        for request in waiting {
            request.caller.answer(Err(Refusal::Busy(reason.clone())));
        }
        for (_, caller) in self.calls.drain() {
            caller.answer(Err(Refusal::InDoubt { reason: reason.clone(), epoch: self.taken_in.map.epoch }));
        }
        if ended.is_err() {
            // Units are written past the driver: they end, too.
            self.store.fail(&reason);
            self.around
                .reports
                .failed(self.place.device, DeviceEnd { incarnation: Some(self.place.incarnation), how: HowEnded::Broke, reason });
        }
    }

    fn work(&mut self) -> Result<(), DriverError<S::Error>> {
        self.end_turn();
        loop {
            let deadline = self.deadlines.first().map(|(at, _)| *at);
            let batch = self.inbox.drain(deadline.map(|at| self.clock.to_std(at)));
            if batch.stopped {
                return Ok(());
            }
            self.turn(batch.clients, batch.peers)?;
        }
    }

    fn now(&self) -> ::dtm::Instant {
        self.clock.now(self.clock.moment())
    }

    /// Hands one event to the replica of a group, if there is one here.
    fn hand(&mut self, group: GroupId, event: Event, effects: &mut Vec<(GroupId, Effect)>) {
        let now = self.now();
        if let Some(hosted) = self.replicas.get_mut(&group) {
            hosted.hand(group, event, now, effects, &mut self.turned);
        }
    }
}

#[cfg(test)]
mod tests;
