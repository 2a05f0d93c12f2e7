//! Events of buckets, told to their targets by the primary of each group: in the order of its log, again and again until they are answered, and
//! gone with a transaction of their own after that. So each is told once at least, and of one object in order; one that was told and not yet
//! taken away when a process ended is told again.
//!
//! Each target is told by itself: one that hangs holds nobody else up. What is told together is of different objects. After a failure the rest waits, longer each time. Bounded: of one target so many events wait
//! in a group's part of a bucket; beyond that the oldest are dropped and counted, for a target that is away for good must not fill the devices.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use futures::StreamExt;
use s3::{Webhooks, event_text};
use tokio::task::JoinSet;
use types::event::EventRow;
use types::keys::{self, Key, kind};
use types::limits::SCAN_KEYS_MAX;
use types::ops::{Condition, Op};
use types::record::RowKey;
use types::records::Target;
use types::wire::request::ScanRow;
use types::{CatalogueId, GroupId};

use super::lifecycle::wall_ms;
use super::{ClusterView, Place, ROWS_MAX, Sweep, key_after};

/// How often it is looked for events where somebody wants to be told of some.
const LOOK: Duration = Duration::from_millis(250);
/// How often everywhere: what waits may be of rules that are no more.
const LOOK_EVERYWHERE: Duration = Duration::from_secs(30);
/// Places that are looked at together.
const PLACES_AT_ONCE: usize = 16;
/// Queues that are told at once.
const QUEUES_MAX: usize = 64;
/// Of these, those of one target: it may hang.
const QUEUES_OF_TARGET_MAX: usize = 8;
/// Events of one target and place that are told together.
const AT_ONCE: usize = 8;
/// The wait after the first failure; each further one doubles it, to [`PAUSE_MAX`].
const PAUSE_MIN: Duration = Duration::from_millis(500);
/// The longest wait.
const PAUSE_MAX: Duration = Duration::from_secs(60);
/// Most events of one target that wait in one group's part of a bucket.
const WAITING_MAX: usize = 10_000;
/// How often these are counted.
const COUNT_AGAIN: Duration = Duration::from_secs(10);
/// How long events of a bucket that was deleted are tried, in milliseconds.
const DELETED_MS: u64 = 60 * 60 * 1000;

/// The primary's part of a bucket, and a target.
type Queue = (CatalogueId, GroupId, String);

/// How telling a target goes.
#[derive(Clone, Copy, Debug)]
struct Trouble {
    again_at: Instant,
    pause: Duration,
}

/// What is remembered between rounds.
#[derive(Default)]
struct Memory {
    trouble: BTreeMap<String, Trouble>,
    counted: BTreeMap<Queue, Instant>,
    /// Queues that are being told.
    busy: BTreeSet<Queue>,
}

impl Memory {
    fn waits(&self, target: &str, now: Instant) -> bool {
        self.trouble.get(target).is_some_and(|trouble| now < trouble.again_at)
    }

    /// Remembers a failure; whether it is the first since all went well. Those of one round count as one.
    fn failed(&mut self, target: &str, now: Instant) -> bool {
        let before = self.trouble.get(target).copied();
        if before.is_some_and(|trouble| now < trouble.again_at) {
            return false;
        }
        let pause = before.map_or(PAUSE_MIN, |trouble| (trouble.pause * 2).min(PAUSE_MAX));
        self.trouble.insert(target.to_owned(), Trouble { again_at: now + pause, pause });
        before.is_none()
    }

    fn went_well(&mut self, target: &str, now: Instant) {
        // What was begun before a failure says nothing of what comes after it.
        if !self.waits(target, now) {
            self.trouble.remove(target);
        }
    }

    /// Takes a queue to tell it; not where it is being told, or many are.
    fn take(&mut self, queue: &Queue) -> bool {
        let of_target = self.busy.iter().filter(|(.., target)| *target == queue.2).count();
        self.busy.len() < QUEUES_MAX && of_target < QUEUES_OF_TARGET_MAX && self.busy.insert(queue.clone())
    }

