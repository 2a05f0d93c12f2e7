//! One link: its endpoint, its slots, its credits, and what waits to be sent on it.
//!
//! Every frame uses up a receive slot of the other side, so a frame is sent only against a credit; the last few credits are kept for frames
//! that give credits back. Heads longer than a frame travel in pieces, one message after the other, so that a link has at most one head in
//! pieces each way.

mod receive;
mod transfer;

use std::collections::{HashMap, VecDeque};
use std::net::SocketAddr;
use std::time::Instant;

use bytes::Bytes;
use tokio::sync::OwnedSemaphorePermit;
use types::wire::frame::{FRAME_PIECE_BYTES_MAX, FrameHeader, FrameKind};
use types::wire::hello::LinkRole;

use super::serving::Served;
use super::slots::Slots;
use super::sys::{Arrival, Domain, Ep, Posted};
use crate::{NetError, Peer, PeerIdentity};

pub(super) use receive::Inbound;
pub(super) use transfer::{Job, Transfers};

/// Receive slots of a link for control, and of one for bulk data.
const RECEIVE_SLOTS: [u16; 2] = [128, 64];
/// Send slots, likewise: the transmit budget of a link.
const SEND_SLOTS: [u16; 2] = [64, 32];
/// Credits that messages leave alone, for control frames.
const CREDITS_FOR_CONTROL: u32 = 8;
/// Credits that everything but credit frames leaves alone.
const CREDITS_FOR_CREDIT: u32 = 2;

/// Number of a link, never used again in a shard.
pub(super) type LinkId = u32;

/// What a completion belongs to: packed into the context number of an operation. Zero is nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Ticket {
    Receive(LinkId, u16),
    Send(LinkId, u16),
    Transfer(LinkId, u32),
}

const LINK_BITS: u32 = 30;
/// Most links in the life of a shard.
pub(super) const LINK_IDS_MAX: LinkId = (1 << LINK_BITS) - 1;

impl Ticket {
    pub(super) fn pack(self) -> u64 {
        let (kind, link, low) = match self {
            Self::Receive(link, slot) => (1, link, u32::from(slot)),
            Self::Send(link, slot) => (2, link, u32::from(slot)),
            Self::Transfer(link, job) => (3, link, job),
        };
        kind << 62 | u64::from(link) << 32 | u64::from(low)
    }

    pub(super) fn unpack(number: u64) -> Option<Self> {
        let link = (number >> 32) as u32 & LINK_IDS_MAX;
        let low = number as u32;
        Some(match number >> 62 {
            1 => Self::Receive(link, u16::try_from(low).ok()?),
            2 => Self::Send(link, u16::try_from(low).ok()?),
            3 => Self::Transfer(link, low),
            _ => return None,
        })
    }
}

/// How far a link is.
///
/// ```text
/// Connecting ──connected──▶ Greeting ──HELLO──▶ Up      (we called; HELLO is said on connecting)
///               Greeting ──HELLO──▶ Up                  (we were called; HELLO is answered)
/// any ──error, time-out, refusal──▶ closed (the link is removed)
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum LinkState {
    Connecting,
    Greeting,
    Up,
}

/// Which side we are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum LinkSide {
    /// We called that address.
    Caller(String, LinkRole),
    /// We were called.
    Server,
}

/// A message that waits for its turn, or is on its way.
pub(super) struct Message {
    pub(super) header: FrameHeader,
    pub(super) head: Bytes,
    /// Whom it is for, checked once the other side has said who it is.
    expected: Option<Peer>,
    /// Held until the message is sent: the bound of posts.
    _permit: Option<OwnedSemaphorePermit>,
    sent: usize,
    started: bool,
}

impl Message {
    pub(super) fn new(header: FrameHeader, head: Bytes) -> Self {
        let header = FrameHeader { total: head.len() as u32, ..header };
        Self { header, head, expected: None, _permit: None, sent: 0, started: false }
    }

    /// One that is for that peer alone, and holds a permit until it is sent.
    pub(super) fn to(self, expected: Peer, permit: Option<OwnedSemaphorePermit>) -> Self {
        Self { expected: Some(expected), _permit: permit, ..self }
    }
}

/// What came of sending.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Pumped {
    /// All is sent that there are credits for.
    All,
    /// The provider is full: only a retry moves on.
    Full,
    /// All send slots are taken: a completion moves on.
    NoSlot,
}

