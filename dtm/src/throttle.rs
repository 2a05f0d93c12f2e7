//! Throttling: clients give way to a recovering member that does not catch up.
//!
//! While one lags far behind, the primary counts what it admits in each interval. Where the lag has not shrunk, it admits a tenth less of what
//! it admitted unthrottled, down to a half; where it has, a tenth more. What is too much is told `Busy`, and comes again. What it admitted
//! unthrottled may have been little by chance: of what comes in an interval, half is admitted whatever was counted before.

use crate::event::Instant;
use crate::replica::Replica;
use crate::role::{Primary, Role};

/// A lag of fewer records is made up by a message or two: nobody is throttled for it.
const LAG_RECORDS_MIN: u64 = 4096;
/// How long one count of what is admitted takes: short, so that no client waits long for the next.
const INTERVAL_MS: u64 = 200;
/// Tenths of the unthrottled throughput that are admitted at the least.
const TENTHS_MIN: u64 = 5;

/// What a primary admits while a member lags.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Throttle {
    ends: Instant,
    /// The greatest lag when the interval began.
    lag: u64,
    admitted: u64,
    /// Of so many that came.
    offered: u64,
    /// What an interval admitted without any limit.
    unthrottled: u64,
    /// Of ten parts of that, so many are admitted now.
    tenths: u64,
}

impl Replica {
    /// Counts one more transaction; whether it is one too many.
    pub(crate) fn is_throttled(&mut self, now: Instant) -> bool {
        let last = self.log.last().0;
        let Role::Primary(primary) = &mut self.role else { return false };
        let lag = lag(primary, last);
        let Some(throttle) = &mut primary.throttle else {
            if lag >= LAG_RECORDS_MIN {
                let ends = now.after_ms(INTERVAL_MS);
                primary.throttle = Some(Throttle { ends, lag, admitted: 1, offered: 1, unthrottled: 0, tenths: 10 });
            }
            return false;
        };
        if now >= throttle.ends {
            if lag < LAG_RECORDS_MIN {
                primary.throttle = None;
                return false;
            }
            throttle.turn(lag, now);
        }
        throttle.offered += 1;
        let enough = throttle.admitted >= throttle.unthrottled * throttle.tenths / 10 && 2 * throttle.admitted >= throttle.offered;
        if throttle.tenths < 10 && enough {
            return true;
        }
        throttle.admitted += 1;
        false
    }
}

impl Throttle {
    /// The interval is over.
    fn turn(&mut self, lag: u64, now: Instant) {
        if self.tenths == 10 {
            self.unthrottled = self.unthrottled.max(self.admitted);
        }
        self.tenths = if lag >= self.lag { (self.tenths - 1).max(TENTHS_MIN) } else { (self.tenths + 1).min(10) };
        (self.lag, self.admitted, self.offered, self.ends) = (lag, 0, 0, now.after_ms(INTERVAL_MS));
    }
}

/// How far the slowest recovering member is behind, in records.
fn lag(primary: &Primary, last: u64) -> u64 {
    let recovering = primary.peers.values().filter(|p| p.recovery.is_some_and(|r| !r.reached));
    recovering.map(|p| last.saturating_sub(p.resume.0)).max().unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use types::{Boot, Epoch, Seq};

    use super::*;
    use crate::log::Log;
    use crate::role::Recovery;
    use crate::testing::{B, NOW, at, primary};

    fn lagging(last: u64) -> Replica {
        let mut replica = primary();
        replica.log = Log::new(at(last, 10));
        let Role::Primary(p) = &mut replica.role else { unreachable!() };
        let recovery = Recovery { epoch: Epoch(10), boot: Boot(2), need: Seq(last), reached: false, again_at: None };
        p.peers.get_mut(&B).expect("a member").recovery = Some(recovery);
        replica
    }

    fn admitted(replica: &mut Replica, now: Instant, offered: usize) -> usize {
        (0..offered).filter(|_| !replica.is_throttled(now)).count()
    }

    #[test]
    fn clients_give_way_step_by_step_but_never_below_a_half() {
        let mut replica = lagging(10_000);
        let counts: Vec<usize> = (0..8).map(|i| admitted(&mut replica, NOW.after_ms(i * INTERVAL_MS), 100)).collect();
        assert_eq!(counts, [100, 90, 80, 70, 60, 50, 50, 50]);
    }

    #[test]
    fn a_lag_that_shrinks_lets_them_in_again() {
        let mut replica = lagging(10_000);
        for (i, (resume, admits)) in [(0, 100), (0, 90), (1000, 100), (2000, 100), (9000, 100)].into_iter().enumerate() {
            let Role::Primary(p) = &mut replica.role else { unreachable!() };
            p.peers.get_mut(&B).expect("a member").resume = Seq(resume);
            assert_eq!(admitted(&mut replica, NOW.after_ms(i as u64 * INTERVAL_MS), 100), admits, "interval {i}");
        }
        assert!(matches!(&replica.role, Role::Primary(p) if p.throttle.is_none()));
    }

    /// The bound of the design: over 10 s, at least half of what would be done without a throttle, also where clients come in bursts.
    #[test]
    fn in_ten_seconds_at_least_half_of_what_is_offered_is_admitted_however_it_comes() {
        for offered in [|_: u64| 10, |ms: u64| if ms % 400 < 200 { 20 } else { 1 }, |ms: u64| if ms % 400 < 200 { 1 } else { 20 }] {
            let mut replica = lagging(1_000_000);
            let (mut all, mut done) = (0, 0);
            for ms in 0..10_000 {
                all += offered(ms);
                done += admitted(&mut replica, NOW.after_ms(ms), offered(ms));
            }
            assert!(2 * done >= all && done < all, "{done} of {all}");
        }
    }

    #[test]
    fn nobody_is_throttled_for_a_member_that_is_close() {
        let mut replica = lagging(LAG_RECORDS_MIN - 1);
        for i in 0..5 {
            assert_eq!(admitted(&mut replica, NOW.after_ms(i * INTERVAL_MS), 100), 100);
        }
    }
}
