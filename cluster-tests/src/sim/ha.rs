//! The world of HA: the shipped state, director, term and leases ([`ha_state`]) on simulated daemons and processes with drifting clocks.
//!
//! A run has two phases: faults of the kinds that the seed drew, with the invariants of HA checked after every event; then everything is
//! healed, all must become well within a bound and stay so, and one process is killed and another frozen: HA must see both in time. Raft is
//! a small model of its log (`raft`), DTM0 is what it reports.

pub(super) mod daemon;
mod exam;
mod faults;
mod oracle;
pub mod packet;
mod process;
pub(super) mod raft;
pub mod scenes;
pub mod settings;
mod shown;
mod whims;
pub mod world;

use std::path::Path;

use anyhow::Result;
use ha_state::lease::{LEASE, LEASE_RENEWAL, SESSION_LEASE, Timing};
use ha_state::{Change, Command};
use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;
use types::{Epoch, HaTime};

use self::daemon::Daemon;
use self::exam::Stage;
use self::oracle::Oracle;
use self::packet::Happening;
use self::process::Process;
use self::raft::Raft;
use self::settings::{CONVERGENCE, HOSTS, Settings};
use self::world::{Counts, HaWorld};
use super::network::Network;
use super::run::{self, Outcome};
use super::shown::Recorded;
use super::trace::Recording;

/// The times of the design.
pub(super) const TIMING: Timing = Timing { lease: LEASE, renewal: LEASE_RENEWAL, session: SESSION_LEASE };
/// Most events of one run: far more than any needs, so that a run that never ends is an error and not a hang.
const EVENTS_MAX: u64 = 1_000_000;

/// What a run did, for reports.
#[derive(Clone, Debug)]
pub struct Report {
    /// The run's outcome.
    pub outcome: Outcome,
    /// What happened in it, in numbers.
    pub counts: Counts,
}

fn world(settings: &Settings) -> HaWorld {
    let create = Change::Bootstrap(settings::topology());
    let raft = Raft::with(Command { epoch: Epoch(0), at: HaTime(0), wall_ms: 0, change: create });
    let drift = |number: u32| settings.drift_ppm.get(number as usize).copied().unwrap_or(0);
    let mut processes: Vec<Process> = (0..HOSTS).map(|host| Process::new(host, drift(host), settings.without)).collect();
    let mut oracle = Oracle::default();
    oracle.advance(&raft, &mut processes, 0);
    HaWorld {
        network: Network::new(settings.swarm.network.clone()),
        processes,
        daemons: (0..HOSTS).map(|host| Daemon::new(drift(HOSTS + host))).collect(),
        raft,
        oracle,
        healed: false,
        stage: Stage::Heals(settings.faulty + CONVERGENCE),
        settings: settings.clone(),
        counts: Counts::default(),
    }
}

/// Runs a seed with the configuration that it draws.
pub fn run_seed(seed: u64) -> Report {
    run_settings(seed, Settings::draw(seed), None)
}

/// Runs a seed with a configuration; with a path, leaves a recording there if something goes wrong.
pub fn run_settings(seed: u64, settings: Settings, record_to: Option<&Path>) -> Report {
    let mut rng = ChaCha8Rng::seed_from_u64(seed ^ 0x0ad1_5ea5);
    let mut world = world(&settings);
    let first = world.first(&mut rng);
    let outcome = run::run_recorded(&mut world, first, &mut rng, EVENTS_MAX, settings, record_to);
    Report { outcome, counts: world.counts }
}

/// Plays a recording.
pub fn replay(path: &Path) -> Result<Report> {
    let recording: Recording<Settings, Happening> = Recording::load(HaWorld::WORLD, path)?;
    let mut world = world(&recording.config);
    let mut unused = ChaCha8Rng::seed_from_u64(0);
    let outcome = run::replay(&mut world, &recording.events, &mut unused);
    Ok(Report { outcome, counts: world.counts })
}

impl Recorded for HaWorld {
    type Config = Settings;
    const WORLD: &'static str = "ha";

    fn of(config: &Settings) -> Self {
        world(config)
    }

    fn without_chance(config: &Settings) -> Settings {
        let mut config = config.clone();
        config.swarm.network = config.swarm.network.without_chance();
        config
    }
}
