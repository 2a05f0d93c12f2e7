//! The target of a copy.

use types::record::{Position, Row, RowKey};
use types::wire::dtm::Message;
use types::{Seq, ViewNumber};

use super::CopyIn;
use crate::crossing::{Crossings, is_of_machine};
use crate::effect::{Effect, Report};
use crate::event::Instant;
use crate::log::Log;
use crate::replica::{From, Mark, Replica};
use crate::results::{CATALOGUE, Results, StoredResult, result_key};
use crate::role::Role;

/// A piece, taken apart.
#[derive(Debug)]
pub(crate) struct CopyPiece {
    pub(crate) view: ViewNumber,
    pub(crate) at: Position,
    pub(crate) number: u64,
    pub(crate) rows: Vec<(RowKey, Row)>,
    pub(crate) end: bool,
}

impl Replica {
    /// Whether what this replica holds may be needed: it counts in its view, and its log ends where the primary's still reaches. Then it is
    /// not wiped. What the primary has pruned is STABLE: where that lies above all that this replica holds, f+1 others have it, and all before.
    fn is_spared(&self) -> bool {
        let counts = self.normal == Some(self.promised) && self.config.copy_spares_who_counts();
        counts && self.told_floor <= self.log.last()
    }

    /// The primary says that no log reaches back to what this replica lacks. It may be an old word: looked at again.
    pub(crate) fn on_pruned(&mut self, from: From, view: ViewNumber, floor: Position, effects: &mut Vec<Effect>) {
        let lacks = floor.seq > self.stable && !self.log.holds(floor);
        if view == self.promised && matches!(self.role, Role::Follower) && self.copy.is_none() && lacks {
            self.told_floor = self.told_floor.max(floor.seq);
            if !self.is_spared() {
                self.send(from.device, Message::CopyRequest { view }, self.unsynced(), effects);
            }
        }
    }

    pub(crate) fn on_copy_piece(&mut self, from: From, piece: CopyPiece, now: Instant, effects: &mut Vec<Effect>) {
        if !self.heed(from, piece.view, effects) || !matches!(self.role, Role::Follower) {
            return;
        }
        let taken = Message::CopyTaken { view: piece.view, at: piece.at.seq, number: piece.number };
        let next = match &self.copy {
            // What it is to bring is here.
            None if self.is_spared() || piece.at.seq <= self.stable => return self.send(from.device, taken, None, effects),
            None => None,
            Some(copy) if (copy.boot, copy.at) == (from.boot, piece.at) => Some(copy.next),
            Some(copy) if copy.at.seq >= piece.at.seq => return,
            // The source has given the copy up and begun another.
            Some(_) => None,
        };
        match next {
            Some(next) if piece.number < next => return self.send(from.device, taken, None, effects),
            Some(next) if piece.number > next && self.config.copy_in_order() => return,
            None if piece.number > 0 => return,
            None => self.begin_copy(from, piece.at, now, effects),
            Some(_) => {}
        }
        if self.fill(piece, from, now, effects) {
            // Only the end is something that the source relies on.
            let after = if self.copy.is_none() { self.unsynced() } else { None };
            self.send(from.device, taken, after, effects);
        }
    }

    fn begin_copy(&mut self, from: From, at: Position, now: Instant, effects: &mut Vec<Effect>) {
        self.wipe(at, effects);
        let again_at = now.after_ms(self.config.copy_again_ms);
        self.copy = Some(CopyIn { source: from.device, boot: from.boot, at, next: 0, again_at });
    }

    /// Takes the rows of a piece; false where it is none.
    fn fill(&mut self, piece: CopyPiece, from: From, now: Instant, effects: &mut Vec<Effect>) -> bool {
        let CopyPiece { view, at, number, rows, end } = piece;
        let again_at = now.after_ms(self.config.copy_again_ms);
        let complete = !end || self.config.copy_in_order();
        if !self.take_own(&rows) || (end && complete && at.seq.next() != self.results.next()) {
            self.report(Report::Diverged { device: from.device, view, seq: at.seq }, effects);
            return false;
        }
        let Some(copy) = &mut self.copy else { return false };
        (copy.next, copy.again_at) = (number + 1, again_at);
        if end {
            self.copy = None;
        }
        let ticket = if end { self.save(true) } else { self.ticket(false) };
        effects.push(Effect::Fill { ticket, rows });
        true
    }

    /// Takes rows of the machine's own into memory. Results are dense up to the copy's seq and come in their order.
    fn take_own(&mut self, rows: &[(RowKey, Row)]) -> bool {
        let crossings = rows.iter().filter(|(key, _)| key.catalogue != CATALOGUE && is_of_machine(key.catalogue));
        for (key, row) in crossings {
            if self.crossings.take_row(key, row).is_err() {
                return false;
            }
        }
        for (key, row) in rows.iter().filter(|(key, _)| key.catalogue == CATALOGUE) {
            let Ok(result) = StoredResult::decode(&row.value) else { return false };
            if self.results.len() == 0 {
                self.results = Results::starting_at(row.version);
            }
            if *key != result_key(row.version) || row.version != self.results.next() {
                return false;
            }
            self.log.set_last_at(result.at);
            self.results.push(result);
        }
        true
    }

    /// Takes everything away but the promise. What is there after it is as of `at`: nothing yet, or what a copy brings.
    pub(crate) fn wipe(&mut self, at: Position, effects: &mut Vec<Effect>) {
        let ticket = self.save(true);
        if self.config.copy_counts_not() {
            self.normal = None;
        }
        self.log = Log::new(at);
        self.results = Results::starting_at(Seq(1));
        self.crossings = Crossings::default();
        (self.stable, self.applied, self.committed_applied) = (at.seq, at.seq, at.seq);
        (self.matched, self.all_persistent) = (at.seq, at.seq);
        (self.ack_to, self.reading_apply, self.copy, self.told_floor) = (None, false, None, Seq(0));
        // Nothing that was on its way to the device will be there.
        self.marks.clear();
        self.durable = Mark { last: at.seq, applied: at.seq, normal: None, ..self.durable };
        effects.push(Effect::Wipe { ticket });
    }

    /// The primary of the copy's view is not listened to any more, or this process has begun anew: what there is of a copy goes.
    pub(crate) fn give_up_copy(&mut self, effects: &mut Vec<Effect>) {
        if self.copy.take().is_some() && self.config.copy_wiped_at_view() {
            self.wipe(Position::default(), effects);
        }
    }

    /// Whether all rules hold that keep half a copy from being taken for a group: always, but in the model check.
    pub(crate) fn copies_are_whole(&self) -> bool {
        let config = &self.config;
        config.copy_then_apply() && config.copy_wiped_at_view() && config.copy_wiped_at_restart() && config.copy_in_order()
    }

    /// Asks again for a copy that has stopped.
    pub(crate) fn copy_tick(&mut self, now: Instant, effects: &mut Vec<Effect>) {
        let (view, again_ms) = (self.promised, self.config.copy_again_ms);
        let Some(copy) = self.copy.as_mut().filter(|copy| copy.again_at <= now) else { return };
        copy.again_at = now.after_ms(again_ms);
        let source = copy.source;
        self.send(source, Message::CopyRequest { view }, None, effects);
    }
}
