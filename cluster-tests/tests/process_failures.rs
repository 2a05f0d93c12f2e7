//! Nodes killed, frozen and cut off from power: nothing acknowledged is lost, no byte is wrong, nothing hangs.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use cluster_tests::process::{Cluster, Pattern};

fn utf8(path: &Path) -> &str {
    path.to_str().expect("test paths are UTF-8")
}

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
        println!("{node}: {} objects written around its death, longest put {longest:?}", written.len());
        all.extend(written);
        all_read_back(&cluster, &all)?;
    }
    Ok(())
}

#[test]
fn everything_killed_at_once_comes_back_with_all_that_was_acknowledged() -> Result<()> {
    let cluster = Cluster::up(3, &[])?;
    let scratch = cluster.dir.join("scratch");
    let mut all: Acknowledged = Vec::new();
    for seed in 1..=12 {
        put(&cluster, &scratch, &format!("o/{seed}"), seed, sizes(seed))?;
        all.push((format!("o/{seed}"), seed, sizes(seed)));
    }
    for node in ["node-1", "node-2", "node-3"] {
        cluster.kill(node)?;
    }
    for node in ["node-1", "node-2", "node-3"] {
        cluster.start(node)?;
    }
    for node in ["node-1", "node-2", "node-3"] {
        cluster.wait_state(node, "ONLINE", Duration::from_secs(30))?;
    }
    all_read_back(&cluster, &all)?;
    put(&cluster, &scratch, "after", 99, sizes(99))?;
    all_read_back(&cluster, &vec![("after".into(), 99, sizes(99))])
}

#[test]
fn a_flipped_byte_in_a_data_file_is_found_rebuilt_and_reported() -> Result<()> {
    let cluster = Cluster::up(3, &[])?;
    let scratch = cluster.dir.join("scratch");
    let length = 3_000_000;
    put(&cluster, &scratch, "victim", 5, length)?;
    let wanted = Pattern(5).bytes(length);
    let hit = flip_a_byte_of(&cluster.dir, &wanted[1_000_000..1_000_064])?;
    assert!(hit > 0, "the object's bytes lie in some data file");
    all_read_back(&cluster, &vec![("victim".into(), 5, length)])?;
    let began = Instant::now();
    loop {
        let events = cluster.ha(&["events"])?.to_string().to_lowercase();
        if events.contains("corrupt") {
            return Ok(());
        }
        assert!(began.elapsed() < Duration::from_secs(10), "no device event tells of the corruption: {events}");
        std::thread::sleep(Duration::from_millis(100));
    }
}

/// Flips one byte wherever these bytes lie in a `blocks` file below `dir`; gives how many places were hit.
fn flip_a_byte_of(dir: &Path, needle: &[u8]) -> Result<usize> {
    use std::os::unix::fs::FileExt;
    let mut hits = 0;
    for path in blocks_files(dir)? {
        let file = fs::OpenOptions::new().read(true).write(true).open(&path)?;
        // Only what was ever written: the file is preallocated, and mostly holes.
        let bytes = fs::read(&path)?;
        for at in memchr_all(&bytes, needle) {
            file.write_all_at(&[!bytes[at + 7]], at as u64 + 7)?;
            hits += 1;
        }
        file.sync_all()?;
    }
    Ok(hits)
}

fn memchr_all(hay: &[u8], needle: &[u8]) -> Vec<usize> {
    hay.windows(needle.len()).enumerate().filter(|(_, w)| w[0] == needle[0] && *w == needle).map(|(i, _)| i).collect()
}

fn blocks_files(dir: &Path) -> Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    for entry in fs::read_dir(dir)? {
        let path = entry?.path();
        if path.is_dir() {
            found.extend(blocks_files(&path)?);
        } else if path.file_name().is_some_and(|n| n == "blocks") {
            found.push(path);
        }
    }
    Ok(found)
}

#[test]
fn a_killed_process_and_a_frozen_one_are_seen_in_time() -> Result<()> {
    let cluster = Cluster::up(3, &[])?;
    let began = Instant::now();
    cluster.ok(&["dev", "kill", "node-3", "--only", "node"])?;
    cluster.wait_state("node-3", "TRANSIENT", Duration::from_secs(5))?;
    println!("killed process: TRANSIENT seen by a client {:?} after the command began", began.elapsed());
    cluster.start("node-3")?;
    cluster.wait_state("node-3", "ONLINE", Duration::from_secs(20))?;
    let began = Instant::now();
    cluster.ok(&["dev", "kill", "node-1", "--only", "node", "--signal", "STOP"])?;
    cluster.wait_state("node-1", "TRANSIENT", Duration::from_secs(5))?;
    println!("frozen process: TRANSIENT seen by a client {:?} after the command began", began.elapsed());
    let scratch = cluster.dir.join("scratch");
    put(&cluster, &scratch, "while-frozen", 3, sizes(3))?;
    cluster.ok(&["dev", "kill", "node-1", "--only", "node", "--signal", "CONT"])?;
    cluster.wait_state("node-1", "ONLINE", Duration::from_secs(30))?;
    all_read_back(&cluster, &vec![("while-frozen".into(), 3, sizes(3))])
}

#[test]
fn a_restarted_node_redoes_ten_thousand_missed_records_and_is_online() -> Result<()> {
    let cluster = Cluster::up(3, &[])?;
    cluster.ok(&["idx", "create", "missed"])?;
    cluster.kill("node-2")?;
    cluster.redoubt_within(&["bench", "kv", "--index", "missed", "--operations", "10000", "--clients", "32"], 180)?.success()?;
    cluster.start("node-2")?;
    let took = cluster.wait_state("node-2", "ONLINE", Duration::from_secs(60))?;
    println!("ONLINE {took:?} after its start, 10,000 records missed");
    Ok(())
}
