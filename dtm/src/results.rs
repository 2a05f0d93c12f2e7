//! The results of recent transactions: part of the applied state, a function of the records alone.
//!
//! One row a record, in the reserved catalogue [`CATALOGUE`] of the group, keyed by seq: written with the record's own rows and dropped by
//! log time, on all replicas alike. The memory form is dense by seq, with an index by name.

use std::collections::{BTreeMap, VecDeque};

use serde::{Deserialize, Serialize};
use types::record::{Outcome, Record, Row, RowKey};
use types::{CatalogueId, DtxId, HaTime, Seq, codec};

use crate::error::DtmError;

/// The catalogue of results rows: a number that HA never gives out.
pub const CATALOGUE: CatalogueId = CatalogueId(u64::MAX);
/// Format of results rows that this build writes: the first byte of the value.
pub const FORMAT: u8 = 1;

/// What became of a transaction.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct StoredResult {
    /// Which.
    pub dtx: DtxId,
    /// Log time of its record.
    pub at: HaTime,
    /// What the client is told.
    pub outcome: Outcome,
}

impl StoredResult {
    /// The value of its row.
    pub fn encode(&self) -> Vec<u8> {
        let mut out = vec![FORMAT];
        out.extend(codec::encode(self));
        out
    }

    /// About how many bytes it takes in memory.
    pub fn bytes(&self) -> usize {
        // Itself, and its place in the index by name.
        const FIXED: usize = 112;
        const PREVIOUS: usize = size_of::<Option<Seq>>();
        FIXED + if let Outcome::Done { previous, .. } = &self.outcome { PREVIOUS * previous.len() } else { 0 }
    }

    /// The inverse.
    pub fn decode(bytes: &[u8]) -> Result<Self, DtmError> {
        match bytes.split_first() {
            Some((&FORMAT, rest)) => Ok(codec::decode(rest)?),
            Some((&other, _)) => Err(DtmError::ResultFormat(other)),
            None => Err(DtmError::ResultFormat(0)),
        }
    }
}

/// The key of a record's result row.
pub fn result_key(seq: Seq) -> RowKey {
    RowKey { catalogue: CATALOGUE, key: seq.0.to_be_bytes().to_vec() }
}

/// The result row that is put when a record is applied.
pub fn result_row(record: &Record) -> (RowKey, Row) {
    let result = StoredResult { dtx: record.dtx, at: record.at, outcome: record.outcome.clone() };
    (result_key(record.seq), Row { version: record.seq, value: result.encode() })
}

/// The results in memory.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) struct Results {
    /// Seq of the first that is kept; one after the last where none is.
    first: Seq,
    kept: VecDeque<StoredResult>,
    by_dtx: BTreeMap<DtxId, Seq>,
    /// Of those that are kept.
    bytes: usize,
}

impl Results {
    /// No results; the next is that of `next`.
    pub(crate) fn starting_at(next: Seq) -> Self {
        Self { first: next, ..Self::default() }
    }

    pub(crate) fn len(&self) -> usize {
        self.kept.len()
    }

    /// About how many bytes those that are kept take.
    pub(crate) fn bytes(&self) -> usize {
        self.bytes
    }

    /// Whether a record at `at` drops any.
    pub(crate) fn would_drop(&self, at: HaTime, window_ms: u64) -> bool {
        self.kept.front().is_some_and(|r| r.at.0.saturating_add(window_ms) < at.0)
    }

    /// The seq that the next result has to have.
    pub(crate) fn next(&self) -> Seq {
        Seq(self.first.0 + self.kept.len() as u64)
    }

    pub(crate) fn get(&self, dtx: &DtxId) -> Option<(Seq, &Outcome)> {
        let seq = *self.by_dtx.get(dtx)?;
        let result = self.kept.get(usize::try_from(seq.0.checked_sub(self.first.0)?).ok()?)?;
        Some((seq, &result.outcome))
    }

    pub(crate) fn push(&mut self, result: StoredResult) {
        self.by_dtx.insert(result.dtx, self.next());
        self.bytes += result.bytes();
        self.kept.push_back(result);
    }

    /// Drops what is older than the window before `at`; gives the seqs dropped, first and last.
    pub(crate) fn drop_before(&mut self, at: HaTime, window_ms: u64) -> (Seq, Seq) {
        let first = self.first;
        while self.would_drop(at, window_ms) {
            self.drop_first();
        }
        (first, Seq(self.first.0.saturating_sub(1)))
    }

    /// Drops everything up to `upto`: only the model does, to show why nobody must.
    pub(crate) fn forget_upto(&mut self, upto: Seq) {
        while self.first <= upto && !self.kept.is_empty() {
            self.drop_first();
        }
    }

    fn drop_first(&mut self) {
        if let Some(result) = self.kept.pop_front() {
            self.bytes -= result.bytes();
            if self.by_dtx.get(&result.dtx) == Some(&self.first) {
                self.by_dtx.remove(&result.dtx);
            }
            self.first = self.first.next();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{dtx, record};

    #[test]
    fn results_fall_out_by_log_time_alone() {
        let mut results = Results::starting_at(Seq(1));
        for (counter, at) in [(1, 100), (2, 150), (3, 150), (4, 260)] {
            results.push(StoredResult { dtx: dtx(counter), at: HaTime(at), outcome: record(counter, 1).outcome.clone() });
        }
        assert_eq!(results.drop_before(HaTime(200), 100), (Seq(1), Seq(0)), "exactly W is kept");
        assert_eq!(results.drop_before(HaTime(260), 100), (Seq(1), Seq(3)));
        assert_eq!((results.get(&dtx(3)), results.get(&dtx(4)).map(|r| r.0)), (None, Some(Seq(4))));
        assert_eq!(results.next(), Seq(5));
    }

    #[test]
    fn bytes_are_those_of_what_is_kept() {
        let mut results = Results::starting_at(Seq(1));
        for (counter, previous) in [(1, 1000), (2, 1)] {
            let outcome =
                Outcome::Done { version: Seq(counter), previous: vec![None; previous], versioning: types::object::Versioning::Off };
            results.push(StoredResult { dtx: dtx(counter), at: HaTime(counter), outcome });
        }
        let (two, small) = (results.bytes(), results.kept[1].bytes());
        assert!(two > 16_000 && small < 200, "{two}, {small}");
        assert!(!results.would_drop(HaTime(101), 100) && results.would_drop(HaTime(102), 100));
        results.drop_before(HaTime(102), 100);
        assert_eq!(results.bytes(), small);
        results.drop_before(HaTime(1000), 100);
        assert_eq!((results.bytes(), results.len()), (0, 0));
    }

    #[test]
    fn a_results_row_survives_its_bytes() {
        let (key, row) = result_row(&record(258, 9));
        assert_eq!(key.key, [0, 0, 0, 0, 0, 0, 1, 2]);
        let back = StoredResult::decode(&row.value).expect("its own bytes");
        assert_eq!((back.dtx, back.outcome), (dtx(258), record(258, 9).outcome.clone()));
        assert!(StoredResult::decode(&[]).is_err() && StoredResult::decode(&[9, 0]).is_err());
    }
}
