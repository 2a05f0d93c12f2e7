//! A shard: a domain with all its links and calls.
//!
//! A turn reads completions and events, carries out commands, sends what can be sent and looks at the clock. It never blocks: with tcp, data
//! that is aimed at us moves only while completions are read.

mod frames;
mod outgoing;
mod served;
mod tick;

use std::collections::{HashMap, VecDeque};
use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use super::Timing;
use super::command::Command;
use super::handle::ShardHandle;
use super::link::{LINK_IDS_MAX, Link, LinkId, LinkSide, Pumped, Remains, Ticket};
use super::sys::{Arrival, COMPLETIONS_AT_ONCE, Completion, Domain, Event, Fabric, Listener, Memory, Queues};
use crate::{BufPool, Identity, NetError, Service};

pub(super) use outgoing::{Call, PeerLinks};

/// How often the clock is looked at while there are links, and while there are none.
const TICK: [Duration; 2] = [Duration::from_millis(50), Duration::from_millis(500)];
/// How long a shard sleeps at most while the provider or a link is full, or transfers are under way whose end nothing may tell of.
const RETRY: Duration = Duration::from_millis(1);
/// After so many turns events are looked for, even if nothing says that there are any.
const TURNS_WITHOUT_EVENTS: u32 = 32;
/// Most links that others may have to an endpoint.
pub(super) const INBOUND_LINKS_MAX: usize = 1024;

/// What a shard is made of.
pub(super) struct ShardParts {
    pub(super) fabric: Arc<Fabric>,
    pub(super) pool: BufPool,
    pub(super) listen: Option<SocketAddr>,
    pub(super) identity: Identity,
    pub(super) instance: u64,
    pub(super) service: Option<Arc<dyn Service>>,
    pub(super) timing: Timing,
    /// All shards, this one too: arrivals are spread over them.
    pub(super) shards: Arc<[Arc<ShardHandle>]>,
    /// Which of them is this one's.
    pub(super) index: usize,
    /// Links that others have to the endpoint.
    pub(super) inbound: Arc<AtomicUsize>,
}

/// What is to be done after a turn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Turn {
    /// There is more to do.
    Busy,
    /// Nothing, until a descriptor is ready or the clock says so.
    Idle(Instant),
    /// The shard is over.
    Closed,
}

/// A shard. The order of the fields is the order of their end.
pub(super) struct Shard {
    links: HashMap<LinkId, Link>,
    calls: HashMap<u64, Call>,
    listener: Option<Listener>,
    memory: Arc<Memory>,
    domain: Domain,
    parts: ShardParts,
    handle: Arc<ShardHandle>,
    /// Links by the number that events call them.
    keys: HashMap<usize, LinkId>,
    /// Links to those whom we call.
    peers: HashMap<String, PeerLinks>,
    /// Links with something to send.
    listed: Vec<LinkId>,
    next_link: LinkId,
    next_arrival: usize,
    next_tick: Instant,
    last_tick: Instant,
    turns: u32,
    /// Pieces of transfers under way on all links.
    transfers: usize,
    /// The fabric failed while somebody helped.
    broken: Option<NetError>,
    /// Empty between turns; kept for its room.
    completions: Vec<Completion>,
    /// Likewise.
    commands: VecDeque<Command>,
}

impl Shard {
    /// Opens everything that the shard owns.
    pub(super) fn open(parts: ShardParts, handle: Arc<ShardHandle>) -> Result<Self, NetError> {
        let domain = Domain::open(&parts.fabric, Queues::SendsApart)?;
        let (base, length) = parts.pool.region();
        let memory = Arc::new(Memory::register(&domain, base, length, Some(rand::random()))?);
        let listener = parts.listen.map(|address| Listener::open(&domain, address)).transpose()?;
        let now = Instant::now();
        Ok(Self {
            links: HashMap::new(),
            calls: HashMap::new(),
            listener,
            memory,
            domain,
            parts,
            handle,
            keys: HashMap::new(),
            peers: HashMap::new(),
            listed: Vec::new(),
            next_link: 1,
            next_arrival: 0,
            next_tick: now,
            last_tick: now,
            turns: 0,
            transfers: 0,
            broken: None,
            completions: Vec::new(),
            commands: VecDeque::new(),
        })
    }

