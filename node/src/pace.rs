//! How fast the work behind the clients goes: a rate that it never exceeds, and a rest after each step that leaves the device to clients
//! while they are at work.
//!
//! A step under load takes long because the device is busy; a rest in proportion to it gives way by just as much.

use std::time::Duration;

use crate::flights::Flights;

/// The longest rest after one step: work behind the clients goes on under any load, if slowly.
const REST_MAX: Duration = Duration::from_millis(500);

/// How one kind of work is paced on one device.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pace {
    /// Bytes in a second, at most; 0 is no bound.
    pub bytes_per_second_max: u64,
    /// While clients are at work, a rest of so many times what the step took.
    pub yields: u32,
}

impl Pace {
    /// How long to rest after a step of so many bytes that took so long; `busy`: clients were at work meanwhile.
    pub fn rest(&self, bytes: u64, took: Duration, busy: bool) -> Duration {
        let least = match self.bytes_per_second_max {
            0 => Duration::ZERO,
            rate => Duration::from_secs_f64(bytes as f64 / rate as f64).saturating_sub(took),
        };
        let yielded = if busy { took.saturating_mul(self.yields).min(REST_MAX) } else { Duration::ZERO };
        least.max(yielded)
    }

    /// Rests after a step that began when so many requests of clients had.
    pub async fn after(&self, bytes: u64, took: Duration, clients: &Flights, begun: u64) {
        let rest = self.rest(bytes, took, clients.any() || clients.begun() != begun);
        if !rest.is_zero() {
            tokio::time::sleep(rest).await;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const STEP: Duration = Duration::from_millis(10);

    #[test]
    fn work_keeps_its_rate_and_gives_way_to_clients_within_bounds() {
        let pace = Pace { bytes_per_second_max: 1000, yields: 4 };
        assert_eq!(pace.rest(100, STEP, false), Duration::from_millis(90));
        assert_eq!(pace.rest(1, STEP, false), Duration::ZERO);
        assert_eq!(pace.rest(1, STEP, true), Duration::from_millis(40));
        assert_eq!(pace.rest(1, Duration::from_secs(9), true), REST_MAX);
        assert_eq!(Pace { bytes_per_second_max: 0, ..pace }.rest(u64::MAX, STEP, false), Duration::ZERO);
    }
}
