//! Connected endpoints and registered memory.
#![allow(unsafe_code, reason = "calls libfabric")]

use std::ffi::c_void;
use std::net::SocketAddr;
use std::ptr::{null, null_mut};

use libfabric_sys::bindgen as fi;

use super::info::Side;
use super::{Arrival, Domain, Info, check, close, context, is_again};
use crate::NetError;

/// A run of memory that the provider knows.
pub(in super::super) struct Memory {
    mr: *mut fi::fid_mr,
    base: usize,
    virtual_addresses: bool,
}

// SAFETY: as for `Domain`; registered memory is only described here, and may be described from any thread.
unsafe impl Send for Memory {}
// SAFETY: as above.
unsafe impl Sync for Memory {}

impl Memory {
    /// Registers memory for local use and, where `remote` gives a key, for peers.
    ///
    /// The caller keeps the memory until this value is dropped.
    pub(in super::super) fn register(domain: &Domain, base: *mut u8, length: usize, remote: Option<u64>) -> Result<Self, NetError> {
        let mode = domain.fabric().info.mr_mode();
        let local = fi::FI_SEND | fi::FI_RECV | fi::FI_READ | fi::FI_WRITE;
        let access = if remote.is_some() { local | fi::FI_REMOTE_READ | fi::FI_REMOTE_WRITE } else { local };
        let key = if mode & fi::FI_MR_PROV_KEY == 0 { remote.unwrap_or_else(rand::random) } else { 0 };
        let mut mr = null_mut();
        // SAFETY: the memory is mapped and stays until `drop`, as the caller promises; the out pointer is ours.
        check("fi_mr_reg", unsafe {
            fi::fi_mr_reg(domain.domain, base.cast(), length, u64::from(access), 0, key, 0, &mut mr, null_mut())
        })?;
        Ok(Self { mr, base: base as usize, virtual_addresses: mode & fi::FI_MR_VIRT_ADDR != 0 })
    }

    /// What a peer says to reach it.
    pub(in super::super) fn key(&self) -> u64 {
        // SAFETY: the region is registered.
        unsafe { fi::fi_mr_key(self.mr) }
    }

    /// What a peer says to reach the byte at `offset`.
    pub(in super::super) fn remote_address(&self, offset: usize) -> u64 {
        (if self.virtual_addresses { self.base + offset } else { offset }) as u64
    }

    /// What the provider wants with every local use.
    fn descriptor(&self) -> *mut c_void {
        // SAFETY: the region is registered.
        unsafe { fi::fi_mr_desc(self.mr) }
    }
}

impl Drop for Memory {
    fn drop(&mut self) {
        // SAFETY: registered once, closed once.
        close(unsafe { &raw mut (*self.mr).fid }, "memory region");
    }
}

/// Whether an operation was taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in super::super) enum Posted {
    Taken,
    /// The provider is full: again after the next completion.
    Again,
}

/// One connected (or connecting) endpoint. Dropping it closes it: after that nothing that was posted on it touches memory any more.
pub(in super::super) struct Ep {
    ep: *mut fi::fid_ep,
}

// SAFETY: as for `Domain`.
unsafe impl Send for Ep {}

impl Ep {
    fn open(domain: &Domain, info: &Info) -> Result<Self, NetError> {
        let mut ep = null_mut();
        // SAFETY: domain and info are valid; the out pointer is ours.
        check("fi_endpoint", unsafe { fi::fi_endpoint(domain.domain, info.raw(), &mut ep, null_mut()) })?;
        let this = Self { ep };
        // SAFETY: all objects are open; the queues outlive the endpoint (see the rules of `sys`).
        unsafe {
            check("fi_ep_bind", fi::fi_ep_bind(ep, &raw mut (*domain.events).fid, 0))?;
            let (receive, transmit) = (u64::from(fi::FI_RECV), u64::from(fi::FI_TRANSMIT));
            if domain.sends.is_null() {
                check("fi_ep_bind", fi::fi_ep_bind(ep, &raw mut (*domain.completions).fid, transmit | receive))?;
            } else {
                check("fi_ep_bind", fi::fi_ep_bind(ep, &raw mut (*domain.completions).fid, receive))?;
                check("fi_ep_bind", fi::fi_ep_bind(ep, &raw mut (*domain.sends).fid, transmit))?;
            }
            check("fi_enable", fi::fi_enable(ep))?;
        }
        Ok(this)
    }

