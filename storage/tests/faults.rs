//! Bad sectors, failing syncs and rotten bits: who gets an error, and who does not.

#[path = "support/common.rs"]
mod common;

use common::{Started, block_on, fid, identity, options, payload, step, unit_info};
use storage::meta::store::Family;
use storage::sim::{Faults, SimDisk, pump};
use storage::{AlignedBuf, Device, Durability, StorageError};
use types::buf::IoBuf;
use types::checksum::unit_checksums;
use types::limits::BLOCK_BYTES;
use types::record::{Row, RowKey};
use types::{CatalogueId, Fid, GroupId, PoolId, Seq};

const GROUP: GroupId = GroupId { pool: PoolId(1), index: 0 };
const BLOCK: u64 = BLOCK_BYTES as u64;

fn start(device: &Device, fid: Fid) -> Started<Result<AlignedBuf, StorageError>> {
    let data = payload(fid, 0, 2);
    let sums = unit_checksums(fid, 0, &data);
    let device = device.clone();
    Box::pin(async move { device.write_unit(unit_info(fid, 0, 2), sums, AlignedBuf::copy_of(&data)).await })
}

fn write(device: &Device, fid: Fid) -> Result<(), StorageError> {
    let mut write = start(device, fid);
    let early = step(&mut write);
    pump(device);
    early.or_else(|| step(&mut write)).expect("it ends").map(drop)
}

fn read(device: &Device, fid: Fid) -> Result<(), StorageError> {
    block_on(device.read_unit(fid, 0, 0, 2 * BLOCK_BYTES as u32, AlignedBuf::zeroed(2 * BLOCK_BYTES))).map(drop)
}

fn disk() -> (SimDisk, Device) {
    let disk = SimDisk::new(identity(64 * BLOCK), 1);
    let device = disk.open(&options()).expect("opens");
    (disk, device)
}

#[test]
fn a_bad_sector_fails_its_reader_alone() {
    let (disk, device) = disk();
    assert_eq!((write(&device, fid(GROUP, 1)), write(&device, fid(GROUP, 2))), (Ok(()), Ok(())));
    disk.set_faults(Faults { bad_reads: Some(2 * BLOCK..2 * BLOCK + 1), ..Faults::default() });
    assert!(matches!(read(&device, fid(GROUP, 1)), Err(StorageError::Io { .. })));
    assert_eq!(read(&device, fid(GROUP, 2)), Ok(()));
    assert_eq!((write(&device, fid(GROUP, 3)), device.failure()), (Ok(()), None));
}

#[test]
fn a_write_that_fails_gives_its_space_back() {
    let (disk, device) = disk();
    disk.set_faults(Faults { failing_writes: 1, ..Faults::default() });
    assert!(matches!(write(&device, fid(GROUP, 1)), Err(StorageError::Io { .. })));
    assert_eq!((device.usage().free, device.usage().units), (device.usage().bytes, 0));
    assert_eq!(write(&device, fid(GROUP, 1)), Ok(()), "it may be tried again");
}

#[test]
fn a_failed_sync_or_metadata_write_ends_the_device_for_good() {
    let causes = [
        Faults { failing_syncs: 1, ..Faults::default() },
        Faults { failing_meta_writes: 1, ..Faults::default() },
        Faults { failing_meta_syncs: 1, ..Faults::default() },
    ];
    for faults in causes {
        let (disk, device) = disk();
        assert_eq!(write(&device, fid(GROUP, 1)), Ok(()));
        disk.set_faults(faults.clone());
        assert!(matches!(write(&device, fid(GROUP, 2)), Err(StorageError::Failed(_))), "{faults:?}");
        // The fault is over; the device is not to be trusted any more all the same.
        assert!(matches!(write(&device, fid(GROUP, 3)), Err(StorageError::Failed(_))));
        assert!(matches!(block_on(device.delete_fids(&[fid(GROUP, 1)])), Err(StorageError::Failed(_))));
        let mut batch = device.meta().batch();
        batch.put_replica_state(GROUP, b"x");
        assert!(matches!(device.meta().commit(batch, Durability::Buffered), Err(StorageError::Failed(_))));
        assert!(device.failure().is_some());
        assert_eq!(read(&device, fid(GROUP, 1)), Ok(()), "reads go on");
    }
}

#[test]
fn a_failed_metadata_commit_ends_the_device_for_units_too() {
    let (disk, device) = disk();
    disk.set_faults(Faults { failing_meta_syncs: 1, ..Faults::default() });
    let mut batch = device.meta().batch();
    batch.put_replica_state(GROUP, b"x");
    assert!(matches!(device.meta().commit(batch, Durability::Sync), Err(StorageError::Failed(_))));
    assert!(matches!(write(&device, fid(GROUP, 1)), Err(StorageError::Failed(_))));
}

