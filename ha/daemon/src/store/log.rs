//! Raft's log and vote, over the write-ahead log: openraft's `RaftLogStorage`.
//!
//! One thread owns the write-ahead log and takes batches in order; whatever waits when it is free becomes one frame with one sync. The
//! entries that are not purged are also in memory, so that reading never waits for the disk.

use std::collections::BTreeMap;
use std::fmt::Debug;
use std::io;
use std::ops::RangeBounds;
use std::sync::{Arc, Mutex, MutexGuard};

use openraft::storage::{LogFlushed, LogState, RaftLogStorage};
use openraft::{Entry, ErrorSubject, ErrorVerb, LogId, OptionalSend, RaftLogReader, StorageError, StorageIOError, Vote};
use tokio::sync::{mpsc, oneshot};

use super::Lock;
use super::disk::Disk;
use super::record::{Record, entry, vote};
use super::wal::Wal;
use crate::error::StoreError;
use crate::raft::Types;

/// Batches that wait for the disk.
const BATCHES_MAX: usize = 64;
/// Records in one frame, beyond those of its first batch: with the largest commands it still fits.
const RECORDS_MAX: usize = 16;

/// The log of this daemon.
#[derive(Clone, Debug)]
pub struct Log {
    known: Arc<Mutex<Known>>,
    writer: mpsc::Sender<Batch>,
}

/// What the log holds.
#[derive(Debug, Default)]
struct Known {
    vote: Option<Vote<u64>>,
    purged: Option<LogId<u64>>,
    entries: BTreeMap<u64, Entry<Types>>,
}

struct Batch {
    records: Vec<Record>,
    done: Done,
}

enum Done {
    Flushed(LogFlushed<Types>),
    Told(oneshot::Sender<io::Result<()>>),
}

impl Done {
    fn tell(self, result: io::Result<()>) {
        match self {
            Self::Flushed(callback) => callback.log_io_completed(result),
            // Who does not wait any more need not know.
            Self::Told(tell) => drop(tell.send(result)),
        }
    }
}

impl Known {
    fn take(&mut self, record: Record) {
        match record {
            Record::Vote { term, node, committed } => self.vote = Some(vote(term, node, committed)),
            Record::Entry(place, payload) => {
                self.entries.insert(place.index, entry(place, payload));
            }
            Record::Truncate(from) => drop(self.entries.split_off(&from)),
            Record::Purge(place) => self.purge(place.into()),
        }
    }

    fn purge(&mut self, upto: LogId<u64>) {
        if self.purged.is_none_or(|p| p.index < upto.index) {
            self.purged = Some(upto);
        }
        self.entries = self.entries.split_off(&(upto.index + 1));
    }

    /// What is left after all records must be a log without a gap.
    fn check(&mut self) -> Result<(), StoreError> {
        if let Some(purged) = self.purged {
            self.purge(purged);
        }
        let first = self.purged.map_or(0, |p| p.index + 1);
        for (expected, index) in (first..).zip(self.entries.keys()) {
            if *index != expected {
                let problem = format!("entry {expected} is missing, though {index} is there");
                return Err(StoreError::Damaged { file: "the log".into(), problem });
            }
        }
        Ok(())
    }
}

impl Log {
    /// The log with those records, which `wal` has on disk. Its thread ends when the last clone is dropped.
    pub fn start<D: Disk + Debug>(wal: Wal<D>, records: Vec<Record>, lock: Lock) -> Result<Self, StoreError> {
        let mut known = Known::default();
        for record in records {
            known.take(record);
        }
        known.check()?;
        let (writer, batches) = mpsc::channel(BATCHES_MAX);
        std::thread::Builder::new()
            .name("ha-log".into())
            .spawn(move || {
                write_batches(wal, batches);
                drop(lock);
            })
            .map_err(|source| StoreError::Io { what: "the log's thread".into(), source })?;
        Ok(Self { known: Arc::new(Mutex::new(known)), writer })
    }

    /// Whether nothing was ever agreed or voted here.
    pub fn is_fresh(&self) -> bool {
        let known = self.known();
        known.vote.is_none() && known.purged.is_none() && known.entries.is_empty()
    }

