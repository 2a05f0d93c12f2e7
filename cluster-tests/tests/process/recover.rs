//! A majority of HA's daemons is lost for good: an operator makes HA anew from what one has. Everything that was acknowledged is there, all daemons
//! vote again, and the former ones decide nothing if they come back after all.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use cluster_tests::process::{Clients, Cluster, Kind, Worked};
use serde_json::Value;

const ONLINE: Duration = Duration::from_secs(60);
const LENGTHS: &[usize] = &[0, 3_000, 300_000];

fn store(cluster: &Cluster, node: &str) -> PathBuf {
    cluster.dir.join(node).join("ha")
}

/// The command is refused with that code, and says why in one line.
fn is_refused(cluster: &Cluster, args: &[&str], code: i32, says: &str) -> Result<()> {
    let run = cluster.run_within("ha", args, 30)?;
    ensure!(run.code == code && run.err.trim().lines().count() == 1 && run.err.contains(says), "{args:?}: {} {}", run.code, run.err);
    Ok(())
}

fn copy(from: &Path, to: &Path) -> Result<()> {
    fs::create_dir_all(to)?;
    for entry in fs::read_dir(from)? {
        let (entry, to) = (entry?.path(), to);
        let at = to.join(entry.file_name().context("a name")?);
        if entry.is_dir() {
            copy(&entry, &at)?;
        } else {
            fs::copy(&entry, &at)?;
        }
    }
    Ok(())
}

/// Every daemon votes, and is of that generation.
fn all_vote(cluster: &Cluster, generation: u64) -> Result<bool> {
    let (log, nodes) = (cluster.ha(&["log"])?, cluster.ha(&["node", "list"])?);
    let of = |list: &Value, is: &dyn Fn(&Value) -> bool| list.as_array().is_some_and(|rows| rows.len() == 3 && rows.iter().all(is));
    let is_of = |row: &Value| row["generation"] == generation && row["voters"].as_array().is_some_and(|voters| voters.len() == 3);
    Ok(of(&log, &is_of) && of(&nodes, &|row| row["voter"] == true && row["daemon_reachable"] == true))
}

fn is_healthy(cluster: &Cluster) -> Result<bool> {
    Ok(cluster.ha(&["status"])?["health"] == "healthy")
}

#[test]
fn ha_is_made_anew_from_one_daemon_and_the_lost_ones_decide_nothing_when_they_come_back() -> Result<()> {
    let cluster = Cluster::up(3, &[])?;
    let clients = Clients::connect(&cluster, Duration::from_secs(60))?;
    let objects = clients.fill(Kind::Object, "kept", LENGTHS, 12)?;
    let kept = Worked { objects, keys: clients.fill(Kind::Key, "kept", &[1, 20_000], 12)?, ..Worked::default() };
    is_refused(&cluster, &["recover", "--dry-run"], 4, "nothing to recover")?;
    is_refused(&cluster, &["recover", "--from", "node-1"], 4, "nothing to recover")?;

    // The leader and another one lose what they had; nothing more is agreed on.
    let leader = cluster.leader(ONLINE)?;
    let (left, lost) = match leader.as_str() {
        "node-1" => ("node-3", ["node-1", "node-2"]),
        "node-2" => ("node-1", ["node-2", "node-3"]),
        _ => ("node-1", ["node-3", "node-2"]),
    };
    cluster.ok(&["dev", "kill", lost[0], lost[1], "--only", "ha"])?;
    cluster.wait_for("HA is known to be lost", ONLINE, || Ok(cluster.run_within("ha", &["recover", "--dry-run"], 30)?.code == 0))?;
    // Nobody can tell by their silence that they are lost for good.
    is_refused(&cluster, &["recover", "--from", left], 4, &format!("say --lost {}", lost.iter().min().context("two")?))?;
    is_refused(&cluster, &["recover", "--from", left, "--lost", lost[0]], 4, &format!("say --lost {}", lost[1]))?;
    is_refused(&cluster, &["recover", "--from", left, "--lost", left], 4, "is not lost")?;
    let former = cluster.dir.join("former");
    for node in &lost {
        copy(&store(&cluster, node), &former.join(node))?;
        fs::remove_dir_all(store(&cluster, node))?;
        cluster.ok(&["dev", "start", node, "--only", "ha"])?;
    }
    is_refused(&cluster, &["recover", "--from", lost[0]], 4, "has more of HA's log")?;
    let told = cluster.run_within("ha", &["recover", "--dry-run"], 30)?.success()?;
    ensure!(told.contains(&format!("ha recover --from {left}")) && told.contains("Lost would be"), "{told}");
    let done = cluster.ha(&["recover", "--from", left])?;
    ensure!(done["generation"] == 1 && done["from"] == left, "{done}");
    cluster.wait_for("all vote again", ONLINE, || all_vote(&cluster, 1))?;
    cluster.all_online(ONLINE)?;
    cluster.wait_for("all is healthy", ONLINE, || is_healthy(&cluster))?;
    clients.verify(&kept)?;
    clients.fill(Kind::Object, "after", LENGTHS, 3).context("writes afterwards")?;

    // The lost ones come back with all that they had: a majority of before, where the new HA can be reached.
    cluster.ok(&["dev", "kill", lost[0], lost[1], "--only", "ha"])?;
    for node in &lost {
        fs::remove_dir_all(store(&cluster, node))?;
        copy(&former.join(node), &store(&cluster, node))?;
    }
    cluster.ok(&["dev", "start", lost[0], lost[1], "--only", "ha"])?;
    for node in &lost {
        let aside = store(&cluster, node).join("before-1").join("identity");
        cluster.wait_for("what it had is put aside", ONLINE, || Ok(aside.exists()))?;
    }
    // With that what they had of the new HA is lost, too: it is made anew once more.
    cluster.wait_for("HA is lost again", ONLINE, || Ok(cluster.run_within("ha", &["recover", "--dry-run"], 30)?.code == 0))?;
    ensure!(cluster.ha(&["recover", "--from", left])?["generation"] == 2, "the next one");
    cluster.wait_for("all vote again", ONLINE, || all_vote(&cluster, 2))?;
    cluster.wait_for("all is healthy", ONLINE, || is_healthy(&cluster))?;
    clients.verify(&kept)
}
