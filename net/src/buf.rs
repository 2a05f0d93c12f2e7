//! Buffers for bulk data: page-aligned pieces of one region of memory per endpoint, which the fabric registers once.
//!
//! A [`Buf`] is unique and cannot be cloned; it returns to its [`BufPool`] when it is dropped. The region is reserved whole and touched
//! lazily. Waiters are served in order, so that a large one is not starved by small ones.

mod frames;
mod region;

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::oneshot;
use types::buf::IoBuf;

use crate::NetError;
use frames::{Frames, Run};
#[cfg(feature = "libfabric")]
pub(crate) use region::Region;
#[cfg(not(feature = "libfabric"))]
use region::Region;

/// Largest buffer, and the most that one call can lend.
pub const BUF_BYTES_MAX: usize = types::wire::frame::LEND_BYTES_MAX as usize;
/// What pools are made of; every buffer up to this size lies within one of them.
pub const POOL_FRAME_BYTES: usize = 1024 * 1024;
/// Most takers that may wait at once.
const WAITERS_MAX: usize = 4096;

/// A bounded pool of buffers. Cheap to clone: the clones share it.
#[derive(Clone)]
pub struct BufPool {
    shared: Arc<Shared>,
}

struct Shared {
    region: Region,
    inner: Mutex<Inner>,
}

struct Inner {
    frames: Frames,
    waiters: VecDeque<Waiter>,
}

struct Waiter {
    length: usize,
    deliver: oneshot::Sender<Buf>,
}

impl BufPool {
    /// A pool of that many bytes, rounded up to whole frames.
    pub fn new(bytes: usize) -> Result<Self, NetError> {
        let count = bytes.div_ceil(POOL_FRAME_BYTES).max(1);
        let region = Region::reserve(count * POOL_FRAME_BYTES)?;
        let inner = Inner { frames: Frames::new(count), waiters: VecDeque::new() };
        Ok(Self { shared: Arc::new(Shared { region, inner: Mutex::new(inner) }) })
    }

    /// A buffer of exactly `length` bytes, as soon as there is one. Its content is whatever was there before.
    pub async fn take(&self, length: usize) -> Result<Buf, NetError> {
        self.check(length)?;
        let receiver = {
            let mut inner = self.shared.lock();
            if inner.waiters.is_empty()
                && let Some(run) = inner.frames.take(length)
            {
                return Ok(self.buf(run, length));
            }
            inner.waiters.retain(|waiter| !waiter.deliver.is_closed());
            if inner.waiters.len() >= WAITERS_MAX {
                return Err(NetError::Busy(format!("{WAITERS_MAX} takers wait for buffers")));
            }
            let (deliver, receiver) = oneshot::channel();
            inner.waiters.push_back(Waiter { length, deliver });
            receiver
        };
        // A waiter that gave up leaves the queue; whoever stands behind it must not wait for the next return.
        let guard = Departure(self.shared.clone());
        let buf = receiver.await.map_err(|_| NetError::Closed);
        std::mem::forget(guard);
        buf
    }

    /// The same at once or not at all.
    pub fn try_take(&self, length: usize) -> Option<Buf> {
        self.check(length).ok()?;
        let mut inner = self.shared.lock();
        if inner.waiters.iter().any(|waiter| !waiter.deliver.is_closed()) {
            return None;
        }
        let run = inner.frames.take(length)?;
        drop(inner);
        Some(self.buf(run, length))
    }

    /// Size of the pool.
    pub fn capacity_bytes(&self) -> usize {
        self.shared.region.length()
    }

    /// What can still be taken, though not all of it in one piece.
    pub fn free_bytes(&self) -> usize {
        self.shared.lock().frames.free_bytes()
    }

    fn check(&self, length: usize) -> Result<(), NetError> {
        let max = BUF_BYTES_MAX.min(self.capacity_bytes());
        if length > max { Err(NetError::TooLarge { what: "a buffer", bytes: length, max }) } else { Ok(()) }
    }

