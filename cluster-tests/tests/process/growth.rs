//! A node joins a cluster that serves: it gets its share of members and slots while clients go on, and then any node may be away. Another one
//! leaves.

use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use cluster_tests::process::{Clients, Cluster, Crew, Kind, Load, Worked, say};
use serde_json::Value;

const ONLINE: Duration = Duration::from_secs(60);
/// How long the new node's share may take.
const BALANCED: Duration = Duration::from_secs(240);
const LENGTHS: &[usize] = &[70_000, 300_000, 1_000_000];

fn crews() -> [Crew; 2] {
    let crew = |kind, workers, lengths| Crew { kind, workers, mix: [4, 3, 3], lengths, pause: Duration::from_millis(10), fixed: None };
    [crew(Kind::Object, 2, &[0, 3_000, 70_000, 300_000][..]), crew(Kind::Key, 2, &[1, 100, 20_000][..])]
}

fn rebalance(cluster: &Cluster) -> Result<Value> {
    cluster.ha(&["rebalance", "status"])
}

/// Members and slots on each device.
fn places(cluster: &Cluster) -> Result<Vec<(String, u64)>> {
    let devices = cluster.ha(&["device", "list"])?;
    let of = |device: &Value| {
        let id = device["id"].as_str().context("a device has an id")?.to_owned();
        let shown = cluster.ha(&["device", "show", &id])?;
        Ok((id, shown["groups"].as_u64().context("groups")? + shown["slots"].as_u64().context("slots")?))
    };
    devices.as_array().context("devices")?.iter().map(of).collect()
}

#[test]
fn a_node_that_joins_gets_its_share_under_load_and_another_leaves_and_any_node_may_be_away_then() -> Result<()> {
    let cluster = Cluster::up(3, &[])?;
    let clients = Clients::connect(&cluster, Duration::from_secs(30))?;
    let kept = Worked { objects: clients.fill(Kind::Object, "kept", LENGTHS, 40)?, ..Worked::default() };
    let load = Load::begin(&clients, 7, &crews());
    cluster.ok(&["dev", "add"])?;
    let began = Instant::now();
    // Whoever decides is killed in the middle: another one goes on.
    cluster.wait_for("places move", ONLINE, || Ok(rebalance(&cluster)?["to_move"].as_u64().is_some_and(|left| left > 0)))?;
    let leader = cluster.leader(ONLINE)?;
    cluster.ok(&["dev", "kill", &leader, "--only", "ha"])?;
    cluster.start(&leader)?;
    let mut last = Value::Null;
    let balanced = cluster.wait_for("every device has its share", BALANCED, || {
        last = rebalance(&cluster)?;
        Ok(last["state"] == "idle")
    });
    balanced.with_context(|| format!("{last}"))?;
    say(format!("balanced {} ms after the node was ONLINE", began.elapsed().as_millis()));
    let worked = load.end(&clients)?;
    if let Some(error) = worked.errors.first() {
        anyhow::bail!("{} steps failed while a node joined, such as: {error}", worked.errors.len());
    }
    let places = places(&cluster)?;
    let (least, most) = (places.iter().map(|(_, n)| *n).min().unwrap_or(0), places.iter().map(|(_, n)| *n).max().unwrap_or(0));
    assert!(places.len() == 8 && least * 10 >= most * 7, "{places:?}");
    clients.verify(&kept)?;
    clients.verify(&worked)?;
    read_and_write_without(&cluster, &clients, &kept, "node-4")?;
    the_first_node_leaves(&cluster)?;
    clients.verify(&kept)?;
    clients.verify(&worked)?;
    for node in ["node-4", "node-2"] {
        read_and_write_without(&cluster, &clients, &kept, node)?;
    }
    Ok(())
}

fn read_and_write_without(cluster: &Cluster, clients: &Clients, kept: &Worked, node: &str) -> Result<()> {
    cluster.kill(node)?;
    clients.verify(kept).with_context(|| format!("without {node}"))?;
    clients.fill(Kind::Object, &format!("without-{node}"), LENGTHS, 6).with_context(|| format!("writes without {node}"))?;
    cluster.start(node)?;
    cluster.all_online(ONLINE)
}

/// Who made the cluster, votes and may lead: of the four that there are any one may go, and then none.
fn the_first_node_leaves(cluster: &Cluster) -> Result<()> {
    let began = Instant::now();
    cluster.ha(&["node", "remove", "node-1", "--dry-run"])?;
    cluster.redoubt_within(&["dev", "remove", "node-1", "--wait", "240"], 250)?.success()?;
    say(format!("node-1 was emptied and removed in {} ms", began.elapsed().as_millis()));
    let nodes = cluster.ha(&["node", "list"])?;
    let rows = nodes.as_array().context("nodes")?;
    let of = |key: &str| rows.iter().map(|row| row[key].clone()).collect::<Vec<_>>();
    assert_eq!(of("name"), ["node-2", "node-3", "node-4"]);
    let all_vote = || Ok(cluster.ha(&["node", "list"])?.as_array().is_some_and(|rows| rows.iter().all(|row| row["voter"] == true)));
    cluster.wait_for("node-4 votes in the place of node-1", ONLINE, all_vote)?;
    cluster.wait_for("places are spread anew", BALANCED, || Ok(rebalance(cluster)?["state"] == "idle"))?;
    let former = cluster.dir.join("node-1/ha.toml");
    let refused = cluster.ha(&["node", "add", super::utf8(&former), "--dry-run"]).expect_err("its number is not given again");
    assert!(refused.to_string().contains("does not declare") || refused.to_string().contains("numbers of nodes"), "{refused}");
    let refused = cluster.ha(&["node", "remove", "node-2"]).expect_err("three nodes are the least");
    assert!(refused.to_string().contains("cannot do without node-2"), "{refused}");
    Ok(())
}
