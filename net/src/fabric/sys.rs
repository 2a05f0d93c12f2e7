//! libfabric's objects as Rust values: opened in order, closed once, errors as [`NetError`]. Nothing of our protocol is known here.
//!
//! The rules that the types cannot hold: an endpoint is closed before the memory that is posted on it is freed, and everything before its
//! domain. `Link` and `Shard` keep them by the order of their fields.
#![allow(unsafe_code, reason = "calls libfabric")]

mod endpoint;
mod info;
mod library;
mod listener;
mod signals;

use std::ffi::{CStr, c_void};
use std::os::fd::{BorrowedFd, RawFd};
use std::ptr::null_mut;
use std::sync::Arc;

use libfabric_sys::bindgen as fi;

pub(super) use endpoint::{Ep, Memory, Posted, Range, Remote};
pub(super) use info::Info;
use library::library;
pub(super) use listener::{Arrival, Listener};

use crate::NetError;

/// Completions that are taken at once.
pub(super) const COMPLETIONS_AT_ONCE: usize = 64;
/// Room for completions of all links of a shard; verbs needs it, tcp grows by itself.
const COMPLETION_QUEUE_ENTRIES: usize = 8192;
/// Room for what comes with a connection event.
const EVENT_DATA_BYTES: usize = 512;

/// Loads libfabric, which takes 0.3 s. Whoever knows that it will be needed may do so ahead, on a thread of its own; nobody has to.
///
/// Libraries that come along take signals. What was set before is set again after; a handler that is set while this runs may be lost.
pub fn load() -> Result<(), NetError> {
    library().map(drop)
}

/// Turns a function's negative result into an error.
pub(super) fn check(call: &'static str, result: impl Into<i64>) -> Result<i64, NetError> {
    let result = result.into();
    if result >= 0 {
        return Ok(result);
    }
    Err(NetError::Fabric { call, reason: strerror(result) })
}

fn strerror(code: i64) -> String {
    let code = i32::try_from(code.unsigned_abs()).unwrap_or(i32::MAX);
    let Ok(library) = library() else { return format!("error {code}") };
    // SAFETY: it returns a static string for every number.
    let text = unsafe { CStr::from_ptr((library.strerror)(code)) };
    format!("{} ({code})", text.to_string_lossy())
}

/// Whether a result says "not now".
fn is_again(result: isize) -> bool {
    result == -(fi::FI_EAGAIN as isize)
}

/// Closes any object; used once for each.
fn close(fid: *mut fi::fid, what: &'static str) {
    // SAFETY: the caller owns the object and does not use it again.
    let result = unsafe { fi::fi_close(fid) };
    if result != 0 {
        tracing::warn!(what, error = %strerror(result.into()), "fi_close failed");
    }
}

/// The provider, opened once for an endpoint.
pub(super) struct Fabric {
    info: Info,
    fabric: *mut fi::fid_fabric,
}

// SAFETY: libfabric's fabric object may be used from several threads (FI_THREAD_SAFE is what the providers give and we ask no less).
unsafe impl Send for Fabric {}
// SAFETY: as above.
unsafe impl Sync for Fabric {}

impl Fabric {
    /// Opens the provider, on the interface of `listen` where that is given.
    pub(super) fn open(provider: &str, listen: Option<std::net::SocketAddr>) -> Result<Arc<Self>, NetError> {
        let info = Info::get(provider, listen.map(|address| (address, info::Side::Source)))?;
        let mut fabric = null_mut();
        // SAFETY: the info and its attributes live until after the call; the out pointer is ours.
        check("fi_fabric", unsafe { (library()?.fabric)((*info.raw()).fabric_attr, &mut fabric, null_mut()) })?;
        Ok(Arc::new(Self { info, fabric }))
    }

    pub(super) fn provider(&self) -> String {
        self.info.provider()
    }
}

impl Drop for Fabric {
    fn drop(&mut self) {
        // SAFETY: the object is valid; its domains hold an `Arc` of `self` and so are closed.
        close(unsafe { &raw mut (*self.fabric).fid }, "fabric");
    }
}

/// What a completion says.
pub(super) struct Completion {
    /// The number that was given when the operation was posted; zero is nobody's.
    pub(super) context: u64,
    /// Bytes received.
    pub(super) length: usize,
    /// Why it failed.
    pub(super) error: Option<String>,
}

/// What an event says. The number is the endpoint's, see [`Ep::key`].
pub(super) enum Event {
    Arrival(Arrival),
    Connected(usize),
    Shutdown(usize),
    Failed(usize, String),
}

