//! An object that is read, decrypted where it has to be. A range takes its own segments and no others.

use bytes::{Buf, Bytes, BytesMut};
use client::{Error, ObjectInfo, ObjectReader, Range};
use types::object::PIECES;

use super::segment::{DataKey, PieceKey, PieceName, SALT_BYTES, SEGMENT_BYTES, STORED_BYTES, TAG_BYTES, segments, stored_bytes};
use crate::metadata::{PartSizes, word};

/// An object that is read.
pub struct Reading {
    reader: ObjectReader,
    opening: Option<Opening>,
}

impl Reading {
    /// Of an object whose bytes lie as they are.
    ///
    /// # Errors
    /// [`Error::Corrupt`] where its record says that they are encrypted bytes.
    pub fn plain(reader: ObjectReader) -> Result<Self, Error> {
        if reader.stored() != reader.info().size {
            return Err(contradiction(reader.info()));
        }
        Ok(Self { reader, opening: None })
    }

    /// Of one that is encrypted under a data key.
    ///
    /// # Errors
    /// [`Error::Corrupt`] where its record contradicts itself.
    pub fn encrypted(reader: ObjectReader, data_key: DataKey) -> Result<Self, Error> {
        let opening = Opening::new(reader.info(), reader.stored(), data_key)?;
        Ok(Self { reader, opening: Some(opening) })
    }

    /// What is known of the object.
    pub fn info(&self) -> &ObjectInfo {
        self.reader.info()
    }

    /// Reads only these bytes, which are inside of the object and not none; to be said before anything is read.
    ///
    /// # Errors
    /// Those of the range.
    pub fn narrow(&mut self, first: u64, length: u64) -> Result<(), Error> {
        let range = match &mut self.opening {
            None => first..first + length,
            Some(opening) => opening.narrow(first, length),
        };
        self.reader.narrow(Range::FromTo(range.start, range.end - 1))
    }

    /// How many bytes are still to come.
    pub fn left(&self) -> u64 {
        self.opening.as_ref().map_or_else(|| self.reader.left(), |opening| opening.left)
    }

    /// The next bytes; `None` at the end.
    ///
    /// # Errors
    /// Those of reading, and [`Error::Corrupt`] where bytes are not those that were written.
    pub async fn next(&mut self) -> Result<Option<Bytes>, Error> {
        let Some(opening) = &mut self.opening else { return self.reader.next().await };
        loop {
            if let Some(bytes) = opening.next()? {
                opening.left -= bytes.len() as u64;
                return Ok(Some(bytes));
            }
            let Some(run) = self.reader.next().await? else { return opening.end().map(|()| None) };
            opening.run = run;
        }
    }
}

fn contradiction(info: &ObjectInfo) -> Error {
    let what = format!("object {}", client::escaped(&info.name));
    Error::Corrupt { what, reason: "what it says of its encryption is not how it lies".into() }
}

/// A piece of the object.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Piece {
    name: PieceName,
    /// Its place among the object's bytes.
    first: u64,
    bytes: u64,
    /// Where it lies.
    stored_first: u64,
}

/// The pieces of an object, by its words, which have to fit what is stored.
fn pieces_of(info: &ObjectInfo, stored: u64) -> Option<Vec<Piece>> {
    let mut pieces = Vec::new();
    let (mut first, mut stored_first) = (0, 0);
    let mut add = |name, bytes| {
        pieces.push(Piece { name, first, bytes, stored_first });
        (first, stored_first) = (first + bytes, stored_first + stored_bytes(bytes));
    };
    match PartSizes::read(info) {
        None => add(PieceName::WHOLE, info.size),
        Some(sizes) => {
            let names = base64_simd::STANDARD.decode_to_vec(word(info, PIECES)?).ok()?;
            let names = names.chunks(2 + SALT_BYTES);
            if names.len() as u64 != sizes.count() {
                return None;
            }
            let mut before = 0;
            for (bytes, name) in sizes.iter().zip(names) {
                let (number, salt) = name.split_first_chunk::<2>()?;
                let name = PieceName { number: u16::from_be_bytes(*number), salt: salt.try_into().ok()? };
                // In the order in which they were named.
                if name.number <= before {
                    return None;
                }
                before = name.number;
                add(name, bytes);
            }
        }
    }
    (first == info.size && stored_first == stored).then_some(pieces)
}

/// The word that names the pieces of an object: for each the number of the part and its salt, in base64.
pub fn pieces_word(names: impl Iterator<Item = PieceName>) -> String {
    let bytes: Vec<u8> = names.flat_map(|name| name.number.to_be_bytes().into_iter().chain(name.salt)).collect();
    base64_simd::STANDARD.encode_to_string(bytes)
}

