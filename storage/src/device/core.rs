//! What all handles of a device share: its parts, its free space, the units on their way.

use std::collections::HashSet;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;

use tokio::sync::{Notify, Semaphore, oneshot};
use types::Fid;
use types::wire::request::DeviceUsage;

use super::commit::{Commit, CommitQueue};
use super::pulse::Pulse;
use crate::alloc::{Allocator, Extent};
use crate::io::BlockIo;
use crate::meta::sealed::{self, after};
use crate::meta::store::{Change, Family};
use crate::meta::{Health, Meta};
use crate::options::{GroupGate, SessionGate};
use crate::unit::UnitRecord;
use crate::{Identity, StorageError};

/// Units that are read or written on one device at a time; others wait. 256 of the largest are what a node's buffer pool holds.
pub const TRANSFERS_MAX: usize = 256;

/// Markers of dead fids that are looked at, and taken away, in one batch.
const MARKERS_AT_ONCE: usize = 1024;

/// Who commits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Committing {
    /// A thread of the device.
    Thread,
    /// Whoever calls `pump`: the simulator.
    Pumped,
}

/// The parts of a device.
pub(crate) struct Core {
    pub identity: Identity,
    pub io: Box<dyn BlockIo>,
    pub meta: Meta,
    pub health: Arc<Health>,
    pub closed: SessionGate,
    pub filling: GroupGate,
    pub commits: CommitQueue,
    pub permits: Arc<Semaphore>,
    pub pulse: Arc<Pulse>,
    /// Told whenever a unit on its way has come to its end.
    pub settled: Notify,
    space: Mutex<Space>,
}

/// What is free, and what is on its way.
pub(crate) struct Space {
    pub alloc: Allocator,
    pub under_way: HashSet<(Fid, u32)>,
    pub units: u64,
}

impl Core {
    /// Puts a device together; rebuilds its free space from the units' records.
    pub fn new(
        identity: Identity,
        io: Box<dyn BlockIo>,
        meta: Meta,
        health: Arc<Health>,
        (closed, filling): (SessionGate, GroupGate),
    ) -> Result<Self, StorageError> {
        let mut space = Space { alloc: Allocator::new(identity.area()), under_way: HashSet::new(), units: 0 };
        each_unit(&meta, |record| {
            for extent in &record.extents {
                if !space.alloc.claim(*extent) {
                    let UnitRecord { info, .. } = record;
                    return Err(StorageError::Damaged(format!(
                        "unit {} of {} lies at {extent:?}, where another lies or nothing can",
                        info.unit, info.fid
                    )));
                }
            }
            space.units += 1;
            Ok(true)
        })?;
        Ok(Self {
            identity,
            io,
            meta,
            health,
            closed,
            filling,
            commits: CommitQueue::default(),
            permits: Arc::new(Semaphore::new(TRANSFERS_MAX)),
            pulse: Arc::default(),
            settled: Notify::new(),
            space: Mutex::new(space),
        })
    }

    pub fn space(&self) -> MutexGuard<'_, Space> {
        // Nothing panics while it holds the lock half changed but on a broken invariant, and that ends the process.
        self.space.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A unit has come to its end without a record: its space is free again.
    pub fn abandon(&self, record: &UnitRecord) {
        self.settle([(record.info.fid, record.info.unit)], &record.extents, 0);
    }

    /// Units on their way have come to their end, and these extents are free.
    pub fn settle(&self, units: impl IntoIterator<Item = (Fid, u32)>, free: &[Extent], more_units: i64) {
        let mut space = self.space();
        for unit in units {
            space.under_way.remove(&unit);
        }
        for extent in free {
            space.alloc.release(*extent);
        }
        space.units = space.units.saturating_add_signed(more_units);
        drop(space);
        self.settled.notify_waiters();
    }

    /// Whether writes of a fid are refused for good; what is restored is refused only where the fid is dead.
    pub fn is_fenced(&self, fid: Fid, restored: bool) -> Result<bool, StorageError> {
        Ok((!restored && (self.closed)(fid.session)) || self.meta.is_dead(fid)?)
    }

