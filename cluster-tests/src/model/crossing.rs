//! The model check of transactions over several groups: three groups of the shipped machine, each its own majority, and between them every
//! message at any time, again, or never; crashes that lose or keep what is not STABLE; time that passes the duplicates' window.
//!
//! In every state: no transaction is executed twice in a group, none of its parts without the whole, and whoever was answered finds all of it
//! wherever reads are served. From every state: once all that is on its way arrives and timers run, each transaction is in all of its groups
//! or in none.

mod group;

use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Arc;

use dtm::{ClientId, Config, Event, Rules};
use types::ops::{Condition, Op};
use types::record::{Coordination, Record, Write};
use types::wire::dtm::Envelope;
use types::{DtxId, GroupId, HaTime, SessionId};

use self::group::Group;
use super::breadth::{self, Found, Limits, Space};
use super::node::Came;
use crate::sim::dtm::client::{group_id, row_key};

/// Groups of each transaction: the coordinating one, and those with parts.
const TRANSACTIONS: [(u32, &[u32]); 4] = [(0, &[1, 2]), (1, &[0, 2]), (0, &[1]), (0, &[1])];
/// Groups.
const GROUPS: u32 = 3;
/// HA time when the world begins; each step of age is a window and more.
const BEGIN: HaTime = HaTime(1_000_000);
/// Rounds of messages and timers after which everything has to be done.
const HEAL_ROUNDS: usize = 24;

/// What may happen, how often.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Bounds {
    /// Which transactions, a bit each.
    pub transactions: u8,
    /// Crashes.
    pub crashes: u8,
    /// Messages that come once more.
    pub duplicates: u8,
    /// Times that what is not answered is sent again.
    pub resends: u8,
    /// Windows that pass.
    pub ages: u8,
    /// Whether logs are pruned.
    pub prune: bool,
}

/// One thing that can happen.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[allow(missing_docs, reason = "the words on a variant tell its fields")]
pub enum Action {
    /// A client asks for a transaction.
    Execute { number: u8 },
    /// The message of that hash arrives; where `again`, it may come once more.
    Deliver { message: u64, again: bool },
    /// A group syncs.
    Sync { group: u32 },
    /// A group's primary dies, so many batches that are not synced are kept; the next view begins.
    Crash { group: u32, kept: usize },
    /// A group's primary sends again what is not answered.
    Tick { group: u32 },
    /// A window passes.
    Age,
}

#[derive(Clone, Debug)]
struct State {
    groups: Vec<Arc<Group>>,
    /// In the order of their hashes.
    messages: Vec<(u64, Arc<Envelope>)>,
    left: Bounds,
    time: HaTime,
    applied: Vec<Vec<Arc<Record>>>,
    answered: u8,
}

impl State {
    fn first(bounds: Bounds, config: &Arc<Config>) -> Result<Self, String> {
        let mut state = Self {
            groups: Vec::new(),
            messages: Vec::new(),
            left: bounds,
            time: BEGIN,
            applied: vec![Vec::new(); GROUPS as usize],
            answered: 0,
        };
        for number in 0..GROUPS {
            let mut came = Came::default();
            state.groups.push(Arc::new(Group::start(number, 2, Default::default(), config, BEGIN, &mut came)?));
        }
        Ok(state)
    }

    fn hash(&self) -> u128 {
        let of = |salt: u8| {
            let mut hasher = DefaultHasher::new();
            (salt, self.left, self.time, &self.applied, self.answered).hash(&mut hasher);
            self.groups.iter().for_each(|group| hasher.write_u64(group.hash()));
            self.messages.iter().for_each(|(hash, _)| hasher.write_u64(*hash));
            u128::from(hasher.finish())
        };
        of(0) << 64 | of(1)
    }

    fn enabled(&self, bounds: Bounds) -> Vec<Action> {
        let mut out: Vec<Action> = Vec::new();
        for (message, _) in &self.messages {
            out.push(Action::Deliver { message: *message, again: false });
            if self.left.duplicates > 0 {
                out.push(Action::Deliver { message: *message, again: true });
            }
        }
        out.extend(numbers(bounds.transactions).map(|number| Action::Execute { number }));
        for (number, group) in (0..).zip(&self.groups) {
            if group.wants_sync() {
                out.push(Action::Sync { group: number });
            }
            if self.left.crashes > 0 {
                out.extend((0..=group.unsynced()).map(|kept| Action::Crash { group: number, kept }));
            }
            if group.replica.unfinished() > 0 && self.left.resends > 0 {
                out.push(Action::Tick { group: number });
            }
        }
        if self.left.ages > 0 {
            out.push(Action::Age);
        }
        out
    }

