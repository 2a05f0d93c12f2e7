//! Writes an object: streamed, in bounded memory, visible all at once.
//!
//! Up to 64 KiB the bytes go into the record itself: one transaction. Above, stripes are sent several deep, each with all its units in
//! parallel. Where a stripe fails or is late, the part ends before it and a new part, with a new fid in the next pool of the policy, takes
//! what was not durable. The commit names all parts and takes their pending rows away in the same transaction. Nothing is visible before
//! it. After a clean failure the writer abandons its fids; where the outcome is not known it deletes nothing.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use tokio::io::AsyncRead;
use tokio::sync::OwnedSemaphorePermit;
use tokio::task::JoinHandle;
use tokio::time::Instant;
use types::event::Cause;
use types::limits::{INLINE_BYTES_MAX, OBJECT_BYTES_MAX, PARTS_IN_RECORD_MAX};
use types::object::{Content, ObjectRecord, Versioning};
use types::ops::{Condition, Op};
use types::record::Outcome;
use types::{Fid, PoolId, VersionId};

use super::ObjectInfo;
use super::part::{Announced, OpenPart};
use super::record::Target;
use super::source::Source;
use super::stripe::{StripeFailure, write_stripe};
use crate::inner::Inner;
use crate::retry::Attempts;
use crate::{Client, Error};

/// Most bytes of one object that are under way at once.
const IN_FLIGHT_BYTES_MAX: u64 = 16 * 1024 * 1024;
/// Failures for want of room, without a stripe made durable in between, after which a PUT gives up: it tried all pools more than once.
const FULL_MAX: u32 = 6;
/// What a writer spends on abandoning its fids; the end of its session does the rest.
const ABANDON: Duration = Duration::from_secs(2);
/// Largest user metadata of an object, in bytes: what S3 allows of headers, and ten tags of the largest size, encoded.
pub(super) const USER_METADATA_BYTES_MAX: usize = 64 * 1024;

/// How an object is to be written.
#[derive(Clone, Debug, Default)]
pub struct PutOptions {
    /// What has to be true of the object that is replaced.
    pub condition: Condition,
    /// The pool; the policy's order of pools where `None`.
    pub pool: Option<String>,
    /// The user's own words about the object.
    pub user_metadata: Vec<(String, String)>,
    /// By what it is put, for those who are told of it.
    pub cause: Cause,
}

impl Client {
    /// Writes an object from `source`: exactly `length` bytes of it, or all it gives where `None`. Gives what was written.
    ///
    /// Dropping the future leaves the old object, if any, as it was; the space of what was sent comes back when the session ends.
    pub async fn put<R: AsyncRead + Unpin + Send>(
        &self,
        bucket: &str,
        name: &[u8],
        source: R,
        length: Option<u64>,
        options: &PutOptions,
    ) -> Result<ObjectInfo, Error> {
        self.put_described(bucket, name, source, length, options, || Some(Vec::new())).await
    }

    /// [`Client::put`], with words about the object that are known only when all of `source` was read: they are added to the user's own.
    /// Where they are not known by then, nothing is written: the source was not read to its end.
    pub async fn put_described<R: AsyncRead + Unpin + Send>(
        &self,
        bucket: &str,
        name: &[u8],
        source: R,
        length: Option<u64>,
        options: &PutOptions,
        words_at_end: impl FnOnce() -> Option<Vec<(String, String)>> + Send,
    ) -> Result<ObjectInfo, Error> {
        check_metadata(&options.user_metadata)?;
        if length.is_some_and(|length| length > OBJECT_BYTES_MAX) {
            return Err(Error::Invalid(format!("an object has at most {OBJECT_BYTES_MAX} bytes: store it as several")));
        }
        let target = Target::find(&self.inner, bucket, name).await?;
        // Small objects go into no pool; a wrong one is an error for them, too.
        crate::place::pools(&self.inner.map.latest(), options.pool.as_deref())?;
        let mut source = Source::new(target.shown(), source, length);
        let head = source.take(INLINE_BYTES_MAX + 1).await?;
        let mut put = Put::new(self.inner.clone(), target, options.clone(), layout::stripe::unit_bytes_for(length));
        if head.iter().map(Bytes::len).sum::<usize>() <= INLINE_BYTES_MAX {
            let bytes = head.concat();
            put.checksum.update(&bytes);
            put.describe(words_at_end())?;
            return put.commit(bytes.len() as u64, Content::Inline(bytes)).await;
        }
        source.put_back(head);
        let written = put.run(&mut source).await;
        let described = written.and_then(|()| put.describe(words_at_end()));
        let result = match described {
            Ok(()) => {
                let parts = put.parts.iter().map(OpenPart::to_part).collect();
                put.commit(put.durable(), Content::Parts(parts)).await
            }
            Err(error) => Err(error),
        };
        put.abandon(&result).await;
        result
    }
}

