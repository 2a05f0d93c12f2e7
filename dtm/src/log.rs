//! The log as a replica knows it: where it begins and ends, which view each record is of, and the records at its end.
//!
//! Records themselves are kept only as far as they are needed soon; older ones are read back from the device. The views are kept as runs:
//! there are as many as there were changes of primary since the last pruning.

use std::collections::VecDeque;
use std::sync::Arc;

use types::record::{Position, Record};
use types::{HaTime, Seq, ViewNumber};

/// A record in so many is remembered with its time and the bytes before it: the grain of the log's age and size.
const MARK_RECORDS: u64 = 256;

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Mark {
    seq: Seq,
    at: HaTime,
    bytes_before: u64,
}

/// The log of one replica.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) struct Log {
    /// The last record that is not in the log any more.
    floor: Position,
    last: Seq,
    last_at: HaTime,
    /// First seq and view of each run of records of one view.
    runs: VecDeque<(Seq, ViewNumber)>,
    /// The last records, up to `last`.
    cache: VecDeque<Arc<Record>>,
    cache_bytes: usize,
    marks: VecDeque<Mark>,
    /// Bytes of all records ever appended and not cut.
    bytes: u64,
}

impl Log {
    pub(crate) fn new(floor: Position) -> Self {
        Self { floor, last: floor.seq, ..Self::default() }
    }

    pub(crate) fn floor(&self) -> Position {
        self.floor
    }

    /// Seq of the first record, were there one.
    pub(crate) fn first(&self) -> Seq {
        self.floor.seq.next()
    }

    pub(crate) fn last(&self) -> Seq {
        self.last
    }

    pub(crate) fn last_position(&self) -> Position {
        Position { seq: self.last, view: self.view_at(self.last).unwrap_or_default() }
    }

    /// Log time of the last record; of the last one seen, where the log is empty.
    pub(crate) fn last_at(&self) -> HaTime {
        self.last_at
    }

    /// Sets the time that the next record goes on from, where no record is there to say.
    pub(crate) fn set_last_at(&mut self, at: HaTime) {
        self.last_at = self.last_at.max(at);
    }

    /// About how many bytes the log has on its device.
    pub(crate) fn bytes(&self) -> u64 {
        self.bytes - self.marks.front().map_or(self.bytes, |m| m.bytes_before)
    }

    /// About how old its first record is, in log time.
    pub(crate) fn age_ms(&self) -> u64 {
        self.marks.front().map_or(0, |m| self.last_at.0.saturating_sub(m.at.0))
    }

    /// The view of a record, or of the floor.
    pub(crate) fn view_at(&self, seq: Seq) -> Option<ViewNumber> {
        if seq == self.floor.seq {
            return Some(self.floor.view);
        }
        if seq < self.floor.seq || seq > self.last {
            return None;
        }
        let after = self.runs.partition_point(|(first, _)| *first <= seq);
        self.runs.get(after.checked_sub(1)?).map(|(_, view)| *view)
    }

    pub(crate) fn position(&self, seq: Seq) -> Option<Position> {
        self.view_at(seq).map(|view| Position { seq, view })
    }

    /// Whether the log holds exactly that record, or begins after it.
    pub(crate) fn holds(&self, position: Position) -> bool {
        self.view_at(position.seq) == Some(position.view)
    }

    /// Seq of the first record in memory; one after the last where none is.
    pub(crate) fn cached_from(&self) -> Seq {
        Seq(self.last.0 + 1 - self.cache.len() as u64)
    }

    pub(crate) fn get(&self, seq: Seq) -> Option<&Arc<Record>> {
        let index = seq.0.checked_sub(self.cached_from().0)?;
        self.cache.get(usize::try_from(index).ok()?)
    }

    /// Records from `from` to `upto` that are in memory, at most so many and so large, one at least; empty where `from` is not there.
    pub(crate) fn slice(&self, from: Seq, upto: Seq, records_max: usize, bytes_max: usize) -> Vec<Arc<Record>> {
        let mut out = Vec::new();
        let mut bytes = 0;
        let mut seq = from;
        while seq <= upto && out.len() < records_max {
            let Some(record) = self.get(seq) else { break };
            bytes += record.bytes();
            if bytes > bytes_max && !out.is_empty() {
                break;
            }
            out.push(record.clone());
            seq = seq.next();
        }
        out
    }

