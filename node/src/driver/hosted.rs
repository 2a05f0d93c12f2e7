//! One replica in its driver: the machine, and what waits for its changes to be committed or synced.

use std::collections::BTreeSet;

use dtm::{ClientId, Effect, Event, Instant, Placement, Replica, Ticket};
use types::wire::dtm::Envelope;
use types::wire::request::ExecuteReply;
use types::{GroupId, Seq};

use crate::permits::Shown;

/// An answer that waits for a commit.
pub struct HeldAnswer {
    /// The change that it waits for.
    pub after: Ticket,
    /// Whom.
    pub client: ClientId,
    /// With what.
    pub reply: ExecuteReply,
    /// From when on it must not be given any more.
    pub before: Option<Instant>,
}

/// A replica and its surroundings.
pub struct Hosted {
    /// The machine.
    pub replica: Replica,
    /// What the machine was last told of its group.
    pub placement: Option<Placement>,
    /// The last change that is committed, and the last that is synced.
    pub committed: Ticket,
    /// The last change that is synced.
    pub synced: Ticket,
    /// Messages that wait for a sync.
    pub sends: Vec<(Ticket, Envelope)>,
    /// Answers that wait for a commit.
    pub answers: Vec<HeldAnswer>,
    /// It was handed something since its last `Flush`.
    touched: bool,
    /// When it wanted to be called at the end of the last turn.
    pub deadline: Option<Instant>,
    /// Where it is said what the rows show.
    pub shown: Shown,
}

impl Hosted {
    /// Hosts a machine to which nothing was handed yet.
    pub fn new(replica: Replica, shown: Shown) -> Self {
        Self {
            shown,
            replica,
            placement: None,
            committed: Ticket::default(),
            synced: Ticket::default(),
            sends: Vec::new(),
            answers: Vec::new(),
            touched: false,
            deadline: None,
        }
    }

    /// Hands one event in; the group is one of those of this turn then.
    pub fn hand(
        &mut self,
        group: GroupId,
        event: Event,
        now: Instant,
        effects: &mut Vec<(GroupId, Effect)>,
        turned: &mut BTreeSet<GroupId>,
    ) {
        self.touched = true;
        turned.insert(group);
        self.tell(group, event, now, effects);
    }

    /// Has it send what follows from all that it was handed since the last time.
    pub fn flush(&mut self, group: GroupId, now: Instant, effects: &mut Vec<(GroupId, Effect)>) {
        if std::mem::take(&mut self.touched) {
            self.tell(group, Event::Flush, now, effects);
        }
    }

    fn tell(&mut self, group: GroupId, event: Event, now: Instant, effects: &mut Vec<(GroupId, Effect)>) {
        let mut out = Vec::new();
        self.replica.handle(event, now, &mut out);
        effects.extend(out.into_iter().map(|effect| (group, effect)));
    }

    /// Says what the rows show, before anybody is told of it.
    pub fn show(&self, now: Instant) {
        self.shown.set(self.replica.read_nearest(Seq(0), now).ok().map(|permit| permit.stable));
        self.shown.set_unfinished(self.replica.unfinished());
    }

    /// When it wants to be called.
    pub fn next_deadline(&self) -> Option<Instant> {
        self.replica.next_deadline().map(|(at, _)| at)
    }

    /// The messages whose changes are synced now.
    pub fn released_sends(&mut self) -> Vec<Envelope> {
        let synced = self.synced;
        let (ready, held): (Vec<_>, Vec<_>) = std::mem::take(&mut self.sends).into_iter().partition(|(after, _)| *after <= synced);
        self.sends = held;
        ready.into_iter().map(|(_, envelope)| envelope).collect()
    }

    /// The answers whose changes are committed now.
    pub fn released_answers(&mut self) -> Vec<HeldAnswer> {
        let committed = self.committed;
        let (ready, held): (Vec<_>, Vec<_>) = std::mem::take(&mut self.answers).into_iter().partition(|held| held.after <= committed);
        self.answers = held;
        ready
    }
}
