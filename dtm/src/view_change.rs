//! Change of view: promises, `Peer` and `PeerState`, the choice of the log, and bringing this one in line with it.
//!
//! A promise is durable before anything that depends on it is sent. The log chosen holds every STABLE record: at least one of any f+1 answers
//! of the members of the last active view does, and the greatest `(normal, last)` takes it.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use types::record::{Position, Record};
use types::wire::dtm::{Message, Reason};
use types::{DeviceId, Epoch, Seq, ViewNumber};

use crate::effect::{Effect, Reader, Report};
use crate::event::Instant;
use crate::merge::Merged;
use crate::placement::Placement;
use crate::replica::{From, Replica};
use crate::role::{Answer, Collecting, Fetching, Role};

/// An answer to `Fetch`, taken apart.
#[derive(Debug)]
pub(crate) struct Fetched {
    pub(crate) view: ViewNumber,
    pub(crate) prev: Position,
    pub(crate) records: Vec<Arc<Record>>,
    pub(crate) last: Position,
}

/// A source that does not answer so many times is given up, and everybody is asked again.
const FETCH_TRIES_MAX: u32 = 5;

impl Replica {
    pub(crate) fn on_placement(&mut self, placement: Placement, now: Instant, effects: &mut Vec<Effect>) {
        self.epoch = self.epoch.max(placement.epoch);
        if self.placement.as_ref().is_some_and(|known| known.epoch > placement.epoch || known.number > placement.number) {
            return self.release_held(now, effects);
        }
        let number = placement.number;
        self.placement = Some(placement);
        if number > self.promised {
            self.promise(number, effects);
        }
        if number == self.promised && matches!(self.role, Role::Follower) && self.is_named() {
            self.collect(now, effects);
        } else if self.resumes() {
            self.install(BTreeMap::new(), effects);
        }
        self.note_recoveries(now, effects);
        self.release_held(now, effects);
        self.prune(effects);
    }

    /// Whether HA's view names this start of this process.
    fn is_named(&self) -> bool {
        self.placement.as_ref().is_some_and(|p| p.primary == Some((self.me.device, self.me.boot)))
    }

    /// Whether another start of this process was named and this one goes on in its place: only the model does, to show why nobody must.
    fn resumes(&self) -> bool {
        let view = Some(self.promised);
        let named = self.placement.as_ref().is_some_and(|p| Some(p.number) == view && p.primary.is_some_and(|(d, _)| d == self.me.device));
        named && self.normal == view && matches!(self.role, Role::Follower) && !self.config.restarted_does_not_resume()
    }

    /// Listens to no view below `view` from now on, and ends whatever it was doing in one.
    pub(crate) fn promise(&mut self, view: ViewNumber, effects: &mut Vec<Effect>) {
        self.demote(effects);
        self.give_up_copy(effects);
        self.promised = view;
        (self.matched, self.told_floor) = (Seq(0), Seq(0));
        self.ack_to = None;
        self.save(true);
    }

    fn promise_ticket(&self) -> Option<crate::effect::Ticket> {
        if self.config.promise_durable() { self.unsynced() } else { None }
    }

    /// Asks everybody. Its own answer follows when its promise is durable.
    fn collect(&mut self, now: Instant, effects: &mut Vec<Effect>) {
        let wait_ms = self.config.resend_ms;
        self.role = Role::Collecting(Collecting { answers: BTreeMap::new(), again_at: now.after_ms(wait_ms), wait_ms });
        self.ask(effects);
        self.answer_self(now, effects);
    }

    fn ask(&self, effects: &mut Vec<Effect>) {
        let (Role::Collecting(collecting), Some(placement)) = (&self.role, &self.placement) else { return };
        for (device, peer) in &placement.peers {
            let failed = peer.state == types::state::DeviceState::Failed;
            if *device != self.me.device && !failed && !collecting.answers.contains_key(device) {
                self.send(*device, Message::Peer { view: self.promised }, self.promise_ticket(), effects);
            }
        }
    }

    /// Counts this replica's own answer once its promise is durable.
    fn answer_self(&mut self, now: Instant, effects: &mut Vec<Effect>) {
        let durable = self.durable.promised >= self.promised || !self.config.promise_durable();
        let mine = Answer { normal: self.normal, last: self.log.last_position(), stable: self.stable };
        if let Role::Collecting(collecting) = &mut self.role
            && durable
        {
            collecting.answers.insert(self.me.device, mine);
            self.choose(now, effects);
        }
    }

