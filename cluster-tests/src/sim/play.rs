//! A recorded run played by its choices: what came from outside, and which of what was under way happened next.
//!
//! Other than [`super::run::replay`] it also makes sense of a list from which events were taken away. What is not under way then, because
//! what caused it is gone, does not happen either; what is under way in its place has its turn. So whatever list is played, what happens
//! could have happened, and [`Step`]s of it are a recording again.

use std::collections::BTreeMap;

use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;
use types::codec;

use super::heap::{Heap, Micros};
use super::run::{Clock, Outcome};
use super::shown::{Lane, Part, Shown};
use super::trace::TraceHash;

/// Something that happened.
#[derive(Clone, Debug)]
pub struct Step<E> {
    /// When.
    pub at: Micros,
    /// What.
    pub event: E,
    /// When something in the world had it happen.
    pub caused: Option<Micros>,
}

/// What is under way: by lane, then the time for which it was meant, then the order in which it came up.
type Key = (Lane, Micros, u64);

struct Pending<E> {
    events: BTreeMap<Key, (E, u64, Micros)>,
    by_content: BTreeMap<u64, Vec<Key>>,
    order: u64,
}

fn content<E: serde::Serialize>(event: &E) -> u64 {
    let mut hash = TraceHash::default();
    hash.add(&codec::encode(event));
    hash.value()
}

impl<E: serde::Serialize> Pending<E> {
    fn put(&mut self, lane: Lane, at: Micros, event: E, caused: Micros) {
        self.order += 1;
        let (key, hash) = ((lane, at, self.order), content(&event));
        self.by_content.entry(hash).or_default().push(key);
        self.events.insert(key, (event, hash, caused));
    }

    /// The same event, or the one of its lane that was meant for a time next to that one.
    fn take(&mut self, lane: Lane, at: Micros, recorded: &E) -> Option<(E, Micros)> {
        let same = self.by_content.get(&content(recorded)).and_then(|keys| keys.first()).copied();
        let key = same.or_else(|| {
            let after = self.events.range((lane, at, 0)..=(lane, Micros::MAX, u64::MAX)).next();
            let before = self.events.range((lane, 0, 0)..(lane, at, 0)).next_back();
            [after, before].into_iter().flatten().map(|(key, _)| *key).min_by_key(|(_, meant, _)| meant.abs_diff(at))
        })?;
        let (event, hash, caused) = self.events.remove(&key)?;
        if let Some(keys) = self.by_content.get_mut(&hash) {
            keys.retain(|other| *other != key);
            if keys.is_empty() {
                self.by_content.remove(&hash);
            }
        }
        Some((event, caused))
    }
}

/// A run that was played.
pub struct Played<E> {
    /// What it came to.
    pub outcome: Outcome,
    /// What happened.
    pub steps: Vec<Step<E>>,
    /// What was under way and never happened, and when it came up.
    pub left: Vec<(Micros, E)>,
}

/// Plays it; `look` sees the world after each step.
pub fn play<W: Shown>(world: &mut W, recorded: &[(Micros, W::Event)], mut look: impl FnMut(&W, &Step<W::Event>)) -> Played<W::Event> {
    // What it would draw is in the recording already, or does not matter: times of what is under way.
    let mut rng = ChaCha8Rng::seed_from_u64(0);
    let mut pending = Pending { events: BTreeMap::new(), by_content: BTreeMap::new(), order: 0 };
    let (mut hash, mut steps) = (TraceHash::default(), Vec::new());
    for (at, event) in recorded {
        let (event, caused) = match W::part(event) {
            Part::Inner(lane) => match pending.take(lane, *at, event) {
                Some((waiting, caused)) => (W::chosen(waiting, event), Some(caused)),
                None => continue,
            },
            _ => (event.clone(), None),
        };
        hash.add(&at.to_le_bytes());
        hash.add(&codec::encode(&event));
        let mut heap = Heap::default();
        world.handle(event.clone(), &mut Clock::over(*at, &mut rng, &mut heap));
        while let Some((meant, next)) = heap.pop() {
            if let Part::Inner(lane) = W::part(&next) {
                pending.put(lane, meant, next, *at);
            }
        }
        let step = Step { at: *at, event, caused };
        look(world, &step);
        steps.push(step);
        if world.is_over() {
            break;
        }
    }
    let outcome = Outcome {
        trace_hash: hash.value(),
        events: steps.len() as u64,
        violation: world.violation(),
        faults: std::collections::BTreeMap::new(),
    };
    let left = pending.events.into_values().map(|(event, _, caused)| (caused, event)).collect();
    Played { outcome, steps, left }
}
