//! The form of the journal: a stream of records in a ring of sectors. Pure: bytes in, bytes out.
//!
//! ```text
//! sector   512 = stamp (8) · body (504)
//! stamp    generation (3 bytes) · lap (3) · check (2) of both and of the sector's place
//! record   in the bodies, one after the other: header (24) · payload · zeros up to a multiple of 24
//! header   payload's length (4) · its CRC32C (4) · synced (8) · CRC32C of these, of generation and position (4) · zero (4)
//! ```
//!
//! A disk writes a sector whole or not at all, and several in any order. So a sector whose stamp is of an earlier lap or generation was
//! never written: a crash tore that record, and what comes after it was not synced. A sector whose stamp is right but whose bytes are not is
//! damaged: records that were synced may be gone, and nobody may go on from there. A header never crosses sectors, as 504 is a multiple of 24.

use types::buf::IoBuf;
use types::checksum::crc32c_of;
use types::limits::BLOCK_BYTES;

use crate::{AlignedBuf, StorageError};

/// Bytes of a sector.
pub const SECTOR_BYTES: usize = 512;
const STAMP_BYTES: usize = 8;
const BODY_BYTES: usize = SECTOR_BYTES - STAMP_BYTES;
const HEADER_BYTES: usize = 24;
const SECTORS_PER_BLOCK: u64 = (BLOCK_BYTES / SECTOR_BYTES) as u64;
/// Highest generation, and highest lap.
const COUNT_MAX: u32 = (1 << 24) - 1;

/// Place in the stream of one generation, in bytes of bodies; records begin at multiples of 24.
pub type Position = u64;

/// Which ring, in which opening of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shape {
    /// Counts the openings: records of an earlier one are not taken for this one's.
    pub generation: u32,
    /// Sectors of the ring: whole blocks of 4096 bytes.
    pub sectors: u64,
}

/// What a sector is, by its stamp.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stamp {
    /// Written in this lap.
    Current,
    /// Not written in this lap.
    Old,
    /// Nothing that was ever written.
    Damaged,
}

impl Shape {
    /// Whether there can be such a ring.
    pub fn is_possible(&self) -> bool {
        self.sectors != 0 && self.sectors.is_multiple_of(SECTORS_PER_BLOCK)
    }

    /// Bytes of stream that the ring holds.
    pub fn capacity(&self) -> u64 {
        self.sectors * BODY_BYTES as u64
    }

    /// Longest payload: a quarter of the ring.
    pub fn payload_max(&self) -> usize {
        self.capacity() as usize / 4 - HEADER_BYTES
    }

    /// Bytes of stream that a record of this payload takes.
    pub fn record_bytes(payload: usize) -> u64 {
        (HEADER_BYTES + payload).next_multiple_of(HEADER_BYTES) as u64
    }

    fn stamp(&self, sector: u64) -> Result<[u8; STAMP_BYTES], StorageError> {
        let lap = u32::try_from(sector / self.sectors).unwrap_or(u32::MAX);
        if self.generation > COUNT_MAX || lap > COUNT_MAX {
            return Err(StorageError::Failed("the journal's laps are counted up: start the process again".into()));
        }
        Ok(stamp(self.generation, lap, sector % self.sectors))
    }

    fn weigh(&self, sector: u64, found: [u8; STAMP_BYTES]) -> Stamp {
        if self.stamp(sector).is_ok_and(|stamp| stamp == found) {
            return Stamp::Current;
        }
        let [a, b, c, d, e, f, ..] = found;
        let (generation, lap) = (u32::from_le_bytes([a, b, c, 0]), u32::from_le_bytes([d, e, f, 0]));
        let known = found == [0; STAMP_BYTES] || found == stamp(generation, lap, sector % self.sectors);
        let earlier = (generation, u64::from(lap)) < (self.generation, sector / self.sectors);
        if known && earlier { Stamp::Old } else { Stamp::Damaged }
    }
}

fn stamp(generation: u32, lap: u32, place: u64) -> [u8; STAMP_BYTES] {
    let [a, b, c, _] = generation.to_le_bytes();
    let [d, e, f, _] = lap.to_le_bytes();
    // Set apart from that of an empty sector.
    let [x, y, ..] = crc32c_of(&[&[a, b, c, d, e, f], &place.to_le_bytes()]).to_le_bytes();
    [a, b, c, d, e, f, x, y]
}

/// Length of a payload, its checksum, and up to where the stream was durable when the record was written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Header {
    length: u32,
    sum: u32,
    synced: Position,
}