    /// Where it listens.
    pub(super) fn address(&self) -> Result<Option<SocketAddr>, NetError> {
        self.listener.as_ref().map(Listener::address).transpose()
    }

    /// The descriptors that become readable when a turn is due, in duplicate: of completions and of events.
    pub(super) fn descriptors(&self) -> Result<[OwnedFd; 2], NetError> {
        let [completions, events] = self.domain.wait_fds();
        let twin =
            |fd: std::os::fd::BorrowedFd<'_>| fd.try_clone_to_owned().map_err(|e| NetError::Fabric { call: "dup", reason: e.to_string() });
        Ok([twin(completions)?, twin(events)?])
    }

    /// Ends all links and calls.
    pub(super) fn end(mut self) {
        let ids: Vec<LinkId> = self.links.keys().copied().collect();
        for id in ids {
            self.close_link(id, "the endpoint is closed");
        }
    }

    /// Does everything that is due.
    pub(super) fn turn(&mut self, mut may_be_events: bool) -> Result<Turn, NetError> {
        if let Some(error) = self.broken.take() {
            return Err(error);
        }
        self.turns = self.turns.wrapping_add(1);
        let mut busy = self.take_completions()? == COMPLETIONS_AT_ONCE;
        // Events are rare and looking for them is a system call: they are read when their descriptor says so, and now and then.
        may_be_events |= self.turns.is_multiple_of(TURNS_WITHOUT_EVENTS);
        if may_be_events {
            while let Some(event) = self.domain.read_event()? {
                self.on_event(event);
            }
            busy |= !self.domain.may_wait_for_events();
        }
        self.carry_out()?;
        let now = Instant::now();
        if now >= self.next_tick {
            self.take_sends()?;
            self.tick(now);
            self.next_tick = now + TICK[usize::from(self.links.is_empty())];
            self.pump()?;
        }
        busy |= !self.domain.may_wait_for_completions();
        // The last look moved data too, and who waits for a transfer is not told by the descriptors. However much comes in, transfers end.
        busy |= self.transfers > 0 && self.take_sends()?;
        if busy {
            return Ok(Turn::Busy);
        }
        let until = if self.is_pressed() { self.next_tick.min(now + RETRY) } else { self.next_tick };
        Ok(Turn::Idle(until))
    }

    /// Carries out commands for somebody else than who drives the shard, and `to_the_end` what comes of them at once. Whether that one has to
    /// look after the shard soon.
    pub(super) fn help(&mut self, to_the_end: bool) -> bool {
        if let Err(error) = if to_the_end { self.carry_out_transfers_too() } else { self.carry_out() } {
            self.broken = Some(error);
        }
        self.broken.is_some() || self.is_pressed()
    }

    /// Whether there is something that descriptors need not tell of.
    fn is_pressed(&self) -> bool {
        !self.listed.is_empty() || self.transfers > 0
    }

    /// Carries out the commands in the queue. A small push is done by the time that it is posted, and wakes nobody: so it is looked for at once,
    /// where the next turn would have another thread woken. Where it would not, that turn looks for all that were posted until then together.
    fn carry_out_transfers_too(&mut self) -> Result<(), NetError> {
        self.carry_out()?;
        while self.transfers > 0 && self.take_sends()? {
            self.pump()?;
        }
        Ok(())
    }

    /// Carries out the commands in the queue, and sends what can be sent.
    fn carry_out(&mut self) -> Result<(), NetError> {
        let mut commands = std::mem::take(&mut self.commands);
        self.handle.take(&mut commands);
        for command in commands.drain(..) {
            self.on_command(command);
        }
        self.commands = commands;
        self.pump()
    }

