//! The machine: one replica of one group on one device. Takes events one at a time, in the order in which they happened, and says what to do.
//!
//! It guarantees the rules of DTM0 for whatever order, loss, delay or repetition of messages, and for a crash at any moment, if its driver
//! keeps the contract that the crate's page states. It has no clock, no I/O and no entropy; what it keeps in memory is bounded by
//! [`Config`]. What each role does is in the files named after it.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use types::record::Position;
use types::wire::dtm::{Envelope, Message};
use types::wire::request::Refusal;
use types::{Boot, DeviceId, Epoch, GroupId, Incarnation, Seq, ViewNumber};

use crate::config::Config;
use crate::copy::{CopyIn, CopyPiece};
use crate::crossing::Crossings;
use crate::effect::{Effect, Report, Ticket};
use crate::event::{Event, Instant, Lease};
use crate::log::Log;
use crate::placement::Placement;
use crate::primary::Gap;
use crate::results::Results;
use crate::role::{Heard, Role};
use crate::state::ReplicaState;

/// Who a replica is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Identity {
    /// The group.
    pub group: GroupId,
    /// The device.
    pub device: DeviceId,
    /// Boot of the process.
    pub boot: Boot,
    /// The device's format.
    pub incarnation: Incarnation,
    /// The epoch in which that format was registered: a blank device takes nothing of a view before it.
    pub registered: Epoch,
}

/// What becomes true of the device when a ticket is committed, or synced.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Mark {
    pub(crate) ticket: Ticket,
    pub(crate) last: Seq,
    pub(crate) applied: Seq,
    pub(crate) promised: ViewNumber,
    pub(crate) normal: Option<ViewNumber>,
}

/// One replica. `Clone`, `Eq` and `Hash` are for the model check.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Replica {
    pub(crate) me: Identity,
    pub(crate) config: Arc<Config>,

    pub(crate) promised: ViewNumber,
    pub(crate) normal: Option<ViewNumber>,
    pub(crate) stable: Seq,
    pub(crate) applied: Seq,
    pub(crate) log: Log,
    pub(crate) results: Results,
    pub(crate) crossings: Crossings,

    /// The ticket given out last, and the last that needs a sync.
    pub(crate) issued: Ticket,
    pub(crate) issued_sync: Ticket,
    pub(crate) committed: Ticket,
    pub(crate) synced: Ticket,
    /// Changes that are not synced, oldest first.
    pub(crate) marks: VecDeque<Mark>,
    /// What the device is known to hold after a crash.
    pub(crate) durable: Mark,
    /// What the rows on the device show.
    pub(crate) committed_applied: Seq,
    pub(crate) turn: Turn,
    /// The device holds a state of this replica, or will with the next change: a log without one would be nobody's.
    pub(crate) saved: bool,

    pub(crate) placement: Option<Placement>,
    pub(crate) epoch: Epoch,
    pub(crate) lease: Option<(Lease, Instant)>,
    pub(crate) role: Role,

    /// As a follower: the log agrees with the primary of the promised view up to here.
    pub(crate) matched: Seq,
    /// As a follower: the primary of the promised view has said that its log begins above this.
    pub(crate) told_floor: Seq,
    /// As a follower: whom the next `Persistent` goes to, and of which view.
    pub(crate) ack_to: Option<(DeviceId, ViewNumber)>,
    /// What every participant has, as far as we were told.
    pub(crate) all_persistent: Seq,
    pub(crate) reading_apply: bool,
    /// The copy that comes in.
    pub(crate) copy: Option<CopyIn>,
    /// What lies on the device is a piece of a copy that was interrupted.
    pub(crate) wipe_due: bool,
    /// The announcement whose `End` this replica has.
    pub(crate) ended: Option<Epoch>,
    /// What devices said they have, to notice amnesia.
    pub(crate) heard: BTreeMap<DeviceId, Heard>,
}

/// What has to be settled at the end of one event.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) struct Turn {
    open: bool,
    save: bool,
    save_sync: bool,
}

