//! Leases: who may serve, until when, on whose clock.
//!
//! A lease lasts L. Its holder counts from the moment it *sent* the renewal, on its own monotonic clock, for `L(1-ρ)/(1+ρ)`; HA counts L
//! from the moment it gave the grant. With clocks that drift at most ρ from true time the holder's end is never after HA's. A grant
//! carries the epoch of the state it was given on, and the holder uses it only once it has taken in the log up to there: so a primary
//! that was deposed before the grant knows it before it uses the grant. All times are monotonic, since any fixed moment of the process.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use types::{Boot, Epoch};

/// L, before scaling.
pub const LEASE: Duration = Duration::from_millis(1000);
/// How often a lease is renewed, before scaling.
pub const LEASE_RENEWAL: Duration = Duration::from_millis(200);
/// L of a native client's session, before scaling.
pub const SESSION_LEASE: Duration = Duration::from_secs(30);
/// ρ: how far a monotonic clock may run from true time, in percent.
pub const DRIFT_PERCENT: u32 = 1;
/// Grants remembered per process: more than fit into L.
const GRANTS_MAX: usize = 16;

/// The times of detection, scaled by the one configured factor.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Timing {
    /// L.
    pub lease: Duration,
    /// How often it is renewed.
    pub renewal: Duration,
    /// L of a client's session.
    pub session: Duration,
}

impl Timing {
    /// All times, `factor` times as long as in the design. The factor is held between 0.1 and 100.
    pub fn scaled(factor: f64) -> Self {
        let factor = if factor.is_finite() { factor.clamp(0.1, 100.0) } else { 1.0 };
        Self { lease: LEASE.mul_f64(factor), renewal: LEASE_RENEWAL.mul_f64(factor), session: SESSION_LEASE.mul_f64(factor) }
    }

    /// How long a holder may use a grant, from the sending of its renewal: `L(1-ρ)/(1+ρ)`.
    pub fn usable(&self) -> Duration {
        self.lease * (100 - DRIFT_PERCENT) / (100 + DRIFT_PERCENT)
    }
}

impl Default for Timing {
    fn default() -> Self {
        Self::scaled(1.0)
    }
}

/// A process's own lease: the grants that may still be used, by whatever part of the process has taken in HA's log far enough. Parts differ in
/// that (a device in a slow sync stands still), so what one of them may use says nothing of the others.
#[derive(Clone, Debug, Default)]
pub struct HeldLease {
    grants: VecDeque<(Epoch, Duration)>,
}

impl HeldLease {
    /// A renewal that was sent at `sent` has been granted on the state of `epoch`.
    pub fn granted(&mut self, timing: &Timing, sent: Duration, epoch: Epoch) {
        self.grants.retain(|(_, end)| *end > sent);
        if self.grants.len() == GRANTS_MAX {
            self.grants.pop_front();
        }
        self.grants.push_back((epoch, sent + timing.usable()));
    }

    /// Who has taken in HA's log up to `applied` may serve at `now`.
    pub fn holds(&self, now: Duration, applied: Epoch) -> bool {
        self.grants.iter().any(|(epoch, end)| *epoch <= applied && now < *end)
    }

    /// The process has learnt that it was declared lost: nothing of the lease is left.
    pub fn clear(&mut self) {
        *self = Self::default();
    }
}

/// What an HA leader has granted. Kept by the leader alone: a new leader begins empty, and waits one L from its election.
#[derive(Clone, Debug)]
pub struct Leases {
    timing: Timing,
    elected: Duration,
    granted: BTreeMap<Boot, VecDeque<(Epoch, Duration)>>,
}

impl Leases {
    /// Those of a leader elected at `now`: whatever its predecessors granted may last for one L from here.
    pub fn elected(timing: Timing, now: Duration) -> Self {
        Self { timing, elected: now, granted: BTreeMap::new() }
    }

    /// The leader answers a renewal at `now`, on the state of `epoch`. To be called after a quorum has confirmed the leader, with the time
    /// after that, and before the answer is sent.
    pub fn grant(&mut self, boot: Boot, epoch: Epoch, now: Duration) {
        let lease = self.timing.lease;
        let grants = self.granted.entry(boot).or_default();
        while grants.len() > 1 && grants.front().is_some_and(|(_, at)| *at + lease <= now) {
            grants.pop_front();
        }
        let full = grants.len() == GRANTS_MAX;
        match grants.back_mut() {
            Some((last, at)) if *last == epoch || full => {
                // Over the bound the older epoch keeps the later time: it is taken to last longer than it does, never shorter.
                *last = (*last).min(epoch);
                *at = now;
            }
            _ => grants.push_back((epoch, now)),
        }
    }

    /// Forgets what was granted to boots that are not live any more.
    pub fn keep_only(&mut self, live: impl Fn(Boot) -> bool) {
        self.granted.retain(|boot, _| live(*boot));
    }

