//! The write-ahead log: segments of frames; one frame is one durable batch of records.
//!
//! Guarantees: [`Wal::write`] returns when the batch is durable; after a crash the log is a prefix of the batches written, with every one
//! that was acknowledged; a batch is there whole or not at all. Only one frame is ever on its way to the disk. When it is durable, a mark is
//! put behind it, which the next frame overwrites: it reaches the disk when the system likes, or with that frame. So a bad frame at the end
//! of the last segment with nothing good behind it is a torn one, and is cut; one with a frame or a mark behind it was durable once, and
//! is damage, as any other bad byte: the log does not open.
//!
//! A segment begins with a checkpoint: the vote and what was purged. So a segment whose entries are all purged can go.

use std::collections::VecDeque;

use types::checksum::crc32c;
use types::codec::{decode, encode};

use super::disk::{Disk, TEMPORARY};
use super::record::Record;
use crate::error::StoreError;

/// First bytes of a segment.
const MAGIC: &[u8; 8] = b"RDBTHAL1";
/// Magic, store uuid, segment number, checksum.
const HEADER_BYTES: usize = 8 + 16 + 8 + 4;
/// Length and checksum of a frame.
const FRAME_HEAD_BYTES: usize = 8;
/// First bytes of a mark.
const MARK_MAGIC: &[u8; 8] = b"RDBTHALM";
/// Magic and checksum of a mark.
const MARK_BYTES: usize = 8 + 4;
/// A segment that is longer gets a successor.
pub const SEGMENT_BYTES: usize = 16 * 1024 * 1024;
/// Largest frame: some entries of a megabyte each.
const FRAME_BYTES_MAX: usize = 256 * 1024 * 1024;

/// The log, open.
#[derive(Debug)]
pub struct Wal<D> {
    disk: D,
    store: u128,
    segments: VecDeque<Segment>,
    segment_bytes_max: usize,
    /// A write has failed: what is on disk is not known, so nothing more is written.
    broken: bool,
    checkpoint: Checkpoint,
}

#[derive(Debug)]
struct Segment {
    number: u64,
    bytes: usize,
    /// The greatest index of an entry in it.
    last_index: u64,
}

/// What a new segment begins with.
#[derive(Debug, Default)]
struct Checkpoint {
    vote: Option<Record>,
    purged: Option<Record>,
}

impl Checkpoint {
    fn take(&mut self, record: &Record) {
        match record {
            Record::Vote { .. } => self.vote = Some(record.clone()),
            Record::Purge(_) => self.purged = Some(record.clone()),
            _ => {}
        }
    }

    fn records(&self) -> Vec<Record> {
        self.vote.iter().chain(&self.purged).cloned().collect()
    }
}

fn name_of(number: u64) -> String {
    format!("{number:016x}.wal")
}

fn number_of(name: &str) -> Option<u64> {
    u64::from_str_radix(name.strip_suffix(".wal")?, 16).ok()
}

fn header(store: u128, number: u64) -> Vec<u8> {
    let mut bytes = MAGIC.to_vec();
    bytes.extend_from_slice(&store.to_le_bytes());
    bytes.extend_from_slice(&number.to_le_bytes());
    let sum = crc32c(&bytes);
    bytes.extend_from_slice(&sum.to_le_bytes());
    bytes
}

/// The checksum covers where the frame is, so that a frame of elsewhere is not taken for one.
fn frame_sum(number: u64, at: usize, body: &[u8]) -> u32 {
    let mut bytes = Vec::with_capacity(24 + body.len());
    bytes.extend_from_slice(&number.to_le_bytes());
    bytes.extend_from_slice(&(at as u64).to_le_bytes());
    bytes.extend_from_slice(&(body.len() as u64).to_le_bytes());
    bytes.extend_from_slice(body);
    crc32c(&bytes)
}

fn frame(number: u64, at: usize, records: &[Record]) -> Vec<u8> {
    let body = encode(&records.to_vec());
    let mut bytes = Vec::with_capacity(FRAME_HEAD_BYTES + body.len());
    bytes.extend_from_slice(&(body.len() as u32).to_le_bytes());
    bytes.extend_from_slice(&frame_sum(number, at, &body).to_le_bytes());
    bytes.extend_from_slice(&body);
    bytes
}

