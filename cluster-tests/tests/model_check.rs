//! Small worlds of the shipped machine, searched to their ends, and larger ones walked at random.

use std::time::Duration;

use cluster_tests::model::{crossing, search, state::World, worlds};

/// More states than any world of the list has: a world that outgrows it fails, and the list is to be looked at.
const STATES_MAX: usize = 1_500_000;
/// The longest that one world may take.
const TIME_MAX: Duration = Duration::from_secs(600);
/// How long each walked world is walked in.
const WALK: Duration = Duration::from_secs(4);
/// Seed of the first walk.
const WALK_SEED: u64 = 100_000_000;

#[test]
fn small_worlds_are_exhausted_and_hold_every_invariant() {
    for world in worlds::parse(worlds::EXHAUSTED).expect("bounds") {
        let limits = search::Limits { states: STATES_MAX, time: TIME_MAX };
        let found = search::breadth_first(&world, dtm::Rules::default(), limits);
        let end = if found.complete { "COMPLETE" } else { "cut" };
        println!("{:<40} {:>8} states, depth {:>2}, {end}", world.name, found.states, found.depth);
        assert_eq!(found.violation, None, "{}", world.name);
        assert!(found.complete, "{} was cut after {} states", world.name, found.states);
    }
}

#[test]
fn full_copies_and_what_interrupts_them_hold_every_invariant() {
    for (bounds, script) in worlds::EXHAUSTED_AFTER {
        let world = World::parse(bounds).expect("bounds");
        let limits = search::Limits { states: STATES_MAX, time: TIME_MAX };
        let found = search::breadth_first_after(&world, dtm::Rules::default(), script, limits);
        let end = if found.complete { "COMPLETE" } else { "cut" };
        println!("{:<50} {:>8} states, depth {:>2}, {end}", world.name, found.states, found.depth);
        assert_eq!(found.violation, None, "{bounds}");
        assert!(found.complete, "{bounds} was cut after {} states", found.states);
    }
}

fn exhausted(worlds: &[crossing::Bounds]) {
    for bounds in worlds {
        let limits = search::Limits { states: STATES_MAX, time: TIME_MAX };
        let found = crossing::search(*bounds, dtm::Rules::default(), limits);
        let end = if found.complete { "COMPLETE" } else { "cut" };
        println!("{bounds:?}: {:>8} states, depth {:>2}, {end}", found.states, found.depth);
        assert_eq!(found.violation, None, "{bounds:?}");
        assert!(found.complete, "{bounds:?} was cut after {} states", found.states);
    }
}

#[test]
fn transactions_over_several_groups_are_exhausted_and_hold_every_invariant() {
    exhausted(crossing::EXHAUSTED);
}

#[test]
#[ignore = "minutes: cargo test -p cluster-tests --test model_check -- --ignored"]
fn larger_worlds_of_transactions_over_several_groups_hold_every_invariant() {
    exhausted(crossing::LARGE);
}

#[test]
fn walks_in_larger_worlds_hold_every_invariant() {
    for world in worlds::parse(worlds::WALKED).expect("bounds") {
        let found = search::walk(&world, dtm::Rules::default(), WALK_SEED, u64::MAX, search::WALK_STEPS, WALK);
        println!("{:<60} {:>8} steps, the longest walk {}", world.name, found.states, found.depth);
        assert_eq!(found.violation, None, "{}", world.name);
        assert!(found.states > 1_000, "{} steps in {}: too few to mean anything", found.states, world.name);
    }
}

#[test]
fn bounds_that_make_no_sense_are_refused() {
    assert!(World::parse("ops=1,nonsense").is_err());
    assert!(World::parse("ops=many").is_err());
}
