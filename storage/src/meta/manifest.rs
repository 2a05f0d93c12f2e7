//! A look at RocksDB's manifests before RocksDB opens them, for two kinds of damage that it does not report (found by flipping bits):
//!
//! - A record whose type says that it lies in a *recycled* log, which none of ours is. RocksDB 11.8 reads such a record again and again and never
//!   returns; as the first of a file it makes RocksDB take the whole file for an old one, and drop it without a word.
//! - A last block in which a record's length is too long. RocksDB takes that for the torn tail that a crash leaves and drops everything
//!   from there on, synced or not. A record that is whole but for one bit of its length was not torn: its checksum says so.
//!
//! Everything else is left to RocksDB: what is torn it drops, what is damaged it refuses. A manifest has the form of its logs: blocks of
//! 32 KiB, in them records of checksum (4, masked), length (2), type (1) and payload; no record crosses a block.

use std::fs::{self, File};
use std::io::{ErrorKind, Read};
use std::path::Path;

use types::checksum::crc32c_of;

use crate::StorageError;

const BLOCK_BYTES: usize = 32 * 1024;
const HEADER_BYTES: usize = 7;
const MASK_DELTA: u32 = 0xa282_ead8;

/// Types of records that only recycled logs have.
fn is_recycled(kind: u8) -> bool {
    matches!(kind, 5..=8 | 11 | 131)
}

/// Checks the manifests in RocksDB's directory; changes nothing.
pub fn check(dir: &Path) -> Result<(), StorageError> {
    let failed = |error: std::io::Error| StorageError::io(format!("reading {}", dir.display()), &error);
    for entry in fs::read_dir(dir).map_err(failed)? {
        let path = entry.map_err(failed)?.path();
        let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        if name.starts_with("MANIFEST-") {
            check_file(&path)?;
        }
    }
    Ok(())
}

fn check_file(path: &Path) -> Result<(), StorageError> {
    let failed = |error: std::io::Error| StorageError::io(format!("reading {}", path.display()), &error);
    let mut file = File::open(path).map_err(failed)?;
    let mut block = vec![0; BLOCK_BYTES];
    for number in 0u64.. {
        let filled = fill(&mut file, &mut block).map_err(failed)?;
        match check_block(&block[..filled]) {
            Ok(true) if filled == BLOCK_BYTES => {}
            // The end, or damage that RocksDB sees and weighs itself.
            Ok(_) => return Ok(()),
            Err((at, why)) => {
                let at = number * BLOCK_BYTES as u64 + at as u64;
                return Err(StorageError::Damaged(format!("{} at byte {at}: {why}", path.display())));
            }
        }
    }
    Ok(())
}

fn fill(file: &mut File, block: &mut [u8]) -> std::io::Result<usize> {
    let mut filled = 0;
    while filled < block.len() {
        match file.read(&mut block[filled..]) {
            Ok(0) => break,
            Ok(read) => filled += read,
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(filled)
}

/// Whether all records of a block are whole; an error, with its place, for damage that RocksDB would not report.
fn check_block(block: &[u8]) -> Result<bool, (usize, &'static str)> {
    let mut at = 0;
    while let Some((header, rest)) = block[at..].split_first_chunk::<HEADER_BYTES>() {
        let [a, b, c, d, low, high, kind] = *header;
        let sum = u32::from_le_bytes([a, b, c, d]).wrapping_sub(MASK_DELTA).rotate_right(17);
        let length = u16::from_le_bytes([low, high]);
        if is_recycled(kind) {
            return Err((at, "a record of a recycled log, and none is recycled"));
        }
        let holds = |length: u16| rest.get(..usize::from(length)).is_some_and(|payload| crc32c_of(&[&[kind], payload]) == sum);
        if !holds(length) {
            let flipped = usize::from(length) > rest.len() && (0..16).any(|bit| holds(length ^ 1 << bit));
            return if flipped { Err((at, "a record is whole but for its length")) } else { Ok(false) };
        }
        at += HEADER_BYTES + usize::from(length);
    }
    Ok(true)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(kind: u8, payload: &[u8]) -> Vec<u8> {
        let sum = crc32c_of(&[&[kind], payload]).rotate_left(17).wrapping_add(MASK_DELTA);
        let mut out = sum.to_le_bytes().to_vec();
        out.extend((payload.len() as u16).to_le_bytes());
        out.push(kind);
        out.extend(payload);
        out
    }

    fn block() -> Vec<u8> {
        [record(1, b"one"), record(1, &[7; 300]), record(1, b"three")].concat()
    }

    #[test]
    fn whole_records_pass_and_a_torn_last_one_is_left_to_rocksdb() {
        let block = block();
        assert_eq!(check_block(&block), Ok(true));
        let ends = [0, 10, 317, block.len()];
        for cut in 0..block.len() {
            let rest_of_header = ends.iter().any(|end| (*end..end + HEADER_BYTES).contains(&cut));
            assert_eq!(check_block(&block[..cut]), Ok(rest_of_header), "cut at {cut}");
        }
    }

    #[test]
    fn no_flipped_bit_passes_for_a_torn_tail() {
        let good = block();
        for bit in 0..good.len() * 8 {
            let mut bad = good.clone();
            bad[bit / 8] ^= 1 << (bit % 8);
            let outcome = check_block(&bad);
            assert_ne!(outcome, Ok(true), "bit {bit}");
            // What is not refused here has its whole length in the file: RocksDB sees a wrong checksum, not an end.
            let kind_of = |at: usize| bad[at + 6];
            let long =
                [0, 10, 317].iter().any(|at| HEADER_BYTES + at + usize::from(u16::from_le_bytes([bad[at + 4], bad[at + 5]])) > bad.len());
            let recycled = [0, 10, 317].iter().any(|at| is_recycled(kind_of(*at)));
            assert_eq!(outcome.is_err(), long || recycled, "bit {bit}");
        }
    }
}
