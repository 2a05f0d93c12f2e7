//! Reads an object: streamed, in order, several stripes ahead in bounded memory, from any byte to any byte.
//!
//! What comes out is verified. The whole object's checksum is checked at the end of a whole read. An object that is replaced while it is
//! read may lose its chunks under the reader: that is a loud [`Error::Replaced`], never a mixture.

use std::collections::VecDeque;
use std::sync::Arc;

use bytes::Bytes;
use layout::stripe::Shape;
use tokio::io::{AsyncWrite, AsyncWriteExt};
use tokio::sync::OwnedSemaphorePermit;
use tokio::task::JoinHandle;
use tokio::time::Instant;
use types::checksum::{Digest, crc32c};
use types::object::{Content, Part};
use types::{Epoch, VersionId};

use super::ObjectInfo;
use super::fetch::{FetchFailure, StripeRequest, fetch_stripe};
use super::record::Target;
use crate::inner::Inner;
use crate::retry::Attempts;
use crate::{Client, Error};

/// Most bytes of one object that are read ahead.
const READ_AHEAD_BYTES_MAX: u64 = 16 * 1024 * 1024;

/// Which bytes of an object.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Range {
    /// From this byte to the end.
    From(u64),
    /// From the first to the second, which is included.
    FromTo(u64, u64),
    /// The last so many.
    Last(u64),
}

impl Range {
    /// The bytes of an object of that size; an error where it begins behind the end.
    fn of(self, size: u64, shown: &str) -> Result<std::ops::Range<u64>, Error> {
        let range = match self {
            Self::From(first) => first..size,
            Self::FromTo(first, last) => first..last.saturating_add(1).min(size),
            Self::Last(count) => size.saturating_sub(count)..size,
        };
        if range.start > size || range.start > range.end || (range.is_empty() && size > 0) {
            return Err(Error::Invalid(format!("the range is outside of object {shown}, which has {size} bytes")));
        }
        Ok(range)
    }
}

impl Client {
    /// Opens an object to be read, all of it or a range.
    pub async fn get(&self, bucket: &str, name: &[u8], range: Option<Range>) -> Result<ObjectReader, Error> {
        self.get_version(bucket, name, None, range).await
    }

    /// Opens a version of an object to be read; the current one where `None`.
    ///
    /// # Errors
    /// [`Error::Marker`] where it is a delete marker.
    pub async fn get_version(&self, bucket: &str, name: &[u8], id: Option<VersionId>, range: Option<Range>) -> Result<ObjectReader, Error> {
        let mut reader = self.get_stored(bucket, name, id).await?;
        if reader.info.is_encrypted() {
            return Err(Error::Refused(format!("object {} is encrypted: read it through S3", reader.target.shown())));
        }
        if let Some(range) = range {
            reader.narrow(range)?;
        }
        Ok(reader)
    }

    /// Opens a version of an object, or the current one, to be read as it lies: where it is encrypted, whoever asks can decrypt it.
    ///
    /// # Errors
    /// As [`Self::get_version`].
    pub async fn get_stored(&self, bucket: &str, name: &[u8], id: Option<VersionId>) -> Result<ObjectReader, Error> {
        let target = Target::find(&self.inner, bucket, name).await?;
        self.inner.fresh_map();
        let (version, record) = target.record(&self.inner, id).await?;
        let stored = record.size;
        let (info, content) = ObjectInfo::new(name, version, record);
        let mut reader = ObjectReader {
            inner: self.inner.clone(),
            target: Arc::new(target),
            ready: VecDeque::new(),
            stored,
            left: stored,
            plan: Plan { parts: VecDeque::new(), wanted: 0..stored, stripes: VecDeque::new() },
            flights: VecDeque::new(),
            whole: Some(Digest::new()),
            info,
        };
        match content {
            Content::Inline(bytes) => reader.inline(bytes)?,
            Content::Parts(parts) => reader.plan.parts = parts.into(),
        }
        Ok(reader)
    }
}

/// An object being read.
pub struct ObjectReader {
    inner: Arc<Inner>,
    target: Arc<Target>,
    info: ObjectInfo,
    /// Verified bytes.
    ready: VecDeque<Bytes>,
    /// Bytes in the object, as they lie.
    stored: u64,
    left: u64,
    plan: Plan,
    flights: VecDeque<Flight>,
    /// Checksum of all bytes so far; none where only a range is read.
    whole: Option<Digest>,
}

/// The stripes that are still to be read.
struct Plan {
    parts: VecDeque<Part>,
    wanted: std::ops::Range<u64>,
    stripes: VecDeque<StripeRequest>,
}

