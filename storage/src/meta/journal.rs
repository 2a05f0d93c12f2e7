//! The journal: what makes changes of metadata durable before RocksDB's tables have them.
//!
//! A file of fixed size whose blocks were written when the device was formatted, used as a ring: a sync writes data and nothing else, where
//! that of a growing log is a commit of the file system's own journal, too, and waits for those of all other devices on the file system.
//! RocksDB writes no log of its own. A record is added here and put into RocksDB's memory under one lock, so both have one order; a sync
//! writes what was added, directly and from a copy that nobody changes, so that no sector is ever half old and half new. A flush of RocksDB
//! makes everything before it durable in its tables and gives the ring's space back. After a crash the records from the last flush on are
//! done again. The form of the ring: [`ring`].

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use crate::StorageError;
use crate::io::file;

pub mod ring;

#[cfg(test)]
mod tests;

use ring::{Position, SECTOR_BYTES, Shape, Writer};

/// Bytes that wait for a sync at most: whoever adds more writes them.
const PENDING_BYTES_MAX: u64 = 1024 * 1024;
/// How long a writer waits at most for a flush to give space back. Flushes take far below a second; one that takes this long never ends.
const ROOM_WAIT: Duration = Duration::from_secs(60);

/// Up to where RocksDB has the stream of a generation; lies in RocksDB and changes with every batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Mark {
    /// Which ring, in which generation.
    pub shape: Shape,
    /// The position after the last record that RocksDB has.
    pub position: Position,
}

/// The journal of one device, open for writing.
#[derive(Debug)]
pub struct Journal {
    file: File,
    shape: Shape,
    state: Mutex<State>,
    /// Told when something became durable, or failed.
    changed: Condvar,
    /// Told when half of the ring is in use, or nobody is to flush any more.
    flush_due: Condvar,
}

#[derive(Debug)]
struct State {
    writer: Writer,
    /// Durable up to here, in this file or in RocksDB's tables.
    synced: Position,
    /// In RocksDB's tables up to here.
    flushed: Position,
    syncing: bool,
    /// Whoever flushes is to end.
    stopped: bool,
    /// What ended it.
    failed: Option<String>,
}

impl Journal {
    /// Makes the file of a journal, and gives its first mark. It is there for good when its directory is synced.
    pub fn create(path: &Path, bytes: u64) -> Result<Mark, StorageError> {
        let failed = |error| StorageError::io(format!("creating {}", path.display()), &error);
        let file = File::options().write(true).create_new(true).open(path).map_err(failed)?;
        let zeros = vec![0; 1024 * 1024];
        let mut at = 0;
        while at < bytes {
            let part = zeros.len().min((bytes - at) as usize);
            file.write_all_at(&zeros[..part], at).map_err(failed)?;
            at += part as u64;
        }
        file.sync_all().map_err(failed)?;
        Ok(Mark { shape: Shape { generation: 1, sectors: bytes / SECTOR_BYTES as u64 }, position: 0 })
    }

    /// Shows the records that RocksDB may lack, and gives the mark of a new generation. The journal is to be started with it when RocksDB has
    /// everything that was shown, and the new mark, in its tables.
    pub fn replay(path: &Path, mark: Mark, mut each: impl FnMut(&[u8], Mark) -> Result<(), StorageError>) -> Result<Mark, StorageError> {
        let ring = std::fs::read(path).map_err(|error| StorageError::io(format!("reading {}", path.display()), &error))?;
        let shape = mark.shape;
        if ring.len() as u64 != shape.sectors * SECTOR_BYTES as u64 {
            return Err(StorageError::Damaged(format!("{} has {} bytes, not those of its ring", path.display(), ring.len())));
        }
        ring::replay(&ring, shape, mark.position, |payload, position| each(payload, Mark { position, shape }))?;
        Ok(Mark { shape: Shape { generation: shape.generation + 1, ..shape }, position: 0 })
    }

    /// A journal that begins with that mark.
    pub fn start(path: &Path, mark: Mark) -> Result<Self, StorageError> {
        let file = file::open_unlocked(path, true)?;
        let shape = mark.shape;
        let state = State { writer: Writer::new(shape), synced: 0, flushed: 0, syncing: false, stopped: false, failed: None };
        Ok(Self { file, shape, state: Mutex::new(state), changed: Condvar::new(), flush_due: Condvar::new() })
    }

    /// Longest payload that a record takes.
    pub fn payload_max(&self) -> usize {
        self.shape.payload_max()
    }