/// The wall clock, in milliseconds since 1970.
pub(super) fn now_ms() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |d| u64::try_from(d.as_millis()).unwrap_or(u64::MAX))
}

pub(super) fn check_metadata(words: &[(String, String)]) -> Result<(), Error> {
    check_metadata_of(words, USER_METADATA_BYTES_MAX)
}

pub(super) fn check_metadata_of<'a>(words: impl IntoIterator<Item = &'a (String, String)>, max: usize) -> Result<(), Error> {
    let bytes: usize = words.into_iter().map(|(key, value)| key.len() + value.len()).sum();
    if bytes > max {
        return Err(Error::Invalid(format!("user metadata has {bytes} bytes: at most {max}")));
    }
    Ok(())
}

/// A stripe under way.
struct Flight {
    /// Which of the parts.
    part: usize,
    /// Its bytes, until it is durable.
    data: Vec<Bytes>,
    task: Task,
    _room: OwnedSemaphorePermit,
}

/// A task that ends with its owner.
struct Task(JoinHandle<Result<(), StripeFailure>>);

impl Drop for Task {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// One PUT.
pub(super) struct Put {
    inner: Arc<Inner>,
    target: Target,
    options: PutOptions,
    unit_bytes: u32,
    pub(super) parts: Vec<OpenPart>,
    /// In the order of the object's bytes.
    flights: VecDeque<Flight>,
    /// Fids that the object will not refer to.
    unused: Vec<(Fid, Announced)>,
    /// Of what is durable.
    pub(super) checksum: types::checksum::Digest,
    /// Of the stripe that is to become durable next.
    attempts: Option<Attempts>,
    /// How often a device had no room for it.
    full: u32,
    /// Pools where it failed, oldest first.
    failed_pools: Vec<PoolId>,
}

impl Put {
    pub(super) fn new(inner: Arc<Inner>, target: Target, options: PutOptions, unit_bytes: u32) -> Self {
        Self {
            inner,
            target,
            options,
            unit_bytes,
            parts: Vec::new(),
            flights: VecDeque::new(),
            unused: Vec::new(),
            checksum: types::checksum::Digest::new(),
            attempts: None,
            full: 0,
            failed_pools: Vec::new(),
        }
    }

    /// Sends everything; returns when all of it is durable, or nothing of it is under way any more.
    pub(super) async fn run<R: AsyncRead + Unpin>(&mut self, source: &mut Source<R>) -> Result<(), Error> {
        let written = self.send_all(source).await;
        self.flights.clear();
        written
    }

    async fn send_all<R: AsyncRead + Unpin>(&mut self, source: &mut Source<R>) -> Result<(), Error> {
        let mut ended = false;
        loop {
            let room = if ended { None } else { self.room().await? };
            if let Some(room) = room {
                ended = !self.send_one(source, room).await?;
            } else if let Some(flight) = self.flights.pop_front() {
                self.land(flight, source, &mut ended).await?;
            } else {
                return Ok(());
            }
        }
    }

    /// Room for one more stripe: at once, or after waiting where nothing is under way that would make room.
    async fn room(&self) -> Result<Option<OwnedSemaphorePermit>, Error> {
        // The stripe's bytes and the units that are made from them. The first part's shape is not known yet: the usual one will do.
        let shape = self.parts.last().map(|part| part.lane.shape);
        let (stripe, width) = shape.map_or((4 * u64::from(self.unit_bytes), 6), |s| (s.stripe_bytes(), s.width()));
        let bytes = stripe as usize + usize::from(width) * self.unit_bytes as usize;
        if self.flights.is_empty() {
            return self.inner.room(&format!("write object {}", self.target.shown()), bytes).await.map(Some);
        }
        // Where the last stripe failed, one shows whether it goes on: more would be sent for nothing.
        if !self.failed_pools.is_empty() {
            return Ok(None);
        }
        let depth = (IN_FLIGHT_BYTES_MAX / stripe).max(2) as usize;
        Ok(if self.flights.len() >= depth { None } else { self.inner.room_now(bytes) })
    }

