//! The slots of a link: registered memory for the frames that it receives and sends.
#![allow(unsafe_code, reason = "reads and writes memory that the fabric shares")]

use types::wire::frame::FRAME_BYTES_MAX;

use super::sys::{Domain, Memory};
use crate::NetError;
use crate::buf::Region;

/// Distance between slots: a frame, rounded up to cache lines.
const SLOT_STRIDE: usize = FRAME_BYTES_MAX.next_multiple_of(64);

/// Receive slots, then send slots.
pub(super) struct Slots {
    // Dropped before the memory that it describes.
    memory: Memory,
    region: Region,
    receive: u16,
    free: Vec<u16>,
    send: u16,
}

impl Slots {
    pub(super) fn new(domain: &Domain, receive: u16, send: u16) -> Result<Self, NetError> {
        let region = Region::reserve(usize::from(receive + send) * SLOT_STRIDE)?;
        let memory = Memory::register(domain, region.base(), region.length(), None)?;
        Ok(Self { memory, region, receive, free: (0..send).rev().collect(), send })
    }

    pub(super) fn memory(&self) -> &Memory {
        &self.memory
    }

    /// How many receive slots there are.
    pub(super) fn receive_count(&self) -> u16 {
        self.receive
    }

    /// Where receive slot `slot` lies.
    pub(super) fn receive_offset(&self, slot: u16) -> usize {
        assert!(slot < self.receive, "a receive slot of this link");
        usize::from(slot) * SLOT_STRIDE
    }

    /// Where send slot `slot` lies.
    pub(super) fn send_offset(&self, slot: u16) -> usize {
        assert!(slot < self.send, "a send slot of this link");
        usize::from(self.receive + slot) * SLOT_STRIDE
    }

    /// What was received in a slot whose receive has completed.
    pub(super) fn received(&self, slot: u16, length: usize) -> &[u8] {
        let length = length.min(FRAME_BYTES_MAX);
        // SAFETY: the slot lies in the region; its receive has completed, so nobody writes to it until it is posted again, which needs
        // `self` borrowed anew.
        unsafe { std::slice::from_raw_parts(self.region.at(self.receive_offset(slot), length), length) }
    }

    /// A free send slot, to be filled.
    pub(super) fn take_send(&mut self) -> Option<u16> {
        self.free.pop()
    }

    pub(super) fn give_send(&mut self, slot: u16) {
        assert!(slot < self.send && self.free.len() < usize::from(self.send), "a send slot comes back once");
        self.free.push(slot);
    }

    pub(super) fn has_free_send(&self) -> bool {
        !self.free.is_empty()
    }

    /// The memory of a send slot that was taken and is not posted.
    pub(super) fn send_memory(&mut self, slot: u16) -> &mut [u8] {
        // SAFETY: the slot lies in the region and is in nobody's hands but the caller's.
        unsafe { std::slice::from_raw_parts_mut(self.region.at(self.send_offset(slot), FRAME_BYTES_MAX), FRAME_BYTES_MAX) }
    }

    pub(super) fn frame_max(&self) -> usize {
        FRAME_BYTES_MAX
    }
}
