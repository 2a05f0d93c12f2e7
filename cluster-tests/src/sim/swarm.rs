//! Swarm: every run draws which kinds of faults it has, and how often, so that runs differ in kind and a fault of one kind does not hide
//! what another would show.

use rand::Rng;
use rand_chacha::ChaCha8Rng;
use serde::{Deserialize, Serialize};

use super::heap::{MILLISECOND, Micros};
use super::network::NetworkConfig;

/// A kind of fault that is injected from time to time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum FaultKind {
    /// A process dies and is started again later.
    Kill,
    /// All processes die at one moment: a power cut.
    PowerCut,
    /// A process stands still for a while.
    Pause,
    /// Some nodes are cut from the others, both ways.
    Partition,
    /// One pair of nodes is cut, both ways.
    PairCut,
    /// One direction between two nodes is cut.
    OneWayCut,
    /// The authority over views changes its mind without need.
    ViewChange,
    /// A process dies and its device comes back empty.
    Wipe,
}

impl FaultKind {
    /// Those that any run may have; [`Self::Wipe`] is drawn by itself.
    pub const ALL: [Self; 7] = [Self::Kill, Self::PowerCut, Self::Pause, Self::Partition, Self::PairCut, Self::OneWayCut, Self::ViewChange];
}

/// The faults of one run.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Swarm {
    /// Which kinds, each with its mean interval.
    pub faults: Vec<(FaultKind, Micros)>,
    /// The longest that a fault lasts.
    pub duration_max: Micros,
    /// The network outside of cuts.
    pub network: NetworkConfig,
    /// Time of a sync.
    pub sync_min: Micros,
    /// Longest time of a sync.
    pub sync_max: Micros,
}

impl Swarm {
    /// Draws the faults of a run.
    pub fn draw(rng: &mut ChaCha8Rng) -> Self {
        let mut faults = Vec::new();
        for kind in FaultKind::ALL {
            let interval = log_uniform(rng, 20 * MILLISECOND, 1500 * MILLISECOND);
            if rng.random_bool(0.4) {
                faults.push((kind, interval));
            }
        }
        let mut rate = |often: f64, max: u32| if rng.random_bool(often) { rng.random_range(1..=max) } else { 0 };
        let (loss_per_mille, duplicate_per_mille, slow_per_mille) = (rate(0.4, 200), rate(0.4, 200), rate(0.4, 100));
        let latency_min = log_uniform(rng, 10, 500);
        let latency_max = latency_min * rng.random_range(1..=10);
        let sync_min = log_uniform(rng, 10, 2000);
        Self {
            faults,
            duration_max: log_uniform(rng, 50 * MILLISECOND, 2000 * MILLISECOND),
            network: NetworkConfig {
                latency_min,
                latency_max,
                loss_per_mille,
                duplicate_per_mille,
                slow_per_mille,
                reorder: rng.random_bool(0.4),
            },
            sync_min,
            sync_max: sync_min * rng.random_range(1..=20),
        }
    }
}

/// A number whose logarithm is even between those of the bounds.
pub fn log_uniform(rng: &mut ChaCha8Rng, min: u64, max: u64) -> u64 {
    let (low, high) = ((min as f64).ln(), (max as f64).ln());
    (rng.random_range(low..=high).exp() as u64).clamp(min, max)
}
