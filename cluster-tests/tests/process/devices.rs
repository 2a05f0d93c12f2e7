//! Devices that are full, and devices that are of somebody else.

use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use client::{Error, PutOptions};
use cluster_tests::process::{BUCKET, Clients, Cluster, Holds, INDEX, Kind, Ledger, Pattern, Worked, say};

use crate::utf8;

const ONLINE: Duration = Duration::from_secs(30);
/// Of one object of the test of full devices.
const LENGTH: usize = 3_000_000;
/// More of them than the devices hold.
const OBJECTS_MAX: u64 = 100;
/// How long space may take to come back after a delete: the age of dead units in that test, and the sweep.
const SPACE_BACK: Duration = Duration::from_secs(20);

#[test]
fn full_devices_refuse_what_grows_and_serve_the_rest() -> Result<()> {
    let cluster = Cluster::up_with(3, &["--device-bytes", "32MiB"], &[("REDOUBT_DEAD_AGE_MS", "2000")])?;
    let clients = Clients::connect(&cluster, Duration::from_secs(15))?;
    let client = clients.client();
    let options = PutOptions::default();
    let put = |seed: u64| {
        let name = format!("fill/{seed}");
        let bytes = Pattern(seed).bytes(LENGTH);
        clients.wait(async { client.put(BUCKET, name.as_bytes(), &bytes[..], Some(LENGTH as u64), &options).await })
    };
    let mut ledger = Ledger::default();
    let mut error = None;
    for seed in 1..=OBJECTS_MAX {
        match put(seed) {
            Ok(_) => ledger.acknowledged(&format!("fill/{seed}"), Holds::Bytes { seed, length: LENGTH }),
            Err(refused) => {
                error = Some(refused);
                break;
            }
        }
    }
    let (stored, error) = (ledger.present().len(), error.context("the devices are full at some time")?);
    let usage = clients.usage()?;
    let free: u64 = usage.iter().map(|device| device.free).sum();
    let all: u64 = usage.iter().map(|device| device.bytes).sum();
    say(format!("{stored} objects stored, {free} of {all} bytes free: {error}"));
    assert!(matches!(error, Error::Full(_)), "{error:?}");
    assert!(free < all / 3, "it is full only when it is: {usage:?}");
    let source = cluster.dir.join("source");
    Pattern(1).write(&source, LENGTH as u64)?;
    let run = cluster.redoubt(&["obj", "put", utf8(&source), "one-more"])?;
    assert!(run.code == 7 && run.err.lines().count() == 1, "{}: {}", run.code, run.err);
    assert!(run.err.contains("delete something or add devices"), "{}", run.err);
    // Everything else goes on: reads, what needs no unit, deletes.
    clients.verify(&Worked { objects: ledger.clone(), ..Worked::default() })?;
    clients.wait(client.index_put(INDEX, b"key", b"value", client::Condition::Always))?;
    clients.wait(client.put(BUCKET, b"small", &[1; 100][..], Some(100), &options))?;
    for name in ledger.present().iter().take(stored / 2) {
        cluster.ok(&["obj", "rm", name])?;
        ledger.acknowledged(name, Holds::Nothing);
    }
    let began = Instant::now();
    let mut seed = OBJECTS_MAX + 1;
    loop {
        match put(seed) {
            Ok(_) => break,
            Err(Error::Full(_)) if began.elapsed() < SPACE_BACK => std::thread::sleep(Duration::from_millis(300)),
            Err(error) => return Err(error).with_context(|| format!("{:?} after half was deleted", began.elapsed())),
        }
        seed += 1;
    }
    say(format!("room again {} ms after half was deleted", began.elapsed().as_millis()));
    ledger.acknowledged(&format!("fill/{seed}"), Holds::Bytes { seed, length: LENGTH });
    clients.verify(&Worked { objects: ledger, ..Worked::default() })?;
    cluster.all_online(ONLINE)
}

/// Everything below a directory, with the bytes of its small files and the first ones of large files.
fn fingerprint(dir: &Path) -> Result<Vec<(String, u64, Vec<u8>)>> {
    use std::io::Read;
    let mut all = Vec::new();
    for entry in fs::read_dir(dir)? {
        let path = entry?.path();
        if path.is_dir() {
            all.extend(fingerprint(&path)?);
            continue;
        }
        let mut begin = Vec::new();
        fs::File::open(&path)?.take(1 << 20).read_to_end(&mut begin)?;
        all.push((path.file_name().context("a file has a name")?.to_string_lossy().into_owned(), fs::metadata(&path)?.len(), begin));
    }
    all.sort();
    Ok(all)
}

fn swap(left: &Path, right: &Path) -> Result<()> {
    let between = left.with_extension("swapped");
    fs::rename(left, &between)?;
    fs::rename(right, left)?;
    Ok(fs::rename(&between, right)?)
}

