//! Pruning and forgetting: what leaves the log, and what leaves memory.
//!
//! A record leaves a log at or below ALL-P and at or below what this device has applied *and synced*; else a crash would lose it. A device
//! that is away holds ALL-P back up to a limit; past it HA is told, and pruning goes on once HA has marked it.

use types::state::DeviceState;
use types::{DeviceId, Seq};

use crate::effect::{Effect, Report};
use crate::replica::Replica;
use crate::role::{Progress, Role};

impl Replica {
    /// Prunes, if that is worth a change.
    pub(crate) fn prune(&mut self, effects: &mut Vec<Effect>) {
        let safe = if self.config.prune_applied_synced() { self.durable.applied } else { self.log.last() };
        let everywhere = if self.config.prune_all_persistent() { self.all_persistent } else { self.stable };
        let upto = safe.min(everywhere).min(self.log.last());
        if upto.0 < self.log.floor().seq.0 + self.config.prune_records_min.max(1) {
            return;
        }
        let ticket = self.save(false);
        self.log.prune(upto);
        if !self.config.results_outlive_prune() {
            self.results.forget_upto(upto);
        }
        if !self.config.unfinished_outlives_prune() {
            self.crossings.forget_unfinished(upto);
        }
        effects.push(Effect::Prune { ticket, upto });
    }

    /// Forgets records in memory that are safe on the device and not needed soon.
    pub(crate) fn evict(&mut self) {
        let mut upto = self.durable.last;
        if matches!(self.role, Role::Primary(_)) {
            upto = upto.min(self.committed_applied);
        }
        self.log.evict(upto, self.config.cache_bytes_max);
    }

    /// What every participant that has not failed is known to have, as the primary sees it.
    pub(crate) fn measure_all_persistent(&mut self, effects: &mut Vec<Effect>) {
        let (Role::Primary(primary), Some(placement)) = (&mut self.role, &self.placement) else { return };
        let mut least = self.durable.last;
        let mut behind: Option<DeviceId> = None;
        // A learner is waited for once it is being filled, and when it is.
        let members = &primary.members;
        let waits_for = |device: &DeviceId, p: &Progress| members.contains(device) || p.blank.is_some() || p.normal;
        for (device, progress) in &primary.peers {
            let Some(peer) = placement.peers.get(device) else { continue };
            if peer.state == DeviceState::Failed || !waits_for(device, progress) {
                continue;
            }
            let Some(has) = progress.lets_prune(peer.state, peer.copy, self.config.copy_keeps_log()) else { continue };
            if has < least {
                (least, behind) = (has, Some(*device));
            }
        }
        self.all_persistent = self.all_persistent.max(least);
        let over = self.log.bytes() > self.config.log_bytes_soft || self.log.age_ms() > self.config.log_age_ms;
        let Some(device) = behind.filter(|_| over && least < self.stable) else { return };
        let away = placement.peers.get(&device).filter(|p| p.state == DeviceState::Transient).map(|p| p.incarnation);
        if let (Some(incarnation), Some(progress)) = (away, primary.peers.get_mut(&device))
            && !std::mem::replace(&mut progress.copy_reported, true)
        {
            effects.push(Effect::Report(Report::NeedsCopy { device, incarnation }));
        }
    }

    /// Up to where the log has been pruned.
    pub fn pruned(&self) -> Seq {
        self.log.floor().seq
    }
}

#[cfg(test)]
mod tests {
    use types::Incarnation;
    use types::ops::Condition;

    use super::*;
    use crate::event::Event;
    use crate::placement::Peer;
    use crate::testing::{B, C, ME, persist, persistent, placement, primary, put, said, step};

    fn with_records(count: u64) -> Replica {
        let mut replica = primary();
        for number in 1..=count {
            step(&mut replica, put(20 + number, number as u8, Condition::Always));
        }
        step(&mut replica, Event::Flush);
        persist(&mut replica);
        replica
    }

    #[test]
    fn a_record_stays_until_every_participant_has_it_and_its_applying_is_synced() {
        let mut replica = with_records(3);
        step(&mut replica, said(B, persistent(10, 3)));
        step(&mut replica, said(C, persistent(10, 2)));
        assert_eq!((replica.applied(), replica.all_persistent(), replica.pruned()), (Seq(3), Seq(2), Seq(0)));
        let upto = replica.issued;
        step(&mut replica, Event::Committed(upto));
        assert_eq!(replica.pruned(), Seq(0), "applied, but not synced");
        let effects = persist(&mut replica);
        assert_eq!(replica.pruned(), Seq(2));
        assert!(effects.iter().any(|e| matches!(e, Effect::Prune { upto: Seq(2), .. })), "{effects:?}");
    }

    #[test]
    fn a_failed_device_holds_nothing_back_and_one_that_is_away_too_long_is_reported() {
        let mut replica = with_records(3);
        let mut away = placement(10, ME);
        away.peers.get_mut(&C).expect("a member").state = DeviceState::Transient;
        step(&mut replica, Event::Placement(Box::new(away.clone())));
        step(&mut replica, said(B, persistent(10, 3)));
        assert_eq!(replica.all_persistent(), Seq(0));
        replica.config = std::sync::Arc::new(crate::Config { log_bytes_soft: 1, ..crate::testing::config() });
        let report = Effect::Report(Report::NeedsCopy { device: C, incarnation: Incarnation(1) });
        assert!(step(&mut replica, said(B, persistent(10, 3))).contains(&report));
        assert!(!step(&mut replica, said(B, persistent(10, 3))).contains(&report), "once");
        for marked in [Peer { copy: true, ..away.peers[&C] }, Peer { state: DeviceState::Failed, ..away.peers[&C] }] {
            let mut replica = replica.clone();
            let mut away = away.clone();
            away.peers.insert(C, marked);
            step(&mut replica, Event::Placement(Box::new(away)));
            step(&mut replica, said(B, persistent(10, 3)));
            assert_eq!(replica.all_persistent(), Seq(3), "{marked:?}");
        }
    }

    #[test]
    fn a_member_that_is_away_is_reported_when_the_log_is_too_old_by_its_own_time() {
        let mut replica = with_records(1);
        let mut away = placement(10, ME);
        away.peers.get_mut(&C).expect("a member").state = DeviceState::Transient;
        step(&mut replica, Event::Placement(Box::new(away)));
        let reports = |effects: Vec<Effect>| effects.iter().any(|e| matches!(e, Effect::Report(Report::NeedsCopy { device: C, .. })));
        assert!(!reports(step(&mut replica, said(B, persistent(10, 1)))));
        let Event::Lease(lease) = crate::testing::lease() else { unreachable!() };
        let later = types::HaTime(lease.ha_time.0 + replica.config.log_age_ms + 1);
        step(&mut replica, Event::Lease(crate::Lease { ha_time: later, ..lease }));
        let Event::Execute(mut execute) = put(29, 9, Condition::Always) else { unreachable!() };
        execute.dtx.at = later;
        step(&mut replica, Event::Execute(execute));
        step(&mut replica, Event::Flush);
        assert!(reports(persist(&mut replica)));
        assert!(!reports(step(&mut replica, said(B, persistent(10, 2)))), "once");
    }
}
