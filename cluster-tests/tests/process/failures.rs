//! The command line while a node is killed: whoever starts anew in the middle of it writes and reads as before.

use std::fs;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::{Context, Result};
use cluster_tests::process::{Cluster, Pattern, say};

use crate::utf8;

/// An object that the cluster has acknowledged: its name and the seed of its bytes.
type Acknowledged = Vec<(String, u64, usize)>;

fn put(cluster: &Cluster, scratch: &Path, name: &str, seed: u64, length: usize) -> Result<Duration> {
    fs::write(scratch, Pattern(seed).bytes(length))?;
    let run = cluster.redoubt(&["obj", "put", utf8(scratch), name])?;
    let took = run.took;
    run.success()?;
    Ok(took)
}

fn all_read_back(cluster: &Cluster, all: &Acknowledged) -> Result<()> {
    let back = cluster.dir.join("back");
    for (name, seed, length) in all {
        cluster.ok(&["obj", "get", name, utf8(&back)]).with_context(|| name.clone())?;
        assert!(fs::read(&back)? == Pattern(*seed).bytes(*length), "{name} came back different");
    }
    Ok(())
}

fn sizes(seed: u64) -> usize {
    [100, 70_000, 1_500_000, 5_000_000][(seed % 4) as usize]
}

/// Puts objects one after the other until told to stop; each has to succeed, and says how long the longest took.
fn write_until(cluster: &Cluster, stop: &AtomicBool, first_seed: u64) -> Result<(Acknowledged, Duration)> {
    let scratch = cluster.dir.join(format!("scratch-{first_seed}"));
    let (mut all, mut longest) = (Vec::new(), Duration::ZERO);
    for seed in first_seed.. {
        if stop.load(Ordering::Relaxed) {
            break;
        }
        let name = format!("w/{seed}");
        longest = longest.max(put(cluster, &scratch, &name, seed, sizes(seed))?);
        all.push((name, seed, sizes(seed)));
    }
    Ok((all, longest))
}

#[test]
fn a_node_killed_while_clients_write_and_read_loses_nothing() -> Result<()> {
    let cluster = Cluster::up(3, &[])?;
    let scratch = cluster.dir.join("scratch");
    let mut all: Acknowledged = Vec::new();
    for seed in 1..=8 {
        put(&cluster, &scratch, &format!("before/{seed}"), seed, sizes(seed))?;
        all.push((format!("before/{seed}"), seed, sizes(seed)));
    }
    for (round, node) in (1u64..).zip(["node-2", "node-1", "node-3"]) {
        let stop = AtomicBool::new(false);
        let (written, longest) = std::thread::scope(|scope| -> Result<_> {
            let writer = scope.spawn(|| write_until(&cluster, &stop, round * 1000));
            let acted = (|| {
                std::thread::sleep(Duration::from_millis(700));
                cluster.kill(node)?;
                all_read_back(&cluster, &all)?;
                cluster.start(node)?;
                cluster.wait_state(node, "ONLINE", Duration::from_secs(30))
            })();
            stop.store(true, Ordering::Relaxed);
            let written = writer.join().expect("the writer does not panic")?;
            acted.map(|_| written)
        })?;
        say(format!("{node}: {} objects written around its death, longest put {longest:?}", written.len()));
        all.extend(written);
        all_read_back(&cluster, &all)?;
    }
    Ok(())
}