/// A stripe being read.
struct Flight {
    task: JoinHandle<Result<Vec<Bytes>, Error>>,
    room: Option<OwnedSemaphorePermit>,
}

/// Bytes, with the room that they take in the client's budget.
struct Held {
    bytes: Bytes,
    _room: Arc<Option<OwnedSemaphorePermit>>,
}

impl AsRef<[u8]> for Held {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

impl Drop for Flight {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Plan {
    /// The next stripe.
    fn next(&mut self) -> Result<Option<StripeRequest>, Error> {
        while self.stripes.is_empty() {
            let Some(part) = self.parts.pop_front() else { return Ok(None) };
            let end = part.offset + part.length;
            let inside = self.wanted.start.clamp(part.offset, end)..self.wanted.end.clamp(part.offset, end);
            let shape = Shape::of(&part).map_err(|e| Error::Corrupt { what: format!("part at {}", part.offset), reason: e.to_string() })?;
            let ranges = shape.ranges(part.length, inside.start - part.offset..inside.end - part.offset);
            self.stripes = ranges.into_iter().map(|range| StripeRequest { fid: part.fid, shape, range }).collect();
        }
        Ok(self.stripes.pop_front())
    }
}

impl ObjectReader {
    /// What is known of the object.
    pub fn info(&self) -> &ObjectInfo {
        &self.info
    }

    /// Reads only a range of it, as its bytes lie; to be said before anything is read.
    ///
    /// # Errors
    /// [`Error::Invalid`] where the range is outside of the object, or something was read.
    pub fn narrow(&mut self, range: Range) -> Result<(), Error> {
        let wanted = range.of(self.stored, &self.target.shown())?;
        if self.left != self.stored || self.plan.wanted != (0..self.stored) || !self.flights.is_empty() {
            return Err(Error::Invalid(format!("object {} is being read already", self.target.shown())));
        }
        self.left = wanted.end - wanted.start;
        if self.left != self.stored {
            self.whole = None;
        }
        // What lay in the record is here already; its length is that of the object.
        for bytes in &mut self.ready {
            *bytes = bytes.slice(wanted.start as usize..wanted.end as usize);
        }
        self.plan.wanted = wanted;
        Ok(())
    }

    /// Bytes in the object, as they lie.
    pub fn stored(&self) -> u64 {
        self.stored
    }

    /// How many bytes are still to come.
    pub fn left(&self) -> u64 {
        self.left
    }

    /// The next bytes; `None` at the end. They hold memory of the client's budget until they are dropped.
    pub async fn next(&mut self) -> Result<Option<Bytes>, Error> {
        loop {
            if let Some(bytes) = self.ready.pop_front() {
                self.left -= bytes.len() as u64;
                if let Some(whole) = &mut self.whole {
                    whole.update(&bytes);
                }
                if self.left == 0 {
                    self.check_whole()?;
                }
                return Ok(Some(bytes));
            }
            self.read_ahead().await?;
            let Some(mut flight) = self.flights.pop_front() else { return Ok(None) };
            let runs = (&mut flight.task).await.map_err(|e| Error::Refused(format!("a read ended: {e}")))??;
            let room = Arc::new(flight.room.take());
            self.ready.extend(runs.into_iter().map(|bytes| Bytes::from_owner(Held { bytes, _room: room.clone() })));
        }
    }

    /// Writes all that is left to `sink`, and says how many bytes that were.
    pub async fn copy_to<W: AsyncWrite + Unpin>(&mut self, sink: &mut W) -> Result<u64, Error> {
        let mut copied = 0;
        while let Some(bytes) = self.next().await? {
            sink.write_all(&bytes).await.map_err(|e| Error::io(format!("the sink of {}", self.target.shown()), e))?;
            copied += bytes.len() as u64;
        }
        Ok(copied)
    }

    /// All that is left, in memory: for small objects.
    pub async fn bytes(&mut self) -> Result<Vec<u8>, Error> {
        let mut all = Vec::with_capacity(usize::try_from(self.left).unwrap_or(0));
        while let Some(bytes) = self.next().await? {
            all.extend_from_slice(&bytes);
        }
        Ok(all)
    }

    fn inline(&mut self, bytes: Vec<u8>) -> Result<(), Error> {
        if crc32c(&bytes) != self.info.checksum {
            return Err(Error::Corrupt { what: format!("object {}", self.target.shown()), reason: "its checksum is wrong".into() });
        }
        // The record's size was checked against these bytes.
        if !bytes.is_empty() {
            self.ready.push_back(Bytes::from(bytes));
        }
        Ok(())
    }

