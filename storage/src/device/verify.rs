//! All units of a device read once, without changing anything: what `Device::verify` finds.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::Arc;

use types::Fid;
use types::checksum::first_bad_chunk;
use types::limits::{BLOCK_BYTES, UNIT_BYTES_MAX};

use super::core::each_unit;
use super::open;
use crate::alloc::Allocator;
use crate::io::file;
use crate::meta::rocks::RocksStore;
use crate::meta::{Health, Meta};
use crate::options::OpenOptions;
use crate::unit::UnitRecord;
use crate::{Identity, StorageError};

/// A unit that is not what was written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BadUnit {
    /// Which chunk of an object.
    pub fid: Fid,
    /// Which unit.
    pub unit: u32,
    /// What is wrong with it.
    pub why: String,
}

/// What a pass over a device found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct VerifyReport {
    /// Units read.
    pub units: u64,
    /// Bytes of their data.
    pub bytes: u64,
    /// Bytes free.
    pub free: u64,
    /// Superblocks that are damaged (the other is good).
    pub superblocks_bad: usize,
    /// Units that are not what was written.
    pub bad: Vec<BadUnit>,
}

pub(super) fn verify(dir: &Path, options: &OpenOptions) -> Result<VerifyReport, StorageError> {
    let found = open::check(dir, options)?;
    let path = open::blocks(dir);
    let blocks = File::open(&path).map_err(|e| StorageError::io(format!("opening {}", path.display()), &e))?;
    file::lock(&blocks, &path, options.lock_wait)?;
    let store = RocksStore::open(&open::meta(dir))?;
    let meta = Meta::new(Arc::new(store), Arc::<Health>::default(), 0)?;
    let mut space = Allocator::new(found.identity.area());
    let mut report = VerifyReport { superblocks_bad: found.damaged.len(), ..VerifyReport::default() };
    let mut block = vec![0; BLOCK_BYTES];
    let mut data = vec![0; UNIT_BYTES_MAX];
    each_unit(&meta, |record| {
        report.units += 1;
        report.bytes += u64::from(record.info.length);
        let overlap = record.extents.iter().any(|extent| !space.claim(*extent));
        let why = match fault(&blocks, &record, &found.identity, &mut block, &mut data) {
            Err(error) => Some(format!("it does not read: {error}")),
            Ok(None) if overlap => Some("its space is another's, or not of the device".to_string()),
            Ok(fault) => fault,
        };
        let UnitRecord { info, .. } = record;
        report.bad.extend(why.map(|why| BadUnit { fid: info.fid, unit: info.unit, why }));
        Ok(true)
    })?;
    report.free = space.free();
    Ok(report)
}

fn fault(file: &File, record: &UnitRecord, identity: &Identity, block: &mut [u8], data: &mut [u8]) -> io::Result<Option<String>> {
    let data = &mut data[..record.info.length as usize];
    for run in record.runs(0..data.len(), true) {
        let mut at = run.at;
        if run.header {
            file.read_exact_at(block, at)?;
            at += block.len() as u64;
        }
        file.read_exact_at(&mut data[run.data], at)?;
    }
    if UnitRecord::from_header(block, identity).as_ref() != Some(record) {
        return Ok(Some("its header is damaged".into()));
    }
    let bad = first_bad_chunk(record.info.fid, record.info.unit, 0, data, &record.checksums);
    Ok(bad.map(|chunk| format!("chunk {chunk} is damaged")))
}
