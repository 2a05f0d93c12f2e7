//! The primary: brings its members in line, counts what they hold, moves `stable`.
//!
//! Each peer has its own window and its own timer, so that one that is away holds up nobody. Everything sent is bounded: messages on their
//! way by the window, waiting by `resend_max_ms`.

use std::collections::BTreeMap;
use std::sync::Arc;

use types::record::Record;
use types::state::DeviceState;
use types::wire::dtm::{Message, Reason};
use types::{DeviceId, Seq, ViewNumber};

use crate::copy::{CopyOut, end_copy, is_away, stop_copy};
use crate::effect::{Effect, Reader, Report};
use crate::event::Instant;
use crate::replica::{From, Replica, Why};
use crate::role::{Answer, Blank, Heard, Primary, Progress, Role};

/// A member's word that it does not hold what a Redo goes on from, taken apart.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Gap {
    pub(crate) view: ViewNumber,
    pub(crate) normal: Option<ViewNumber>,
    pub(crate) last: Seq,
    pub(crate) stable: Seq,
}

/// After so many gaps in a row the logs are compared from `stable` on, where they agree.
const GAPS_MAX: u32 = 2;

impl Replica {
    /// Takes the primary out of its role, to be put back; whoever is none keeps the role that it has.
    pub(crate) fn take_primary(&mut self) -> Option<Box<Primary>> {
        match std::mem::take(&mut self.role) {
            Role::Primary(primary) => Some(primary),
            other => {
                self.role = other;
                None
            }
        }
    }

    /// `normal` is durable: originates from here.
    pub(crate) fn begin_primary(&mut self, now: Instant, effects: &mut Vec<Effect>) {
        let Role::Installing { answers, .. } = std::mem::take(&mut self.role) else { return };
        let Some(placement) = &self.placement else { return };
        let me = self.me.device;
        let mut peers = BTreeMap::new();
        for device in placement.members.iter().chain(&placement.learners).filter(|d| **d != me) {
            peers.insert(*device, self.first_progress(answers.get(device), now));
        }
        let primary = Primary { base: self.log.last(), members: placement.members.clone(), peers, ..Primary::default() };
        self.role = Role::Primary(Box::new(primary));
        self.note_recoveries(now, effects);
        self.resume_crossings(now, effects);
        self.advance_stable(now, effects);
    }

    /// Where to begin with a peer, from what it answered: where the logs agree, if that can be seen.
    fn first_progress(&self, answer: Option<&Answer>, now: Instant) -> Progress {
        let agreed = answer.map_or(self.log.last(), |a| {
            let known = if self.log.holds(a.last) { a.last.seq } else { a.stable };
            known.min(self.log.last()).max(self.log.floor().seq)
        });
        Progress { next: agreed.next(), resume: agreed, wait_ms: self.config.resend_ms, heartbeat_at: now, ..Progress::default() }
    }

    /// A member answers to `Peer` after the view has begun.
    pub(crate) fn on_late_answer(&mut self, from: From, answer: Answer, effects: &mut Vec<Effect>) {
        if answer.normal.is_none() && !self.note_blank(from, effects) {
            return;
        }
        let fresh = self.first_progress(Some(&answer), Instant::default());
        let Role::Primary(primary) = &mut self.role else { return };
        if let Some(progress) = primary.peers.get_mut(&from.device).filter(|p| !p.matched && p.copy.is_none()) {
            (progress.next, progress.resume) = (fresh.next, fresh.resume);
            progress.on_way.clear();
            progress.heartbeat_at = Instant::default();
        }
    }

