//! The narrow view of a data buffer that lets the network fill it and the device write it without a copy.

/// A buffer that is owned by whoever holds it and does not move: `bytes` gives the same address until it is dropped.
///
/// Implementations align to [`crate::limits::BLOCK_BYTES`], so that a device may be written from it directly.
pub trait IoBuf: Send + 'static {
    /// What the buffer holds, in its whole length.
    fn bytes(&self) -> &[u8];
    /// The same, to be filled.
    fn bytes_mut(&mut self) -> &mut [u8];
}
