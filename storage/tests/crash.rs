//! The power is cut in the middle of every single write and sync of random workloads, and whatever was promised is checked after it.
//!
//! Invariants (`docs/formats/device.md`): the device opens by itself; every unit that was acknowledged reads back right; no unit is half
//! there; space is conserved and nothing leaks; metadata is a prefix of what was committed, with everything that was synced in it.

#[path = "support/common.rs"]
mod common;
#[path = "support/promises.rs"]
mod promises;

use std::collections::BTreeSet;

use common::{Started, identity, options, payload, record, step};
use promises::{GROUP, META_GROUP, MetaModel, Promises, check, meta_batch, meta_now, read, start_write};
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use storage::sim::{Faults, SimDisk, pump};
use storage::{AlignedBuf, Device, Durability, StorageError};
use types::{Fid, Seq, ViewNumber};

const DISK_BYTES: u64 = 512 * 1024;

fn fid(counter: u64) -> Fid {
    common::fid(GROUP, counter)
}

/// Several units and deletes at once, so that they share a commit.
fn units_step(device: &Device, rng: &mut ChaCha8Rng, promises: &mut Promises, next: &mut u64) {
    let mut writes = Vec::new();
    for _ in 0..rng.random_range(1..4) {
        *next += 1;
        let (fid, unit) = (fid(*next / 3), (*next % 3) as u32);
        let blocks = if rng.random_ratio(1, 8) { 17 } else { rng.random_range(1..4) };
        if promises.units.contains_key(&(fid, unit)) {
            continue;
        }
        promises.unsure.insert((fid, unit), blocks);
        writes.push(((fid, unit, blocks), start_write(device, fid, unit, blocks)));
    }
    let mut deletes = Vec::new();
    if rng.random_ratio(1, 3) && *next > 3 {
        let fid = fid(rng.random_range(0..=*next / 3));
        promises.delete(fid);
        let device = device.clone();
        let started: Started<Result<(), StorageError>> = Box::pin(async move { device.delete_fids(&[fid]).await });
        deletes.push((fid, started));
    }
    let mut early: Vec<Option<Result<AlignedBuf, StorageError>>> = writes.iter_mut().map(|(_, write)| step(write)).collect();
    let first: Vec<_> = deletes.iter_mut().map(|(_, delete)| step(delete)).collect();
    pump(device);
    for ((name, write), early) in writes.iter_mut().zip(early.drain(..)) {
        let answer = early.or_else(|| step(write)).expect("every commit was pumped");
        match answer {
            Ok(_) => drop(promises.units.insert((name.0, name.1), name.2)),
            Err(StorageError::Fenced(_) | StorageError::Full(_)) => drop(promises.unsure.remove(&(name.0, name.1))),
            Err(_) => {}
        }
    }
    for ((fid, delete), first) in deletes.iter_mut().zip(first) {
        if first.or_else(|| step(delete)).expect("every commit was pumped").is_ok() {
            promises.dead.insert(*fid);
            // Writes of the fid that were acknowledged before the delete are gone with it.
            promises.delete(*fid);
            promises.unsure.retain(|name, _| name.0 != *fid);
        }
    }
}

fn meta_step(device: &Device, rng: &mut ChaCha8Rng, promises: &mut Promises) {
    let before = promises.history.last().expect("never empty");
    let (batch, model) = meta_batch(device, rng, before, |rng| rng.random_range(0..40));
    let sync = rng.random_ratio(1, 2);
    promises.history.push(model);
    let durability = if sync { Durability::Sync } else { Durability::Buffered };
    if device.meta().commit(batch, durability).is_ok() && sync {
        promises.synced = promises.history.len() - 1;
    }
}

