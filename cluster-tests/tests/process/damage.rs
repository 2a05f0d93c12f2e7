//! One flipped byte anywhere in a data file is found on read, rebuilt from the other units, reported as an event of its device, and the unit
//! written anew.

use std::collections::HashMap;
use std::fs::{self, File};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use client::Error;
use cluster_tests::process::{BUCKET, Clients, Cluster, Holds, Kind, Pattern, say};
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;

/// Of the object that is damaged: two whole stripes and a short one.
const LENGTH: usize = 3_000_000;
/// A whole unit of an object of that size, in `4+2`.
const UNIT: usize = 256 * 1024;
const STRIPE: usize = 4 * UNIT;
/// What units are aligned to; their header is one block before them.
const BLOCK: usize = 4096;
/// First bytes of a unit's header (`docs/formats/device.md`).
const MAGIC: &[u8] = b"RDBTUNIT";
/// How much of each data file is looked through: a small object lies at its begin.
const LOOKED_AT: usize = 32 << 20;
const REPORTED: Duration = Duration::from_secs(10);
const REPAIRED: Duration = Duration::from_secs(10);
const LOOK_AGAIN: Duration = Duration::from_millis(20);

/// A unit in a data file.
#[derive(Clone, Debug)]
struct Unit {
    file: PathBuf,
    /// As HA names it.
    device: String,
    /// Where its header begins.
    at: u64,
    /// Where its data lie in the object, and how many bytes of a data unit they are; `None` for parity.
    data: Option<(usize, usize)>,
}

impl Unit {
    /// Flips a byte; the same once more puts it right.
    fn flip(&self, offset: usize) -> Result<()> {
        flip(&self.file, self.at + offset as u64)
    }

    /// Makes its place, which is free by now, one that looks like no unit's.
    fn forget(&self) -> Result<()> {
        let file = File::options().write(true).open(&self.file)?;
        file.write_all_at(&[0; MAGIC.len()], self.at)?;
        Ok(file.sync_all()?)
    }
}

fn flip(path: &Path, at: u64) -> Result<()> {
    let file = File::options().read(true).write(true).open(path)?;
    let mut byte = [0];
    file.read_exact_at(&mut byte, at)?;
    file.write_all_at(&[!byte[0]], at)?;
    Ok(file.sync_all()?)
}

/// The data files of a cluster with the names of their devices.
fn data_files(dir: &Path) -> Result<Vec<(PathBuf, String)>> {
    let mut files = Vec::new();
    for entry in fs::read_dir(dir)? {
        let path = entry?.path();
        let blocks = path.join("blocks");
        if blocks.is_file() {
            let name = path.file_name().context("a device has a directory")?.to_string_lossy().into_owned();
            files.push((blocks, name));
        } else if path.is_dir() {
            files.extend(data_files(&path)?);
        }
    }
    files.sort();
    Ok(files)
}

/// All units of the only object of a cluster.
fn units(dir: &Path, object: &[u8]) -> Result<Vec<Unit>> {
    let by_first: HashMap<&[u8], usize> = (0..object.len()).step_by(BLOCK).map(|at| (&object[at..object.len().min(at + 64)], at)).collect();
    let whole = object.len() / STRIPE * STRIPE;
    let last = (object.len() - whole).div_ceil(4).next_multiple_of(BLOCK);
    let mut units = Vec::new();
    for (file, device) in data_files(dir)? {
        let mut bytes = vec![0; LOOKED_AT];
        File::open(&file)?.read_exact_at(&mut bytes, 0)?;
        for at in (0..LOOKED_AT - 2 * BLOCK).step_by(BLOCK).filter(|at| bytes[*at..].starts_with(MAGIC)) {
            let place = by_first.get(&bytes[at + BLOCK..at + BLOCK + 64]).copied();
            let data = place.map(|place| (place, if place < whole { UNIT } else { last }));
            units.push(Unit { file: file.clone(), device: device.clone(), at: at as u64, data });
        }
    }
    Ok(units)
}

/// Reads the object; an error as the client has it.
fn read(clients: &Clients) -> Result<Vec<u8>, Error> {
    clients.wait(async { clients.client().get(BUCKET, b"victim/1", None).await?.bytes().await })
}

fn reported(cluster: &Cluster, after: u64, device: &str, what: &str) -> Result<()> {
    let event = cluster.event(after, &format!("errors of {device}"), REPORTED, |event| {
        event.subject == device && event.what.contains("error") && event.cause.contains(what)
    })?;
    say(format!("{}: {}, {}", event.subject, event.what, event.cause));
    Ok(())
}

#[test]
fn a_flipped_byte_is_found_rebuilt_and_reported_wherever_it_is() -> Result<()> {
    let cluster = Cluster::up(3, &[])?;
    let clients = Clients::connect(&cluster, Duration::from_secs(15))?;
    let ledger = clients.fill(Kind::Object, "victim", &[LENGTH], 1)?;
    assert_eq!(ledger.may_hold("victim/1"), [Holds::Bytes { seed: 1, length: LENGTH }]);
    let object = Pattern(1).bytes(LENGTH);
    let units = units(&cluster.dir, &object)?;
    let (mut data, parity): (Vec<Unit>, Vec<Unit>) = units.into_iter().partition(|unit| unit.data.is_some());
    assert_eq!((data.len(), parity.len()), (12, 6), "three stripes of 4+2: {data:?} {parity:?}");
    one_byte_of_a_data_unit(&cluster, &clients, &mut data, &object)?;
    more_than_can_be_rebuilt(&cluster, &clients, &data, &parity, &object)?;
    superblocks(&cluster)?;
    assert!(read(&clients)? == object, "all is as it was");
    Ok(())
}

