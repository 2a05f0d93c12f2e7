//! Damage to what nobody reads is found and repaired by a scrub, which an operator may ask for at any time, and which goes on where it was
//! after a restart.

use std::fs::{self, File};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result};
use cluster_tests::process::{Clients, Cluster, Kind, Worked, say};
use serde_json::Value;

/// First bytes of a unit's header (`docs/formats/device.md`), and how long that is.
const MAGIC: &[u8] = b"RDBTUNIT";
const BLOCK: usize = 4096;
/// How much of a data file is looked through: units lie at its begin.
const LOOKED_AT: usize = 32 << 20;
const SCRUBBED: Duration = Duration::from_secs(60);

fn device(cluster: &Cluster, name: &str) -> Result<Value> {
    cluster.ha(&["device", "show", name])
}

fn scrub(cluster: &Cluster, name: &str) -> Result<Value> {
    Ok(device(cluster, name)?["scrub"].clone())
}

/// Where units begin in a data file.
fn units(path: &Path) -> Result<Vec<u64>> {
    let mut bytes = vec![0; LOOKED_AT];
    File::open(path)?.read_exact_at(&mut bytes, 0)?;
    Ok((0..LOOKED_AT).step_by(BLOCK).filter(|at| bytes[*at..].starts_with(MAGIC)).map(|at| at as u64).collect())
}

fn flip(path: &Path, at: u64) -> Result<()> {
    let file = File::options().read(true).write(true).open(path)?;
    let mut byte = [0];
    file.read_exact_at(&mut byte, at)?;
    file.write_all_at(&[!byte[0]], at)?;
    Ok(file.sync_all()?)
}

fn blocks(cluster: &Cluster, node: &str, device: &str) -> PathBuf {
    cluster.dir.join(node).join(device).join("blocks")
}

fn begun(scrub: &Value) -> u64 {
    scrub["begun_ha_time_ms"].as_u64().unwrap_or(0)
}

/// Waits for the end of the pass that was asked for after `before`.
fn wait_for_pass(cluster: &Cluster, name: &str, before: &Value) -> Result<Value> {
    let mut last = Value::Null;
    cluster.wait_for("the scrub has read everything", SCRUBBED, || {
        last = scrub(cluster, name)?;
        Ok(begun(&last) > begun(before) && last["running"] == false)
    })?;
    Ok(last)
}

#[test]
fn bytes_flipped_in_data_that_nobody_reads_are_found_and_repaired_by_a_scrub() -> Result<()> {
    // Slow enough that a restart meets a pass under way.
    let cluster = Cluster::up_with(3, &[], &[("REDOUBT_SCRUB_BYTES_PER_S", "2000000")])?;
    let clients = Clients::connect(&cluster, Duration::from_secs(15))?;
    let kept = clients.fill(Kind::Object, "kept", &[100_000, 300_000, 3_000_000], 60)?;
    let file = blocks(&cluster, "node-1", "dev-1");
    let found = units(&file)?;
    assert!(found.len() > 20, "{} units on dev-1", found.len());
    let bad: Vec<u64> = found.iter().copied().step_by(found.len() / 8).take(8).collect();
    for (number, at) in bad.iter().enumerate() {
        // Of a header, and of data.
        flip(&file, at + if number % 2 == 0 { 20 } else { BLOCK as u64 + 77 })?;
    }
    let (known, before) = (cluster.last_event()?, scrub(&cluster, "dev-1")?);
    cluster.ha(&["device", "scrub", "dev-1"])?;
    cluster.wait_for("the pass is under way", SCRUBBED, || {
        let scrub = scrub(&cluster, "dev-1")?;
        Ok(begun(&scrub) > begun(&before) && scrub["units"].as_u64() > Some(40))
    })?;
    cluster.ok(&["dev", "kill", "node-1", "--only", "node"])?;
    cluster.start("node-1")?;
    cluster.all_online(Duration::from_secs(30))?;
    let done = wait_for_pass(&cluster, "dev-1", &before)?;
    say(format!("{done}"));
    assert_eq!(done["repaired"], done["damaged"], "{done}");
    assert!(done["rows"].as_u64() > Some(100) && done["rows_damaged"] == 0, "{done}");
    let errors = device(&cluster, "dev-1")?["errors"].as_u64().context("a count")?;
    assert!(errors >= 8, "{errors} errors are counted");
    cluster.event(known, "the scrub in the history", Duration::from_secs(5), |event| {
        event.subject == "dev-1" && event.what.contains("scrubbed")
    })?;
    let log = fs::read_to_string(cluster.dir.join("node-1/redoubt-node.log"))?;
    assert!(log.matches("a damaged unit is written anew").count() >= 7, "the last words of a killed process may be lost");
    assert!(log.contains("the scrub begins") && log.contains("resumed=true"), "the pass went on where it was");
    // Once more: nothing is damaged now, and everything reads.
    cluster.ha(&["device", "scrub", "--all"])?;
    for name in ["dev-1", "dev-4"] {
        let again = wait_for_pass(&cluster, name, if name == "dev-1" { &done } else { &Value::Null })?;
        assert!(again["damaged"] == 0 && again["units"].as_u64() > Some(20), "{name}: {again}");
    }
    clients.verify(&Worked { objects: kept, ..Worked::default() })
}