    /// Whether that queue is to be counted now.
    fn is_due(&mut self, queue: &Queue, now: Instant) -> bool {
        let due = self.counted.get(queue).is_none_or(|at| now >= *at + COUNT_AGAIN);
        if due {
            self.counted.insert(queue.clone(), now);
        }
        due
    }

    /// Forgets what has no queue any more.
    fn forget(&mut self, now: Instant) {
        self.counted.retain(|_, at| now < *at + 2 * COUNT_AGAIN);
        self.trouble.retain(|_, trouble| now < trouble.again_at + 2 * PAUSE_MAX);
    }
}

/// The events that are told next: from the front on, of different objects.
fn wave(rows: &[ScanRow]) -> usize {
    let mut names = BTreeSet::new();
    let objects = rows.iter().map(|row| match Key::parse(&row.key) {
        Some(Key::Event(.., name)) => Some(name),
        _ => None,
    });
    objects.take(AT_ONCE).take_while(|name| name.is_none_or(|name| names.insert(name))).count()
}

impl Sweep {
    /// Tells events for ever.
    pub async fn tell_events(self: Arc<Self>, webhooks: Webhooks) {
        let memory = Arc::new(Mutex::new(Memory::default()));
        let mut everywhere_at = Instant::now();
        let mut running = JoinSet::new();
        loop {
            tokio::time::sleep(LOOK).await;
            while running.try_join_next().is_some() {}
            let (view, now) = (self.node.views.now(), Instant::now());
            let is_everywhere = now >= everywhere_at;
            if is_everywhere {
                everywhere_at = now + LOOK_EVERYWHERE;
                lock(&memory).forget(now);
            }
            let catalogues = view.map.catalogues.values().filter(|catalogue| is_everywhere || view.notifying.contains_key(&catalogue.id));
            let mut places = self.places(&view, catalogues);
            places.extend(self.places(&view, view.dropped.values().map(|dropped| &dropped.catalogue)));
            let looked = futures::stream::iter(places).map(|place| self.waiting(place)).buffer_unordered(PLACES_AT_ONCE);
            for (place, name) in looked.concat().await {
                let queue = (place.catalogue, place.group, name.clone());
                if lock(&memory).take(&queue) {
                    let busy = Busy { memory: memory.clone(), queue };
                    let telling = Telling { sweep: self.clone(), view: view.clone(), webhooks: webhooks.clone(), busy };
                    running.spawn(async move { telling.run(place, &name).await });
                }
            }
        }
    }

    /// The targets for which something waits at a place.
    async fn waiting(&self, place: Place) -> Vec<(Place, String)> {
        let mut found = Vec::new();
        let mut from = vec![kind::EVENT];
        while let Some(rows) = self.rows(place, &from, &[kind::EVENT], 1).await {
            let Some(first) = rows.first() else { break };
            from = match Key::parse(&first.key) {
                Some(Key::Event(name, ..)) => {
                    found.push((place, name.to_owned()));
                    keys::after_events(name)
                }
                _ => key_after(&first.key),
            };
        }
        found
    }
}

fn lock(memory: &Mutex<Memory>) -> std::sync::MutexGuard<'_, Memory> {
    memory.lock().expect("nobody panics with the lock")
}

/// Gives a queue back in the end.
struct Busy {
    memory: Arc<Mutex<Memory>>,
    queue: Queue,
}

impl Drop for Busy {
    fn drop(&mut self) {
        lock(&self.memory).busy.remove(&self.queue);
    }
}

/// A queue that is being told.
struct Telling {
    sweep: Arc<Sweep>,
    view: Arc<ClusterView>,
    webhooks: Webhooks,
    busy: Busy,
}

