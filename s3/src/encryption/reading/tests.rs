//! What comes out of an encrypted object, and what does not.

use super::*;
use crate::metadata::PART_SIZES;
use types::object::{ENCRYPTION, PLAIN_BYTES};
use types::{Seq, VersionId};

fn plain(bytes: usize, seed: u8) -> Vec<u8> {
    (0..bytes).map(|at| (at % 249) as u8 ^ seed).collect()
}

fn sealed(key: &DataKey, name: PieceName, plain: &[u8]) -> Vec<u8> {
    let (key, count) = (key.piece(name), segments(plain.len() as u64));
    let segment = |at: u64| {
        let first = at as usize * SEGMENT_BYTES;
        let mut bytes = plain[first..(first + SEGMENT_BYTES).min(plain.len())].to_vec();
        key.seal(at, at + 1 == count, &mut bytes);
        bytes
    };
    (0..count).flat_map(segment).collect()
}

fn info(size: usize, words: &[(&str, String)]) -> ObjectInfo {
    let user_metadata = words.iter().map(|(name, value)| ((*name).to_owned(), value.clone())).collect();
    let (id, version) = (VersionId::Null, Seq(1));
    ObjectInfo { name: b"o".to_vec(), size: size as u64, checksum: 0, version, id, modified_ms: 0, parts: vec![], user_metadata }
}

/// Reads a range of stored bytes as a reader gives them, in runs of that size.
fn read(mut opening: Opening, stored: &[u8], range: Option<(usize, usize)>, run: usize) -> Result<Vec<u8>, Error> {
    let wanted = range.map_or(0..stored.len() as u64, |(first, length)| opening.narrow(first as u64, length as u64));
    let mut bytes = Vec::new();
    for run in stored[wanted.start as usize..wanted.end as usize].chunks(run) {
        opening.run = Bytes::copy_from_slice(run);
        while let Some(some) = opening.next()? {
            bytes.extend(some);
        }
    }
    opening.end().map(|()| bytes)
}

#[test]
fn every_range_comes_back_whatever_the_size_and_the_runs() {
    let key = DataKey::drawn();
    for size in [0, 1, SEGMENT_BYTES, SEGMENT_BYTES + 1, 3 * SEGMENT_BYTES + 17] {
        let bytes = plain(size, 3);
        let stored = sealed(&key, PieceName::WHOLE, &bytes);
        let opening = || Opening::new(&info(size, &[]), stored.len() as u64, key.clone()).expect("it fits");
        assert!(read(opening(), &stored, None, 1000).expect("whole") == bytes);
        let edges = [0, 1, SEGMENT_BYTES - 1, SEGMENT_BYTES, SEGMENT_BYTES + 1, 2 * SEGMENT_BYTES, size.saturating_sub(1)];
        for first in edges.into_iter().filter(|first| *first < size) {
            for last in edges.into_iter().filter(|last| (first..size).contains(last)) {
                let range = Some((first, last - first + 1));
                assert!(read(opening(), &stored, range, 70_000).expect("a range") == bytes[first..=last], "{first}-{last} of {size}");
            }
        }
    }
}

/// A run as a reader gives it, which tells whether it is still held.
struct Run {
    bytes: Vec<u8>,
    _room: std::sync::Arc<()>,
}