    /// Takes completions; how many there were.
    fn take_completions(&mut self) -> Result<usize, NetError> {
        let mut completions = std::mem::take(&mut self.completions);
        self.domain.read_completions(&mut completions)?;
        Ok(self.on_completions(completions))
    }

    /// Takes completions of sends and transfers, where they have a queue of their own. Whether there were any.
    fn take_sends(&mut self) -> Result<bool, NetError> {
        let mut completions = std::mem::take(&mut self.completions);
        self.domain.read_sends(&mut completions)?;
        Ok(self.on_completions(completions) > 0)
    }

    fn on_completions(&mut self, mut completions: Vec<Completion>) -> usize {
        let count = completions.len();
        for completion in completions.drain(..) {
            self.on_completion(completion);
        }
        self.completions = completions;
        count
    }

    fn on_completion(&mut self, completion: Completion) {
        // Whatever is not in the table belongs to a link that was closed: the number is looked up and nothing else.
        let Some(ticket) = Ticket::unpack(completion.context) else { return };
        let (Ticket::Receive(id, _) | Ticket::Send(id, _) | Ticket::Transfer(id, _)) = ticket;
        let Some(link) = self.links.get_mut(&id) else { return };
        if let Some(error) = completion.error {
            self.close_link(id, &format!("the connection broke: {error}"));
            return;
        }
        match ticket {
            Ticket::Receive(_, slot) => {
                link.heard = Instant::now();
                match link.received(slot, completion.length) {
                    Ok(Some((header, head))) => self.on_message(id, header, head),
                    Ok(None) => self.list(id),
                    Err(reason) => self.refuse_frame(id, &reason),
                }
            }
            Ticket::Send(_, slot) => {
                link.sent(slot);
                self.list(id);
            }
            Ticket::Transfer(_, job) => {
                link.heard = Instant::now();
                let before = link.transfers.under_way();
                let job = link.transfers.completed(job);
                self.transfers -= before - link.transfers.under_way();
                if let Some(job) = job {
                    self.on_transferred(id, job);
                }
                self.list(id);
            }
        }
    }

    fn on_event(&mut self, event: Event) {
        match event {
            Event::Arrival(arrival) => self.on_arrival(arrival),
            Event::Connected(key) => {
                if let Some(id) = self.keys.get(&key) {
                    self.on_connected(*id);
                }
            }
            Event::Shutdown(key) => {
                if let Some(id) = self.keys.get(&key) {
                    self.close_link(*id, "the other side closed it");
                }
            }
            Event::Failed(key, error) => {
                if let Some(id) = self.keys.get(&key) {
                    self.close_link(*id, &error);
                } else {
                    tracing::debug!(%error, "an event of no link");
                }
            }
        }
    }

    fn on_command(&mut self, command: Command) {
        match command {
            Command::Call(call) => self.on_call(call),
            Command::Post(post) => self.on_post(post),
            Command::Cancel(call) => self.on_cancel(call),
            Command::Disconnect(address) => self.on_disconnect(&address),
            Command::Accept(arrival) => self.accept(arrival),
            Command::Transfer(transfer) => self.on_transfer(transfer),
            Command::Answer(answer) => self.on_answer(answer),
        }
    }

    /// Somebody connects: a shard in turn accepts.
    fn on_arrival(&mut self, arrival: Arrival) {
        if self.parts.inbound.fetch_add(1, Ordering::Relaxed) >= INBOUND_LINKS_MAX {
            self.parts.inbound.fetch_sub(1, Ordering::Relaxed);
            tracing::warn!(component = "net.fabric", links = INBOUND_LINKS_MAX, "a connection is turned away: there are too many");
            if let Some(listener) = &self.listener {
                listener.reject(arrival);
            }
            return;
        }
        self.next_arrival = (self.next_arrival + 1) % self.parts.shards.len();
        if self.next_arrival == self.parts.index {
            self.accept(arrival);
        } else if !self.parts.shards[self.next_arrival].push(Command::Accept(arrival)) {
            self.parts.inbound.fetch_sub(1, Ordering::Relaxed);
        }
    }