    /// Takes the next stripe from the source and sends it; false at the end of the source.
    async fn send_one<R: AsyncRead + Unpin>(&mut self, source: &mut Source<R>, room: OwnedSemaphorePermit) -> Result<bool, Error> {
        if self.parts.last().is_none_or(OpenPart::is_full) {
            // At the very end of a full part there may be nothing left to open another one for.
            let probe = source.take(1).await?;
            if probe.is_empty() {
                return Ok(false);
            }
            source.put_back(probe);
            self.open_part().await?;
        }
        let part_number = self.parts.len() - 1;
        let part = self.parts.last_mut().expect("a part was just opened");
        let shape = part.lane.shape;
        let data = source.take(shape.stripe_bytes() as usize).await?;
        let length: u64 = data.iter().map(|run| run.len() as u64).sum();
        if length == 0 {
            return Ok(false);
        }
        let stripe = (part.sent / shape.stripe_bytes()) as u32;
        part.sent += length;
        let (inner, lane, pending, sent) = (self.inner.clone(), part.lane.clone(), part.pending.clone(), data.clone());
        let task = Task(tokio::spawn(async move {
            pending.await.map_err(|e| StripeFailure::new(e.to_string()))?;
            write_stripe(&inner, &lane, stripe, &sent).await
        }));
        self.flights.push_back(Flight { part: part_number, data, task, _room: room });
        Ok(true)
    }

    async fn open_part(&mut self) -> Result<(), Error> {
        if self.parts.len() >= PARTS_IN_RECORD_MAX {
            return Err(Error::Invalid(format!(
                "{} needs more than {PARTS_IN_RECORD_MAX} parts: store it as several",
                self.target.shown()
            )));
        }
        let offset = self.parts.last().map_or(0, |part| part.offset + part.sent);
        let pool = self.options.pool.as_deref();
        let what = format!("write object {}", self.target.shown());
        // The time of a source that is slow is not counted.
        let mut fresh = Attempts::new(what, self.inner.options.timeout);
        let attempts = self.attempts.as_mut().unwrap_or(&mut fresh);
        let part = OpenPart::open(&self.inner, &self.target, pool, self.unit_bytes, offset, &self.failed_pools, attempts).await?;
        self.parts.push(part);
        Ok(())
    }

    /// Waits for the first stripe under way, and goes on elsewhere if it failed.
    async fn land<R: AsyncRead + Unpin>(&mut self, mut flight: Flight, source: &mut Source<R>, ended: &mut bool) -> Result<(), Error> {
        let began = Instant::now();
        let outcome = (&mut flight.task.0).await.unwrap_or_else(|e| Err(StripeFailure::new(format!("its task ended: {e}"))));
        let Err(failure) = outcome else {
            for run in &flight.data {
                self.checksum.update(run);
                self.parts[flight.part].durable += run.len() as u64;
            }
            (self.attempts, self.full) = (None, 0);
            self.failed_pools.clear();
            source.recycle(std::mem::take(&mut flight.data));
            return Ok(());
        };
        // An error of the announcement is the caller's to know; so is what does not get better by going on.
        if let Some(Err(error)) = self.parts[flight.part].pending.peek() {
            return Err(error.clone());
        }
        // A node that has just died refuses at once, long before HA says so: it is time that ends this, not a number.
        self.pause(&failure).await?;
        *ended = false;
        let fid = self.parts[flight.part].lane.fid;
        self.failed_pools.retain(|pool| *pool != fid.group.pool);
        self.failed_pools.push(fid.group.pool);
        self.give_up_from(flight, source);
        if failure.fenced {
            self.inner.sessions.forget(fid.session).await;
        }
        let deadline = self.attempts.as_ref().map_or_else(Instant::now, Attempts::deadline);
        self.inner.learn(failure.epoch, began, deadline).await;
        Ok(())
    }

