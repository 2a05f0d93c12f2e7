//! What a device promised to a workload, and the check of it after the power was cut.
#![allow(dead_code, reason = "each test uses some of it")]

use std::collections::{BTreeMap, BTreeSet};

use futures::executor::block_on;
use rand::Rng;
use rand_chacha::ChaCha8Rng;
use storage::{AlignedBuf, Batch, Device, StorageError};
use types::checksum::unit_checksums;
use types::limits::BLOCK_BYTES;
use types::record::RowKey;
use types::wire::request::UnitInfo;
use types::{CatalogueId, Fid, GroupId, PoolId, Seq};

use super::common::{Started, payload, record, unit_info};

pub const GROUP: GroupId = GroupId { pool: PoolId(1), index: 0 };
pub const META_GROUP: GroupId = GroupId { pool: PoolId(2), index: 9 };
const CATALOGUE: CatalogueId = CatalogueId(5);

/// What a group's metadata is: rows, log bounds, state.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct MetaModel {
    rows: BTreeMap<Vec<u8>, (Seq, Vec<u8>)>,
    log: Vec<Seq>,
    state: Option<Vec<u8>>,
}

/// What was promised so far.
#[derive(Default)]
pub struct Promises {
    /// Acknowledged and not asked to be deleted since.
    pub units: BTreeMap<(Fid, u32), u32>,
    /// Begun, and the answer was an error or none: may be there or not.
    pub unsure: BTreeMap<(Fid, u32), u32>,
    /// Deletes that were acknowledged.
    pub dead: BTreeSet<Fid>,
    /// Metadata after each commit that was tried; everything up to `synced` was acknowledged as durable.
    pub history: Vec<MetaModel>,
    pub synced: usize,
}

impl Promises {
    pub fn new() -> Self {
        Self { history: vec![MetaModel::default()], ..Self::default() }
    }

    pub fn delete(&mut self, fid: Fid) {
        let gone: Vec<_> = self.units.range((fid, 0)..=(fid, u32::MAX)).map(|(name, blocks)| (*name, *blocks)).collect();
        for (name, blocks) in gone {
            self.units.remove(&name);
            self.unsure.insert(name, blocks);
        }
    }
}

pub fn start_write(device: &Device, fid: Fid, unit: u32, blocks: u32) -> Started<Result<AlignedBuf, StorageError>> {
    let data = payload(fid, unit, blocks);
    let sums = unit_checksums(fid, unit, &data);
    let device = device.clone();
    Box::pin(async move { device.write_unit(unit_info(fid, unit, blocks), sums, AlignedBuf::copy_of(&data)).await })
}

/// A batch of changes to a group, and what the group is after it. `value_bytes` draws how long a value is.
pub fn meta_batch(
    device: &Device,
    rng: &mut ChaCha8Rng,
    before: &MetaModel,
    value_bytes: impl Fn(&mut ChaCha8Rng) -> usize,
) -> (Batch, MetaModel) {
    let mut model = before.clone();
    let mut batch = device.meta().batch();
    for _ in 0..rng.random_range(1..4) {
        let row = RowKey { catalogue: CATALOGUE, key: vec![b'k', rng.random_range(0..8)] };
        match rng.random_range(0..6) {
            0 => {
                batch.delete_row(META_GROUP, &row);
                model.rows.remove(&row.key);
            }
            1 | 2 => {
                let last = model.log.last().copied().unwrap_or(Seq(10));
                batch.append_record(META_GROUP, &record(last.next()));
                model.log.push(last.next());
            }
            3 if !model.log.is_empty() => {
                let at = Seq(rng.random_range(model.log[0].0 - 1..=model.log[model.log.len() - 1].0));
                if rng.random() {
                    batch.cut_log(META_GROUP, at);
                    model.log.retain(|seq| *seq <= at);
                } else {
                    batch.prune_log(META_GROUP, at);
                    model.log.retain(|seq| *seq > at);
                }
            }
            4 => {
                let state = vec![rng.random(); 5];
                batch.put_replica_state(META_GROUP, &state);
                model.state = Some(state);
            }
            _ => {
                let (version, value) = (Seq(rng.random_range(1..1000)), vec![rng.random(); value_bytes(rng)]);
                batch.put_row(META_GROUP, &row, version, &value);
                model.rows.insert(row.key, (version, value));
            }
        }
    }
    (batch, model)
}

pub fn meta_now(device: &Device) -> MetaModel {
    let meta = device.meta();
    let rows = meta.scan(META_GROUP, CATALOGUE, b"", b"k", 1000, true).expect("rows read");
    let log = match meta.log_bounds(META_GROUP) {
        Some((first, last)) => meta.log(META_GROUP, first..=last, usize::MAX).expect("the log reads").iter().map(|r| r.seq).collect(),
        None => Vec::new(),
    };
    let rows = rows.into_iter().map(|row| (row.key, (row.row.version, row.row.value))).collect();
    MetaModel { rows, log, state: meta.replica_state(META_GROUP).expect("the state reads") }
}

pub fn read(device: &Device, fid: Fid, unit: u32, blocks: u32) -> Result<Vec<u8>, StorageError> {
    block_on(start_read(device, fid, unit, blocks))
}

async fn start_read(device: &Device, fid: Fid, unit: u32, blocks: u32) -> Result<Vec<u8>, StorageError> {
    let length = blocks * BLOCK_BYTES as u32;
    let buf = AlignedBuf::zeroed(length as usize);
    let (buf, _) = device.read_unit(fid, unit, 0, length, buf).await?;
    Ok(types::buf::IoBuf::bytes(&buf).to_vec())
}

/// Checks a device that was opened after a crash against what was promised before it.
pub fn check(device: &Device, promises: &Promises) {
    let there = device.units(GROUP, None, usize::MAX).expect("records read");
    let mut names = BTreeSet::new();
    let mut stored = 0;
    let blocks_of = |info: &UnitInfo| info.length / BLOCK_BYTES as u32;
    let reads = there.iter().map(|info| start_read(device, info.fid, info.unit, blocks_of(info)));
    for (info, bytes) in there.iter().zip(block_on(futures::future::join_all(reads))) {
        let name = (info.fid, info.unit);
        names.insert(name);
        let blocks = blocks_of(info);
        stored += u64::from(info.length) + BLOCK_BYTES as u64;
        let expected = promises.units.get(&name).or_else(|| promises.unsure.get(&name));
        assert_eq!(expected, Some(&blocks), "{name:?} is there and should not be");
        assert!(bytes.expect("a unit that is there reads") == payload(info.fid, info.unit, blocks));
    }
    for name in promises.units.keys() {
        assert!(names.contains(name), "{name:?} was acknowledged and is gone");
    }
    for fid in &promises.dead {
        assert!(!names.iter().any(|name| name.0 == *fid), "{fid} was deleted and is there");
        let again = block_on(start_write(device, *fid, 9, 1));
        assert!(matches!(again, Err(StorageError::Fenced(_))), "{fid} is dead and was written");
    }
    let usage = device.usage();
    assert_eq!((usage.free + stored, usage.units), (usage.bytes, there.len() as u64), "space is conserved");
    let now = meta_now(device);
    assert!(promises.history[promises.synced..].contains(&now), "{now:?} is not a prefix of what was committed");
}