    /// What a sync lets happen.
    pub(crate) fn after_persist(&mut self, now: Instant, effects: &mut Vec<Effect>) {
        match &self.role {
            Role::Follower | Role::Fetching(_) => {}
            Role::Collecting(_) => self.answer_self(now, effects),
            Role::Installing { ticket, .. } => {
                if *ticket <= self.synced {
                    self.begin_primary(now, effects);
                }
            }
            Role::Primary(_) => self.advance_stable(now, effects),
        }
    }

    pub(crate) fn on_peer(&mut self, from: From, view: ViewNumber, effects: &mut Vec<Effect>) {
        if !self.heed(from, view, effects) || !matches!(self.role, Role::Follower) {
            return;
        }
        let last = self.log.last_position();
        let message = Message::PeerState { view, normal: self.normal, last, stable: self.stable };
        let after = if self.config.promise_durable() { self.unsynced() } else { None };
        self.send(from.device, message, after, effects);
    }

    /// Whether a message of `view` is to be taken: refuses lower ones, takes up higher ones.
    pub(crate) fn heed(&mut self, from: From, view: ViewNumber, effects: &mut Vec<Effect>) -> bool {
        if view < self.promised && self.config.refuse_below_promised() {
            let floor = Epoch(view.0) < self.me.registered && self.normal.is_none();
            let reason = if floor { Reason::OlderThanFormat(self.me.registered) } else { Reason::Superseded(self.promised) };
            self.send(from.device, Message::Refused { view, reason }, self.unsynced(), effects);
            return false;
        }
        if view > self.promised && self.config.higher_view_raises_promised() {
            self.promise(view, effects);
        }
        true
    }

    pub(crate) fn on_refused(&mut self, from: From, view: ViewNumber, reason: Reason, effects: &mut Vec<Effect>) {
        match reason {
            Reason::Superseded(later) if later > self.promised => self.promise(later, effects),
            Reason::Pruned(floor) => self.on_pruned(from, view, floor, effects),
            Reason::Superseded(_) | Reason::OlderThanFormat(_) | Reason::Unsupported => {}
        }
    }

    pub(crate) fn on_peer_state(&mut self, from: From, view: ViewNumber, answer: Answer, now: Instant, effects: &mut Vec<Effect>) {
        if view != self.promised || !self.is_present(from) {
            return;
        }
        if answer.normal.is_some() {
            self.notice_amnesia(from, answer.last.seq, effects);
        }
        match &mut self.role {
            Role::Collecting(collecting) => {
                collecting.answers.insert(from.device, answer);
                self.choose(now, effects);
            }
            Role::Fetching(Fetching { answers, .. }) | Role::Installing { answers, .. } => {
                answers.insert(from.device, answer);
            }
            Role::Primary(_) => self.on_late_answer(from, answer, effects),
            Role::Follower => {}
        }
    }

    /// Whether the sender is of the incarnation that HA knows.
    pub(crate) fn is_present(&self, from: From) -> bool {
        let peer = self.placement.as_ref().and_then(|p| p.peers.get(&from.device));
        peer.is_some_and(|peer| peer.incarnation == from.incarnation)
    }

    /// Takes the best log once f+1 of `old` and f+1 of `members` have answered, this one among them.
    fn choose(&mut self, now: Instant, effects: &mut Vec<Effect>) {
        let (Role::Collecting(collecting), Some(placement)) = (&self.role, &self.placement) else { return };
        if placement.number != self.promised {
            return;
        }
        let blank_counts = !self.config.blank_does_not_count();
        let counts = |device: &DeviceId| collecting.answers.get(device).filter(|a| a.normal.is_some() || blank_counts);
        let enough = |set: &[DeviceId]| set.iter().filter(|d| counts(d).is_some()).count() > set.len() / 2;
        let old = placement.old.is_empty() || enough(&placement.old) || !self.config.quorum_of_old();
        let members = enough(&placement.members) || !self.config.quorum_of_members();
        if !old || !members || counts(&self.me.device).is_none() {
            return;
        }
        let me = self.me.device;
        let counted = placement.members.iter().chain(&placement.old).filter_map(|d| counts(d).map(|a| (*d, *a)));
        let best = counted.max_by_key(|(device, a)| (self.rank(a), *device == me));
        let Some((source, best)) = best else { return };
        let answers = collecting.answers.clone();
        if source == me {
            return self.install(answers, effects);
        }
        let (matched, again_at) = (self.stable, now.after_ms(self.config.resend_ms));
        self.role = Role::Fetching(Fetching { answers, source, last: best.last, matched, again_at, tries: 0, pruned: BTreeSet::new() });
        self.fetch(effects);
    }

