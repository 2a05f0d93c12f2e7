//! What a client asks of one group in one transaction, and the one function that decides it.
//!
//! The originator calls [`decide`] against its applied state plus the records in flight; the result is what the record carries, and no
//! replica ever decides again.

use serde::{Deserialize, Serialize};

use crate::limits::{DTX_BYTES_MAX, DTX_OPS_MAX, FIDS_RETIRED_APART_MAX, INLINE_BYTES_MAX};
use crate::object::{DeadRow, ObjectRecord, Versioning};
use crate::record::{Outcome, Row, RowKey, Write};
use crate::upload::{PartRow, RetiredRow};
use crate::{CatalogueId, Fid, HaTime, Seq, Version, VersionId, keys};

mod notify;
mod object;
mod op;
mod parts;
mod upload;

pub use op::Op;
pub use parts::validate_with;
pub use upload::UNFOLD_MAX;

/// What has to be true of a row for the transaction to happen.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Condition {
    /// Nothing.
    #[default]
    Always,
    /// The row is not there.
    Absent,
    /// The row is there.
    Present,
    /// The row is there at this version.
    Version(Version),
}

impl Condition {
    fn holds(self, current: Option<Version>) -> bool {
        match self {
            Self::Always => true,
            Self::Absent => current.is_none(),
            Self::Present => current.is_some(),
            Self::Version(version) => current == Some(version),
        }
    }
}

/// Why a transaction is not even tried.
#[derive(Debug, thiserror::Error, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum OpsError {
    /// Nothing to do, or too much.
    #[error("a transaction has 1 to {DTX_OPS_MAX} operations, this one has {0}")]
    Count(usize),
    /// Too large.
    #[error("a transaction is at most {max} bytes, this one has {0}", max = DTX_BYTES_MAX + INLINE_BYTES_MAX)]
    Bytes(usize),
    /// A record that does not decode, new or old.
    #[error("the record of {name} cannot be read: {reason}")]
    Record {
        /// The object's name.
        name: String,
        /// What is wrong with it.
        reason: String,
    },
    /// A group has two parts, or an empty one.
    #[error("a transaction has one part a group, and none is empty")]
    Parts,
}

/// Checks the bounds of a transaction.
pub fn validate(ops: &[Op]) -> Result<(), OpsError> {
    // What is added to be told is no client's, and small.
    let count = ops.iter().filter(|op| !matches!(op, Op::Notify { .. })).count();
    if count == 0 || count > DTX_OPS_MAX {
        return Err(OpsError::Count(count));
    }
    let bytes: usize = ops
        .iter()
        .map(|op| match op {
            Op::Put { row, value, .. } => row.key.len() + value.len(),
            Op::Delete { row, .. } => row.key.len(),
            Op::PutObject { name, record, pending, .. } => name.len() * (1 + pending.len()) + record.len() + 22 * pending.len(),
            Op::DescribeObject { name, words, .. } => {
                name.len() + words.iter().map(|(word, value)| word.len() + value.len()).sum::<usize>()
            }
            Op::PutPart { name, part, pending, .. } => name.len() * (2 + pending.len()) + part.len() + 22 * pending.len(),
            Op::CompleteUpload { name, record, kept, .. } => 2 * name.len() + record.len() + 2 * kept.len(),
            Op::DeleteObject { name, .. }
            | Op::Abandon { name, .. }
            | Op::EndUpload { name, .. }
            | Op::DiscardPart { name, .. }
            | Op::Unfold { name, .. }
            | Op::DeleteVersion { name, .. }
            | Op::DiscardVersion { name, .. } => name.len() + 22,
            Op::Notify { .. } => 0,
        })
        .sum();
    if bytes > DTX_BYTES_MAX + INLINE_BYTES_MAX {
        return Err(OpsError::Bytes(bytes));
    }
    for op in ops {
        match op {
            Op::PutObject { name, record, .. } | Op::CompleteUpload { name, record, .. } => {
                let record = ObjectRecord::from_value(record).map_err(|e| record_error(name, &e))?;
                if record.id != VersionId::Null {
                    return Err(record_error(name, &"its version is not the client's to say"));
                }
            }
            Op::PutPart { name, part, .. } => drop(PartRow::from_value(part).map_err(|e| record_error(name, &e))?),
            _ => {}
        }
    }
    Ok(())
}

