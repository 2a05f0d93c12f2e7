//! How a unit lies on a device: a header of one block that says what it is, then its data, in one extent or a few; and the record of it
//! in the metadata. Format: `docs/formats/device.md`.

use std::ops::Range;

use serde::{Deserialize, Serialize};
use types::checksum::crc32c_of;
use types::codec;
use types::limits::{BLOCK_BYTES, CHUNK_BYTES, UNIT_BYTES_MAX};
use types::wire::request::UnitInfo;
use types::{Fid, GroupId};

pub use crate::alloc::{EXTENTS_MAX, Extent};
use crate::buf::AlignedBuf;
use crate::io::Run;
use crate::meta::sealed::{self, seal, unseal};
use crate::meta::store::Family;
use crate::{Identity, StorageError};

/// First bytes of a unit's header.
pub const MAGIC: [u8; 8] = *b"RDBTUNIT";
/// Format of the header that this software writes and reads.
pub const HEADER_FORMAT: u32 = 1;
/// Where the header's checksum lies.
const CHECKSUM: Range<usize> = 12..16;
const BODY_LENGTH: Range<usize> = 16..20;
const UUID: Range<usize> = 20..36;
/// Where the body begins.
const BODY: usize = 36;

/// The record of a unit: its header says the same.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct UnitRecord {
    /// What it is.
    pub info: UnitInfo,
    /// Seeded CRC32C of each chunk.
    pub checksums: Vec<u32>,
    /// Where it lies: the header is the first block of the first extent.
    pub extents: Vec<Extent>,
}

impl UnitRecord {
    /// Whether the bounds of everything in it are kept.
    pub fn check(&self) -> Result<(), String> {
        check_info(&self.info, &self.checksums)?;
        let bytes: u128 = self.extents.iter().map(|extent| u128::from(extent.bytes)).sum();
        if self.extents.is_empty() || self.extents.len() > EXTENTS_MAX || bytes != u128::from(stored_bytes(&self.info)) {
            return Err(format!("{} extents of {bytes} bytes do not hold {} bytes", self.extents.len(), self.info.length));
        }
        let aligned = |n: u64| n.is_multiple_of(BLOCK_BYTES as u64);
        match self.extents.iter().find(|extent| extent.bytes == 0 || !aligned(extent.at) || !aligned(extent.bytes)) {
            Some(extent) => Err(format!("{extent:?} is not of whole blocks")),
            None => Ok(()),
        }
    }

    /// Its key in the metadata.
    pub fn key(&self) -> Vec<u8> {
        sealed::unit(self.info.fid, self.info.unit)
    }

    /// Its value in the metadata.
    pub fn to_value(&self) -> Vec<u8> {
        seal(Family::Units, &self.key(), &[&codec::encode(self)])
    }

    /// The inverse of [`UnitRecord::to_value`], checked in every way.
    pub fn from_value(key: &[u8], value: &[u8]) -> Result<Self, StorageError> {
        let damaged = |why: String| StorageError::Damaged(format!("units {}: {why}", sealed::hex(key)));
        let record: Self = codec::decode(unseal(Family::Units, key, value)?).map_err(|error| damaged(error.to_string()))?;
        record.check().map_err(&damaged)?;
        if record.key() != key {
            return Err(damaged(format!("it is of unit {} of {}", record.info.unit, record.info.fid)));
        }
        Ok(record)
    }

    /// The header block.
    pub fn header(&self, identity: &Identity) -> AlignedBuf {
        let body = codec::encode(self);
        let mut block = vec![0u8; BLOCK_BYTES];
        block[..8].copy_from_slice(&MAGIC);
        block[8..12].copy_from_slice(&HEADER_FORMAT.to_le_bytes());
        block[BODY_LENGTH].copy_from_slice(&(body.len() as u32).to_le_bytes());
        block[UUID].copy_from_slice(&identity.uuid.to_le_bytes());
        block[BODY..BODY + body.len()].copy_from_slice(&body);
        let sum = header_checksum(&block);
        block[CHECKSUM].copy_from_slice(&sum.to_le_bytes());
        AlignedBuf::copy_of(&block)
    }

