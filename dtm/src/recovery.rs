//! Recovery: who is told `End`, and what an `End` is worth.
//!
//! A process that restarted is RECOVERING from epoch e on. The active primary of each of its groups, of a view at or after e, brings it in
//! line like any member and then says `End{e, view, boot}`: once the member, in this boot, holds the base and all that was there when the
//! primary learned of e. It says so again until HA says ONLINE; one lost message stops nobody.

use types::wire::dtm::Message;
use types::{Boot, DeviceId, Epoch, ViewNumber};

use crate::effect::{Effect, Report};
use crate::event::Instant;
use crate::replica::Replica;
use crate::role::{Recovery, Role};

impl Replica {
    /// Takes up, as a primary, what HA says of recovering members.
    pub(crate) fn note_recoveries(&mut self, now: Instant, effects: &mut Vec<Effect>) {
        let (view, last, end_waits) = (self.promised, self.log.last(), self.config.end_waits());
        let (Role::Primary(primary), Some(placement)) = (&mut self.role, &self.placement) else { return };
        for (device, progress) in &mut primary.peers {
            let peer = placement.peers.get(device);
            let due = peer.and_then(|p| p.recovering.map(|epoch| (epoch, p.boot))).filter(|(epoch, _)| view.0 >= epoch.0);
            let Some((epoch, boot)) = due else {
                progress.recovery = None;
                continue;
            };
            if progress.recovery.is_none_or(|r| (r.epoch, r.boot) != (epoch, boot)) {
                progress.recovery = Some(Recovery { epoch, boot, need: last, reached: !end_waits, again_at: None });
            }
        }
        self.say_ends(now, effects);
    }

    /// Says `End` to whoever has earned it and was not told.
    pub(crate) fn say_ends(&mut self, now: Instant, effects: &mut Vec<Effect>) {
        let again_at = now.after_ms(self.config.end_again_ms);
        let Role::Primary(primary) = &mut self.role else { return };
        if !primary.active {
            return;
        }
        let mut due: Vec<(DeviceId, Epoch, Boot)> = Vec::new();
        for (device, progress) in &mut primary.peers {
            if let Some(recovery) = progress.recovery.as_mut().filter(|r| r.reached && r.again_at.is_none()) {
                recovery.again_at = Some(again_at);
                due.push((*device, recovery.epoch, recovery.boot));
            }
        }
        for (device, epoch, boot) in due {
            self.send(device, Message::End { epoch, view: self.promised, boot }, None, effects);
        }
        self.own_end(effects);
    }

    /// An active primary that is itself RECOVERING needs nobody's word.
    fn own_end(&mut self, effects: &mut Vec<Effect>) {
        let me = self.placement.as_ref().and_then(|p| p.peers.get(&self.me.device));
        let Some(epoch) = me.filter(|p| p.boot == self.me.boot).and_then(|p| p.recovering) else { return };
        if self.ended != Some(epoch) && self.promised.0 >= epoch.0 {
            self.ended = Some(epoch);
            self.report(Report::Recovered { epoch, boot: self.me.boot }, effects);
        }
    }

    pub(crate) fn end_tick(&mut self, now: Instant, effects: &mut Vec<Effect>) {
        if let Role::Primary(primary) = &mut self.role {
            for recovery in primary.peers.values_mut().filter_map(|p| p.recovery.as_mut()) {
                if recovery.again_at.is_some_and(|at| at <= now) {
                    recovery.again_at = None;
                }
            }
        }
        self.say_ends(now, effects);
    }

    pub(crate) fn on_end(&mut self, epoch: Epoch, view: ViewNumber, boot: Boot, effects: &mut Vec<Effect>) {
        let me = self.placement.as_ref().and_then(|p| p.peers.get(&self.me.device));
        let Some(announced) = me.and_then(|p| p.recovering) else { return };
        let tagged = (epoch == announced && boot == self.me.boot) || !self.config.end_tag();
        let of_view = (view == self.promised && self.normal == Some(view) && view.0 >= announced.0) || !self.config.end_view();
        if tagged && of_view && self.ended != Some(announced) {
            self.ended = Some(announced);
            self.report(Report::Recovered { epoch: announced, boot: self.me.boot }, effects);
        }
    }
}

#[cfg(test)]
mod tests {
    use types::Seq;
    use types::ops::Condition;
    use types::state::DeviceState;

    use super::*;
    use crate::event::Event;
    use crate::placement::{Peer, Placement};
    use crate::testing::{B, ME, V, follower, persist, persistent, placement, primary, put, said, sends, step};

    fn recovering(device: DeviceId, primary: DeviceId, boot: u64) -> Placement {
        let mut placement = placement(10, primary);
        let peer = Peer { state: DeviceState::Recovering, recovering: Some(Epoch(10)), boot: Boot(boot), ..placement.peers[&device] };
        placement.peers.insert(device, peer);
        placement
    }

    #[test]
    fn end_waits_until_the_member_has_in_this_boot_what_was_there_when_it_came_back() {
        let mut replica = primary();
        step(&mut replica, put(21, 7, Condition::Always));
        step(&mut replica, Event::Flush);
        persist(&mut replica);
        step(&mut replica, Event::Placement(Box::new(recovering(B, ME, 44))));
        step(&mut replica, said(B, persistent(10, 1)));
        let Event::Message(mut ack) = said(B, persistent(10, 0)) else { unreachable!() };
        ack.boot = Boot(44);
        let said_end = |effects: &[Effect]| effects.contains(&sends(B, None, Message::End { epoch: Epoch(10), view: V, boot: Boot(44) }));
        assert!(!said_end(&step(&mut replica, Event::Message(ack.clone()))), "it lacks a record");
        ack.message = persistent(10, 1);
        assert!(said_end(&step(&mut replica, Event::Message(ack))));
        let again_at = Instant(1000 + replica.config.end_again_ms);
        let mut effects = Vec::new();
        replica.handle(Event::Tick, again_at, &mut effects);
        assert!(said_end(&effects), "until HA says ONLINE");
        step(&mut replica, Event::Placement(Box::new(placement(10, ME))));
        effects.clear();
        replica.handle(Event::Tick, again_at.after_ms(1000), &mut effects);
        assert!(!said_end(&effects));
    }

    #[test]
    fn a_member_believes_only_the_end_of_this_boot_and_this_announcement() {
        let mut replica = follower();
        step(&mut replica, Event::Placement(Box::new(recovering(ME, B, 1))));
        for (epoch, view, boot) in [(9, 10, 1), (10, 9, 1), (10, 10, 3)] {
            let end = Message::End { epoch: Epoch(epoch), view: ViewNumber(view), boot: Boot(boot) };
            assert_eq!(step(&mut replica, said(B, end)), [], "{epoch} {view} {boot}");
        }
        let end = said(B, Message::End { epoch: Epoch(10), view: V, boot: Boot(1) });
        let report = Effect::Report(Report::Recovered { epoch: Epoch(10), boot: Boot(1) });
        assert_eq!(step(&mut replica, end.clone()), [report]);
        assert_eq!((step(&mut replica, end), replica.ended()), (vec![], Some(Epoch(10))));
    }

    #[test]
    fn an_active_primary_that_recovers_needs_nobodys_word() {
        let mut replica = primary();
        let effects = step(&mut replica, Event::Placement(Box::new(recovering(ME, ME, 1))));
        assert_eq!(effects, [Effect::Report(Report::Recovered { epoch: Epoch(10), boot: Boot(1) })]);
        assert_eq!(replica.stable(), Seq(0));
    }
}
