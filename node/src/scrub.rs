//! Scrub: every device reads everything that lies on it, once in a while and when an operator asks, and has repaired what is damaged.
//!
//! ```text
//! due (by HA time, or asked for)  --a page of metadata, then its units, paced behind clients-->  next page ... end
//! a damaged unit: reported, rebuilt and written anew (crate::repair), read again at the end of the pass
//! a damaged entry of the metadata: reported
//! ```
//! Where a pass stands is kept on the device: after a restart it goes on from there. One device does not wait for another.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};
use storage::StorageError;
use storage::device::{Cursor, ScrubPage};
use tokio::task::JoinSet;
use types::scrub::ScrubProgress;
use types::wire::request::{ReadUnit, UnitInfo};
use types::{DeviceId, Fid, HaTime, codec};

use crate::pace::Pace;
use crate::serve::{LocalDevice, Node};

/// How often it is looked whether a pass is due.
const LOOK: Duration = Duration::from_millis(500);
/// Entries of the metadata in a page.
const ENTRIES_MAX: u64 = 32;
/// Bytes of metadata in a page.
const META_BYTES_MAX: u64 = 1 << 20;
/// How long one unit may take to be read; one that hangs is the watch's business.
const PATIENCE: Duration = Duration::from_secs(30);
/// A pass that is under way is written down so often, and at its begin and end.
const SAVE: Duration = Duration::from_secs(2);
/// Damaged units of one pass that are read again at its end.
const BAD_MAX: usize = 1024;
/// How often damaged units are read again, and asked to be repaired, at the end of a pass.
const ROUNDS_MAX: u32 = 6;
/// Pause before that: longer than a unit waits for its next attempt.
const ROUND_PAUSE: Duration = Duration::from_secs(6);
/// The name of what is kept on the device.
const NOTE: &[u8] = b"scrub";
/// Version of its form.
const NOTE_VERSION: u8 = 1;

/// How devices are scrubbed.
#[derive(Clone, Copy, Debug)]
pub struct ScrubOptions {
    /// From the begin of one pass to that of the next, of HA time.
    pub every: Duration,
    /// Bytes in a second on one device, at most.
    pub bytes_per_second_max: u64,
}

impl Default for ScrubOptions {
    fn default() -> Self {
        Self { every: Duration::from_secs(7 * 24 * 3600), bytes_per_second_max: 64 << 20 }
    }
}

/// What is kept on the device.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
struct Saved {
    progress: ScrubProgress,
    cursor: Option<Cursor>,
    /// Units that were damaged, to be read again at the end.
    bad: BTreeSet<(Fid, u32)>,
    /// The entry of HA's log that last asked for a pass, of those that were heard.
    heard: u64,
}

/// Scrubs the devices of the process for ever.
pub async fn run(node: Arc<Node>, options: ScrubOptions) {
    let mut devices = JoinSet::new();
    for (id, local) in &node.devices {
        let scrub = Scrub { node: node.clone(), id: *id, local: local.clone(), options };
        devices.spawn(scrub.run());
    }
    while devices.join_next().await.is_some() {}
}

/// The scrub of one device.
struct Scrub {
    node: Arc<Node>,
    id: DeviceId,
    local: LocalDevice,
    options: ScrubOptions,
}

impl Scrub {
    async fn run(self) {
        let mut saved = self.load().await;
        self.show(&saved);
        loop {
            tokio::time::sleep(LOOK).await;
            if self.local.store.failure().is_some() {
                return;
            }
            let (now, asked) = (self.node.lease.ha_time(Instant::now()), self.asked());
            if now.0 == 0 {
                continue;
            }
            if saved.progress.begun.0 == 0 {
                // Fresh: there is nothing to read yet.
                saved.progress.begun = now;
                self.save(&saved).await;
            }
            if is_due(&saved, now, asked, self.options.every) {
                if saved.cursor.is_none() || asked > saved.heard {
                    let progress = ScrubProgress { running: true, begun: now, ended: saved.progress.ended, ..ScrubProgress::default() };
                    saved = Saved { progress, heard: asked, ..Saved::default() };
                    self.save(&saved).await;
                }
                tracing::info!(device = %self.id, resumed = saved.cursor.is_some(), "the scrub begins");
                self.pass(&mut saved).await;
            }
        }
    }

    fn asked(&self) -> u64 {
        self.node.views.now().scrubs.get(&self.id).copied().unwrap_or(0)
    }

    /// One pass, from where it stands to its end, or until another one is asked for.
    async fn pass(&self, saved: &mut Saved) {
        let mut saved_at = Instant::now();
        loop {
            let store = self.local.store.clone();
            let cursor = saved.cursor.clone();
            let page = blocking(move || store.scrub_page(cursor.as_ref(), ENTRIES_MAX, META_BYTES_MAX)).await;
            let page = match page {
                Ok(page) => page,
                Err(error) => {
                    tracing::warn!(device = %self.id, %error, "a scrub begins anew");
                    *saved = Saved { heard: saved.heard, ..Saved::default() };
                    return;
                }
            };
            self.page(&page, saved).await;
            self.show(saved);
            let Some(next) = page.next else { break };
            saved.cursor = Some(next);
            if saved_at.elapsed() >= SAVE {
                self.save(saved).await;
                saved_at = Instant::now();
            }
            if self.local.store.failure().is_some() || self.asked() > saved.heard {
                return;
            }
        }
        self.again(saved).await;
        (saved.cursor, saved.bad) = (None, BTreeSet::new());
        saved.progress.running = false;
        saved.progress.ended = self.node.lease.ha_time(Instant::now());
        self.save(saved).await;
        tracing::info!(device = %self.id, progress = ?saved.progress, "the scrub has read everything");
    }