    /// The state after; `None` where nothing changes. An error is a violation.
    fn step(&self, config: &Arc<Config>, action: Action) -> Result<Option<Self>, String> {
        let mut next = self.clone();
        match action {
            Action::Execute { number } => {
                let at = TRANSACTIONS[usize::from(number)].0;
                next.act(at, |group, came| group.turn(vec![execute(group, number)], came))?;
            }
            Action::Deliver { message, again } => {
                let Ok(place) = self.messages.binary_search_by_key(&message, |(hash, _)| *hash) else { return Ok(None) };
                let envelope = (*self.messages[place].1).clone();
                if again {
                    next.left.duplicates -= 1;
                } else {
                    next.messages.remove(place);
                }
                next.act(envelope.group.index, |group, came| group.turn(vec![Event::Message(envelope)], came))?;
            }
            Action::Sync { group } => next.act(group, Group::sync)?,
            Action::Tick { group } => {
                next.left.resends -= 1;
                next.act(group, Group::tick)?;
            }
            Action::Crash { group, kept } => {
                next.left.crashes -= 1;
                let mut came = Came::default();
                let crashed = self.groups[group as usize].crash(kept, config, self.time, &mut came)?;
                next.groups[group as usize] = Arc::new(crashed);
                next.take(group, came)?;
            }
            Action::Age => {
                next.left.ages -= 1;
                next.time = HaTime(self.time.0 + config.window_ms + 1);
                for number in 0..GROUPS {
                    let time = next.time;
                    next.act(number, |group, came| group.turn(vec![group.lease(time)], came))?;
                }
            }
        }
        next.check()?;
        Ok((next.hash() != self.hash()).then_some(next))
    }

    fn act(&mut self, number: u32, what: impl FnOnce(&mut Group, &mut Came)) -> Result<(), String> {
        let mut came = Came::default();
        what(Arc::make_mut(&mut self.groups[number as usize]), &mut came);
        self.take(number, came)
    }

    fn take(&mut self, number: u32, came: Came) -> Result<(), String> {
        for message in came.sent {
            let mut hasher = DefaultHasher::new();
            message.hash(&mut hasher);
            let hash = hasher.finish();
            if let Err(place) = self.messages.binary_search_by_key(&hash, |(hash, _)| *hash) {
                self.messages.insert(place, (hash, Arc::new(message)));
            }
        }
        let applied = &mut self.applied[number as usize];
        for record in came.applied {
            match applied.get(record.seq.0 as usize - 1) {
                Some(before) if *before == record => {}
                Some(before) => return Err(format!("one history: group {number} applied {record:?} where {before:?} was")),
                None if applied.iter().any(|before| before.dtx == record.dtx) => {
                    return Err(format!("idempotence: {} was executed twice in group {number}", record.dtx));
                }
                None => applied.push(record),
            }
        }
        for (transaction, reply) in came.answered {
            if reply.is_ok() {
                self.answered |= 1 << transaction;
            }
        }
        Ok(())
    }

    /// Where a transaction was applied in a group.
    fn find(&self, group: GroupId, dtx: DtxId) -> Option<&Arc<Record>> {
        self.applied[group.index as usize].iter().find(|record| record.dtx == dtx)
    }

    fn check(&self) -> Result<(), String> {
        for (number, records) in self.applied.iter().enumerate() {
            for record in records {
                let Coordination::Part { coordinator, seq, .. } = &record.coordination else { continue };
                let whole = self.applied[coordinator.index as usize].get(seq.0 as usize - 1);
                if whole.is_none_or(|whole| whole.dtx != record.dtx) {
                    return Err(format!("atomicity: group {number} executed a part of {}, which is nowhere", record.dtx));
                }
            }
        }
        for number in numbers(self.answered) {
            let (coordinator, parts) = TRANSACTIONS[usize::from(number)];
            for at in parts.iter().chain([&coordinator]) {
                let group = &self.groups[*at as usize];
                let shown = self.find(group_id(*at), dtx(number)).is_some_and(|record| record.seq <= group.current.applied());
                if !shown && group.serves() {
                    return Err(format!("stale read: transaction {number} was answered, and group {at} serves reads without it"));
                }
            }
        }
        Ok(())
    }

