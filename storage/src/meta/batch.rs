//! Changes that are made together. Logs are kept dense here: an append that leaves a gap is refused before anything is changed.

use std::collections::HashMap;

use types::codec;
use types::record::{Record, RowKey};
use types::{GroupId, Seq, Version, ViewNumber};

use super::Bounds;
use super::sealed::{self, after, seal};
use super::store::{Change, Family};
use crate::StorageError;

/// Changes to the metadata of a device, in order.
#[derive(Debug, Default)]
pub struct Batch {
    steps: Vec<Step>,
}

#[derive(Debug)]
enum Step {
    Change(Change),
    Append(GroupId, Seq, Vec<u8>),
    Cut(GroupId, Seq),
    Prune(GroupId, Seq),
    Forget(GroupId),
}

/// New bounds of the logs that a batch touches: `None` where a log is empty after it.
type Touched = HashMap<GroupId, Option<(Seq, Seq)>>;

impl Batch {
    /// Whether it changes nothing.
    pub fn is_empty(&self) -> bool {
        self.steps.is_empty()
    }

    /// Puts a record at the end of a group's log: its seq is the last one's next, or any where the log is empty.
    pub fn append_record(&mut self, group: GroupId, record: &Record) {
        self.steps.push(Step::Append(group, record.seq, codec::encode(record)));
    }

    /// Takes every record above `after` out of a group's log.
    pub fn cut_log(&mut self, group: GroupId, after: Seq) {
        self.steps.push(Step::Cut(group, after));
    }

    /// Takes every record at or below `upto` out of a group's log.
    pub fn prune_log(&mut self, group: GroupId, upto: Seq) {
        self.steps.push(Step::Prune(group, upto));
    }

    /// Sets a row.
    pub fn put_row(&mut self, group: GroupId, row: &RowKey, version: Version, value: &[u8]) {
        let key = sealed::row(group, row);
        let value = seal(Family::Catalogues, &key, &[&version.0.to_le_bytes(), value]);
        self.put(Family::Catalogues, key, value);
    }

    /// Takes a row away; one that is not there stays so.
    pub fn delete_row(&mut self, group: GroupId, row: &RowKey) {
        self.steps.push(Step::Change(Change::Delete(Family::Catalogues, sealed::row(group, row))));
    }

    /// Sets what the replica of a group keeps of itself.
    pub fn put_replica_state(&mut self, group: GroupId, state: &[u8]) {
        let key = sealed::group(group).to_vec();
        let value = seal(Family::State, &key, &[state]);
        self.put(Family::State, key, value);
    }

    /// Sets the view of a group below which the device refuses writes of units.
    pub fn put_view(&mut self, group: GroupId, view: ViewNumber) {
        let key = sealed::view(group);
        let value = seal(Family::Device, &key, &[&view.0.to_le_bytes()]);
        self.put(Family::Device, key, value);
    }

    /// Takes rows and log of a group away; what the replica keeps of itself stays. The log may begin anywhere after it.
    pub fn wipe_group(&mut self, group: GroupId) {
        let from = sealed::group(group).to_vec();
        let end = after(&from);
        self.steps.push(Step::Change(Change::DeleteRange(Family::Catalogues, from.clone(), end.clone())));
        // A log may be longer than a batch of single deletes could be.
        self.steps.push(Step::Change(Change::DeleteRange(Family::Log, from, end)));
        self.steps.push(Step::Forget(group));
    }

    /// Takes rows, log, replica state and view of a group away. Its units stay.
    pub fn forget_group(&mut self, group: GroupId) {
        self.wipe_group(group);
        self.steps.push(Step::Change(Change::Delete(Family::State, sealed::group(group).to_vec())));
        self.steps.push(Step::Change(Change::Delete(Family::Device, sealed::view(group))));
    }

    fn put(&mut self, family: Family, key: Vec<u8>, value: Vec<u8>) {
        self.steps.push(Step::Change(Change::Put(family, key, value)));
    }

    /// The changes that the steps come to, where the logs lie as `bounds` says.
    pub(crate) fn resolve(self, bounds: &Bounds) -> Result<(Vec<Change>, Touched), StorageError> {
        let mut changes = Vec::with_capacity(self.steps.len());
        let mut touched = Touched::new();
        for step in self.steps {
            let group = match &step {
                Step::Change(_) => None,
                Step::Append(group, ..) | Step::Cut(group, _) | Step::Prune(group, _) | Step::Forget(group) => Some(*group),
            };
            let now = group.and_then(|group| touched.get(&group).copied().unwrap_or_else(|| bounds.get(&group).copied()));
            let then = match step {
                Step::Change(change) => {
                    changes.push(change);
                    continue;
                }
                Step::Append(group, seq, record) => Some(append(group, seq, &record, now, &mut changes)?),
                Step::Cut(group, after) => cut(group, after, now, &mut changes),
                Step::Prune(group, upto) => prune(group, upto, now, &mut changes),
                Step::Forget(_) => None,
            };
            if let Some(group) = group {
                touched.insert(group, then);
            }
        }
        Ok((changes, touched))
    }
}

fn append(group: GroupId, seq: Seq, record: &[u8], now: Option<(Seq, Seq)>, changes: &mut Vec<Change>) -> Result<(Seq, Seq), StorageError> {
    let bounds = match now {
        Some((first, last)) if last.0.checked_add(1) == Some(seq.0) => (first, seq),
        None => (seq, seq),
        Some((_, last)) => {
            return Err(StorageError::Invalid(format!("record {seq} cannot follow {last} in the log of group {group}")));
        }
    };
    let key = sealed::log(group, seq);
    let value = seal(Family::Log, &key, &[record]);
    changes.push(Change::Put(Family::Log, key, value));
    Ok(bounds)
}

// Records are deleted one by one: their number is bounded by the log, and range tombstones would slow every later read of it.
fn delete(group: GroupId, from: u64, to: u64, changes: &mut Vec<Change>) {
    changes.extend((from..=to).map(|seq| Change::Delete(Family::Log, sealed::log(group, Seq(seq)))));
}

fn cut(group: GroupId, after: Seq, now: Option<(Seq, Seq)>, changes: &mut Vec<Change>) -> Option<(Seq, Seq)> {
    let (first, last) = now?;
    if after >= last {
        return now;
    }
    delete(group, first.0.max(after.0 + 1), last.0, changes);
    (after >= first).then_some((first, after))
}

fn prune(group: GroupId, upto: Seq, now: Option<(Seq, Seq)>, changes: &mut Vec<Change>) -> Option<(Seq, Seq)> {
    let (first, last) = now?;
    if upto < first {
        return now;
    }
    delete(group, first.0, last.0.min(upto.0), changes);
    (upto < last).then(|| (upto.next(), last))
}
