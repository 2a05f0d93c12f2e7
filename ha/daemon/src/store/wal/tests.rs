//! A crash at every write: whatever of the unsynced bytes is lost or torn, the log is what was acknowledged, or one whole batch more.

use std::collections::BTreeMap;
use std::io::{self, ErrorKind};

use super::*;
use crate::store::record::{Payload, Place};

const STORE: u128 = 0xfeed;
const SEGMENT: usize = 400;

/// A disk in memory that stops at a given operation.
#[derive(Clone, Debug, Default)]
struct MemDisk {
    /// Contents, and how many bytes of them are durable.
    files: BTreeMap<String, (Vec<u8>, usize)>,
    /// Operations that change something, so far.
    steps: usize,
    /// The operation that does not happen, nor any after it.
    stop_at: Option<usize>,
}

impl MemDisk {
    fn step(&mut self) -> io::Result<()> {
        self.steps += 1;
        if self.stop_at.is_some_and(|at| self.steps > at) { Err(io::Error::other("the machine is off")) } else { Ok(()) }
    }

    /// What is left after a power cut that keeps `kept` of the bytes not synced, and damages the last of those where `torn`.
    fn after_power_cut(&self, kept: usize, torn: bool) -> Self {
        let files = self.files.iter().map(|(name, (bytes, synced))| {
            let mut left = bytes[..(*synced + kept).min(bytes.len())].to_vec();
            if torn
                && left.len() > *synced
                && let Some(last) = left.last_mut()
            {
                *last ^= 0xa5;
            }
            let length = left.len();
            (name.clone(), (left, length))
        });
        Self { files: files.collect(), steps: 0, stop_at: None }
    }
}

impl Disk for MemDisk {
    fn list(&self) -> io::Result<Vec<String>> {
        Ok(self.files.keys().cloned().collect())
    }

    fn read(&self, name: &str) -> io::Result<Vec<u8>> {
        self.files.get(name).map(|(bytes, _)| bytes.clone()).ok_or_else(|| ErrorKind::NotFound.into())
    }

    fn put(&mut self, name: &str, bytes: &[u8]) -> io::Result<()> {
        let temporary = format!("{name}{TEMPORARY}");
        self.step()?;
        self.files.insert(temporary.clone(), (bytes.to_vec(), bytes.len() / 2));
        self.step()?;
        self.files.remove(&temporary);
        self.files.insert(name.into(), (bytes.to_vec(), bytes.len()));
        Ok(())
    }

    fn write_at(&mut self, name: &str, at: u64, bytes: &[u8]) -> io::Result<()> {
        self.step()?;
        let (held, synced) = self.files.get_mut(name).ok_or(ErrorKind::NotFound)?;
        let (at, end) = (at as usize, at as usize + bytes.len());
        held.resize(held.len().max(end), 0);
        held[at..end].copy_from_slice(bytes);
        *synced = (*synced).min(at);
        Ok(())
    }

    fn sync(&mut self, name: &str) -> io::Result<()> {
        self.step()?;
        let file = self.files.get_mut(name).ok_or(ErrorKind::NotFound)?;
        file.1 = file.0.len();
        Ok(())
    }

    fn cut(&mut self, name: &str, length: u64) -> io::Result<()> {
        self.step()?;
        let file = self.files.get_mut(name).ok_or(ErrorKind::NotFound)?;
        file.0.truncate(length as usize);
        file.1 = file.0.len();
        Ok(())
    }

    fn remove(&mut self, name: &str) -> io::Result<()> {
        self.step()?;
        self.files.remove(name);
        Ok(())
    }
}

fn entry(index: u64, term: u64) -> Record {
    Record::Entry(Place { term, leader: 1, index }, Payload::Command(vec![index as u8; 40]))
}

/// Batches as Raft makes them: votes, entries, a leader's change, purges; several segments of them.
fn batches() -> Vec<Vec<Record>> {
    let mut batches = vec![vec![Record::Vote { term: 1, node: 1, committed: true }]];
    for index in 1..=12 {
        batches.push(vec![entry(index, 1)]);
    }
    batches.push(vec![Record::Vote { term: 2, node: 2, committed: false }]);
    batches.push(vec![Record::Truncate(10)]);
    batches.push((10..=16).map(|index| entry(index, 2)).collect());
    batches.push(vec![Record::Purge(Place { term: 2, leader: 1, index: 12 })]);
    for index in 17..=24 {
        batches.push(vec![entry(index, 2)]);
    }
    batches.push(vec![Record::Purge(Place { term: 2, leader: 1, index: 20 })]);
    batches.push(vec![entry(25, 2)]);
    batches
}