/// The body of the frame at `at`, where there is a good one.
fn body_at(bytes: &[u8], number: u64, at: usize) -> Option<&[u8]> {
    let head = bytes.get(at..at + FRAME_HEAD_BYTES)?;
    let length = u32::from_le_bytes(head[..4].try_into().ok()?) as usize;
    let sum = u32::from_le_bytes(head[4..].try_into().ok()?);
    if length == 0 || length > FRAME_BYTES_MAX {
        return None;
    }
    let body = bytes.get(at + FRAME_HEAD_BYTES..at + FRAME_HEAD_BYTES + length)?;
    (frame_sum(number, at, body) == sum).then_some(body)
}

/// What says at `at` that all before it was durable.
fn mark(store: u128, number: u64, at: usize) -> [u8; MARK_BYTES] {
    let sum = crc32c(&[&store.to_le_bytes()[..], &number.to_le_bytes(), &(at as u64).to_le_bytes()].concat());
    let mut bytes = [0; MARK_BYTES];
    bytes[..MARK_MAGIC.len()].copy_from_slice(MARK_MAGIC);
    bytes[MARK_MAGIC.len()..].copy_from_slice(&sum.to_le_bytes());
    bytes
}

fn is_marked(bytes: &[u8], store: u128, number: u64, at: usize) -> bool {
    let found = bytes.get(at..at + MARK_BYTES).filter(|found| found.starts_with(MARK_MAGIC));
    found == Some(&mark(store, number, at))
}

fn list(disk: &impl Disk) -> Result<Vec<String>, StoreError> {
    disk.list().map_err(|source| StoreError::Io { what: "the log's directory".into(), source })
}

impl<D: Disk> Wal<D> {
    /// Begins the log of a new store. What an attempt before has left is removed: nothing was ever acknowledged from it.
    pub fn create(mut disk: D, store: u128, segment_bytes_max: usize) -> Result<Self, StoreError> {
        for name in list(&disk)? {
            disk.remove(&name).map_err(|source| StoreError::Io { what: name, source })?;
        }
        let mut wal = Self::empty(disk, store, segment_bytes_max);
        wal.begin_segment(1)?;
        Ok(wal)
    }

    /// Opens the log of a store; gives all its records in order.
    pub fn open(mut disk: D, store: u128, segment_bytes_max: usize) -> Result<(Self, Vec<Record>), StoreError> {
        let names = list(&disk)?;
        for name in names.iter().filter(|n| n.ends_with(TEMPORARY)) {
            disk.remove(name).map_err(|source| StoreError::Io { what: name.clone(), source })?;
        }
        let numbers: Vec<u64> = names.iter().filter_map(|n| number_of(n)).collect();
        if numbers.is_empty() {
            return Err(StoreError::Damaged { file: name_of(1), problem: "the log is missing".into() });
        }
        let mut wal = Self::empty(disk, store, segment_bytes_max);
        let mut records = Vec::new();
        for (i, number) in numbers.iter().enumerate() {
            if i > 0 && *number != numbers[i - 1] + 1 {
                return Err(StoreError::Damaged { file: name_of(numbers[i - 1] + 1), problem: "it is missing".into() });
            }
            wal.read_segment(*number, i + 1 == numbers.len(), &mut records)?;
        }
        Ok((wal, records))
    }

    fn empty(disk: D, store: u128, segment_bytes_max: usize) -> Self {
        Self { disk, store, segments: VecDeque::new(), segment_bytes_max, broken: false, checkpoint: Checkpoint::default() }
    }

    fn read_segment(&mut self, number: u64, is_last: bool, records: &mut Vec<Record>) -> Result<(), StoreError> {
        let name = name_of(number);
        let bytes = self.disk.read(&name).map_err(|source| StoreError::Io { what: name.clone(), source })?;
        let damaged = |problem: String| StoreError::Damaged { file: name.clone(), problem };
        if bytes.get(..HEADER_BYTES) != Some(&header(self.store, number)[..]) {
            return Err(damaged("its header is not that of this store's log".into()));
        }
        let mut at = HEADER_BYTES;
        let mut last_index = 0;
        while let Some(body) = body_at(&bytes, number, at) {
            let batch: Vec<Record> = decode(body).map_err(|e| damaged(format!("at byte {at}: {e}")))?;
            for record in &batch {
                self.checkpoint.take(record);
                if let Record::Entry(place, _) = record {
                    last_index = last_index.max(place.index);
                }
            }
            records.extend(batch);
            at += FRAME_HEAD_BYTES + body.len();
        }
        let is_whole = at + MARK_BYTES == bytes.len() && is_marked(&bytes, self.store, number, at);
        if !is_whole && !is_last && at < bytes.len() {
            return Err(damaged(format!("byte {at} is damaged, and a segment follows: do not use this copy of the log")));
        }
        if !is_whole && is_last {
            let good = |later| body_at(&bytes, number, later).is_some() || is_marked(&bytes, self.store, number, later);
            if (at + 1..bytes.len()).any(good) {
                return Err(damaged(format!("byte {at} is damaged, and good data follows: do not use this copy of the log")));
            }
            self.end_at(number, at, bytes.len())?;
        }
        self.segments.push_back(Segment { number, bytes: at, last_index });
        Ok(())
    }

