//! Taking records of another log into this one: the one place where a log is cut.
//!
//! It skips what is there, cuts only at the first record whose view differs, never at or below `stable`, and appends the rest. So a message
//! that is late or short changes nothing, and two logs that hold one position agree up to it.

use std::sync::Arc;

use types::record::{Position, Record};
use types::{Seq, ViewNumber};

use crate::effect::Effect;
use crate::replica::Replica;

/// What became of records of another log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Merged {
    /// The logs agree up to here.
    Upto(Seq),
    /// This log does not hold the record before them.
    Gap,
    /// They contradict what is STABLE here.
    Diverged(Seq),
    /// They are not a piece of a log.
    Nonsense,
}

impl Replica {
    /// Takes records, which follow `prev` in the log of the primary (or to be) of `view`, into this one.
    pub(crate) fn merge(&mut self, view: ViewNumber, prev: Position, records: &[Arc<Record>], effects: &mut Vec<Effect>) -> Merged {
        if !is_piece(prev, records, view) {
            return Merged::Nonsense;
        }
        let floor = self.log.floor().seq;
        let end = Seq(prev.seq.0 + records.len() as u64);
        if prev.seq > self.log.last() {
            return Merged::Gap;
        }
        // What is below the floor was pruned: it is STABLE, so the same in every log that counts.
        if prev.seq >= floor && !self.log.holds(prev) && self.config.prev_matching() {
            return if prev.seq <= self.stable { Merged::Diverged(prev.seq) } else { Merged::Gap };
        }
        let known = records.iter().take_while(|r| r.seq <= floor || self.log.view_at(r.seq) == Some(r.view)).count();
        let new = &records[known..];
        if let Some(first) = new.first() {
            if first.seq <= self.log.last() {
                if first.seq <= self.stable && self.config.stable_never_cut() {
                    return Merged::Diverged(first.seq);
                }
                self.cut(Seq(first.seq.0 - 1), effects);
            }
            self.append(new.to_vec(), effects);
        } else if !self.config.short_redo_cuts_nothing() && end < self.log.last() {
            self.cut(end.max(floor), effects);
        }
        Merged::Upto(end.max(floor))
    }

    /// Puts records at the end of the log.
    pub(crate) fn append(&mut self, records: Vec<Arc<Record>>, effects: &mut Vec<Effect>) {
        let ticket = self.ticket(true);
        for record in &records {
            self.log.append(record.clone());
        }
        effects.push(Effect::Append { ticket, records });
    }

    /// Takes what is above `after` out of the log.
    pub(crate) fn cut(&mut self, after: Seq, effects: &mut Vec<Effect>) {
        assert!(after >= self.stable || !self.config.stable_never_cut(), "nothing STABLE is cut");
        let ticket = self.save(true);
        self.log.cut(after);
        effects.push(Effect::Cut { ticket, after });
    }
}

/// Whether records are dense after `prev`, of views that only rise and not above `view`.
fn is_piece(prev: Position, records: &[Arc<Record>], view: ViewNumber) -> bool {
    let mut before = prev;
    records.iter().all(|record| {
        let follows = record.seq == before.seq.next() && record.view >= before.view && record.view <= view;
        before = record.position();
        follows
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::effect::Ticket;
    use crate::testing::{V, at, follower, record, records};

    fn with_log(stable: u64) -> Replica {
        let mut replica = follower();
        let mut effects = Vec::new();
        replica.append(records(1..=4, 7), &mut effects);
        replica.stable = Seq(stable);
        replica
    }

    fn views(replica: &Replica) -> Vec<u64> {
        (1..=replica.log.last().0).map(|seq| replica.log.view_at(Seq(seq)).expect("in the log").0).collect()
    }

    #[test]
    fn what_is_there_is_skipped_and_a_short_or_late_piece_cuts_nothing() {
        let mut replica = with_log(0);
        let mut effects = Vec::new();
        assert_eq!(replica.merge(V, at(1, 7), &records(2..=3, 7), &mut effects), Merged::Upto(Seq(3)));
        assert_eq!(replica.merge(V, at(0, 0), &[], &mut effects), Merged::Upto(Seq(0)));
        assert_eq!((effects, views(&replica)), (vec![], vec![7, 7, 7, 7]));
    }

    #[test]
    fn the_log_is_cut_at_the_first_record_that_differs() {
        let mut replica = with_log(1);
        let mut effects = Vec::new();
        let piece = [record(2, 7), record(3, 9), record(4, 9), record(5, 10)];
        assert_eq!(replica.merge(V, at(1, 7), &piece, &mut effects), Merged::Upto(Seq(5)));
        assert_eq!(views(&replica), [7, 7, 9, 9, 10]);
        let ticket = Ticket(1);
        assert_eq!(effects, [Effect::Cut { ticket, after: Seq(2) }, Effect::Append { ticket, records: piece[1..].to_vec() }]);
    }

    #[test]
    fn nothing_stable_is_cut() {
        let mut replica = with_log(3);
        let mut effects = Vec::new();
        assert_eq!(replica.merge(V, at(2, 7), &records(3..=4, 9), &mut effects), Merged::Diverged(Seq(3)));
        assert_eq!((effects, views(&replica)), (vec![], vec![7, 7, 7, 7]));
    }

    #[test]
    fn a_piece_that_does_not_fit_on_is_a_gap() {
        let mut replica = with_log(1);
        let mut effects = Vec::new();
        assert_eq!(replica.merge(V, at(5, 7), &[], &mut effects), Merged::Gap);
        assert_eq!(replica.merge(V, at(4, 9), &records(5..=5, 9), &mut effects), Merged::Gap);
        assert_eq!(effects, []);
    }

    #[test]
    fn what_is_no_piece_of_a_log_is_nonsense() {
        let mut replica = with_log(0);
        let mut effects = Vec::new();
        for piece in [vec![record(6, 7)], vec![record(5, 11)], vec![record(5, 6)], vec![record(5, 9), record(6, 8)]] {
            assert_eq!(replica.merge(V, at(4, 7), &piece, &mut effects), Merged::Nonsense);
        }
        assert_eq!(effects, []);
    }
}
