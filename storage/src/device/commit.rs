//! The group commit: whatever waits is made durable together, with one sync of the data file and one of the metadata.
//!
//! The order is what makes a device crash-safe: (1) data is written, (2) the data file is synced, (3) the records that point to the data
//! are written and synced in one batch, (4) only then is anybody answered, and space that a delete gave back is used again. A batch is what
//! waits when the one before it is over: it never waits for more.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

use tokio::sync::{OwnedSemaphorePermit, oneshot};
use types::Fid;

use super::core::{Core, closed};
use crate::StorageError;
use crate::alloc::Extent;
use crate::buf::AnyBuf;
use crate::guard::EndsProcess;
use crate::meta::sealed::{self, after, seal};
use crate::meta::store::{Change, Family};
use crate::unit::{UnitRecord, fid_prefix};

/// Most commits in one batch.
const COMMITS_MAX: usize = 1024;

/// What a writer gets back: its buffer, or why not.
pub(crate) type PutReply = oneshot::Sender<Result<Box<dyn AnyBuf>, StorageError>>;

/// What waits to be made durable.
pub(crate) enum Commit {
    /// A unit whose data was written.
    Put(Box<Put>),
    /// The units of dead fids.
    Delete {
        /// Which.
        fids: Vec<Fid>,
        /// Whether they are dead, or only none of this device's any more.
        dead: bool,
        /// Whom to tell.
        reply: oneshot::Sender<Result<(), StorageError>>,
    },
}

/// A unit whose data was written.
pub(crate) struct Put {
    pub record: UnitRecord,
    /// What it takes the place of: it is written anew, and only as long as that is there.
    pub replaces: Option<UnitRecord>,
    /// It was written before, in another place, and comes back: its session may be closed.
    pub restored: bool,
    pub data: Box<dyn AnyBuf>,
    pub reply: PutReply,
    pub permit: OwnedSemaphorePermit,
}

/// What waits for the next batch. Bounded: a unit holds a permit of the device, and a delete a caller of the process.
#[derive(Default)]
pub(crate) struct CommitQueue {
    state: Mutex<State>,
    more: Condvar,
}

#[derive(Default)]
struct State {
    waiting: Vec<Commit>,
    stopped: bool,
}

impl CommitQueue {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Puts one in the queue.
    pub fn push(&self, commit: Commit) {
        let mut state = self.state();
        if state.stopped {
            drop(state);
            return refuse(commit, &closed());
        }
        state.waiting.push(commit);
        drop(state);
        self.more.notify_one();
    }

    /// No more; what waits is still committed.
    pub fn stop(&self) {
        self.state().stopped = true;
        self.more.notify_one();
    }

    fn take(&self) -> Vec<Commit> {
        let mut state = self.state();
        let count = state.waiting.len().min(COMMITS_MAX);
        state.waiting.drain(..count).collect()
    }

