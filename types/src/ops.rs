//! What a client asks of one group in one transaction, and the one function that decides it.
//!
//! The originator calls [`decide`] against its applied state plus the records in flight; the result is what the record carries, and no
//! replica ever decides again.

use serde::{Deserialize, Serialize};

use crate::limits::{DTX_BYTES_MAX, DTX_OPS_MAX, FIDS_RETIRED_APART_MAX, INLINE_BYTES_MAX};
use crate::object::{DeadRow, ObjectRecord};
use crate::record::{Outcome, Row, RowKey, Write};
use crate::upload::{PartRow, RetiredRow, UploadId};
use crate::{CatalogueId, Fid, HaTime, Seq, Version, keys};

mod upload;

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

/// One operation of a transaction.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Op {
    /// Sets a row.
    Put {
        /// Which row.
        row: RowKey,
        /// To what.
        #[serde(with = "crate::codec::bytes")]
        value: Vec<u8>,
        /// If what.
        condition: Condition,
    },
    /// Removes a row; one that is not there stays so, unless the condition says otherwise.
    Delete {
        /// Which row.
        row: RowKey,
        /// If what.
        condition: Condition,
    },
    /// The commit of an object's PUT: sets the record, takes the pending rows away (each must be there), and makes the fids of the
    /// record that it replaces dead.
    PutObject {
        /// Which catalogue.
        catalogue: CatalogueId,
        /// The object's name.
        #[serde(with = "crate::codec::bytes")]
        name: Vec<u8>,
        /// The encoded [`ObjectRecord`].
        #[serde(with = "crate::codec::bytes")]
        record: Vec<u8>,
        /// The fids that were pending and that the record now keeps alive.
        pending: Vec<Fid>,
        /// If what, of the record that is replaced.
        condition: Condition,
    },
    /// Removes an object's record and makes its fids dead.
    DeleteObject {
        /// Which catalogue.
        catalogue: CatalogueId,
        /// The object's name.
        #[serde(with = "crate::codec::bytes")]
        name: Vec<u8>,
        /// If what.
        condition: Condition,
    },
    /// Makes a pending fid dead, if it is still pending.
    Abandon {
        /// Which catalogue.
        catalogue: CatalogueId,
        /// The object's name.
        #[serde(with = "crate::codec::bytes")]
        name: Vec<u8>,
        /// Which fid.
        fid: Fid,
    },
    /// The commit of a part of an open upload: sets its row, takes the pending rows away (each must be there), makes the fids of the part
    /// that it replaces dead, and writes the upload's row anew. Refused without a version where the upload takes no parts.
    PutPart {
        /// Which catalogue.
        catalogue: CatalogueId,
        /// The object's name.
        #[serde(with = "crate::codec::bytes")]
        name: Vec<u8>,
        /// Which upload.
        upload: UploadId,
        /// Which part.
        number: u16,
        /// The encoded [`PartRow`].
        #[serde(with = "crate::codec::bytes")]
        part: Vec<u8>,
        /// The fids that were pending and that the part now keeps alive.
        pending: Vec<Fid>,
    },
    /// Makes an object of an open upload: sets the record, which takes over the fids of the parts that are kept, makes those of the record
    /// that it replaces dead, and ends the upload. Refused where the upload is not as it was seen.
    CompleteUpload {
        /// Which catalogue.
        catalogue: CatalogueId,
        /// The object's name.
        #[serde(with = "crate::codec::bytes")]
        name: Vec<u8>,
        /// Which upload.
        upload: UploadId,
        /// The upload's version when its parts were read.
        seen: Version,
        /// Numbers of the parts that the record is made of, in order.
        kept: Vec<u16>,
        /// The encoded [`ObjectRecord`].
        #[serde(with = "crate::codec::bytes")]
        record: Vec<u8>,
        /// If what, of the record that is replaced.
        condition: Condition,
    },
    /// Ends an open upload without an object. Refused without a version where there is none.
    EndUpload {
        /// Which catalogue.
        catalogue: CatalogueId,
        /// The object's name.
        #[serde(with = "crate::codec::bytes")]
        name: Vec<u8>,
        /// Which upload.
        upload: UploadId,
    },
    /// Takes the row of a part away; its fids become dead, unless the upload was completed with it. For the sweep.
    DiscardPart {
        /// Which catalogue.
        catalogue: CatalogueId,
        /// The object's name.
        #[serde(with = "crate::codec::bytes")]
        name: Vec<u8>,
        /// Which upload.
        upload: UploadId,
        /// Which part.
        number: u16,
    },
    /// Gives the next fids of a retired row dead rows of their own; the row goes with the last. For the sweep.
    Unfold {
        /// Which catalogue.
        catalogue: CatalogueId,
        /// The object's name.
        #[serde(with = "crate::codec::bytes")]
        name: Vec<u8>,
        /// The first fid that was retired with it.
        first: Fid,
    },
    /// Sets the words about an object: the record stays what it is otherwise. Refused without a version where there is none.
    DescribeObject {
        /// Which catalogue.
        catalogue: CatalogueId,
        /// The object's name.
        #[serde(with = "crate::codec::bytes")]
        name: Vec<u8>,
        /// The words.
        words: Vec<(String, String)>,
        /// If what.
        condition: Condition,
    },
}