    /// Writes a record, then has `apply` put it into RocksDB with that mark; with `sync` it is durable when this returns.
    pub fn write(&self, payload: &[u8], sync: bool, apply: impl FnOnce(Mark) -> Result<(), StorageError>) -> Result<(), StorageError> {
        let mut state = self.room(payload.len())?;
        let done = self.write_locked(&mut state, payload, apply);
        let end = done.map_err(|error| self.fail(&mut state, &error))?;
        let sync = sync || state.writer.pending() > PENDING_BYTES_MAX;
        if end - state.flushed >= self.shape.capacity() / 2 {
            self.flush_due.notify_one();
        }
        if sync { self.sync(state, end) } else { Ok(()) }
    }

    fn write_locked(
        &self,
        state: &mut State,
        payload: &[u8],
        apply: impl FnOnce(Mark) -> Result<(), StorageError>,
    ) -> Result<Position, StorageError> {
        let synced = state.synced;
        state.writer.append(payload, synced)?;
        let position = state.writer.end();
        apply(Mark { shape: self.shape, position })?;
        Ok(position)
    }

    /// Has `apply` make a change that no record can hold, and everything before it, durable in RocksDB's tables.
    pub fn write_through(&self, apply: impl FnOnce(Mark) -> Result<(), StorageError>) -> Result<(), StorageError> {
        let mut state = self.room(0)?;
        let position = state.writer.end();
        apply(Mark { shape: self.shape, position }).map_err(|error| self.fail(&mut state, &error))?;
        state.synced = state.synced.max(position);
        state.flushed = state.flushed.max(position);
        self.changed.notify_all();
        Ok(())
    }

    /// Waits until everything up to `end` is durable; one sync serves all that were written before it began.
    fn sync<'a>(&'a self, mut state: MutexGuard<'a, State>, end: Position) -> Result<(), StorageError> {
        loop {
            if let Some(reason) = &state.failed {
                return Err(StorageError::Failed(reason.clone()));
            }
            if state.synced >= end {
                return Ok(());
            }
            if state.syncing {
                state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
                continue;
            }
            state.syncing = true;
            let upto = state.writer.end();
            let taken = state.writer.take();
            drop(state);
            let written = taken.runs(self.shape).iter().try_for_each(|run| self.file.write_all_at(run.bytes, run.at));
            let synced = written.and_then(|()| self.file.sync_data());
            state = self.state();
            state.syncing = false;
            match synced {
                Ok(()) => state.synced = state.synced.max(upto),
                Err(error) => drop(self.fail(&mut state, &StorageError::io("writing the journal", &error))),
            }
            self.changed.notify_all();
        }
    }

    /// The state, once the ring has room for a record of that payload.
    fn room(&self, payload: usize) -> Result<MutexGuard<'_, State>, StorageError> {
        let deadline = Instant::now() + ROOM_WAIT;
        let mut state = self.state();
        loop {
            if let Some(reason) = &state.failed {
                return Err(StorageError::Failed(reason.clone()));
            }
            if state.writer.writes_over(payload) <= state.flushed {
                return Ok(state);
            }
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                let error = StorageError::Failed(format!("RocksDB has not flushed for {} s", ROOM_WAIT.as_secs()));
                return Err(self.fail(&mut state, &error));
            }
            state = self.changed.wait_timeout(state, left).unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    /// Calls `flush`, which makes all that RocksDB has in memory durable in its tables, whenever half of the ring is in use; until it is
    /// stopped. To be run on a thread of its own.
    pub fn run_flushes(&self, flush: impl Fn() -> Result<(), StorageError>) {
        let mut state = self.state();
        loop {
            if state.stopped || state.failed.is_some() {
                return;
            }
            let upto = state.writer.end();
            if upto - state.flushed < self.shape.capacity() / 2 {
                state = self.flush_due.wait(state).unwrap_or_else(PoisonError::into_inner);
                continue;
            }
            drop(state);
            // Everything up to `upto` went into RocksDB's memory before this begins.
            let flushed = flush();
            state = self.state();
            match flushed {
                Ok(()) => {
                    state.flushed = state.flushed.max(upto);
                    state.synced = state.synced.max(upto);
                }
                Err(error) => drop(self.fail(&mut state, &error)),
            }
            self.changed.notify_all();
        }
    }

    /// Has whoever flushes end.
    pub fn stop(&self) {
        self.state().stopped = true;
        self.flush_due.notify_all();
    }

    fn fail(&self, state: &mut State, error: &StorageError) -> StorageError {
        let reason = state.failed.get_or_insert_with(|| match error {
            StorageError::Failed(reason) => reason.clone(),
            other => other.to_string(),
        });
        let failed = StorageError::Failed(reason.clone());
        self.changed.notify_all();
        self.flush_due.notify_all();
        failed
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // Nothing panics while it holds the lock half changed.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