    /// The next batch; `None` where there will be none.
    fn wait(&self) -> Option<Vec<Commit>> {
        let mut state = self.state();
        while state.waiting.is_empty() {
            if state.stopped {
                return None;
            }
            state = self.more.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
        drop(state);
        Some(self.take())
    }
}

fn refuse(commit: Commit, error: &StorageError) {
    // Whoever does not wait any more is not told.
    match commit {
        Commit::Put(put) => drop(put.reply.send(Err(error.clone()))),
        Commit::Delete { reply, .. } => drop(reply.send(Err(error.clone()))),
    }
}

/// The commit thread.
pub(crate) fn run(core: &Core) {
    let _guard = EndsProcess("commit");
    while let Some(batch) = core.commits.wait() {
        commit(core, batch);
    }
}

/// Commits all that waits, on the caller's thread.
pub(crate) fn pump(core: &Core) {
    loop {
        let batch = core.commits.take();
        if batch.is_empty() {
            return;
        }
        commit(core, batch);
    }
}

type DeleteReply = oneshot::Sender<Result<(), StorageError>>;

/// What a batch comes to.
#[derive(Default)]
struct Plan {
    changes: Vec<Change>,
    puts: Vec<Put>,
    deletes: Vec<DeleteReply>,
    freed: Vec<Extent>,
    units_gone: i64,
    /// Fids whose units go in this batch.
    dead: HashSet<Fid>,
    /// Those of them whose death is to be remembered.
    marked: HashSet<Fid>,
}

fn commit(core: &Core, batch: Vec<Commit>) {
    let _work = core.pulse.begin();
    let mut plan = Plan::default();
    let mut puts = Vec::new();
    for commit in batch {
        match commit {
            Commit::Put(put) => puts.push(*put),
            Commit::Delete { fids, dead, reply } => match plan.delete(core, &fids, dead) {
                Ok(()) => plan.deletes.push(reply),
                Err(error) => drop(reply.send(Err(error))),
            },
        }
    }
    for put in puts {
        plan.put(core, put);
    }
    let outcome = plan.make_durable(core);
    plan.settle(core, outcome);
}

impl Plan {
    fn delete(&mut self, core: &Core, fids: &[Fid], dead: bool) -> Result<(), StorageError> {
        let mut units: HashMap<Fid, Vec<UnitRecord>> = HashMap::new();
        for fid in fids {
            if self.dead.contains(fid) || units.contains_key(fid) {
                continue;
            }
            let prefix = fid_prefix(*fid);
            let mut records = Vec::new();
            core.meta.each(Family::Units, &prefix, &after(&prefix), |key, value| {
                records.push(UnitRecord::from_value(key, value)?);
                Ok(true)
            })?;
            units.insert(*fid, records);
        }
        // All of them read well: from here on nothing fails.
        for fid in fids {
            // A closed session is refused for good by itself; most fids die after theirs, and a marker of each would stay for ever.
            // One of a group that is being filled would come back from those that still have it.
            // One that was only forgotten earlier in this batch is marked all the same: its delete is acknowledged.
            if dead && (!(core.closed)(fid.session) || (core.filling)(fid.group)) && self.marked.insert(*fid) {
                let key = sealed::dead(*fid);
                let marker = seal(Family::Device, &key, &[]);
                self.changes.push(Change::Put(Family::Device, key, marker));
            }
            let Some(records) = units.remove(fid) else { continue };
            self.dead.insert(*fid);
            for record in records {
                self.changes.push(Change::Delete(Family::Units, record.key()));
                self.freed.extend(&record.extents);
                self.units_gone += 1;
            }
        }
        Ok(())
    }

    fn put(&mut self, core: &Core, put: Put) {
        if let Err(error) = self.may_put(core, &put) {
            core.abandon(&put.record);
            return drop(put.reply.send(Err(error)));
        }
        if let Some(old) = &put.replaces {
            self.freed.extend(&old.extents);
            self.units_gone += 1;
        }
        self.changes.push(Change::Put(Family::Units, put.record.key(), put.record.to_value()));
        self.puts.push(put);
    }

    fn may_put(&self, core: &Core, put: &Put) -> Result<(), StorageError> {
        let (fid, unit) = (put.record.info.fid, put.record.info.unit);
        let Some(old) = &put.replaces else {
            let fenced = self.dead.contains(&fid) || core.is_fenced(fid, put.restored)?;
            return if fenced { Err(StorageError::Fenced(fid)) } else { Ok(()) };
        };
        // Its writer's session may be long over; what counts is that nobody has deleted it, in this batch or before.
        let there = !self.dead.contains(&fid) && core.find(fid, unit)?.as_ref() == Some(old);
        if there { Ok(()) } else { Err(StorageError::NoUnit { fid, unit }) }
    }

    fn make_durable(&mut self, core: &Core) -> Result<(), StorageError> {
        core.health.check()?;
        if self.changes.is_empty() {
            return Ok(());
        }
        if !self.puts.is_empty() {
            core.io.sync().map_err(|error| core.health.fail(&StorageError::io("syncing the data file", &error)))?;
        }
        core.meta.write(std::mem::take(&mut self.changes), true)
    }

    fn settle(self, core: &Core, outcome: Result<(), StorageError>) {
        let units: Vec<_> = self.puts.iter().map(|put| (put.record.info.fid, put.record.info.unit)).collect();
        match &outcome {
            Ok(()) => core.settle(units, &self.freed, self.puts.len() as i64 - self.units_gone),
            // What became of it is not known: the space of these units is not used again by this opening of the device.
            Err(_) => core.settle(units, &[], 0),
        }
        for put in self.puts {
            let Put { data, reply, permit, .. } = put;
            drop(permit);
            drop(reply.send(outcome.clone().map(|()| data)));
        }
        for reply in self.deletes {
            drop(reply.send(outcome.clone()));
        }
    }
}

/// Starts the commit thread.
pub(crate) fn start(core: &Arc<Core>) -> std::io::Result<std::thread::JoinHandle<()>> {
    let core = Arc::clone(core);
    std::thread::Builder::new().name("commit".into()).spawn(move || run(&core))
}
