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