    /// An endpoint for a connection to that address; [`Ep::connect`] starts it, after receives were posted.
    pub(in super::super) fn to(domain: &Domain, address: SocketAddr) -> Result<(Self, Info), NetError> {
        let info = Info::get(&domain.fabric().provider(), Some((address, Side::Destination)))?;
        Ok((Self::open(domain, &info)?, info))
    }

    /// Begins to connect; an event says what comes of it.
    pub(in super::super) fn connect(&self, info: &Info) -> Result<(), NetError> {
        // SAFETY: the endpoint is open and the info holds an address of its family.
        check("fi_connect", unsafe { fi::fi_connect(self.ep, info.destination(), null(), 0) }).map(drop)
    }

    /// An endpoint for a connection request; [`Ep::accept`] answers it, after receives were posted.
    pub(in super::super) fn of(domain: &Domain, arrival: &Arrival) -> Result<Self, NetError> {
        Self::open(domain, arrival.info())
    }

    pub(in super::super) fn accept(&self) -> Result<(), NetError> {
        // SAFETY: the endpoint was made of a connection request.
        check("fi_accept", unsafe { fi::fi_accept(self.ep, null(), 0) }).map(drop)
    }

    /// What events call it.
    pub(in super::super) fn key(&self) -> usize {
        // SAFETY: the endpoint is open.
        unsafe { &raw mut (*self.ep).fid as usize }
    }

    /// Posts a receive. The memory stays until the completion or the closing of the endpoint.
    pub(in super::super) fn receive(&self, memory: &Memory, offset: usize, length: usize, number: u64) -> Result<Posted, NetError> {
        let at = (memory.base + offset) as *mut c_void;
        // SAFETY: the range lies in registered memory, which `Link` frees only after the endpoint.
        posted("fi_recv", unsafe { fi::fi_recv(self.ep, at, length, memory.descriptor(), 0, context(number)) })
    }

    /// Posts a message; memory as above.
    pub(in super::super) fn send(&self, memory: &Memory, offset: usize, length: usize, number: u64) -> Result<Posted, NetError> {
        let at = (memory.base + offset) as *const c_void;
        // SAFETY: the range lies in registered memory, which `Link` frees only after the endpoint.
        posted("fi_send", unsafe { fi::fi_send(self.ep, at, length, memory.descriptor(), 0, context(number)) })
    }

    /// Reads from or writes to the peer's memory; `local` must stay until the completion or the closing of the endpoint.
    pub(in super::super) fn transfer(&self, memory: &Memory, local: Range, remote: Remote, number: u64) -> Result<Posted, NetError> {
        let at = (memory.base + local.offset) as *mut c_void;
        // SAFETY: the range belongs to a buffer that the caller's table owns until the completion or the closing of the endpoint.
        let result = unsafe {
            if remote.write {
                fi::fi_write(self.ep, at, local.length, memory.descriptor(), 0, remote.address, remote.key, context(number))
            } else {
                fi::fi_read(self.ep, at, local.length, memory.descriptor(), 0, remote.address, remote.key, context(number))
            }
        };
        posted(if remote.write { "fi_write" } else { "fi_read" }, result)
    }
}

impl Drop for Ep {
    fn drop(&mut self) {
        // SAFETY: opened once, closed once.
        close(unsafe { &raw mut (*self.ep).fid }, "endpoint");
    }
}

/// A part of registered memory.
#[derive(Clone, Copy)]
pub(in super::super) struct Range {
    pub(in super::super) offset: usize,
    pub(in super::super) length: usize,
}

/// Memory of the peer.
#[derive(Clone, Copy)]
pub(in super::super) struct Remote {
    pub(in super::super) address: u64,
    pub(in super::super) key: u64,
    pub(in super::super) write: bool,
}

fn posted(call: &'static str, result: isize) -> Result<Posted, NetError> {
    if is_again(result) {
        return Ok(Posted::Again);
    }
    check(call, result as i64).map(|_| Posted::Taken)
}
