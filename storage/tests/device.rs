//! A real device in a real directory: what it stores, what it refuses, and what it finds damaged.

#[path = "support/common.rs"]
mod common;

use std::fs::{self, File, OpenOptions as FileOptions};
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::time::Duration;

use common::{CLUSTER, DEVICE, fid, options, payload, record, unit_info};
use storage::{AlignedBuf, Device, Durability, FormatOptions, IoMode, OpenOptions, StorageError};
use types::buf::IoBuf;
use types::checksum::unit_checksums;
use types::limits::{BLOCK_BYTES, CHUNK_BYTES};
use types::record::RowKey;
use types::{CatalogueId, ClusterId, DeviceId, Fid, GroupId, Incarnation, PoolId, Seq, SessionId};

const GROUP: GroupId = GroupId { pool: PoolId(1), index: 0 };
const BYTES: u64 = 8 * 1024 * 1024;

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime")
}

fn format(dir: &Path) {
    Device::format(dir, &FormatOptions::new(CLUSTER, DEVICE, Incarnation(1), BYTES)).expect("formats");
}

fn formatted() -> tempfile::TempDir {
    let dir = tempfile::tempdir().expect("a directory");
    format(dir.path());
    dir
}

fn open(dir: &Path) -> Device {
    Device::open(dir, &options()).expect("opens")
}

async fn write(device: &Device, fid: Fid, unit: u32, blocks: u32) -> Result<AlignedBuf, StorageError> {
    let data = payload(fid, unit, blocks);
    let sums = unit_checksums(fid, unit, &data);
    device.write_unit(unit_info(fid, unit, blocks), sums, AlignedBuf::copy_of(&data)).await
}

async fn read(device: &Device, fid: Fid, unit: u32, blocks: u32) -> Result<Vec<u8>, StorageError> {
    let length = blocks as usize * BLOCK_BYTES;
    let (buf, sums) = device.read_unit(fid, unit, 0, length as u32, AlignedBuf::zeroed(length)).await?;
    assert_eq!(sums, unit_checksums(fid, unit, buf.bytes()));
    Ok(buf.bytes().to_vec())
}

fn blocks_file(dir: &Path) -> File {
    FileOptions::new().read(true).write(true).open(dir.join("blocks")).expect("the data file")
}

fn flip(dir: &Path, at: u64) {
    let file = blocks_file(dir);
    let mut byte = [0];
    file.read_exact_at(&mut byte, at).expect("reads");
    file.write_all_at(&[byte[0] ^ 0x40], at).expect("writes");
}

#[test]
fn units_come_back_in_every_mode_and_after_the_device_was_closed() {
    let dir = formatted();
    let modes = [(IoMode::Uring, true), (IoMode::Plain, true), (IoMode::Uring, false), (IoMode::Plain, false), (IoMode::Auto, true)];
    for (counter, (io, direct)) in (0..).zip(modes) {
        let device = Device::open(dir.path(), &OpenOptions { io, direct, ..options() }).expect("opens");
        runtime().block_on(async {
            for (unit, blocks) in [(0, 1), (1, 16), (2, 17), (3, 256)] {
                write(&device, fid(GROUP, counter), unit, blocks).await.expect("writes");
            }
            for counter in 0..=counter {
                for (unit, blocks) in [(0, 1), (1, 16), (2, 17), (3, 256)] {
                    let bytes = read(&device, fid(GROUP, counter), unit, blocks).await.expect("reads");
                    assert!(bytes == payload(fid(GROUP, counter), unit, blocks), "{io:?} {direct} {unit}");
                }
            }
        });
    }
    let report = Device::verify(dir.path(), &options()).expect("verifies");
    assert_eq!((report.units, report.bad.len(), report.superblocks_bad), (20, 0, 0));
}