    pub(crate) fn on_persistent(
        &mut self,
        from: From,
        view: ViewNumber,
        normal: Option<ViewNumber>,
        upto: Seq,
        now: Instant,
        effects: &mut Vec<Effect>,
    ) {
        if (view != self.promised && self.config.stable_from_view_acks()) || !self.is_present(from) {
            return;
        }
        let upto = upto.min(self.log.last());
        let counts = normal == Some(view) || !self.config.counts_with_normal();
        if counts {
            self.notice_amnesia(from, upto, effects);
            if upto < self.log.floor().seq {
                // It lacks what is in no log any more, or did when it said so: it may have been wiped since.
                return;
            }
            self.hear(from, upto);
        } else if normal.is_none() && !self.note_blank(from, effects) {
            return;
        }
        let (wait_ms, end_waits) = (self.config.resend_ms, self.config.end_waits());
        let Role::Primary(primary) = &mut self.role else { return };
        let Some(progress) = primary.peers.get_mut(&from.device) else { return };
        if progress.copy.as_ref().is_some_and(|copy| !copy.is_begun()) && !counts {
            return;
        }
        if let Some(blank) = progress.blank.as_mut().filter(|_| normal.is_none()) {
            blank.kept = blank.kept.max(Some(upto));
        }
        if progress.gaps > GAPS_MAX {
            progress.reading = false;
        }
        (progress.matched, progress.gaps) = (true, 0);
        progress.resume = progress.resume.max(upto);
        progress.next = progress.next.max(upto.next());
        let before = progress.on_way.len();
        while progress.on_way.front().is_some_and(|last| *last <= upto) {
            progress.on_way.pop_front();
        }
        if progress.on_way.is_empty() {
            // What is being read for it still has its timer: the page may never come.
            progress.again_at = progress.again_at.filter(|_| progress.reading);
            progress.wait_ms = wait_ms;
        } else if progress.on_way.len() < before {
            progress.again_at = Some(now.after_ms(wait_ms));
            progress.wait_ms = wait_ms;
        }
        if counts {
            progress.normal = true;
            progress.blank = None;
            end_copy(from.device, progress, effects);
            progress.counted = progress.counted.max(upto);
            if let Some(recovery) = &mut progress.recovery
                && (upto >= recovery.need || !end_waits)
                && from.boot == recovery.boot
            {
                recovery.reached = true;
            }
        }
        self.advance_stable(now, effects);
        if counts {
            self.note_filled(from, upto, effects);
        }
    }

    /// A learner that counts is filled once it holds what there was when it was first heard to: what it lacks then, it lacks as any member does.
    fn note_filled(&mut self, from: From, upto: Seq, effects: &mut Vec<Effect>) {
        let (view, last) = (self.promised, self.log.last());
        let Role::Primary(primary) = &mut self.role else { return };
        if !primary.active || primary.members.contains(&from.device) {
            return;
        }
        let Some(progress) = primary.peers.get_mut(&from.device) else { return };
        let (need, told) = progress.fill.get_or_insert((last, false));
        if upto >= *need && !std::mem::replace(told, true) {
            self.report(Report::Filled { view, device: from.device, incarnation: from.incarnation }, effects);
        }
    }

    pub(crate) fn on_gap(&mut self, from: From, gap: Gap, now: Instant, effects: &mut Vec<Effect>) {
        let Gap { view, normal, last, stable } = gap;
        if view != self.promised || !self.is_present(from) {
            return;
        }
        if normal.is_some() {
            self.notice_amnesia(from, last, effects);
        } else if !self.note_blank(from, effects) {
            return;
        }
        let (floor, end) = (self.log.floor().seq, self.log.last());
        let Role::Primary(primary) = &mut self.role else { return };
        let Some(progress) = primary.peers.get_mut(&from.device) else { return };
        if progress.copy.as_ref().is_some_and(|copy| !copy.is_begun() || copy.at.is_some_and(|at| last < at.seq)) {
            // It was said before the copy began.
            return;
        }
        progress.gaps = (progress.gaps + 1).min(GAPS_MAX + 1);
        progress.on_way.clear();
        (progress.reading, progress.matched, progress.again_at) = (false, false, None);
        if normal.is_none() && progress.gaps > GAPS_MAX {
            // It says so again and again: what it acknowledged came late, and was of a copy before this one.
            progress.blank = progress.blank.map(|known| Blank { kept: known.kept.map(|kept| kept.min(last)), ..known });
        }
        // A late `Gap` may say less than what the same member has acknowledged since; then it lacks nothing.
        let has = progress.counted.max(progress.blank.and_then(|blank| blank.kept).unwrap_or_default());
        if last < floor && has <= last {
            stand_by(progress, end);
            let (floor, active) = (self.log.floor(), primary.active || !self.config.copy_from_active());
            if active {
                self.send(from.device, Message::Refused { view, reason: Reason::Pruned(floor) }, None, effects);
            }
            return;
        }
        let agreed = if progress.gaps >= GAPS_MAX { stable } else { last };
        let agreed = agreed.max(floor).max(has).min(end);
        (progress.next, progress.resume) = (agreed.next(), agreed);
        if progress.gaps > GAPS_MAX {
            // Something is wrong with it: tried again by the timer, not at the speed of the network.
            progress.reading = true;
            progress.again_at = Some(now.after_ms(progress.wait_ms));
        } else {
            // Answered at the next flush, even where there is nothing but the place to agree on.
            progress.heartbeat_at = Instant::default();
        }
    }