/// Why a replica wants to be called at a time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Why {
    /// To ask again what others hold.
    Collect,
    /// To fetch again.
    Fetch,
    /// To send records again.
    Resend,
    /// To tell a participant how far it may apply.
    Stable,
    /// To show that the primary is there.
    Heartbeat,
    /// To say `End` again.
    End,
    /// To send or ask for a piece of a copy again.
    Copy,
    /// To send parts of transactions over several groups again.
    Part,
}

impl Replica {
    /// Takes one event and appends what is to be done.
    pub fn handle(&mut self, event: Event, now: Instant, effects: &mut Vec<Effect>) {
        self.turn = Turn::default();
        if std::mem::take(&mut self.wipe_due) {
            self.wipe(Position::default(), effects);
        }
        match event {
            Event::Placement(placement) => self.on_placement(*placement, now, effects),
            Event::Epoch(epoch) => {
                self.epoch = self.epoch.max(epoch);
                self.release_held(now, effects);
            }
            Event::Lease(lease) => {
                self.lease = Some((lease, now));
                self.release_held(now, effects);
            }
            Event::Message(envelope) => self.on_message(envelope, now, effects),
            Event::Execute(execute) => self.on_execute(execute, now, effects),
            Event::Committed(upto) => self.on_committed(upto),
            Event::Persisted(upto) => self.on_persisted(upto, now, effects),
            Event::LogRead { reader, from, records } => self.on_log_read(reader, from, records, now, effects),
            Event::CopyOpened { target, applied } => self.on_copy_opened(target, applied, now, effects),
            Event::CopyRead { target, number, rows, end } => self.on_copy_read(target, number, rows, end, effects),
            Event::Flush => self.on_flush(now, effects),
            Event::Tick => self.on_tick(now, effects),
        }
        self.apply_ready(now, effects);
        self.say_parts(effects);
        self.finish_crossings(now, effects);
        self.settle(effects);
    }

    fn on_message(&mut self, envelope: Envelope, now: Instant, effects: &mut Vec<Effect>) {
        // Two groups may have their primaries on one device.
        let from_group = matches!(envelope.message, Message::Part { .. } | Message::PartStable { .. });
        if envelope.group != self.me.group || envelope.to != self.me.device || (envelope.from == self.me.device && !from_group) {
            return;
        }
        let from = From { device: envelope.from, boot: envelope.boot, incarnation: envelope.incarnation };
        match envelope.message {
            Message::Redo { view, base, prev, records, stable, all_persistent } => {
                let redo = crate::participant::Redo { view, base, prev, records, stable, all_persistent };
                self.on_redo(from, redo, effects);
            }
            Message::Persistent { view, normal, upto, .. } => self.on_persistent(from, view, normal, upto, now, effects),
            Message::Gap { view, normal, last, stable } => self.on_gap(from, Gap { view, normal, last, stable }, now, effects),
            Message::Peer { view } => self.on_peer(from, view, effects),
            Message::PeerState { view, normal, last, stable } => {
                self.on_peer_state(from, view, crate::role::Answer { normal, last, stable }, now, effects);
            }
            Message::Fetch { view, after } => self.on_fetch(from, view, after, effects),
            Message::Fetched { view, prev, records, last } => {
                let fetched = crate::view_change::Fetched { view, prev, records, last };
                self.on_fetched(from, fetched, now, effects);
            }
            Message::End { epoch, view, boot } => self.on_end(epoch, view, boot, effects),
            Message::Refused { view, reason } => self.on_refused(from, view, reason, effects),
            Message::CopyRequest { view } => self.on_copy_request(from, view, now, effects),
            Message::CopyPiece { view, at, number, rows, end } => {
                self.on_copy_piece(from, CopyPiece { view, at, number, rows, end }, now, effects);
            }
            Message::CopyTaken { view, at, number } => self.on_copy_taken(from, view, at, number, now, effects),
            Message::Part { part, .. } => self.on_part(from, part, now, effects),
            Message::PartStable { participant, seq, .. } => self.on_part_stable(participant, seq, effects),
        }
    }