    fn check_whole(&mut self) -> Result<(), Error> {
        match self.whole.take() {
            Some(whole) if whole.finish() != self.info.checksum => {
                let reason =
                    format!("all its chunks are good, yet its checksum is {:08x} and should be {:08x}", whole.finish(), self.info.checksum);
                Err(Error::Corrupt { what: format!("object {}", self.target.shown()), reason })
            }
            _ => Ok(()),
        }
    }

    /// Starts reads as far ahead as there is room for.
    async fn read_ahead(&mut self) -> Result<(), Error> {
        loop {
            let bytes = match self.plan.stripes.front() {
                Some(stripe) => room_for(stripe),
                None => match self.plan.next()? {
                    Some(stripe) => {
                        let bytes = room_for(&stripe);
                        self.plan.stripes.push_front(stripe);
                        bytes
                    }
                    None => return Ok(()),
                },
            };
            let depth = (READ_AHEAD_BYTES_MAX / bytes.max(1) as u64).max(2) as usize;
            let room = match self.flights.len() {
                0 => self.inner.room(&format!("read object {}", self.target.shown()), bytes).await?,
                flying if flying >= depth => return Ok(()),
                _ => match self.inner.room_ahead(bytes) {
                    Some(room) => room,
                    None => return Ok(()),
                },
            };
            let Some(stripe) = self.plan.next()? else { return Ok(()) };
            let (inner, target, info) = (self.inner.clone(), self.target.clone(), (self.info.id, self.info.version));
            let task = tokio::spawn(async move { read_stripe(&inner, &target, info, &stripe).await });
            self.flights.push_back(Flight { task, room: Some(room) });
        }
    }
}

/// What reading a stripe takes in memory.
fn room_for(stripe: &StripeRequest) -> usize {
    stripe.range.units.iter().map(|unit| unit.read.len()).sum::<usize>().max(types::limits::BLOCK_BYTES)
}

/// One stripe, tried again until the deadline; then an error that says which kind of trouble it is.
async fn read_stripe(
    inner: &Arc<Inner>,
    target: &Target,
    (id, version): (VersionId, types::Version),
    stripe: &StripeRequest,
) -> Result<Vec<Bytes>, Error> {
    let what = format!("read object {}", target.shown());
    let mut attempts = Attempts::new(&what, inner.options.timeout);
    // A long read goes by the map of its beginning: before its units are said to be gone, those who have them now are asked.
    let mut by_new_map = false;
    loop {
        let began = Instant::now();
        let FetchFailure { reason, absent, corrupt, away } = match fetch_stripe(inner, stripe).await {
            Ok(runs) => return Ok(runs),
            Err(failure) => failure,
        };
        attempts.failed(&reason);
        if absent + corrupt > usize::from(stripe.shape.parity()) {
            // Too few units are left, unless the map was old: look whether the object is still the one that is being read.
            match target.record(inner, Some(id)).await {
                // One with a number is the same for as long as it is there, wherever its row lies by now.
                Ok((now, _)) if now == version || id != VersionId::Null => {}
                Ok(_) | Err(Error::NotFound(_) | Error::Marker { .. }) => {
                    return Err(Error::Replaced(format!("object {}", target.shown())));
                }
                Err(error) => return Err(error),
            }
            if away == 0 && by_new_map {
                let reason = format!("{absent} units are gone and {corrupt} damaged, {reason}");
                return Err(Error::Corrupt { what: format!("object {}", target.shown()), reason });
            }
        }
        attempts.pause().await?;
        by_new_map |= inner.learn(Epoch(0), began, attempts.deadline()).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_are_cut_at_the_end_and_refused_behind_it() {
        let of = |range: Range, size| range.of(size, "b/n").ok();
        assert_eq!(of(Range::From(3), 10), Some(3..10));
        assert_eq!(of(Range::FromTo(3, 3), 10), Some(3..4));
        assert_eq!(of(Range::FromTo(3, 99), 10), Some(3..10));
        assert_eq!(of(Range::Last(4), 10), Some(6..10));
        assert_eq!(of(Range::Last(40), 10), Some(0..10));
        assert_eq!(of(Range::From(10), 10), None);
        assert_eq!(of(Range::FromTo(4, 3), 10), None);
        assert_eq!(of(Range::Last(0), 10), None);
        assert_eq!(of(Range::From(0), 0), Some(0..0));
    }
}