    /// No lease of that process is left, on any clock that drifts at most ρ.
    pub fn is_over(&self, boot: Boot, now: Duration) -> bool {
        let last = self.granted.get(&boot).and_then(|g| g.back()).map_or(self.elected, |(_, at)| *at);
        now >= last.max(self.elected) + self.timing.lease
    }

    /// No lease of that process is left that was granted on a state before `epoch`: what it still holds it uses only knowing `epoch`.
    pub fn is_over_before(&self, boot: Boot, epoch: Epoch, now: Duration) -> bool {
        let grants = self.granted.get(&boot);
        let last = grants.and_then(|g| g.iter().rev().find(|(granted, _)| *granted < epoch)).map_or(self.elected, |(_, at)| *at);
        now >= last.max(self.elected) + self.timing.lease
    }

    /// L and the others.
    pub fn timing(&self) -> &Timing {
        &self.timing
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);
    const BOOT: Boot = Boot(7);

    #[test]
    fn a_holder_counts_from_the_sending_and_stops_before_ha_does_on_any_allowed_clocks() {
        let timing = Timing::default();
        assert!(timing.usable() < timing.lease);
        // The holder's clock is slow by ρ, HA's is fast by ρ: in true time the holder still stops first.
        let slow = timing.usable().mul_f64(1.0 / 0.99);
        let fast = timing.lease.mul_f64(1.0 / 1.01);
        assert!(slow <= fast + Duration::from_micros(1));
    }

    #[test]
    fn a_grant_is_used_only_once_its_epoch_was_taken_in() {
        let timing = Timing::default();
        let mut lease = HeldLease::default();
        assert!(!lease.holds(Duration::ZERO, Epoch(9)));
        lease.granted(&timing, Duration::ZERO, Epoch(5));
        assert!(lease.holds(500 * MS, Epoch(5)));
        lease.granted(&timing, 800 * MS, Epoch(6));
        assert!(lease.holds(900 * MS, Epoch(5)), "the grant before goes on");
        assert!(!lease.holds(1100 * MS, Epoch(5)));
        assert!(lease.holds(1100 * MS, Epoch(6)));
        assert!(!lease.holds(1800 * MS, Epoch(6)));
        lease.granted(&timing, 1800 * MS, Epoch(6));
        lease.clear();
        assert!(!lease.holds(1800 * MS, Epoch(6)));
    }

    #[test]
    fn what_one_part_of_a_process_may_use_says_nothing_of_another_that_has_taken_in_less() {
        let timing = Timing::default();
        let mut lease = HeldLease::default();
        lease.granted(&timing, Duration::ZERO, Epoch(5));
        lease.granted(&timing, 800 * MS, Epoch(6));
        assert!(lease.holds(1100 * MS, Epoch(6)));
        assert!(!lease.holds(1100 * MS, Epoch(5)), "the only grant of its epoch is over");
    }

    #[test]
    fn a_new_leader_takes_everybody_to_hold_a_lease_until_one_has_passed() {
        let leases = Leases::elected(Timing::default(), 5000 * MS);
        assert!(!leases.is_over(BOOT, 5999 * MS));
        assert!(leases.is_over(BOOT, 6000 * MS));
    }

    #[test]
    fn grants_on_a_later_epoch_do_not_prolong_those_of_before() {
        let mut leases = Leases::elected(Timing::default(), Duration::ZERO);
        leases.grant(BOOT, Epoch(3), 5000 * MS);
        leases.grant(BOOT, Epoch(8), 5600 * MS);
        assert!(!leases.is_over_before(BOOT, Epoch(8), 5999 * MS));
        assert!(leases.is_over_before(BOOT, Epoch(8), 6000 * MS));
        assert!(!leases.is_over(BOOT, 6599 * MS));
        assert!(leases.is_over(BOOT, 6600 * MS));
    }

    #[test]
    fn over_the_bound_of_grants_a_lease_is_taken_to_last_longer_never_shorter() {
        let mut leases = Leases::elected(Timing::default(), Duration::ZERO);
        for i in 0..40u32 {
            leases.grant(BOOT, Epoch(u64::from(i)), 5000 * MS + i * MS);
        }
        assert!(leases.granted[&BOOT].len() <= GRANTS_MAX);
        for i in 1..40u32 {
            let last = 5000 * MS + (i - 1) * MS;
            assert!(!leases.is_over_before(BOOT, Epoch(u64::from(i)), last + 999 * MS));
        }
        leases.keep_only(|_| false);
        assert!(leases.granted.is_empty());
    }

    #[test]
    fn a_factor_scales_all_times_and_a_senseless_one_is_bounded() {
        assert_eq!(Timing::scaled(2.0).lease, 2000 * MS);
        assert_eq!(Timing::scaled(f64::NAN), Timing::default());
        assert!(Timing::scaled(-3.0).lease > Duration::ZERO);
    }
}