    fn hear(&mut self, from: From, upto: Seq) {
        let heard = self.heard.entry(from.device).or_default();
        if heard.incarnation < from.incarnation {
            *heard = Heard { incarnation: from.incarnation, boot: from.boot, upto };
        } else if heard.incarnation == from.incarnation && upto >= heard.upto {
            (heard.boot, heard.upto) = (heard.boot.max(from.boot), upto);
        }
    }

    /// A device that has less than it said, of what can never be cut, in a later start of the same incarnation, has forgotten.
    pub(crate) fn notice_amnesia(&mut self, from: From, has: Seq, effects: &mut Vec<Effect>) {
        let Some(heard) = self.heard.get(&from.device) else { return };
        let had = heard.upto.min(self.stable);
        if heard.incarnation == from.incarnation && from.boot > heard.boot && has < had && self.config.report_amnesia() {
            let (device, incarnation) = (from.device, from.incarnation);
            self.report(Report::Amnesia { device, incarnation, had, has }, effects);
        }
    }

    /// Counts: STABLE is what any f+1 members hold under this view.
    pub(crate) fn advance_stable(&mut self, now: Instant, effects: &mut Vec<Effect>) {
        let begun = self.durable.normal == Some(self.promised) || !self.config.normal_durable_first();
        let durable = if begun { self.durable.last } else { Seq(0) };
        let mine = if self.config.primary_counts_after_sync() { durable } else { self.log.last() };
        let mine = mine.min(self.log.last());
        let me = self.me.device;
        let Role::Primary(primary) = &mut self.role else { return };
        let held = |d: &DeviceId| if *d == me { Some(mine) } else { primary.peers.get(d).filter(|p| p.normal).map(|p| p.counted) };
        let mut held: Vec<Option<Seq>> = primary.members.iter().map(held).collect();
        held.sort_unstable_by(|a, b| b.cmp(a));
        let Some(Some(agreed)) = held.get(primary.members.len() / 2).copied() else { return };
        if agreed < primary.base {
            return;
        }
        let began = !std::mem::replace(&mut primary.active, true);
        self.stable = self.stable.max(agreed);
        if began {
            self.report(Report::Active { view: self.promised }, effects);
        }
        self.measure_all_persistent(effects);
        self.say_ends(now, effects);
    }

    /// Sends every peer what it lacks, as far as its window goes; a heartbeat or a new `stable` where that is due.
    pub(crate) fn pump(&mut self, now: Instant, effects: &mut Vec<Effect>) {
        let Some(mut primary) = self.take_primary() else { return };
        for (device, progress) in &mut primary.peers {
            let peer = self.placement.as_ref().and_then(|p| p.peers.get(device));
            if progress.copy.is_some() && peer.is_none_or(|p| is_away(p.state)) {
                stop_copy(*device, progress, effects);
            }
            if peer.is_none_or(|p| p.state == DeviceState::Failed) {
                progress.again_at = None;
                progress.notice_at = None;
                progress.heartbeat_at = now.after_ms(self.config.heartbeat_ms);
                continue;
            }
            self.pump_one(*device, primary.base, progress, now, effects);
        }
        self.role = Role::Primary(primary);
    }

