//! A participant: takes Redo, says what it holds, applies what it is told to be STABLE.

use std::sync::Arc;

use types::record::{Position, Record};
use types::wire::dtm::Message;
use types::{Seq, ViewNumber};

use crate::effect::{Effect, Reader, Report};
use crate::event::Instant;
use crate::merge::Merged;
use crate::replica::{From, Replica};
use crate::results::StoredResult;
use crate::role::Role;

/// A primary's Redo, taken apart.
#[derive(Debug)]
pub(crate) struct Redo {
    pub(crate) view: ViewNumber,
    pub(crate) base: Seq,
    pub(crate) prev: Position,
    pub(crate) records: Vec<Arc<Record>>,
    pub(crate) stable: Seq,
    pub(crate) all_persistent: Seq,
}

/// Bytes of records that one read of the log for applying takes.
const APPLY_BYTES: usize = 4 * 1024 * 1024;

impl Replica {
    pub(crate) fn on_redo(&mut self, from: From, redo: Redo, effects: &mut Vec<Effect>) {
        if !self.heed(from, redo.view, effects) || !matches!(self.role, Role::Follower) {
            return;
        }
        if self.copy.is_some() && self.log.bytes() >= self.config.log_bytes_max {
            // It cannot apply before its copy is complete: the primary's log grows in its place, until clients are throttled.
            self.ack_to = Some((from.device, redo.view));
            return;
        }
        match self.merge(redo.view, redo.prev, &redo.records, effects) {
            Merged::Upto(upto) => self.matched = self.matched.max(upto),
            Merged::Gap => {
                let last = self.log.last().min(Seq(redo.prev.seq.0.saturating_sub(1)));
                let gap = Message::Gap { view: redo.view, normal: self.normal, last, stable: self.stable };
                self.send(from.device, gap, self.unsynced(), effects);
                return;
            }
            Merged::Diverged(seq) => return self.report(Report::Diverged { device: from.device, view: redo.view, seq }, effects),
            Merged::Nonsense => return,
        }
        self.ack_to = Some((from.device, redo.view));
        if self.copy.is_some() && self.config.copy_then_apply() {
            return self.evict();
        }
        if self.normal != Some(redo.view) && !self.adopt(&redo, effects) && self.config.apply_when_matched() {
            return;
        }
        self.stable = self.stable.max(redo.stable.min(self.log.last()));
        self.all_persistent = self.all_persistent.max(redo.all_persistent.min(self.log.last()));
        self.prune(effects);
        self.evict();
    }

    /// Sets `normal` once the log equals the primary's up to its base, in one step with the end of any foreign tail.
    fn adopt(&mut self, redo: &Redo, effects: &mut Vec<Effect>) -> bool {
        if self.matched < redo.base && self.config.normal_at_base() {
            return false;
        }
        if self.log.last() > self.matched && self.config.tail_dropped() {
            if self.matched < self.stable {
                return false;
            }
            self.cut(self.matched, effects);
        }
        self.normal = Some(redo.view);
        self.save(true);
        true
    }

    /// One `Persistent` for everything that was taken since the last.
    pub(crate) fn acknowledge(&mut self, effects: &mut Vec<Effect>) {
        let Some((to, view)) = self.ack_to.take() else { return };
        let upto = if self.normal == Some(view) { self.log.last() } else { self.matched };
        let message = Message::Persistent { view, normal: self.normal, upto, stable: self.stable };
        let after = if self.config.ack_after_sync() { self.unsynced() } else { None };
        self.send(to, message, after, effects);
    }

    /// Applies what is STABLE: the same code for a record that is new, redone, or replayed after a crash.
    pub(crate) fn apply_ready(&mut self, now: Instant, effects: &mut Vec<Effect>) {
        let upto = self.stable.min(self.log.last());
        while self.applied < upto && !self.reading_apply {
            let from = self.applied.next();
            let records = self.log.slice(from, upto, usize::MAX, APPLY_BYTES);
            if records.is_empty() {
                self.reading_apply = true;
                effects.push(Effect::ReadLog { reader: Reader::Apply, from, upto, bytes_max: APPLY_BYTES });
            } else {
                self.apply(records, now, effects);
            }
        }
    }

    fn apply(&mut self, records: Vec<Arc<Record>>, now: Instant, effects: &mut Vec<Effect>) {
        let Some(last) = records.last() else { return };
        let (upto, at) = (last.seq, last.at);
        let whole = self.copies_are_whole();
        let mut notes = Vec::new();
        for record in &records {
            assert!(!whole || record.seq == self.results.next(), "results are dense");
            self.results.push(StoredResult { dtx: record.dtx, at: record.at, outcome: record.outcome.clone() });
            notes.extend(self.crossings.apply(record));
        }
        let dropped = self.results.drop_before(at, self.config.window_ms);
        if !self.config.parts_outlive_window() {
            self.crossings.forget_executed(dropped.1);
        }
        self.applied = upto;
        let ticket = self.save(false);
        self.answer_applied(&records, ticket, now, effects);
        effects.push(Effect::Apply { ticket, records, dropped });
        if !notes.is_empty() {
            effects.push(Effect::Note { ticket, rows: notes });
        }
    }