    async fn page(&self, page: &ScrubPage, saved: &mut Saved) {
        let Saved { progress, bad, .. } = saved;
        let pace = Pace { bytes_per_second_max: self.options.bytes_per_second_max, yields: YIELDS };
        progress.rows += page.rows;
        progress.bytes += page.bytes;
        for words in &page.damaged {
            progress.rows_damaged += 1;
            self.node.reports.trouble(self.id, words.clone());
        }
        tokio::time::sleep(pace.rest(page.bytes, Duration::ZERO, false)).await;
        for unit in &page.units {
            let (began, begun) = (Instant::now(), self.local.clients.begun());
            let is_good = self.read(unit).await;
            progress.units += 1;
            progress.bytes += u64::from(unit.length);
            if !is_good {
                progress.damaged += 1;
                if bad.len() < BAD_MAX {
                    bad.insert((unit.fid, unit.unit));
                }
            }
            pace.after(unit.length.into(), began.elapsed(), &self.local.clients, begun).await;
        }
    }

    /// Reads a unit; one that is damaged is reported, and waits for its repair. One that is gone meanwhile is good.
    async fn read(&self, unit: &UnitInfo) -> bool {
        let wanted = ReadUnit { device: self.id, fid: unit.fid, unit: unit.unit, offset: 0, length: unit.length };
        let reading = async {
            let buf = self.node.buffer(&self.local, unit.length as usize).await.ok()?;
            match self.local.store.read_unit(unit.fid, unit.unit, 0, unit.length, buf).await {
                Err(error @ (StorageError::Corrupt { .. } | StorageError::Io { .. })) => {
                    let _told = self.node.unit_failed(&wanted, &error);
                    Some(false)
                }
                _ => Some(true),
            }
        };
        // What could not be read now for want of a buffer is read in the next pass.
        tokio::time::timeout(PATIENCE, reading).await.ok().flatten().unwrap_or(true)
    }

    /// Reads what was damaged again, until it is good or was asked for often enough.
    async fn again(&self, saved: &mut Saved) {
        let until = Instant::now() + ROUND_PAUSE * ROUNDS_MAX;
        while !saved.bad.is_empty() && self.local.store.failure().is_none() && Instant::now() < until {
            // A repair under way needs a moment; one that failed is asked for again by the reading.
            tokio::time::sleep(LOOK).await;
            for (fid, unit) in saved.bad.clone() {
                if self.node.repairs.wants(self.id, fid, unit) {
                    continue;
                }
                let is_good = match self.local.store.unit(fid, unit) {
                    Ok(Some(info)) => self.read(&info).await,
                    Ok(None) => true,
                    Err(_) => false,
                };
                if is_good {
                    saved.bad.remove(&(fid, unit));
                    saved.progress.repaired += 1;
                }
            }
            self.show(saved);
        }
    }

    fn show(&self, saved: &Saved) {
        *self.local.scrub.lock().expect("nobody panics with the lock") = saved.progress.clone();
    }

    async fn load(&self) -> Saved {
        let store = self.local.store.clone();
        let note = blocking(move || store.note(NOTE)).await;
        let saved = note.ok().flatten().and_then(|bytes| match bytes.split_first() {
            Some((&NOTE_VERSION, body)) => codec::decode(body).ok(),
            _ => None,
        });
        saved.unwrap_or_default()
    }

    async fn save(&self, saved: &Saved) {
        self.show(saved);
        let (store, bytes) = (self.local.store.clone(), [&[NOTE_VERSION][..], &codec::encode(saved)].concat());
        if let Err(error) = blocking(move || store.set_note(NOTE, &bytes)).await {
            tracing::debug!(device = %self.id, %error, "where the scrub stands is not kept");
        }
    }
}

/// While clients are at work a unit is followed by a rest of so many times what it took: a fifth of the device's time at most.
const YIELDS: u32 = 4;

/// Whether a pass is to begin or to go on.
fn is_due(saved: &Saved, now: HaTime, asked: u64, every: Duration) -> bool {
    let every = u64::try_from(every.as_millis()).unwrap_or(u64::MAX);
    saved.progress.running || asked > saved.heard || now.0 >= saved.progress.begun.0.saturating_add(every)
}

/// Runs what may wait for a disk.
async fn blocking<T: Send + 'static>(work: impl FnOnce() -> Result<T, StorageError> + Send + 'static) -> Result<T, StorageError> {
    let done = tokio::task::spawn_blocking(work).await;
    done.unwrap_or_else(|error| Err(StorageError::Invalid(error.to_string())))
}

#[cfg(test)]
mod tests {
    use super::*;

    const WEEK: Duration = Duration::from_secs(7 * 24 * 3600);

    #[test]
    fn a_pass_is_due_by_time_when_it_was_broken_off_and_when_it_is_asked_for() {
        let week = WEEK.as_millis() as u64;
        let mut saved = Saved::default();
        saved.progress.begun = HaTime(1000);
        assert!(!is_due(&saved, HaTime(week), 0, WEEK));
        assert!(is_due(&saved, HaTime(1000 + week), 0, WEEK));
        assert!(is_due(&saved, HaTime(1001), 7, WEEK));
        saved.heard = 7;
        assert!(!is_due(&saved, HaTime(1001), 7, WEEK), "it was heard");
        saved.progress.running = true;
        assert!(is_due(&saved, HaTime(1001), 7, WEEK));
    }
}