#[test]
fn a_range_of_chunks_is_read_and_nothing_else_is_taken_for_one() {
    let dir = formatted();
    let device = open(dir.path());
    runtime().block_on(async {
        let fid = fid(GROUP, 1);
        write(&device, fid, 0, 40).await.expect("writes");
        let whole = payload(fid, 0, 40);
        for (offset, length) in [(CHUNK_BYTES, CHUNK_BYTES), (2 * CHUNK_BYTES, 8 * BLOCK_BYTES), (CHUNK_BYTES, 24 * BLOCK_BYTES)] {
            let (buf, sums) = device.read_unit(fid, 0, offset as u32, length as u32, AlignedBuf::zeroed(length)).await.expect("reads");
            assert!(buf.bytes() == &whole[offset..offset + length]);
            assert_eq!(sums, unit_checksums(fid, 0, &whole)[offset / CHUNK_BYTES..(offset + length).div_ceil(CHUNK_BYTES)]);
        }
        for (offset, length, room) in [(0, 4096, 4096), (4096, 4096, 4096), (0, 65536, 4096), (131_072, 65536, 65536)] {
            let answer = device.read_unit(fid, 0, offset, length, AlignedBuf::zeroed(room)).await;
            assert!(matches!(answer, Err(StorageError::Invalid(_))), "{offset} {length}");
        }
        let missing = device.read_unit(fid, 1, 0, 4096, AlignedBuf::zeroed(4096)).await;
        assert_eq!(missing.map(drop), Err(StorageError::NoUnit { fid, unit: 1 }));
    });
}

#[test]
fn the_same_unit_twice_is_one_and_another_content_is_refused() {
    let dir = formatted();
    let device = open(dir.path());
    runtime().block_on(async {
        let fid = fid(GROUP, 1);
        let free = device.usage().free;
        let (first, second) = tokio::join!(write(&device, fid, 0, 2), write(&device, fid, 0, 2));
        assert!(first.is_ok() && second.is_ok());
        write(&device, fid, 0, 2).await.expect("and again");
        assert_eq!((device.usage().units, free - device.usage().free), (1, 3 * BLOCK_BYTES as u64));
        assert_eq!(write(&device, fid, 0, 3).await.map(drop), Err(StorageError::Conflict { fid, unit: 0 }));
    });
}

#[test]
fn bad_requests_are_refused_before_any_effect() {
    let dir = formatted();
    let device = open(dir.path());
    runtime().block_on(async {
        let fid = fid(GROUP, 1);
        let data = payload(fid, 0, 2);
        let sums = unit_checksums(fid, 0, &data);
        let mut damaged = data.clone();
        damaged[5000] ^= 1;
        let answer = device.write_unit(unit_info(fid, 0, 2), sums.clone(), AlignedBuf::copy_of(&damaged)).await;
        assert_eq!(answer.map(drop), Err(StorageError::BadChecksum { fid, unit: 0, chunk: 0 }));
        let wrong = device.write_unit(unit_info(fid, 1, 2), sums.clone(), AlignedBuf::copy_of(&data)).await;
        assert!(matches!(wrong, Err(StorageError::BadChecksum { .. })), "the checksums are of another unit");
        let short = device.write_unit(unit_info(fid, 0, 3), sums.clone(), AlignedBuf::copy_of(&data)).await;
        assert!(matches!(short, Err(StorageError::Invalid(_))));
        let mut odd = unit_info(fid, 0, 2);
        odd.length = 5000;
        assert!(matches!(device.write_unit(odd, sums, AlignedBuf::copy_of(&data)).await, Err(StorageError::Invalid(_))));
        assert!(matches!(device.delete_fids(&vec![fid; 1025]).await, Err(StorageError::Invalid(_))));
        assert_eq!((device.usage().units, device.usage().free), (0, device.usage().bytes));
        assert_eq!(device.failure(), None);
    });
}

#[test]
fn a_dead_fid_and_a_closed_session_are_refused_for_good() {
    let dir = formatted();
    let device = open(dir.path());
    runtime().block_on(async {
        let (dead, alive) = (fid(GROUP, 1), fid(GROUP, 2));
        write(&device, dead, 0, 2).await.expect("writes");
        write(&device, alive, 0, 2).await.expect("writes");
        device.delete_fids(&[dead, dead]).await.expect("deletes");
        device.delete_fids(&[dead]).await.expect("deletes again");
        assert_eq!(write(&device, dead, 1, 1).await.map(drop), Err(StorageError::Fenced(dead)));
        assert_eq!(read(&device, dead, 0, 2).await, Err(StorageError::NoUnit { fid: dead, unit: 0 }));
        assert!(read(&device, alive, 0, 2).await.is_ok());
    });
    drop(device);
    let closed = OpenOptions { closed: std::sync::Arc::new(|session| session.0 == 11), ..options() };
    let device = Device::open(dir.path(), &closed).expect("opens");
    runtime().block_on(async {
        let (dead, alive) = (fid(GROUP, 1), fid(GROUP, 2));
        assert_eq!(write(&device, dead, 1, 1).await.map(drop), Err(StorageError::Fenced(dead)), "the marker is durable");
        assert_eq!(write(&device, alive, 1, 1).await.map(drop), Err(StorageError::Fenced(alive)), "its session is closed");
        assert_eq!(device.forget_closed_sessions(), Ok(1));
        assert_eq!(write(&device, dead, 1, 1).await.map(drop), Err(StorageError::Fenced(dead)), "its session is closed");
        assert_eq!(device.forget_closed_sessions(), Ok(0));
        assert!(read(&device, alive, 0, 2).await.is_ok());
    });
    drop(device);
    runtime().block_on(async { write(&open(dir.path()), fid(GROUP, 1), 1, 1).await.expect("no marker is left") });
}