    fn pump_one(&self, to: DeviceId, base: Seq, progress: &mut Progress, now: Instant, effects: &mut Vec<Effect>) {
        // What it has acknowledged it has, whatever a late message made of its place since.
        progress.next = progress.next.max(progress.counted.next().min(self.log.first()));
        if progress.copy.as_ref().is_some_and(|copy| !copy.is_begun()) {
            return;
        }
        if progress.next < self.log.first() {
            stand_by(progress, self.log.last());
        }
        let window = if progress.matched { self.config.redo_window_messages } else { 1 };
        while progress.next <= self.log.last() && progress.on_way.len() < window && !progress.reading {
            let bytes_max = self.config.redo_bytes_max;
            let records = self.log.slice(progress.next, self.log.last(), self.config.redo_records_max, bytes_max);
            if records.is_empty() {
                progress.reading = true;
                let reader = Reader::Redo(to, self.promised);
                effects.push(Effect::ReadLog { reader, from: progress.next, upto: self.log.last(), bytes_max });
                progress.again_at = progress.again_at.or(Some(now.after_ms(progress.wait_ms)));
                return;
            }
            self.redo(to, base, progress, records, now, effects);
        }
        if progress.heartbeat_at <= now && progress.on_way.is_empty() && !progress.reading {
            self.redo(to, base, progress, Vec::new(), now, effects);
        } else if self.published() > progress.told_stable && progress.notice_at.is_none() {
            progress.notice_at = Some(now.after_ms(self.config.stable_notice_ms));
        }
    }

    /// One Redo. The one message that waits for nothing: it promises nothing.
    fn redo(&self, to: DeviceId, base: Seq, p: &mut Progress, records: Vec<Arc<Record>>, now: Instant, effects: &mut Vec<Effect>) {
        let Some(prev) = self.log.position(Seq(p.next.0.saturating_sub(1))) else { return };
        let stable = self.published();
        p.told_stable = stable;
        p.notice_at = None;
        p.heartbeat_at = now.after_ms(self.config.heartbeat_ms);
        if let Some(last) = records.last() {
            p.next = last.seq.next();
            p.on_way.push_back(last.seq);
            p.again_at = p.again_at.or(Some(now.after_ms(p.wait_ms)));
        }
        let message = Message::Redo { view: self.promised, base, prev, records, stable, all_persistent: self.all_persistent };
        self.send(to, message, None, effects);
    }

    /// Records for a peer have been read from the device.
    pub(crate) fn redo_from_device(
        &mut self,
        device: DeviceId,
        view: ViewNumber,
        from: Seq,
        records: Vec<Arc<Record>>,
        now: Instant,
        effects: &mut Vec<Effect>,
    ) {
        if view != self.promised {
            return;
        }
        let Some(mut primary) = self.take_primary() else { return };
        let base = primary.base;
        if let Some(progress) = primary.peers.get_mut(&device).filter(|p| p.reading) {
            // The peer may have said meanwhile that it holds more: then the next flush goes on from there.
            progress.reading = false;
            let wanted = progress.next == from;
            let dense = (from.0..).zip(&records).all(|(seq, r)| r.seq.0 == seq && r.seq <= self.log.last());
            if wanted && dense && !records.is_empty() {
                self.redo(device, base, progress, records, now, effects);
            }
        }
        self.role = Role::Primary(primary);
    }

    pub(crate) fn primary_tick(&mut self, now: Instant, effects: &mut Vec<Effect>) {
        let max_ms = self.config.resend_max_ms;
        let Some(mut primary) = self.take_primary() else { return };
        let base = primary.base;
        for (device, progress) in &mut primary.peers {
            if progress.again_at.is_some_and(|at| at <= now) {
                progress.next = progress.resume.next().max(self.log.first());
                progress.on_way.clear();
                progress.reading = false;
                progress.wait_ms = (progress.wait_ms * 2).min(max_ms);
                progress.again_at = None;
                progress.matched = false;
            }
            if progress.notice_at.is_some_and(|at| at <= now) {
                self.redo(*device, base, progress, Vec::new(), now, effects);
            }
        }
        self.role = Role::Primary(primary);
        self.copies_tick(now, effects);
        self.crossings_tick(now, effects);
        self.end_tick(now, effects);
        self.pump(now, effects);
    }
}

