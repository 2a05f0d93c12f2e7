//! Simulated runs with seeds that nobody has seen: other ones at each run of the tests. 2,000 runs,
//! beside the fixed seeds of `sim_dtm`, `sim_crossing`, `sim_ha` and `sim_cluster`; the count is printed.
//!
//! A failure names its world and seed, `REDOUBT_SEED` repeats the whole, and the recording is kept below the target directory.

use std::path::Path;

use cluster_tests::sim::run::Outcome;
use cluster_tests::sim::{cluster, crossing, dtm, ha};

fn one(world: &str, seed: u64, record_to: Option<&Path>) -> Outcome {
    match world {
        "dtm" => dtm::run_settings(seed, dtm::settings::Settings::draw(seed), record_to).outcome,
        "crossing" => crossing::run_settings(seed, crossing::draw(seed), record_to).0.outcome,
        "ha" => ha::run_settings(seed, ha::settings::Settings::draw(seed), record_to).outcome,
        _ => cluster::run_settings(seed, cluster::settings::Settings::draw(seed), record_to).outcome,
    }
}

fn fresh(worlds: &[(&str, u64)]) {
    let first = std::env::var("REDOUBT_SEED").ok().and_then(|text| text.parse().ok()).unwrap_or_else(|| rand::random::<u64>() >> 16);
    println!("the first seed is {first}");
    let (mut runs, mut violations) = (0, Vec::new());
    for (world, count) in worlds {
        for seed in first..first + *count {
            runs += 1;
            let Some(what) = one(world, seed, None).violation else { continue };
            let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("{world}-{seed}.events"));
            one(world, seed, Some(&path));
            violations.push(format!("cluster-tests sim --world {world} --seed {seed}: {what} (recorded in {})", path.display()));
        }
    }
    println!("{runs} simulated runs with fresh seeds: {worlds:?}");
    assert!(violations.is_empty(), "{violations:#?}");
}

// Two tests, so that two processors have work.

#[test]
fn groups_with_seeds_that_nobody_has_seen_break_no_promise() {
    fresh(&[("dtm", 1510), ("crossing", 30)]);
}

#[test]
fn ha_and_whole_clusters_with_seeds_that_nobody_has_seen_break_no_promise() {
    fresh(&[("ha", 400), ("cluster", 60)]);
}