    fn accept(&mut self, arrival: Arrival) {
        let accepted = self.new_link_id().and_then(|id| Link::accept(&self.domain, id, &arrival, Instant::now()));
        match accepted {
            Ok(link) => self.adopt(link),
            Err(error) => {
                self.parts.inbound.fetch_sub(1, Ordering::Relaxed);
                tracing::warn!(component = "net.fabric", %error, "a connection could not be accepted");
            }
        }
    }

    fn new_link_id(&mut self) -> Result<LinkId, NetError> {
        if self.next_link >= LINK_IDS_MAX {
            return Err(NetError::Busy("the numbers of links are used up: start the process again".to_owned()));
        }
        self.next_link += 1;
        Ok(self.next_link)
    }

    fn adopt(&mut self, link: Link) {
        self.keys.insert(link.key(), link.id);
        self.links.insert(link.id, link);
    }

    /// Notes that a link may have something to send.
    fn list(&mut self, id: LinkId) {
        if let Some(link) = self.links.get_mut(&id)
            && !link.listed
        {
            link.listed = true;
            self.listed.push(id);
        }
    }

    /// Sends what can be sent. Links that are full stay listed: they are tried again soon.
    fn pump(&mut self) -> Result<(), NetError> {
        if self.listed.is_empty() {
            return Ok(());
        }
        let now = Instant::now();
        let mut again = Vec::new();
        loop {
            let mut no_slot = false;
            while let Some(id) = self.listed.pop() {
                let Some(link) = self.links.get_mut(&id) else { continue };
                link.listed = false;
                let before = link.transfers.under_way();
                let pumped = link.pump(now);
                self.transfers += link.transfers.under_way() - before;
                match pumped {
                    Ok(Pumped::All) => {}
                    Ok(pumped) => {
                        again.push(id);
                        no_slot |= pumped == Pumped::NoSlot;
                    }
                    Err(error) => self.close_link(id, &error.to_string()),
                }
            }
            let slots_came_free = no_slot && self.take_sends()?;
            for id in again.drain(..) {
                self.list(id);
            }
            if !slots_came_free {
                return Ok(());
            }
        }
    }

    /// Ends a link and everything on it.
    pub(super) fn close_link(&mut self, id: LinkId, reason: &str) {
        let Some(link) = self.links.remove(&id) else { return };
        self.keys.remove(&link.key());
        self.transfers -= link.transfers.under_way();
        tracing::debug!(component = "net.fabric", link = id, side = ?link.side, state = ?link.state, peer = ?link.peer, reason, "link closed");
        let side = link.side.clone();
        let was_up = link.peer.is_some();
        // From here on nothing touches a buffer of this link.
        let Remains { transfers, serving, unsent } = link.close();
        for job in transfers.into_jobs() {
            job.fail(NetError::CallerGone);
        }
        for served in serving.into_values() {
            served.cancelled.store(true, Ordering::Relaxed);
        }
        match side {
            LinkSide::Server => {
                self.parts.inbound.fetch_sub(1, Ordering::Relaxed);
            }
            LinkSide::Caller(address, role) => self.forget_outgoing(id, &address, role, was_up, reason, &unsent),
        }
    }

    /// A frame that makes no sense: the other side, or what lies between, is not to be trusted.
    fn refuse_frame(&mut self, id: LinkId, reason: &str) {
        let peer = self.links.get(&id).and_then(|link| link.peer);
        tracing::warn!(component = "net.fabric", link = id, ?peer, reason, "a bad frame ends the link");
        self.close_link(id, reason);
    }
}
