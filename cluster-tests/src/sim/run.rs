//! The loop of a run: the next event comes off the heap, is hashed and recorded, and the world handles it.

use std::collections::BTreeMap;
use std::path::Path;

use rand_chacha::ChaCha8Rng;
use serde::Serialize;
use types::codec;

use super::heap::{Heap, Micros};
use super::shown::{Part, Recorded};
use super::trace::{Recording, TraceHash};

/// Events with which faults end.
const ENDS: [&str; 3] = ["Start", "Resume", "Mend"];

/// What a run is of: machines, and what surrounds them.
pub trait World {
    /// What happens in it. Whatever was drawn at random for an event is in it.
    type Event: Serialize + Clone;

    /// One thing happens. Random numbers may be drawn only for what is scheduled, never for what is done now: a recording has no seed.
    fn handle(&mut self, event: Self::Event, clock: &mut Clock<'_, Self::Event>);

    /// What has gone wrong so far, in words; the run ends at the first.
    fn violation(&self) -> Option<String>;

    /// Whether there is nothing more to see.
    fn is_over(&self) -> bool {
        self.violation().is_some()
    }
}

/// Time, chance and the future, as an event's handling sees them.
pub struct Clock<'a, E> {
    /// Simulated time.
    pub now: Micros,
    /// The run's random numbers.
    pub rng: &'a mut ChaCha8Rng,
    heap: &'a mut Heap<E>,
}

impl<'a, E> Clock<'a, E> {
    /// At that time, over that heap.
    pub(super) fn over(now: Micros, rng: &'a mut ChaCha8Rng, heap: &'a mut Heap<E>) -> Self {
        Self { now, rng, heap }
    }

    /// Something is to happen then, but not before now.
    pub fn at(&mut self, at: Micros, event: E) {
        self.heap.push(at.max(self.now), event);
    }

    /// Something is to happen after a while.
    pub fn after(&mut self, delay: Micros, event: E) {
        self.heap.push(self.now + delay, event);
    }

    /// Time, chance and the future for one of the worlds that this one is made of; `wrap` makes its events this one's.
    pub fn within<F>(&mut self, wrap: impl Fn(F) -> E, what: impl FnOnce(&mut Clock<'_, F>)) {
        let mut heap = Heap::default();
        what(&mut Clock { now: self.now, rng: self.rng, heap: &mut heap });
        while let Some((at, event)) = heap.pop() {
            self.heap.push(at, wrap(event));
        }
    }
}

/// What a run came to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outcome {
    /// Hash of all events with their times.
    pub trace_hash: u64,
    /// How many events there were.
    pub events: u64,
    /// The first thing that went wrong.
    pub violation: Option<String>,
    /// Faults that began, by kind; of runs of a seed alone.
    pub faults: BTreeMap<String, u64>,
}

/// [`run`]; with a path, leaves a recording there, with the configuration of the run, if something goes wrong.
pub fn run_recorded<W: Recorded>(
    world: &mut W,
    first: Vec<(Micros, W::Event)>,
    rng: &mut ChaCha8Rng,
    events_max: u64,
    config: W::Config,
    record_to: Option<&Path>,
) -> Outcome {
    let (mut events, mut faults) = (Vec::new(), BTreeMap::new());
    let mut outcome = run(world, first, rng, events_max, |now, event| {
        if let Some(kind) = fault_kind::<W>(event) {
            *faults.entry(kind).or_default() += 1;
        }
        if record_to.is_some() {
            events.push((now, event.clone()));
        }
    });
    outcome.faults = faults;
    let Some(path) = record_to else { return outcome };
    if let Some(violation) = &outcome.violation
        && let Err(error) = (Recording { config, events }).save(W::WORLD, path)
    {
        outcome.violation = Some(format!("{violation}; and it could not be recorded: {error:#}"));
    }
    outcome
}

/// What begins a fault, in the words of its event: its name, and what kind of it where it says so first.
fn fault_kind<W: Recorded>(event: &W::Event) -> Option<String> {
    if W::part(event) != Part::Fault {
        return None;
    }
    let words = format!("{event:?}");
    let mut words = words.split([' ', '{', ',']).filter(|word| !word.is_empty());
    let name = words.next().filter(|name| !ENDS.contains(name))?;
    // A kind is a bare word; a name of something has a number in brackets.
    let kind = words.nth(1).filter(|word| word.starts_with(|first: char| first.is_ascii_uppercase()) && !word.contains('('));
    Some(kind.map_or_else(|| name.to_string(), |kind| format!("{name} {kind}")))
}

/// Runs until nothing is left to happen, `events_max` events have happened, or something went wrong. Every event goes to `record`.
pub fn run<W: World>(
    world: &mut W,
    first: Vec<(Micros, W::Event)>,
    rng: &mut ChaCha8Rng,
    events_max: u64,
    mut record: impl FnMut(Micros, &W::Event),
) -> Outcome {
    let mut heap = Heap::default();
    for (at, event) in first {
        heap.push(at, event);
    }
    let (mut hash, mut events) = (TraceHash::default(), 0);
    while let Some((now, event)) = heap.pop() {
        if events == events_max {
            let violation = Some(format!("the run did not end within {events_max} events"));
            return Outcome { trace_hash: hash.value(), events, violation, faults: BTreeMap::new() };
        }
        events += 1;
        hash.add(&now.to_le_bytes());
        hash.add(&codec::encode(&event));
        record(now, &event);
        world.handle(event, &mut Clock { now, rng, heap: &mut heap });
        if world.is_over() {
            break;
        }
    }
    Outcome { trace_hash: hash.value(), events, violation: world.violation(), faults: BTreeMap::new() }
}

/// Plays recorded events: what handling them would schedule is in the recording already, so it is dropped.
pub fn replay<W: World>(world: &mut W, events: &[(Micros, W::Event)], rng: &mut ChaCha8Rng) -> Outcome {
    replay_seen(world, events, rng, |_, _, _| {})
}

/// [`replay`]; `look` sees the world after each event.
pub fn replay_seen<W: World>(
    world: &mut W,
    events: &[(Micros, W::Event)],
    rng: &mut ChaCha8Rng,
    mut look: impl FnMut(&W, Micros, &W::Event),
) -> Outcome {
    let (mut hash, mut count) = (TraceHash::default(), 0);
    for (now, event) in events {
        count += 1;
        hash.add(&now.to_le_bytes());
        hash.add(&codec::encode(event));
        world.handle(event.clone(), &mut Clock { now: *now, rng, heap: &mut Heap::default() });
        look(world, *now, event);
        if world.is_over() {
            break;
        }
    }
    Outcome { trace_hash: hash.value(), events: count, violation: world.violation(), faults: BTreeMap::new() }
}
