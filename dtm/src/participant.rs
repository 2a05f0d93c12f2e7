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
        match self.merge(redo.view, redo.prev, &redo.records, effects) {
            Merged::Upto(upto) => self.matched = self.matched.max(upto),
            Merged::Gap => {
                let last = self.log.last().min(Seq(redo.prev.seq.0.saturating_sub(1)));
                self.send(from.device, Message::Gap { view: redo.view, last, stable: self.stable }, self.unsynced(), effects);
                return;
            }
            Merged::Diverged(seq) => return self.report(Report::Diverged { device: from.device, view: redo.view, seq }, effects),
            Merged::Nonsense => return,
        }
        self.ack_to = Some((from.device, redo.view));
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
        for record in &records {
            assert_eq!(record.seq, self.results.next(), "results are dense");
            self.results.push(StoredResult { dtx: record.dtx, at: record.at, outcome: record.outcome.clone() });
        }
        let dropped = self.results.drop_before(at, self.config.window_ms);
        self.applied = upto;
        let ticket = self.save(false);
        self.answer_applied(&records, ticket, now, effects);
        effects.push(Effect::Apply { ticket, records, dropped });
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
