//! Units that were lost with their device come back by themselves: on the device, where it came back blank, or on others, where it failed.

use std::time::Duration;

use anyhow::{Context, Result};
use cluster_tests::process::{Clients, Cluster, Kind, Worked, say};
use serde_json::Value;

/// How long units may take to be back.
const REBUILT: Duration = Duration::from_secs(120);
const ONLINE: Duration = Duration::from_secs(40);
/// After so long every process has said what is on its devices.
const SAID: Duration = Duration::from_secs(1);
const LENGTHS: &[usize] = &[70_000, 300_000, 1_000_000, 5_000_000];

fn repair(cluster: &Cluster) -> Result<Value> {
    cluster.ha(&["repair", "status"])
}

fn figure(repair: &Value, name: &str) -> u64 {
    repair[name].as_u64().unwrap_or(0)
}

fn wait_until_whole(cluster: &Cluster) -> Result<()> {
    let mut last = Value::Null;
    let whole = cluster.wait_for("every slot has its units", REBUILT, || {
        last = repair(cluster)?;
        Ok(last["state"] == "idle")
    });
    whole.with_context(|| format!("{last}"))
}

/// Units of erasure-coded groups that are on a device. Its process says so several times a second.
fn units(cluster: &Cluster, device: &str) -> Result<u64> {
    cluster.ha(&["device", "show", device])?["units"].as_u64().context("the device says how many units it has")
}

/// Every object reads while a node is away, whichever.
fn read_without(cluster: &Cluster, clients: &Clients, kept: &Worked, nodes: &[&str]) -> Result<()> {
    for node in nodes {
        cluster.kill(node)?;
        clients.verify(kept).with_context(|| format!("without {node}"))?;
        cluster.start(node)?;
        cluster.all_online(ONLINE)?;
    }
    Ok(())
}

#[test]
fn a_device_that_came_back_blank_gets_its_units_back_and_others_may_be_away_then() -> Result<()> {
    let cluster = Cluster::up(3, &[])?;
    let clients = Clients::connect(&cluster, Duration::from_secs(30))?;
    let kept = Worked { objects: clients.fill(Kind::Object, "kept", LENGTHS, 48)?, ..Worked::default() };
    std::thread::sleep(SAID);
    let before = [units(&cluster, "dev-3")?, units(&cluster, "dev-4")?];
    assert!(before.iter().all(|units| *units > 20), "{before:?}");
    cluster.kill("node-2")?;
    cluster.ok(&["dev", "wipe", "node-2"])?;
    cluster.ha(&["repair", "pause"])?;
    cluster.start("node-2")?;
    cluster.all_online(ONLINE)?;
    // Paused, nothing comes back: what that does shows, and shows where.
    let paused = repair(&cluster)?;
    assert!(paused["state"] == "paused" && figure(&paused, "slots") > 20 && figure(&paused, "slots_to_move") == 0, "{paused}");
    assert_eq!(cluster.ha(&["status"])?["health"], "degraded");
    let device = cluster.ha(&["device", "show", "dev-3"])?;
    assert!(device["state"] == "REBALANCING" && figure(&device, "slots_that_lack_units") > 0, "{device}");
    let still = repair(&cluster)?;
    assert_eq!(figure(&still, "slots"), figure(&paused, "slots"));
    cluster.ha(&["repair", "resume"])?;
    // What rebuilds is killed in the middle, and the leader of HA too.
    cluster.wait_for("units come back", REBUILT, || Ok(figure(&repair(&cluster)?, "slots") < figure(&paused, "slots")))?;
    cluster.ok(&["dev", "kill", "node-2", "--only", "node"])?;
    cluster.start("node-2")?;
    let leader = cluster.leader(ONLINE)?;
    cluster.ok(&["dev", "kill", &leader, "--only", "ha"])?;
    cluster.start(&leader)?;
    cluster.all_online(ONLINE)?;
    wait_until_whole(&cluster)?;
    assert_eq!(cluster.ha(&["device", "show", "dev-3"])?["state"], "ONLINE");
    let after = || Ok([units(&cluster, "dev-3")?, units(&cluster, "dev-4")?] == before);
    cluster.wait_for("as many units are there as before", ONLINE, after)?;
    assert_eq!(cluster.ha(&["status"])?["health"], "healthy");
    read_without(&cluster, &clients, &kept, &["node-1", "node-3"])
}

#[test]
fn units_of_a_failed_device_are_rebuilt_on_others_of_four_nodes_and_any_node_may_be_away_then() -> Result<()> {
    let cluster = Cluster::up(4, &[])?;
    let clients = Clients::connect(&cluster, Duration::from_secs(30))?;
    let kept = Worked { objects: clients.fill(Kind::Object, "kept", LENGTHS, 48)?, ..Worked::default() };
    std::thread::sleep(SAID);
    let (failed, known) = ("dev-1", cluster.last_event()?);
    let had = units(&cluster, failed)?;
    assert!(had > 20, "{had} units");
    let others: Vec<String> = (2..=8).map(|id| format!("dev-{id}")).collect();
    let count = || others.iter().map(|device| units(&cluster, device)).sum::<Result<u64>>();
    let before = count()?;
    cluster.ha(&["device", "fail", failed])?;
    // Who decides and one of those who rebuild are killed in the middle.
    cluster.wait_for("slots move", REBUILT, || Ok(figure(&repair(&cluster)?, "slots_to_move") == 0))?;
    let leader = cluster.leader(ONLINE)?;
    cluster.ok(&["dev", "kill", &leader, "--only", "ha"])?;
    cluster.ok(&["dev", "kill", "node-3", "--only", "node"])?;
    cluster.start(&leader)?;
    cluster.start("node-3")?;
    cluster.all_online(ONLINE)?;
    wait_until_whole(&cluster)?;
    // What the processes say of their devices may be a moment old.
    cluster.wait_for("as many units are there as before", ONLINE, || Ok(count()? == before + had))?;
    cluster.event(known, "slots move", ONLINE, |event| event.what.contains("slots of") && event.cause.contains(failed))?;
    let pools = cluster.ha(&["status"])?["pools"].clone();
    assert!(pools.as_array().context("pools")?.iter().all(|pool| pool["whole"] == pool["groups"]), "{pools}");
    say(format!("{had} units rebuilt on {} devices", others.len()));
    read_without(&cluster, &clients, &kept, &["node-1", "node-2", "node-3", "node-4"])
}
