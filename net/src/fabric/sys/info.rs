//! What libfabric offers for an address: `fi_getinfo` with the one set of hints that we use.
#![allow(unsafe_code, reason = "calls libfabric")]

use std::ffi::{CStr, CString};
use std::net::SocketAddr;
use std::ptr::{null, null_mut};

use libfabric_sys::bindgen as fi;

use super::{check, library};
use crate::NetError;

/// The version of libfabric's interface that we are written to.
pub(super) const API_VERSION: u32 = 1 << 16 | 17;

/// Which end an address is.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(in super::super) enum Side {
    Source,
    Destination,
}

/// A list of offers; the first is the one that counts.
pub(in super::super) struct Info {
    info: *mut fi::fi_info,
}

// SAFETY: plain data of ours alone.
unsafe impl Send for Info {}
// SAFETY: it is only read after it was made.
unsafe impl Sync for Info {}

impl Info {
    /// Asks the provider for connected endpoints with messages and one-sided operations.
    pub(in super::super) fn get(provider: &str, address: Option<(SocketAddr, Side)>) -> Result<Self, NetError> {
        let name = CString::new(provider).map_err(|_| NetError::Config("a provider's name with a zero in it".to_owned()))?;
        let library = library()?;
        // SAFETY: allocates; null where memory is short.
        let hints = Self { info: unsafe { (library.dupinfo)(null()) } };
        if hints.info.is_null() {
            return Err(NetError::Fabric { call: "fi_dupinfo", reason: "no memory".to_owned() });
        }
        // SAFETY: `fi_dupinfo` fills in all attribute pointers; the name is copied with malloc because `fi_freeinfo` frees it.
        unsafe {
            (*hints.info).caps = u64::from(fi::FI_MSG | fi::FI_RMA);
            (*(*hints.info).ep_attr).type_ = fi::fi_ep_type_FI_EP_MSG;
            (*(*hints.info).domain_attr).mr_mode =
                (fi::FI_MR_LOCAL | fi::FI_MR_VIRT_ADDR | fi::FI_MR_ALLOCATED | fi::FI_MR_PROV_KEY) as i32;
            (*(*hints.info).fabric_attr).prov_name = libc::strdup(name.as_ptr());
        }
        let text = address.map(|(address, side)| (address.ip().to_string(), address.port().to_string(), side));
        let (node, service, flags) = match &text {
            Some((ip, port, side)) => {
                (cstring(ip)?, cstring(port)?, fi::FI_NUMERICHOST | if *side == Side::Source { fi::FI_SOURCE } else { 0 })
            }
            None => (CString::default(), CString::default(), 0),
        };
        let pointer = |name: &CString| if text.is_some() { name.as_ptr() } else { null() };
        let mut info = null_mut();
        // SAFETY: all strings and the hints live until after the call.
        check("fi_getinfo", unsafe { (library.getinfo)(API_VERSION, pointer(&node), pointer(&service), flags, hints.info, &mut info) })
            .map_err(|e| NetError::Config(format!("provider {provider} for {address:?}: {e}", address = text.map(|t| t.0))))?;
        let info = Self { info };
        let found = info.provider();
        if found != provider {
            // On 1.17 a wrong hint silently gives `tcp;ofi_rxm`, which loses messages.
            return Err(NetError::Config(format!("provider {found} instead of {provider}")));
        }
        Ok(info)
    }

    /// Takes over what libfabric gave with a connection request.
    pub(super) fn adopt(info: *mut fi::fi_info) -> Self {
        Self { info }
    }

    pub(super) fn raw(&self) -> *mut fi::fi_info {
        self.info
    }

    pub(super) fn provider(&self) -> String {
        // SAFETY: libfabric fills in the attributes and the name of an offer.
        unsafe {
            let name = (*(*self.info).fabric_attr).prov_name;
            if name.is_null() { String::new() } else { CStr::from_ptr(name).to_string_lossy().into_owned() }
        }
    }

    /// Which rules for memory registration the provider wants of those that we know.
    pub(super) fn mr_mode(&self) -> u32 {
        // SAFETY: libfabric fills in the attributes of an offer.
        unsafe { (*(*self.info).domain_attr).mr_mode as u32 }
    }

    /// The other side's address, where libfabric tells it.
    pub(super) fn destination(&self) -> *const std::ffi::c_void {
        // SAFETY: the info is valid.
        unsafe { (*self.info).dest_addr }
    }
}

impl Drop for Info {
    fn drop(&mut self) {
        if let (false, Ok(library)) = (self.info.is_null(), library()) {
            // SAFETY: ours alone, freed once.
            unsafe { (library.freeinfo)(self.info) };
        }
    }
}

fn cstring(text: &str) -> Result<CString, NetError> {
    CString::new(text).map_err(|_| NetError::Config("an address with a zero in it".to_owned()))
}
