//! A failing run leaves a file; what can be done with it.

use std::path::Path;
use std::process::{Command, Output};

use cluster_tests::sim::dtm::settings::Settings;
use cluster_tests::sim::dtm::{self, world::GroupWorld};
use cluster_tests::sim::play::play;
use cluster_tests::sim::recorded::{self, Look};
use cluster_tests::sim::shown::{Part, Recorded, Shown, kind_of};
use cluster_tests::sim::trace::Recording;

/// Leaves the rule out and records the first seed that shows it.
fn failing(rule: &str, path: &Path) -> String {
    let found = (1..300u64).find_map(|seed| {
        let mut settings = Settings::draw(seed);
        settings.machine.rules = ::dtm::Rules::without(rule).expect("a rule");
        dtm::run_settings(seed, settings, Some(path)).outcome.violation
    });
    found.unwrap_or_else(|| panic!("nothing shows that {rule} is missing"))
}

type Of = Recording<<GroupWorld as Recorded>::Config, <GroupWorld as cluster_tests::sim::run::World>::Event>;

fn load(path: &Path) -> Of {
    Recording::load(GroupWorld::WORLD, path).expect("a recording")
}

fn failure(recording: &Of, without: Option<usize>) -> Option<String> {
    let mut events = recording.events.clone();
    without.map(|at| events.remove(at));
    let mut world = GroupWorld::of(&GroupWorld::without_chance(&recording.config));
    play(&mut world, &events, |_, _| {}).outcome.violation.map(|what| kind_of(&what))
}

#[test]
fn a_recording_played_by_its_choices_is_the_same_run() {
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("run.events");
    let violation = failing("ack_after_sync", &path);
    let exact = recorded::replay(&path, &Look::default()).expect("it plays");
    assert_eq!(exact.violation, Some(violation));
    let recording = load(&path);
    let mut world = GroupWorld::of(&GroupWorld::without_chance(&recording.config));
    assert_eq!(play(&mut world, &recording.events, |_, _| {}).outcome, exact);
}

#[test]
fn a_failing_run_is_shrunk_until_every_fault_and_operation_left_is_needed() {
    let directory = tempfile::tempdir().expect("a directory");
    let (path, small) = (directory.path().join("run.events"), directory.path().join("small.events"));
    let violation = failing("ack_after_sync", &path);
    let smaller = recorded::smaller(&path, &small, 6000).expect("it shrinks");
    assert!(smaller.is_least, "{smaller:?}");
    assert!(smaller.after.2 * 4 < smaller.before.2, "{smaller:?}");
    assert_eq!(kind_of(&smaller.violation), kind_of(&violation));
    let recording = load(&small);
    assert_eq!(failure(&recording, None), Some(kind_of(&violation)));
    let drawn = |part| matches!(part, Part::Fault | Part::Operation);
    for at in (0..recording.events.len()).filter(|at| drawn(GroupWorld::part(&recording.events[*at].1))) {
        assert_ne!(failure(&recording, Some(at)), Some(kind_of(&violation)), "{:?} is not needed", recording.events[at]);
    }
}

#[test]
fn what_is_no_recording_or_shows_nothing_is_a_clear_error() {
    let directory = tempfile::tempdir().expect("a directory");
    let (path, to) = (directory.path().join("run.events"), directory.path().join("small.events"));
    for bytes in [&b""[..], &[1, 2, 3], &[2, b'd', b't', b'm'], &[2, b'd', b't', b'm', 0, 0xff, 0xff], b"\x02nothing\0"] {
        std::fs::write(&path, bytes).expect("a file");
        assert!(recorded::replay(&path, &Look::default()).is_err(), "{bytes:?}");
        assert!(recorded::smaller(&path, &to, 10).is_err(), "{bytes:?}");
        assert!(recorded::drawn(&path).is_err(), "{bytes:?}");
    }
}

fn tool(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_cluster-tests")).args(arguments).output().expect("it runs")
}

#[test]
fn sim_leaves_a_file_that_replay_steps_through_shrink_makes_smaller_and_report_draws() {
    let directory = tempfile::tempdir().expect("a directory");
    let place = directory.path().display().to_string();
    let out = tool(&["sim", "--seed", "1", "--runs", "30", "--without", "ack_after_sync", "--record", &place, "--output", "json"]);
    assert_eq!(out.status.code(), Some(1), "{}", String::from_utf8_lossy(&out.stderr));
    let text = String::from_utf8(out.stdout).expect("text");
    let summary: serde_json::Value = serde_json::from_str(text.lines().last().expect("a last line")).expect("one JSON line");
    assert!(summary["trace_hash"].as_str().is_some_and(|hash| hash.len() == 16));
    let first = &summary["violations"][0];
    let file = first["recording"].as_str().expect("a recording");

    let out = tool(&["replay", file, "--step"]);
    assert_eq!(out.status.code(), Some(1));
    let text = String::from_utf8(out.stdout).expect("text");
    assert!(text.contains("#1 ") && text.contains(" -> ") && text.contains("promised"), "{text}");
    assert!(text.contains(first["trace_hash"].as_str().expect("a hash")) && text.contains(first["what"].as_str().expect("words")));
    let out = tool(&["replay", file, "--from", "3", "--to", "4"]);
    let text = String::from_utf8(out.stdout).expect("text");
    assert_eq!(text.lines().filter(|line| line.starts_with('#')).count(), 2, "{text}");

    let out = tool(&["shrink", file, "--output", "json", "--plays", "300"]);
    assert!(out.status.success(), "{}", String::from_utf8_lossy(&out.stderr));
    let small = Path::new(file).with_extension("small.events");
    let out = tool(&["replay", &small.display().to_string()]);
    assert_eq!(out.status.code(), Some(1));

    assert!(tool(&["report", &small.display().to_string()]).status.success());
    let page = std::fs::read_to_string(small.with_extension("html")).expect("a page");
    assert!(page.contains("id=\"sequence\"") && page.contains("class=\"arrow\""));
}