    pub(crate) fn on_log_read(&mut self, reader: Reader, from: Seq, records: Vec<Arc<Record>>, now: Instant, effects: &mut Vec<Effect>) {
        match reader {
            Reader::Apply => {
                self.reading_apply = false;
                let upto = self.stable.min(self.log.last());
                let due: Vec<_> = records.into_iter().filter(|r| r.seq > self.applied && r.seq <= upto).collect();
                if due.first().is_some_and(|r| r.seq == self.applied.next()) {
                    self.apply(due, now, effects);
                }
            }
            Reader::Redo(device, view) => self.redo_from_device(device, view, from, records, now, effects),
            Reader::Fetch(device, view) => {
                if view == self.promised && matches!(self.role, Role::Follower) {
                    self.send_fetched(device, view, Seq(from.0.saturating_sub(1)), records, effects);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use types::wire::dtm::Reason;

    use super::*;
    use crate::effect::Ticket;
    use crate::event::Event;
    use crate::testing::{B, C, V, at, follower, fresh, persist, persistent, record, records, redo, said, sends, step};

    #[test]
    fn a_redo_is_appended_and_acknowledged_after_the_sync() {
        let mut replica = follower();
        let new = records(1..=2, 10);
        let effects = step(&mut replica, said(B, redo(10, 0, at(0, 0), new.clone(), 0)));
        let ticket = Ticket(1);
        assert_eq!(effects, [Effect::Append { ticket, records: new }, Effect::SaveState { ticket, state: replica.state(), sync: true }]);
        assert_eq!(step(&mut replica, Event::Flush), [sends(B, Some(1), persistent(10, 2))]);
        assert_eq!(step(&mut replica, Event::Flush), []);
    }

    #[test]
    fn what_is_told_stable_is_applied_with_its_state() {
        let mut replica = follower();
        step(&mut replica, said(B, redo(10, 0, at(0, 0), records(1..=2, 10), 0)));
        persist(&mut replica);
        let effects = step(&mut replica, said(B, redo(10, 0, at(2, 10), vec![], 1)));
        let ticket = Ticket(2);
        let apply = Effect::Apply { ticket, records: records(1..=1, 10), dropped: (Seq(1), Seq(0)) };
        assert_eq!(effects, [apply, Effect::SaveState { ticket, state: replica.state(), sync: false }]);
        assert_eq!((replica.stable(), replica.applied()), (Seq(1), Seq(1)));
    }

    #[test]
    fn a_view_below_the_promise_is_refused() {
        let mut replica = follower();
        let effects = step(&mut replica, said(B, redo(9, 0, at(0, 0), vec![], 0)));
        assert_eq!(effects, [sends(B, None, Message::Refused { view: ViewNumber(9), reason: Reason::Superseded(V) })]);
    }

    #[test]
    fn a_higher_view_raises_the_promise_with_the_append() {
        let mut replica = follower();
        let new = records(1..=1, 12);
        let effects = step(&mut replica, said(C, redo(12, 0, at(0, 0), new.clone(), 0)));
        assert_eq!((replica.promised(), replica.normal()), (ViewNumber(12), Some(ViewNumber(12))));
        let ticket = Ticket(1);
        assert_eq!(effects, [Effect::Append { ticket, records: new }, Effect::SaveState { ticket, state: replica.state(), sync: true }]);
    }

    #[test]
    fn normal_is_set_only_at_the_base_and_drops_the_foreign_tail() {
        let mut replica = follower();
        step(&mut replica, said(B, redo(10, 0, at(0, 0), records(1..=4, 10), 0)));
        step(&mut replica, Event::Flush);
        persist(&mut replica);
        // The primary of view 12 has three records at its base; the last two of ours are foreign.
        step(&mut replica, said(C, redo(12, 3, at(1, 10), vec![], 3)));
        assert_eq!((replica.normal(), replica.stable(), replica.log_range().1), (Some(V), Seq(0), Seq(4)));
        let flow = Message::Persistent { view: ViewNumber(12), normal: Some(V), upto: Seq(1), stable: Seq(0) };
        assert_eq!(step(&mut replica, Event::Flush), [sends(C, Some(2), flow)]);
        persist(&mut replica);
        let effects = step(&mut replica, said(C, redo(12, 2, at(2, 10), vec![], 2)));
        assert_eq!((replica.normal(), replica.stable(), replica.log_range().1), (Some(ViewNumber(12)), Seq(2), Seq(2)));
        assert!(matches!(effects[0], Effect::Cut { after: Seq(2), .. }), "{effects:?}");
    }

    #[test]
    fn a_gap_says_where_to_go_on_from() {
        let mut replica = follower();
        step(&mut replica, said(B, redo(10, 0, at(0, 0), records(1..=2, 10), 0)));
        persist(&mut replica);
        let effects = step(&mut replica, said(B, redo(10, 0, at(7, 10), vec![record(8, 10)], 0)));
        assert_eq!(effects, [sends(B, None, Message::Gap { view: V, normal: Some(V), last: Seq(2), stable: Seq(0) })]);
        let effects = step(&mut replica, said(C, redo(11, 0, at(2, 11), vec![], 0)));
        assert_eq!(effects[0], sends(C, Some(2), Message::Gap { view: ViewNumber(11), normal: Some(V), last: Seq(1), stable: Seq(0) }));
    }

    #[test]
    fn a_record_that_is_not_in_memory_is_read_back_to_be_applied() {
        let mut replica = fresh();
        replica.log.append(record(1, 10));
        replica.log.evict(Seq(1), 0);
        replica.stable = Seq(1);
        let effects = step(&mut replica, Event::Flush);
        assert_eq!(effects, [Effect::ReadLog { reader: Reader::Apply, from: Seq(1), upto: Seq(1), bytes_max: APPLY_BYTES }]);
        let read = Event::LogRead { reader: Reader::Apply, from: Seq(1), records: records(1..=1, 10) };
        assert!(matches!(step(&mut replica, read)[..], [Effect::Apply { .. }, Effect::SaveState { .. }]));
    }
}
