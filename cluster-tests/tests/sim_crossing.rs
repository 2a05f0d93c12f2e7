//! Transactions over several groups of real replicas on the simulator: all or nothing, once, and seen by whoever reads after the answer, under
//! drawn faults of each group and of the ways between them.
//!
//! A failure is a seed: `cluster-tests sim --world crossing --seed N --record DIR` leaves a recording, `cluster-tests replay FILE` plays it.

use cluster_tests::sim::crossing::{draw, run_seed, run_settings};

/// Seeds of each run of the tests.
const SEEDS: std::ops::Range<u64> = 1_000_000..1_000_050;
/// Seeds that are run twice.
const TWICE: std::ops::Range<u64> = 2_000_000..2_000_004;

#[test]
fn drawn_faults_leave_each_transaction_in_all_of_its_groups_or_in_none() {
    let (mut crossed, mut kills, mut copies) = (0, 0, 0);
    for seed in SEEDS {
        let (report, of_several) = run_seed(seed);
        assert_eq!(report.outcome.violation, None, "seed {seed}");
        (crossed, kills, copies) = (crossed + of_several, kills + report.counts.kills, copies + report.counts.copies.1);
    }
    println!("{crossed} transactions over several groups answered, {kills} kills, {copies} full copies");
    assert!(crossed > 5_000 && kills > 1_000 && copies > 30, "{crossed} {kills} {copies}: too little happened to mean anything");
}

/// Seeds that showed a fault once, and which.
const REGRESSIONS: &[(u64, &str)] = &[
    (179_609_102_509_205, "of the simulator: a primary that stood still was taken to serve reads before a view that had come to it"),
    (179_609_102_517_584, "a group with room for one part at a time was sent the next one only when a whole wait was over"),
];

#[test]
fn seeds_that_once_failed_stay_good() {
    for (seed, what) in REGRESSIONS {
        assert_eq!(run_seed(*seed).0.outcome.violation, None, "seed {seed}: {what}");
    }
}

#[test]
fn a_seed_does_the_same_twice() {
    for seed in TWICE {
        assert_eq!(run_seed(seed).0.outcome, run_seed(seed).0.outcome, "seed {seed}");
    }
}

#[test]
fn without_a_rule_of_crossings_the_simulator_finds_a_violation() {
    for rule in ["parts_when_stable", "answer_when_parts_stable", "part_said_when_stable"] {
        let found = (1..100u64).find_map(|seed| {
            let mut settings = draw(seed);
            settings.iter_mut().for_each(|group| group.machine.rules = dtm::Rules::without(rule).expect("a rule"));
            run_settings(seed, settings, None).0.outcome.violation.map(|what| (seed, what))
        });
        let (seed, what) = found.unwrap_or_else(|| panic!("nothing is found without {rule}"));
        println!("{rule}: seed {seed}: {what}");
    }
}
