//! The ring against a disk that keeps any of the sectors that were not synced, and against flipped bits.

use std::ops::Range;

use proptest::prelude::*;

use super::ring::{Position, Run, SECTOR_BYTES, Shape, Taken, Writer, replay};
use crate::StorageError;

const SHAPE: Shape = Shape { generation: 7, sectors: 64 };

/// A disk: what was synced, what was written since, sector by sector.
#[derive(Clone)]
struct Disk {
    durable: Vec<u8>,
    written: Vec<(usize, Vec<u8>)>,
}

impl Disk {
    fn blank() -> Self {
        Self { durable: vec![0; SHAPE.sectors as usize * SECTOR_BYTES], written: Vec::new() }
    }

    fn write(&mut self, taken: &Taken) {
        for Run { at, bytes } in taken.runs(SHAPE) {
            assert!(bytes.len().is_multiple_of(4096) && at.is_multiple_of(4096) && at as usize + bytes.len() <= self.durable.len());
            for (number, sector) in bytes.chunks(SECTOR_BYTES).enumerate() {
                self.written.push((at as usize + number * SECTOR_BYTES, sector.to_vec()));
            }
        }
    }

    /// The image with those of the written sectors that `kept` says.
    fn after_crash(&self, mut kept: impl FnMut() -> bool) -> Vec<u8> {
        let mut image = self.durable.clone();
        for (at, sector) in &self.written {
            if kept() {
                image[*at..*at + SECTOR_BYTES].copy_from_slice(sector);
            }
        }
        image
    }

    fn sync(&mut self) {
        self.durable = self.after_crash(|| true);
        self.written.clear();
    }
}

fn payload(number: u32, length: usize) -> Vec<u8> {
    (0..length).map(|at| (number as usize * 31 + at) as u8).collect()
}

fn read(image: &[u8], shape: Shape, from: Position) -> Result<Vec<Vec<u8>>, StorageError> {
    let mut found = Vec::new();
    replay(image, shape, from, |payload, _| {
        found.push(payload.to_vec());
        Ok(())
    })?;
    Ok(found)
}

/// A ring with these records, all durable, and where each begins.
fn filled(lengths: &[usize]) -> (Vec<u8>, Vec<Position>) {
    let (mut disk, mut writer, mut begins) = (Disk::blank(), Writer::new(SHAPE), Vec::new());
    for (number, length) in (0..).zip(lengths) {
        begins.push(writer.end());
        let synced = writer.end();
        writer.append(&payload(number, *length), synced).expect("appends");
        disk.write(&writer.take());
        disk.sync();
    }
    (disk.durable, begins)
}

#[test]
fn records_come_back_over_the_end_of_the_ring() {
    let (mut disk, mut writer) = (Disk::blank(), Writer::new(SHAPE));
    let mut begins = Vec::new();
    let lengths = [0, 1, 23, 24, 480, 481, 503, 504, 505, 3000];
    for number in 0..120u32 {
        begins.push(writer.end());
        let length = lengths[number as usize % lengths.len()];
        let synced = writer.end();
        writer.append(&payload(number, length), synced).expect("appends");
        disk.write(&writer.take());
        disk.sync();
        let oldest = begins.iter().position(|begin| *begin >= writer.writes_over(0)).expect("the last is there");
        let expected: Vec<Vec<u8>> = (oldest as u32..=number).map(|n| payload(n, lengths[n as usize % lengths.len()])).collect();
        assert_eq!(read(&disk.durable, SHAPE, begins[oldest]), Ok(expected));
    }
    assert!(writer.end() > 2 * SHAPE.capacity(), "the ring was gone round");
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, ..ProptestConfig::default() })]
    #[test]
    fn a_crash_leaves_what_was_synced_and_a_prefix_of_the_rest(
        steps in proptest::collection::vec((0usize..1500, any::<bool>()), 1..60),
        keep in proptest::collection::vec(any::<bool>(), 64),
        flushed_part in 0.0..1.0f64,
    ) {
        let (mut disk, mut writer) = (Disk::blank(), Writer::new(SHAPE));
        // Where records begin, and how many of them are durable; what was flushed may be written over.
        let (mut begins, mut durable, mut flushed) = (vec![0], 0, 0);
        for (number, (length, sync)) in (0u32..).zip(&steps) {
            let over = writer.writes_over(*length);
            if over > begins[flushed] {
                // A flush is a sync, too.
                disk.write(&writer.take());
                disk.sync();
                durable = begins.len() - 1;
                let least = begins.iter().position(|begin| *begin >= over).expect("all is flushed at most");
                flushed = least + ((durable - least) as f64 * flushed_part) as usize;
            }
            writer.append(&payload(number, *length), begins[durable]).expect("appends");
            begins.push(writer.end());
            // What is written and what is synced are two things here: a power cut comes between them.
            if *sync || number % 3 == 0 {
                disk.write(&writer.take());
            }
            if *sync {
                disk.sync();
                durable = begins.len() - 1;
            }
        }
        let mut kept = keep.iter().cycle();
        let image = disk.after_crash(|| *kept.next().expect("endless"));
        let found = read(&image, SHAPE, begins[flushed]).expect("a crash is no damage");
        prop_assert!(flushed + found.len() >= durable, "{} of {durable}", flushed + found.len());
        for (number, found) in (flushed..).zip(&found) {
            prop_assert!(*found == payload(number as u32, steps[number].0), "record {number}");
        }
        // The next opening has another generation: nothing of this one is taken for its own.
        prop_assert_eq!(read(&image, Shape { generation: 8, ..SHAPE }, 0), Ok(Vec::new()));
    }
}