impl Telling {
    async fn run(&self, place: Place, name: &str) {
        match self.view.records.targets.get(name) {
            Some(target) => self.queue(place, name, target).await,
            None => self.drop_oldest(place, name, usize::MAX, "its target was deleted").await,
        }
    }

    fn memory(&self) -> std::sync::MutexGuard<'_, Memory> {
        lock(&self.busy.memory)
    }

    /// Tells one target what waits for it, as far as it goes.
    async fn queue(&self, place: Place, name: &str, target: &Target) {
        self.bound(place, name).await;
        let prefix = keys::events(name);
        // Who was given another address or token meanwhile is told by the next look.
        let is_the_same = || self.sweep.node.views.now().records.targets.get(name) == Some(target);
        while !self.memory().waits(name, Instant::now()) && is_the_same() {
            let Some(rows) = self.sweep.rows(place, &prefix, &prefix, ROWS_MAX).await else { return };
            let mut left = &rows[..];
            if left.is_empty() {
                return;
            }
            while !left.is_empty() {
                let (now, later) = left.split_at(wave(left).max(1));
                if !self.wave(place, name, target, now).await {
                    return;
                }
                left = later;
            }
        }
    }

    /// Tells some events at once and takes those away that were told; whether all were.
    async fn wave(&self, place: Place, name: &str, target: &Target, rows: &[ScanRow]) -> bool {
        let told = futures::future::join_all(rows.iter().map(|row| self.tell(name, target, row))).await;
        let ops: Vec<Op> = rows.iter().zip(&told).filter(|(_, told)| told.is_ok()).map(|(row, _)| delete(place, row)).collect();
        let counts = &self.sweep.node.events;
        counts.told.fetch_add(ops.len() as u64, Ordering::Relaxed);
        counts.failed.fetch_add((told.len() - ops.len()) as u64, Ordering::Relaxed);
        let is_gone = ops.is_empty() || self.sweep.execute(place, ops).await;
        let failure = told.into_iter().find_map(Result::err);
        let now = Instant::now();
        match &failure {
            None => self.memory().went_well(name, now),
            Some(error) if self.memory().failed(name, now) => {
                tracing::warn!(target = name, error, "a target cannot be told of events; it is tried again");
            }
            Some(error) => tracing::debug!(target = name, error, "a target cannot be told of events"),
        }
        failure.is_none() && is_gone
    }

    async fn tell(&self, name: &str, target: &Target, row: &ScanRow) -> Result<(), String> {
        let Some(Key::Event(_, seq, number, object)) = Key::parse(&row.key) else { return Ok(()) };
        let event = match EventRow::from_value(&row.row.value) {
            Ok(event) => event,
            Err(error) => {
                // Nobody can be told of it; it must not hold up what comes after it.
                tracing::error!(%error, "an event cannot be read, and is dropped");
                self.sweep.node.events.dropped.fetch_add(1, Ordering::Relaxed);
                return Ok(());
            }
        };
        let owner = self.view.records.buckets.get(&event.bucket).map_or("", |bucket| bucket.owner.as_str());
        let text = event_text(&event, seq, number, object, self.webhooks.region(), owner);
        self.webhooks.tell(name, target, text).await
    }

    /// Drops what is too much, or of a bucket that was deleted too long ago.
    async fn bound(&self, place: Place, name: &str) {
        if !self.memory().is_due(&self.busy.queue, Instant::now()) {
            return;
        }
        let prefix = keys::events(name);
        let (mut from, mut count, mut old) = (prefix.clone(), 0, 0);
        let deleted = self.view.dropped.contains_key(&place.catalogue).then(wall_ms).flatten();
        while let Some(rows) = self.sweep.rows(place, &from, &prefix, SCAN_KEYS_MAX).await {
            let Some(last) = rows.last() else { break };
            count += rows.len();
            let is_old = |row: &&ScanRow| {
                let at_ms = EventRow::from_value(&row.row.value).map_or(0, |event| event.at_ms);
                deleted.is_some_and(|now| now.saturating_sub(at_ms) > DELETED_MS)
            };
            old += rows.iter().filter(is_old).count();
            from = key_after(&last.key);
        }
        if old > 0 {
            self.drop_oldest(place, name, old, "their bucket was deleted").await;
        } else if count > WAITING_MAX {
            self.drop_oldest(place, name, count - WAITING_MAX, "too many wait for their target").await;
        }
    }

    async fn drop_oldest(&self, place: Place, name: &str, mut count: usize, why: &str) {
        let prefix = keys::events(name);
        let mut dropped = 0;
        while count > 0 {
            let Some(rows) = self.sweep.rows(place, &prefix, &prefix, ROWS_MAX.min(count)).await else { break };
            if rows.is_empty() || !self.sweep.execute(place, rows.iter().map(|row| delete(place, row)).collect()).await {
                break;
            }
            count -= rows.len();
            dropped += rows.len();
        }
        self.sweep.node.events.dropped.fetch_add(dropped as u64, Ordering::Relaxed);
        if dropped > 0 {
            tracing::warn!(target = name, catalogue = %place.catalogue, dropped, why, "events are dropped");
        }
    }
}