/// Where the completions of sends and transfers go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Queues {
    /// With all others, into the queue that one sleeps on.
    One,
    /// Into a queue of their own that nobody sleeps on, where the provider is `tcp`: there a send has mostly completed when it returns, and a
    /// transfer completes with data that wakes the other queue. So whoever sends wakes nobody, and completions may be fetched when they are
    /// needed. Other providers have one queue.
    SendsApart,
}

/// A domain with its completion queues and event queue: what one shard owns.
pub(super) struct Domain {
    fabric: Arc<Fabric>,
    domain: *mut fi::fid_domain,
    completions: *mut fi::fid_cq,
    /// Null where `completions` takes everything.
    sends: *mut fi::fid_cq,
    events: *mut fi::fid_eq,
    completions_fd: RawFd,
    events_fd: RawFd,
}

// SAFETY: libfabric's objects belong to no thread (FI_THREAD_SAFE, as for the fabric), and the shard that owns these is used by one thread at
// a time.
unsafe impl Send for Domain {}

impl Domain {
    pub(super) fn open(fabric: &Arc<Fabric>, queues: Queues) -> Result<Self, NetError> {
        let mut this = Self {
            fabric: fabric.clone(),
            domain: null_mut(),
            completions: null_mut(),
            sends: null_mut(),
            events: null_mut(),
            completions_fd: -1,
            events_fd: -1,
        };
        // SAFETY: every out pointer is a field of `this`, every attribute lives until after its call; what was opened before a failure is
        // closed by `drop`.
        unsafe {
            check("fi_domain", fi::fi_domain(fabric.fabric, fabric.info.raw(), &mut this.domain, null_mut()))?;
            let mut attr = fi::fi_eq_attr { wait_obj: fi::fi_wait_obj_FI_WAIT_FD, ..std::mem::zeroed() };
            check("fi_eq_open", fi::fi_eq_open(fabric.fabric, &mut attr, &mut this.events, null_mut()))?;
            let mut attr = fi::fi_cq_attr {
                size: COMPLETION_QUEUE_ENTRIES,
                format: fi::fi_cq_format_FI_CQ_FORMAT_DATA,
                wait_obj: fi::fi_wait_obj_FI_WAIT_FD,
                ..std::mem::zeroed()
            };
            check("fi_cq_open", fi::fi_cq_open(this.domain, &mut attr, &mut this.completions, null_mut()))?;
            if queues == Queues::SendsApart && fabric.provider() == "tcp" {
                attr.wait_obj = fi::fi_wait_obj_FI_WAIT_NONE;
                check("fi_cq_open", fi::fi_cq_open(this.domain, &mut attr, &mut this.sends, null_mut()))?;
            }
            let wait = fi::FI_GETWAIT as i32;
            let fd: *mut RawFd = &mut this.completions_fd;
            check("fi_control", fi::fi_control(&raw mut (*this.completions).fid, wait, fd.cast()))?;
            let fd: *mut RawFd = &mut this.events_fd;
            check("fi_control", fi::fi_control(&raw mut (*this.events).fid, wait, fd.cast()))?;
        }
        Ok(this)
    }

    pub(super) fn fabric(&self) -> &Arc<Fabric> {
        &self.fabric
    }

    /// The descriptors that become readable when there is something to do.
    pub(super) fn wait_fds(&self) -> [BorrowedFd<'_>; 2] {
        // SAFETY: both belong to queues that live as long as `self`.
        unsafe { [BorrowedFd::borrow_raw(self.completions_fd), BorrowedFd::borrow_raw(self.events_fd)] }
    }

    /// Whether one may sleep on both of [`Domain::wait_fds`] now.
    pub(super) fn may_wait(&self) -> bool {
        self.may_wait_for_completions() && self.may_wait_for_events()
    }

    /// Whether one may sleep on the first of [`Domain::wait_fds`] now. Moves data as [`Domain::read_completions`] does.
    pub(super) fn may_wait_for_completions(&self) -> bool {
        // SAFETY: the queue is open.
        unsafe { self.try_wait(&raw mut (*self.completions).fid) }
    }

    /// Whether one may sleep on the second of [`Domain::wait_fds`] now: to be asked after events were read.
    pub(super) fn may_wait_for_events(&self) -> bool {
        // SAFETY: the queue is open.
        unsafe { self.try_wait(&raw mut (*self.events).fid) }
    }

    /// # Safety
    /// The object is one of this domain's queues.
    unsafe fn try_wait(&self, mut fid: *mut fi::fid) -> bool {
        // SAFETY: the fabric is open, and the queue as the caller says.
        unsafe { fi::fi_trywait(self.fabric.fabric, &raw mut fid, 1) == 0 }
    }

