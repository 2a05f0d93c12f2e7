//! The source of copies: the active primary.

use types::record::{Row, RowKey};
use types::state::DeviceState;
use types::wire::dtm::Message;
use types::{DeviceId, Seq, ViewNumber};

use super::CopyOut;
use crate::effect::Effect;
use crate::event::Instant;
use crate::replica::{From, Replica};
use crate::role::{Blank, Progress, Role};

impl Replica {
    /// A peer says that it does not count, or that it will not. False where that is an old word.
    pub(crate) fn note_blank(&mut self, from: From, effects: &mut Vec<Effect>) -> bool {
        let floor = self.log.floor().seq;
        let Role::Primary(primary) = &mut self.role else { return false };
        let Some(progress) = primary.peers.get_mut(&from.device).filter(|p| !p.normal || p.counted < floor) else { return false };
        // No log was kept for it while it was away. What it counted for is held by f+1 others, with all that was pruned since.
        (progress.normal, progress.counted, progress.fill) = (false, Seq(0), None);
        if progress.blank.is_none_or(|known| known.boot < from.boot) {
            // What it had in an earlier start is gone, and a copy to that start with it.
            progress.blank = Some(Blank { boot: from.boot, kept: None });
            end_copy(from.device, progress, effects);
        }
        let present = progress.blank.is_some_and(|known| known.boot == from.boot);
        if present {
            // It says itself that it has less than it once said: that is no amnesia.
            self.heard.remove(&from.device);
        }
        present
    }

    pub(crate) fn on_copy_request(&mut self, from: From, view: ViewNumber, now: Instant, effects: &mut Vec<Effect>) {
        let serves = self.is_active() || (self.is_primary() && !self.config.copy_from_active());
        if view != self.promised || !serves || !self.is_present(from) || !self.note_blank(from, effects) {
            return;
        }
        let Role::Primary(primary) = &mut self.role else { return };
        let Some(progress) = primary.peers.get_mut(&from.device).filter(|p| p.copy.is_none()) else { return };
        let wait_ms = self.config.resend_ms;
        progress.copy = Some(CopyOut { at: None, number: 0, after: None, sent: None, again_at: None, wait_ms, heard_at: now });
        effects.push(Effect::OpenCopy { target: from.device });
    }

    /// The snapshot is there: the log is kept for the target from what it shows on.
    pub(crate) fn on_copy_opened(&mut self, target: DeviceId, applied: Seq, now: Instant, effects: &mut Vec<Effect>) {
        let at = self.log.position(applied);
        let Some(mut primary) = self.take_primary() else {
            effects.push(Effect::CloseCopy { target });
            return;
        };
        if let Some(progress) = primary.peers.get_mut(&target)
            && let Some(copy) = progress.copy.as_mut().filter(|copy| copy.at.is_none())
        {
            if at.is_some() {
                copy.at = at;
                progress.blank = progress.blank.map(|known| Blank { kept: Some(applied), ..known });
                (progress.next, progress.resume) = (applied.next(), applied);
                (progress.matched, progress.gaps, progress.reading, progress.again_at) = (false, 0, false, None);
                progress.on_way.clear();
                self.read_piece(target, copy, now, effects);
            } else {
                end_copy(target, progress, effects);
            }
        } else {
            effects.push(Effect::CloseCopy { target });
        }
        self.role = Role::Primary(primary);
    }

    fn read_piece(&self, target: DeviceId, copy: &mut CopyOut, now: Instant, effects: &mut Vec<Effect>) {
        copy.sent = None;
        copy.again_at = Some(now.after_ms(copy.wait_ms));
        let (rows_max, bytes_max) = (self.config.copy_rows_max, self.config.copy_bytes_max);
        effects.push(Effect::ReadCopy { target, number: copy.number, after: copy.after.clone(), rows_max, bytes_max });
    }