/// What a log holds: the vote, what is purged, the entries after that.
#[derive(Debug, Default, PartialEq, Eq)]
struct Held {
    vote: Option<Record>,
    purged: u64,
    entries: BTreeMap<u64, Record>,
}

fn held<'a>(records: impl IntoIterator<Item = &'a Record>) -> Held {
    let mut held = Held::default();
    for record in records {
        match record {
            Record::Vote { .. } => held.vote = Some(record.clone()),
            Record::Entry(place, _) => drop(held.entries.insert(place.index, record.clone())),
            Record::Truncate(from) => drop(held.entries.split_off(from)),
            Record::Purge(place) => held.purged = held.purged.max(place.index),
        }
    }
    held.entries = held.entries.split_off(&(held.purged + 1));
    held
}

fn created(stop_at: Option<usize>) -> Option<Wal<MemDisk>> {
    Wal::create(MemDisk { stop_at, ..MemDisk::default() }, STORE, SEGMENT).ok()
}

#[test]
fn a_crash_at_any_write_leaves_what_was_acknowledged_or_one_batch_more() {
    let batches = batches();
    let mut whole = created(None).expect("nothing stops it");
    for batch in &batches {
        whole.write(batch).expect("nothing stops it");
    }
    let steps = whole.into_disk().steps;
    assert!(steps > 60, "{steps}");
    let mut cut = 0;
    for stop_at in 2..steps {
        let mut wal = created(Some(stop_at)).expect("it is created in two steps");
        let acknowledged = batches.iter().take_while(|batch| wal.write(batch).is_ok()).count();
        assert!(wal.write(&batches[0]).is_err(), "a log that has failed takes nothing more");
        let disk = wal.into_disk();
        let before = held(batches[..acknowledged].iter().flatten());
        let after = held(batches[..(acknowledged + 1).min(batches.len())].iter().flatten());
        for (kept, torn) in [(0, false), (1, false), (7, true), (60, true), (200, true), (usize::MAX >> 1, false)] {
            let disk = disk.after_power_cut(kept, torn);
            let (mut wal, records) = Wal::open(disk, STORE, SEGMENT).unwrap_or_else(|e| panic!("stop at {stop_at}, {kept} kept: {e}"));
            let found = held(&records);
            assert!(found == before || found == after, "stop at {stop_at}, {kept} kept: {found:?} is neither {before:?} nor {after:?}");
            cut += usize::from(found == before);
            // The log goes on from there, and what it takes is there the next time.
            let more = Record::Vote { term: 9, node: 3, committed: true };
            wal.write(std::slice::from_ref(&more)).expect("it works again");
            let (_, again) = Wal::open(wal.into_disk(), STORE, SEGMENT).expect("it opens again");
            assert_eq!(held(&again), Held { vote: Some(more), ..found });
        }
    }
    assert!(cut > 100, "{cut}");
}

#[test]
fn damage_before_the_end_is_refused_with_the_place() {
    let mut wal = created(None).expect("nothing stops it");
    for batch in &batches()[..12] {
        wal.write(batch).expect("nothing stops it");
    }
    let disk = wal.into_disk();
    let names = disk.list().expect("a list");
    assert!(names.len() > 1, "the log has several segments");
    for at in [3, 30, HEADER_BYTES + 2, HEADER_BYTES + 12] {
        let mut bad = disk.clone();
        bad.files.get_mut(&names[0]).expect("it is there").0[at] ^= 1;
        let error = Wal::open(bad, STORE, SEGMENT).expect_err("it must not open").to_string();
        assert!(error.contains(&names[0]), "{error}");
    }
    let mut last = disk.clone();
    let name = names.last().expect("a segment");
    last.files.get_mut(name).expect("it is there").0[HEADER_BYTES + 9] ^= 1;
    let error = Wal::open(last, STORE, SEGMENT).expect_err("good frames follow").to_string();
    assert!(error.contains("good data follows"), "{error}");
}

#[test]
fn a_log_of_another_store_is_refused() {
    let disk = created(None).expect("nothing stops it").into_disk();
    assert!(Wal::open(disk, STORE + 1, SEGMENT).is_err());
}