    /// Takes completions; moves all data of the domain's endpoints on the way. Whether there were any.
    pub(super) fn read_completions(&self, out: &mut Vec<Completion>) -> Result<bool, NetError> {
        Self::read_queue(self.completions, out)
    }

    /// Takes completions of sends and transfers, where these have a queue of their own. Whether there were any.
    pub(super) fn read_sends(&self, out: &mut Vec<Completion>) -> Result<bool, NetError> {
        if self.sends.is_null() { Ok(false) } else { Self::read_queue(self.sends, out) }
    }

    fn read_queue(queue: *mut fi::fid_cq, out: &mut Vec<Completion>) -> Result<bool, NetError> {
        // SAFETY: plain numbers and pointers, for which zero is a value.
        let mut entries: [fi::fi_cq_data_entry; COMPLETIONS_AT_ONCE] = unsafe { std::mem::zeroed() };
        // SAFETY: the queue is open and has this format, and the array has this many entries.
        let count = unsafe { fi::fi_cq_read(queue, entries.as_mut_ptr().cast(), entries.len()) };
        if count > 0 {
            let taken = entries.iter().take(count as usize);
            out.extend(taken.map(|entry| Completion { context: entry.op_context as u64, length: entry.len, error: None }));
            return Ok(true);
        }
        if is_again(count) || count == 0 {
            return Ok(false);
        }
        if count == -(fi::FI_EAVAIL as isize) {
            // SAFETY: plain numbers and pointers, for which zero is a value.
            let mut entry: fi::fi_cq_err_entry = unsafe { std::mem::zeroed() };
            // SAFETY: the queue is open and the entry ours.
            let count = unsafe { fi::fi_cq_readerr(queue, &mut entry, 0) };
            if count == 1 {
                let error = Some(strerror(entry.err.into()));
                out.push(Completion { context: entry.op_context as u64, length: 0, error });
                return Ok(true);
            }
            return if is_again(count) { Ok(false) } else { check("fi_cq_readerr", count as i64).map(|_| false) };
        }
        check("fi_cq_read", count as i64).map(|_| false)
    }

    /// Takes one event.
    pub(super) fn read_event(&self) -> Result<Option<Event>, NetError> {
        #[repr(C, align(8))]
        struct Room([u8; EVENT_DATA_BYTES]);
        let mut room = Room([0; EVENT_DATA_BYTES]);
        let mut kind = 0u32;
        // SAFETY: the queue is open, the room aligned and as long as said.
        let length = unsafe { fi::fi_eq_read(self.events, &mut kind, room.0.as_mut_ptr().cast(), room.0.len(), 0) };
        if is_again(length) || length == 0 {
            return Ok(None);
        }
        if length == -(fi::FI_EAVAIL as isize) {
            return self.read_event_error();
        }
        check("fi_eq_read", length as i64)?;
        if (length as usize) < size_of::<fi::fi_eq_cm_entry>() {
            return Ok(None);
        }
        // SAFETY: all events of an endpoint begin with this entry, and the room is aligned for it.
        let entry = unsafe { &*room.0.as_ptr().cast::<fi::fi_eq_cm_entry>() };
        Ok(match kind {
            fi::FI_CONNREQ => Some(Event::Arrival(Arrival::new(entry.info))),
            fi::FI_CONNECTED => Some(Event::Connected(entry.fid as usize)),
            fi::FI_SHUTDOWN => Some(Event::Shutdown(entry.fid as usize)),
            _ => None,
        })
    }

    fn read_event_error(&self) -> Result<Option<Event>, NetError> {
        // SAFETY: plain numbers and pointers, for which zero is a value.
        let mut entry: fi::fi_eq_err_entry = unsafe { std::mem::zeroed() };
        // SAFETY: the queue is open and the entry ours.
        let length = unsafe { fi::fi_eq_readerr(self.events, &mut entry, 0) };
        if is_again(length) || length == 0 {
            return Ok(None);
        }
        check("fi_eq_readerr", length as i64)?;
        Ok(Some(Event::Failed(entry.fid as usize, strerror(entry.err.into()))))
    }
}

impl Drop for Domain {
    fn drop(&mut self) {
        // SAFETY: each object that was opened is valid and closed once, the queues before the domain.
        unsafe {
            if !self.completions.is_null() {
                close(&raw mut (*self.completions).fid, "completion queue");
            }
            if !self.sends.is_null() {
                close(&raw mut (*self.sends).fid, "queue of sends");
            }
            if !self.events.is_null() {
                close(&raw mut (*self.events).fid, "event queue");
            }
            if !self.domain.is_null() {
                close(&raw mut (*self.domain).fid, "domain");
            }
        }
    }
}

/// A context that libfabric carries for us and never looks at.
fn context(number: u64) -> *mut c_void {
    number as *mut c_void
}
