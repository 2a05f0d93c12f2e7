//! Each rule of the protocol, taken away, has to be missed: the table of `dtm-checks.md`, on the shipped machine.

use std::collections::BTreeSet;
use std::time::Duration;

use cluster_tests::model::state::World;
use cluster_tests::model::{search, worlds};

/// The longest that one rule may take.
const LIMITS: search::Limits = search::Limits { states: 2_000_000, time: Duration::from_secs(120) };

#[test]
fn the_removal_of_each_rule_is_found() {
    let mut missed = Vec::new();
    for case in worlds::CASES {
        let world = World::parse(case.world).expect("bounds");
        let rules = worlds::without(&format!("{},{}", case.rule, case.with)).expect("rules");
        let found = search::breadth_first_after(&world, rules.clone(), case.script, LIMITS);
        let with = if case.with.is_empty() { String::new() } else { format!(" (with {})", case.with) };
        match found.violation {
            Some((what, trace)) if !what.ends_with("of a script") => {
                let steps = search::shrink(&world, &rules, &trace).len();
                println!("{:<28} {steps:>2} steps, {:>6} states{with}: {what}", case.rule, found.states);
            }
            other => missed.push(format!("{}{with}: {other:?}", case.rule)),
        }
    }
    for (rule, why) in worlds::NOT_FOUND {
        println!("{rule:<28} not asked for: {why}");
    }
    assert!(missed.is_empty(), "not found: {missed:#?}");
}

#[test]
fn a_copy_that_is_read_from_rows_that_change_is_found() {
    let case = worlds::TORN_COPIES;
    let world = World::parse(case.world).expect("bounds");
    let found = search::breadth_first_after(&world, dtm::Rules::default(), case.script, LIMITS);
    let (what, _) = found.violation.expect("a torn copy is no copy");
    println!("torn copy: {what}");
}

#[test]
fn the_same_searches_find_nothing_with_all_rules() {
    let limits = search::Limits { states: 20_000, ..LIMITS };
    for case in worlds::CASES {
        let world = World::parse(case.world).expect("bounds");
        let found = search::breadth_first_after(&world, dtm::Rules::default(), case.script, limits);
        // With all rules a message that the script means may not be there: then there is nothing to go on from.
        let nothing = found.violation.as_ref().is_none_or(|(what, _)| what.ends_with("of a script"));
        assert!(nothing, "{}: {:?}", case.rule, found.violation);
    }
}

#[test]
fn no_rule_is_forgotten() {
    let listed: BTreeSet<&str> =
        worlds::CASES.iter().map(|case| case.rule).chain(worlds::NOT_FOUND.iter().map(|(rule, _)| *rule)).collect();
    let all: BTreeSet<&str> = dtm::Rules::NAMES.iter().copied().collect();
    assert_eq!(listed, all);
}
