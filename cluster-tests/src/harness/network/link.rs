//! What happens to packets from one host to another: the rules that lie on a link, and what comes of one packet.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use rand::Rng;
use serde::{Deserialize, Serialize};

/// A rule on one direction of a link.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Link {
    /// Nothing gets through.
    pub is_cut: bool,
    /// How much later packets come.
    pub delay: Duration,
    /// Up to how much later than that.
    pub jitter: Duration,
    /// Share that is lost, 0 to 1.
    pub loss: f64,
    /// Share that comes twice.
    pub double: f64,
    /// Share with a flipped bit.
    pub spoil: f64,
    /// Bytes a second; 0 is no bound.
    pub bandwidth: u64,
}

impl Link {
    /// A link that nothing gets through.
    pub fn cut() -> Self {
        Self { is_cut: true, ..Self::default() }
    }

    /// Both rules at once.
    pub fn and(self, other: Self) -> Self {
        let both = |a: f64, b: f64| 1.0 - (1.0 - a) * (1.0 - b);
        let bandwidth = match (self.bandwidth, other.bandwidth) {
            (0, one) | (one, 0) => one,
            (a, b) => a.min(b),
        };
        Self {
            is_cut: self.is_cut || other.is_cut,
            delay: self.delay + other.delay,
            jitter: self.jitter + other.jitter,
            loss: both(self.loss, other.loss),
            double: both(self.double, other.double),
            spoil: both(self.spoil, other.spoil),
            bandwidth,
        }
    }

    /// What comes of one packet.
    pub fn fate(&self, random: &mut impl Rng) -> Fate {
        if self.is_cut || (self.loss > 0.0 && random.random_bool(self.loss.min(1.0))) {
            return Fate { copies: 0, ..Fate::default() };
        }
        let hit = |share: f64, random: &mut dyn rand::RngCore| share > 0.0 && random.random_bool(share.min(1.0));
        let jitter = if self.jitter.is_zero() { Duration::ZERO } else { self.jitter.mul_f64(random.random()) };
        Fate { copies: 1 + u32::from(hit(self.double, random)), is_spoilt: hit(self.spoil, random), later: self.delay + jitter }
    }
}

/// What comes of a packet.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Fate {
    /// How often it arrives.
    pub copies: u32,
    /// Whether a bit of it is flipped.
    pub is_spoilt: bool,
    /// How much later.
    pub later: Duration,
}

/// What happened to packets.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Counts {
    /// Packets that were delivered.
    pub delivered: u64,
    /// Bytes of them.
    pub bytes: u64,
    /// Lost by a rule, or by a queue that was full.
    pub lost: u64,
    /// Delivered later than they came.
    pub delayed: u64,
    /// Delivered twice.
    pub doubled: u64,
    /// With a flipped bit.
    pub spoilt: u64,
}

/// The same, while packets go.
#[derive(Debug, Default)]
pub struct Counters {
    /// See [`Counts`].
    pub delivered: AtomicU64,
    /// See [`Counts`].
    pub bytes: AtomicU64,
    /// See [`Counts`].
    pub lost: AtomicU64,
    /// See [`Counts`].
    pub delayed: AtomicU64,
    /// See [`Counts`].
    pub doubled: AtomicU64,
    /// See [`Counts`].
    pub spoilt: AtomicU64,
}

impl Counters {
    /// As they are now.
    pub fn read(&self) -> Counts {
        let of = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        Counts {
            delivered: of(&self.delivered),
            bytes: of(&self.bytes),
            lost: of(&self.lost),
            delayed: of(&self.delayed),
            doubled: of(&self.doubled),
            spoilt: of(&self.spoilt),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand::SeedableRng;
    use rand_chacha::ChaCha8Rng;

    #[test]
    fn two_rules_on_a_link_hold_both() {
        let slow = Link { delay: Duration::from_millis(5), loss: 0.5, bandwidth: 100, ..Link::default() };
        let both = slow.and(Link { delay: Duration::from_millis(7), loss: 0.5, ..Link::default() });
        assert_eq!((both.delay, both.bandwidth), (Duration::from_millis(12), 100));
        assert!((both.loss - 0.75).abs() < 1e-9);
        assert!(slow.and(Link::cut()).is_cut);
    }

    #[test]
    fn packets_are_lost_doubled_and_spoilt_as_often_as_said() {
        let mut random = ChaCha8Rng::seed_from_u64(3);
        let link = Link { loss: 0.1, double: 0.2, spoil: 0.3, jitter: Duration::from_millis(10), ..Link::default() };
        let fates: Vec<Fate> = (0..10_000).map(|_| link.fate(&mut random)).collect();
        let share = |is_it: &dyn Fn(&Fate) -> bool| fates.iter().filter(|fate| is_it(fate)).count();
        assert!((900..1100).contains(&share(&|fate| fate.copies == 0)));
        assert!((1600..2000).contains(&share(&|fate| fate.copies == 2)));
        assert!((2500..2900).contains(&share(&|fate| fate.is_spoilt)));
        assert!(fates.iter().all(|fate| fate.later <= Duration::from_millis(10)));
        assert_eq!(Link::cut().fate(&mut random).copies, 0);
    }
}
