//! CRC32C, seeded with the place of what it covers: a chunk that lies where another belongs is an error too.

use crate::Fid;
use crate::limits::CHUNK_BYTES;

const ALGORITHM: crc_fast::CrcAlgorithm = crc_fast::CrcAlgorithm::Crc32Iscsi;

/// Plain CRC32C (Castagnoli) of `bytes`.
pub fn crc32c(bytes: &[u8]) -> u32 {
    crc_fast::checksum(ALGORITHM, bytes) as u32
}

/// CRC32C of several runs as if they were one.
pub fn crc32c_of(runs: &[&[u8]]) -> u32 {
    let mut digest = crc_fast::Digest::new(ALGORITHM);
    for run in runs {
        digest.update(run);
    }
    digest.finalize() as u32
}

/// CRC32C of two runs together, of which only their CRC32Cs are known; the second has that length.
pub fn crc32c_joined(first: u32, second: u32, second_length: u64) -> u32 {
    Crc::Crc32c.joined(first.into(), second.into(), second_length) as u32
}

/// Checksums of two runs that give that of both together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Crc {
    /// CRC32 of ISO-HDLC, as zip has it.
    Crc32,
    /// CRC32C (Castagnoli).
    Crc32c,
    /// CRC64 of NVMe.
    Crc64Nvme,
}

impl Crc {
    /// That of both runs; the second has that length.
    pub fn joined(self, first: u64, second: u64, second_length: u64) -> u64 {
        let algorithm = match self {
            Self::Crc32 => crc_fast::CrcAlgorithm::Crc32IsoHdlc,
            Self::Crc32c => ALGORITHM,
            Self::Crc64Nvme => crc_fast::CrcAlgorithm::Crc64Nvme,
        };
        crc_fast::checksum_combine(algorithm, first, second, second_length)
    }
}

/// A CRC32C that is made run by run.
#[derive(Clone, Debug)]
pub struct Digest(crc_fast::Digest);

impl Digest {
    /// That of nothing yet.
    pub fn new() -> Self {
        Self(crc_fast::Digest::new(ALGORITHM))
    }

    /// Goes on with these bytes.
    pub fn update(&mut self, bytes: &[u8]) {
        self.0.update(bytes);
    }

    /// The CRC32C of all runs so far.
    pub fn finish(&self) -> u32 {
        self.0.finalize() as u32
    }
}

impl Default for Digest {
    fn default() -> Self {
        Self::new()
    }
}

/// The checksum of chunk `chunk` (a run of at most [`CHUNK_BYTES`]) of unit `unit` of `fid`.
pub fn chunk_checksum(fid: Fid, unit: u32, chunk: u32, bytes: &[u8]) -> u32 {
    debug_assert!(bytes.len() <= CHUNK_BYTES);
    let mut seed = [0u8; crate::FID_BYTES + 8];
    seed[..crate::FID_BYTES].copy_from_slice(&fid.to_bytes());
    seed[crate::FID_BYTES..crate::FID_BYTES + 4].copy_from_slice(&unit.to_le_bytes());
    seed[crate::FID_BYTES + 4..].copy_from_slice(&chunk.to_le_bytes());
    crc32c_of(&[&seed, bytes])
}

/// The checksums of all chunks of a unit, in order.
pub fn unit_checksums(fid: Fid, unit: u32, bytes: &[u8]) -> Vec<u32> {
    bytes.chunks(CHUNK_BYTES).zip(0..).map(|(chunk, number)| chunk_checksum(fid, unit, number, chunk)).collect()
}

/// Which chunk of `bytes` is not what it was when its checksum was made; chunks are counted from `first`.
pub fn first_bad_chunk(fid: Fid, unit: u32, first: u32, bytes: &[u8], checksums: &[u32]) -> Option<u32> {
    if bytes.chunks(CHUNK_BYTES).len() != checksums.len() {
        return Some(first);
    }
    bytes
        .chunks(CHUNK_BYTES)
        .zip(checksums)
        .zip(first..)
        .find(|((chunk, sum), number)| chunk_checksum(fid, unit, *number, chunk) != **sum)
        .map(|(_, number)| number)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn checksums_of_runs_join_to_that_of_all() {
        let all: Vec<u8> = (0..100_000u32).map(|n| (n * 7 + n / 300) as u8).collect();
        for at in [0, 1, 65_536, 99_999, 100_000] {
            let (first, second) = all.split_at(at);
            assert_eq!(crc32c_joined(crc32c(first), crc32c(second), second.len() as u64), crc32c(&all));
            for (crc, algorithm) in
                [(Crc::Crc32, crc_fast::CrcAlgorithm::Crc32IsoHdlc), (Crc::Crc64Nvme, crc_fast::CrcAlgorithm::Crc64Nvme)]
            {
                let of = |bytes: &[u8]| crc_fast::checksum(algorithm, bytes);
                assert_eq!(crc.joined(of(first), of(second), second.len() as u64), of(&all));
            }
        }
    }
    use crate::{GroupId, PoolId, SessionId};

    const FID: Fid = Fid { group: GroupId { pool: PoolId(1), index: 2 }, session: SessionId(3), counter: 4 };

    #[test]
    fn the_check_value_of_crc32c_is_right() {
        assert_eq!(crc32c(b"123456789"), 0xe306_9283);
    }

    #[test]
    fn a_chunk_in_the_wrong_place_is_found() {
        let bytes = vec![7u8; 3 * CHUNK_BYTES];
        let sums = unit_checksums(FID, 0, &bytes);
        assert_eq!(first_bad_chunk(FID, 0, 0, &bytes, &sums), None);
        assert_eq!(first_bad_chunk(FID, 1, 0, &bytes, &sums), Some(0));
        let swapped = [sums[1], sums[0], sums[2]];
        assert_eq!(first_bad_chunk(FID, 0, 0, &bytes, &swapped), Some(0));
        assert_eq!(first_bad_chunk(FID, 0, 1, &bytes[CHUNK_BYTES..], &sums[1..]), None);
    }

    #[test]
    fn every_flipped_bit_is_found() {
        let mut bytes = vec![0u8; 100];
        let sums = unit_checksums(FID, 0, &bytes);
        for bit in 0..800 {
            bytes[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(first_bad_chunk(FID, 0, 0, &bytes, &sums), Some(0));
            bytes[bit / 8] ^= 1 << (bit % 8);
        }
    }
}
