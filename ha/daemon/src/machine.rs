//! The state of HA as this daemon has applied it: openraft's `RaftStateMachine`, and what subscribers read.
//!
//! The last entries are kept in memory, so that who follows the log reads them from its own cursor; who is further behind takes a
//! snapshot. Everything that is seen here is committed.

use std::collections::VecDeque;
use std::io::Cursor;
use std::sync::{Arc, Mutex, RwLock};
use std::time::Duration;

use ha_state::{Command, Outcome, State};
use openraft::storage::RaftStateMachine;
use openraft::{
    BasicNode, Entry, EntryPayload, ErrorSubject, ErrorVerb, LogId, OptionalSend, RaftSnapshotBuilder, SnapshotMeta, StorageError,
    StorageIOError, StoredMembership,
};
use tokio::sync::watch;
use types::codec::{decode, encode};

use crate::error::StoreError;
use crate::points;
use crate::raft::{Answer, Types};
use crate::store::record::SnapshotHead;
use crate::store::snapshot::{Snapshot, Snapshots};

/// Entries kept for those who follow.
const RECENT_ENTRIES_MAX: usize = 20_000;
/// Bytes of them.
const RECENT_BYTES_MAX: usize = 64 * 1024 * 1024;
/// Entries in one step of a subscriber.
const STEP_ENTRIES_MAX: usize = 256;

/// The applied state, shared.
#[derive(Clone, Debug)]
pub struct Machine {
    inner: Arc<RwLock<Inner>>,
    /// The last entry applied.
    index: Arc<watch::Sender<u64>>,
    snapshots: Snapshots,
    /// The encoded map and the index that it is of.
    map: Arc<Mutex<(u64, Arc<Vec<u8>>)>>,
}

#[derive(Debug, Default)]
struct Inner {
    state: State,
    last: Option<LogId<u64>>,
    membership: StoredMembership<u64, BasicNode>,
    recent: VecDeque<(u64, Arc<Vec<u8>>)>,
    recent_bytes: usize,
}

/// What comes next for a subscriber.
#[derive(Debug)]
pub enum Step {
    /// Nothing yet.
    Wait,
    /// The whole state as of that entry.
    Snapshot(u64, Vec<u8>),
    /// Entries with their indices.
    Entries(Vec<(u64, Arc<Vec<u8>>)>),
}

impl Inner {
    fn remember(&mut self, index: u64, bytes: Vec<u8>) {
        self.recent_bytes += bytes.len();
        self.recent.push_back((index, Arc::new(bytes)));
        while self.recent.len() > RECENT_ENTRIES_MAX || self.recent_bytes > RECENT_BYTES_MAX {
            let Some((_, gone)) = self.recent.pop_front() else { break };
            self.recent_bytes -= gone.len();
        }
    }

    fn apply(&mut self, entry: Entry<Types>) -> Result<Answer, String> {
        let index = entry.log_id.index;
        self.last = Some(entry.log_id);
        let (answer, bytes) = match entry.payload {
            EntryPayload::Normal(agreed) => {
                let command = Command::decode(&agreed.0).map_err(|e| e.to_string())?;
                (Answer(Some(self.state.apply(index, &command))), agreed.0)
            }
            EntryPayload::Membership(membership) => {
                self.membership = StoredMembership::new(Some(entry.log_id), membership);
                self.state.pass(index);
                (Answer(None), Vec::new())
            }
            EntryPayload::Blank => {
                self.state.pass(index);
                (Answer(None), Vec::new())
            }
        };
        self.remember(index, bytes);
        Ok(answer)
    }

    fn restore(&mut self, snapshot: &Snapshot) -> Result<(), String> {
        self.state = State::decode(&snapshot.state).map_err(|e| e.to_string())?;
        let meta = snapshot.head.meta();
        self.last = meta.last_log_id;
        self.membership = meta.last_membership;
        self.recent.clear();
        self.recent_bytes = 0;
        Ok(())
    }
}

impl Machine {
    /// The machine as of the last snapshot.
    pub fn open(snapshots: Snapshots) -> Result<Self, StoreError> {
        let mut inner = Inner::default();
        if let Some(last) = snapshots.last() {
            inner.restore(&last).map_err(|problem| StoreError::Damaged { file: "snapshot".into(), problem })?;
        }
        let index = watch::Sender::new(inner.last.map_or(0, |l| l.index));
        Ok(Self { inner: Arc::new(RwLock::new(inner)), index: Arc::new(index), snapshots, map: Arc::default() })
    }

    /// Looks at the state.
    ///
    /// `look` must not come back to this machine: who reads twice at a time waits for ever, if somebody comes to write in between.
    pub fn read<T>(&self, look: impl FnOnce(&State) -> T) -> T {
        look(&self.inner.read().expect("nobody panics with the lock").state)
    }

    /// The last entry applied, and its changes.
    pub fn index(&self) -> watch::Receiver<u64> {
        self.index.subscribe()
    }

    /// The last entry applied, now.
    pub fn applied(&self) -> u64 {
        *self.index.borrow()
    }

    /// Waits until `index` is applied; whether it was within `time`.
    pub async fn reaches(&self, index: u64, time: Duration) -> bool {
        let mut applied = self.index();
        matches!(tokio::time::timeout(time, applied.wait_for(|at| *at >= index)).await, Ok(Ok(_)))
    }

    /// The members of the group, as the applied membership has them.
    pub fn members(&self) -> std::collections::BTreeSet<types::NodeId> {
        let inner = self.inner.read().expect("nobody panics with the lock");
        inner.membership.membership().nodes().filter_map(|(id, _)| u16::try_from(*id).ok()).map(types::NodeId).collect()
    }