impl Op {
    /// The rows whose present state decides the operation.
    pub fn rows(&self) -> Vec<RowKey> {
        let row = |catalogue: &CatalogueId, key| RowKey { catalogue: *catalogue, key };
        match self {
            Self::Put { row, .. } | Self::Delete { row, .. } => vec![row.clone()],
            Self::PutObject { catalogue, name, pending, .. } => std::iter::once(row(catalogue, keys::object(name)))
                .chain(pending.iter().map(|fid| row(catalogue, keys::pending(name, *fid))))
                .collect(),
            Self::DeleteObject { catalogue, name, .. } | Self::DescribeObject { catalogue, name, .. } => {
                vec![row(catalogue, keys::object(name))]
            }
            Self::Abandon { catalogue, name, fid } => vec![row(catalogue, keys::pending(name, *fid))],
            Self::PutPart { catalogue, name, upload, number, pending, .. } => {
                [keys::part(name, *upload, *number), keys::upload(name, *upload)]
                    .into_iter()
                    .chain(pending.iter().map(|fid| keys::pending(name, *fid)))
                    .map(|key| row(catalogue, key))
                    .collect()
            }
            Self::CompleteUpload { catalogue, name, upload, .. } => {
                vec![row(catalogue, keys::object(name)), row(catalogue, keys::upload(name, *upload))]
            }
            Self::EndUpload { catalogue, name, upload } => vec![row(catalogue, keys::upload(name, *upload))],
            Self::DiscardPart { catalogue, name, upload, number } => {
                vec![row(catalogue, keys::part(name, *upload, *number)), row(catalogue, keys::upload(name, *upload))]
            }
            Self::Unfold { catalogue, name, first } => vec![row(catalogue, keys::retired(name, *first))],
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
}

/// Checks the bounds of a transaction.
pub fn validate(ops: &[Op]) -> Result<(), OpsError> {
    if ops.is_empty() || ops.len() > DTX_OPS_MAX {
        return Err(OpsError::Count(ops.len()));
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
            | Op::Unfold { name, .. } => name.len() + 22,
        })
        .sum();
    if bytes > DTX_BYTES_MAX + INLINE_BYTES_MAX {
        return Err(OpsError::Bytes(bytes));
    }
    for op in ops {
        match op {
            Op::PutObject { name, record, .. } | Op::CompleteUpload { name, record, .. } => {
                ObjectRecord::from_value(record).map_err(|e| record_error(name, &e))?;
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
            Op::PutObject { catalogue, name, record, pending, condition } => {
                let row = RowKey { catalogue: *catalogue, key: keys::object(name) };
                let current = now(&row);
                for fid in pending {
                    let row = RowKey { catalogue: *catalogue, key: keys::pending(name, *fid) };
                    if now(&row).is_none() {
                        return Ok((Vec::new(), Outcome::Refused { op: number, current: current.map(|r| r.version) }));
                    }
                    effects.push(Write::Delete { row });
                }
                retire(*catalogue, name, current.as_ref(), at, &mut effects)?;
                effects.push(Write::Put { row, value: record.clone() });
                (*condition, current)
            }
            Op::DeleteObject { catalogue, name, condition } => {
                let row = RowKey { catalogue: *catalogue, key: keys::object(name) };
                let current = now(&row);
                retire(*catalogue, name, current.as_ref(), at, &mut effects)?;
                effects.push(Write::Delete { row });
                (*condition, current)
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
            Op::DescribeObject { catalogue, name, words, condition } => {
                let row = RowKey { catalogue: *catalogue, key: keys::object(name) };
                let Some(current) = now(&row) else {
                    return Ok((Vec::new(), Outcome::Refused { op: number, current: None }));
                };
                let old = ObjectRecord::from_value(&current.value).map_err(|e| record_error(name, &e))?;
                let record = ObjectRecord { user_metadata: words.clone(), ..old };
                effects.push(Write::Put { row, value: record.to_value() });
                (*condition, Some(current))
            }
            Op::PutPart { .. } | Op::CompleteUpload { .. } | Op::EndUpload { .. } | Op::DiscardPart { .. } | Op::Unfold { .. } => {
                match upload::effects(op, at, &now, &mut effects)? {
                    upload::Verdict::If(condition, current) => (condition, current),
                    upload::Verdict::Refused(current) => return Ok((Vec::new(), Outcome::Refused { op: number, current })),
                }
            }
        };
        let version = current.map(|row| row.version);
        if !condition.holds(version) {
            return Ok((Vec::new(), Outcome::Refused { op: number, current: version }));
        }
        previous.push(version);
        writes.append(&mut effects);
    }
    Ok((writes, Outcome::Done { version: seq, previous }))
}

fn dead_row(catalogue: CatalogueId, name: &[u8], fid: Fid, at: HaTime) -> Write {
    Write::Put { row: RowKey { catalogue, key: keys::dead(name, fid) }, value: DeadRow { since: at, slots_left: Vec::new() }.to_value() }
}

/// Makes the fids of a record that goes dead.
fn retire(catalogue: CatalogueId, name: &[u8], current: Option<&Row>, at: HaTime, effects: &mut Vec<Write>) -> Result<(), OpsError> {
    let Some(row) = current else { return Ok(()) };
    let old = ObjectRecord::from_value(&row.value).map_err(|e| record_error(name, &e))?;
    let fids: Vec<Fid> = old.fids().collect();
    if fids.len() <= FIDS_RETIRED_APART_MAX {
        effects.extend(fids.into_iter().map(|fid| dead_row(catalogue, name, fid, at)));
    } else {
        let row = RowKey { catalogue, key: keys::retired(name, fids[0]) };
        effects.push(Write::Put { row, value: RetiredRow { since: at, fids }.to_value() });
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::object::{Content, Part};
    use crate::{GroupId, PoolId, SessionId};
    use std::collections::BTreeMap;

    pub(super) const CAT: CatalogueId = CatalogueId(1);

    pub(super) fn fid(counter: u64) -> Fid {
        Fid { group: GroupId { pool: PoolId(1), index: 0 }, session: SessionId(1), counter }
    }

    pub(super) fn record(fid: Fid) -> Vec<u8> {
        let part = Part { offset: 0, length: 1, fid, data: 4, parity: 2, unit_bytes: 4096 };
        let content = Content::Parts(vec![part]);
        ObjectRecord { size: 1, checksum: 0, modified_ms: 0, content, user_metadata: Vec::new() }.to_value()
    }

    #[derive(Default)]
    pub(super) struct World(BTreeMap<RowKey, Row>, pub(super) u64);

    impl World {
        pub(super) fn run(&mut self, ops: &[Op]) -> Outcome {
            self.1 += 1;
            validate(ops).expect("within bounds");
            let (writes, outcome) = decide(ops, Seq(self.1), HaTime(7), &|row| self.0.get(row).cloned()).expect("decides");
            for write in writes {
                match write {
                    Write::Put { row, value } => drop(self.0.insert(row, Row { version: Seq(self.1), value })),
                    Write::Delete { row } => drop(self.0.remove(&row)),
                }
            }
            outcome
        }

        pub(super) fn has(&self, key: Vec<u8>) -> bool {
            self.0.contains_key(&RowKey { catalogue: CAT, key })
        }

        pub(super) fn version(&self, key: &[u8]) -> Version {
            self.0[&RowKey { catalogue: CAT, key: key.to_vec() }].version
        }
    }

    fn put(key: &[u8], condition: Condition) -> Op {
        Op::Put { row: RowKey { catalogue: CAT, key: keys::user(key) }, value: b"v".to_vec(), condition }
    }

    #[test]
    fn a_refused_transaction_changes_nothing() {
        let mut world = World::default();
        assert!(matches!(world.run(&[put(b"a", Condition::Absent)]), Outcome::Done { version: Seq(1), .. }));
        let both = [put(b"b", Condition::Always), put(b"a", Condition::Absent)];
        assert_eq!(world.run(&both), Outcome::Refused { op: 1, current: Some(Seq(1)) });
        assert!(!world.has(keys::user(b"b")));
        assert!(matches!(world.run(&[put(b"a", Condition::Version(Seq(1)))]), Outcome::Done { .. }));
    }

    #[test]
    fn a_replaced_objects_fids_become_dead_and_its_pending_rows_go() {
        let mut world = World::default();
        let name = b"photo".to_vec();
        for counter in 1..=2 {
            let commit = Op::PutObject {
                catalogue: CAT,
                name: name.clone(),
                record: record(fid(counter)),
                pending: vec![fid(counter)],
                condition: Condition::Always,
            };
            assert!(matches!(world.run(std::slice::from_ref(&commit)), Outcome::Refused { .. }), "no pending row, no commit");
            world.run(&[Op::Put {
                row: RowKey { catalogue: CAT, key: keys::pending(&name, fid(counter)) },
                value: Vec::new(),
                condition: Condition::Absent,
            }]);
            assert!(matches!(world.run(&[commit]), Outcome::Done { .. }));
            assert!(!world.has(keys::pending(&name, fid(counter))));
        }
        assert!(world.has(keys::dead(&name, fid(1))) && !world.has(keys::dead(&name, fid(2))));
        world.run(&[Op::DeleteObject { catalogue: CAT, name: name.clone(), condition: Condition::Present }]);
        assert!(world.has(keys::dead(&name, fid(2))) && !world.has(keys::object(&name)));
    }

    #[test]
    fn an_object_that_is_described_keeps_its_fids() {
        let mut world = World::default();
        let name = b"photo".to_vec();
        let describe =
            |condition| Op::DescribeObject { catalogue: CAT, name: name.clone(), words: vec![("a".into(), "b".into())], condition };
        assert_eq!(world.run(&[describe(Condition::Always)]), Outcome::Refused { op: 0, current: None });
        let row = RowKey { catalogue: CAT, key: keys::object(&name) };
        world.run(&[Op::Put { row: row.clone(), value: record(fid(1)), condition: Condition::Always }]);
        assert!(matches!(world.run(&[describe(Condition::Version(Seq(1)))]), Outcome::Refused { current: Some(Seq(2)), .. }));
        assert!(matches!(world.run(&[describe(Condition::Version(Seq(2)))]), Outcome::Done { .. }));
        let now = ObjectRecord::from_value(&world.0[&row].value).expect("a record");
        assert_eq!(now.user_metadata, [("a".to_owned(), "b".to_owned())]);
        assert_eq!(ObjectRecord { user_metadata: Vec::new(), ..now }.to_value(), record(fid(1)));
        assert!(!world.has(keys::dead(&name, fid(1))));
    }

    #[test]
    fn an_abandoned_fid_cannot_be_committed() {
        let mut world = World::default();
        let name = b"n".to_vec();
        let row = RowKey { catalogue: CAT, key: keys::pending(&name, fid(1)) };
        world.run(&[Op::Put { row, value: Vec::new(), condition: Condition::Always }]);
        let abandon = Op::Abandon { catalogue: CAT, name: name.clone(), fid: fid(1) };
        assert!(matches!(world.run(std::slice::from_ref(&abandon)), Outcome::Done { .. }));
        assert!(matches!(world.run(&[abandon]), Outcome::Refused { .. }));
        let commit = Op::PutObject { catalogue: CAT, name, record: record(fid(1)), pending: vec![fid(1)], condition: Condition::Always };
        assert!(matches!(world.run(&[commit]), Outcome::Refused { .. }));
    }
}
