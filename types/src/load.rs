//! What a storage process says of itself with each renewal of its lease: how full its devices are, and what it is asked.
//!
//! Of what it is asked there are totals since its start: whoever reads them twice knows what went on between. Nothing depends on them.

use serde::{Deserialize, Serialize};

use crate::wire::Operation;
use crate::wire::request::DeviceUsage;

/// Times are counted in this many steps: up to 64 µs, up to 128 µs, and so on, and the last for what took longer than 1.05 s.
pub const TIME_STEPS: usize = 16;
/// The first step, in microseconds.
const STEP_MICROS: u64 = 64;

/// Groups of requests, as people think of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Kind {
    /// Transactions at the primaries of their groups.
    Transactions,
    /// Reads and scans of rows.
    Rows,
    /// Units of objects that are read.
    UnitReads,
    /// Units of objects that are written.
    UnitWrites,
}

impl Kind {
    /// All of them, in the order of [`NodeLoad::work`].
    pub const ALL: [Self; 4] = [Self::Transactions, Self::Rows, Self::UnitReads, Self::UnitWrites];

    /// What an operation counts as, if it is one that clients wait for.
    pub fn of(operation: Operation) -> Option<Self> {
        match operation {
            Operation::Execute => Some(Self::Transactions),
            Operation::Read | Operation::Scan => Some(Self::Rows),
            Operation::ReadUnit => Some(Self::UnitReads),
            Operation::WriteUnit => Some(Self::UnitWrites),
            _ => None,
        }
    }

    /// In words.
    pub fn words(self) -> &'static str {
        match self {
            Self::Transactions => "transactions",
            Self::Rows => "row reads",
            Self::UnitReads => "unit reads",
            Self::UnitWrites => "unit writes",
        }
    }
}

/// What was done of one kind, in all.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Work {
    /// Requests that ended.
    pub count: u64,
    /// How long they took together, in microseconds.
    pub micros: u64,
    /// Bytes of bulk data that went with them.
    pub bytes: u64,
    /// How many took how long: see [`TIME_STEPS`].
    pub steps: [u64; TIME_STEPS],
}

impl Work {
    /// The step that a time falls into.
    pub fn step(micros: u64) -> usize {
        (0..TIME_STEPS - 1).find(|step| micros <= STEP_MICROS << step).unwrap_or(TIME_STEPS - 1)
    }

    /// The longest time of a step in microseconds; `None` for the last, which has no end.
    pub fn step_end(step: usize) -> Option<u64> {
        (step < TIME_STEPS - 1).then(|| STEP_MICROS << step)
    }

    /// What was added since an earlier reading of the same process.
    pub fn since(&self, before: &Self) -> Self {
        Self {
            count: self.count.saturating_sub(before.count),
            micros: self.micros.saturating_sub(before.micros),
            bytes: self.bytes.saturating_sub(before.bytes),
            steps: std::array::from_fn(|step| self.steps[step].saturating_sub(before.steps[step])),
        }
    }

    /// Both together.
    pub fn and(&self, other: &Self) -> Self {
        Self {
            count: self.count + other.count,
            micros: self.micros + other.micros,
            bytes: self.bytes + other.bytes,
            steps: std::array::from_fn(|step| self.steps[step] + other.steps[step]),
        }
    }

    /// How long a request took on the average, in microseconds.
    pub fn mean_micros(&self) -> Option<u64> {
        self.micros.checked_div(self.count)
    }

    /// The time that 99 of 100 requests did not take longer than, in microseconds: the end of its step, and for the last step its beginning.
    pub fn p99_micros(&self) -> Option<u64> {
        let all: u64 = self.steps.iter().sum();
        let wanted = all - all / 100;
        let mut seen = 0;
        let at = self.steps.iter().position(|count| {
            seen += count;
            seen >= wanted
        })?;
        (all > 0).then(|| Self::step_end(at).unwrap_or(STEP_MICROS << (TIME_STEPS - 2)))
    }
}

/// What a process says of itself.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct NodeLoad {
    /// How full its devices are.
    pub devices: Vec<DeviceUsage>,
    /// For how many milliseconds it had run when it said so.
    pub at_ms: u64,
    /// What was done, by [`Kind::ALL`].
    pub work: [Work; 4],
    /// Requests refused because too many were under way.
    pub refused: u64,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn work(times: &[u64]) -> Work {
        let mut work = Work::default();
        for micros in times {
            work.count += 1;
            work.micros += micros;
            work.steps[Work::step(*micros)] += 1;
        }
        work
    }

    #[test]
    fn times_fall_into_steps_and_the_last_has_no_end() {
        assert_eq!([0, 64, 65, 128, 1_048_576, 1_048_577, u64::MAX].map(Work::step), [0, 0, 1, 1, 14, 15, 15]);
        assert_eq!([0, 14, 15].map(Work::step_end), [Some(64), Some(1_048_576), None]);
    }

    #[test]
    fn the_slowest_of_a_hundred_does_not_count_and_the_second_slowest_does() {
        let mut times = vec![100; 99];
        times.push(500_000);
        assert_eq!(work(&times).p99_micros(), Some(128));
        times[0] = 500_000;
        assert_eq!(work(&times).p99_micros(), Some(524_288));
        assert_eq!(work(&[5_000_000]).p99_micros(), Some(1_048_576));
        assert_eq!((Work::default().p99_micros(), Work::default().mean_micros()), (None, None));
    }

    #[test]
    fn what_was_added_is_the_difference_of_two_readings() {
        let (before, after) = (work(&[100, 200]), work(&[100, 200, 1000]));
        assert_eq!(after.since(&before), work(&[1000]));
        assert_eq!(before.and(&work(&[1000])), after);
        assert_eq!(before.since(&after), Work::default(), "a process that began anew is no reason to panic");
    }
}