    fn rank(&self, a: &Answer) -> (Option<ViewNumber>, ViewNumber, Seq) {
        let normal = if self.config.best_log_by_normal() && self.config.best_log_not_by_last_view() { a.normal } else { None };
        let view = if self.config.best_log_not_by_last_view() { ViewNumber(0) } else { a.last.view };
        (normal, view, a.last.seq)
    }

    fn fetch(&mut self, effects: &mut Vec<Effect>) {
        let Role::Fetching(fetching) = &self.role else { return };
        let message = Message::Fetch { view: self.promised, after: fetching.matched };
        self.send(fetching.source, message, self.promise_ticket(), effects);
    }

    pub(crate) fn on_fetch(&mut self, from: From, view: ViewNumber, after: Seq, effects: &mut Vec<Effect>) {
        if !self.heed(from, view, effects) || !matches!(self.role, Role::Follower) {
            return;
        }
        let after = after.max(self.log.floor().seq).min(self.log.last());
        let (max, bytes_max) = (self.config.redo_records_max, self.config.redo_bytes_max);
        let records = self.log.slice(after.next(), self.log.last(), max, bytes_max);
        if records.is_empty() && after < self.log.last() {
            let reader = Reader::Fetch(from.device, view);
            effects.push(Effect::ReadLog { reader, from: after.next(), upto: self.log.last(), bytes_max });
        } else {
            self.send_fetched(from.device, view, after, records, effects);
        }
    }

    /// Answers a `Fetch` with records that were in memory, or read from the device.
    pub(crate) fn send_fetched(&self, to: DeviceId, view: ViewNumber, after: Seq, records: Vec<Arc<Record>>, effects: &mut Vec<Effect>) {
        let Some(prev) = self.log.position(after) else { return };
        let message = Message::Fetched { view, prev, records, last: self.log.last_position() };
        self.send(to, message, self.unsynced(), effects);
    }

    pub(crate) fn on_fetched(&mut self, from: From, fetched: Fetched, now: Instant, effects: &mut Vec<Effect>) {
        let Fetched { view, prev, records, last } = fetched;
        let expected = match &self.role {
            Role::Fetching(f) => view == self.promised && f.source == from.device && f.last == last && self.is_present(from),
            _ => false,
        };
        if !expected {
            return;
        }
        let merged = self.merge(view, prev, &records, effects);
        let again_at = now.after_ms(self.config.resend_ms);
        let Role::Fetching(fetching) = &mut self.role else { return };
        match merged {
            Merged::Upto(upto) => {
                let advanced = upto > fetching.matched;
                fetching.matched = fetching.matched.max(upto);
                if fetching.matched >= last.seq {
                    let answers = std::mem::take(&mut fetching.answers);
                    if last.seq < self.stable && self.config.stable_never_cut() {
                        // The best log lacks what is STABLE: whoever holds it may yet answer.
                        self.report(Report::Diverged { device: from.device, view, seq: self.stable }, effects);
                        return self.collect(now, effects);
                    }
                    if self.log.last() > last.seq {
                        self.cut(last.seq, effects);
                    }
                    return self.install(answers, effects);
                }
                if advanced {
                    (fetching.again_at, fetching.tries) = (again_at, 0);
                    self.fetch(effects);
                }
            }
            Merged::Gap => self.fetch_elsewhere(now, effects),
            Merged::Diverged(seq) => self.report(Report::Diverged { device: from.device, view, seq }, effects),
            Merged::Nonsense => {}
        }
    }

    /// The source has pruned what this replica never had, or was filled by a copy that begins above it. Whoever answered with the same log may
    /// have it from further down.
    fn fetch_elsewhere(&mut self, now: Instant, effects: &mut Vec<Effect>) {
        let (me, again_at) = (self.me.device, now.after_ms(self.config.resend_ms));
        let Role::Fetching(fetching) = &mut self.role else { return };
        fetching.pruned.insert(fetching.source);
        let Some(best) = fetching.answers.get(&fetching.source).copied() else { return };
        let same = |device: &DeviceId, a: &Answer| a.normal == best.normal && a.last == best.last && *device != me;
        let other = fetching.answers.iter().find(|(device, a)| same(device, a) && !fetching.pruned.contains(*device));
        if let Some((device, _)) = other {
            (fetching.source, fetching.again_at, fetching.tries) = (*device, again_at, 0);
            return self.fetch(effects);
        }
        self.report(Report::NeedsCopy { device: me, incarnation: self.me.incarnation }, effects);
    }

    /// Makes `normal` durable together with the log that it speaks of. What comes after waits for it.
    fn install(&mut self, answers: BTreeMap<DeviceId, Answer>, effects: &mut Vec<Effect>) {
        self.normal = Some(self.promised);
        let ticket = self.save(true);
        self.role = Role::Installing { ticket, answers };
        if !self.config.normal_durable_first() {
            self.begin_primary(Instant::default(), effects);
        }
    }