    /// The record of a unit, if there is one.
    pub fn find(&self, fid: Fid, unit: u32) -> Result<Option<UnitRecord>, StorageError> {
        let key = sealed::unit(fid, unit);
        self.meta.store().get(Family::Units, &key)?.map(|value| UnitRecord::from_value(&key, &value)).transpose()
    }

    /// Removes the units of fids.
    pub async fn delete(&self, fids: Vec<Fid>, dead: bool) -> Result<(), StorageError> {
        self.health.check()?;
        let (reply, answer) = oneshot::channel();
        self.commits.push(Commit::Delete { fids, dead, reply });
        answer.await.unwrap_or_else(|_| Err(closed()))
    }

    /// Takes markers of dead fids away whose sessions are closed, and whose groups are not filled here: these are refused for good by
    /// themselves. Gives how many.
    pub fn forget_closed_sessions(&self) -> Result<usize, StorageError> {
        let prefix = sealed::dead_all();
        let (mut from, mut count) = (prefix.to_vec(), 0);
        loop {
            let (mut gone, mut looked_at) = (Vec::new(), 0);
            self.meta.each(Family::Device, &from.clone(), &after(&prefix), |key, _| {
                from = [key, &[0]].concat();
                let over = sealed::session_of_dead(key).is_some_and(|session| (self.closed)(session));
                if over && !sealed::group_of_dead(key).is_some_and(|group| (self.filling)(group)) {
                    gone.push(Change::Delete(Family::Device, key.to_vec()));
                }
                looked_at += 1;
                Ok(looked_at < MARKERS_AT_ONCE)
            })?;
            count += gone.len();
            if !gone.is_empty() {
                // No hurry: a marker that comes back with a crash is taken away again.
                self.meta.write(gone, false)?;
            }
            if looked_at < MARKERS_AT_ONCE {
                return Ok(count);
            }
        }
    }

    /// Waits until everything that is under way now is over.
    pub async fn drain(&self) -> Result<(), StorageError> {
        let mut waited_for: HashSet<(Fid, u32)> = self.space().under_way.clone();
        loop {
            let settled = self.settled.notified();
            tokio::pin!(settled);
            // From here on no end of a unit is missed.
            settled.as_mut().enable();
            {
                let space = self.space();
                waited_for.retain(|unit| space.under_way.contains(unit));
            }
            if waited_for.is_empty() {
                return Ok(());
            }
            settled.await;
        }
    }

    pub fn usage(&self) -> DeviceUsage {
        let meta_bytes = self.meta.bytes();
        let space = self.space();
        DeviceUsage {
            device: self.identity.device,
            bytes: self.identity.area().bytes,
            free: space.alloc.free(),
            meta_bytes,
            units: space.units,
            ..DeviceUsage::default()
        }
    }
}

/// Shows the records of all units until `visit` says `false` or fails.
pub(crate) fn each_unit(meta: &Meta, mut visit: impl FnMut(UnitRecord) -> Result<bool, StorageError>) -> Result<(), StorageError> {
    meta.each(Family::Units, &[], &after(&[]), |key, value| visit(UnitRecord::from_value(key, value)?))
}

/// What is told to those who wait when a device is closed.
pub(crate) fn closed() -> StorageError {
    StorageError::Failed("the device is closed".into())
}

/// Closes the device when the last handle is gone.
pub(crate) struct Handle {
    pub core: Arc<Core>,
    thread: Option<JoinHandle<()>>,
}

impl Handle {
    pub fn new(core: Arc<Core>, thread: Option<JoinHandle<()>>) -> Self {
        Self { core, thread }
    }
}

impl Drop for Handle {
    fn drop(&mut self) {
        // First all data is written, then all that was written is committed.
        self.core.io.stop();
        self.core.commits.stop();
        if let Some(thread) = self.thread.take() {
            // A panic of the thread was reported where it happened.
            drop(thread.join());
        }
    }
}
