//! Crossings: transactions over several groups, as part of the applied state. What this group coordinates and is not done, and which parts of
//! others' it has executed: functions of the records alone, so the same on all replicas, whatever was pruned.
//!
//! It lies in rows of the group, in two reserved catalogues; so it is in a full copy without a word of its own.
//!
//! ```text
//!   client ------> coordinating group                              another group, once for each part
//!                  logs all of it; STABLE, applied: unfinished
//!                  ------------------------ Part{seq, low} ------> executed already: says so
//!                                                                  else logs it; STABLE, applied: executed
//!                  <---------------------- PartStable{seq} -------
//!   answer <------ all parts are: logs `Done`
//! ```
//! A part is sent again until it is STABLE, by whoever is primary of the coordinating group. It is executed once: its name, (group, seq), is
//! kept until the coordinating group says that everything below `low` is done, and what is below that is never executed.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use types::record::{Coordination, Record, Row, RowKey, Write, writes_bytes};
use types::{CatalogueId, DtxId, GroupId, PoolId, Seq, codec};

use crate::error::DtmError;

mod coordinator;
mod participant;

pub(crate) use coordinator::Crossing;

/// The catalogue of rows of what is unfinished: a number that HA never gives out.
pub const UNFINISHED: CatalogueId = CatalogueId(u64::MAX - 1);
/// The catalogue of rows of parts that were executed: a number that HA never gives out.
pub const PARTS: CatalogueId = CatalogueId(u64::MAX - 2);
/// Format of their values that this build writes: the first byte.
pub const FORMAT: u8 = 1;

/// Whether rows of a catalogue are the machine's own, and nobody's data.
pub fn is_of_machine(catalogue: CatalogueId) -> bool {
    catalogue >= PARTS
}

/// A row of the machine's own as it is from now on; `None` takes it away.
pub type Note = (RowKey, Option<Row>);

/// A transaction that this group coordinates and that is not done.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub(crate) struct Unfinished {
    pub(crate) dtx: DtxId,
    /// Group and effects of each part.
    pub(crate) parts: Vec<(GroupId, Vec<Write>)>,
}

impl Unfinished {
    fn bytes(&self) -> usize {
        64 + self.parts.iter().map(|(_, writes)| 16 + writes_bytes(writes)).sum::<usize>()
    }
}

/// What was executed of one group's transactions.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
struct Executed {
    /// Everything below is done.
    low: Seq,
    /// The seq there, and the seq here.
    parts: BTreeMap<Seq, Seq>,
}

/// The crossings of a group.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) struct Crossings {
    unfinished: BTreeMap<Seq, Arc<Unfinished>>,
    bytes: usize,
    executed: BTreeMap<GroupId, Executed>,
}

impl Crossings {
    /// Takes a record that is applied; gives the rows that it changes.
    pub(crate) fn apply(&mut self, record: &Record) -> Vec<Note> {
        match &record.coordination {
            Coordination::Local => Vec::new(),
            Coordination::Coordinator { parts } => {
                let unfinished = Unfinished { dtx: record.dtx, parts: parts.clone() };
                let value = [vec![FORMAT], codec::encode(&unfinished)].concat();
                self.bytes += unfinished.bytes();
                self.unfinished.insert(record.seq, Arc::new(unfinished));
                vec![(unfinished_key(record.seq), Some(Row { version: record.seq, value }))]
            }
            Coordination::Done { seq } => {
                self.finish(*seq);
                vec![(unfinished_key(*seq), None)]
            }
            Coordination::Part { coordinator, seq, low } => self.execute(*coordinator, *seq, *low, record.seq),
        }
    }

    fn finish(&mut self, seq: Seq) {
        if let Some(unfinished) = self.unfinished.remove(&seq) {
            self.bytes -= unfinished.bytes();
        }
    }

    fn execute(&mut self, coordinator: GroupId, seq: Seq, low: Seq, here: Seq) -> Vec<Note> {
        let of = self.executed.entry(coordinator).or_default();
        let mut notes = Vec::new();
        if low > of.low {
            let kept = of.parts.split_off(&low);
            let over = std::mem::replace(&mut of.parts, kept);
            notes.extend(over.into_keys().map(|seq| (part_key(coordinator, seq), None)));
            of.low = low;
            let value = [&[FORMAT][..], &low.0.to_be_bytes()].concat();
            notes.push((low_key(coordinator), Some(Row { version: here, value })));
        }
        if seq >= of.low {
            of.parts.insert(seq, here);
            notes.push((part_key(coordinator, seq), Some(Row { version: here, value: vec![FORMAT] })));
        }
        notes
    }

