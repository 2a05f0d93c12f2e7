//! How well the cluster is ([`ha_api::health`]), in colours.

pub mod without;

pub use ha_api::health::*;

use crate::output::Tone;

/// The colour of a pool.
pub fn tone_of_pool(health: &PoolHealth) -> Tone {
    match health {
        PoolHealth { groups: 0, .. } => Tone::Bad,
        PoolHealth { unavailable: 1.., .. } => Tone::Bad,
        PoolHealth { degraded: 1.., .. } => Tone::Warn,
        _ => Tone::Good,
    }
}

/// The colour of a group.
pub fn tone_of_group(health: GroupHealth) -> Tone {
    match health {
        GroupHealth::Whole => Tone::Good,
        GroupHealth::Degraded => Tone::Warn,
        GroupHealth::Unavailable => Tone::Bad,
    }
}

/// The colour of a cluster's health.
pub fn tone_of_cluster(word: &str) -> Tone {
    match word {
        "healthy" => Tone::Good,
        "impaired" => Tone::Bad,
        _ => Tone::Warn,
    }
}
