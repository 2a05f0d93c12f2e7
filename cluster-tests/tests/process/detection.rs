//! How soon HA sees what happened to a process, by its own history: the wall clock of the leader that proposed the event against the same
//! clock of this machine just before the signal.

use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use cluster_tests::process::{Clients, Cluster, Event, Kind, Moment, Signal, say, send, within};

/// A process that is killed.
const KILLED_SEEN: Duration = Duration::from_millis(100);
/// A process that is frozen.
const FROZEN_SEEN: Duration = Duration::from_millis(1500);
/// A process that is started again, above the time that it takes to redo what it missed.
const ONLINE_AGAIN: Duration = Duration::from_secs(5);
/// How long these tests wait for what has to come sooner.
const PATIENCE: Duration = Duration::from_secs(20);

/// How long after a moment HA proposed an event.
fn after(moment: Moment, event: &Event) -> Duration {
    Duration::from_millis(event.wall_ms.saturating_sub(moment.wall_ms))
}

/// Sends a signal to a storage process; when HA had it TRANSIENT.
fn seen(cluster: &Cluster, node: &str, signal: Signal) -> Result<Duration> {
    let known = cluster.last_event()?;
    let pid = cluster.pids_of(node)?.node.context("it runs")?;
    let moment = send(&[pid], signal)?;
    let event = cluster.event_of_state(known, node, "TRANSIENT", PATIENCE)?;
    // Started, or let go on.
    cluster.start(node)?;
    cluster.all_online(PATIENCE)?;
    Ok(after(moment, &event))
}

#[test]
fn a_killed_process_is_seen_within_100_ms_and_a_frozen_one_within_1500() -> Result<()> {
    let cluster = Cluster::up(3, &[])?;
    for node in cluster.nodes()? {
        within(&format!("{node} killed: seen by HA"), KILLED_SEEN, || seen(&cluster, &node, Signal::KILL))?;
        within(&format!("{node} frozen: seen by HA"), FROZEN_SEEN, || seen(&cluster, &node, Signal::STOP))?;
    }
    Ok(())
}

#[test]
fn a_cluster_writes_while_a_process_is_frozen_and_takes_it_back() -> Result<()> {
    let cluster = Cluster::up(3, &[])?;
    let clients = Clients::connect(&cluster, Duration::from_secs(15))?;
    let pid = cluster.pids_of("node-1")?.node.context("it runs")?;
    send(&[pid], Signal::STOP)?;
    let ledger = clients.fill(Kind::Object, "while-frozen", &[100, 70_000, 1_500_000], 9)?;
    send(&[pid], Signal::CONT)?;
    cluster.all_online(PATIENCE)?;
    assert_eq!(cluster.pids_of("node-1")?.node, Some(pid), "it is the same process");
    clients.verify(&cluster_tests::process::Worked { objects: ledger, ..Default::default() })
}

/// Starts a node that is away; how long until HA said ONLINE, and how much of that it redid what it had missed.
fn back(cluster: &Cluster, node: &str) -> Result<(Duration, Duration)> {
    let known = cluster.last_event()?;
    let began = Moment::now();
    cluster.start(node)?;
    let recovering = cluster.event_of_state(known, node, "RECOVERING", PATIENCE)?;
    let online = cluster.event_of_state(recovering.index, node, "ONLINE", Duration::from_secs(60))?;
    Ok((after(began, &online), Duration::from_millis(online.wall_ms - recovering.wall_ms)))
}

#[test]
fn a_node_that_missed_ten_thousand_records_is_online_within_five_seconds_and_the_redo() -> Result<()> {
    let cluster = Cluster::up(3, &[])?;
    cluster.ok(&["idx", "create", "missed"])?;
    cluster.kill("node-2")?;
    let (start, _) = back(&cluster, "node-2")?;
    say(format!("nothing missed: ONLINE after {} ms", start.as_millis()));
    cluster.kill("node-2")?;
    let began = Instant::now();
    cluster.redoubt_within(&["bench", "kv", "--index", "missed", "--operations", "10000", "--clients", "32"], 180)?.success()?;
    say(format!("10,000 puts and as many gets took {} ms", began.elapsed().as_millis()));
    let mut redo = Duration::ZERO;
    within("10,000 records missed: ONLINE, without the redo", ONLINE_AGAIN, || {
        if cluster.node_state("node-2")? == "ONLINE" {
            cluster.kill("node-2")?;
        }
        let (all, redone) = back(&cluster, "node-2")?;
        say(format!("ONLINE after {} ms, of which {} ms RECOVERING", all.as_millis(), redone.as_millis()));
        redo = redo.max(redone);
        Ok(all.saturating_sub(redone))
    })?;
    assert!(redo < Duration::from_secs(15), "10,000 records are redone in {redo:?}");
    // What it redid is there: it serves it alone with one other node.
    cluster.kill("node-1")?;
    let scanned = cluster.ok(&["idx", "scan", "missed", "--limit", "20000", "--keys-only"])?;
    assert!(scanned.lines().count() >= 10_000, "{} keys", scanned.lines().count());
    Ok(())
}