    /// The record that a header block of this device says; `None` where it is damaged or of something else.
    pub fn from_header(block: &[u8], identity: &Identity) -> Option<Self> {
        let sum = u32::from_le_bytes(block.get(CHECKSUM)?.try_into().ok()?);
        let known = block.len() == BLOCK_BYTES
            && block[..8] == MAGIC
            && block[8..12] == HEADER_FORMAT.to_le_bytes()
            && header_checksum(block) == sum
            && block[UUID] == identity.uuid.to_le_bytes();
        let length = u32::from_le_bytes(block.get(BODY_LENGTH)?.try_into().ok()?) as usize;
        let body = block.get(BODY..BODY.checked_add(length)?).filter(|_| known)?;
        let record: Self = codec::decode(body).ok()?;
        record.check().is_ok().then_some(record)
    }

    /// The runs of the data file that hold these bytes of the data, and the header where it is asked for (and `data` begins at 0).
    /// Ranges of a run are relative to the begin of `data`.
    pub(crate) fn runs(&self, data: Range<usize>, header: bool) -> Vec<Run> {
        debug_assert!(!header || data.start == 0);
        // Header and data together are one string of bytes, spread over the extents.
        let from = if header { 0 } else { data.start + BLOCK_BYTES };
        let to = data.end + BLOCK_BYTES;
        let mut runs = Vec::with_capacity(self.extents.len());
        let mut place = 0;
        for extent in &self.extents {
            let end = place + extent.bytes as usize;
            let (first, last) = (from.max(place), to.min(end));
            if first < last {
                let start = first.max(BLOCK_BYTES) - BLOCK_BYTES;
                runs.push(Run {
                    at: extent.at + (first - place) as u64,
                    header: first == 0,
                    data: start - data.start..(last - BLOCK_BYTES - data.start).max(start - data.start),
                });
            }
            place = end;
        }
        runs
    }

    /// The checksums of the chunks of a range that [`check_range`] let pass.
    pub fn checksums_of(&self, data: &Range<usize>) -> &[u32] {
        &self.checksums[data.start / CHUNK_BYTES..data.end.div_ceil(CHUNK_BYTES)]
    }
}

fn header_checksum(block: &[u8]) -> u32 {
    crc32c_of(&[&block[..CHECKSUM.start], &block[CHECKSUM.end..]])
}

/// Bytes that a unit takes on the device.
pub fn stored_bytes(info: &UnitInfo) -> u64 {
    u64::from(info.length) + BLOCK_BYTES as u64
}

/// Whether a unit is of a size that can be stored, with a checksum a chunk.
pub fn check_info(info: &UnitInfo, checksums: &[u32]) -> Result<(), String> {
    let length = info.length as usize;
    if length == 0 || length > UNIT_BYTES_MAX || !length.is_multiple_of(BLOCK_BYTES) {
        return Err(format!("{length} bytes are not 1 to {} whole blocks", UNIT_BYTES_MAX / BLOCK_BYTES));
    }
    if checksums.len() != length.div_ceil(CHUNK_BYTES) {
        return Err(format!("{} checksums for {length} bytes", checksums.len()));
    }
    Ok(())
}

/// The range of a unit's data, if it is whole chunks of it.
pub fn check_range(info: &UnitInfo, offset: u32, length: u32) -> Result<Range<usize>, String> {
    let (offset, length, whole) = (offset as usize, length as usize, info.length as usize);
    let end = offset + length;
    if length == 0 || end > whole || !offset.is_multiple_of(CHUNK_BYTES) || (end != whole && !end.is_multiple_of(CHUNK_BYTES)) {
        return Err(format!("{length} bytes at {offset} are not whole chunks of a unit of {whole} bytes"));
    }
    Ok(offset..end)
}

/// Prefix of the records of all units of a fid.
pub(crate) fn fid_prefix(fid: Fid) -> Vec<u8> {
    fid.to_bytes().to_vec()
}

/// Prefix of the records of all units of a group.
pub(crate) fn group_prefix(group: GroupId) -> Vec<u8> {
    sealed::group(group).to_vec()
}

#[cfg(test)]
mod tests;
