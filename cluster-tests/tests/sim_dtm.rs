//! Real replicas of one group on the simulator: every invariant of `dtm.md` that can be seen from outside, under drawn faults.
//!
//! A failure is a seed: `cluster-tests sim --seed N --record DIR` leaves a recording, `cluster-tests replay FILE` plays it.

use cluster_tests::sim::dtm::{replay, run_seed, run_settings, settings::Settings};

/// Seeds of each run of the tests: fixed, so that a commit is good or bad for everybody.
const SEEDS: std::ops::Range<u64> = 1_000_000..1_000_150;
/// Seeds that are run twice.
const TWICE: std::ops::Range<u64> = 2_000_000..2_000_025;

/// Seeds that showed a fault once, and which.
const REGRESSIONS: &[(u64, &str)] = &[
    (35, "a page of log that was not wanted any more stopped a peer's Redo for good"),
    (9, "the timer of a page that was read for a peer went with an acknowledgement"),
    (174, "the same, of five replicas"),
    (258, "the same, after a pause"),
    (227, "a late Gap moved a member below the first record that is left, and it was reported for full copy"),
    (266, "the same, of three replicas"),
    (1_783_240_514, "a new primary asked only the one of two like logs that began too late, after a full copy"),
];

/// The same, with whatever such a seed draws.
const REGRESSIONS_AS_DRAWN: &[(u64, &str)] = &[
    (
        5_002_182,
        "the word of a filled member that it counts came when its primary had pruned past it: it was told `End`, and no log reached it any more",
    ),
    (5_001_159, "a batch that was committed while a promise was being synced hid from its candidate that it was durable"),
    (
        179_609_102_511_248,
        "a snapshot that was opened for a copy of an earlier view ended the collecting of a primary to be: the group stood still",
    ),
    (
        27_966_647_795_064_658,
        "an acknowledgement of a copy that was given up came in the next one: its target was sent what is behind what it had not, for ever",
    ),
];

#[test]
fn drawn_faults_break_no_invariant_and_all_converges_after_them() {
    let (mut answered, mut kills, mut copies) = (0, 0, 0);
    for seed in SEEDS {
        let report = run_seed(seed);
        assert_eq!(report.outcome.violation, None, "seed {seed}");
        answered += report.counts.answered;
        kills += report.counts.kills;
        copies += report.counts.copies.1;
    }
    let enough = answered > 12_000 && kills > 1_200 && copies > 40;
    assert!(enough, "{answered} answers, {kills} kills, {copies} full copies: too little happened to mean anything");
}

#[test]
fn seeds_that_once_failed_stay_good() {
    for (seed, what) in REGRESSIONS {
        assert_eq!(run_settings(*seed, Settings::draw_without_copies(*seed), None).outcome.violation, None, "seed {seed}: {what}");
    }
    for (seed, what) in REGRESSIONS_AS_DRAWN {
        assert_eq!(run_seed(*seed).outcome.violation, None, "seed {seed}: {what}");
    }
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
fn without_a_rule_the_simulator_finds_a_violation_and_the_recording_shows_it_again() {
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("run.events");
    let found = (1..200u64).find_map(|seed| {
        let mut settings = Settings::draw(seed);
        settings.machine.rules = dtm::Rules::without("ack_after_sync").expect("a rule");
        run_settings(seed, settings, Some(&path)).outcome.violation.map(|what| (seed, what))
    });
    let (seed, what) = found.expect("an acknowledgement before the sync is found");
    let again = replay(&path).expect("the recording plays");
    assert_eq!(again.outcome.violation, Some(what), "seed {seed}");
}