#[test]
fn segments_that_are_purged_go_and_the_vote_stays() {
    let mut wal = created(None).expect("nothing stops it");
    for batch in batches() {
        wal.write(&batch).expect("nothing stops it");
    }
    let disk = wal.into_disk();
    assert!(disk.files.len() <= 3, "{:?}", disk.files.keys());
    assert!(!disk.files.contains_key(&name_of(1)));
    let (_, records) = Wal::open(disk, STORE, SEGMENT).expect("it opens");
    assert_eq!(held(&records).vote, Some(Record::Vote { term: 2, node: 2, committed: false }));
}

#[test]
fn the_bytes_of_version_1_never_change() {
    let mut wal = created(None).expect("nothing stops it");
    wal.write(&[Record::Vote { term: 3, node: 2, committed: true }, entry(7, 3)]).expect("nothing stops it");
    wal.write(&[Record::Truncate(7), Record::Purge(Place { term: 3, leader: 1, index: 6 })]).expect("nothing stops it");
    let disk = wal.into_disk();
    let hex: String = disk.files[&name_of(1)].0.iter().map(|b| format!("{b:02x}")).collect();
    let (frames, mark) = hex.split_at(hex.len() - 2 * MARK_BYTES);
    assert_eq!(frames, include_str!("golden-v1.txt").trim_end());
    // It came later: whoever does not know it takes it for a torn frame and cuts it off.
    assert_eq!(mark, "5244425448414c4d00cf7b51");
}

/// What opening says to every flipped bit of some bytes of a segment.
fn refused_flips(disk: &MemDisk, name: &str, bytes: std::ops::Range<usize>) -> Vec<bool> {
    let flip = |bit: usize| {
        let mut bad = disk.clone();
        bad.files.get_mut(name).expect("it is there").0[bit / 8] ^= 1 << (bit % 8);
        Wal::open(bad, STORE, SEGMENT).is_err()
    };
    (bytes.start * 8..bytes.end * 8).map(flip).collect()
}

#[test]
fn every_flipped_bit_of_the_last_frame_that_was_synced_is_refused() {
    // Of one that was appended, and of the one that a segment begins with.
    for count in [3, batches().len()] {
        let mut wal = created(None).expect("nothing stops it");
        for batch in &batches()[..count] {
            wal.write(batch).expect("nothing stops it");
        }
        let (number, end) = wal.segments.back().map(|last| (last.number, last.bytes)).expect("a segment");
        let begin = end - frame(number, 0, &batches()[count - 1]).len();
        let disk = wal.into_disk();
        let flips = refused_flips(&disk, &name_of(number), begin..end);
        assert_eq!(flips.iter().position(|refused| !refused), None, "of {} bits", flips.len());
        // Damage to the mark alone loses nothing.
        let flips = refused_flips(&disk, &name_of(number), end..end + MARK_BYTES);
        assert!(flips.iter().all(|refused| !refused));
    }
    let mut wal = created(None).expect("nothing stops it");
    wal.write(&batches()[0]).expect("nothing stops it");
    wal.begin_segment(2).expect("nothing stops it");
    let end = wal.segments.back().expect("a segment").bytes;
    let flips = refused_flips(&wal.into_disk(), &name_of(2), HEADER_BYTES..end);
    assert!(flips.iter().all(|refused| *refused), "of a segment's first frame");
}

#[test]
fn a_torn_frame_over_the_mark_of_the_one_before_is_cut() {
    let mut wal = created(None).expect("nothing stops it");
    wal.write(&batches()[0]).expect("nothing stops it");
    let end = wal.segments.back().expect("a segment").bytes;
    let before = wal.disk.files[&name_of(1)].0.clone();
    wal.write(&batches()[1]).expect("nothing stops it");
    let mut disk = wal.into_disk();
    let bytes = &mut disk.files.get_mut(&name_of(1)).expect("it is there").0;
    // The sector with the mark was not written again, the frame's end was; its own mark was not.
    bytes.truncate(bytes.len() - MARK_BYTES);
    bytes[..end + MARK_BYTES].copy_from_slice(&before);
    let (wal, records) = Wal::open(disk, STORE, SEGMENT).expect("it opens");
    assert_eq!(records, batches()[0]);
    assert_eq!(wal.disk.files[&name_of(1)].0, before, "and ends in the mark that it had");
}
