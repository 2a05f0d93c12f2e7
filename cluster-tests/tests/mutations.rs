//! Each rule of the protocol, taken away, has to be missed: the table of `dtm-checks.md`, on the shipped machine.

use std::collections::BTreeSet;
use std::time::Duration;

use cluster_tests::model::state::World;
use cluster_tests::model::{crossing, search, worlds};

/// The longest that one rule may take: far more than any needs, for a busy machine.
const LIMITS: search::Limits = search::Limits { states: 2_000_000, time: Duration::from_secs(600) };

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
fn a_member_that_forgets_early_and_a_change_before_the_last_is_active_are_found() {
    for case in worlds::MEMBER_BUGS {
        let world = World::parse(case.world).expect("bounds");
        let found = search::breadth_first_after(&world, dtm::Rules::default(), case.script, LIMITS);
        let (what, _) = found.violation.unwrap_or_else(|| panic!("nothing is found in {}, {} states", case.world, found.states));
        assert!(!what.ends_with("of a script"), "{}: {what}", case.world);
        println!("{}: {what}", case.world);
        // Without the bug nothing is, from before the change of members on.
        let well = case.world.replace(",forgets-early", "").replace(",replaces-unsettled", "");
        let world = World::parse(&well).expect("bounds");
        let limits = search::Limits { states: 20_000, ..LIMITS };
        let before = case.script.split(" m").next().unwrap_or_default();
        let found = search::breadth_first_after(&world, dtm::Rules::default(), before, limits);
        assert_eq!(found.violation, None, "{well}");
    }
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
fn the_removal_of_each_rule_of_transactions_over_several_groups_is_found() {
    for (rule, bounds) in crossing::CASES {
        let found = crossing::search(*bounds, dtm::Rules::without(rule).expect("a rule"), LIMITS);
        let (what, way) = found.violation.unwrap_or_else(|| panic!("{rule} is not missed in {} states of {bounds:?}", found.states));
        println!("{rule:<28} {:>2} steps, {:>6} states: {what}", way.len(), found.states);
        // Few: model_check exhausts larger worlds of the same.
        let limits = search::Limits { states: 2_000, ..LIMITS };
        assert_eq!(crossing::search(*bounds, dtm::Rules::default(), limits).violation, None, "{rule}");
    }
}

#[test]
fn no_rule_is_forgotten() {
    let of_one_group = worlds::CASES.iter().map(|case| case.rule).chain(worlds::NOT_FOUND.iter().map(|(rule, _)| *rule));
    let listed: BTreeSet<&str> = of_one_group.chain(crossing::CASES.iter().map(|(rule, _)| *rule)).collect();
    let all: BTreeSet<&str> = dtm::Rules::NAMES.iter().copied().collect();
    assert_eq!(listed, all);
}