    /// The encoded cluster map, with its index and epoch.
    pub fn map(&self) -> Arc<Vec<u8>> {
        let inner = self.inner.read().expect("nobody panics with the lock");
        let mut cached = self.map.lock().expect("nobody panics with the lock");
        let index = inner.state.index();
        if cached.0 != index || cached.1.is_empty() {
            *cached = (index, Arc::new(encode(inner.state.map())));
        }
        cached.1.clone()
    }

    /// What follows entry `cursor` for a subscriber that has the state up to there; `first` where it has nothing yet.
    pub fn after(&self, cursor: u64, first: bool) -> Step {
        let inner = self.inner.read().expect("nobody panics with the lock");
        let last = inner.last.map(|l| l.index);
        if (first && cursor == 0 && last.is_some())
            || (last.is_some_and(|l| l > cursor) && inner.recent.front().is_none_or(|(i, _)| *i > cursor + 1))
        {
            // Index 0 is Raft's own first entry: a state without commands is of it.
            return Step::Snapshot(last.unwrap_or(0), inner.state.encode());
        }
        let from = inner.recent.partition_point(|(index, _)| *index <= cursor);
        let entries: Vec<_> = inner.recent.range(from..).take(STEP_ENTRIES_MAX).cloned().collect();
        if entries.is_empty() { Step::Wait } else { Step::Entries(entries) }
    }

    fn announce(&self) {
        let last = self.inner.read().expect("nobody panics with the lock").last.map_or(0, |l| l.index);
        self.index.send_replace(last);
    }
}

fn failed(verb: ErrorVerb, error: &str) -> StorageError<u64> {
    StorageIOError::new(ErrorSubject::StateMachine, verb, &std::io::Error::other(error.to_string())).into()
}

impl RaftStateMachine<Types> for Machine {
    type SnapshotBuilder = Self;

    async fn applied_state(&mut self) -> Result<(Option<LogId<u64>>, StoredMembership<u64, BasicNode>), StorageError<u64>> {
        let inner = self.inner.read().expect("nobody panics with the lock");
        Ok((inner.last, inner.membership.clone()))
    }

    async fn apply<I>(&mut self, entries: I) -> Result<Vec<Answer>, StorageError<u64>>
    where
        I: IntoIterator<Item = Entry<Types>> + OptionalSend,
        I::IntoIter: OptionalSend,
    {
        let mut answers = Vec::new();
        drop(points::BEFORE_APPLY.pass_in_task().await);
        {
            let mut inner = self.inner.write().expect("nobody panics with the lock");
            for entry in entries {
                let id = entry.log_id;
                answers.push(inner.apply(entry).map_err(|e| failed(ErrorVerb::Write, &format!("entry {id}: {e}")))?);
            }
        }
        drop(points::APPLIED.pass_in_task().await);
        self.announce();
        Ok(answers)
    }

    async fn get_snapshot_builder(&mut self) -> Self {
        self.clone()
    }

    async fn begin_receiving_snapshot(&mut self) -> Result<Box<Cursor<Vec<u8>>>, StorageError<u64>> {
        Ok(Box::default())
    }

    async fn install_snapshot(
        &mut self,
        meta: &SnapshotMeta<u64, BasicNode>,
        snapshot: Box<Cursor<Vec<u8>>>,
    ) -> Result<(), StorageError<u64>> {
        let snapshot = Snapshot { head: SnapshotHead::of(meta), state: snapshot.into_inner() };
        let mut restored = Inner::default();
        restored.restore(&snapshot).map_err(|e| failed(ErrorVerb::Read, &e))?;
        self.save(snapshot).await?;
        *self.inner.write().expect("nobody panics with the lock") = restored;
        self.announce();
        Ok(())
    }

    async fn get_current_snapshot(&mut self) -> Result<Option<openraft::Snapshot<Types>>, StorageError<u64>> {
        Ok(self.snapshots.last().map(|s| openraft::Snapshot { meta: s.head.meta(), snapshot: Box::new(Cursor::new(s.state.clone())) }))
    }
}

impl RaftSnapshotBuilder<Types> for Machine {
    async fn build_snapshot(&mut self) -> Result<openraft::Snapshot<Types>, StorageError<u64>> {
        let (meta, state) = {
            let inner = self.inner.read().expect("nobody panics with the lock");
            let snapshot_id =
                inner.last.map_or_else(|| "0".into(), |l| format!("{}-{}-{}", l.leader_id.term, l.leader_id.node_id, l.index));
            let meta = SnapshotMeta { last_log_id: inner.last, last_membership: inner.membership.clone(), snapshot_id };
            (meta, inner.state.encode())
        };
        self.save(Snapshot { head: SnapshotHead::of(&meta), state: state.clone() }).await?;
        Ok(openraft::Snapshot { meta, snapshot: Box::new(Cursor::new(state)) })
    }
}

impl Machine {
    /// Saves a snapshot away from the threads that serve.
    async fn save(&self, snapshot: Snapshot) -> Result<(), StorageError<u64>> {
        let snapshots = self.snapshots.clone();
        let saved = tokio::task::spawn_blocking(move || snapshots.save(snapshot)).await;
        match saved {
            Ok(Ok(())) => Ok(()),
            Ok(Err(e)) => Err(failed(ErrorVerb::Write, &e.to_string())),
            Err(e) => Err(failed(ErrorVerb::Write, &e.to_string())),
        }
    }
}

impl Answer {
    /// Its bytes between daemons.
    pub fn outcome(self) -> Option<Outcome> {
        self.0
    }
}

/// The outcome of those bytes.
pub fn outcome_of(bytes: &[u8]) -> Result<(u64, Outcome), types::codec::CodecError> {
    decode(bytes)
}