    /// The number of the change that this event makes.
    pub(crate) fn ticket(&mut self, sync: bool) -> Ticket {
        if !self.turn.open {
            self.turn.open = true;
            self.issued = Ticket(self.issued.0 + 1);
        }
        if !std::mem::replace(&mut self.saved, true) {
            (self.turn.save, self.turn.save_sync) = (true, true);
            self.issued_sync = self.issued;
        }
        if sync {
            self.issued_sync = self.issued;
        }
        self.issued
    }

    /// Has the state written at the end of this event.
    pub(crate) fn save(&mut self, sync: bool) -> Ticket {
        self.turn.save = true;
        self.turn.save_sync |= sync;
        self.ticket(sync)
    }

    /// What a message that asserts something durable has to wait for.
    pub(crate) fn unsynced(&self) -> Option<Ticket> {
        (self.issued_sync > self.synced).then_some(self.issued_sync)
    }

    fn settle(&mut self, effects: &mut Vec<Effect>) {
        if self.turn.save {
            let ticket = self.ticket(false);
            effects.push(Effect::SaveState { ticket, state: self.state(), sync: self.turn.save_sync });
        }
        if self.turn.open {
            let mark =
                Mark { ticket: self.issued, last: self.log.last(), applied: self.applied, promised: self.promised, normal: self.normal };
            self.marks.push_back(mark);
        }
        self.turn = Turn::default();
    }

    /// What is to be kept of the replica beside its log, rows and results.
    pub fn state(&self) -> ReplicaState {
        ReplicaState {
            promised: self.promised,
            normal: self.normal,
            floor: self.log.floor(),
            last: self.log.last(),
            stable: self.stable,
            applied: self.applied,
            copying: self.copy.is_some(),
        }
    }

    pub(crate) fn send(&self, to: DeviceId, message: Message, after: Option<Ticket>, effects: &mut Vec<Effect>) {
        let Identity { group, device, boot, incarnation, .. } = self.me;
        effects.push(Effect::Send { envelope: Envelope { group, from: device, to, boot, incarnation, message }, after });
    }

    /// Says something to a replica of another group.
    pub(crate) fn send_to_group(&self, group: GroupId, to: DeviceId, message: Message, effects: &mut Vec<Effect>) {
        let Identity { device, boot, incarnation, .. } = self.me;
        effects.push(Effect::Send { envelope: Envelope { group, from: device, to, boot, incarnation, message }, after: None });
    }

    pub(crate) fn report(&self, report: Report, effects: &mut Vec<Effect>) {
        effects.push(Effect::Report(report));
    }

    /// What a client is told that asks the wrong replica, or of the wrong view.
    pub(crate) fn wrong_view(&self) -> Refusal {
        let current = self.placement.as_ref().map_or(self.promised, |p| p.number.max(self.promised));
        Refusal::WrongView { current, epoch: self.epoch.max(Epoch(current.0)) }
    }

    /// The refusal of what has a place in the log.
    pub(crate) fn in_doubt(&self, reason: &str) -> Refusal {
        Refusal::InDoubt { reason: reason.into(), epoch: self.epoch.max(Epoch(self.promised.0)) }
    }

    fn on_committed(&mut self, upto: Ticket) {
        self.committed = self.committed.max(upto);
        let committed = self.marks.partition_point(|mark| mark.ticket <= upto);
        let Some(latest) = committed.checked_sub(1).and_then(|at| self.marks.get(at)).copied() else { return };
        // A sync may be under way that ends with an older one of these. No sync is asked for the others: of them the last is enough.
        let awaited = self.issued_sync;
        self.marks.retain(|mark| mark.ticket <= awaited || mark.ticket >= latest.ticket);
        self.rows_show(latest.applied);
    }

