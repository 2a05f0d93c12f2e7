//! A shard: one thread that owns a domain with all its links and calls.
//!
//! Its loop reads completions and events, takes commands, sends what can be sent, looks at the clock, and sleeps on the descriptors of the
//! queues. It never blocks anywhere else: with tcp, data that is aimed at us moves only while we read completions.

mod frames;
mod outgoing;
mod served;
mod tick;

use std::collections::{HashMap, VecDeque};
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};

use super::Timing;
use super::command::{Command, CommandQueue};
use super::link::{LINK_IDS_MAX, Link, LinkId, LinkSide, Remains, Ticket};
use super::sys::{Arrival, Completion, Domain, Event, Fabric, Listener, Memory};
use crate::{BufPool, Identity, NetError, Service};

pub(super) use outgoing::{Call, PeerLinks};

/// How often the clock is looked at while there are links, and while there are none.
const TICK: [Duration; 2] = [Duration::from_millis(50), Duration::from_millis(500)];
/// How long a shard sleeps at most while the provider is full somewhere.
const RETRY: Duration = Duration::from_millis(1);
/// After so many turns without sleep, events are looked for.
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
    /// Queues of all shards, this one's too: arrivals are spread over them.
    pub(super) shards: Arc<[Arc<CommandQueue>]>,
    /// Which of them is this one's.
    pub(super) index: usize,
    /// Links that others have to the endpoint.
    pub(super) inbound: Arc<AtomicUsize>,
}

/// A shard. The order of the fields is the order of their end.
pub(super) struct Shard {
    links: HashMap<LinkId, Link>,
    calls: HashMap<u64, Call>,
    listener: Option<Listener>,
    memory: Rc<Memory>,
    domain: Domain,
    parts: ShardParts,
    commands: Arc<CommandQueue>,
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
}

impl Shard {
    /// Opens everything that the shard owns, on its own thread.
    pub(super) fn open(parts: ShardParts) -> Result<Self, NetError> {
        let domain = Domain::open(&parts.fabric)?;
        let (base, length) = parts.pool.region();
        let memory = Rc::new(Memory::register(&domain, base, length, Some(rand::random()))?);
        let listener = parts.listen.map(|address| Listener::open(&domain, address)).transpose()?;
        let commands = parts.shards[parts.index].clone();
        let now = Instant::now();
        Ok(Self {
            links: HashMap::new(),
            calls: HashMap::new(),
            listener,
            memory,
            domain,
            parts,
            commands,
            keys: HashMap::new(),
            peers: HashMap::new(),
            listed: Vec::new(),
            next_link: 1,
            next_arrival: 0,
            next_tick: now,
            last_tick: now,
        })
    }

    /// Where it listens.
    pub(super) fn address(&self) -> Result<Option<SocketAddr>, NetError> {
        self.listener.as_ref().map(Listener::address).transpose()
    }

    /// Runs until the command queue is closed, or the fabric itself fails.
    pub(super) fn run(mut self) {
        if let Err(error) = self.turn_until_closed() {
            tracing::error!(component = "net.fabric", shard = self.parts.index, %error, "the shard stops");
        }
        self.commands.close();
        let ids: Vec<LinkId> = self.links.keys().copied().collect();
        for id in ids {
            self.close_link(id, "the endpoint is closed");
        }
    }

    fn turn_until_closed(&mut self) -> Result<(), NetError> {
        let mut completions = Vec::new();
        let mut commands = VecDeque::new();
        // Events are rare and looking for them is a system call: they are read when their descriptor says so, and now and then.
        let mut events = true;
        let mut turn = 0u32;
        loop {
            turn = turn.wrapping_add(1);
            let mut busy = self.domain.read_completions(&mut completions)?;
            for completion in completions.drain(..) {
                self.on_completion(completion);
            }
            events |= turn.is_multiple_of(TURNS_WITHOUT_EVENTS);
            while events {
                match self.domain.read_event()? {
                    Some(event) => self.on_event(event),
                    None => events = false,
                }
                busy = true;
            }
            self.commands.take(&mut commands);
            busy |= !commands.is_empty();
            for command in commands.drain(..) {
                self.on_command(command);
            }
            self.pump();
            let now = Instant::now();
            if now >= self.next_tick {
                self.tick(now);
                self.next_tick = now + TICK[usize::from(self.links.is_empty())];
            }
            if busy {
                continue;
            }
            if self.commands.is_closed() {
                return Ok(());
            }
            events = self.sleep(now)?;
        }
    }

    /// Sleeps until there is something to do, at most until the next tick. Whether there may be events.
    fn sleep(&self, now: Instant) -> Result<bool, NetError> {
        let mut may_be_events = true;
        if self.commands.fall_asleep() && self.domain.may_wait() {
            let [completions, events] = self.domain.wait_fds();
            let wake = self.commands.wake_fd();
            let mut fds = [
                PollFd::from_borrowed_fd(completions, PollFlags::IN),
                PollFd::from_borrowed_fd(events, PollFlags::IN),
                PollFd::from_borrowed_fd(wake, PollFlags::IN),
            ];
            let left = self.next_tick.saturating_duration_since(now);
            let left = if self.listed.is_empty() { left } else { left.min(RETRY) };
            let timeout = Timespec { tv_sec: left.as_secs() as i64, tv_nsec: left.subsec_nanos().into() };
            match poll(&mut fds, Some(&timeout)) {
                Ok(_) => may_be_events = !fds[1].revents().is_empty(),
                Err(rustix::io::Errno::INTR) => {}
                Err(e) => return Err(NetError::Fabric { call: "poll", reason: e.to_string() }),
            }
        }
        self.commands.awake();
        Ok(may_be_events)
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
                if let Some(job) = link.transfers.completed(job) {
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

    /// Sends what can be sent. Links for which the provider is full stay listed: they are tried again soon.
    fn pump(&mut self) {
        let now = Instant::now();
        let mut again = Vec::new();
        while let Some(id) = self.listed.pop() {
            let Some(link) = self.links.get_mut(&id) else { continue };
            link.listed = false;
            match link.pump(now) {
                Ok(false) => {}
                Ok(true) => again.push(id),
                Err(error) => self.close_link(id, &error.to_string()),
            }
        }
        for id in again {
            self.list(id);
        }
    }

    /// Ends a link and everything on it.
    pub(super) fn close_link(&mut self, id: LinkId, reason: &str) {
        let Some(link) = self.links.remove(&id) else { return };
        self.keys.remove(&link.key());
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