#[test]
fn a_row_that_only_the_disk_has_is_not_waited_for() {
    let dir = formatted();
    let row = RowKey { catalogue: CatalogueId(5), key: b"key".to_vec() };
    let device = open(dir.path());
    let mut batch = device.meta().batch();
    batch.put_row(GROUP, &row, Seq(3), b"value");
    device.meta().commit(batch, Durability::Sync).expect("commits");
    let held = device.meta().row(GROUP, &row).expect("reads");
    assert!(held.is_some());
    assert_eq!(device.meta().row_now(GROUP, &row), Ok(Some(held.clone())), "it is in memory");
    drop(device);
    // Opening puts what the journal has into tables.
    let device = open(dir.path());
    assert_eq!(device.meta().row_now(GROUP, &row), Ok(None));
    assert_eq!(device.meta().row(GROUP, &row).as_ref(), Ok(&held));
    assert_eq!(device.meta().row_now(GROUP, &row), Ok(Some(held)), "it is cached by now");
}

#[test]
fn markers_of_dead_fids_stay_as_long_as_their_session_and_no_longer() {
    let dir = formatted();
    let of = |session: u64, counter: u64| Fid { session: SessionId(session), ..fid(GROUP, counter) };
    let device = open(dir.path());
    runtime().block_on(async {
        // More than are looked at in one batch, of two sessions in turns.
        for first in (0..2000).step_by(1000) {
            let fids: Vec<Fid> = (first..first + 1000).map(|counter| of(20 + counter % 2, counter)).collect();
            device.delete_fids(&fids).await.expect("deletes");
        }
    });
    assert_eq!(device.forget_closed_sessions(), Ok(0), "both may still write");
    drop(device);
    let closed = OpenOptions { closed: std::sync::Arc::new(|session| session.0 == 20), ..options() };
    let device = Device::open(dir.path(), &closed).expect("opens");
    assert_eq!(device.forget_closed_sessions(), Ok(1000));
    assert_eq!(device.forget_closed_sessions(), Ok(0));
    runtime().block_on(async {
        assert!(matches!(write(&device, of(20, 0), 0, 1).await, Err(StorageError::Fenced(_))), "closed");
        assert!(matches!(write(&device, of(21, 1999), 0, 1).await, Err(StorageError::Fenced(_))), "dead");
        write(&device, of(21, 3000), 0, 1).await.expect("neither");
    });
}

#[test]
fn a_full_device_refuses_writes_and_still_reads_and_deletes() {
    let dir = formatted();
    let device = open(dir.path());
    runtime().block_on(async {
        let mut counter = 0;
        let full = loop {
            match write(&device, fid(GROUP, counter), 0, 200).await {
                Ok(_) => counter += 1,
                Err(error) => break error,
            }
        };
        assert!(matches!(full, StorageError::Full(_)), "{full}");
        assert!(counter >= 9);
        assert!(read(&device, fid(GROUP, 0), 0, 200).await.is_ok());
        device.delete_fids(&[fid(GROUP, 0)]).await.expect("deletes");
        write(&device, fid(GROUP, counter), 0, 200).await.expect("the space is used again");
        for counter in 0..=counter {
            device.delete_fids(&[fid(GROUP, counter)]).await.expect("deletes");
        }
        assert_eq!(device.usage().free, device.usage().bytes);
    });
    drop(device);
    let reserve = OpenOptions { meta_reserve_bytes: u64::MAX, ..options() };
    let device = Device::open(dir.path(), &reserve).expect("opens");
    runtime().block_on(async {
        assert!(matches!(write(&device, fid(GROUP, 99), 0, 1).await, Err(StorageError::Full(_))));
        assert!(matches!(device.meta().admit(), Err(StorageError::Full(_))));
        assert_eq!(device.meta().is_out(), Ok(true), "what is left is far less than two thirds of that reserve");
        assert_eq!(device.meta().is_spent(), Ok(true), "and than one");
        device.delete_fids(&[fid(GROUP, 99)]).await.expect("deletes");
    });
}