    fn buf(&self, run: Run, length: usize) -> Buf {
        Buf { shared: self.shared.clone(), run, length }
    }

    /// First byte and length of the region, for its registration.
    #[cfg(feature = "libfabric")]
    pub(crate) fn region(&self) -> (*mut u8, usize) {
        (self.shared.region.base(), self.shared.region.length())
    }
}

impl std::fmt::Debug for BufPool {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("BufPool").field("capacity_bytes", &self.capacity_bytes()).field("free_bytes", &self.free_bytes()).finish()
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes a run back (if any) and serves the waiters at the front of the queue for whom there is room now.
    fn settle(self: &Arc<Self>, back: Option<Run>) {
        let mut back = back;
        loop {
            let mut inner = self.lock();
            if let Some(run) = back.take() {
                inner.frames.give_back(run);
            }
            inner.waiters.retain(|waiter| !waiter.deliver.is_closed());
            let Some(front) = inner.waiters.front() else { return };
            let length = front.length;
            let Some(run) = inner.frames.take(length) else { return };
            let waiter = inner.waiters.pop_front();
            drop(inner);
            // The taker may have gone in between: then the run comes back without dropping a `Buf` on the way, which would recurse.
            if let Some(waiter) = waiter
                && let Err(buf) = waiter.deliver.send(Buf { shared: self.clone(), run, length })
            {
                back = Some(buf.into_run());
            }
        }
    }
}

/// Serves the queue again when a waiting taker goes away.
struct Departure(Arc<Shared>);

impl Drop for Departure {
    fn drop(&mut self) {
        self.0.settle(None);
    }
}

/// A buffer: its owner's alone, at one address for as long as it lives.
pub struct Buf {
    shared: Arc<Shared>,
    run: Run,
    length: usize,
}

impl Buf {
    /// Its length.
    pub fn len(&self) -> usize {
        self.length
    }

    /// Whether it holds nothing.
    pub fn is_empty(&self) -> bool {
        self.length == 0
    }

    /// Most bytes that it could hold.
    pub fn capacity(&self) -> usize {
        self.run.bytes()
    }

    /// Makes it longer or shorter, within its capacity; whatever lay there before shows.
    pub fn set_len(&mut self, length: usize) -> Result<(), NetError> {
        if length > self.capacity() {
            return Err(NetError::TooLarge { what: "a buffer", bytes: length, max: self.capacity() });
        }
        self.length = length;
        Ok(())
    }

    /// Where in the pool's region it begins.
    #[cfg(feature = "libfabric")]
    pub(crate) fn offset(&self) -> usize {
        self.run.offset()
    }

    /// Whether it is of that pool.
    pub(crate) fn is_of(&self, pool: &BufPool) -> bool {
        Arc::ptr_eq(&self.shared, &pool.shared)
    }

    fn into_run(self) -> Run {
        let mut this = self;
        std::mem::replace(&mut this.run, Run::NOTHING)
    }
}

impl Drop for Buf {
    fn drop(&mut self) {
        let run = std::mem::replace(&mut self.run, Run::NOTHING);
        if !run.is_nothing() {
            self.shared.settle(Some(run));
        }
    }
}

impl IoBuf for Buf {
    fn bytes(&self) -> &[u8] {
        self.shared.region.slice(&self.run, self.length)
    }

    fn bytes_mut(&mut self) -> &mut [u8] {
        self.shared.region.slice_mut(&mut self.run, self.length)
    }
}

impl std::ops::Deref for Buf {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        self.bytes()
    }
}

impl std::ops::DerefMut for Buf {
    fn deref_mut(&mut self) -> &mut [u8] {
        self.bytes_mut()
    }
}

impl std::fmt::Debug for Buf {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Buf({} bytes)", self.length)
    }
}

#[cfg(test)]
mod tests;
