//! One history: the applied prefixes of all replicas of a group agree, and nothing that any of them ever applied is replaced.
//!
//! Each apply is reported once; a replica that starts again may apply once more what it had applied without a sync.

use std::collections::BTreeMap;
use std::sync::Arc;

use types::record::Record;
use types::{DeviceId, DtxId, Seq};

/// What was ever applied in one group.
#[derive(Clone, Debug, Default)]
pub struct OneHistory {
    records: BTreeMap<Seq, Arc<Record>>,
    transactions: BTreeMap<DtxId, Seq>,
    applied: BTreeMap<DeviceId, Seq>,
}

impl OneHistory {
    /// A replica applies a record.
    pub fn apply(&mut self, device: DeviceId, record: &Arc<Record>) -> Result<(), String> {
        let applied = self.applied.entry(device).or_default();
        if record.seq != applied.next() {
            return Err(format!("one history: {device} applied {} after {applied}", record.seq));
        }
        *applied = record.seq;
        match self.records.get(&record.seq) {
            Some(before) if before != record => Err(format!("one history: {device} applied {record:?} where {before:?} had been applied")),
            Some(_) => Ok(()),
            None => {
                if let Some(first) = self.transactions.insert(record.dtx, record.seq) {
                    return Err(format!("idempotence: {} was executed at {first} and again at {}", record.dtx, record.seq));
                }
                self.records.insert(record.seq, Arc::clone(record));
                Ok(())
            }
        }
    }

    /// A replica starts with its rows as of here: what it had applied above was not synced.
    pub fn restart(&mut self, device: DeviceId, applied: Seq) {
        self.applied.insert(device, applied);
    }

    /// The record applied at a seq.
    pub fn at(&self, seq: Seq) -> Option<&Arc<Record>> {
        self.records.get(&seq)
    }

    /// Where a transaction was applied.
    pub fn place_of(&self, dtx: &DtxId) -> Option<Seq> {
        self.transactions.get(dtx).copied()
    }

    /// All records that any replica applied, in order.
    pub fn records(&self) -> impl Iterator<Item = &Arc<Record>> {
        self.records.values()
    }

    /// The last seq that any replica applied.
    pub fn last(&self) -> Seq {
        self.records.last_key_value().map(|(seq, _)| *seq).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use types::record::{Coordination, Outcome};
    use types::{HaTime, ViewNumber};

    fn record(seq: u64, counter: u64) -> Arc<Record> {
        Arc::new(Record {
            seq: Seq(seq),
            view: ViewNumber(1),
            at: HaTime(0),
            dtx: DtxId { counter, ..DtxId::default() },
            writes: Vec::new(),
            outcome: Outcome::Done { version: Seq(seq), previous: Vec::new(), versioning: types::object::Versioning::Off },
            coordination: Coordination::Local,
        })
    }

    #[test]
    fn another_record_at_an_applied_place_is_found() {
        let mut history = OneHistory::default();
        history.apply(DeviceId(1), &record(1, 1)).expect("first");
        history.apply(DeviceId(2), &record(1, 1)).expect("the same");
        assert!(history.apply(DeviceId(3), &record(1, 2)).is_err());
    }

    #[test]
    fn a_hole_and_a_second_execution_are_found() {
        let mut history = OneHistory::default();
        assert!(history.clone().apply(DeviceId(1), &record(2, 1)).is_err(), "a hole");
        history.apply(DeviceId(1), &record(1, 1)).expect("first");
        assert!(history.apply(DeviceId(1), &record(2, 1)).is_err(), "the same transaction again");
    }
}
