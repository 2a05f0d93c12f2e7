//! Scenarios of real processes with real faults, as an engineer runs them: `cluster-tests run FILE`. Run one at a time (`--test-threads 1`).
//!
//! Faults of the network need root; without it these tests say so and pass, or fail where `REDOUBT_SCENARIOS=must`. The page of each run is kept
//! below the target directory.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};
use serde_json::Value;

/// What `cluster-tests run` ends with where the machine does not permit a network of its own.
const NOT_PERMITTED: i32 = 3;
/// `must`: a scenario that the machine does not permit is a failure.
const ENFORCED: &str = "REDOUBT_SCENARIOS";
/// Per cent of pressure above which a bound on time that was missed proves nothing, once.
const PRESSURE_MAX: f64 = 50.0;

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("scenarios")
}

/// Runs a scenario once; `None` where this machine does not permit it.
fn run_once(name: &str, seed: u64) -> Result<Option<Value>> {
    let pages = Path::new(env!("CARGO_TARGET_TMPDIR")).join("scenarios");
    std::fs::create_dir_all(&pages)?;
    let page = pages.join(format!("{name}.html"));
    let out = Command::new(env!("CARGO_BIN_EXE_cluster-tests"))
        .args(["run", "--output", "json", "--seed", &seed.to_string()])
        .arg("--report")
        .arg(&page)
        .arg(folder().join(format!("{name}.yaml")))
        .output()?;
    let (text, words) = (String::from_utf8_lossy(&out.stdout), String::from_utf8_lossy(&out.stderr));
    if out.status.code() == Some(NOT_PERMITTED) {
        if std::env::var(ENFORCED).is_ok_and(|value| value == "must") {
            bail!("{name} cannot be run here, and {ENFORCED} says that it must: {}", words.trim());
        }
        eprintln!("SKIPPED: {name}: {}", words.trim());
        return Ok(None);
    }
    let line = text.lines().last().with_context(|| format!("{name}, seed {seed}: no result: {words}"))?;
    let outcome: Value = serde_json::from_str(line).with_context(|| format!("{name}, seed {seed}: {words}"))?;
    assert_eq!(out.status.success(), outcome["passed"] == true, "the exit code says what the result says: {outcome}");
    assert!(std::fs::read_to_string(&page)?.contains("id=\"chart-throughput\""), "a page about the run");
    Ok(Some(outcome))
}

/// A bound on time that was missed while the machine was overloaded.
fn is_unproven(outcome: &Value) -> bool {
    let violations = outcome["violations"].as_array().map(Vec::as_slice).unwrap_or_default();
    let of_time = violations.iter().all(|violation| violation.as_str().is_some_and(|text| text.starts_with("progress")));
    of_time && outcome["cpu_pressure"].as_f64().is_some_and(|pressure| pressure > PRESSURE_MAX)
}

fn scenario(name: &str) -> Result<()> {
    let seed = std::env::var("REDOUBT_SEED").ok().and_then(|text| text.parse().ok()).unwrap_or_else(rand::random);
    let Some(mut outcome) = run_once(name, seed)? else { return Ok(()) };
    if outcome["passed"] != true && is_unproven(&outcome) {
        eprintln!("{name}: the machine is overloaded, once more: {}", outcome["violations"]);
        outcome = run_once(name, seed)?.context("it was permitted before")?;
    }
    if outcome["passed"] != true {
        bail!("{name}, seed {seed}: {}", outcome["violations"]);
    }
    let done = outcome["operations"]["put"]["done"].as_u64().unwrap_or(0);
    assert!(done > 100, "a load that does something: {}", outcome["operations"]);
    assert!(outcome["faults"].as_object().is_some_and(|faults| !faults.is_empty()), "faults were done: {outcome}");
    Ok(())
}

macro_rules! scenarios {
    ($($test:ident $name:literal),+ $(,)?) => {
        $(#[test]
        fn $test() -> Result<()> {
            scenario($name)
        })+

        #[test]
        fn every_scenario_of_the_folder_is_run_here_or_in_the_soak() -> Result<()> {
            let mut known: BTreeSet<String> = [$($name),+].into_iter().map(String::from).collect();
            assert!(known.len() >= 12);
            known.extend(ONLY_IN_THE_SOAK.iter().map(|name| (*name).to_string()));
            let files = std::fs::read_dir(folder())?.map(|entry| Ok(entry?.path())).collect::<Result<Vec<_>>>()?;
            let there = files.iter().filter_map(|path| path.file_stem()).map(|name| name.to_string_lossy().into_owned()).collect();
            assert_eq!(known, there);
            for path in files {
                let read = cluster_tests::harness::read::load(&path)?;
                assert_eq!(Some(read.name.value.as_str()), path.file_stem().and_then(|name| name.to_str()), "named as its file");
            }
            Ok(())
        }
    };
}

/// Those that draw too much for CI, and those for which it has no time.
const ONLY_IN_THE_SOAK: &[&str] = &["anything", "copy-points", "fault-points", "little-memory", "lying-syncs", "no-space", "slow-disk"];

scenarios! {
    five_nodes_in_three_and_two "partition-of-five",
    puts_after_deletes "put-after-del",
    deletes_after_puts "del-after-put",
    a_storm_of_restarts "restart-storm",
    power_lost_everywhere "power-loss",
    packets_lost_one_way "one-way-loss",
    a_flapping_link "flapping",
    a_slow_peer "slow-peer",
    a_bad_network "bad-network",
    the_leader_cut_off "leader-cut-off",
    rotten_bits "bit-rot",
    full_devices "full-devices",
    a_wiped_device "wiped-device",
    failing_syncs "failing-syncs",
    torn_writes "torn-writes",
    wrong_clocks "wrong-clocks",
    crashes_at_each_step_of_a_put_a_rebuild_and_a_delete "crash-points",
}
