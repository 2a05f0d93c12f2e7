//! One term of leadership: what a leader has granted, heard and begun, and what it proposes from it.
//!
//! A new term begins with nothing granted and waits one lease before it takes anybody for lost. A process that this leader has begun to
//! declare lost gets no lease in this term, so that between a look at the leases and the commit of what follows from it no new lease comes
//! into being. Who calls answers for the rest: a renewal only after a quorum has confirmed the leader since it came, a look only on a state
//! that the leader has applied. All times are monotonic, since any fixed moment of the daemon.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use types::{Boot, Epoch, HaTime, NodeId, SessionId};

use crate::command::{Change, Command, LossReason};
use crate::director::rebalance::Memo;
use crate::director::{self, Observations, Placers};
use crate::lease::{Leases, Timing};
use crate::state::State;

/// What a process has for its first renewal after its registration, in leases, beyond the one that every lease has.
const FIRST_RENEWAL_LEASES: u32 = 2;

/// What one term of leadership has seen.
#[derive(Clone, Debug)]
pub struct Term {
    number: u64,
    leases: Leases,
    renewed: BTreeMap<Boot, Duration>,
    sessions: BTreeMap<SessionId, Duration>,
    elected: Duration,
    ended: BTreeSet<Boot>,
    /// Boots for which a loss by lease was proposed: they get no lease in this term.
    condemned: BTreeSet<Boot>,
    confirmed: BTreeMap<Boot, u64>,
    /// HA time at the election.
    base: HaTime,
    warnings: Vec<String>,
    to_move: Option<usize>,
    memo: Memo,
}

/// Why a lease is not renewed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NotRenewed {
    /// The boot is over.
    OldBoot,
    /// The boot is being declared lost: the next leader, or the log, has the last word.
    Condemned,
}

impl Term {
    /// The term of a leader elected at `now`. Who lives already has the one lease that every new leader waits, and no more.
    pub fn begin(number: u64, timing: Timing, state: &State, now: Duration) -> Self {
        Self {
            number,
            leases: Leases::elected(timing, now),
            renewed: state.map().nodes.values().map(|n| (n.boot, now)).collect(),
            sessions: BTreeMap::new(),
            elected: now,
            ended: BTreeSet::new(),
            condemned: BTreeSet::new(),
            confirmed: BTreeMap::new(),
            base: state.ha_time(),
            warnings: Vec::new(),
            to_move: None,
            memo: Memo::default(),
        }
    }

    /// Which term.
    pub fn number(&self) -> u64 {
        self.number
    }

    /// HA time at `now`: what the state had at the election and what has passed since, never less than the state has.
    pub fn ha_time(&self, state: &State, now: Duration) -> HaTime {
        let passed = u64::try_from(now.saturating_sub(self.elected).as_millis()).unwrap_or(u64::MAX);
        HaTime(self.base.0.saturating_add(passed)).max(state.ha_time())
    }

    /// A process was seen to end.
    pub fn note_ended(&mut self, boot: Boot) {
        self.ended.insert(boot);
    }

    /// A process has taken in the log up to `index`.
    pub fn note_confirmed(&mut self, boot: Boot, index: u64) {
        let known = self.confirmed.entry(boot).or_default();
        *known = (*known).max(index);
    }

    /// Renews the lease of a process at `now`, a time after the quorum's word. The answer has to carry the epoch that this gives and no
    /// earlier one: by it the holder and this leader agree on what it knew.
    pub fn renew(&mut self, state: &State, node: NodeId, boot: Boot, confirmed: u64, now: Duration) -> Result<Epoch, NotRenewed> {
        if state.live(boot) != Some(node) {
            return Err(NotRenewed::OldBoot);
        }
        if self.condemned.contains(&boot) {
            return Err(NotRenewed::Condemned);
        }
        self.leases.grant(boot, state.epoch(), now);
        self.renewed.insert(boot, now);
        self.note_confirmed(boot, confirmed);
        Ok(state.epoch())
    }

    /// Renews a client's session; false where it is closed.
    pub fn renew_session(&mut self, state: &State, session: SessionId, now: Duration) -> bool {
        let open = state.session_is_open(session);
        if open {
            self.sessions.insert(session, now);
        }
        open
    }

    /// What to propose now, in this order.
    pub fn look(&mut self, state: &State, now: Duration, wall_ms: u64, place: Placers<'_>) -> Vec<Command> {
        let sessions_over = self.take_stock(state, now);
        let seen = Observations {
            now,
            ha_time: self.ha_time(state, now),
            wall_ms,
            leases: &self.leases,
            ended: &self.ended,
            confirmed: &self.confirmed,
            sessions_over: &sessions_over,
        };
        let proposals = director::propose_with(state, &seen, place, &mut self.memo);
        for command in &proposals.commands {
            if let Change::ProcessLost { boot, reason: LossReason::LeaseExpired, .. } = &command.change {
                self.condemned.insert(*boot);
            }
        }
        self.warnings = proposals.warnings;
        self.to_move = proposals.to_move;
        proposals.commands
    }

    /// Begins to watch what is new, forgets what is over; gives the clients' sessions whose lease is over.
    fn take_stock(&mut self, state: &State, now: Duration) -> BTreeSet<SessionId> {
        let timing = *self.leases.timing();
        let live: BTreeSet<Boot> = state.map().nodes.values().map(|n| n.boot).filter(|b| state.live(*b).is_some()).collect();
        for boot in &live {
            // A process that has just registered is given time for its first renewal.
            self.renewed.entry(*boot).or_insert_with(|| {
                self.leases.grant(*boot, state.epoch(), now + timing.lease * FIRST_RENEWAL_LEASES);
                now
            });
        }
        self.leases.keep_only(|boot| live.contains(&boot));
        self.renewed.retain(|boot, _| live.contains(boot));
        self.confirmed.retain(|boot, _| live.contains(boot));
        self.ended.retain(|boot| live.contains(boot));
        self.condemned.retain(|boot| live.contains(boot));
        self.sessions.retain(|session, _| state.session_is_open(*session));
        // A session opened in this term counts from its first sight.
        let clients: Vec<SessionId> = state.sessions().iter().filter(|(_, s)| s.node.is_none()).map(|(id, _)| *id).collect();
        for session in &clients {
            self.sessions.entry(*session).or_insert(now);
        }
        let is_over = |session: &SessionId| {
            let seen = self.sessions.get(session).copied().unwrap_or_default().max(self.elected);
            now >= seen + timing.session
        };
        clients.into_iter().filter(is_over).collect()
    }

    /// What an operator should know, as of the last look.
    pub fn warnings(&self) -> &[String] {
        &self.warnings
    }

    /// Members and slots that a rebalance still has to move, as of the last look at that.
    pub fn to_move(&self) -> Option<usize> {
        self.to_move
    }

    /// Index confirmed by each process.
    pub fn confirmed(&self) -> &BTreeMap<Boot, u64> {
        &self.confirmed
    }

    /// When each lease was renewed last.
    pub fn renewed(&self) -> &BTreeMap<Boot, Duration> {
        &self.renewed
    }
}
