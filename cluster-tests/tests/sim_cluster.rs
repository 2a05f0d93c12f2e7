//! Whole clusters on the simulator: the product's drivers over its devices on simulated disks, HA's machines, and clients, under drawn
//! faults, power cuts in the middle of writes among them.
//!
//! A failure is a seed: `cluster-tests sim --world cluster --seed N` leaves a recording, `cluster-tests replay FILE --step` plays it.

use cluster_tests::sim::cluster::settings::Settings;
use cluster_tests::sim::cluster::{replay, run_seed, run_settings};

/// Seeds of each run of the tests: fixed, so that a commit is good or bad for everybody.
const SEEDS: std::ops::Range<u64> = 4_000_000..4_000_060;
/// Seeds that are run twice.
const TWICE: std::ops::Range<u64> = 5_000_000..5_000_006;

#[test]
fn drawn_faults_break_no_promise_of_a_whole_cluster_and_all_is_well_after_them() {
    let (mut answered, mut kills, mut cuts, mut lost) = (0, 0, 0, 0);
    for seed in SEEDS {
        let report = run_seed(seed);
        assert_eq!(report.outcome.violation, None, "seed {seed}");
        answered += report.counts.answered;
        kills += report.counts.kills;
        cuts += report.counts.power_cuts;
        lost += report.counts.lost_devices;
    }
    println!("{} runs: {answered} answers, {kills} kills, {cuts} power cuts, {lost} devices lost", SEEDS.count());
    let enough = answered > 10_000 && kills > 300 && cuts > 50 && lost > 5;
    assert!(enough, "{answered} answers, {kills} kills, {cuts} power cuts, {lost} devices lost: too little happened to mean anything");
}

#[test]
fn a_seed_does_the_same_twice() {
    let mut hashes = std::collections::BTreeSet::new();
    for seed in TWICE {
        let (first, second) = (run_seed(seed), run_seed(seed));
        assert_eq!(first.outcome, second.outcome, "seed {seed}");
        hashes.insert(first.outcome.trace_hash);
    }
    assert_eq!(hashes.len(), TWICE.count(), "different seeds do different things");
}

#[test]
fn thirty_six_nodes_are_simulated_as_well() {
    let report = run_settings(7, Settings::draw_of(7, 36), None);
    assert_eq!(report.outcome.violation, None);
    assert!(report.counts.answered > 50, "{:?}", report.counts);
}

#[test]
fn without_a_rule_of_the_protocol_a_whole_cluster_breaks_its_promise_and_the_recording_shows_it_again() {
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("run.events");
    let found = (1..20u64).find_map(|seed| {
        let settings = Settings { without: Some("dedupe_log".into()), ..Settings::draw_of(seed, 3) };
        run_settings(seed, settings, Some(&path)).outcome.violation.map(|what| (seed, what))
    });
    let (seed, what) = found.expect("a transaction that is executed twice is found");
    let again = replay(&path).expect("the recording plays");
    assert_eq!(again.outcome.violation, Some(what), "seed {seed}");
}