fn one_byte_of_a_data_unit(cluster: &Cluster, clients: &Clients, data: &mut [Unit], object: &[u8]) -> Result<()> {
    let mut random = ChaCha8Rng::seed_from_u64(6);
    let lengths: Vec<usize> = data.iter().map(|unit| unit.data.map_or(0, |(_, length)| length)).collect();
    let mut places = Vec::new();
    // Header: magic, checksum, owner's uuid, body, unused rest. Data: first byte, middle, last byte.
    for (number, offset) in [0, 13, 20, 40, BLOCK - 1, BLOCK].into_iter().enumerate() {
        places.push((number, offset));
    }
    for (number, length) in lengths.iter().copied().enumerate() {
        places.push((number, BLOCK + if number % 2 == 0 { length - 1 } else { length / 2 }));
    }
    for _ in 0..10 {
        let number = random.random_range(0..data.len());
        places.push((number, random.random_range(0..BLOCK + lengths[number])));
    }
    for (number, offset) in places {
        let unit = &data[number];
        let (known, repaired) = (cluster.last_event()?, repairs(cluster)?);
        unit.flip(offset)?;
        let found = read(clients).with_context(|| format!("byte {offset} of {unit:?} flipped"))?;
        assert!(found == object, "wrong bytes came back: byte {offset} of {unit:?} flipped");
        reported(cluster, known, &unit.device, "corrupt")?;
        wait_for_repair(cluster, repaired)?;
        unit.forget()?;
        data[number] = moved(cluster, unit, object)?;
        assert!(read(clients)? == object, "wrong bytes came back: {:?} was written anew", data[number]);
    }
    Ok(())
}

/// Units that the nodes say they have written anew.
fn repairs(cluster: &Cluster) -> Result<usize> {
    let mut count = 0;
    for node in 1..=3 {
        let log = fs::read_to_string(cluster.dir.join(format!("node-{node}/redoubt-node.log")))?;
        count += log.matches("a damaged unit is written anew").count();
    }
    Ok(count)
}

fn wait_for_repair(cluster: &Cluster, before: usize) -> Result<()> {
    let began = Instant::now();
    while repairs(cluster)? <= before {
        if began.elapsed() > REPAIRED {
            bail!("no unit was written anew within {REPAIRED:?}");
        }
        std::thread::sleep(LOOK_AGAIN);
    }
    Ok(())
}

/// Where a unit lies that was written anew.
fn moved(cluster: &Cluster, unit: &Unit, object: &[u8]) -> Result<Unit> {
    let found = units(&cluster.dir, object)?.into_iter().find(|other| other.data == unit.data);
    let found = found.with_context(|| format!("{unit:?} is nowhere any more"))?;
    assert!(found.device == unit.device && found.at != unit.at, "{unit:?} went to {found:?}");
    Ok(found)
}

/// A data unit and all parity are damaged: that stripe cannot be rebuilt, which is an error and never wrong bytes. As soon as one parity
/// unit of it is right, it is rebuilt.
fn more_than_can_be_rebuilt(cluster: &Cluster, clients: &Clients, data: &[Unit], parity: &[Unit], object: &[u8]) -> Result<()> {
    let known = cluster.last_event()?;
    let bad = &data[0];
    bad.flip(BLOCK + 100)?;
    parity.iter().try_for_each(|unit| unit.flip(BLOCK + 200))?;
    let ended = read(clients);
    let Err(Error::Corrupt { .. }) = ended else {
        bail!("three units of a stripe are damaged, and reading gave {:?}", ended.map(|b| b.len()))
    };
    let mut rebuilt = 0;
    for unit in parity {
        unit.flip(BLOCK + 200)?;
        match read(clients) {
            Ok(found) => {
                assert!(found == object, "wrong bytes came back");
                rebuilt += 1;
            }
            Err(Error::Corrupt { .. }) => {}
            Err(error) => return Err(error.into()),
        }
    }
    assert!(rebuilt > 0, "with all parity right again the unit is rebuilt");
    reported(cluster, known, &bad.device, "corrupt")?;
    let damaged: Vec<&str> = parity.iter().map(|unit| unit.device.as_str()).collect();
    let event = |event: &cluster_tests::process::Event| damaged.contains(&event.subject.as_str()) && event.cause.contains("corrupt");
    cluster.event(known, "damaged parity", REPORTED, event)?;
    bad.flip(BLOCK + 100)
}

/// Either superblock of a device: mended from the other when the device opens.
fn superblocks(cluster: &Cluster) -> Result<()> {
    let files = data_files(&cluster.dir.join("node-2"))?;
    let place =
        |number: usize, path: &Path| -> Result<u64> { Ok(if number == 0 { 30 } else { fs::metadata(path)?.len() - BLOCK as u64 + 70 }) };
    let block = |path: &Path, at: u64| -> Result<Vec<u8>> {
        let mut block = vec![0; BLOCK];
        File::open(path)?.read_exact_at(&mut block, at / BLOCK as u64 * BLOCK as u64)?;
        Ok(block)
    };
    let known = cluster.last_event()?;
    cluster.ok(&["dev", "kill", "node-2", "--only", "node", "--signal", "TERM"])?;
    let mut before = Vec::new();
    for (number, (path, _)) in files.iter().enumerate() {
        let at = place(number, path)?;
        before.push(block(path, at)?);
        flip(path, at)?;
    }
    cluster.start("node-2")?;
    cluster.all_online(Duration::from_secs(20))?;
    for (number, ((path, device), before)) in files.iter().zip(before).enumerate() {
        assert!(block(path, place(number, path)?)? == before, "the superblock of {device} is as it was");
        reported(cluster, known, device, "superblock")?;
    }
    Ok(())
}