#[test]
fn rotten_bits_of_units_and_rows_are_never_returned() {
    let (disk, device) = disk();
    write(&device, fid(GROUP, 1)).expect("writes");
    let row = RowKey { catalogue: CatalogueId(1), key: b"k".to_vec() };
    let mut batch = device.meta().batch();
    batch.put_row(GROUP, &row, Seq(1), b"value");
    device.meta().commit(batch, Durability::Sync).expect("commits");
    for at in (BLOCK..4 * BLOCK).step_by(401) {
        disk.rot(at, 3);
        assert!(matches!(read(&device, fid(GROUP, 1)), Err(StorageError::Corrupt { .. })), "byte {at}");
        disk.rot(at, 3);
    }
    assert_eq!(read(&device, fid(GROUP, 1)), Ok(()));
    assert_eq!(device.meta().row(GROUP, &row), Ok(Some(Row { version: Seq(1), value: b"value".to_vec() })));
    let key = [&[0, 1, 0, 0, 0, 0][..], &1u64.to_be_bytes(), b"k"].concat();
    let bytes = 1 + 8 + 5 + 4;
    for bit in 0..bytes * 8 {
        let flip = |value: &mut Vec<u8>| value[bit / 8] ^= 1 << (bit % 8);
        assert!(disk.rot_meta(Family::Catalogues, &key, flip));
        assert!(matches!(device.meta().row(GROUP, &row), Err(StorageError::Damaged(_))), "bit {bit}");
        assert!(matches!(device.meta().scan(GROUP, CatalogueId(1), b"", b"", 9, false), Err(StorageError::Damaged(_))));
        assert!(disk.rot_meta(Family::Catalogues, &key, flip));
    }
    assert!(disk.rot_meta(Family::Catalogues, &key, |value| value.truncate(3)));
    assert!(matches!(device.meta().row(GROUP, &row), Err(StorageError::Damaged(_))));
}

#[test]
fn a_write_that_nobody_waits_for_still_comes_to_its_end() {
    let (_disk, device) = disk();
    let mut write = start(&device, fid(GROUP, 1));
    assert!(step(&mut write).is_none());
    drop(write);
    let mut drained: Started<_> = {
        let device = device.clone();
        Box::pin(async move { device.drain().await })
    };
    assert!(step(&mut drained).is_none(), "a write is under way");
    pump(&device);
    assert_eq!(step(&mut drained), Some(Ok(())));
    assert_eq!((read(&device, fid(GROUP, 1)), device.usage().units), (Ok(()), 1));
}

#[test]
fn no_room_for_metadata_refuses_writes_and_takes_deletes() {
    let disk = SimDisk::new(identity(64 * BLOCK), 1);
    let device = disk.open(&storage::OpenOptions { meta_reserve_bytes: 1000, ..options() }).expect("opens");
    write(&device, fid(GROUP, 1)).expect("writes");
    for (free, out, spent) in [(999, false, false), (665, true, false), (332, true, true), (999, false, false)] {
        disk.set_faults(Faults { meta_free_bytes: free, ..Faults::default() });
        assert_eq!((device.meta().is_out(), device.meta().is_spent()), (Ok(out), Ok(spent)), "{free} bytes");
    }
    assert!(matches!(write(&device, fid(GROUP, 2)), Err(StorageError::Full(_))));
    let handle = device.clone();
    let mut delete: Started<_> = Box::pin(async move { handle.delete_fids(&[fid(GROUP, 1)]).await });
    assert!(step(&mut delete).is_none());
    pump(&device);
    assert_eq!((step(&mut delete), device.usage().free), (Some(Ok(())), device.usage().bytes));
}

#[test]
fn a_fid_that_is_forgotten_and_deleted_in_one_batch_is_dead_all_the_same() {
    let (_disk, device) = disk();
    let gone = fid(GROUP, 1);
    write(&device, gone).expect("writes");
    let (one, other) = (device.clone(), device.clone());
    let mut forget: Started<_> = Box::pin(async move { one.forget_fids(&[gone]).await });
    let mut delete: Started<_> = Box::pin(async move { other.delete_fids(&[gone]).await });
    assert!(step(&mut forget).is_none() && step(&mut delete).is_none());
    pump(&device);
    assert_eq!((step(&mut forget), step(&mut delete)), (Some(Ok(())), Some(Ok(()))));
    assert_eq!(write(&device, gone), Err(StorageError::Fenced(gone)), "its delete was acknowledged");
}

#[test]
fn a_unit_spread_over_a_fragmented_device_reads_back_also_after_a_power_cut() {
    let (disk, device) = disk();
    let small = |counter| fid(GROUP, counter);
    let mut count = 0;
    while write(&device, small(count)).is_ok() {
        count += 1;
    }
    assert!(count >= 20, "{count} units of 3 blocks are not all of 62");
    let odd: Vec<Fid> = (0..count).filter(|counter| counter % 2 == 1).map(small).collect();
    let handle = device.clone();
    let mut delete: Started<_> = Box::pin(async move { handle.delete_fids(&odd).await });
    assert!(step(&mut delete).is_none());
    pump(&device);
    // 18 blocks and their header, where no more than 5 lie together.
    let large = fid(GROUP, 1000);
    let data = payload(large, 0, 18);
    let sums = unit_checksums(large, 0, &data);
    let (handle, copy, these) = (device.clone(), AlignedBuf::copy_of(&data), sums.clone());
    let mut write: Started<_> = Box::pin(async move { handle.write_unit(unit_info(large, 0, 18), these, copy).await });
    assert!(step(&mut write).is_none());
    pump(&device);
    assert!(matches!(step(&mut write), Some(Ok(_))));
    disk.cut_power();
    let device = disk.open(&options()).expect("opens");
    let whole = block_on(device.read_unit(large, 0, 0, data.len() as u32, AlignedBuf::zeroed(data.len()))).expect("reads");
    assert!(IoBuf::bytes(&whole.0) == &data[..] && whole.1 == sums);
    let tail = block_on(device.read_unit(large, 0, 65536, 2 * BLOCK_BYTES as u32, AlignedBuf::zeroed(2 * BLOCK_BYTES))).expect("reads");
    assert!(IoBuf::bytes(&tail.0) == &data[65536..] && tail.1 == sums[1..]);
}