/// A peer lacks what is in no log any more. It stays where it is, told that we are there, until it asks for a copy.
fn stand_by(progress: &mut Progress, end: Seq) {
    (progress.next, progress.resume) = (end.next(), end);
}

impl Primary {
    pub(crate) fn next_deadline(&self) -> Option<(Instant, Why)> {
        let of = |p: &Progress| {
            let ends = p.recovery.and_then(|r| r.again_at).map(|at| (at, Why::End));
            let heartbeat = (p.on_way.is_empty() && !p.reading).then_some((p.heartbeat_at, Why::Heartbeat));
            let piece = p.copy.as_ref().and_then(|copy| copy.again_at).map(|at| (at, Why::Copy));
            let heartbeat = heartbeat.filter(|_| p.copy.as_ref().is_none_or(CopyOut::is_begun));
            let records = p.again_at.map(|at| (at, Why::Resend));
            [records, p.notice_at.map(|at| (at, Why::Stable)), heartbeat, ends, piece].into_iter().flatten().min()
        };
        let parts = self.crossings_deadline().map(|at| (at, Why::Part));
        self.peers.values().filter_map(of).chain(parts).min()
    }
}

#[cfg(test)]
mod tests {
    use types::ops::Condition;
    use types::{Boot, Incarnation};

    use super::*;
    use crate::event::Event;
    use crate::testing::{B, C, ME, NOW, V, at, persist, persistent, placement, primary, put, redo, said, sends, state, step};

    fn with_records(count: u64) -> Replica {
        let mut replica = primary();
        for number in 1..=count {
            step(&mut replica, put(20 + number, number as u8, Condition::Always));
        }
        step(&mut replica, Event::Flush);
        persist(&mut replica);
        replica
    }

    fn sent(effects: &[Effect], to: DeviceId) -> Vec<(Seq, usize)> {
        let of = |e: &Effect| match e {
            Effect::Send { envelope, after: None } if envelope.to == to => match &envelope.message {
                Message::Redo { prev, records, .. } => Some((prev.seq, records.len())),
                _ => None,
            },
            _ => None,
        };
        effects.iter().filter_map(of).collect()
    }

    #[test]
    fn stable_needs_a_majority_that_is_normal_in_this_view() {
        let mut replica = with_records(2);
        let flow = Message::Persistent { view: V, normal: Some(ViewNumber(9)), upto: Seq(2), stable: Seq(0) };
        step(&mut replica, said(B, flow));
        step(&mut replica, said(C, persistent(9, 2)));
        assert_eq!(replica.stable(), Seq(0));
        step(&mut replica, said(C, persistent(10, 1)));
        assert_eq!(replica.stable(), Seq(1));
    }

    #[test]
    fn a_learner_is_reported_filled_once_when_it_has_what_there_was_as_it_began_to_count() {
        let mut replica = with_records(2);
        let learner = DeviceId(4);
        let mut with_learner = placement(12, ME);
        with_learner.learners = vec![learner];
        with_learner.peers.insert(learner, with_learner.peers[&B]);
        step(&mut replica, Event::Placement(Box::new(with_learner)));
        persist(&mut replica);
        step(&mut replica, said(B, state(12, Some(10), (2, 10), 0)));
        persist(&mut replica);
        let of = |view: u64, normal: Option<u64>, upto: u64| {
            let (view, normal) = (ViewNumber(view), normal.map(ViewNumber));
            let Event::Message(mut said) = said(learner, Message::Persistent { view, normal, upto: Seq(upto), stable: Seq(0) }) else {
                unreachable!()
            };
            said.boot = Boot(2);
            Event::Message(said)
        };
        let told = Effect::Report(Report::Filled { view: ViewNumber(12), device: learner, incarnation: Incarnation(1) });
        assert!(!step(&mut replica, of(12, Some(12), 2)).contains(&told), "the primary is not active yet");
        step(&mut replica, said(B, persistent(12, 2)));
        assert!(replica.is_active() && replica.stable() == Seq(2));
        assert!(!step(&mut replica, of(12, None, 2)).contains(&told), "it does not count");
        assert!(step(&mut replica, of(12, Some(12), 2)).contains(&told));
        assert!(!step(&mut replica, of(12, Some(12), 2)).contains(&told), "once");
        assert!(!step(&mut replica, said(C, persistent(12, 2))).iter().any(|e| matches!(e, Effect::Report(Report::Filled { .. }))));
    }