    /// Puts a record at the end.
    pub(crate) fn append(&mut self, record: Arc<Record>) {
        assert_eq!(record.seq, self.last.next(), "a log is dense");
        if self.runs.back().is_none_or(|(_, view)| *view != record.view) {
            self.runs.push_back((record.seq, record.view));
        }
        if self.marks.back().is_none_or(|m| record.seq.0 >= m.seq.0 + MARK_RECORDS) {
            self.marks.push_back(Mark { seq: record.seq, at: record.at, bytes_before: self.bytes });
        }
        let bytes = record.bytes();
        self.bytes += bytes as u64;
        self.cache_bytes += bytes;
        self.last = record.seq;
        self.last_at = self.last_at.max(record.at);
        self.cache.push_back(record);
    }

    /// Takes away all records above `after`.
    pub(crate) fn cut(&mut self, after: Seq) {
        assert!(after >= self.floor.seq, "what was pruned cannot be cut");
        while self.last > after {
            if let Some(record) = self.cache.pop_back() {
                self.cache_bytes -= record.bytes();
                self.bytes -= record.bytes() as u64;
            }
            self.last = Seq(self.last.0 - 1);
        }
        while self.runs.back().is_some_and(|(first, _)| *first > after) {
            self.runs.pop_back();
        }
        while self.marks.back().is_some_and(|m| m.seq > after) {
            self.marks.pop_back();
        }
        if let Some(record) = self.cache.back() {
            self.last_at = record.at;
        }
    }

    /// Takes away all records at or below `upto`.
    pub(crate) fn prune(&mut self, upto: Seq) {
        let Some(floor) = self.position(upto) else { return };
        while self.cached_from() <= upto && !self.cache.is_empty() {
            self.evict_first();
        }
        self.floor = floor;
        while self.runs.get(1).is_some_and(|(first, _)| first.0 <= upto.0 + 1) {
            self.runs.pop_front();
        }
        if upto == self.last {
            self.runs.clear();
            self.marks.clear();
        } else if let Some(run) = self.runs.front_mut() {
            run.0 = run.0.max(upto.next());
        }
        while self.marks.get(1).is_some_and(|m| m.seq.0 <= upto.0 + 1) {
            self.marks.pop_front();
        }
    }

    fn evict_first(&mut self) {
        if let Some(record) = self.cache.pop_front() {
            self.cache_bytes -= record.bytes();
        }
    }

    /// Forgets records in memory, oldest first, at or below `upto`, until the bound holds.
    pub(crate) fn evict(&mut self, upto: Seq, bytes_max: usize) {
        while self.cache_bytes > bytes_max && self.cached_from() <= upto && !self.cache.is_empty() {
            self.evict_first();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{at, record};

    fn log(views: &[u64]) -> Log {
        let mut log = Log::new(Position::default());
        for (seq, view) in (1..).zip(views) {
            log.append(record(seq, *view));
        }
        log
    }

    #[test]
    fn the_view_of_every_record_is_known_through_cuts_and_prunings() {
        let mut log = log(&[3, 3, 4, 7, 7, 7]);
        log.prune(Seq(2));
        log.cut(Seq(5));
        assert_eq!((log.floor(), log.first(), log.last()), (at(2, 3), Seq(3), Seq(5)));
        let views: Vec<_> = (1..=6).map(|seq| log.view_at(Seq(seq)).map(|v| v.0)).collect();
        assert_eq!(views, [None, Some(3), Some(4), Some(7), Some(7), None]);
        assert!(log.holds(at(4, 7)) && !log.holds(at(4, 4)));
    }

    #[test]
    fn a_log_pruned_to_its_end_goes_on_from_there() {
        let mut log = log(&[3, 3]);
        log.prune(Seq(2));
        assert_eq!((log.bytes(), log.last_position()), (0, at(2, 3)));
        log.append(record(3, 9));
        assert_eq!(log.last_position(), at(3, 9));
        assert!(log.bytes() > 0);
    }

    #[test]
    fn what_is_evicted_is_not_in_a_slice_but_in_the_log() {
        let mut log = log(&[3; 6]);
        log.evict(Seq(4), 0);
        assert_eq!(log.cached_from(), Seq(5));
        assert!(log.slice(Seq(4), Seq(6), 9, usize::MAX).is_empty());
        assert_eq!(log.slice(Seq(5), Seq(6), 1, usize::MAX).len(), 1);
        assert_eq!(log.slice(Seq(5), Seq(6), 9, 1).len(), 1, "one at least");
        assert!(log.holds(at(1, 3)));
        log.cut(Seq(2));
        assert_eq!((log.last_position(), log.cached_from()), (at(2, 3), Seq(3)));
        log.append(record(3, 8));
        assert_eq!(log.slice(Seq(3), Seq(3), 9, usize::MAX).len(), 1);
    }
}
