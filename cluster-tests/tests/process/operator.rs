//! What an operator is shown: at once after a loss, the same whoever leads, and how full everything is.

use std::time::Duration;

use anyhow::{Context, Result};
use cluster_tests::process::{Cluster, Pattern};
use serde_json::Value;

use crate::utf8;

/// Since when each node is in its state.
fn since(status: &Value) -> Result<Vec<(String, u64)>> {
    let nodes = status["nodes"].as_array().context("nodes")?;
    nodes
        .iter()
        .map(|node| Ok((node["name"].as_str().context("a name")?.into(), node["since_unix_ms"].as_u64().context("a time")?)))
        .collect()
}

#[test]
fn status_and_events_have_a_leader_at_once_and_times_stay_when_it_is_lost() -> Result<()> {
    let cluster = Cluster::up(3, &[])?;
    for _ in 0..2 {
        cluster.all_online(Duration::from_secs(20))?;
        let leader = cluster.leader(Duration::from_secs(10))?;
        let before = since(&cluster.ha(&["status"])?)?;
        let known = cluster.last_event()?;
        cluster.kill(&leader)?;
        let events = cluster.events_after(known)?;
        let status = cluster.ha(&["status"])?;
        assert!(status["confirmed"] == true && status["leader"] != Value::Null && status["leader"] != leader.as_str(), "{status}");
        let lost = cluster.event_of_state(known, &leader, "TRANSIENT", Duration::from_secs(3))?;
        assert!(events.is_empty() || events.iter().any(|event| event.index == lost.index), "{events:?}");
        for (was, is) in before.iter().zip(since(&cluster.ha(&["status"])?)?).filter(|(was, _)| was.0 != leader) {
            assert_eq!(*was, is, "nothing happened to it");
        }
        cluster.start(&leader)?;
    }
    // People are told local time, with its offset.
    let text = cluster.run_within("ha", &["events"], 20)?.success()?;
    let first = text.lines().nth(1).context("an event")?;
    assert!(first.starts_with("20") && first.as_bytes()[10] == b'T' && first[23..24].contains(['+', '-']), "{first}");
    Ok(())
}

#[test]
fn used_and_free_space_is_shown_of_devices_and_pools() -> Result<()> {
    let cluster = Cluster::up(3, &["--device-bytes", "64MiB"])?;
    let source = cluster.dir.join("source");
    Pattern(5).write(&source, 8 << 20)?;
    cluster.ok(&["obj", "put", utf8(&source), "large"])?;
    let sum = |list: &Value, key: &str| -> u64 { list.as_array().into_iter().flatten().filter_map(|d| d[key].as_u64()).sum() };
    // 4+2: half as much again.
    let stored = 12 << 20;
    cluster.wait_for("the devices' use is known", Duration::from_secs(5), || {
        Ok(sum(&cluster.ha(&["device", "list"])?, "used_bytes") >= stored)
    })?;
    let devices = cluster.ha(&["device", "list"])?;
    let (used, free) = (sum(&devices, "used_bytes"), sum(&devices, "free_bytes"));
    assert!(used < stored + (1 << 20), "{devices}");
    let pools = cluster.ha(&["pool", "list"])?;
    let data = pools.as_array().and_then(|all| all.iter().find(|pool| pool["name"] == "data")).context("the pool")?;
    let shown = cluster.json(&["pool", "show", "data"])?;
    for pool in [data, &shown] {
        assert_eq!(
            (pool["used_bytes"].as_u64(), pool["free_bytes"].as_u64(), pool["bytes"].as_u64()),
            (Some(used), Some(free), Some(used + free))
        );
    }
    for command in [&["device", "list"][..], &["pool", "list"], &["pool", "show", "data"], &["status"]] {
        let text = cluster.run_within("ha", command, 20)?.success()?;
        assert!(text.contains("USED") && text.contains("FREE") && text.contains("SIZE"), "{command:?}: {text}");
    }
    // What is away is not guessed.
    cluster.kill("node-3")?;
    cluster.wait_state("node-3", "TRANSIENT", Duration::from_secs(5))?;
    let pools = cluster.json(&["pool", "show", "data"])?;
    assert_eq!(pools["devices_of_unknown_use"], 2, "{pools}");
    let status = cluster.redoubt(&["dev", "status"])?;
    assert_eq!((status.code, status.err.as_str()), (0, ""), "nothing to complain of");
    Ok(())
}
