//! The page is read as a tool would: every element closed, what has to be there is there, nothing from outside.

use std::collections::BTreeMap;

use super::*;
use crate::checkers::history::{Action, Answer, Condition, Operation};
use crate::harness::checks::{Check, Failing};
use crate::harness::faults::Done;
use crate::harness::run::{FaultCount, Story, VerbCount};
use crate::harness::scenario::{FaultKind, Verb};
use crate::harness::workload::{SharedName, Step};
use crate::process::Event;

/// An element as it was read: its name and what its attributes say.
type Element = (String, String);

/// Reads a page; panics where an element is not closed or closed by another.
fn read(html: &str) -> Vec<Element> {
    let (mut elements, mut open): (Vec<Element>, Vec<String>) = (Vec::new(), Vec::new());
    // A style sheet is no markup.
    let (before, rest) = html.split_once("<style>").expect("has a style");
    let (_, after) = rest.split_once("</style>").expect("which ends");
    let html = format!("{before}{after}");
    for part in html.split('<').skip(1) {
        let (tag, text) = part.split_once('>').expect("every tag ends");
        assert!(!text.contains('"') || !text.contains("=\""), "an attribute outside of a tag: {text}");
        if tag.starts_with('!') {
            continue;
        }
        if let Some(name) = tag.strip_prefix('/') {
            assert_eq!(open.pop().as_deref(), Some(name), "closed by another");
            continue;
        }
        let (name, attributes) = tag.trim_end_matches('/').split_once(' ').unwrap_or((tag.trim_end_matches('/'), ""));
        elements.push((name.into(), attributes.into()));
        if !tag.ends_with('/') {
            open.push(name.into());
        }
    }
    assert!(open.is_empty(), "never closed: {open:?}");
    elements
}

fn count(elements: &[Element], name: &str, attribute: &str) -> usize {
    elements.iter().filter(|(n, a)| n == name && a.contains(attribute)).count()
}

fn outcome() -> Outcome {
    let step = |at: u64, verb, is_ok| Step { entry: 0, client: 0, verb, began_us: at, took_us: 900, is_ok };
    let steps = (0..200).map(|at| step(at * 10_000, if at % 3 == 0 { Verb::Put } else { Verb::Get }, at % 50 != 0)).collect();
    let done = |kind, began_ms| Done {
        kind,
        name: kind.word().into(),
        what: "node-2 <&> \"all\"".into(),
        began_ms,
        healed_ms: began_ms + 400,
        count: 2,
        failed: None,
    };
    let event =
        |at, what: &str| (at, Event { index: 7, wall_ms: 0, subject: "node-2".into(), what: what.into(), cause: "a <cause>".into() });
    let read = |call, value| Operation { client: 1, row: 0, call, ret: call + 5, action: Action::Read, answer: Answer::Read(value) };
    let write = Operation { client: 0, row: 0, call: 1, ret: u64::MAX, action: Action::Put(9, Condition::Always), answer: Answer::Unknown };
    let failing = Failing {
        name: SharedName { entry: 0, name: "shared-0/<1>".into() },
        why: "values 0 and 9 each came before the other".into(),
        operations: vec![write, read(2, Some(9)), read(20, None)],
    };
    let check = |name: &str, is_ok| Check { name: name.into(), is_ok, what: "words".into() };
    Outcome {
        scenario: "example".into(),
        about: "An <example> & more.".into(),
        seed: 42,
        passed: false,
        violations: vec!["linearizable: values 0 & 9".into()],
        load_seconds: 2.0,
        wall_seconds: 5.0,
        faults: BTreeMap::from([("kill".to_string(), FaultCount { times: 2, count: 4 })]),
        operations: BTreeMap::from([("put".to_string(), VerbCount { done: 66, failed: 4, p50_us: 900, p99_us: 900, longest_us: 900 })]),
        gaps_ms: vec![120],
        packets: None,
        sides: Vec::new(),
        checks: vec![check("acknowledged writes", true), check("linearizable", false)],
        cpu_pressure: 3.0,
        dir: None,
        story: Story {
            faults: vec![done(FaultKind::Kill, 300), done(FaultKind::Partition, 1000)],
            steps,
            events: vec![event(-4000, "RECOVERING -> ONLINE"), event(350, "ONLINE -> TRANSIENT"), event(1200, "TRANSIENT -> ONLINE")],
            nodes: vec!["node-1".into(), "node-2".into()],
            failing: vec![failing],
            errors: vec!["put at 0.5 s: <no>".into()],
        },
    }
}