    /// Takes a row back that [`Self::apply`] gave.
    pub(crate) fn take_row(&mut self, key: &RowKey, row: &Row) -> Result<(), DtmError> {
        let wrong = || DtmError::CrossingRow(row.version);
        let Some((&FORMAT, rest)) = row.value.split_first() else { return Err(wrong()) };
        if key.catalogue == UNFINISHED {
            let seq = Seq(u64::from_be_bytes(key.key.as_slice().try_into().map_err(|_| wrong())?));
            let unfinished: Unfinished = codec::decode(rest)?;
            self.bytes += unfinished.bytes();
            self.unfinished.insert(seq, Arc::new(unfinished));
            return Ok(());
        }
        let (group, seq) = key.key.split_at_checked(GROUP_BYTES).ok_or_else(wrong)?;
        let of = self.executed.entry(group_of(group).ok_or_else(wrong)?).or_default();
        if seq.is_empty() {
            of.low = Seq(u64::from_be_bytes(rest.try_into().map_err(|_| wrong())?));
        } else {
            of.parts.insert(Seq(u64::from_be_bytes(seq.try_into().map_err(|_| wrong())?)), row.version);
        }
        Ok(())
    }

    /// A transaction that is not done.
    pub(crate) fn unfinished(&self, seq: Seq) -> Option<&Arc<Unfinished>> {
        self.unfinished.get(&seq)
    }

    /// All that are not done.
    pub(crate) fn all_unfinished(&self) -> Vec<Seq> {
        self.unfinished.keys().copied().collect()
    }

    /// How many are not done, and about how many bytes they take.
    pub(crate) fn unfinished_size(&self) -> (usize, usize) {
        (self.unfinished.len(), self.bytes)
    }

    /// All that this group coordinates below here are done, of those up to `applied`.
    pub(crate) fn low(&self, applied: Seq) -> Seq {
        self.unfinished.keys().next().copied().unwrap_or(applied.next())
    }

    /// Where the part was executed; zero where it is long done.
    pub(crate) fn executed(&self, coordinator: GroupId, seq: Seq, done_below_low: bool) -> Option<Seq> {
        let of = self.executed.get(&coordinator)?;
        if seq < of.low && done_below_low { Some(Seq(0)) } else { of.parts.get(&seq).copied() }
    }

    /// How many parts of one group's transactions are kept.
    pub(crate) fn executed_of(&self, coordinator: GroupId) -> usize {
        self.executed.get(&coordinator).map_or(0, |of| of.parts.len())
    }

    /// Forgets what was executed here up to `upto`, without a word of its coordinators: only the model does, to show why nobody must.
    pub(crate) fn forget_executed(&mut self, upto: Seq) {
        for of in self.executed.values_mut() {
            of.parts.retain(|_, here| *here > upto);
        }
    }

    /// Forgets what is unfinished up to `upto`: only the model does, to show why nobody must.
    pub(crate) fn forget_unfinished(&mut self, upto: Seq) {
        for seq in self.all_unfinished().into_iter().filter(|seq| *seq <= upto) {
            self.finish(seq);
        }
    }
}

const GROUP_BYTES: usize = 6;

fn unfinished_key(seq: Seq) -> RowKey {
    RowKey { catalogue: UNFINISHED, key: seq.0.to_be_bytes().to_vec() }
}

fn low_key(coordinator: GroupId) -> RowKey {
    let key = [&coordinator.pool.0.to_be_bytes()[..], &coordinator.index.to_be_bytes()].concat();
    RowKey { catalogue: PARTS, key }
}

fn part_key(coordinator: GroupId, seq: Seq) -> RowKey {
    let mut key = low_key(coordinator);
    key.key.extend(seq.0.to_be_bytes());
    key
}

fn group_of(bytes: &[u8]) -> Option<GroupId> {
    let (pool, index) = bytes.split_at_checked(2)?;
    Some(GroupId { pool: PoolId(u16::from_be_bytes(pool.try_into().ok()?)), index: u32::from_be_bytes(index.try_into().ok()?) })
}

#[cfg(test)]
mod tests;