    /// The last entry, or the last one purged.
    pub fn last(&self) -> Option<LogId<u64>> {
        let known = self.known();
        known.entries.last_key_value().map(|(_, entry)| entry.log_id).or(known.purged)
    }

    fn known(&self) -> MutexGuard<'_, Known> {
        self.known.lock().expect("nobody panics with the lock")
    }

    async fn send(&self, records: Vec<Record>, done: Done) -> io::Result<()> {
        let sent = self.writer.send(Batch { records, done }).await;
        sent.map_err(|_| io::Error::other("the log's thread has ended"))
    }

    async fn write(&self, record: Record) -> io::Result<()> {
        let (tell, told) = oneshot::channel();
        self.send(vec![record], Done::Told(tell)).await?;
        told.await.map_err(|_| io::Error::other("the log's thread has ended"))?
    }
}

/// The thread that owns the write-ahead log.
fn write_batches<D: Disk>(mut wal: Wal<D>, mut batches: mpsc::Receiver<Batch>) {
    while let Some(first) = batches.blocking_recv() {
        let Batch { mut records, done } = first;
        let mut waiting = vec![done];
        while records.len() < RECORDS_MAX
            && let Ok(mut next) = batches.try_recv()
        {
            records.append(&mut next.records);
            waiting.push(next.done);
        }
        let result = wal.write(&records);
        if let Err(error) = &result {
            tracing::error!(%error, "the log cannot be written");
        }
        for done in waiting {
            done.tell(match &result {
                Ok(()) => Ok(()),
                Err(e) => Err(io::Error::other(e.to_string())),
            });
        }
    }
}

fn failed(subject: ErrorSubject<u64>, error: &io::Error) -> StorageError<u64> {
    StorageIOError::new(subject, ErrorVerb::Write, error).into()
}

impl RaftLogReader<Types> for Log {
    async fn try_get_log_entries<RB: RangeBounds<u64> + Clone + Debug + OptionalSend>(
        &mut self,
        range: RB,
    ) -> Result<Vec<Entry<Types>>, StorageError<u64>> {
        Ok(self.known().entries.range(range).map(|(_, entry)| entry.clone()).collect())
    }
}

impl RaftLogStorage<Types> for Log {
    type LogReader = Self;

    async fn get_log_state(&mut self) -> Result<LogState<Types>, StorageError<u64>> {
        let known = self.known();
        let last = known.entries.last_key_value().map(|(_, entry)| entry.log_id);
        Ok(LogState { last_purged_log_id: known.purged, last_log_id: last.or(known.purged) })
    }

    async fn get_log_reader(&mut self) -> Self {
        self.clone()
    }

    async fn save_vote(&mut self, vote: &Vote<u64>) -> Result<(), StorageError<u64>> {
        self.write(vote.into()).await.map_err(|e| failed(ErrorSubject::Vote, &e))?;
        self.known().vote = Some(*vote);
        Ok(())
    }

    async fn read_vote(&mut self) -> Result<Option<Vote<u64>>, StorageError<u64>> {
        Ok(self.known().vote)
    }

    async fn append<I>(&mut self, entries: I, callback: LogFlushed<Types>) -> Result<(), StorageError<u64>>
    where
        I: IntoIterator<Item = Entry<Types>> + OptionalSend,
        I::IntoIter: OptionalSend,
    {
        let entries: Vec<Entry<Types>> = entries.into_iter().collect();
        let records = entries.iter().map(Record::from).collect();
        self.known().entries.extend(entries.into_iter().map(|entry| (entry.log_id.index, entry)));
        self.send(records, Done::Flushed(callback)).await.map_err(|e| failed(ErrorSubject::Logs, &e))
    }

    async fn truncate(&mut self, log_id: LogId<u64>) -> Result<(), StorageError<u64>> {
        drop(self.known().entries.split_off(&log_id.index));
        self.write(Record::Truncate(log_id.index)).await.map_err(|e| failed(ErrorSubject::Logs, &e))
    }

    async fn purge(&mut self, log_id: LogId<u64>) -> Result<(), StorageError<u64>> {
        self.known().purge(log_id);
        self.write(Record::Purge(log_id.into())).await.map_err(|e| failed(ErrorSubject::Logs, &e))
    }
}