fn record_error(name: &[u8], error: &dyn std::fmt::Display) -> OpsError {
    OpsError::Record { name: String::from_utf8_lossy(name).into_owned(), reason: error.to_string() }
}

/// Decides a transaction that takes the place `seq` at log time `at`.
///
/// `lookup` gives each row as it is after everything before `seq`. Operations of one transaction see the ones before them only through
/// their effects: two that write one row are allowed, the later one wins.
pub fn decide(ops: &[Op], seq: Seq, at: HaTime, lookup: &dyn Fn(&RowKey) -> Option<Row>) -> Result<(Vec<Write>, Outcome), OpsError> {
    let mut writes: Vec<Write> = Vec::new();
    let mut previous = Vec::new();
    let mut versioning = Versioning::Off;
    for (number, op) in (0u32..).zip(ops) {
        let now = |row: &RowKey| -> Option<Row> {
            match writes.iter().rev().find(|w| w.row() == row) {
                Some(Write::Put { value, .. }) => Some(Row { version: seq, value: value.clone() }),
                Some(Write::Delete { .. }) => None,
                None => lookup(row),
            }
        };
        let mut effects = Vec::new();
        let (condition, current) = match op {
            Op::Put { row, value, condition } => {
                effects.push(Write::Put { row: row.clone(), value: value.clone() });
                (*condition, now(row))
            }
            Op::Delete { row, condition } => {
                effects.push(Write::Delete { row: row.clone() });
                (*condition, now(row))
            }
            Op::Abandon { catalogue, name, fid } => {
                let row = RowKey { catalogue: *catalogue, key: keys::pending(name, *fid) };
                let current = now(&row);
                if current.is_some() {
                    effects.push(Write::Delete { row });
                    effects.push(dead_row(*catalogue, name, *fid, at));
                }
                (Condition::Present, current)
            }
            Op::Notify { .. } => {
                notify::effects(op, ops, seq, &previous, &mut writes)?;
                continue;
            }
            _ => {
                let step = Step { seq, at, now: &now };
                let verdict = match op {
                    Op::PutPart { .. } | Op::CompleteUpload { .. } | Op::EndUpload { .. } | Op::DiscardPart { .. } | Op::Unfold { .. } => {
                        upload::effects(op, &step, &mut effects)?
                    }
                    _ => object::effects(op, &step, &mut effects)?,
                };
                match verdict {
                    Verdict::If(condition, current) => (condition, current),
                    Verdict::Refused(current) => return Ok((Vec::new(), Outcome::Refused { op: number, current })),
                }
            }
        };
        let version = current.map(|row| row.version);
        if !condition.holds(version) {
            return Ok((Vec::new(), Outcome::Refused { op: number, current: version }));
        }
        previous.push(version);
        writes.append(&mut effects);
        if op.versioning() != Versioning::Off {
            versioning = op.versioning();
        }
    }
    Ok((writes, Outcome::Done { version: seq, previous, versioning }))
}

/// Where and when an operation is decided, and what is there.
struct Step<'a> {
    seq: Seq,
    at: HaTime,
    now: &'a dyn Fn(&RowKey) -> Option<Row>,
}

/// What comes of an operation.
enum Verdict {
    /// Its effects happen if the row that was there meets the condition.
    If(Condition, Option<Row>),
    /// Nothing happens; the version is what the caller is told.
    Refused(Option<Version>),
}

fn dead_row(catalogue: CatalogueId, name: &[u8], fid: Fid, at: HaTime) -> Write {
    Write::Put { row: RowKey { catalogue, key: keys::dead(name, fid) }, value: DeadRow { since: at, slots_left: Vec::new() }.to_value() }
}

/// Makes the fids of a record that goes dead.
fn retire(catalogue: CatalogueId, name: &[u8], old: &ObjectRecord, at: HaTime, effects: &mut Vec<Write>) {
    let fids: Vec<Fid> = old.fids().collect();
    if fids.len() <= FIDS_RETIRED_APART_MAX {
        effects.extend(fids.into_iter().map(|fid| dead_row(catalogue, name, fid, at)));
    } else {
        let row = RowKey { catalogue, key: keys::retired(name, fids[0]) };
        effects.push(Write::Put { row, value: RetiredRow { since: at, fids }.to_value() });
    }
}

#[cfg(test)]
mod tests;
