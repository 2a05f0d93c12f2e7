//! The world of a whole cluster: nodes, HA and clients in one heap of events.
//!
//! Every process runs the product's drivers (`node::driver`) over the product's devices (`storage::Device`), which lie on simulated disks
//! that lose or tear what was not synced, with the product's views, leases, permits and fences and its way of serving; HA is the shipped
//! state, director, term and leases over a model of Raft's log; clients route with the product's tables. What is simulated is what
//! surrounds them: network, disks, clocks, the order of a process's start, threads (docs/decisions/0023).
//!
//! A run has two phases: faults of the kinds that the seed drew, then everything is healed, and full convergence, one history, equal
//! replicas and linearizable rows, the last read of each among them, are demanded.

mod authority;
mod client;
mod faults;
mod oracle;
pub mod packet;
mod process;
mod serving;
pub mod settings;
mod shown;
mod wire;
pub mod world;

use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::Result;
use ha_state::{Change, Command};
use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;
use types::{Epoch, HaTime, SessionId};

use self::client::Client;
use self::oracle::Oracle;
use self::packet::Happening;
use self::process::Process;
use self::settings::Settings;
use self::world::{ClusterWorld, Counts};
use super::ha::daemon::Daemon;
use super::ha::raft::Raft;
use super::network::Network;
use super::run::{self, Outcome};
use super::shown::Recorded;
use super::trace::Recording;

/// Most events of one run: far more than any needs, so that a run that never ends is an error and not a hang.
const EVENTS_MAX: u64 = 5_000_000;
/// Moments of a simulated clock lie so far ahead that none comes before the begin of this process.
const AHEAD: Duration = Duration::from_secs(24 * 3600);

/// What a run did, for reports.
#[derive(Clone, Debug)]
pub struct Report {
    /// The run's outcome.
    pub outcome: Outcome,
    /// What happened in it, in numbers.
    pub counts: Counts,
}

fn world(settings: &Settings) -> ClusterWorld {
    let command = |change| Command { epoch: Epoch(0), at: HaTime(0), wall_ms: 0, change };
    let mut raft = Raft::with(command(Change::Bootstrap(settings.topology())));
    let base = Instant::now() + AHEAD;
    let drift = |number: u32| settings.drift_ppm.get(number as usize).copied().unwrap_or(0);
    let first_client = settings.nodes + settings.voters;
    // The log begins with the sessions of the clients; a session's id is its entry.
    let mut clients = Vec::new();
    for number in 0..settings.clients {
        let open = command(Change::OpenSession { nonce: u64::from(number) + 1, name: format!("client {number}") });
        let entry = raft.append(0, open).unwrap_or_default();
        clients.push(Client::new(first_client + number, SessionId(entry), settings.nodes));
    }
    raft.commit(0, raft.last());
    ClusterWorld {
        network: Network::new(settings.swarm.network.clone()),
        processes: (0..settings.nodes).map(|host| Process::new(host, settings, base)).collect(),
        daemons: (0..settings.voters).map(|host| Daemon::new(drift(settings.nodes + host))).collect(),
        clients,
        raft,
        oracle: Oracle::default(),
        history: Vec::new(),
        moment: 0,
        healed: false,
        quiet: false,
        over: false,
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
    let mut rng = ChaCha8Rng::seed_from_u64(seed ^ 0xc1_05_7e_11);
    let mut world = world(&settings);
    let first = world.first(&mut rng);
    let outcome = run::run_recorded(&mut world, first, &mut rng, EVENTS_MAX, settings, record_to);
    Report { outcome, counts: world.counts }
}

/// Plays a recording.
pub fn replay(path: &Path) -> Result<Report> {
    let recording: Recording<Settings, Happening> = Recording::load(ClusterWorld::WORLD, path)?;
    let mut world = world(&recording.config);
    let mut unused = ChaCha8Rng::seed_from_u64(0);
    let outcome = run::replay(&mut world, &recording.events, &mut unused);
    Ok(Report { outcome, counts: world.counts })
}

impl Recorded for ClusterWorld {
    type Config = Settings;
    const WORLD: &'static str = "cluster";

    fn of(config: &Settings) -> Self {
        world(config)
    }

    fn without_chance(config: &Settings) -> Settings {
        let mut config = config.clone();
        config.swarm.network = config.swarm.network.without_chance();
        config
    }
}