#[test]
fn the_page_is_well_formed_and_shows_faults_states_charts_and_failing_histories() {
    let html = html(&outcome());
    let elements = read(&html);
    for id in ["chart-faults", "chart-states", "chart-throughput", "chart-latency"] {
        assert_eq!(count(&elements, "svg", &format!("id=\"{id}\"")), 1, "{id}");
    }
    for id in ["timeline", "checks", "faults", "load", "histories", "events", "errors"] {
        assert_eq!(count(&elements, "section", &format!("id=\"{id}\"")), 1, "{id}");
    }
    assert_eq!(count(&elements, "rect", "class=\"fault "), 2);
    assert_eq!(count(&elements, "rect", "state-online"), 2, "before and after");
    assert_eq!(count(&elements, "rect", "state-transient"), 1);
    assert_eq!(count(&elements, "polyline", "verb-put"), 1);
    assert_eq!(count(&elements, "rect", "operation"), 3);
    assert!(html.contains("<span id=\"verdict\" class=\"badge bad\">failed</span>"));
    assert!(html.contains("An &lt;example&gt; &amp; more.") && html.contains("--seed 42"));
}

#[test]
fn the_page_takes_nothing_from_outside_and_runs_nothing() {
    let html = html(&outcome());
    for outside in ["<script", "<link", "<img", "<iframe", "@import", "url(", "http://", "https://", "javascript:", "onload", "onclick"] {
        assert!(!html.contains(outside), "{outside}");
    }
    assert!(html.contains("prefers-color-scheme: dark"));
}

#[test]
fn a_run_that_was_written_to_a_file_gives_the_same_page() {
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("run.json");
    outcome().save(&path).expect("it can be written");
    assert_eq!(html(&Outcome::load(&path).expect("it can be read")), html(&outcome()));
    std::fs::write(&path, "{}").expect("a file");
    assert!(Outcome::load(&path).is_err_and(|error| format!("{error:#}").contains("is not the record of a run")));
}

#[test]
fn the_page_of_a_simulated_run_draws_its_messages_and_is_well_formed() {
    use crate::sim::recorded::{Drawn, Shot};
    use crate::sim::shown::Arrow;
    let arrow = |label: &str| Arrow { from: 0, to: 1, label: label.into() };
    let drawn = Drawn {
        world: "dtm".into(),
        violation: Some("d1.1 at 4 is called <STABLE>".into()),
        events: 700,
        ended: 5_000,
        names: vec!["dev-1".into(), "dev-2".into()],
        states: vec!["up & well".into(), String::new()],
        last: vec![
            Shot { at: 4_000, arrow: None, words: "dev-1 is killed".into() },
            Shot { at: 4_500, arrow: Some((arrow("Redo 4..4 <x>"), 4_100)), words: "dev-1 -> dev-2: Redo".into() },
        ],
        lost: vec![(4_200, arrow("Persistent 4"))],
        faults: vec![(4_000, "dev-1 is killed".into())],
        listed: vec![(699, 4_000, "dev-1 is killed".into()), (700, 4_500, "dev-1 -> dev-2: Redo".into())],
    };
    let html = simulated::html(&drawn, "x.events");
    let elements = read(&html);
    assert_eq!(count(&elements, "svg", "id=\"sequence\""), 1);
    assert_eq!(count(&elements, "line", "class=\"arrow\""), 1);
    assert_eq!(count(&elements, "line", "class=\"arrow lost\""), 1);
    assert_eq!(count(&elements, "text", "class=\"note\""), 1);
    assert!(html.contains("Redo 4..4 &lt;x&gt;") && !html.contains("<script"));
}