    #[test]
    fn a_silent_peer_is_sent_to_again_more_and_more_slowly_and_holds_up_nobody() {
        let mut replica = with_records(2);
        step(&mut replica, said(B, persistent(10, 2)));
        assert_eq!(replica.stable(), Seq(2));
        let mut effects = Vec::new();
        let mut times = Vec::new();
        for _ in 0..6 {
            let Role::Primary(p) = &replica.role else { unreachable!() };
            let at = p.peers[&C].again_at.expect("it waits for an answer");
            times.push(at.0 - NOW.0);
            effects.clear();
            replica.handle(Event::Tick, at, &mut effects);
            assert_eq!(sent(&effects, C), [(Seq(0), 2)]);
        }
        assert_eq!(times, [100, 300, 700, 1500, 2500, 3500]);
    }

    #[test]
    fn a_gap_moves_the_place_and_a_second_goes_back_to_what_is_stable() {
        let mut replica = with_records(3);
        let gap = |last, stable| said(B, Message::Gap { view: V, normal: Some(V), last: Seq(last), stable: Seq(stable) });
        step(&mut replica, gap(2, 1));
        assert_eq!(sent(&step(&mut replica, Event::Flush), B), [(Seq(2), 1)]);
        step(&mut replica, gap(1, 1));
        assert_eq!(sent(&step(&mut replica, Event::Flush), B), [(Seq(1), 2)]);
        step(&mut replica, gap(1, 1));
        assert_eq!(sent(&step(&mut replica, Event::Flush), B), [], "not at the speed of the network");
    }

    #[test]
    fn a_participant_that_lags_in_stable_alone_is_told_soon() {
        let mut replica = with_records(1);
        step(&mut replica, said(B, persistent(10, 1)));
        step(&mut replica, said(C, persistent(10, 1)));
        persist(&mut replica);
        assert_eq!(step(&mut replica, Event::Flush), []);
        let (at_instant, why) = replica.next_deadline().expect("somebody is to be told");
        assert_eq!((at_instant, why), (Instant(NOW.0 + replica.config.stable_notice_ms), Why::Stable));
        let mut effects = Vec::new();
        replica.handle(Event::Tick, at_instant, &mut effects);
        let message = match redo(10, 0, at(1, 10), vec![], 1) {
            Message::Redo { view, base, prev, records, stable, .. } => {
                Message::Redo { view, base, prev, records, stable, all_persistent: Seq(1) }
            }
            _ => unreachable!(),
        };
        assert_eq!(effects, [sends(B, None, message.clone()), sends(C, None, message)]);
    }

    #[test]
    fn a_device_that_forgot_what_is_stable_is_reported() {
        let mut replica = with_records(2);
        step(&mut replica, said(B, persistent(10, 2)));
        let Event::Message(mut late) = said(B, state(10, Some(10), (1, 10), 1)) else { unreachable!() };
        assert_eq!(step(&mut replica, Event::Message(late.clone())), [], "an old message of the same start proves nothing");
        late.boot = Boot(77);
        let report = Report::Amnesia { device: B, incarnation: Incarnation(1), had: Seq(2), has: Seq(1) };
        assert_eq!(step(&mut replica, Event::Message(late)), [Effect::Report(report)]);
    }
}