    pub(crate) fn on_copy_read(&mut self, target: DeviceId, number: u64, rows: Vec<(RowKey, Row)>, end: bool, effects: &mut Vec<Effect>) {
        let view = self.promised;
        let Role::Primary(primary) = &mut self.role else { return };
        let copy = primary.peers.get_mut(&target).and_then(|p| p.copy.as_mut());
        let Some((copy, at)) = copy.filter(|copy| copy.number == number).and_then(|copy| copy.at.map(|at| (copy, at))) else { return };
        copy.sent = Some((rows.last().map(|(key, _)| key.clone()).or_else(|| copy.after.clone()), end));
        self.send(target, Message::CopyPiece { view, at, number, rows, end }, None, effects);
    }

    pub(crate) fn on_copy_taken(&mut self, from: From, view: ViewNumber, at: Seq, number: u64, now: Instant, effects: &mut Vec<Effect>) {
        if view != self.promised || !self.is_present(from) {
            return;
        }
        let Some(mut primary) = self.take_primary() else { return };
        if let Some(progress) = primary.peers.get_mut(&from.device)
            && progress.blank.is_some_and(|known| known.boot == from.boot)
            && let Some(copy) = progress.copy.as_mut().filter(|copy| copy.number == number && copy.at.is_some_and(|of| of.seq == at))
            && let Some((last, end)) = copy.sent.take()
        {
            (copy.after, copy.heard_at, copy.wait_ms) = (last, now, self.config.resend_ms);
            copy.number += 1;
            if number == 0 {
                // From here on it takes records.
                progress.matched = true;
                progress.heartbeat_at = Instant::default();
            }
            if end {
                end_copy(from.device, progress, effects);
                // Told at once where it stands: it may count now.
                progress.heartbeat_at = Instant::default();
            } else {
                self.read_piece(from.device, copy, now, effects);
            }
        }
        self.role = Role::Primary(primary);
    }

    /// Sends pieces again; gives copies up whose targets are gone or silent.
    pub(crate) fn copies_tick(&mut self, now: Instant, effects: &mut Vec<Effect>) {
        let (silence_ms, max_ms) = (self.config.copy_silence_ms, self.config.resend_max_ms);
        let Some(mut primary) = self.take_primary() else { return };
        for (device, progress) in &mut primary.peers {
            let Some(copy) = progress.copy.as_mut().filter(|c| c.again_at.is_some_and(|at| at <= now)) else { continue };
            if now >= copy.heard_at.after_ms(silence_ms) {
                stop_copy(*device, progress, effects);
            } else {
                copy.wait_ms = (copy.wait_ms * 2).min(max_ms);
                self.read_piece(*device, copy, now, effects);
            }
        }
        self.role = Role::Primary(primary);
    }
}

/// Gives up a copy to a device that is away, or silent: it is to ask anew. The log is not kept for it any more.
pub(crate) fn stop_copy(target: DeviceId, progress: &mut Progress, effects: &mut Vec<Effect>) {
    end_copy(target, progress, effects);
    progress.blank = progress.blank.map(|known| Blank { kept: None, ..known });
}

/// Lets the snapshot go.
pub(crate) fn end_copy(target: DeviceId, progress: &mut Progress, effects: &mut Vec<Effect>) {
    if progress.copy.take().is_some() {
        effects.push(Effect::CloseCopy { target });
    }
}

/// Whether a device is not there to take a copy.
pub(crate) fn is_away(state: DeviceState) -> bool {
    matches!(state, DeviceState::Failed | DeviceState::Transient)
}

impl Progress {
    /// Up to where this peer lets the log be pruned; `None` where nothing waits for it.
    pub(crate) fn lets_prune(&self, state: DeviceState, marked: bool, keeps_log: bool) -> Option<Seq> {
        if marked && is_away(state) {
            return None;
        }
        match self.blank {
            _ if self.normal => Some(self.counted),
            Some(blank) => blank.kept.filter(|_| keeps_log),
            None if marked => None,
            None => Some(self.counted),
        }
    }
}
