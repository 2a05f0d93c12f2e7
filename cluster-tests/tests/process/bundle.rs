//! What somebody needs who is asked for help: all of it in one archive, and no secret.

use std::fs;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use cluster_tests::process::{Cluster, last_value};
use serde_json::Value;

use crate::utf8;

/// Makes a bundle and unpacks it; gives what the command said.
fn bundle(cluster: &Cluster, name: &str) -> Result<Value> {
    let file = cluster.dir.join(format!("{name}.tar"));
    let said = cluster.run_within("ha", &["bundle", utf8(&file), "--timeout", "2", "--output", "json"], 60)?.success()?;
    let to = cluster.dir.join(name);
    fs::create_dir(&to)?;
    let unpacked = Command::new("tar").arg("-xf").arg(&file).arg("-C").arg(&to).output().context("tar")?;
    ensure!(unpacked.status.success() && unpacked.stderr.is_empty(), "{unpacked:?}");
    last_value(&said)
}

fn text(cluster: &Cluster, name: &str, part: &str) -> Result<String> {
    let path = cluster.dir.join(name).join("bundle").join(part);
    fs::read_to_string(&path).with_context(|| path.display().to_string())
}

#[test]
fn a_bundle_has_all_that_a_stranger_needs_and_no_secret_and_comes_without_ha_too() -> Result<()> {
    let cluster = Cluster::up(3, &[])?;
    let secret = cluster.json(&["dev", "up"])?["s3"]["secret_key"].as_str().context("the key of S3")?.to_string();
    ensure!(fs::read_to_string(cluster.dir.join("node-1/node.toml"))?.contains(&secret), "it is where it could be taken from");
    cluster.kill("node-2")?;
    cluster.wait_state("node-2", "TRANSIENT", Duration::from_secs(10))?;
    let made = bundle(&cluster, "whole")?;
    ensure!(made["files"].as_u64().is_some_and(|files| files > 20), "{made}");
    let status: Value = serde_json::from_str(&text(&cluster, "whole", "cluster/status.json")?)?;
    let lost = status["nodes"].as_array().and_then(|nodes| nodes.iter().find(|node| node["name"] == "node-2"));
    ensure!(lost.is_some_and(|node| node["state"] == "TRANSIENT"), "{lost:?}");
    let raft = text(&cluster, "whole", "cluster/raft.json")?;
    ensure!(raft.contains("\"reachable\": false") && raft.contains("\"reachable\": true"), "{raft}");
    ensure!(text(&cluster, "whole", "cluster/events.json")?.contains("ONLINE -> TRANSIENT"), "what happened");
    ensure!(text(&cluster, "whole", "logs/node-2-node.txt")?.contains("serving"), "its log");
    ensure!(text(&cluster, "whole", "config/node-1-node.toml")?.contains("left out"), "what it is configured with");
    ensure!(text(&cluster, "whole", "host/meminfo.txt")?.contains("MemAvailable"), "how the host is");
    ensure!(!fs::read(cluster.dir.join("whole.tar"))?.windows(secret.len()).any(|bytes| bytes == secret.as_bytes()), "no secret");
    let again = cluster.run_within("ha", &["bundle", utf8(&cluster.dir.join("whole.tar"))], 20)?;
    ensure!(again.code == 2 && again.err.contains("there already"), "{}", again.err);

    // Nobody of HA is there.
    for node in ["node-1", "node-3"] {
        cluster.kill(node)?;
    }
    let made = bundle(&cluster, "alone")?;
    ensure!(made["missing"]["cluster/status.json"].is_string(), "{made}");
    for part in ["events", "pools", "raft", "repair"] {
        ensure!(made["missing"][format!("cluster/{part}.json")].is_string(), "{part}: {made}");
    }
    ensure!(text(&cluster, "alone", "cluster/status.json.missing")?.contains("redoubt-ha"), "and says why");
    ensure!(!text(&cluster, "alone", "logs/node-1-ha.txt")?.is_empty(), "the logs are there");
    Ok(())
}