    /// Pauses before the next attempt at a stripe that failed; an error if there is none.
    async fn pause(&mut self, failure: &StripeFailure) -> Result<(), Error> {
        let what = format!("write object {}", self.target.shown());
        self.full += u32::from(failure.full);
        if self.full >= FULL_MAX {
            return Err(Error::Full(format!("{what}: {}", failure.reason)));
        }
        let attempts = self.attempts.get_or_insert_with(|| Attempts::new(what, self.inner.options.timeout));
        attempts.failed(&failure.reason);
        attempts.pause().await
    }

    /// Ends the part of that flight before it, drops all later parts, and gives what was under way back to the source.
    fn give_up_from<R: AsyncRead + Unpin>(&mut self, flight: Flight, source: &mut Source<R>) {
        let first = flight.part;
        let mut runs = flight.data.clone();
        drop(flight);
        for mut later in self.flights.drain(..) {
            runs.append(&mut later.data);
        }
        source.put_back(runs);
        let keep = if self.parts[first].durable > 0 { first + 1 } else { first };
        self.unused.extend(self.parts.drain(keep..).map(|part| (part.lane.fid, part.pending)));
        if let Some(part) = self.parts.last_mut() {
            part.sent = part.durable;
            part.is_closed = true;
        }
    }

    pub(super) fn durable(&self) -> u64 {
        self.parts.iter().map(|part| part.durable).sum()
    }

    /// Adds words about the object.
    fn describe(&mut self, words: Option<Vec<(String, String)>>) -> Result<(), Error> {
        let unread = || Error::Invalid(format!("the source of {} was not read to its end", self.target.shown()));
        let words = words.ok_or_else(unread)?;
        self.options.user_metadata.extend(words);
        check_metadata(&self.options.user_metadata)
    }

    /// Makes the object visible.
    async fn commit(&self, size: u64, content: Content) -> Result<ObjectInfo, Error> {
        let what = format!("write object {}", self.target.shown());
        let modified_ms = now_ms();
        let checksum = self.checksum.finish();
        let user_metadata = self.options.user_metadata.clone();
        let record = ObjectRecord { size, checksum, modified_ms, content, user_metadata, id: VersionId::Null };
        let op = Op::PutObject {
            catalogue: self.target.bucket.0.id,
            name: self.target.name.clone(),
            record: record.to_value(),
            pending: record.fids().collect(),
            condition: self.options.condition,
            versioning: Versioning::Off,
        };
        let group = Inner::group_of(&self.target.bucket, &self.target.name);
        match self.inner.execute_for(self.options.cause, &what, group, vec![op], Vec::new()).await? {
            Outcome::Done { version, versioning, .. } => {
                let record = ObjectRecord { id: versioning.id(version), ..record };
                Ok(ObjectInfo::new(&self.target.name, version, record).0)
            }
            Outcome::Refused { .. } if self.options.condition == Condition::Always => {
                let reason = "its fids were swept meanwhile: the session was closed".to_string();
                Err(Error::Unavailable { what, reason, waited: self.inner.options.timeout })
            }
            Outcome::Refused { current, .. } => Err(Error::Condition { what, current }),
        }
    }

    /// Makes the fids dead that nothing refers to: those left behind, and all of them after a clean failure.
    pub(super) async fn abandon<T>(&mut self, result: &Result<T, Error>) {
        let mut fids = std::mem::take(&mut self.unused);
        match result {
            Ok(_) => {}
            Err(Error::OutcomeUnknown { .. }) => return,
            Err(_) => fids.extend(self.parts.iter().map(|part| (part.lane.fid, part.pending.clone()))),
        }
        let (catalogue, group) = (self.target.bucket.0.id, Inner::group_of(&self.target.bucket, &self.target.name));
        let inner = &self.inner;
        let abandons = fids.into_iter().map(|(fid, announced)| {
            let op = Op::Abandon { catalogue, name: self.target.name.clone(), fid };
            async move {
                // Not before the announcement is through, or it would come after.
                let _ = announced.await;
                inner.execute("abandon a fid", group, vec![op]).await
            }
        });
        if tokio::time::timeout(ABANDON, futures::future::join_all(abandons)).await.is_err() {
            tracing::debug!(object = %self.target.shown(), "fids were not abandoned in time; the end of the session does it");
        }
    }
}
