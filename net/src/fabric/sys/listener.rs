//! The passive endpoint and what arrives at it.
#![allow(unsafe_code, reason = "calls libfabric")]

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::ptr::{null, null_mut};

use libfabric_sys::bindgen as fi;

use super::info::Side;
use super::{Domain, Info, check, close};
use crate::NetError;

/// A listening port.
pub(in super::super) struct Listener {
    pep: *mut fi::fid_pep,
}

// SAFETY: as for `Domain`.
unsafe impl Send for Listener {}

impl Listener {
    /// Listens; connection requests come as events of the domain.
    pub(in super::super) fn open(domain: &Domain, address: SocketAddr) -> Result<Self, NetError> {
        let info = Info::get(&domain.fabric().provider(), Some((address, Side::Source)))?;
        let mut pep = null_mut();
        // SAFETY: fabric and info are valid; the out pointer is ours.
        check("fi_passive_ep", unsafe { fi::fi_passive_ep(domain.fabric().fabric, info.raw(), &mut pep, null_mut()) })?;
        let this = Self { pep };
        // SAFETY: both objects are open, and the queue outlives the listener.
        unsafe {
            check("fi_pep_bind", fi::fi_pep_bind(pep, &raw mut (*domain.events).fid, 0))?;
            check("fi_listen", fi::fi_listen(pep))?;
        }
        Ok(this)
    }

    /// Where it listens.
    pub(in super::super) fn address(&self) -> Result<SocketAddr, NetError> {
        // SAFETY: plain numbers, for which zero is a value.
        let mut storage: libc::sockaddr_storage = unsafe { std::mem::zeroed() };
        let mut length = size_of::<libc::sockaddr_storage>();
        // SAFETY: the listener is open and the storage as long as said.
        check("fi_getname", unsafe { fi::fi_getname(&raw mut (*self.pep).fid, (&raw mut storage).cast(), &mut length) })?;
        let at = (&raw const storage).cast::<libc::sockaddr>();
        // SAFETY: the storage is long enough and aligned for every family.
        unsafe {
            match i32::from((*at).sa_family) {
                libc::AF_INET => {
                    let v4 = &*at.cast::<libc::sockaddr_in>();
                    Ok(SocketAddr::new(IpAddr::V4(Ipv4Addr::from(u32::from_be(v4.sin_addr.s_addr))), u16::from_be(v4.sin_port)))
                }
                libc::AF_INET6 => {
                    let v6 = &*at.cast::<libc::sockaddr_in6>();
                    Ok(SocketAddr::new(IpAddr::V6(Ipv6Addr::from(v6.sin6_addr.s6_addr)), u16::from_be(v6.sin6_port)))
                }
                family => Err(NetError::Fabric { call: "fi_getname", reason: format!("address family {family}") }),
            }
        }
    }

    /// Turns somebody away.
    pub(in super::super) fn reject(&self, arrival: Arrival) {
        // SAFETY: the handle belongs to a connection request of this listener that was not accepted.
        let result = unsafe { fi::fi_reject(self.pep, (*arrival.info.raw()).handle, null(), 0) };
        if let Err(error) = check("fi_reject", result) {
            tracing::debug!(%error, "a connection request could not be rejected");
        }
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        // SAFETY: opened once, closed once.
        close(unsafe { &raw mut (*self.pep).fid }, "listener");
    }
}

/// A connection request, to be accepted by any shard of the endpoint.
pub(in super::super) struct Arrival {
    info: Info,
}

impl Arrival {
    pub(super) fn new(info: *mut fi::fi_info) -> Self {
        Self { info: Info::adopt(info) }
    }

    pub(super) fn info(&self) -> &Info {
        &self.info
    }
}
