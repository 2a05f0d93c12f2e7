//! Raw libfabric: what the provider itself can do, with one thread on either side and nothing of our protocol.
#![allow(unsafe_code, reason = "reads and writes memory that the fabric shares")]

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};

use super::{ECHO_BYTES_MAX, Measured, Pattern, Plan, UNDER_WAY_BYTES_MAX, WINDOW_MAX};
use crate::NetError;
use crate::buf::Region;
use crate::fabric::sys::{Completion, Domain, Ep, Event, Fabric, Memory, Posted, Queues};

/// What a client says of one operation; an echo has its data behind it.
pub(super) const ORDER_BYTES: usize = 32;
/// Distance between the slots for messages.
const SLOT_BYTES: usize = ORDER_BYTES + ECHO_BYTES_MAX;
/// Bits of an operation's number above its slot.
pub(super) const SEND: u64 = 1 << 32;
pub(super) const RECEIVE: u64 = 2 << 32;
pub(super) const TRANSFER: u64 = 3 << 32;
/// How long one side waits for the other.
const PATIENCE: Duration = Duration::from_secs(30);

/// One operation, as the client orders it.
#[derive(Clone, Copy)]
pub(super) struct Order {
    pub(super) pattern: u8,
    pub(super) slot: u32,
    pub(super) length: u32,
    pub(super) address: u64,
    pub(super) key: u64,
}

impl Order {
    fn encode(self) -> [u8; ORDER_BYTES] {
        let mut out = [0; ORDER_BYTES];
        out[0] = self.pattern;
        out[4..8].copy_from_slice(&self.slot.to_le_bytes());
        out[8..12].copy_from_slice(&self.length.to_le_bytes());
        out[16..24].copy_from_slice(&self.address.to_le_bytes());
        out[24..32].copy_from_slice(&self.key.to_le_bytes());
        out
    }

    pub(super) fn decode(bytes: &[u8; ORDER_BYTES]) -> Self {
        let word = |at: usize| u32::from_le_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]]);
        let long = |at: usize| u64::from(word(at)) | u64::from(word(at + 4)) << 32;
        Self { pattern: bytes[0], slot: word(4), length: word(8), address: long(16), key: long(24) }
    }
}

/// One side. The order of the fields is the order of their end.
pub(super) struct Raw {
    pub(super) ep: Ep,
    pub(super) memory: Memory,
    region: Region,
}

impl Raw {
    pub(super) fn new(domain: &Domain, ep: Ep) -> Result<Self, NetError> {
        let region = Region::reserve(2 * WINDOW_MAX * SLOT_BYTES + UNDER_WAY_BYTES_MAX)?;
        let memory = Memory::register(domain, region.base(), region.length(), Some(rand::random()))?;
        let this = Self { ep, memory, region };
        for slot in 0..WINDOW_MAX {
            this.receive(slot)?;
        }
        Ok(this)
    }

    pub(super) fn receive(&self, slot: usize) -> Result<(), NetError> {
        taken(self.ep.receive(&self.memory, slot * SLOT_BYTES, SLOT_BYTES, RECEIVE | slot as u64)?)
    }

    fn send_offset(slot: usize) -> usize {
        (WINDOW_MAX + slot) * SLOT_BYTES
    }

    pub(super) fn send(&self, slot: usize, length: usize) -> Result<(), NetError> {
        taken(self.ep.send(&self.memory, Self::send_offset(slot), length, SEND | slot as u64)?)
    }

    /// Sends what was received in a slot.
    pub(super) fn send_received(&self, slot: usize, length: usize) -> Result<(), NetError> {
        taken(self.ep.send(&self.memory, slot * SLOT_BYTES, length, SEND | slot as u64)?)
    }

    /// Where the data of a slot lies.
    pub(super) fn data_offset(slot: usize, length: usize) -> usize {
        2 * WINDOW_MAX * SLOT_BYTES + (slot % (UNDER_WAY_BYTES_MAX / length.max(1)).max(1)) * length
    }

    /// The order that was received in a slot.
    pub(super) fn order(&self, slot: usize) -> Order {
        let mut bytes = [0; ORDER_BYTES];
        // SAFETY: the slot lies in the region, its receive has completed and is not posted again yet.
        bytes.copy_from_slice(unsafe { std::slice::from_raw_parts(self.region.at(slot * SLOT_BYTES, ORDER_BYTES), ORDER_BYTES) });
        Order::decode(&bytes)
    }

