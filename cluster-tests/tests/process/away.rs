//! A node that stays away for too long is given up and what was on it is rebuilt; one in maintenance is waited for.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use cluster_tests::process::{Clients, Cluster, Kind, Worked, say};
use serde_json::Value;

/// For how long a node is waited for here.
const NODE_AWAY: &str = "5s";
const ONLINE: Duration = Duration::from_secs(40);
/// How long units may take to be back.
const REBUILT: Duration = Duration::from_secs(120);

fn device(cluster: &Cluster, id: &str) -> Result<Value> {
    cluster.ha(&["device", "show", id])
}

fn primaries(cluster: &Cluster, node: &str) -> Result<u64> {
    cluster.ha(&["node", "show", node])?["primaries"].as_u64().context("a count")
}

/// The command is refused with that code, in one line.
fn is_refused(cluster: &Cluster, args: &[&str], code: i32, says: &str) -> Result<()> {
    let run = cluster.run_within("ha", args, 20)?;
    ensure!(run.code == code && run.err.trim().lines().count() == 1 && run.err.contains(says), "{args:?}: {} {}", run.code, run.err);
    Ok(())
}

#[test]
fn a_node_that_is_away_for_too_long_is_given_up_and_one_in_maintenance_is_not() -> Result<()> {
    let cluster = Cluster::up(4, &[])?;
    let clients = Clients::connect(&cluster, Duration::from_secs(30))?;
    let kept = Worked { objects: clients.fill(Kind::Object, "kept", &[500, 300_000, 1_000_000], 12)?, ..Worked::default() };

    // Who is asked first: nodes are waited for, and a dry run changes nothing.
    let policy = cluster.ha(&["policy", "set", "--node-away", NODE_AWAY, "--dry-run"])?;
    ensure!(policy["node_away_ms"] == 5000 && cluster.ha(&["policy", "show"])?["node_away_ms"] == 0, "{policy}");
    ensure!(cluster.ha(&["policy", "set", "--node-away", NODE_AWAY])?["node_away_ms"] == 5000, "set");

    // In maintenance a node has no primaries, is waited for, and no other may be stopped.
    ensure!(primaries(&cluster, "node-3")? > 0, "it has some");
    ensure!(cluster.ha(&["node", "maintenance", "start", "node-3", "--dry-run"])?["dry_run"] == true, "a dry run");
    ensure!(primaries(&cluster, "node-3")? > 0, "it has them still");
    ensure!(cluster.ha(&["node", "maintenance", "start", "node-3"])?["primaries"] == 0, "they have left");
    is_refused(&cluster, &["node", "maintenance", "start", "node-9"], 3, "node-9")?;
    cluster.ok(&["dev", "kill", "node-3", "--only", "node"])?;
    cluster.wait_state("node-3", "TRANSIENT", ONLINE)?;
    let check = cluster.run_within("ha", &["check", "stop", "node-2"], 20)?;
    ensure!(check.code == 4, "with one on its way: {}", check.err);
    is_refused(&cluster, &["node", "maintenance", "start", "node-2"], 4, "is needed")?;
    let began = Instant::now();
    while began.elapsed() < Duration::from_secs(8) {
        let held = device(&cluster, "dev-5")?;
        ensure!(held["state"] == "TRANSIENT" && held["away"]["fails_in_ms"].is_null(), "{held}");
        ensure!(held["away"]["waits"] == "its node is in maintenance", "{held}");
        std::thread::sleep(Duration::from_millis(500));
    }
    let page = cluster.run_within("ha", &["status"], 20)?.success()?;
    ensure!(page.contains("(maintenance)") && page.contains("its node is in maintenance"), "{page}");
    cluster.start("node-3")?;
    cluster.all_online(ONLINE)?;
    ensure!(primaries(&cluster, "node-3")? == 0, "not before it is over");
    cluster.ha(&["node", "maintenance", "end", "node-3"])?;
    cluster.wait_for("its primaries are back", ONLINE, || Ok(primaries(&cluster, "node-3")? > 0))?;

    // Without, the time left is shown, and then its devices are FAILED and rebuilt.
    cluster.kill("node-4")?;
    let killed = Instant::now();
    cluster.wait_state("node-4", "TRANSIENT", ONLINE)?;
    let away = device(&cluster, "dev-7")?;
    ensure!(away["state"] == "TRANSIENT" && away["away"]["fails_in_ms"].as_u64().is_some_and(|ms| ms <= 5000), "{away}");
    ensure!(cluster.run_within("ha", &["status"], 20)?.success()?.contains("FAILED IN"), "the page says so");
    for id in ["dev-7", "dev-8"] {
        cluster.wait_for("it is given up", ONLINE, || Ok(device(&cluster, id)?["state"] == "FAILED"))?;
        let reason = device(&cluster, id)?["reason"].to_string();
        ensure!(reason.contains("away for"), "{reason}");
    }
    let given_up = killed.elapsed();
    ensure!(given_up >= Duration::from_secs(5), "{given_up:?}");
    cluster.wait_for("everything is rebuilt", REBUILT, || {
        let pools = cluster.ha(&["pool", "list"])?;
        let whole = |pool: &Value| pool["groups"] == pool["whole"];
        Ok(cluster.ha(&["repair", "status"])?["state"] == "idle" && pools.as_array().is_some_and(|all| all.iter().all(whole)))
    })?;
    say(format!("given up {:.1} s after the kill, whole after {:.1} s", given_up.as_secs_f64(), killed.elapsed().as_secs_f64()));
    clients.verify(&kept)?;

    // It comes back: its devices are not used, for what is on them is old.
    cluster.start("node-4")?;
    cluster.all_online(ONLINE)?;
    ensure!(device(&cluster, "dev-7")?["state"] == "FAILED", "for good");
    clients.verify(&kept)
}
