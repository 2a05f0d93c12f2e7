//! The world of one replicated group: real [`dtm::Replica`] machines on simulated processes, disks and network, an authority that decides
//! views, and clients that write and read.
//!
//! A run has two phases: faults of the kinds that the seed drew, with every invariant of `dtm.md` that can be seen from outside checked as
//! it happens; then everything is healed, and full convergence, service and durability are demanded.

pub mod authority;
pub mod client;
pub mod device;
pub mod node;
pub mod oracle;
pub mod packet;
pub mod settings;
pub mod shown;
pub mod world;

use std::path::Path;

use anyhow::Result;
use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;

use self::packet::Happening;
use self::settings::Settings;
use self::world::GroupWorld;
use super::run::{self, Outcome};
use super::shown::Recorded;
use super::trace::Recording;

/// Most events of one run: far more than any needs, so that a run that never ends is an error and not a hang.
pub const EVENTS_MAX: u64 = 3_000_000;

/// What a run did, for reports.
#[derive(Clone, Debug)]
pub struct Report {
    /// The run's outcome.
    pub outcome: Outcome,
    /// What happened in it, in numbers.
    pub counts: world::Counts,
}

/// Runs a seed with the configuration that it draws.
pub fn run_seed(seed: u64) -> Report {
    run_settings(seed, Settings::draw(seed), None)
}

/// Runs a seed with a configuration; with a path, leaves a recording there if something goes wrong.
pub fn run_settings(seed: u64, settings: Settings, record_to: Option<&Path>) -> Report {
    let mut rng = ChaCha8Rng::seed_from_u64(seed ^ 0x5eed_0fe7);
    let mut world = GroupWorld::new(settings.clone());
    let first = world.first(&mut rng);
    let outcome = run::run_recorded(&mut world, first, &mut rng, EVENTS_MAX, settings, record_to);
    Report { outcome, counts: world.counts }
}

/// Plays a recording.
pub fn replay(path: &Path) -> Result<Report> {
    let recording: Recording<Settings, Happening> = Recording::load(GroupWorld::WORLD, path)?;
    let mut world = GroupWorld::new(recording.config);
    let mut unused = ChaCha8Rng::seed_from_u64(0);
    let outcome = run::replay(&mut world, &recording.events, &mut unused);
    Ok(Report { outcome, counts: world.counts })
}

impl Recorded for GroupWorld {
    type Config = Settings;
    const WORLD: &'static str = "dtm";

    fn of(config: &Settings) -> Self {
        Self::new(config.clone())
    }

    fn without_chance(config: &Settings) -> Settings {
        let mut config = config.clone();
        config.swarm.network = config.swarm.network.without_chance();
        config
    }
}
