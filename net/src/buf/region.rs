//! The memory of a pool: one anonymous mapping, reserved whole, given to a process page by page as it is touched.
#![allow(unsafe_code, reason = "maps memory and hands out disjoint slices of it")]

use std::ptr::NonNull;

use rustix::mm::{MapFlags, ProtFlags, mmap_anonymous, munmap};

use super::frames::Run;
use crate::NetError;

/// One mapping, page aligned.
pub(crate) struct Region {
    base: NonNull<u8>,
    length: usize,
}

// SAFETY: the region is plain memory; every byte of it belongs to at most one `Run`, and a run has one owner.
unsafe impl Send for Region {}
// SAFETY: shared access only reads through a `&Run`, of which there is one for those bytes.
unsafe impl Sync for Region {}

impl Region {
    pub(crate) fn reserve(length: usize) -> Result<Self, NetError> {
        // SAFETY: a new anonymous private mapping at an address of the kernel's choice aliases nothing.
        let base = unsafe {
            mmap_anonymous(std::ptr::null_mut(), length, ProtFlags::READ | ProtFlags::WRITE, MapFlags::PRIVATE | MapFlags::NORESERVE)
        }
        .map_err(|e| NetError::Fabric { call: "mmap", reason: e.to_string() })?;
        let base = NonNull::new(base.cast()).ok_or(NetError::Fabric { call: "mmap", reason: "a mapping at zero".to_owned() })?;
        Ok(Self { base, length })
    }

    pub(crate) fn length(&self) -> usize {
        self.length
    }

    #[cfg(feature = "libfabric")]
    pub(crate) fn base(&self) -> *mut u8 {
        self.base.as_ptr()
    }

    /// The address of `length` bytes at `offset`.
    pub(crate) fn at(&self, offset: usize, length: usize) -> *mut u8 {
        assert!(offset + length <= self.length, "a run lies within its region");
        // SAFETY: the offset is within the mapping, as just checked.
        unsafe { self.base.as_ptr().add(offset) }
    }

    /// The first `length` bytes of a run.
    pub(super) fn slice<'a>(&'a self, run: &'a Run, length: usize) -> &'a [u8] {
        assert!(length <= run.bytes(), "a buffer is not longer than its run");
        // SAFETY: the bytes are mapped and initialised (anonymous memory is zero), and a run has one owner, who is borrowed here.
        // Lent buffers are out of their owner's hands while the fabric writes to them.
        unsafe { std::slice::from_raw_parts(self.at(run.offset(), length), length) }
    }

    /// The same, to be written.
    #[allow(clippy::mut_from_ref, reason = "the exclusive borrow is that of the run, which is the only one of these bytes")]
    pub(super) fn slice_mut<'a>(&'a self, run: &'a mut Run, length: usize) -> &'a mut [u8] {
        assert!(length <= run.bytes(), "a buffer is not longer than its run");
        // SAFETY: as above, and the run is borrowed exclusively.
        unsafe { std::slice::from_raw_parts_mut(self.at(run.offset(), length), length) }
    }
}

impl Drop for Region {
    fn drop(&mut self) {
        // SAFETY: the mapping is ours and whole; every run holds a reference to the region, so none is left. A failure leaves it mapped.
        let _ = unsafe { munmap(self.base.as_ptr().cast(), self.length) };
    }
}