    pub(crate) fn view_change_tick(&mut self, now: Instant, effects: &mut Vec<Effect>) {
        let max_ms = self.config.resend_max_ms;
        match &mut self.role {
            Role::Collecting(c) if c.again_at <= now => {
                c.wait_ms = (c.wait_ms * 2).min(max_ms);
                c.again_at = now.after_ms(c.wait_ms);
                self.ask(effects);
            }
            Role::Fetching(f) if f.again_at <= now => {
                f.tries += 1;
                f.again_at = now.after_ms(self.config.resend_ms << f.tries.min(3));
                if f.tries > FETCH_TRIES_MAX {
                    return self.collect(now, effects);
                }
                self.fetch(effects);
            }
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use types::{Boot, Incarnation};

    use super::*;
    use crate::effect::Ticket;
    use crate::event::Event;
    use crate::testing::{B, C, ME, at, fresh, persist, placement, record, records, redo, said, sends, state, step, view};

    fn saves(replica: &Replica, ticket: u64) -> Effect {
        Effect::SaveState { ticket: Ticket(ticket), state: replica.state(), sync: true }
    }

    #[test]
    fn a_named_primary_promises_then_asks_everybody() {
        let mut replica = fresh();
        let effects = step(&mut replica, view(12, ME));
        let ask = |d| sends(d, Some(1), Message::Peer { view: ViewNumber(12) });
        assert_eq!(effects, [ask(B), ask(C), saves(&replica, 1)]);
        assert!(matches!(&replica.role, Role::Collecting(c) if c.answers.is_empty()), "its own answer waits for the sync");
        persist(&mut replica);
        assert!(matches!(&replica.role, Role::Collecting(c) if c.answers.contains_key(&ME)));
    }

    #[test]
    fn another_start_of_the_process_does_not_resume() {
        let mut replica = fresh();
        let mut named = placement(12, ME);
        named.primary = Some((ME, Boot(99)));
        step(&mut replica, Event::Placement(Box::new(named)));
        assert_eq!(replica.role, Role::Follower);
    }

    #[test]
    fn peer_is_answered_once_the_promise_is_durable() {
        let mut replica = fresh();
        let effects = step(&mut replica, said(B, Message::Peer { view: ViewNumber(12) }));
        let answer = state(12, Some(10), (0, 0), 0);
        assert_eq!(effects, [sends(B, Some(1), answer.clone()), saves(&replica, 1)]);
        persist(&mut replica);
        assert_eq!(step(&mut replica, said(B, Message::Peer { view: ViewNumber(12) })), [sends(B, None, answer)]);
        let late = step(&mut replica, said(C, Message::Peer { view: ViewNumber(11) }));
        let reason = Reason::Superseded(ViewNumber(12));
        assert_eq!(late, [sends(C, None, Message::Refused { view: ViewNumber(11), reason })]);
    }

    fn candidate() -> Replica {
        let mut replica = fresh();
        replica.append(records(1..=3, 10), &mut Vec::new());
        step(&mut replica, view(12, ME));
        persist(&mut replica);
        replica
    }

    #[test]
    fn its_own_log_is_taken_where_it_is_as_good() {
        let mut replica = candidate();
        let effects = step(&mut replica, said(B, state(12, Some(10), (3, 10), 0)));
        assert_eq!((replica.normal(), &effects[..]), (Some(ViewNumber(12)), &[saves(&replica, 3)][..]));
        assert!(!replica.is_primary(), "normal is not durable yet");
        persist(&mut replica);
        assert!(replica.is_primary() && !replica.is_active());
        let sent = step(&mut replica, Event::Flush);
        assert_eq!(sent, [sends(B, None, redo(12, 3, at(3, 10), vec![], 0)), sends(C, None, redo(12, 3, at(3, 10), vec![], 0))]);
    }

    #[test]
    fn its_promise_is_durable_by_its_own_sync_though_more_was_committed_meanwhile() {
        let mut replica = fresh();
        replica.log.append(record(1, 10));
        replica.log.evict(Seq(1), 0);
        replica.stable = Seq(1);
        step(&mut replica, view(12, ME));
        let promise = replica.issued;
        let read = Event::LogRead { reader: Reader::Apply, from: Seq(1), records: records(1..=1, 10) };
        assert!(matches!(step(&mut replica, read)[..], [Effect::Apply { .. }, Effect::SaveState { sync: false, .. }]));
        step(&mut replica, Event::Committed(Ticket(promise.0 + 1)));
        step(&mut replica, Event::Persisted(promise));
        step(&mut replica, said(B, state(12, Some(10), (1, 10), 1)));
        assert!(matches!(replica.role, Role::Installing { .. }), "its own answer is one of two");
    }

    #[test]
    fn a_blank_answer_and_one_of_another_incarnation_do_not_count() {
        let mut replica = candidate();
        assert_eq!(step(&mut replica, said(B, state(12, None, (9, 10), 0))), []);
        let Event::Message(mut stranger) = said(C, state(12, Some(10), (3, 10), 0)) else { unreachable!() };
        stranger.incarnation = Incarnation(7);
        assert_eq!(step(&mut replica, Event::Message(stranger)), []);
        assert!(matches!(replica.role, Role::Collecting(_)));
    }

    #[test]
    fn both_the_old_and_the_new_members_have_to_answer() {
        let mut replica = fresh();
        let mut replaced = placement(12, ME);
        replaced.old = vec![ME, B, DeviceId(4)];
        replaced.members = vec![ME, C, DeviceId(5)];
        let peer = replaced.peers[&B];
        replaced.peers.extend([(DeviceId(4), peer), (DeviceId(5), peer)]);
        step(&mut replica, Event::Placement(Box::new(replaced)));
        persist(&mut replica);
        step(&mut replica, said(C, state(12, Some(10), (0, 0), 0)));
        assert!(matches!(replica.role, Role::Collecting(_)), "no f+1 of the old ones");
        step(&mut replica, said(B, state(12, Some(10), (0, 0), 0)));
        assert!(matches!(replica.role, Role::Installing { .. }));
    }

    #[test]
    fn a_shorter_log_of_a_later_normal_wins_and_the_own_tail_goes() {
        let mut replica = candidate();
        let effects = step(&mut replica, said(B, state(12, Some(11), (2, 11), 0)));
        assert_eq!(effects, [sends(B, None, Message::Fetch { view: ViewNumber(12), after: Seq(0) })]);
        let (view, records, last) = (ViewNumber(12), vec![record(1, 10), record(2, 11)], at(2, 11));
        let effects = step(&mut replica, said(B, Message::Fetched { view, prev: at(0, 0), records, last }));
        let ticket = Ticket(3);
        let taken = vec![record(2, 11)];
        assert_eq!(effects, [Effect::Cut { ticket, after: Seq(1) }, Effect::Append { ticket, records: taken }, saves(&replica, 3)]);
        assert_eq!((replica.normal(), replica.log.last_position()), (Some(view), at(2, 11)));
    }

    #[test]
    fn where_the_best_log_begins_too_late_the_same_is_taken_from_another() {
        let mut five = placement(12, ME);
        let (d, e) = (DeviceId(4), DeviceId(5));
        five.members = vec![ME, B, C, d, e];
        five.old = five.members.clone();
        let peer = five.peers[&B];
        five.peers.extend([(d, peer), (e, peer)]);
        let mut replica = fresh();
        step(&mut replica, Event::Placement(Box::new(five)));
        persist(&mut replica);
        step(&mut replica, said(B, state(12, Some(11), (3, 11), 3)));
        let view = ViewNumber(12);
        let fetch = |to| sends(to, None, Message::Fetch { view, after: Seq(0) });
        let effects = step(&mut replica, said(C, state(12, Some(11), (3, 11), 3)));
        assert_eq!(effects, [fetch(C)]);
        let from_copy = |from| said(from, Message::Fetched { view, prev: at(2, 11), records: vec![record(3, 11)], last: at(3, 11) });
        assert_eq!(step(&mut replica, from_copy(C)), [fetch(B)]);
        assert_eq!(step(&mut replica, from_copy(C)), [], "its late answer");
        let needs = Effect::Report(Report::NeedsCopy { device: ME, incarnation: Incarnation(1) });
        assert_eq!(step(&mut replica, from_copy(B)), [needs], "nobody has it");
        let whole = Message::Fetched { view, prev: at(0, 0), records: records(1..=3, 11), last: at(3, 11) };
        step(&mut replica, said(B, whole));
        assert_eq!(replica.normal(), Some(view));
    }

    #[test]
    fn a_silent_source_is_given_up() {
        let mut replica = candidate();
        step(&mut replica, said(B, state(12, Some(11), (2, 11), 0)));
        let mut effects = Vec::new();
        for _ in 0..=FETCH_TRIES_MAX {
            let (at, _) = replica.next_deadline().expect("it tries again");
            replica.handle(Event::Tick, at, &mut effects);
        }
        assert!(matches!(replica.role, Role::Collecting(_)));
    }
}
