//! The simulated network: when a message arrives, how often, and whether at all.
//!
//! Messages of one direction between two nodes arrive in order unless the run has reordering. A cut is one-way; partitions are sets of
//! cuts. Whoever delivers asks [`Network::is_cut`] again, so that a cut also takes what is on its way.

use std::collections::{BTreeMap, BTreeSet};

use rand::Rng;
use rand_chacha::ChaCha8Rng;
use serde::{Deserialize, Serialize};

use super::heap::Micros;

/// A node of the simulated network.
pub type NodeNumber = u32;

/// How the network behaves outside of cuts.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct NetworkConfig {
    /// Shortest time of a message on its way.
    pub latency_min: Micros,
    /// Longest time of a message on its way, but for the slow ones.
    pub latency_max: Micros,
    /// Messages lost, of a thousand.
    pub loss_per_mille: u32,
    /// Messages that arrive twice, of a thousand.
    pub duplicate_per_mille: u32,
    /// Messages that take up to a hundred times as long, of a thousand.
    pub slow_per_mille: u32,
    /// Whether a message may overtake another of the same direction.
    pub reorder: bool,
}

impl NetworkConfig {
    /// A network without faults.
    pub const CALM: Self =
        Self { latency_min: 50, latency_max: 500, loss_per_mille: 0, duplicate_per_mille: 0, slow_per_mille: 0, reorder: false };
}

impl NetworkConfig {
    /// One that loses nothing, and doubles everything where this one doubles anything.
    pub fn without_chance(&self) -> Self {
        Self { duplicate_per_mille: if self.duplicate_per_mille > 0 { 1000 } else { 0 }, ..Self::CALM }
    }
}

/// The network.
#[derive(Clone, Debug)]
pub struct Network {
    config: NetworkConfig,
    cuts: BTreeSet<(NodeNumber, NodeNumber)>,
    last: BTreeMap<(NodeNumber, NodeNumber), Micros>,
}

impl Network {
    /// A network without cuts.
    pub fn new(config: NetworkConfig) -> Self {
        Self { config, cuts: BTreeSet::new(), last: BTreeMap::new() }
    }

    /// When a message sent now arrives: never, once or twice.
    pub fn route(&mut self, now: Micros, from: NodeNumber, to: NodeNumber, rng: &mut ChaCha8Rng) -> Vec<Micros> {
        let copies = 1 + usize::from(rng.random_range(0..1000) < self.config.duplicate_per_mille);
        let mut arrivals = Vec::with_capacity(copies);
        for _ in 0..copies {
            let mut latency = rng.random_range(self.config.latency_min..=self.config.latency_max);
            if rng.random_range(0..1000) < self.config.slow_per_mille {
                latency *= rng.random_range(1..=100);
            }
            let lost = rng.random_range(0..1000) < self.config.loss_per_mille;
            if lost || self.is_cut(from, to) {
                continue;
            }
            let mut at = now + latency;
            if !self.config.reorder {
                let last = self.last.entry((from, to)).or_default();
                at = at.max(*last + 1);
                *last = at;
            }
            arrivals.push(at);
        }
        arrivals
    }

    /// Whether nothing gets from one to the other.
    pub fn is_cut(&self, from: NodeNumber, to: NodeNumber) -> bool {
        self.cuts.contains(&(from, to))
    }

    /// Cuts one direction.
    pub fn cut(&mut self, from: NodeNumber, to: NodeNumber) {
        self.cuts.insert((from, to));
    }

    /// Mends one direction.
    pub fn mend(&mut self, from: NodeNumber, to: NodeNumber) {
        self.cuts.remove(&(from, to));
    }

    /// Mends everything and makes the network calm for good.
    pub fn heal(&mut self) {
        self.cuts.clear();
        self.config = NetworkConfig::CALM;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand::SeedableRng;

    #[test]
    fn without_reordering_messages_of_a_direction_keep_their_order_and_with_it_some_overtake() {
        for reorder in [false, true] {
            let mut rng = ChaCha8Rng::seed_from_u64(1);
            let mut network = Network::new(NetworkConfig { reorder, slow_per_mille: 200, ..NetworkConfig::CALM });
            let arrivals: Vec<Micros> = (0..1000).flat_map(|now| network.route(now, 0, 1, &mut rng)).collect();
            assert_eq!(arrivals.is_sorted(), !reorder);
        }
    }

    #[test]
    fn a_cut_is_one_way_and_loss_and_duplication_are_about_as_often_as_asked() {
        let mut rng = ChaCha8Rng::seed_from_u64(2);
        let mut network = Network::new(NetworkConfig { loss_per_mille: 100, duplicate_per_mille: 50, ..NetworkConfig::CALM });
        network.cut(0, 1);
        let mut count = |from, to| (0..10_000).map(|now| network.route(now, from, to, &mut rng).len()).sum::<usize>();
        assert_eq!(count(0, 1), 0);
        let arrived = count(1, 0);
        assert!((9_200..9_700).contains(&arrived), "{arrived} of 10000 arrived");
        network.heal();
        assert_eq!(network.route(0, 0, 1, &mut rng).len(), 1);
    }
}