#[test]
fn one_flipped_byte_anywhere_in_a_unit_is_found_on_read() {
    let dir = formatted();
    let at = |offset: u64| BLOCK_BYTES as u64 + offset;
    let fid = fid(GROUP, 1);
    runtime().block_on(async { write(&open(dir.path()), fid, 0, 33).await.expect("writes") });
    let unit_bytes = 34 * BLOCK_BYTES as u64;
    let places = [0, 15, 40, 100, 4095, 4096, 4097, 69631, 69632, 69633, 100_000, unit_bytes - 1].into_iter();
    for offset in places.chain((0..unit_bytes).step_by(7919)) {
        flip(dir.path(), at(offset));
        // Opened anew, without the page cache between: what the disk has is what is read.
        let device = open(dir.path());
        let chunk = (offset as usize).saturating_sub(BLOCK_BYTES) / CHUNK_BYTES;
        runtime().block_on(async {
            let expected = StorageError::Corrupt { fid, unit: 0, chunk: chunk as u32 };
            assert_eq!(read(&device, fid, 0, 33).await, Err(expected), "byte {offset}");
        });
        drop(device);
        let report = Device::verify(dir.path(), &options()).expect("verifies");
        assert_eq!((report.bad.len(), report.units), (1, 1), "byte {offset}");
        flip(dir.path(), at(offset));
    }
    runtime().block_on(async { read(&open(dir.path()), fid, 0, 33).await.expect("whole again") });
}

#[test]
fn a_damaged_unit_is_written_anew_and_a_delete_wins() {
    let dir = formatted();
    let (bad, other) = (fid(GROUP, 1), fid(GROUP, 2));
    // The session is over by then, as that of most units is.
    let closed = OpenOptions { closed: std::sync::Arc::new(|_| true), ..options() };
    runtime().block_on(async { write(&open(dir.path()), bad, 0, 33).await.expect("writes") });
    flip(dir.path(), 3 * BLOCK_BYTES as u64);
    let device = Device::open(dir.path(), &closed).expect("opens");
    let before = device.usage();
    let anew = |fid: Fid| AlignedBuf::copy_of(&payload(fid, 0, 33));
    runtime().block_on(async {
        assert!(matches!(read(&device, bad, 0, 33).await, Err(StorageError::Corrupt { .. })));
        let wrong = device.rewrite_unit(bad, 0, anew(other)).await;
        assert!(matches!(wrong, Err(StorageError::BadChecksum { .. })), "{wrong:?}");
        device.rewrite_unit(bad, 0, anew(bad)).await.expect("writes");
        assert!(read(&device, bad, 0, 33).await.expect("reads") == payload(bad, 0, 33));
        assert_eq!(device.usage(), before, "its old place is free");
    });
    drop(device);
    assert_eq!(Device::verify(dir.path(), &options()).expect("verifies").bad, []);
    let device = Device::open(dir.path(), &closed).expect("opens");
    runtime().block_on(async {
        assert!(read(&device, bad, 0, 33).await.expect("reads") == payload(bad, 0, 33));
        let fids = [bad];
        let (rewritten, deleted) = tokio::join!(device.rewrite_unit(bad, 0, anew(bad)), device.delete_fids(&fids));
        deleted.expect("deletes");
        assert!(rewritten.is_ok() || matches!(rewritten, Err(StorageError::NoUnit { .. })), "{rewritten:?}");
        assert!(matches!(device.rewrite_unit(bad, 0, anew(bad)).await, Err(StorageError::NoUnit { .. })));
        let left = device.usage();
        assert_eq!((left.units, left.free), (0, left.bytes), "nothing of it is left");
    });
}