/// Flips each bit of a range of sectors.
fn flipped(image: &[u8], sectors: Range<usize>) -> impl Iterator<Item = Vec<u8>> {
    (sectors.start * SECTOR_BYTES * 8..sectors.end * SECTOR_BYTES * 8).map(|bit| {
        let mut image = image.to_vec();
        image[bit / 8] ^= 1 << (bit % 8);
        image
    })
}

#[test]
fn no_flipped_bit_is_taken_for_a_torn_record() {
    let lengths = [100, 700, 30];
    let (image, _) = filled(&lengths);
    let all: Vec<Vec<u8>> = (0..).zip(&lengths).map(|(number, length)| payload(number, *length)).collect();
    for image in flipped(&image, 0..3) {
        match read(&image, SHAPE, 0) {
            // In the zeros behind a payload.
            Ok(found) => assert_eq!(found, all),
            Err(error) => assert!(matches!(error, StorageError::Damaged(_)), "{error}"),
        }
    }
}

#[test]
fn a_lost_write_of_what_was_synced_is_damage_as_soon_as_a_later_record_says_so() {
    let (image, begins) = filled(&[600, 600, 600]);
    let lose = |sector: usize| {
        let mut image = image.clone();
        image[sector * SECTOR_BYTES..(sector + 1) * SECTOR_BYTES].fill(0);
        image
    };
    // Sector 2 ends the second record and begins the third, which says that all before it was synced.
    assert!(matches!(read(&lose(1), SHAPE, 0), Err(StorageError::Damaged(_))));
    assert_eq!(read(&lose(1), SHAPE, begins[2]).map(|found| found.len()), Ok(1), "what is flushed is not looked at");
    // A torn tail, as far as anybody can tell.
    assert_eq!(read(&lose(3), SHAPE, 0).map(|found| found.len()), Ok(2));
}

#[test]
fn the_counters_of_a_stamp_do_not_wrap() {
    let mut writer = Writer::new(Shape { generation: 1 << 24, ..SHAPE });
    assert!(matches!(writer.append(b"x", 0), Err(StorageError::Failed(_))));
}

#[test]
fn its_bytes_are_those_of_the_golden_file() {
    use crate::meta::store::{Change, Family, decode, encode};
    let changes = [
        Change::Put(Family::Catalogues, b"key".to_vec(), b"value".to_vec()),
        Change::Delete(Family::Units, b"k".to_vec()),
        Change::DeleteRange(Family::Log, b"a".to_vec(), b"b".to_vec()),
    ];
    let payload = encode(&changes);
    assert_eq!(decode(&payload), Some(changes.to_vec()));
    let mut disk = Disk::blank();
    let mut writer = Writer::new(SHAPE);
    writer.append(&payload, 0).expect("appends");
    disk.write(&writer.take());
    disk.sync();
    let used = disk.durable.iter().rposition(|byte| *byte != 0).map_or(0, |last| last + 1);
    assert_eq!(crate::meta::sealed::hex(&disk.durable[..used]), include_str!("../../../tests/golden/journal.hex").trim());
}
