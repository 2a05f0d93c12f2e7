//! HA's machines on the simulator: every invariant of HA that its state, its leaders and its leases answer for, under drawn faults.
//!
//! A failure is a seed: `cluster-tests sim --world ha --seed N --record DIR` leaves a recording, `cluster-tests replay --world ha FILE` plays
//! it.

use cluster_tests::sim::ha::settings::{Settings, Without};
use cluster_tests::sim::ha::{replay, run_seed, run_settings};

/// Seeds of each run of the tests: fixed, so that a commit is good or bad for everybody. Each is run twice.
const SEEDS: std::ops::Range<u64> = 3_000_000..3_000_060;

#[test]
fn drawn_faults_break_no_invariant_and_all_is_well_after_them_twice_the_same() {
    let (mut elections, mut kills, mut expired, mut grants) = (0, 0, 0, 0);
    let (mut hashes, mut faults) = (std::collections::BTreeSet::new(), std::collections::BTreeSet::new());
    for seed in SEEDS {
        let report = run_seed(seed);
        assert_eq!(report.outcome.violation, None, "seed {seed}");
        assert_eq!(run_seed(seed).outcome, report.outcome, "seed {seed}");
        hashes.insert(report.outcome.trace_hash);
        elections += report.counts.elections;
        kills += report.counts.kills;
        expired += report.counts.expired;
        grants += report.counts.grants;
        faults.extend(report.outcome.faults.into_keys());
    }
    assert_eq!(hashes.len(), SEEDS.count(), "different seeds do different things");
    for kind in ["Kill", "Pause", "Cut", "Do Elect", "Play LeaderCutOff"] {
        assert!(faults.contains(kind), "{kind} is not among {faults:?}");
    }
    assert!(
        elections > 120 && kills > 300 && expired > 50 && grants > 3_000,
        "{elections} elections, {kills} kills, {expired} leases over, {grants} granted: too little happened to mean anything"
    );
}

/// Seeds of runs in which operators do not wait for what is away.
const AWAY_SEEDS: std::ops::Range<u64> = 3_100_000..3_100_020;

#[test]
fn what_is_away_is_given_up_in_time_and_nothing_that_is_needed_or_in_maintenance() {
    let mut given_up = 0;
    for seed in AWAY_SEEDS {
        let report = run_settings(seed, Settings { away: true, ..Settings::draw(seed) }, None);
        assert_eq!(report.outcome.violation, None, "seed {seed}");
        given_up += report.counts.given_up;
    }
    assert!(given_up > 5, "{given_up} devices given up: too few to mean anything");
}

/// A rebalance that waits for a device that is missing keeps its learners.
const WAITING: [u64; 2] = [74_907_725_217_664, 74_907_725_217_824];

#[test]
fn learners_of_a_rebalance_that_waits_are_no_ailment() {
    for seed in WAITING {
        assert_eq!(run_seed(seed).outcome.violation, None, "seed {seed}");
    }
}

/// The rules of leases.
const RULES: [Without; 5] = [Without::Quorum, Without::SentTime, Without::Epoch, Without::OwnRegistration, Without::ElectionWait];
/// Seeds that are tried for each rule: far more than any takes.
const TRIED: std::ops::Range<u64> = 1..200;
/// What a rule that is left out has to break. An alarm of the exam is no finding.
const BROKEN: [&str; 3] = ["was declared lost and holds a lease", "is named primary while", "both serve group"];

#[test]
fn each_rule_of_leases_that_is_left_out_lets_two_serve_and_the_recording_shows_it_again() {
    let directory = tempfile::tempdir().expect("a directory");
    for without in RULES {
        let settings = |seed| Settings { without: Some(without), ..Settings::draw_aimed(seed) };
        let shows = |seed: &u64| {
            let found = run_settings(*seed, settings(*seed), None).outcome.violation;
            found.is_some_and(|what| BROKEN.iter().any(|broken| what.contains(broken)))
        };
        let seed = TRIED.clone().find(shows).unwrap_or_else(|| panic!("no seed of {TRIED:?} shows that {without:?} is missing"));
        println!("{without:?} is found by seed {seed}");
        let path = directory.path().join(format!("{without:?}.events"));
        let what = run_settings(seed, settings(seed), Some(&path)).outcome.violation;
        let again = replay(&path).expect("the recording plays");
        assert_eq!(again.outcome.violation, what, "{without:?}, seed {seed}");
        assert_eq!(run_settings(seed, Settings::draw_aimed(seed), None).outcome.violation, None, "seed {seed} with all rules");
    }
}