#[test]
fn another_cluster_another_device_and_a_second_process_are_refused_and_nothing_is_touched() {
    let dir = formatted();
    let before = fs::read(dir.path().join("blocks")).expect("reads");
    let names = |path: &Path| -> Vec<_> {
        let mut names: Vec<_> = fs::read_dir(path).expect("lists").map(|e| e.expect("an entry").file_name()).collect();
        names.sort();
        names
    };
    let meta = names(&dir.path().join("meta"));
    let other = OpenOptions { cluster: ClusterId(9), ..options() };
    assert_eq!(Device::open(dir.path(), &other).map(drop), Err(StorageError::WrongCluster { found: CLUSTER, expected: ClusterId(9) }));
    let other = OpenOptions { device: DeviceId(9), ..options() };
    assert_eq!(Device::open(dir.path(), &other).map(drop), Err(StorageError::WrongDevice { found: DEVICE, expected: DeviceId(9) }));
    assert!(before == fs::read(dir.path().join("blocks")).expect("reads"));
    assert_eq!(meta, names(&dir.path().join("meta")));
    let identity = Device::probe(dir.path()).expect("probes").expect("a device");
    assert_eq!((identity.cluster, identity.device, identity.incarnation), (CLUSTER, DEVICE, Incarnation(1)));
    let device = open(dir.path());
    let at_once = OpenOptions { lock_wait: Duration::ZERO, ..options() };
    assert!(matches!(Device::open(dir.path(), &at_once), Err(StorageError::InUse(_))));
    assert!(matches!(Device::verify(dir.path(), &at_once), Err(StorageError::InUse(_))));
    let mut again = FormatOptions::new(CLUSTER, DEVICE, Incarnation(2), BYTES);
    assert!(matches!(Device::format(dir.path(), &again), Err(StorageError::NotEmpty(_))));
    again.replace = true;
    again.lock_wait = Duration::ZERO;
    assert!(matches!(Device::format(dir.path(), &again), Err(StorageError::InUse(_))));
    drop(device);
    let fresh = Device::format(dir.path(), &again).expect("is replaced");
    assert_ne!(fresh.uuid, identity.uuid);
    assert_eq!(open(dir.path()).identity().incarnation, Incarnation(2));
}

#[test]
fn a_damaged_superblock_is_written_anew_and_two_are_refused() {
    let dir = formatted();
    for at in [3, BYTES - 4000, BLOCK_BYTES as u64 - 1, BYTES - 1] {
        flip(dir.path(), at);
        assert_eq!(Device::verify(dir.path(), &options()).expect("verifies").superblocks_bad, 1);
        drop(open(dir.path()));
        assert_eq!(Device::verify(dir.path(), &options()).expect("verifies").superblocks_bad, 0, "{at} is healed");
    }
    flip(dir.path(), 3);
    flip(dir.path(), BYTES - 4000);
    assert!(matches!(Device::open(dir.path(), &options()), Err(StorageError::Damaged(_))));
    assert!(matches!(Device::probe(dir.path()), Err(StorageError::Damaged(_))));
    flip(dir.path(), 3);
    drop(open(dir.path()));
    blocks_file(dir.path()).set_len(BYTES - BLOCK_BYTES as u64).expect("is cut");
    assert!(matches!(Device::open(dir.path(), &options()), Err(StorageError::Damaged(_))));
}

#[test]
fn a_format_that_did_not_end_is_no_device_and_can_be_done_again() {
    let dir = formatted();
    File::create(dir.path().join("formatting")).expect("the marker");
    assert!(matches!(Device::open(dir.path(), &options()), Err(StorageError::NotFormatted(_))));
    assert_eq!(Device::probe(dir.path()), Ok(None));
    format(dir.path());
    drop(open(dir.path()));
    let empty = tempfile::tempdir().expect("a directory");
    assert!(matches!(Device::open(empty.path(), &options()), Err(StorageError::NotFormatted(_))));
    assert_eq!(Device::probe(empty.path()), Ok(None));
    let huge = FormatOptions::new(CLUSTER, DEVICE, Incarnation(1), 1 << 50);
    assert!(matches!(Device::format(empty.path(), &huge), Err(StorageError::Io { .. })));
    assert!(!empty.path().join("blocks").exists(), "no space is taken where there is not enough");
    assert_eq!(Device::probe(empty.path()), Ok(None));
    let small = FormatOptions::new(CLUSTER, DEVICE, Incarnation(1), 4096);
    assert!(matches!(Device::format(empty.path(), &small), Err(StorageError::Invalid(_))));
}

