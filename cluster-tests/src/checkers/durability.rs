//! Durability: every transaction that a client was told is done is held, unchanged and durable, by enough replicas.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use types::record::{Outcome, Record};
use types::{DeviceId, DtxId, Seq};

/// What one replica durably holds.
#[derive(Clone, Debug, Default)]
pub struct Holding {
    /// Its log, by seq.
    pub log: BTreeMap<Seq, Arc<Record>>,
    /// Everything up to here is in its rows; the log may be pruned up to here.
    pub applied: Seq,
}

impl Holding {
    fn holds(&self, seq: Seq, dtx: DtxId) -> bool {
        match self.log.get(&seq) {
            Some(record) => record.dtx == dtx,
            // One history vouches for what was applied, so a pruned record was this one.
            None => seq <= self.applied,
        }
    }
}

/// What clients were told.
#[derive(Clone, Debug, Default)]
pub struct Answered {
    by_dtx: BTreeMap<DtxId, (Seq, Outcome)>,
    by_seq: BTreeMap<Seq, DtxId>,
}

impl Answered {
    /// A client is told an outcome of the record at `seq`. An error where it was told another one before, or another transaction has the
    /// place.
    pub fn answer(&mut self, dtx: DtxId, seq: Seq, outcome: &Outcome) -> Result<(), String> {
        if let Some(before) = self.by_dtx.insert(dtx, (seq, outcome.clone()))
            && before != (seq, outcome.clone())
        {
            return Err(format!("idempotence: {dtx} was answered {before:?} and then {seq} {outcome:?}"));
        }
        match self.by_seq.insert(seq, dtx) {
            Some(before) if before != dtx => Err(format!("one history: {seq} was answered to {before} and to {dtx}")),
            _ => Ok(()),
        }
    }

    /// Whether every answered transaction has at least `copies` holders.
    pub fn check(&self, replicas: &BTreeMap<DeviceId, Holding>, copies: usize) -> Result<(), String> {
        // Every holder has all up to its applied: only answers above the lowest of those need a look.
        let floor = replicas.values().map(|replica| replica.applied).min().unwrap_or_default();
        let everywhere = replicas.len() >= copies;
        for (seq, dtx) in &self.by_seq {
            if everywhere && *seq <= floor && replicas.values().all(|r| !r.log.contains_key(seq)) {
                continue;
            }
            let holders: BTreeSet<DeviceId> = replicas.iter().filter(|(_, r)| r.holds(*seq, *dtx)).map(|(device, _)| *device).collect();
            if holders.len() < copies {
                return Err(format!("durability: {dtx} at {seq} was answered, and only {holders:?} hold it; {copies} should"));
            }
        }
        Ok(())
    }

    /// How many transactions were answered.
    pub fn len(&self) -> usize {
        self.by_dtx.len()
    }

    /// Whether none was.
    pub fn is_empty(&self) -> bool {
        self.by_dtx.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn dtx(counter: u64) -> DtxId {
        DtxId { counter, ..DtxId::default() }
    }

    fn done(seq: u64) -> Outcome {
        Outcome::Done { version: Seq(seq), previous: Vec::new(), versioning: types::object::Versioning::Off }
    }

    #[test]
    fn an_answer_without_enough_holders_is_found() {
        let mut answered = Answered::default();
        answered.answer(dtx(1), Seq(1), &done(1)).expect("first");
        let mut replicas: BTreeMap<DeviceId, Holding> = (1..=3).map(|d| (DeviceId(d), Holding::default())).collect();
        replicas.get_mut(&DeviceId(1)).expect("there").applied = Seq(1);
        assert!(answered.check(&replicas, 2).is_err());
        replicas.get_mut(&DeviceId(3)).expect("there").applied = Seq(1);
        assert_eq!(answered.check(&replicas, 2), Ok(()));
    }

    #[test]
    fn a_transaction_answered_twice_in_different_ways_is_found() {
        let mut answered = Answered::default();
        answered.answer(dtx(1), Seq(1), &done(1)).expect("first");
        assert_eq!(answered.answer(dtx(1), Seq(1), &done(1)), Ok(()));
        assert!(answered.answer(dtx(1), Seq(2), &done(2)).is_err());
        assert!(answered.answer(dtx(2), Seq(1), &done(1)).is_err());
    }
}
