//! What a run is made of, all of it drawn from the seed.

use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use serde::{Deserialize, Serialize};

use crate::sim::heap::{MILLISECOND, Micros, SECOND};
use crate::sim::swarm::{FaultKind, Swarm, log_uniform};

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
    /// Of a hundred reads, those of a member that is near.
    pub near_percent: u32,
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
    /// Groups; more than one only in [`crate::sim::crossing`].
    pub groups: u32,
    /// Of a hundred writes, those with parts in other groups.
    pub crossing_percent: u32,
    /// Whether replicas may need a full copy: devices come back empty, and no log is kept for those that are away for long.
    pub copies: bool,
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
/// Of all runs, those in which replicas may need a full copy.
const COPIES_SHARE: f64 = 0.4;
/// Of all runs, those with reads of members that are near.
const NEAR_SHARE: f64 = 0.5;
/// A log measures its bytes by some hundred records: a bound below that would never be left again.
const LOG_BYTES_MAX_LEAST: u64 = 80_000;
/// Most operations on one row, so that the exhaustive search can check it.
pub const OPERATIONS_A_ROW: u64 = 60;

impl Settings {
    /// Draws a configuration.
    pub fn draw(seed: u64) -> Self {
        let mut settings = Self::draw_without_copies(seed);
        let rng = &mut ChaCha8Rng::seed_from_u64(seed ^ 0x04ea_7e57);
        if rng.random_bool(NEAR_SHARE) {
            settings.near_percent = rng.random_range(1..=100);
        }
        // Of its own random numbers: what is drawn without it stays as it was.
        let rng = &mut ChaCha8Rng::seed_from_u64(seed ^ 0xc0_b1e5);
        if !rng.random_bool(COPIES_SHARE) {
            return settings;
        }
        settings.copies = true;
        let machine = &mut settings.machine;
        (machine.copy_rows_max, machine.copy_bytes_max) = (rng.random_range(1..=20), rng.random_range(1..=2000));
        (machine.copy_again_ms, machine.copy_silence_ms) = (log_uniform(rng, 50, 1000), log_uniform(rng, 50, 3000));
        machine.prune_records_min = log_uniform(rng, 1, 16);
        if rng.random_bool(0.5) {
            machine.log_bytes_soft = log_uniform(rng, 500, 20_000);
        }
        if rng.random_bool(0.2) {
            machine.log_bytes_max = log_uniform(rng, LOG_BYTES_MAX_LEAST, 10 * LOG_BYTES_MAX_LEAST);
        }
        if rng.random_bool(0.8) {
            settings.swarm.faults.push((FaultKind::Wipe, log_uniform(rng, 100 * MILLISECOND, 2000 * MILLISECOND)));
        }
        settings
    }

    /// Draws a configuration in which every device keeps what it has, and every log is kept.
    pub fn draw_without_copies(seed: u64) -> Self {
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
            near_percent: 0,
            groups: 1,
            crossing_percent: 0,
            copies: false,
            machine,
        }
    }
}