    fn write_order(&mut self, slot: usize, order: Order) {
        let at = self.region.at(Self::send_offset(slot), ORDER_BYTES);
        // SAFETY: the slot lies in the region, and its send before has completed: its answer has come.
        unsafe { std::slice::from_raw_parts_mut(at, ORDER_BYTES) }.copy_from_slice(&order.encode());
    }
}

/// The bench never posts more than the provider takes.
pub(super) fn taken(posted: Posted) -> Result<(), NetError> {
    if posted == Posted::Again {
        return Err(NetError::Fabric { call: "bench", reason: "the provider is full".to_owned() });
    }
    Ok(())
}

/// Waits for completions or an event.
pub(super) fn wait(domain: &Domain, out: &mut Vec<Completion>, until: Instant) -> Result<Option<Event>, NetError> {
    loop {
        if domain.read_completions(out)? {
            return Ok(None);
        }
        if let Some(event) = domain.read_event()? {
            return Ok(Some(event));
        }
        let left = until.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Err(NetError::Fabric { call: "bench", reason: "nothing happened".to_owned() });
        }
        if domain.may_wait() {
            let [completions, events] = domain.wait_fds();
            let mut fds = [PollFd::from_borrowed_fd(completions, PollFlags::IN), PollFd::from_borrowed_fd(events, PollFlags::IN)];
            let timeout = Timespec { tv_sec: left.as_secs() as i64, tv_nsec: left.subsec_nanos().into() };
            match poll(&mut fds, Some(&timeout)) {
                Ok(_) | Err(rustix::io::Errno::INTR) => {}
                Err(e) => return Err(NetError::Fabric { call: "poll", reason: e.to_string() }),
            }
        }
    }
}

/// Makes one figure, over a connection of its own.
pub(super) fn measure(address: SocketAddr, plan: Plan, provider: &str) -> Result<Measured, NetError> {
    let domain = Domain::open(&Fabric::open(provider, None)?, Queues::One)?;
    let (ep, info) = Ep::to(&domain, address)?;
    let mut raw = Raw::new(&domain, ep)?;
    raw.ep.connect(&info)?;
    let mut completions = Vec::new();
    loop {
        match wait(&domain, &mut completions, Instant::now() + PATIENCE)? {
            Some(Event::Connected(_)) => break,
            Some(Event::Failed(_, reason)) => return Err(NetError::Unreachable { peer: address.to_string(), reason }),
            _ => {}
        }
    }
    let began = Instant::now();
    let mut starts = vec![began; plan.window];
    let mut times = Vec::new();
    for (slot, start) in starts.iter_mut().enumerate() {
        *start = Instant::now();
        order(&mut raw, plan, slot)?;
    }
    let mut under_way = plan.window;
    while under_way > 0 {
        if let Some(Event::Shutdown(_) | Event::Failed(..)) = wait(&domain, &mut completions, Instant::now() + PATIENCE)? {
            return Err(NetError::Disconnected { peer: address.to_string(), reason: "the bench's server closed it".to_owned() });
        }
        for completion in completions.drain(..) {
            if let Some(reason) = completion.error {
                return Err(NetError::Disconnected { peer: address.to_string(), reason });
            }
            if completion.context & RECEIVE == 0 {
                continue;
            }
            let received = completion.context as u32 as usize;
            let slot = raw.order(received).slot as usize;
            raw.receive(received)?;
            times.push(starts[slot].elapsed());
            if plan.goes_on(began, times.len()) {
                starts[slot] = Instant::now();
                order(&mut raw, plan, slot)?;
            } else {
                under_way -= 1;
            }
        }
    }
    Ok((times, began.elapsed()))
}

fn order(raw: &mut Raw, plan: Plan, slot: usize) -> Result<(), NetError> {
    let order = Order {
        pattern: plan.pattern as u8,
        slot: slot as u32,
        length: plan.bytes as u32,
        address: raw.memory.remote_address(Raw::data_offset(slot, plan.bytes)),
        key: raw.memory.key(),
    };
    raw.write_order(slot, order);
    raw.send(slot, if plan.pattern == Pattern::Echo { plan.bytes.max(ORDER_BYTES) } else { ORDER_BYTES })
}