    fn on_persisted(&mut self, upto: Ticket, now: Instant, effects: &mut Vec<Effect>) {
        self.on_committed(upto);
        self.synced = self.synced.max(upto);
        while let Some(mark) = self.marks.pop_front_if(|mark| mark.ticket <= upto) {
            self.durable = mark;
        }
        self.after_persist(now, effects);
        self.prune(effects);
        self.evict();
    }

    fn on_flush(&mut self, now: Instant, effects: &mut Vec<Effect>) {
        match &self.role {
            Role::Primary(_) => self.pump(now, effects),
            _ => self.acknowledge(effects),
        }
    }

    fn on_tick(&mut self, now: Instant, effects: &mut Vec<Effect>) {
        match &self.role {
            Role::Follower => self.copy_tick(now, effects),
            Role::Installing { .. } => {}
            Role::Collecting(_) | Role::Fetching(_) => self.view_change_tick(now, effects),
            Role::Primary(_) => self.primary_tick(now, effects),
        }
    }

    /// When to hand in a `Tick`, and what for.
    pub fn next_deadline(&self) -> Option<(Instant, Why)> {
        match &self.role {
            Role::Follower => self.copy.as_ref().map(|copy| (copy.again_at, Why::Copy)),
            Role::Installing { .. } => None,
            Role::Collecting(c) => Some((c.again_at, Why::Collect)),
            Role::Fetching(f) => Some((f.again_at, Why::Fetch)),
            Role::Primary(primary) => primary.next_deadline(),
        }
    }
}

/// Who says something.
#[derive(Clone, Copy, Debug)]
pub(crate) struct From {
    pub(crate) device: DeviceId,
    pub(crate) boot: Boot,
    pub(crate) incarnation: Incarnation,
}

/// What a replica tells of itself.
impl Replica {
    /// Who it is.
    pub fn identity(&self) -> Identity {
        self.me
    }

    /// The view that it has promised.
    pub fn promised(&self) -> ViewNumber {
        self.promised
    }

    /// The view that its log is in line with, at least; `None` is blank.
    pub fn normal(&self) -> Option<ViewNumber> {
        self.normal
    }

    /// First and last seq of its log; the first is one after the last where it is empty.
    pub fn log_range(&self) -> (Seq, Seq) {
        (self.log.first(), self.log.last())
    }

    /// Bytes of its log, about.
    pub fn log_bytes(&self) -> u64 {
        self.log.bytes()
    }

    /// Known to be STABLE up to here.
    pub fn stable(&self) -> Seq {
        self.stable
    }

    /// Handed out for applying up to here.
    pub fn applied(&self) -> Seq {
        self.applied
    }

    /// Whether a full copy of the group is coming in.
    pub fn is_copying(&self) -> bool {
        self.copy.is_some()
    }

    /// How many transactions over several groups it coordinates that are not done.
    pub fn unfinished(&self) -> usize {
        self.crossings.unfinished_size().0
    }

    /// To how many peers a copy is going out.
    pub fn copies(&self) -> usize {
        match &self.role {
            Role::Primary(p) => p.peers.values().filter(|peer| peer.copy.is_some()).count(),
            _ => 0,
        }
    }

    /// What every participant is known to have.
    pub fn all_persistent(&self) -> Seq {
        self.all_persistent
    }

    /// Whether it is the active primary of its view.
    pub fn is_active(&self) -> bool {
        matches!(&self.role, Role::Primary(p) if p.active)
    }

    /// Whether it is primary of its view, active or not.
    pub fn is_primary(&self) -> bool {
        matches!(&self.role, Role::Primary(_))
    }

    /// The announcement (of RECOVERING) whose `End` it has.
    pub fn ended(&self) -> Option<Epoch> {
        self.ended
    }

    /// Records in flight, and calls that wait: for metrics.
    pub fn in_flight(&self) -> (usize, usize) {
        match &self.role {
            Role::Primary(p) => {
                let waiting = p.callers.values().chain(p.crossings.values().map(|crossing| &crossing.callers));
                (p.in_flight.len(), waiting.map(Vec::len).sum::<usize>() + p.held.len())
            }
            _ => (0, 0),
        }
    }
}
