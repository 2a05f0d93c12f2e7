//! From the monotonic clock to the milliseconds of the machines, rounded so that a lease is never taken to last longer than it does.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use dtm::Instant as Millis;

/// The clock of one process: milliseconds since some moment of its start.
#[derive(Clone, Debug)]
pub struct Clock {
    began: Instant,
    /// Whoever simulates a process moves its clock.
    hand: Option<Arc<Hand>>,
}

/// The time of a clock that somebody moves.
#[derive(Debug)]
pub struct Hand {
    from: Instant,
    nanos: AtomicU64,
}

impl Hand {
    /// One that shows this moment.
    pub fn at(from: Instant) -> Self {
        Self { from, nanos: AtomicU64::new(0) }
    }

    /// It shows a moment so long after the first from now on.
    pub fn set(&self, since: Duration) {
        self.nanos.store(u64::try_from(since.as_nanos()).unwrap_or(u64::MAX), Ordering::Relaxed);
    }

    /// What it shows.
    pub fn shows(&self) -> Instant {
        self.from + Duration::from_nanos(self.nanos.load(Ordering::Relaxed))
    }
}

impl Clock {
    /// A clock that begins now.
    pub fn start() -> Self {
        Self { began: Instant::now(), hand: None }
    }

    /// A clock that begins with what the hand shows now, and goes as it is moved.
    pub fn moved_by(hand: Arc<Hand>) -> Self {
        Self { began: hand.shows(), hand: Some(hand) }
    }

    /// This moment.
    pub fn moment(&self) -> Instant {
        self.hand.as_ref().map_or_else(Instant::now, |hand| hand.shows())
    }

    /// The whole milliseconds passed at `at`. Of two moments the later never has fewer, so an end that is rounded down this way is over when
    /// it says so, or up to a millisecond before.
    pub fn now(&self, at: Instant) -> Millis {
        let passed = at.saturating_duration_since(self.began).as_millis();
        Millis(u64::try_from(passed).unwrap_or(u64::MAX))
    }

    /// The first moment at which [`Self::now`] says so.
    pub fn to_std(&self, at: Millis) -> Instant {
        // Far enough away for any deadline, near enough for the clock's arithmetic.
        const FAR_MS: u64 = 1000 * 60 * 60 * 24 * 365;
        let passed = Duration::from_millis(at.0);
        self.began.checked_add(passed).unwrap_or_else(|| self.began + Duration::from_millis(FAR_MS))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_deadline_is_reached_exactly_when_the_clock_says_so() {
        let clock = Clock::start();
        let at = clock.to_std(Millis(1500));
        assert_eq!(clock.now(at), Millis(1500));
        assert_eq!(clock.now(at - Duration::from_nanos(1)), Millis(1499));
    }
}