/// Stored bytes on their way to be plain ones.
struct Opening {
    shown: String,
    data_key: DataKey,
    pieces: Vec<Piece>,
    /// The piece and its segment that come next, and the key of that piece.
    at: usize,
    segment: u64,
    key: PieceKey,
    /// Bytes to be left out before the first that is wanted.
    skip: usize,
    /// Bytes that are wanted.
    left: u64,
    /// Of them, those that were not decrypted yet.
    missing: u64,
    /// Stored bytes that were read, and not taken yet. It holds memory of the client's budget.
    run: Bytes,
    /// What is there of the segment that comes next.
    buffer: BytesMut,
}

/// Bytes of a segment, which hold the memory of the run that its end came in.
struct Plain {
    bytes: BytesMut,
    _run: Bytes,
}

impl AsRef<[u8]> for Plain {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

impl Opening {
    fn new(info: &ObjectInfo, stored: u64, data_key: DataKey) -> Result<Self, Error> {
        let wrong = || contradiction(info);
        let pieces = pieces_of(info, stored).ok_or_else(wrong)?;
        let key = data_key.piece(pieces.first().ok_or_else(wrong)?.name);
        let (shown, left, missing) = (client::escaped(&info.name), info.size, info.size);
        let (run, buffer) = (Bytes::new(), BytesMut::new());
        Ok(Self { shown, data_key, pieces, at: 0, segment: 0, key, skip: 0, left, missing, run, buffer })
    }

    /// Only these bytes are wanted. Says where the segments lie that hold them.
    fn narrow(&mut self, first: u64, length: u64) -> std::ops::Range<u64> {
        let holds = |at: u64| self.pieces.partition_point(|piece| piece.first + piece.bytes <= at).min(self.pieces.len() - 1);
        let (begin, end) = (holds(first), holds(first + length - 1));
        let segment_of = |piece: &Piece, at: u64| (at - piece.first) / SEGMENT_BYTES as u64;
        let (from, to) = (&self.pieces[begin], &self.pieces[end]);
        let (segment, last) = (segment_of(from, first), segment_of(to, first + length - 1));
        let start = from.stored_first + segment * STORED_BYTES as u64;
        let stop = to.stored_first + ((last + 1) * STORED_BYTES as u64).min(stored_bytes(to.bytes));
        self.skip = (first - from.first - segment * SEGMENT_BYTES as u64) as usize;
        (self.at, self.segment, self.key) = (begin, segment, self.data_key.piece(from.name));
        (self.left, self.missing) = (length, length);
        start..stop
    }

    /// The next bytes that are wanted; `None` where the run has no more of them, and is let go. A segment at a time is decrypted, so that no
    /// more of them lie about than are asked for.
    fn next(&mut self) -> Result<Option<Bytes>, Error> {
        while let Some(bytes) = self.segment()? {
            let skip = self.skip.min(bytes.len());
            self.skip -= skip;
            let wanted = bytes.slice(skip..);
            let wanted = wanted.slice(..wanted.len().min(usize::try_from(self.missing).unwrap_or(usize::MAX)));
            self.missing -= wanted.len() as u64;
            if !wanted.is_empty() {
                return Ok(Some(wanted));
            }
        }
        Ok(None)
    }

    /// The next segment, decrypted; `None` where not all of it is there.
    fn segment(&mut self) -> Result<Option<Bytes>, Error> {
        let Some(piece) = self.pieces.get(self.at) else {
            self.fill(usize::MAX);
            return Ok(None);
        };
        let is_last = self.segment + 1 == segments(piece.bytes);
        let before = self.segment * SEGMENT_BYTES as u64;
        let stored = if is_last { (piece.bytes - before) as usize + TAG_BYTES } else { STORED_BYTES };
        let run = self.run.clone();
        self.fill(stored);
        if self.buffer.len() < stored {
            return Ok(None);
        }
        let mut bytes = std::mem::take(&mut self.buffer);
        let length = self.key.open(self.segment, is_last, &mut bytes).ok_or_else(|| self.broken("a segment is not what was written"))?;
        bytes.truncate(length);
        self.segment += 1;
        if is_last {
            (self.at, self.segment) = (self.at + 1, 0);
            if let Some(next) = self.pieces.get(self.at) {
                self.key = self.data_key.piece(next.name);
            }
        }
        Ok(Some(Bytes::from_owner(Plain { bytes, _run: run })))
    }

    /// Takes from the run until the buffer has so many bytes, or nothing is left of it.
    fn fill(&mut self, wanted: usize) {
        let taken = (wanted - self.buffer.len()).min(self.run.len());
        self.buffer.extend_from_slice(&self.run[..taken]);
        self.run.advance(taken);
        if self.run.is_empty() {
            self.run = Bytes::new();
        }
    }

    /// Whether all came that was wanted.
    fn end(&self) -> Result<(), Error> {
        if self.missing == 0 && self.buffer.is_empty() { Ok(()) } else { Err(self.broken("its end is missing")) }
    }

    fn broken(&self, reason: &str) -> Error {
        Error::Corrupt { what: format!("encrypted object {}", self.shown), reason: reason.into() }
    }
}

#[cfg(test)]
mod tests;
