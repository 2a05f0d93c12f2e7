//! Nodes killed at random moments of puts, gets and deletes, one at a time and all at once: nothing acknowledged is lost, nothing that was
//! deleted comes back, no byte is wrong, and no space is lost.

use std::time::{Duration, Instant};

use anyhow::{Result, bail};
use cluster_tests::process::{Clients, Cluster, Crew, Kind, Load, Signal, Verb, Worked, say, send};
use rand::seq::IndexedRandom;
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;

const ONLINE: Duration = Duration::from_secs(30);
/// How long units of deleted objects stay in these tests, in milliseconds.
const DEAD_AGE_MS: &str = "2000";
/// How long the sweep may take after that.
const SWEPT: Duration = Duration::from_secs(30);

/// The seed of this run, or that of `REDOUBT_SEED`.
fn seed() -> u64 {
    let seed = std::env::var("REDOUBT_SEED").ok().and_then(|text| text.parse().ok()).unwrap_or_else(rand::random);
    say(format!("REDOUBT_SEED={seed}"));
    seed
}

/// How many rounds: `REDOUBT_ROUNDS`, or what suits CI.
fn rounds(usual: u32) -> u32 {
    std::env::var("REDOUBT_ROUNDS").ok().and_then(|text| text.parse().ok()).unwrap_or(usual)
}

fn crews() -> [Crew; 2] {
    let crew = |kind, workers, lengths| Crew { kind, workers, mix: [4, 3, 3], lengths, pause: Duration::from_millis(2), fixed: None };
    [crew(Kind::Object, 4, &[0, 3_000, 65_536, 65_537, 300_000, 1_500_000, 4_000_000][..]), crew(Kind::Key, 3, &[1, 100, 20_000][..])]
}

fn told(worked: &Worked) -> String {
    let [puts, gets, deletes] = [Verb::Put, Verb::Get, Verb::Delete].map(|verb| worked.count(verb));
    let longest = worked.steps.iter().map(|step| step.took).max().unwrap_or_default();
    format!("{puts} puts, {gets} gets, {deletes} deletes, {} errors, longest {} ms", worked.errors.len(), longest.as_millis())
}

#[test]
fn nodes_killed_at_random_moments_lose_nothing_and_bring_nothing_back() -> Result<()> {
    let cluster = Cluster::up_with(3, &[], &[("REDOUBT_DEAD_AGE_MS", DEAD_AGE_MS)])?;
    let clients = Clients::connect(&cluster, Duration::from_secs(15))?;
    let seed = seed();
    let mut random = ChaCha8Rng::seed_from_u64(seed);
    let nodes = cluster.nodes()?;
    let load = Load::begin(&clients, seed, &crews());
    for round in 1..=rounds(5) {
        std::thread::sleep(Duration::from_millis(random.random_range(100..1500)));
        let node = nodes.choose(&mut random).expect("there are nodes");
        let pids = cluster.pids_of(node)?;
        // Mostly the storage process, with and without its daemon.
        let (what, killed) = match random.random_range(0..5) {
            0 => ("daemon", pids.ha.into_iter().collect()),
            1 | 2 => ("storage process", pids.node.into_iter().collect()),
            _ => ("node", pids.both()),
        };
        send(&killed, Signal::KILL)?;
        std::thread::sleep(Duration::from_millis(random.random_range(50..2500)));
        cluster.start(node)?;
        let began = Instant::now();
        cluster.all_online(ONLINE)?;
        say(format!("round {round}: {what} of {node} killed; all ONLINE {} ms after its start", began.elapsed().as_millis()));
    }
    let worked = load.end(&clients)?;
    say(told(&worked));
    if let Some(error) = worked.errors.first() {
        bail!("{} steps failed though never more than one node was away, such as: {error}", worked.errors.len());
    }
    clients.verify(&worked)?;
    // A client that was not there sees the same.
    let other = Clients::connect(&cluster, Duration::from_secs(15))?;
    other.verify(&worked)?;
    clients.close();
    nothing_is_left_of_what_was_deleted(&other)
}

/// Deletes all objects, and waits until no device has a unit left: of those, of the ones that were deleted under faults, of puts that failed.
fn nothing_is_left_of_what_was_deleted(clients: &Clients) -> Result<()> {
    let before: u64 = clients.usage()?.iter().map(|device| device.units).sum();
    let deleted = clients.delete_all(Kind::Object)?;
    let began = Instant::now();
    loop {
        let usage = clients.usage()?;
        let units: u64 = usage.iter().map(|device| device.units).sum();
        if units == 0 {
            say(format!("{before} units, none {} ms after the last of {deleted} deletes", began.elapsed().as_millis()));
            if let Some(device) = usage.iter().find(|device| device.free != device.bytes) {
                bail!("{} has no unit, and {} of {} bytes free", device.device, device.free, device.bytes);
            }
            return Ok(());
        }
        if began.elapsed() > SWEPT {
            bail!("{units} units are left {SWEPT:?} after everything was deleted: {usage:?}");
        }
        std::thread::sleep(Duration::from_millis(200));
    }
}

#[test]
fn everything_killed_at_once_under_load_comes_back_with_all_that_was_acknowledged() -> Result<()> {
    let cluster = Cluster::up(3, &[])?;
    let clients = Clients::connect(&cluster, Duration::from_secs(25))?;
    let seed = seed();
    let mut all = Worked::default();
    for round in 1..=u64::from(rounds(2)) {
        let load = Load::begin(&clients, seed.wrapping_add(round), &crews());
        std::thread::sleep(Duration::from_millis(1500));
        let pids: Vec<u32> = cluster.pids()?.values().flat_map(|pids| pids.both()).collect();
        assert_eq!(pids.len(), 6, "two processes a node");
        send(&pids, Signal::KILL)?;
        let began = Instant::now();
        cluster.ok(&["dev", "up"])?;
        say(format!("round {round}: everything killed; serves {} ms later", began.elapsed().as_millis()));
        std::thread::sleep(Duration::from_millis(700));
        let worked = load.end(&clients)?;
        say(told(&worked));
        worked.errors.iter().take(3).for_each(say);
        clients.verify(&worked)?;
        all.objects.merge(worked.objects);
        all.keys.merge(worked.keys);
    }
    // All of it once more, by somebody who was not there.
    Clients::connect(&cluster, Duration::from_secs(15))?.verify(&all)
}