/// A workload of this seed, with the power cut in the middle of write `cut`, or not; returns how many there were.
fn run(seed: u64, cut: Option<u64>) -> u64 {
    let disk = SimDisk::new(identity(DISK_BYTES), seed ^ cut.unwrap_or(0) << 20);
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    let mut promises = Promises::new();
    let device = disk.open(&options()).expect("an empty disk opens");
    if let Some(cut) = cut {
        disk.cut_power_after(cut);
    }
    let mut next = 0;
    for _ in 0..24 {
        if rng.random_ratio(2, 3) {
            units_step(&device, &mut rng, &mut promises, &mut next);
        } else {
            meta_step(&device, &mut rng, &mut promises);
        }
        if disk.is_off() {
            break;
        }
    }
    let steps = disk.steps();
    disk.cut_power();
    let device = disk.open(&options()).expect("a device opens by itself after a crash");
    check(&device, &promises);
    empty(&device);
    steps
}

/// When everything is deleted everything is free, and life goes on.
fn empty(device: &Device) {
    let fids: BTreeSet<Fid> = device.units(GROUP, None, usize::MAX).expect("records read").iter().map(|info| info.fid).collect();
    delete_all(device, fids.into_iter().collect());
    let fid = fid(1_000_000);
    let mut write = start_write(device, fid, 0, 2);
    assert!(step(&mut write).is_none());
    pump(device);
    assert!(matches!(step(&mut write), Some(Ok(_))));
    delete_all(device, vec![fid]);
}

fn delete_all(device: &Device, fids: Vec<Fid>) {
    let handle = device.clone();
    let mut delete: Started<_> = Box::pin(async move { handle.delete_fids(&fids).await });
    assert!(step(&mut delete).is_none());
    pump(device);
    assert_eq!(step(&mut delete), Some(Ok(())));
    assert_eq!((device.usage().free, device.usage().units), (device.usage().bytes, 0), "nothing leaks");
}

#[test]
fn whatever_was_acknowledged_survives_a_power_cut_at_any_write() {
    let mut cuts = 0;
    for seed in 0..48 {
        let steps = run(seed, None);
        for cut in 0..steps {
            run(seed, Some(cut));
            cuts += 1;
        }
    }
    assert!(cuts > 3000, "only {cuts} power cuts were tried");
}

#[test]
fn a_sync_that_lies_loses_units_but_never_returns_wrong_bytes() {
    let (mut lost, mut good) = (0, 0);
    for seed in 0..40 {
        let disk = SimDisk::new(identity(DISK_BYTES), seed);
        disk.set_faults(Faults { lying_syncs: true, ..Faults::default() });
        let device = disk.open(&options()).expect("an empty disk opens");
        for counter in 0..8 {
            let mut write = start_write(&device, fid(counter), 0, 2);
            assert!(step(&mut write).is_none());
            pump(&device);
            assert!(matches!(step(&mut write), Some(Ok(_))));
        }
        disk.cut_power();
        let device = disk.open(&options()).expect("the metadata is whole");
        for counter in 0..8 {
            match read(&device, fid(counter), 0, 2) {
                Ok(bytes) => {
                    assert!(bytes == payload(fid(counter), 0, 2));
                    good += 1;
                }
                Err(error) => {
                    assert!(matches!(error, StorageError::Corrupt { .. }), "{error}");
                    lost += 1;
                }
            }
        }
    }
    assert!(lost > 20 && good > 20, "{lost} lost, {good} good: the seeds no longer show both");
}

#[test]
fn a_view_and_a_forgotten_group_survive_a_power_cut() {
    let disk = SimDisk::new(identity(DISK_BYTES), 1);
    let device = disk.open(&options()).expect("an empty disk opens");
    let mut batch = device.meta().batch();
    batch.put_view(GROUP, ViewNumber(7));
    batch.put_view(META_GROUP, ViewNumber(8));
    batch.put_replica_state(META_GROUP, b"state");
    batch.append_record(META_GROUP, &record(Seq(1)));
    device.meta().commit(batch, Durability::Sync).expect("commits");
    let mut batch = device.meta().batch();
    batch.forget_group(META_GROUP);
    device.meta().commit(batch, Durability::Sync).expect("commits");
    disk.cut_power();
    let device = disk.open(&options()).expect("opens");
    assert_eq!(device.meta().views().expect("views read"), vec![(GROUP, ViewNumber(7))]);
    assert_eq!(meta_now(&device), MetaModel::default());
}