fn delete(place: Place, row: &ScanRow) -> Op {
    Op::Delete { row: RowKey { catalogue: place.catalogue, key: row.key.clone() }, condition: Condition::Always }
}

#[cfg(test)]
mod tests {
    use super::*;
    use types::Seq;
    use types::record::Row;

    fn event(seq: u64, name: &str) -> ScanRow {
        ScanRow { key: keys::event("t", Seq(seq), 0, name.as_bytes()), row: Row { version: Seq(seq), value: Vec::new() } }
    }

    #[test]
    fn what_is_told_at_once_is_of_different_objects_and_not_too_much() {
        assert_eq!(wave(&[event(1, "a"), event(2, "b"), event(3, "a"), event(4, "c")]), 2);
        assert_eq!((wave(&[event(1, "a"), event(2, "a")]), wave(&[])), (1, 0));
        let many: Vec<ScanRow> = (0..30).map(|seq| event(seq, &format!("n{seq}"))).collect();
        assert_eq!(wave(&many), AT_ONCE);
    }

    #[test]
    fn a_queue_is_told_by_one_and_a_target_that_hangs_leaves_room_for_others() {
        let queue = |catalogue, target: &str| (CatalogueId(catalogue), GroupId::default(), target.to_owned());
        let mut memory = Memory::default();
        let taken = (0..100).filter(|catalogue| memory.take(&queue(*catalogue, "hangs"))).count();
        assert_eq!(taken, QUEUES_OF_TARGET_MAX);
        assert!(memory.take(&queue(0, "other")) && !memory.take(&queue(0, "other")));
        let memory = Arc::new(Mutex::new(memory));
        drop(Busy { memory: memory.clone(), queue: queue(0, "other") });
        assert!(lock(&memory).take(&queue(0, "other")));
    }

    #[test]
    fn a_target_in_trouble_is_left_alone_for_longer_each_time_and_not_for_ever() {
        let (mut memory, mut now) = (Memory::default(), Instant::now());
        assert!(memory.failed("t", now) && !memory.failed("t", now), "it is said once");
        let mut pauses = Vec::new();
        for _ in 0..10 {
            let began = now;
            while memory.waits("t", now) {
                now += Duration::from_millis(100);
            }
            pauses.push(now - began);
            assert!(!memory.failed("t", now));
        }
        assert!(pauses.is_sorted() && pauses[0] == PAUSE_MIN && pauses[9] == PAUSE_MAX, "{pauses:?}");
        memory.went_well("t", now);
        assert!(memory.waits("t", now), "an answer to what was begun before");
        now += PAUSE_MAX;
        memory.went_well("t", now);
        assert!(memory.failed("t", now), "all went well in between");
        assert!(!memory.waits("other", now));
    }
}
