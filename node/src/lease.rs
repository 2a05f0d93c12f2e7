//! The lease of this process: the right to serve reads and to answer clients, lent by a quorum of HA for a second at a time.
//!
//! A grant counts from the moment its renewal was *sent*, on our own monotonic clock, and only once this process has taken in HA's log up to
//! the epoch that the answer carried. Without one a process fences itself: that is how the minority side of a partition stops.
//! Who renews is [`renew`]; who asks is every reader and every driver.

use std::sync::Mutex;
use std::time::{Duration, Instant};

use ha_state::lease::{HeldLease, Timing};
use types::{Epoch, HaTime};

pub mod renew;

/// What the process holds, and what it knows of HA time.
#[derive(Debug)]
pub struct Lease {
    timing: Timing,
    /// Instants are counted from here.
    began: Instant,
    inner: Mutex<Inner>,
}

/// One answer to a renewal, for the machines.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Granted {
    /// Up to when it may be used, on our own clock.
    pub until: Instant,
    /// What of HA's log has to be taken in first.
    pub epoch: Epoch,
}

#[derive(Debug, Default)]
struct Inner {
    held: HeldLease,
    /// How many renewals were granted, and the last of them.
    latest: Option<(u64, Granted)>,
    /// HA time at an instant of ours; HA time now is at least that much later.
    time: Option<(HaTime, Instant)>,
}

impl Lease {
    /// No lease yet.
    pub fn new(timing: Timing) -> Self {
        Self::begun(timing, Instant::now())
    }

    /// The same, where time began at that moment.
    pub fn begun(timing: Timing, began: Instant) -> Self {
        Self { timing, began, inner: Mutex::default() }
    }

    /// L and how often it is renewed.
    pub fn timing(&self) -> &Timing {
        &self.timing
    }

    fn since_began(&self, at: Instant) -> Duration {
        at.saturating_duration_since(self.began)
    }

    /// HA granted the renewal that was sent then, on the state of that epoch.
    pub fn granted(&self, sent: Instant, epoch: Epoch) {
        let granted = Granted { until: sent + self.timing.usable(), epoch };
        let sent = self.since_began(sent);
        let mut inner = self.inner.lock().expect("nobody panics with the lock");
        inner.held.granted(&self.timing, sent, epoch);
        inner.latest = Some((inner.latest.map_or(0, |(number, _)| number) + 1, granted));
    }

    /// The last grant with its number, if that is not the one that was seen already.
    pub fn latest(&self, seen: u64) -> Option<(u64, Granted)> {
        self.inner.lock().expect("nobody panics with the lock").latest.filter(|(number, _)| *number != seen)
    }

    /// Gives the lease up: HA said that this process is not what it was.
    pub fn revoke(&self) {
        self.inner.lock().expect("nobody panics with the lock").held.clear();
    }

    /// Whether the process may serve at `now`, having taken in HA's log up to there.
    pub fn holds(&self, now: Instant, taken_in: Epoch) -> bool {
        let now = self.since_began(now);
        self.inner.lock().expect("nobody panics with the lock").held.holds(now, taken_in)
    }

    /// HA said what its time is; `received` is ours.
    pub fn set_time(&self, time: HaTime, received: Instant) {
        let mut inner = self.inner.lock().expect("nobody panics with the lock");
        let known = inner.time.map(|(at, since)| extend(at, since, received));
        if known.is_none_or(|known| known < time) {
            inner.time = Some((time, received));
        }
    }

    /// HA time now, as far as we know: never ahead of it by more than the drift of the clocks.
    pub fn ha_time(&self, now: Instant) -> HaTime {
        let inner = self.inner.lock().expect("nobody panics with the lock");
        inner.time.map_or(HaTime(0), |(at, since)| extend(at, since, now))
    }
}

fn extend(at: HaTime, since: Instant, now: Instant) -> HaTime {
    let passed = now.saturating_duration_since(since).as_millis();
    HaTime(at.0.saturating_add(u64::try_from(passed).unwrap_or(u64::MAX)))
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn a_grant_runs_from_the_sending_and_ends() {
        let lease = Lease::new(Timing::default());
        let sent = Instant::now();
        assert!(!lease.holds(sent, Epoch(9)), "nothing was granted");
        lease.granted(sent, Epoch(5));
        assert!(!lease.holds(sent, Epoch(4)), "the log is not taken in");
        assert!(lease.holds(sent, Epoch(5)));
        assert!(!lease.holds(sent + SECOND, Epoch(5)));
    }

    #[test]
    fn a_revoked_lease_gives_nothing() {
        let lease = Lease::new(Timing::default());
        let sent = Instant::now();
        lease.granted(sent, Epoch(7));
        lease.revoke();
        assert!(!lease.holds(sent, Epoch(7)));
    }

    #[test]
    fn ha_time_goes_on_by_our_clock_and_never_back() {
        let lease = Lease::new(Timing::default());
        let now = Instant::now();
        assert_eq!(lease.ha_time(now), HaTime(0));
        lease.set_time(HaTime(1000), now);
        assert_eq!(lease.ha_time(now + SECOND), HaTime(2000));
        lease.set_time(HaTime(1500), now + SECOND);
        assert_eq!(lease.ha_time(now + SECOND), HaTime(2000));
    }
}
