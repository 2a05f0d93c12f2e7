//! What a run is made of, all of it drawn from the seed.

use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use serde::{Deserialize, Serialize};

use crate::sim::heap::{MILLISECOND, Micros, SECOND};
use crate::sim::swarm::{Swarm, log_uniform};

/// The configuration of a run.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Settings {
    /// Replicas: 3 or 5.
    pub replicas: u32,
    /// Clients.
    pub clients: u32,
    /// Rows that clients use.
    pub rows: u64,
    /// Mean pause of a client between two operations.
    pub think: Micros,
    /// Of a hundred operations, reads.
    pub reads_percent: u32,
    /// Of a hundred writes, conditional ones and deletes.
    pub conditional_percent: u32,
    /// Length of the phase with faults.
    pub faulty: Micros,
    /// Faults, network and disks.
    pub swarm: Swarm,
    /// Whether a process goes on while a sync is under way.
    pub pipelined: bool,
    /// The rate of each process's clock, and of the authority's at the end, in millionths off the true one.
    pub drift_ppm: Vec<i64>,
    /// The machine's bounds and intervals.
    pub machine: dtm::Config,
}

/// The longest lease, L.
pub const LEASE: Micros = SECOND;
/// Drift bound ρ, in millionths: 1 %.
pub const DRIFT_PPM: u64 = 10_000;
/// A process renews its lease so often.
pub const RENEWAL: Micros = 200 * MILLISECOND;
/// How long everybody has to converge once all is healed. Leases, resends and elections of the run's scale fit several times.
pub const CONVERGENCE: Micros = 20 * SECOND;
/// Most operations on one row, so that the exhaustive search can check it.
pub const OPERATIONS_A_ROW: u64 = 60;

impl Settings {
    /// Draws a configuration.
    pub fn draw(seed: u64) -> Self {
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        let rng = &mut rng;
        let replicas = if rng.random_bool(0.25) { 5 } else { 3 };
        let mut machine = dtm::Config {
            resend_ms: log_uniform(rng, 5, 100),
            resend_max_ms: log_uniform(rng, 100, 1000),
            stable_notice_ms: log_uniform(rng, 1, 50),
            heartbeat_ms: log_uniform(rng, 20, 500),
            end_again_ms: log_uniform(rng, 20, 200),
            prune_records_min: log_uniform(rng, 1, 64),
            ..dtm::Config::default()
        };
        if rng.random_bool(0.3) {
            machine.window_ms = log_uniform(rng, 3_000, 10_000);
        }
        if rng.random_bool(0.3) {
            (machine.redo_records_max, machine.redo_window_messages) = (rng.random_range(1..=4), rng.random_range(1..=3));
        }
        if rng.random_bool(0.3) {
            // So little memory that records are read back from the device.
            machine.cache_bytes_max = rng.random_range(0..1000);
        }
        if rng.random_bool(0.2) {
            machine.in_flight_records_max = rng.random_range(1..=8);
        }
        let drift = DRIFT_PPM as i64;
        let drift_ppm = (0..=replicas).map(|_| rng.random_range(-drift..=drift)).collect();
        Self {
            replicas,
            clients: rng.random_range(1..=6),
            rows: rng.random_range(1..=8),
            think: log_uniform(rng, MILLISECOND, 50 * MILLISECOND),
            reads_percent: rng.random_range(0..=70),
            conditional_percent: if rng.random_bool(0.5) { 0 } else { rng.random_range(1..=80) },
            faulty: log_uniform(rng, 500 * MILLISECOND, 4 * SECOND),
            swarm: Swarm::draw(rng),
            pipelined: rng.random_bool(0.5),
            drift_ppm,
            machine,
        }
    }
}