    /// Cuts off what a crash has torn. What is left may never have been synced: it is now, and is marked.
    fn end_at(&mut self, number: u64, at: usize, length: usize) -> Result<(), StoreError> {
        let name = name_of(number);
        let torn = length - at;
        if torn > 0 {
            tracing::warn!(file = name, at, bytes = torn, "a write that a crash has torn is cut off");
        }
        self.disk.cut(&name, at as u64).map_err(|source| StoreError::Io { what: name, source })?;
        self.put_mark(number, at)
    }

    /// Marks that everything before `at` is durable. The mark itself is not, and is not waited for.
    fn put_mark(&mut self, number: u64, at: usize) -> Result<(), StoreError> {
        let (name, mark) = (name_of(number), mark(self.store, number, at));
        self.disk.write_at(&name, at as u64, &mark).map_err(|source| StoreError::Io { what: name, source })
    }

    fn begin_segment(&mut self, number: u64) -> Result<(), StoreError> {
        let mut bytes = header(self.store, number);
        let records = self.checkpoint.records();
        if !records.is_empty() {
            let checkpoint = frame(number, bytes.len(), &records);
            bytes.extend_from_slice(&checkpoint);
        }
        let (name, length) = (name_of(number), bytes.len());
        bytes.extend_from_slice(&mark(self.store, number, length));
        self.disk.put(&name, &bytes).map_err(|source| StoreError::Io { what: name, source })?;
        self.segments.push_back(Segment { number, bytes: length, last_index: 0 });
        Ok(())
    }

    /// Makes a batch durable. After an error the log takes nothing more: what is on disk is known only after it is opened again.
    pub fn write(&mut self, records: &[Record]) -> Result<(), StoreError> {
        if self.broken {
            return Err(StoreError::Broken);
        }
        if records.is_empty() {
            return Ok(());
        }
        self.broken = true;
        self.write_frame(records)?;
        self.broken = false;
        Ok(())
    }

    fn write_frame(&mut self, records: &[Record]) -> Result<(), StoreError> {
        let current = self.segments.back().expect("an open log has a segment");
        if current.bytes >= self.segment_bytes_max {
            let (last, next) = (name_of(current.number), current.number + 1);
            // With a segment behind it, it ends in its mark: nothing else can be told from damage there.
            self.disk.sync(&last).map_err(|source| StoreError::Io { what: last, source })?;
            self.begin_segment(next)?;
        }
        let current = self.segments.back_mut().expect("an open log has a segment");
        let bytes = frame(current.number, current.bytes, records);
        if bytes.len() > FRAME_BYTES_MAX {
            return Err(StoreError::TooLarge { bytes: bytes.len(), max: FRAME_BYTES_MAX });
        }
        let name = name_of(current.number);
        let io = |source| StoreError::Io { what: name.clone(), source };
        self.disk.write_at(&name, current.bytes as u64, &bytes).map_err(io)?;
        self.disk.sync(&name).map_err(io)?;
        current.bytes += bytes.len();
        let (number, end) = (current.number, current.bytes);
        for record in records {
            self.checkpoint.take(record);
            if let Record::Entry(place, _) = record {
                current.last_index = current.last_index.max(place.index);
            }
        }
        self.put_mark(number, end)?;
        self.drop_purged()
    }

    /// Removes segments, from the front, of which nothing is needed any more. What they said of votes is in the checkpoints behind them.
    fn drop_purged(&mut self) -> Result<(), StoreError> {
        let Some(Record::Purge(upto)) = &self.checkpoint.purged else { return Ok(()) };
        while self.segments.len() > 1 && self.segments[0].last_index <= upto.index {
            let name = name_of(self.segments[0].number);
            self.disk.remove(&name).map_err(|source| StoreError::Io { what: name, source })?;
            self.segments.pop_front();
        }
        Ok(())
    }

    /// The disk, for tests that look at what is on it.
    pub fn into_disk(self) -> D {
        self.disk
    }
}

#[cfg(test)]
mod tests;