impl Header {
    fn encode(&self, shape: Shape, at: Position) -> [u8; HEADER_BYTES] {
        let mut bytes = [0; HEADER_BYTES];
        bytes[..4].copy_from_slice(&self.length.to_le_bytes());
        bytes[4..8].copy_from_slice(&self.sum.to_le_bytes());
        bytes[8..16].copy_from_slice(&self.synced.to_le_bytes());
        let sum = crc32c_of(&[&bytes[..16], &shape.generation.to_le_bytes(), &at.to_le_bytes()]);
        bytes[16..20].copy_from_slice(&sum.to_le_bytes());
        bytes
    }

    fn decode(bytes: &[u8], shape: Shape, at: Position) -> Option<Self> {
        let (length, rest) = bytes.split_first_chunk()?;
        let (sum, rest) = rest.split_first_chunk()?;
        let (synced, _) = rest.split_first_chunk()?;
        let header = Self { length: u32::from_le_bytes(*length), sum: u32::from_le_bytes(*sum), synced: Position::from_le_bytes(*synced) };
        (header.encode(shape, at) == bytes).then_some(header)
    }
}

/// Bytes for the ring, and where they go.
#[derive(Debug, PartialEq, Eq)]
pub struct Run<'a> {
    /// Offset in the ring, in bytes; a multiple of a block.
    pub at: u64,
    /// Whole blocks.
    pub bytes: &'a [u8],
}

/// Sectors that are to be written, as they were at one moment: from a block's begin to a block's end.
#[derive(Debug)]
pub struct Taken {
    first: u64,
    bytes: AlignedBuf,
}

impl Taken {
    /// One run, and another where the ring ends; the second may be empty.
    pub fn runs(&self, shape: Shape) -> [Run<'_>; 2] {
        let place = self.first % shape.sectors;
        let bytes = IoBuf::bytes(&self.bytes);
        let before_end = ((shape.sectors - place) as usize * SECTOR_BYTES).min(bytes.len());
        let (bytes, wrapped) = bytes.split_at(before_end);
        [Run { at: place * SECTOR_BYTES as u64, bytes }, Run { at: 0, bytes: wrapped }]
    }
}

/// Makes the stream of one generation.
#[derive(Debug)]
pub struct Writer {
    shape: Shape,
    end: Position,
    /// The first sector of `out`: the first of a block.
    first: u64,
    /// Sectors that were not taken yet, after those that were and share a block with them.
    out: Vec<u8>,
    /// Up to where the stream was taken.
    taken: Position,
}

impl Writer {
    /// A stream that is empty yet.
    pub fn new(shape: Shape) -> Self {
        Self { shape, end: 0, first: 0, out: Vec::new(), taken: 0 }
    }

    /// Where the next record begins.
    pub fn end(&self) -> Position {
        self.end
    }

    /// Bytes of stream that were not taken yet.
    pub fn pending(&self) -> u64 {
        self.end - self.taken
    }

    /// First position whose sector a record of this payload would write over.
    pub fn writes_over(&self, payload: usize) -> Position {
        let last = (self.end + Shape::record_bytes(payload)).div_ceil(BODY_BYTES as u64).next_multiple_of(SECTORS_PER_BLOCK);
        last.saturating_sub(self.shape.sectors) * BODY_BYTES as u64
    }

    /// Adds a record.
    pub fn append(&mut self, payload: &[u8], synced: Position) -> Result<(), StorageError> {
        let length = u32::try_from(payload.len()).expect("bounded by `payload_max`");
        let header = Header { length, sum: crc32c_of(&[payload]), synced }.encode(self.shape, self.end);
        let zeros = Shape::record_bytes(payload.len()) as usize - HEADER_BYTES - payload.len();
        self.put(&header)?;
        self.put(payload)?;
        self.put(&[0; HEADER_BYTES][..zeros])
    }

    fn put(&mut self, mut bytes: &[u8]) -> Result<(), StorageError> {
        while !bytes.is_empty() {
            let (sector, within) = (self.end / BODY_BYTES as u64, (self.end % BODY_BYTES as u64) as usize);
            let at = (sector - self.first) as usize * SECTOR_BYTES;
            if within == 0 {
                self.out.resize(at + SECTOR_BYTES, 0);
                self.out[at..at + STAMP_BYTES].copy_from_slice(&self.shape.stamp(sector)?);
            }
            let (now, later) = bytes.split_at(bytes.len().min(BODY_BYTES - within));
            self.out[at + STAMP_BYTES + within..][..now.len()].copy_from_slice(now);
            self.end += now.len() as u64;
            bytes = later;
        }
        Ok(())
    }

