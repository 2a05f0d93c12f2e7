//! Unit headers and index entries under damage, and their golden bytes.

use super::*;
use proptest::prelude::*;
use types::checksum::unit_checksums;
use types::{CatalogueId, ClusterId, DeviceId, Incarnation, PoolId, SessionId};

const BLOCK: u64 = BLOCK_BYTES as u64;

fn identity() -> Identity {
    Identity { uuid: 0xabcd, cluster: ClusterId(1), device: DeviceId(1), incarnation: Incarnation(1), bytes: 1 << 24 }
}

fn record(blocks: u32, extents: Vec<Extent>) -> UnitRecord {
    let fid = Fid { group: GroupId { pool: PoolId(2), index: 3 }, session: SessionId(4), counter: 5 };
    let length = blocks * BLOCK as u32;
    let info = UnitInfo { fid, unit: 6, data: 4, parity: 2, unit_bytes: length, length, catalogue: CatalogueId(7), routing: 8 };
    let checksums = unit_checksums(fid, 6, &vec![0; length as usize]);
    UnitRecord { info, checksums, extents }
}

fn whole(blocks: u32) -> UnitRecord {
    record(blocks, vec![Extent { at: BLOCK, bytes: u64::from(blocks + 1) * BLOCK }])
}

#[test]
fn the_bytes_of_header_and_record_are_those_of_the_golden_files() {
    let record = whole(17);
    let header = record.header(&identity());
    let bytes = types::buf::IoBuf::bytes(&header);
    let used = bytes.iter().rposition(|byte| *byte != 0).map_or(0, |last| last + 1);
    assert_eq!(sealed::hex(&bytes[..used]), include_str!("../../tests/golden/unit-header.hex").trim());
    assert_eq!(sealed::hex(&record.key()), include_str!("../../tests/golden/unit-key.hex").trim());
    assert_eq!(sealed::hex(&record.to_value()), include_str!("../../tests/golden/unit-record.hex").trim());
}

#[test]
fn a_header_says_what_the_record_says_and_of_which_format_of_the_device() {
    let record = whole(3);
    let header = record.header(&identity());
    let bytes = types::buf::IoBuf::bytes(&header);
    assert_eq!(UnitRecord::from_header(bytes, &identity()), Some(record));
    assert_eq!(UnitRecord::from_header(bytes, &Identity { uuid: 1, ..identity() }), None);
}

#[test]
fn every_flipped_bit_and_every_truncation_of_a_header_is_found() {
    let header = whole(3).header(&identity());
    let good = types::buf::IoBuf::bytes(&header);
    for bit in 0..BLOCK_BYTES * 8 {
        let mut bad = good.to_vec();
        bad[bit / 8] ^= 1 << (bit % 8);
        assert_eq!(UnitRecord::from_header(&bad, &identity()), None, "bit {bit}");
    }
    for length in 0..BLOCK_BYTES {
        assert_eq!(UnitRecord::from_header(&good[..length], &identity()), None);
    }
}

#[test]
fn every_flipped_bit_and_every_truncation_of_a_record_is_found() {
    let record = whole(3);
    let (key, good) = (record.key(), record.to_value());
    assert_eq!(UnitRecord::from_value(&key, &good), Ok(record));
    for bit in 0..good.len() * 8 {
        let mut bad = good.clone();
        bad[bit / 8] ^= 1 << (bit % 8);
        assert!(matches!(UnitRecord::from_value(&key, &bad), Err(StorageError::Damaged(_))), "bit {bit}");
    }
    for length in 0..good.len() {
        assert!(matches!(UnitRecord::from_value(&key, &good[..length]), Err(StorageError::Damaged(_))));
    }
    let mut other = key.clone();
    *other.last_mut().expect("a key is not empty") += 1;
    assert!(matches!(UnitRecord::from_value(&other, &good), Err(StorageError::Damaged(_))), "another's key");
}

#[test]
fn a_record_out_of_bounds_is_refused() {
    let extent = |at, bytes| Extent { at, bytes };
    for extents in [vec![], vec![extent(1, 4 * BLOCK)], vec![extent(BLOCK, 3 * BLOCK)], vec![extent(0, u64::MAX), extent(0, 4 * BLOCK + 1)]]
    {
        assert!(record(3, extents).check().is_err());
    }
    assert!(record(3, (1..=4).map(|n| extent(n * 2 * BLOCK, BLOCK)).collect()).check().is_ok());
    let mut long = whole(1);
    long.info.length = 4097;
    assert!(long.check().is_err());
}

#[test]
fn a_range_is_of_whole_chunks() {
    let info = whole(40).info;
    assert_eq!(check_range(&info, 65536, 65536), Ok(65536..131_072));
    assert_eq!(check_range(&info, 131_072, 32768), Ok(131_072..163_840));
    for (offset, length) in [(0, 0), (4096, 4096), (0, 4096), (131_072, 36864), (u32::MAX, u32::MAX), (196_608, 1)] {
        assert!(check_range(&info, offset, length).is_err(), "{offset} {length}");
    }
}

proptest! {
    #[test]
    fn the_runs_of_a_range_are_the_bytes_of_the_unit_in_order(
        cuts in proptest::collection::vec(1u64..6, 1..=EXTENTS_MAX),
        from in 0usize..40,
        blocks in 1usize..40,
        header: bool,
    ) {
        // Extents lie apart and not in order.
        let places = [70, 10, 90, 30, 50, 110, 130, 150];
        let extents: Vec<_> = cuts.iter().zip(places).map(|(n, at)| Extent { at: at * BLOCK, bytes: n * BLOCK }).collect();
        let stored = cuts.iter().sum::<u64>();
        prop_assume!(stored > 1);
        let unit = record((stored - 1) as u32, extents.clone());
        let data_blocks = (stored - 1) as usize;
        let from = if header { 0 } else { from % data_blocks };
        let to = (from + blocks).min(data_blocks);
        let (start, end) = (from * BLOCK_BYTES, to * BLOCK_BYTES);
        let runs = unit.runs(start..end, header);
        // The blocks of the file, one by one, that header and data lie in.
        let file: Vec<u64> = extents.iter().flat_map(|e| (0..e.bytes / BLOCK).map(move |n| e.at / BLOCK + n)).collect();
        let mut expected: Vec<u64> = file[1 + from..1 + to].to_vec();
        if header {
            expected.insert(0, file[0]);
        }
        let mut seen = Vec::new();
        let mut next = 0;
        for run in &runs {
            prop_assert_eq!(run.data.start, next);
            next = run.data.end;
            let count = u64::from(run.header) + (run.data.len() / BLOCK_BYTES) as u64;
            prop_assert!(count > 0);
            seen.extend((0..count).map(|n| run.at / BLOCK + n));
        }
        prop_assert_eq!(next, end - start);
        prop_assert_eq!(seen, expected);
    }
}
