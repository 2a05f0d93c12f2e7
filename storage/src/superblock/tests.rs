//! Superblocks under every truncation and every flipped bit, and their golden bytes.

use super::*;

const BYTES: u64 = 16 * BLOCK;

fn identity() -> Identity {
    Identity {
        uuid: 0x0011_2233_4455_6677_8899_aabb_ccdd_eeff,
        cluster: ClusterId(0xc1),
        device: DeviceId(7),
        incarnation: Incarnation(3),
        bytes: BYTES,
    }
}

fn resealed(change: impl FnOnce(&mut [u8])) -> [u8; BLOCK_BYTES] {
    let mut block = identity().encode();
    change(&mut block);
    let sum = checksum(&block);
    block[CHECKSUM].copy_from_slice(&sum.to_le_bytes());
    block
}

#[test]
fn a_superblock_says_what_was_written() {
    assert_eq!(decode(&identity().encode()), Copy::Good(identity()));
}

#[test]
fn its_bytes_are_those_of_the_golden_file() {
    let golden = include_str!("../../tests/golden/superblock.hex").trim();
    let bytes = identity().encode();
    let used = bytes.iter().rposition(|byte| *byte != 0).map_or(0, |last| last + 1);
    assert_eq!(crate::meta::sealed::hex(&bytes[..used]), golden);
}

#[test]
fn every_flipped_bit_of_a_copy_is_found_and_the_other_copy_decides() {
    let good = identity().encode();
    for bit in 0..BLOCK_BYTES * 8 {
        let mut bad = good;
        bad[bit / 8] ^= 1 << (bit % 8);
        assert_eq!(decode(&bad), Copy::Bad, "bit {bit}");
    }
    let found = weigh(&Copy::Bad, &decode(&good), BYTES).expect("the copy at the end is good");
    assert_eq!(found, Found { identity: identity(), damaged: vec![0] });
    let found = weigh(&decode(&good), &Copy::Bad, BYTES).expect("the copy at the begin is good");
    assert_eq!(found.damaged, vec![BYTES - BLOCK]);
    assert!(matches!(weigh(&Copy::Bad, &Copy::Bad, BYTES), Err(StorageError::Damaged(_))));
}

#[test]
fn every_truncation_is_no_superblock() {
    let block = identity().encode();
    for length in 0..BLOCK_BYTES {
        assert_eq!(decode(&block[..length]), Copy::Bad);
    }
}

#[test]
fn a_newer_format_and_an_unknown_feature_are_refused_though_the_other_copy_is_fine() {
    let newer = decode(&resealed(|block| block[8] = 2));
    assert_eq!(newer, Copy::Refused(StorageError::NewerFormat { found: 2, known: FORMAT }));
    let feature = decode(&resealed(|block| block[16] = 0b100));
    assert_eq!(feature, Copy::Refused(StorageError::UnknownFeatures(0b100)));
    assert_eq!(weigh(&decode(&identity().encode()), &feature, BYTES), Err(StorageError::UnknownFeatures(0b100)));
}

#[test]
fn sealed_nonsense_is_bad_too() {
    for change in [|b: &mut [u8]| b[8] = 0, |b: &mut [u8]| b[61] = 0, |b: &mut [u8]| b[72] = 1, |b: &mut [u8]| b[72..80].fill(0)] {
        assert_eq!(decode(&resealed(change)), Copy::Bad);
    }
}

#[test]
fn copies_of_two_devices_and_a_file_of_another_length_are_refused() {
    let other = Copy::Good(Identity { uuid: 1, ..identity() });
    assert!(matches!(weigh(&Copy::Good(identity()), &other, BYTES), Err(StorageError::Damaged(_))));
    assert!(matches!(weigh(&Copy::Good(identity()), &Copy::Bad, BYTES - BLOCK), Err(StorageError::Damaged(_))));
}