/// One link. The order of the fields is the order of their end: the endpoint before the memory that is posted on it.
pub(super) struct Link {
    ep: Ep,
    slots: Slots,
    /// One-sided operations under way for the other side's requests, with their buffers.
    pub(super) transfers: Transfers,
    pub(super) id: LinkId,
    pub(super) side: LinkSide,
    pub(super) state: LinkState,
    /// Who the other side is, once it said so.
    pub(super) peer: Option<PeerIdentity>,
    pub(super) born: Instant,
    pub(super) heard: Instant,
    said: Instant,
    /// Receive slots of the other side that are free for us; counts below zero until its HELLO says how many there are.
    credits: i64,
    credits_max: i64,
    /// Slots that we filled up again and have not told of.
    owed: u16,
    control: VecDeque<Message>,
    queue: VecDeque<Message>,
    inbound: Inbound,
    /// Requests of the other side that are being served.
    pub(super) serving: HashMap<u64, Served>,
    /// Bytes of their heads.
    pub(super) serving_bytes: usize,
    /// Whether it stands in the shard's list of links with something to send.
    pub(super) listed: bool,
}

impl Link {
    /// A link to that address; begins to connect.
    pub(super) fn connect(domain: &Domain, id: LinkId, address: SocketAddr, side: LinkSide, now: Instant) -> Result<Self, NetError> {
        let (ep, info) = Ep::to(domain, address)?;
        let role = if let LinkSide::Caller(_, role) = &side { *role } else { LinkRole::Control };
        let this = Self::new(domain, id, ep, side, role, LinkState::Connecting, now)?;
        this.ep.connect(&info)?;
        Ok(this)
    }

    /// A link that somebody else asked for. Its role is not known before its HELLO, so it gets the larger slots.
    pub(super) fn accept(domain: &Domain, id: LinkId, arrival: &Arrival, now: Instant) -> Result<Self, NetError> {
        let ep = Ep::of(domain, arrival)?;
        let this = Self::new(domain, id, ep, LinkSide::Server, LinkRole::Control, LinkState::Greeting, now)?;
        this.ep.accept()?;
        Ok(this)
    }

    fn new(domain: &Domain, id: LinkId, ep: Ep, side: LinkSide, role: LinkRole, state: LinkState, now: Instant) -> Result<Self, NetError> {
        let class = usize::from(role == LinkRole::Bulk);
        let slots = Slots::new(domain, RECEIVE_SLOTS[class], SEND_SLOTS[class])?;
        let this = Self {
            ep,
            slots,
            transfers: Transfers::default(),
            id,
            side,
            state,
            peer: None,
            born: now,
            heard: now,
            said: now,
            credits: 0,
            credits_max: 0,
            owed: 0,
            control: VecDeque::new(),
            queue: VecDeque::new(),
            inbound: Inbound::default(),
            serving: HashMap::new(),
            serving_bytes: 0,
            listed: false,
        };
        for slot in 0..this.slots.receive_count() {
            this.post_receive(slot)?;
        }
        Ok(this)
    }

    /// What events call it.
    pub(super) fn key(&self) -> usize {
        self.ep.key()
    }

    /// How many receive slots our HELLO announces.
    pub(super) fn receive_slots(&self) -> u16 {
        self.slots.receive_count()
    }

    /// The other side's HELLO says how many slots it has.
    pub(super) fn grant(&mut self, slots: u16) {
        self.credits += i64::from(slots);
        self.credits_max = i64::from(slots);
    }

    /// Sends soon, ahead of messages.
    pub(super) fn push_control(&mut self, message: Message) {
        self.control.push_back(message);
    }

    /// Sends in order.
    pub(super) fn push(&mut self, message: Message) {
        self.queue.push_back(message);
    }

    /// Takes a request out of the queue of which nothing was sent yet. Whether it was there.
    pub(super) fn withdraw(&mut self, call: u64) -> bool {
        let at = self.queue.iter().position(|m| m.header.call == call && m.header.kind == FrameKind::Request && !m.started);
        at.is_some_and(|at| self.queue.remove(at).is_some())
    }

    /// Takes out all messages that are for somebody else than who answered, and gives the numbers of their calls.
    pub(super) fn withdraw_if(&mut self, wrong: impl Fn(&Peer) -> bool) -> Vec<u64> {
        let mut calls = Vec::new();
        self.queue.retain(|message| {
            let out = message.expected.as_ref().is_some_and(&wrong);
            if out && message.header.kind == FrameKind::Request {
                calls.push(message.header.call);
            }
            !out
        });
        calls
    }