#[test]
fn a_device_of_another_cluster_is_refused_and_left_as_it_is() -> Result<()> {
    let [one, other] = [Cluster::up(3, &["--device-bytes", "64MiB"])?, Cluster::up(3, &["--device-bytes", "64MiB"])?];
    let mut kept = Vec::new();
    for cluster in [&one, &other] {
        let clients = Clients::connect(cluster, Duration::from_secs(15))?;
        kept.push(clients.fill(Kind::Object, "kept", &[500, 300_000], 6)?);
        clients.close();
    }
    let device = |cluster: &Cluster| cluster.dir.join("node-1").join("dev-1");
    for cluster in [&one, &other] {
        cluster.ok(&["dev", "kill", "node-1", "--only", "node", "--signal", "TERM"])?;
    }
    let before = [fingerprint(&device(&one))?, fingerprint(&device(&other))?];
    swap(&device(&one), &device(&other))?;
    let known = one.last_event()?;
    one.start("node-1")?;
    let refused = one.event(known, "dev-1 is refused", ONLINE, |event| event.subject == "dev-1" && event.cause.contains("another cluster"));
    let refused = refused?;
    say(format!("{}: {}: {}", refused.subject, refused.what, refused.cause));
    let log = fs::read_to_string(one.dir.join("node-1/redoubt-node.log"))?;
    assert!(log.contains("the device belongs to cluster"), "{log}");
    let list = one.ha(&["device", "list"])?;
    let row = list.as_array().and_then(|all| all.iter().find(|d| d["id"] == "dev-1")).context("dev-1 is listed")?;
    assert!(row["reason"].as_str().is_some_and(|reason| reason.contains("another cluster")), "{row}");
    // The cluster serves without it, from the node's other device too.
    let clients = Clients::connect(&one, Duration::from_secs(15))?;
    clients.verify(&Worked { objects: kept[0].clone(), ..Worked::default() })?;
    let more = clients.fill(Kind::Object, "more", &[500, 300_000], 6)?;
    one.ok(&["dev", "kill", "node-1", "--only", "node", "--signal", "TERM"])?;
    assert!(fingerprint(&device(&one))? == before[1], "the device of another cluster was touched");
    assert!(fingerprint(&device(&other))? == before[0], "a device was touched that nobody uses");
    swap(&device(&one), &device(&other))?;
    for (cluster, kept) in [&one, &other].into_iter().zip(kept) {
        cluster.start("node-1")?;
        cluster.all_online(ONLINE)?;
        let clients = Clients::connect(cluster, Duration::from_secs(15))?;
        clients.verify(&Worked { objects: kept, ..Worked::default() })?;
        let states = cluster.ha(&["device", "list"])?;
        if let Some(device) = states.as_array().into_iter().flatten().find(|device| device["state"] != "ONLINE") {
            bail!("{device}");
        }
    }
    Clients::connect(&one, Duration::from_secs(15))?.verify(&Worked { objects: more, ..Worked::default() })
}

#[test]
fn a_device_that_has_forgotten_what_it_had_is_found_out_by_other_nodes_and_failed() -> Result<()> {
    let cluster = Cluster::up(3, &["--device-bytes", "64MiB"])?;
    let clients = Clients::connect(&cluster, Duration::from_secs(15))?;
    let early = clients.fill(Kind::Key, "early", &[100], 100)?;
    let stop = || cluster.ok(&["dev", "kill", "node-1", "--only", "node", "--signal", "TERM"]);
    let (device, older) = (cluster.dir.join("node-1/dev-1"), cluster.dir.join("older"));
    stop()?;
    let copied = std::process::Command::new("cp").arg("-a").args([&device, &older]).status()?;
    assert!(copied.success());
    cluster.start("node-1")?;
    cluster.all_online(ONLINE)?;
    let late = clients.fill(Kind::Key, "late", &[100], 300)?;
    stop()?;
    // As if everything that it was told since had never been written, though it said so.
    fs::remove_dir_all(&device)?;
    fs::rename(&older, &device)?;
    let known = cluster.last_event()?;
    cluster.start("node-1")?;
    let failed = cluster.event(known, "dev-1 is failed", ONLINE, |event| event.subject == "dev-1" && event.cause.contains("amnesia"))?;
    say(format!("{}: {}: {}", failed.subject, failed.what, failed.cause));
    let list = cluster.ha(&["device", "list"])?;
    let row = list.as_array().and_then(|all| all.iter().find(|d| d["id"] == "dev-1")).context("dev-1 is listed")?;
    assert_eq!(row["state"], "FAILED", "{row}");
    // Nothing that was answered is lost.
    for keys in [early, late] {
        clients.verify(&Worked { keys, ..Worked::default() })?;
    }
    Ok(())
}