    /// Takes what is to be written, as it is now: nothing that is added later changes it.
    pub fn take(&mut self) -> Taken {
        let mut bytes = AlignedBuf::zeroed(self.out.len().next_multiple_of(BLOCK_BYTES));
        IoBuf::bytes_mut(&mut bytes)[..self.out.len()].copy_from_slice(&self.out);
        let taken = Taken { first: self.first, bytes };
        // The block that is not full is written again with what comes next.
        let keep = self.end / BODY_BYTES as u64 / SECTORS_PER_BLOCK * SECTORS_PER_BLOCK;
        self.out.drain(..(keep - self.first) as usize * SECTOR_BYTES);
        self.first = keep;
        self.taken = self.end;
        taken
    }
}

/// Shows the payloads of a ring's records from `from` on, each with the position after it; gives the end.
///
/// # Errors
/// [`StorageError::Damaged`] where records that were synced cannot be read; whatever `each` says.
pub fn replay(
    ring: &[u8],
    shape: Shape,
    from: Position,
    mut each: impl FnMut(&[u8], Position) -> Result<(), StorageError>,
) -> Result<Position, StorageError> {
    let reader = Reader { ring, shape };
    let (mut at, mut payload) = (from, Vec::new());
    while let Some(next) = reader.record(at, &mut payload)? {
        each(&payload, next)?;
        at = next;
    }
    if let Some(claim) = reader.claim_beyond(at) {
        return Err(damaged(at, &format!("it ends here, and was synced up to {claim}")));
    }
    Ok(at)
}

fn damaged(at: Position, why: &str) -> StorageError {
    StorageError::Damaged(format!("the journal at {at}: {why}"))
}

struct Reader<'a> {
    ring: &'a [u8],
    shape: Shape,
}

impl Reader<'_> {
    fn sector(&self, sector: u64) -> (Stamp, &[u8]) {
        let at = (sector % self.shape.sectors) as usize * SECTOR_BYTES;
        let (stamp, body) = self.ring[at..at + SECTOR_BYTES].split_first_chunk().expect("a sector is longer than its stamp");
        (self.shape.weigh(sector, *stamp), body)
    }

    /// The rest of the sector's body from a position on; `None` where a crash kept it from being written.
    fn body(&self, at: Position) -> Result<Option<&[u8]>, StorageError> {
        match self.sector(at / BODY_BYTES as u64) {
            (Stamp::Current, body) => Ok(Some(&body[(at % BODY_BYTES as u64) as usize..])),
            (Stamp::Old, _) => Ok(None),
            (Stamp::Damaged, _) => Err(damaged(at, "the sector was not written by us")),
        }
    }

    /// Reads the record at a position; gives the position after it, or `None` at the end.
    fn record(&self, at: Position, payload: &mut Vec<u8>) -> Result<Option<Position>, StorageError> {
        let Some(body) = self.body(at)? else { return Ok(None) };
        let found = &body[..HEADER_BYTES];
        if found == [0; HEADER_BYTES] {
            return Ok(None);
        }
        let header = Header::decode(found, self.shape, at).ok_or_else(|| damaged(at, "a record's header is damaged"))?;
        let length = header.length as usize;
        if length > self.shape.payload_max() {
            return Err(damaged(at, "a record is longer than any"));
        }
        payload.clear();
        let mut place = at + HEADER_BYTES as u64;
        while payload.len() < length {
            let Some(body) = self.body(place)? else { return Ok(None) };
            let part = &body[..body.len().min(length - payload.len())];
            payload.extend_from_slice(part);
            place += part.len() as u64;
        }
        if crc32c_of(&[payload]) != header.sum {
            return Err(damaged(at, "a record is damaged"));
        }
        Ok(Some(at + Shape::record_bytes(length)))
    }

    /// A record beyond the end that was written when more than that was synced.
    fn claim_beyond(&self, end: Position) -> Option<Position> {
        let first = end / BODY_BYTES as u64;
        (first..first + self.shape.sectors).find_map(|sector| {
            let (Stamp::Current, body) = self.sector(sector) else { return None };
            (0u64..).zip(body.chunks_exact(HEADER_BYTES)).find_map(|(slot, bytes)| {
                let at = sector * BODY_BYTES as u64 + slot * HEADER_BYTES as u64;
                let header = Header::decode(bytes, self.shape, at).filter(|_| at >= end)?;
                (header.synced > end).then_some(header.synced)
            })
        })
    }
}