impl AsRef<[u8]> for Run {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

#[test]
fn a_run_is_held_as_long_as_anything_that_came_of_it() {
    let key = DataKey::drawn();
    let size = 2 * SEGMENT_BYTES + 17;
    let stored = sealed(&key, PieceName::WHOLE, &plain(size, 3));
    let mut opening = Opening::new(&info(size, &[]), stored.len() as u64, key).expect("it fits");
    let room = std::sync::Arc::new(());
    let held = || std::sync::Arc::strong_count(&room) > 1;
    // It ends inside of a segment.
    let (first, second) = stored.split_at(STORED_BYTES + 1000);
    opening.run = Bytes::from_owner(Run { bytes: first.to_vec(), _room: room.clone() });
    let waiting = opening.next().expect("it is right").expect("a segment is there");
    assert_eq!(waiting.len(), SEGMENT_BYTES, "one at a time");
    assert_eq!(opening.next().expect("it is right"), None);
    assert!(held(), "somebody waits with what it became");
    drop(waiting);
    assert!(!held(), "what begins a segment is at most as much as one");
    opening.run = Bytes::from_owner(Run { bytes: second.to_vec(), _room: room.clone() });
    let waiting = [(); 2].map(|()| opening.next().expect("it is right").expect("a segment is there"));
    assert_eq!((waiting.each_ref().map(Bytes::len), opening.next().expect("it is right")), ([SEGMENT_BYTES, 17], None));
    assert!(held());
    drop(waiting);
    assert!(!held() && opening.end().is_ok());
}

#[test]
fn ten_thousand_parts_that_differ_are_found_at_once() {
    let names = (1..=10_000).map(|number| PieceName { number, salt: [0; SALT_BYTES] });
    let sizes = || (1..=10_000_u64).map(|bytes| 5_000_000 + bytes);
    let words = [(PART_SIZES, PartSizes::of(sizes()).to_word()), (PIECES, pieces_word(names))];
    let (size, stored) = (sizes().sum::<u64>(), sizes().map(stored_bytes).sum());
    let info = info(usize::try_from(size).expect("it fits"), &words);
    let began = std::time::Instant::now();
    for _ in 0..20 {
        assert_eq!(pieces_of(&info, stored).map(|pieces| pieces.len()), Some(10_000));
    }
    // Where each looks through all before it, these are a thousand million steps.
    assert!(began.elapsed() < std::time::Duration::from_secs(2), "{:?}", began.elapsed());
}

#[test]
fn a_range_takes_no_segments_but_its_own() {
    let size = 10 * SEGMENT_BYTES;
    let mut opening = Opening::new(&info(size, &[]), stored_bytes(size as u64), DataKey::drawn()).expect("it fits");
    let segment = STORED_BYTES as u64;
    assert_eq!(opening.narrow(SEGMENT_BYTES as u64, 1), segment..2 * segment);
    assert_eq!(opening.narrow(SEGMENT_BYTES as u64 - 1, 2), 0..2 * segment);
    assert_eq!(opening.narrow(size as u64 - 1, 1), 9 * segment..10 * segment);
}

/// An object of three parts: numbers, stored bytes and the words about them.
fn in_parts(key: &DataKey) -> (Vec<u8>, Vec<Vec<u8>>, ObjectInfo) {
    let bytes = [plain(2 * SEGMENT_BYTES + 5, 1), plain(SEGMENT_BYTES, 2), plain(0, 3)];
    let names = [2, 5, 6].map(|number| PieceName { number, salt: [number as u8; SALT_BYTES] });
    let stored = bytes.iter().zip(names).map(|(bytes, name)| sealed(key, name, bytes)).collect();
    let size: usize = bytes.iter().map(Vec::len).sum();
    let sizes = PartSizes::of(bytes.iter().map(|bytes| bytes.len() as u64)).to_word();
    let pieces = pieces_word(names.into_iter());
    let words = [(ENCRYPTION, "cluster x".into()), (PART_SIZES, sizes), (PIECES, pieces), (PLAIN_BYTES, size.to_string())];
    (bytes.concat(), stored, info(size, &words))
}

#[test]
fn parts_follow_each_other_under_keys_of_their_own() {
    let key = DataKey::drawn();
    let (bytes, parts, info) = in_parts(&key);
    let stored = parts.concat();
    let opening = || Opening::new(&info, stored.len() as u64, key.clone()).expect("it fits");
    assert!(read(opening(), &stored, None, 5000).expect("whole") == bytes);
    let edge = 2 * SEGMENT_BYTES + 5;
    for (first, length) in [(0, 1), (edge - 1, 2), (edge, 10), (edge - 10, SEGMENT_BYTES), (bytes.len() - 1, 1)] {
        assert!(read(opening(), &stored, Some((first, length)), 70_000).expect("a range") == bytes[first..first + length], "{first}");
    }
}

#[test]
fn what_was_changed_cut_swapped_or_put_together_anew_is_an_error() {
    let key = DataKey::drawn();
    let size = 3 * SEGMENT_BYTES + 17;
    let stored = sealed(&key, PieceName::WHOLE, &plain(size, 9));
    let read_as = |stored: &[u8], size: usize| {
        let opening = Opening::new(&info(size, &[]), stored.len() as u64, key.clone())?;
        read(opening, stored, None, 70_000)
    };
    assert!(read_as(&stored, size).is_ok());
    for at in [0, STORED_BYTES - 1, 2 * STORED_BYTES, stored.len() - 1] {
        let mut bad = stored.clone();
        bad[at] ^= 1;
        assert!(read_as(&bad, size).is_err(), "byte {at}");
    }
    let swapped = [&stored[STORED_BYTES..2 * STORED_BYTES], &stored[..STORED_BYTES], &stored[2 * STORED_BYTES..]].concat();
    assert!(read_as(&swapped, size).is_err());
    let cut = &stored[..2 * STORED_BYTES];
    assert!(read_as(cut, size).is_err(), "its record says more");
    assert!(read_as(cut, 2 * SEGMENT_BYTES).is_err(), "its record was cut, too");
    let left_out = [&stored[..STORED_BYTES], &stored[2 * STORED_BYTES..]].concat();
    assert!(read_as(&left_out, size - SEGMENT_BYTES).is_err());
    assert!(read_as(&stored[..stored.len() - 1], size - 1).is_err());
}

#[test]
fn parts_that_were_swapped_or_said_to_be_others_are_an_error() {
    let key = DataKey::drawn();
    let (_, parts, info) = in_parts(&key);
    let stored = parts.concat();
    let read_as = |info: &ObjectInfo, stored: &[u8]| read(Opening::new(info, stored.len() as u64, key.clone())?, stored, None, 70_000);
    let with = |name: &str, value: String| {
        let mut info = info.clone();
        info.user_metadata.retain(|(known, _)| known != name);
        info.user_metadata.push((name.to_owned(), value));
        info
    };
    assert!(read_as(&info, &stored).is_ok());
    let swapped = [&parts[1][..], &parts[0], &parts[2]].concat();
    let sizes = PartSizes::of([SEGMENT_BYTES as u64, 2 * SEGMENT_BYTES as u64 + 5, 0].into_iter()).to_word();
    assert!(read_as(&with(PART_SIZES, sizes), &swapped).is_err());
    let name = |number: u16| PieceName { number, salt: [number as u8; SALT_BYTES] };
    assert!(read_as(&with(PIECES, pieces_word([5, 2, 6].map(name).into_iter())), &swapped).is_err(), "numbers rise");
    assert!(read_as(&with(PIECES, pieces_word([2, 5].map(name).into_iter())), &stored).is_err(), "one is missing");
    assert!(read_as(&with(PIECES, pieces_word([2, 5, 7].map(name).into_iter())), &stored).is_err());
    assert!(read_as(&with(PIECES, "?".into()), &stored).is_err());
}
