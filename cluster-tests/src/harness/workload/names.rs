//! Which name a client takes next.

use std::sync::atomic::{AtomicU32, Ordering};

use rand::Rng;

use crate::harness::scenario::{Choice, Verb, Workload};

/// Most operations on one shared name that is also deleted: the search for an order of them is exhaustive.
pub const HISTORY_MAX: u32 = 60;

/// Numbers of names, chosen as the scenario says.
#[derive(Clone, Debug)]
pub struct Names {
    count: u32,
    choice: Choice,
    /// For Zipf: how much weight is on this name and those before it.
    weights: Vec<f64>,
    next: u32,
}

impl Names {
    /// Of an entry.
    pub fn new(wish: &Workload) -> Self {
        let mut weights = Vec::new();
        if wish.choice == Choice::Zipf {
            let mut sum = 0.0;
            for rank in 1..=wish.names {
                sum += 1.0 / f64::from(rank);
                weights.push(sum);
            }
        }
        Self { count: wish.names, choice: wish.choice, weights, next: 0 }
    }

    /// The next one.
    pub fn choose(&mut self, random: &mut impl Rng) -> u32 {
        match self.choice {
            Choice::Uniform => random.random_range(0..self.count),
            Choice::InOrder => {
                self.next = (self.next + 1) % self.count;
                self.next
            }
            Choice::Zipf => {
                let all = self.weights.last().copied().unwrap_or(1.0);
                let drawn = random.random_range(0.0..all);
                u32::try_from(self.weights.partition_point(|weight| *weight <= drawn)).unwrap_or(0)
            }
        }
    }
}

/// Names that the clients of an entry share.
#[derive(Debug)]
pub struct Shared {
    entry: usize,
    /// How often each was taken.
    taken: Vec<AtomicU32>,
    /// After how many operations a name is left alone and another takes its place; 0 is never.
    retire: u32,
}

impl Shared {
    /// Of an entry.
    pub fn new(entry: usize, wish: &Workload) -> Self {
        let taken = (0..wish.names).map(|_| AtomicU32::new(0)).collect();
        let retire = if wish.mix.get(&Verb::Delete).is_some_and(|parts| *parts > 0) { HISTORY_MAX } else { 0 };
        Self { entry, taken, retire }
    }

    /// Takes the name of that number.
    pub fn take(&self, number: u32) -> String {
        let taken = self.taken[number as usize].fetch_add(1, Ordering::Relaxed);
        let generation = taken.checked_div(self.retire).unwrap_or(0);
        format!("shared-{}/{number}-{generation}", self.entry)
    }

    /// Whether one search or the checker of zones is for their histories.
    pub fn has_deletes(&self) -> bool {
        self.retire > 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand::SeedableRng;
    use rand_chacha::ChaCha8Rng;

    #[test]
    fn zipf_takes_the_first_names_most_and_all_of_them_sometimes() {
        let mut random = ChaCha8Rng::seed_from_u64(1);
        let mut names = Names { count: 10, choice: Choice::Zipf, weights: Vec::new(), next: 0 };
        let mut sum = 0.0;
        names.weights = (1..=10)
            .map(|rank| {
                sum += 1.0 / f64::from(rank);
                sum
            })
            .collect();
        let mut taken = [0; 10];
        (0..10_000).for_each(|_| taken[names.choose(&mut random) as usize] += 1);
        assert!(taken[0] > 3000 && taken[0] > 5 * taken[9] && taken.iter().all(|count| *count > 100), "{taken:?}");
    }

    #[test]
    fn a_shared_name_is_retired_before_its_history_is_too_long() {
        let shared = Shared { entry: 1, taken: vec![AtomicU32::new(0)], retire: HISTORY_MAX };
        let names: Vec<String> = (0..=HISTORY_MAX).map(|_| shared.take(0)).collect();
        assert!(names[..HISTORY_MAX as usize].iter().all(|name| name == "shared-1/0-0"));
        assert_eq!(names[HISTORY_MAX as usize], "shared-1/0-1");
    }
}