    /// Lets everything arrive and timers run: each transaction has to be in all of its groups, or in none.
    fn heal(&self) -> Result<(), String> {
        let mut state = self.clone();
        for _ in 0..HEAL_ROUNDS {
            for number in 0..GROUPS {
                while state.groups[number as usize].wants_sync() {
                    state.act(number, Group::sync)?;
                }
            }
            for (_, envelope) in std::mem::take(&mut state.messages) {
                state.act(envelope.group.index, |group, came| group.turn(vec![Event::Message((*envelope).clone())], came))?;
            }
            let waits = state.groups.iter().any(|group| group.wants_sync()) || !state.messages.is_empty();
            if !waits && state.groups.iter().all(|group| group.replica.unfinished() == 0) {
                return state.atomic();
            }
            if !waits {
                for number in 0..GROUPS {
                    state.act(number, Group::tick)?;
                }
            }
            state.check()?;
        }
        Err("stuck: a transaction is not done, whatever is sent again".into())
    }

    fn atomic(&self) -> Result<(), String> {
        for (coordinator, records) in self.applied.iter().enumerate() {
            for record in records {
                let Coordination::Coordinator { parts } = &record.coordination else { continue };
                if let Some((group, _)) = parts.iter().find(|(group, _)| self.find(*group, record.dtx).is_none()) {
                    return Err(format!("atomicity: {} is in group {coordinator} and will never be in {group}", record.dtx));
                }
            }
        }
        Ok(())
    }
}

/// The transactions in these bits.
fn numbers(bits: u8) -> impl Iterator<Item = u8> {
    (0..TRANSACTIONS.len() as u8).filter(move |number| bits & (1 << number) != 0)
}

fn dtx(number: u8) -> DtxId {
    DtxId { session: SessionId(1), counter: u64::from(number), at: BEGIN }
}

fn execute(group: &Group, number: u8) -> Event {
    let (_, others) = TRANSACTIONS[usize::from(number)];
    let write = || Write::Put { row: row_key(u64::from(number)), value: vec![number] };
    let parts = others.iter().map(|other| (group_id(*other), vec![write()])).collect();
    let ops = vec![Op::Put { row: row_key(u64::from(number)), value: vec![number], condition: Condition::Always }];
    let (client, view) = (ClientId(u64::from(number)), group.view());
    Event::Execute(dtm::Execute { client, view, dtx: dtx(number), ops, parts, rows: Vec::new() })
}

/// The states within some bounds.
struct Within {
    bounds: Bounds,
    config: Arc<Config>,
}

impl Space for Within {
    type State = State;
    type Action = Action;

    fn hash(&self, state: &State) -> u128 {
        state.hash()
    }

    fn enabled(&self, state: &State) -> Vec<Action> {
        state.enabled(self.bounds)
    }

    fn advance(&self, state: &State, action: Action) -> Result<Option<State>, String> {
        state.step(&self.config, action)
    }

    fn look(&self, state: &State) -> Result<(), String> {
        state.heal()
    }
}

/// Searches by breadth; with every state, what heals from it.
pub fn search(bounds: Bounds, rules: Rules, limits: Limits) -> Found<Action> {
    let prune_records_min = if bounds.prune { 1 } else { u64::MAX };
    let config = Arc::new(Config { rules, prune_records_min, ..Config::default() });
    match State::first(bounds, &config) {
        Ok(first) => breadth::search(&Within { bounds, config }, first, limits),
        Err(violation) => Found::at_once(violation, Vec::new()),
    }
}

/// A rule of crossings, and the bounds in which its removal is found.
pub const CASES: &[(&str, Bounds)] = &[
    ("parts_when_stable", Bounds { transactions: 0b0100, crashes: 1, ..NOTHING }),
    ("answer_when_parts_stable", Bounds { transactions: 0b0001, ..NOTHING }),
    ("part_said_when_stable", Bounds { transactions: 0b0100, crashes: 1, ..NOTHING }),
    ("parts_exempt", Bounds { transactions: 0b0100, ages: 1, ..NOTHING }),
    ("parts_outlive_window", Bounds { transactions: 0b0110, ages: 1, duplicates: 1, ..NOTHING }),
    ("parts_done_below_low", Bounds { transactions: 0b1100, duplicates: 1, ..NOTHING }),
    ("unfinished_outlives_prune", Bounds { transactions: 0b1100, crashes: 1, prune: true, ..NOTHING }),
];

const NOTHING: Bounds = Bounds { transactions: 0, crashes: 0, duplicates: 0, resends: 0, ages: 0, prune: false };

/// Bounds that CI exhausts.
pub const EXHAUSTED: &[Bounds] = &[
    Bounds { transactions: 0b0001, crashes: 1, duplicates: 1, ..NOTHING },
    Bounds { transactions: 0b0100, crashes: 1, resends: 1, ages: 1, prune: true, ..NOTHING },
];

/// Bounds that CI has no time for; each is exhausted in minutes.
pub const LARGE: &[Bounds] =
    &[Bounds { transactions: 0b0110, ..NOTHING }, Bounds { transactions: 0b1100, crashes: 1, prune: true, ..NOTHING }];