#[test]
fn rows_log_and_states_are_there_after_the_device_was_closed() {
    let dir = formatted();
    let row = |key: &[u8]| RowKey { catalogue: CatalogueId(1), key: key.to_vec() };
    let device = open(dir.path());
    let mut batch = device.meta().batch();
    for key in [&b"\x10a"[..], b"\x10b", b"\x10c", b"\x11a"] {
        batch.put_row(GROUP, &row(key), Seq(4), key);
    }
    for seq in 5..=9 {
        batch.append_record(GROUP, &record(Seq(seq)));
    }
    batch.put_replica_state(GROUP, b"state");
    device.meta().commit(batch, Durability::Sync).expect("commits");
    let mut gap = device.meta().batch();
    gap.append_record(GROUP, &record(Seq(11)));
    gap.put_replica_state(GROUP, b"never");
    assert!(matches!(device.meta().commit(gap, Durability::Sync), Err(StorageError::Invalid(_))));
    drop(device);
    let device = open(dir.path());
    let meta = device.meta();
    assert_eq!(meta.replica_states().expect("reads"), vec![(GROUP, b"state".to_vec())]);
    assert_eq!(meta.log_bounds(GROUP), Some((Seq(5), Seq(9))));
    let seqs =
        |from, to, bytes| -> Vec<u64> { meta.log(GROUP, Seq(from)..=Seq(to), bytes).expect("reads").iter().map(|r| r.seq.0).collect() };
    assert_eq!((seqs(1, 100, usize::MAX), seqs(6, 7, usize::MAX), seqs(6, 9, 0)), (vec![5, 6, 7, 8, 9], vec![6, 7], vec![6]));
    assert_eq!((seqs(10, 12, usize::MAX), seqs(1, 4, 9)), (vec![], vec![]));
    let keys = |from: &[u8], prefix: &[u8], limit| -> Vec<Vec<u8>> {
        let rows = meta.scan(GROUP, CatalogueId(1), from, prefix, limit, false).expect("scans");
        assert!(rows.iter().all(|row| row.row.value.is_empty() && row.row.version == Seq(4)));
        rows.into_iter().map(|row| row.key).collect()
    };
    assert_eq!(keys(b"", b"\x10", 9), vec![b"\x10a".to_vec(), b"\x10b".to_vec(), b"\x10c".to_vec()]);
    assert_eq!(keys(b"\x10b", b"\x10", 1), vec![b"\x10b".to_vec()]);
    assert_eq!(keys(b"\x10bb", b"\x10b", 9), Vec::<Vec<u8>>::new());
    assert_eq!(keys(b"", b"", 9).len(), 4);
    assert_eq!(meta.row(GROUP, &row(b"\x10b")).expect("reads").map(|row| row.value), Some(b"\x10b".to_vec()));
    assert_eq!(meta.row(GROUP, &row(b"\x10")).expect("reads"), None);
}

#[test]
fn a_snapshot_shows_the_rows_of_its_moment_page_by_page_and_outlives_the_device() {
    let dir = formatted();
    let device = open(dir.path());
    let other = GroupId { pool: PoolId(1), index: 1 };
    let key = |catalogue: u64, key: u8| RowKey { catalogue: CatalogueId(catalogue), key: vec![1, key] };
    let mut batch = device.meta().batch();
    for (number, row) in [key(1, 0), key(1, 0xff), key(2, 0), key(u64::MAX, 7)].iter().enumerate() {
        batch.put_row(GROUP, row, Seq(number as u64), &[number as u8; 100]);
        batch.put_row(other, row, Seq(9), b"of another group");
    }
    batch.put_replica_state(GROUP, b"then");
    device.meta().commit(batch, Durability::Buffered).expect("commits");
    let snapshot = device.meta().snapshot().expect("a snapshot");
    let mut batch = device.meta().batch();
    batch.wipe_group(GROUP);
    batch.append_record(GROUP, &record(Seq(7)));
    batch.put_replica_state(GROUP, b"now");
    device.meta().commit(batch, Durability::Sync).expect("commits");
    let rows_now = device.meta().scan(GROUP, CatalogueId(1), &[], &[], 10, true).expect("scans");
    assert_eq!((rows_now.len(), device.meta().log_bounds(GROUP)), (0, Some((Seq(7), Seq(7)))));
    assert_eq!(device.meta().scan(other, CatalogueId(1), &[], &[], 10, true).expect("scans").len(), 2);
    drop(device);
    assert_eq!(snapshot.replica_state(GROUP).expect("reads").as_deref(), Some(&b"then"[..]));
    let (mut found, mut after) = (Vec::new(), None);
    loop {
        let page = snapshot.rows(GROUP, after.as_ref(), 3, 250).expect("reads");
        assert!(!page.rows.is_empty() && page.rows.len() <= 2, "two of them have 250 bytes");
        found.extend(page.rows.iter().map(|(key, row)| (key.clone(), row.version)));
        after = page.rows.last().map(|(key, _)| key.clone());
        if page.end {
            break;
        }
    }
    assert_eq!(found, [(key(1, 0), Seq(0)), (key(1, 0xff), Seq(1)), (key(2, 0), Seq(2)), (key(u64::MAX, 7), Seq(3))]);
}
