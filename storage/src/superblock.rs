//! Who a device is: one block at the begin of the data file and a copy at its end. Format: `docs/formats/device.md`.
//!
//! Guaranteed: a device of another cluster, of a newer format or with an unknown feature is refused with a clear error and nothing is
//! touched; one damaged copy is written anew from the other; where both are good but differ, or none is, the device does not open.

use std::fs::File;
use std::ops::Range;
use std::os::unix::fs::FileExt;

use types::checksum::crc32c_of;
use types::limits::BLOCK_BYTES;
use types::{ClusterId, DeviceId, Incarnation};

use crate::StorageError;
use crate::alloc::Extent;

/// First bytes of a superblock. Place of magic, format and checksum are for life.
pub const MAGIC: [u8; 8] = *b"REDOUBT\n";
/// Format that this software writes and reads.
pub const FORMAT: u32 = 1;
/// Features that a device may use and this software knows: none yet.
pub const FEATURES: u64 = 0;

const CHECKSUM: Range<usize> = 12..16;
const BLOCK: u64 = BLOCK_BYTES as u64;

/// Who a device is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Identity {
    /// Drawn when it was formatted: two formats of one device differ.
    pub uuid: u128,
    /// The cluster that it belongs to.
    pub cluster: ClusterId,
    /// Its id in the cluster.
    pub device: DeviceId,
    /// HA's number of this format of it.
    pub incarnation: Incarnation,
    /// Size of the data file.
    pub bytes: u64,
}

impl Identity {
    /// Where units lie: everything between the two superblocks.
    pub(crate) fn area(&self) -> Extent {
        Extent { at: BLOCK, bytes: self.bytes - 2 * BLOCK }
    }

    /// Its block.
    pub fn encode(&self) -> [u8; BLOCK_BYTES] {
        let mut block = [0; BLOCK_BYTES];
        block[..8].copy_from_slice(&MAGIC);
        block[8..12].copy_from_slice(&FORMAT.to_le_bytes());
        block[16..24].copy_from_slice(&FEATURES.to_le_bytes());
        block[24..40].copy_from_slice(&self.uuid.to_le_bytes());
        block[40..56].copy_from_slice(&self.cluster.0.to_le_bytes());
        block[56..60].copy_from_slice(&self.device.0.to_le_bytes());
        block[60..64].copy_from_slice(&(BLOCK_BYTES as u32).to_le_bytes());
        block[64..72].copy_from_slice(&self.incarnation.0.to_le_bytes());
        block[72..80].copy_from_slice(&self.bytes.to_le_bytes());
        let sum = checksum(&block);
        block[CHECKSUM].copy_from_slice(&sum.to_le_bytes());
        block
    }
}

/// What a block that should be a superblock is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Copy {
    /// A superblock of ours.
    Good(Identity),
    /// A superblock that is not for this software.
    Refused(StorageError),
    /// Nothing that we know.
    Bad,
}

fn checksum(block: &[u8]) -> u32 {
    crc32c_of(&[&block[..CHECKSUM.start], &block[CHECKSUM.end..]])
}

/// Reads one copy.
pub fn decode(block: &[u8]) -> Copy {
    let Ok(block) = <&[u8; BLOCK_BYTES]>::try_from(block) else { return Copy::Bad };
    let u32_at = |at: usize| u32::from_le_bytes([block[at], block[at + 1], block[at + 2], block[at + 3]]);
    let u64_at = |at: usize| u64::from(u32_at(at)) | u64::from(u32_at(at + 4)) << 32;
    let u128_at = |at: usize| u128::from(u64_at(at)) | u128::from(u64_at(at + 8)) << 64;
    if block[..8] != MAGIC || checksum(block) != u32_at(CHECKSUM.start) {
        return Copy::Bad;
    }
    if u32_at(8) > FORMAT {
        return Copy::Refused(StorageError::NewerFormat { found: u32_at(8), known: FORMAT });
    }
    let unknown = u64_at(16) & !FEATURES;
    if unknown != 0 {
        return Copy::Refused(StorageError::UnknownFeatures(unknown));
    }
    let bytes = u64_at(72);
    if u32_at(8) == 0 || u32_at(60) != BLOCK_BYTES as u32 || bytes < 3 * BLOCK || !bytes.is_multiple_of(BLOCK) {
        return Copy::Bad;
    }
    Copy::Good(Identity {
        uuid: u128_at(24),
        cluster: ClusterId(u128_at(40)),
        device: DeviceId(u32_at(56)),
        incarnation: Incarnation(u64_at(64)),
        bytes,
    })
}

/// What both copies together say.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Found {
    /// Who the device is.
    pub identity: Identity,
    /// Offsets of the copies that have to be written anew.
    pub damaged: Vec<u64>,
}

/// Weighs the two copies of a data file of `bytes` bytes against each other.
pub fn weigh(first: &Copy, last: &Copy, bytes: u64) -> Result<Found, StorageError> {
    let end = bytes.saturating_sub(BLOCK);
    let (identity, damaged) = match (first, last) {
        (Copy::Refused(error), _) | (_, Copy::Refused(error)) => return Err(error.clone()),
        (Copy::Good(a), Copy::Good(b)) if a == b => (*a, Vec::new()),
        (Copy::Good(_), Copy::Good(_)) => return Err(StorageError::Damaged("the two superblocks are of different devices".into())),
        (Copy::Good(a), Copy::Bad) => (*a, vec![end]),
        (Copy::Bad, Copy::Good(b)) => (*b, vec![0]),
        (Copy::Bad, Copy::Bad) => return Err(StorageError::Damaged("neither superblock is readable".into())),
    };
    if identity.bytes != bytes {
        return Err(StorageError::Damaged(format!("the data file has {bytes} bytes, its superblock says {}", identity.bytes)));
    }
    Ok(Found { identity, damaged })
}

/// Reads both copies.
pub fn read(file: &File) -> Result<Found, StorageError> {
    let bytes = file.metadata().map_err(|e| StorageError::io("the data file", &e))?.len();
    let copy = |at: u64| -> Copy {
        let mut block = [0; BLOCK_BYTES];
        // A copy that does not read is a damaged one: the other decides.
        match file.read_exact_at(&mut block, at) {
            Ok(()) => decode(&block),
            Err(_) => Copy::Bad,
        }
    };
    weigh(&copy(0), &copy(bytes.saturating_sub(BLOCK)), bytes)
}

/// Writes copies at these offsets, durably.
pub fn write(file: &File, identity: &Identity, at: &[u64]) -> Result<(), StorageError> {
    let block = identity.encode();
    at.iter()
        .try_for_each(|at| file.write_all_at(&block, *at))
        .and_then(|()| file.sync_all())
        .map_err(|e| StorageError::io("writing a superblock", &e))
}

#[cfg(test)]
mod tests;
