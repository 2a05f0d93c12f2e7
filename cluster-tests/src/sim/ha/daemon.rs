//! A simulated HA daemon: the shipped state and the shipped term of leadership, around them as little as possible.

use std::collections::BTreeMap;
use std::time::Duration;

use ha_state::director::Placers;
use ha_state::term::Term;
use ha_state::{Change, Command, Outcome, State};
use types::Boot;

use super::packet::Happening;
use super::raft::Raft;
use crate::sim::heap::Micros;
use crate::sim::life::Life;
use crate::sim::network::NodeNumber;

/// Entries between two snapshots.
const SNAPSHOT_ENTRIES: u64 = 16;
/// How long a proposal of the director may take.
const PROPOSAL: Duration = Duration::from_millis(1000);
/// A leader that no quorum has answered for so long proposes nothing: the shortest time in which there could be another.
const CONFIRMED: Duration = Duration::from_millis(150);

/// A monotonic clock that is off by a constant rate.
#[derive(Clone, Copy, Debug)]
pub struct DriftingClock(pub i64);

impl DriftingClock {
    /// What it shows at a true time.
    pub fn at(self, now: Micros) -> Duration {
        let off = now as i64 * self.0 / 1_000_000;
        Duration::from_micros((now as i64 + off) as u64)
    }
}

/// Who waits for the outcome of a registration.
#[derive(Clone, Debug)]
pub struct Waiting {
    /// The process.
    pub from: NodeNumber,
    /// The daemon that it asked.
    pub via: NodeNumber,
    /// Its name for it.
    pub nonce: u64,
}

/// The daemon.
pub struct Daemon<E = Happening> {
    /// Its clock.
    pub clock: DriftingClock,
    /// Whether it is up.
    pub life: Life<E>,
    /// What it has applied.
    pub state: State,
    disk: Vec<u8>,
    /// The term in which it leads, as far as it knows.
    pub term: Option<Term>,
    /// The greatest term that it knows of, and who leads in it.
    pub known: (u64, Option<NodeNumber>),
    /// When it last heard of a leader.
    pub heard: Micros,
    /// When a quorum last answered it, on its clock.
    pub acked: Option<Duration>,
    proposed: (u64, Duration),
    /// Who waits for which entry of the present term.
    pub waiting: BTreeMap<u64, Waiting>,
}

impl<E> Daemon<E> {
    /// One that was never started.
    pub fn new(drift_ppm: i64) -> Self {
        Self {
            clock: DriftingClock(drift_ppm),
            life: Life::default(),
            state: State::new(),
            disk: State::new().encode(),
            term: None,
            known: (0, None),
            heard: 0,
            acked: None,
            proposed: (0, Duration::ZERO),
            waiting: BTreeMap::new(),
        }
    }

    /// It starts with what is on its disk.
    pub fn start(&mut self, now: Micros) {
        self.life.restart();
        self.state = State::decode(&self.disk).expect("its own snapshot");
        self.heard = now;
        self.follow(self.known.0, None);
    }

    /// It hears of a term in which it does not lead.
    pub fn follow(&mut self, term: u64, leader: Option<NodeNumber>) {
        self.known = (term, leader);
        self.term = None;
        self.acked = None;
        self.waiting.clear();
    }

    /// It leads from now on.
    pub fn lead(&mut self, number: u64, own: NodeNumber, now: Micros, wait: bool) {
        self.follow(number, Some(own));
        // Without the wait of one lease the term says that it began one lease ago.
        let began = if wait { self.clock.at(now) } else { Duration::ZERO };
        self.term = Some(Term::begin(number, super::TIMING, &self.state, began));
        self.proposed = (0, Duration::ZERO);
    }

    /// Whether it leads in that term, as far as it knows.
    pub fn leads(&self, term: u64) -> bool {
        self.term.as_ref().is_some_and(|t| t.number() == term)
    }

    /// Applies the log up to there, one entry at a time; says what came of each.
    pub fn apply(&mut self, raft: &Raft, upto: u64, mut each: impl FnMut(u64, &State, Option<Outcome>)) {
        for index in self.state.index() + 1..=upto {
            let outcome = match raft.entry(index).1 {
                Some(command) => Some(self.state.apply(index, command)),
                None => {
                    self.state.pass(index);
                    None
                }
            };
            each(index, &self.state, outcome);
            if index.is_multiple_of(SNAPSHOT_ENTRIES) {
                self.disk = self.state.encode();
            }
        }
    }

    /// A change, as this leader stamps it.
    pub fn command(&mut self, change: Change, now: Micros) -> Option<(u64, Command)> {
        let now = self.clock.at(now);
        let term = self.term.as_mut()?;
        if let Change::ProcessLost { boot, .. } = &change {
            term.note_ended(*boot);
        }
        let at = term.ha_time(&self.state, now);
        Some((term.number(), Command { epoch: self.state.epoch(), at, wall_ms: at.0, change }))
    }

    /// What it should propose now. What was proposed before is waited for.
    pub fn look(&mut self, now: Micros, placers: Placers<'_>) -> Vec<Command> {
        let now = self.clock.at(now);
        let fresh = self.acked.is_some_and(|at| now <= at + CONFIRMED);
        let busy = self.state.index() < self.proposed.0 && now < self.proposed.1;
        match self.term.as_mut() {
            Some(term) if fresh && !busy => term.look(&self.state, now, 0, placers),
            _ => Vec::new(),
        }
    }

    /// It has proposed something.
    pub fn note_proposed(&mut self, upto: u64, now: Micros) {
        self.proposed = (upto, self.clock.at(now) + PROPOSAL);
    }

    /// Whether that boot is live, as far as it knows.
    pub fn is_live(&self, boot: Boot) -> bool {
        self.state.live(boot).is_some()
    }
}