    /// Whether the other side should hear of us.
    pub(super) fn is_silent_since(&self, then: Instant) -> bool {
        self.said <= then && self.control.is_empty()
    }

    /// Sends what can be sent.
    pub(super) fn pump(&mut self, now: Instant) -> Result<Pumped, NetError> {
        if self.state == LinkState::Connecting {
            return Ok(Pumped::All);
        }
        let mut again = false;
        while !again && self.slots.has_free_send() {
            let Some((message, control)) = self.next_message() else { break };
            let (message, taken) = self.send_piece(message, now)?;
            again = !taken;
            match message {
                Some(message) if control => self.control.push_front(message),
                Some(message) => self.queue.push_front(message),
                None => {}
            }
        }
        again |= !self.transfers.pump(&self.ep, self.id)?;
        let waits = !self.control.is_empty() || !self.queue.is_empty();
        Ok(if again {
            Pumped::Full
        } else if waits && !self.slots.has_free_send() {
            Pumped::NoSlot
        } else {
            Pumped::All
        })
    }

    /// The next message for which there is a credit, and whether it is control.
    fn next_message(&mut self) -> Option<(Message, bool)> {
        if self.state != LinkState::Up {
            // HELLO goes against the slot that every side has before it knows the number.
            return self.control.pop_front().map(|message| (message, true));
        }
        if self.credits > i64::from(CREDITS_FOR_CREDIT)
            && let Some(message) = self.control.pop_front()
        {
            return Some((message, true));
        }
        if self.credits > i64::from(CREDITS_FOR_CONTROL)
            && let Some(message) = self.queue.pop_front()
        {
            return Some((message, false));
        }
        if self.credits > 0 && self.owed >= self.slots.receive_count() / 4 {
            return Some((Message::new(FrameHeader::new(FrameKind::Credit), Bytes::new()), true));
        }
        None
    }

    /// Sends the next piece of a message; gives back what is left of it, and whether the provider took the piece.
    fn send_piece(&mut self, mut message: Message, now: Instant) -> Result<(Option<Message>, bool), NetError> {
        let Some(slot) = self.slots.take_send() else { return Ok((Some(message), false)) };
        let piece = message.head.slice(message.sent..message.head.len().min(message.sent + FRAME_PIECE_BYTES_MAX));
        let lend = if message.started { None } else { message.header.lend };
        let header = FrameHeader { credits: self.owed, lend, ..message.header };
        let length = header.encode(&piece, self.slots.send_memory(slot));
        let number = Ticket::Send(self.id, slot).pack();
        let posted = self.ep.send(self.slots.memory(), self.slots.send_offset(slot), length, number)?;
        if posted == Posted::Again {
            self.slots.give_send(slot);
            return Ok((Some(message), false));
        }
        self.owed = 0;
        self.credits -= 1;
        self.said = now;
        message.started = true;
        message.sent += piece.len();
        Ok((if message.sent < message.head.len() { Some(message) } else { None }, true))
    }

    /// A send has completed.
    pub(super) fn sent(&mut self, slot: u16) {
        self.slots.give_send(slot);
    }

    /// The parts that outlive the link for a moment: its endpoint and slots are closed on return, so no buffer of it is touched any more.
    pub(super) fn close(self) -> Remains {
        let Self { ep, slots, transfers, serving, control, queue, .. } = self;
        drop(ep);
        drop(slots);
        Remains { transfers, serving, unsent: control.into_iter().chain(queue).filter(|message| !message.started).collect() }
    }
}

/// What is left of a link that was closed.
pub(super) struct Remains {
    pub(super) transfers: Transfers,
    pub(super) serving: HashMap<u64, Served>,
    /// Messages of which nothing was sent.
    pub(super) unsent: Vec<Message>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_ticket_survives_its_number_and_zero_is_nobodys() {
        for ticket in [Ticket::Receive(1, 0), Ticket::Send(LINK_IDS_MAX, 65535), Ticket::Transfer(7, u32::MAX)] {
            assert_eq!(Ticket::unpack(ticket.pack()), Some(ticket));
        }
        assert_eq!(Ticket::unpack(0), None);
    }
}
