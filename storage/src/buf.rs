//! Memory that a device can be written from and read into directly: aligned to a block, owned, never moved.

#![allow(unsafe_code, reason = "aligned memory is not to be had from the safe allocator")]

use std::alloc::{Layout, alloc_zeroed, dealloc, handle_alloc_error};
use std::any::Any;
use std::ptr::NonNull;

use types::buf::IoBuf;
use types::limits::BLOCK_BYTES;

/// A zeroed buffer, aligned to [`BLOCK_BYTES`].
pub struct AlignedBuf {
    start: NonNull<u8>,
    len: usize,
}

// SAFETY: the memory is owned by this value alone and reached only through `&self` and `&mut self`.
unsafe impl Send for AlignedBuf {}
// SAFETY: as above; a shared reference only reads.
unsafe impl Sync for AlignedBuf {}

impl AlignedBuf {
    /// `len` zeroes; at least one block is taken.
    pub fn zeroed(len: usize) -> Self {
        let layout = Self::layout(len);
        // SAFETY: the layout's size is not zero.
        let start = unsafe { alloc_zeroed(layout) };
        let Some(start) = NonNull::new(start) else { handle_alloc_error(layout) };
        Self { start, len }
    }

    /// A copy of `bytes`.
    pub fn copy_of(bytes: &[u8]) -> Self {
        let mut buf = Self::zeroed(bytes.len());
        IoBuf::bytes_mut(&mut buf).copy_from_slice(bytes);
        buf
    }

    fn layout(len: usize) -> Layout {
        Layout::from_size_align(len.next_multiple_of(BLOCK_BYTES).max(BLOCK_BYTES), BLOCK_BYTES).expect("a block is a power of two")
    }
}

impl Drop for AlignedBuf {
    fn drop(&mut self) {
        // SAFETY: allocated in `zeroed` with the same layout, and freed only here.
        unsafe { dealloc(self.start.as_ptr(), Self::layout(self.len)) }
    }
}

impl IoBuf for AlignedBuf {
    fn bytes(&self) -> &[u8] {
        // SAFETY: `len` bytes were allocated and zeroed, and live as long as `self`.
        unsafe { std::slice::from_raw_parts(self.start.as_ptr(), self.len) }
    }

    fn bytes_mut(&mut self) -> &mut [u8] {
        // SAFETY: as in `bytes`; the borrow is unique.
        unsafe { std::slice::from_raw_parts_mut(self.start.as_ptr(), self.len) }
    }
}

impl std::fmt::Debug for AlignedBuf {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "AlignedBuf({} bytes)", self.len)
    }
}

/// Any [`IoBuf`], so that one queue holds the buffers of all callers; its owner gets its own type back.
pub(crate) trait AnyBuf: Send {
    fn bytes(&self) -> &[u8];
    fn bytes_mut(&mut self) -> &mut [u8];
    fn into_any(self: Box<Self>) -> Box<dyn Any>;
}

impl<B: IoBuf> AnyBuf for B {
    fn bytes(&self) -> &[u8] {
        IoBuf::bytes(self)
    }

    fn bytes_mut(&mut self) -> &mut [u8] {
        IoBuf::bytes_mut(self)
    }

    fn into_any(self: Box<Self>) -> Box<dyn Any> {
        self
    }
}

/// The buffer in its own type again.
pub(crate) fn restore<B: IoBuf>(buf: Box<dyn AnyBuf>) -> B {
    *buf.into_any().downcast().expect("a buffer comes back as what it was handed in as")
}

/// Whether a device can be written from, or read into, these bytes directly.
pub(crate) fn is_aligned(bytes: &[u8]) -> bool {
    bytes.as_ptr().addr().is_multiple_of(BLOCK_BYTES)
}
