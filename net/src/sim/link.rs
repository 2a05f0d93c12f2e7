//! A simulated link: two ordered ways between a caller and whoever answers at an address, and the calls on it.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::{Notify, OwnedSemaphorePermit, mpsc, oneshot};
use tokio::time::Instant;
use types::wire::Operation;
use types::wire::hello::LinkRole;

use super::SimNode;
use super::exchange::{Served, SimExchange};
use super::world::{LinkKey, World};
use crate::transport::{Fit, judge, wrong_peer};
use crate::{Incoming, Lend, NetError, Peer, PeerIdentity, Reply};

/// How long a post may be of use.
const POST_DEADLINE: Duration = Duration::from_secs(10);

/// What goes over a link.
pub(super) enum Message {
    Request { number: u64, operation: Operation, head: Bytes, lent: Option<(usize, bool)>, deadline: Instant, peer: Peer },
    Post { operation: Operation, head: Bytes, peer: Peer, _permit: OwnedSemaphorePermit },
    Cancel { number: u64 },
    Answer { number: u64, answer: Result<Bytes, String>, pushed: usize },
    Cancelled { number: u64 },
}

/// A call that waits for its answer.
pub(super) struct Pending {
    pub(super) operation: Operation,
    pub(super) lend: Option<Lend>,
    pub(super) done: Option<oneshot::Sender<Result<Reply, NetError>>>,
    /// Whether the request went on its way.
    pub(super) sent: bool,
    pub(super) _permit: OwnedSemaphorePermit,
}

impl Pending {
    fn finish(mut self, result: Result<Reply, NetError>) {
        self.lend = None;
        if let Some(done) = self.done.take() {
            // Whoever asked may have gone.
            let _ = done.send(result);
        }
    }
}

/// A link.
pub(super) struct Link {
    pub(super) world: Arc<World>,
    key: LinkKey,
    caller: Arc<SimNode>,
    callee: OnceLock<Arc<SimNode>>,
    forward: mpsc::UnboundedSender<(Instant, Message)>,
    back: mpsc::UnboundedSender<(Instant, Message)>,
    ended: AtomicBool,
    end: Notify,
    pub(super) inner: Mutex<Calls>,
}

/// Both sides' tables.
#[derive(Default)]
pub(super) struct Calls {
    pub(super) pending: BTreeMap<u64, Pending>,
    pub(super) serving: BTreeMap<u64, Served>,
}

impl Link {
    /// The link to a peer; a new one if there is none.
    pub(super) fn between(world: &Arc<World>, caller: &Arc<SimNode>, peer: &Peer, role: LinkRole) -> Result<Arc<Self>, NetError> {
        if !world.is_alive(caller) {
            return Err(NetError::Closed);
        }
        let key = (caller.address.clone(), caller.identity.instance, peer.address.clone(), role);
        if let Some(link) = world.link(&key) {
            match link.callee.get().map(|callee| (callee.identity, judge(peer, &callee.identity))) {
                None | Some((_, Fit::Fits)) => return Ok(link),
                Some((found, Fit::Wrong)) => return Err(wrong_peer(peer, &found)),
                Some((_, Fit::Older)) => link.end("the peer was started anew"),
            }
        }
        if let Some(reason) = world.recent_failure(&caller.address, &peer.address) {
            return Err(NetError::Unreachable { peer: peer.address.clone(), reason });
        }
        let (forward, forward_queue) = mpsc::unbounded_channel();
        let (back, back_queue) = mpsc::unbounded_channel();
        let link = Arc::new(Self {
            world: world.clone(),
            key: key.clone(),
            caller: caller.clone(),
            callee: OnceLock::new(),
            forward,
            back,
            ended: AtomicBool::new(false),
            end: Notify::new(),
            inner: Mutex::default(),
        });
        world.add_link(&key, &link);
        tokio::spawn(link.clone().drive(forward_queue, back_queue));
        Ok(link)
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, Calls> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn address(&self) -> &str {
        &self.key.2
    }

    pub(super) fn is_between(&self, caller: &Arc<SimNode>, address: &str) -> bool {
        Arc::ptr_eq(&self.caller, caller) && self.address() == address
    }

    pub(super) fn concerns(&self, node: &Arc<SimNode>) -> bool {
        Arc::ptr_eq(&self.caller, node) || self.callee.get().is_some_and(|callee| Arc::ptr_eq(callee, node))
    }

    /// Notes a call before it is sent.
    pub(super) fn expect(&self, number: u64, pending: Pending) {
        self.lock().pending.insert(number, pending);
        if self.ended.load(Ordering::Acquire) {
            self.fail_all("it ended");
        }
    }

    /// Puts a message on its way to the callee.
    pub(super) fn send(&self, message: Message) {
        // Whoever carried it is gone with the link, and the link's end failed its calls.
        let _ = self.forward.send((Instant::now(), message));
    }

    /// Puts a message on its way to the caller.
    pub(super) fn answer(&self, message: Message) {
        let _ = self.back.send((Instant::now(), message));
    }

    /// Makes the link, then carries messages both ways until it ends.
    async fn drive(
        self: Arc<Self>,
        forward: mpsc::UnboundedReceiver<(Instant, Message)>,
        back: mpsc::UnboundedReceiver<(Instant, Message)>,
    ) {
        let connect = self.world.options.timing.connect;
        let made = tokio::select! {
            made = tokio::time::timeout(connect, self.establish()) => made.unwrap_or_else(|_| Err(format!("no HELLO within {connect:?}"))),
            () = self.until_ended() => return,
        };
        if let Err(reason) = made {
            self.world.note_failure(&self.caller.address, self.address(), &reason);
            return self.end(&reason);
        }
        tokio::select! {
            () = self.carry(forward, true) => {}
            () = self.carry(back, false) => {}
            () = self.die_of_silence() => {}
            () = self.until_ended() => {}
        }
    }

    async fn establish(&self) -> Result<(), String> {
        self.travel(true, Instant::now()).await?;
        let callee = self.world.node(self.address()).filter(|node| node.service.is_some()).ok_or("connection refused")?;
        if callee.cluster != self.caller.cluster {
            return Err("it refuses us: it belongs to another cluster".to_owned());
        }
        self.travel(false, Instant::now()).await?;
        self.callee.set(callee).map_err(|_| "made twice".to_owned())
    }

    /// Waits while something that was sent at `sent` travels.
    pub(super) async fn travel(&self, forward: bool, sent: Instant) -> Result<(), String> {
        let latency = self.world.draw_latency().ok_or("the connection was reset")?;
        tokio::time::sleep_until(sent + latency).await;
        let (from, to) = if forward { (&*self.caller.address, self.address()) } else { (self.address(), &*self.caller.address) };
        loop {
            let changed = self.world.changed.notified();
            if self.world.cut_since(from, to).is_none() {
                return Ok(());
            }
            changed.await;
        }
    }

    async fn carry(self: &Arc<Self>, mut queue: mpsc::UnboundedReceiver<(Instant, Message)>, forward: bool) {
        while let Some((sent, message)) = queue.recv().await {
            if forward && let Message::Request { number, .. } = &message {
                match self.lock().pending.get_mut(number) {
                    Some(pending) => pending.sent = true,
                    // Given up before it was sent.
                    None => continue,
                }
            }
            if let Err(reason) = self.travel(forward, sent).await {
                return self.end(&reason);
            }
            if forward { self.deliver(message) } else { self.deliver_answer(message) }
        }
    }

    /// Ends the link once one way was cut for too long.
    async fn die_of_silence(&self) {
        loop {
            let changed = self.world.changed.notified();
            let there = self.world.cut_since(&self.caller.address, self.address());
            let here = self.world.cut_since(self.address(), &self.caller.address);
            match there.into_iter().chain(here).min() {
                None => changed.await,
                Some(since) => {
                    let dead = since + self.world.options.timing.dead;
                    if dead <= Instant::now() {
                        return self.end(&format!("nothing was heard for {:?}", self.world.options.timing.dead));
                    }
                    tokio::select! {
                        () = tokio::time::sleep_until(dead) => {}
                        () = changed => {}
                    }
                }
            }
        }
    }

    pub(super) async fn until_ended(&self) {
        loop {
            let ended = self.end.notified();
            if self.has_ended() {
                return;
            }
            ended.await;
        }
    }

    pub(super) fn has_ended(&self) -> bool {
        self.ended.load(Ordering::Acquire)
    }

    fn deliver(self: &Arc<Self>, message: Message) {
        let Some(callee) = self.callee.get() else { return };
        let Some(service) = &callee.service else { return };
        let from: PeerIdentity = self.caller.identity;
        match message {
            Message::Request { number, operation, head, lent, deadline, peer } => {
                if judge(&peer, &callee.identity) != Fit::Fits {
                    if let Some(pending) = self.lock().pending.remove(&number) {
                        pending.finish(Err(wrong_peer(&peer, &callee.identity)));
                    }
                    return;
                }
                let cancelled = Arc::new(AtomicBool::new(false));
                self.lock().serving.insert(number, Served { transfers: 0, answer: None, cancelled: cancelled.clone() });
                let exchange = SimExchange { link: self.clone(), number, cancelled };
                service.serve(Incoming::new(operation, head, from, deadline).with_exchange(Box::new(exchange), lent));
            }
            Message::Post { operation, head, peer, _permit } => {
                if judge(&peer, &callee.identity) == Fit::Fits {
                    service.serve(Incoming::new(operation, head, from, Instant::now() + POST_DEADLINE));
                }
            }
            Message::Cancel { number } => self.on_cancel(number),
            Message::Answer { .. } | Message::Cancelled { .. } => unreachable!("answers go the other way"),
        }
    }

    fn deliver_answer(&self, message: Message) {
        let (number, result) = match message {
            Message::Answer { number, answer, pushed } => (number, Some((answer, pushed))),
            Message::Cancelled { number } => (number, None),
            _ => unreachable!("requests go the other way"),
        };
        let Some(mut pending) = self.lock().pending.remove(&number) else { return };
        let peer = self.address().to_owned();
        let result = match result {
            Some((Ok(head), pushed)) => {
                let lent = pending.lend.take().map(|(Lend::Give(buf) | Lend::Room(buf))| buf);
                Ok(Reply { head, lent, pushed })
            }
            Some((Err(reason), _)) => Err(NetError::NoAnswer { peer, reason }),
            None => Err(NetError::TimedOut { peer, operation: pending.operation }),
        };
        pending.finish(result);
    }

    /// The caller does not wait any more.
    pub(super) fn cancel(self: &Arc<Self>, number: u64) {
        let gone = {
            let mut inner = self.lock();
            let Some(pending) = inner.pending.get_mut(&number) else { return };
            pending.done = None;
            if pending.lend.is_none() || !pending.sent { inner.pending.remove(&number) } else { None }
        };
        if gone.is_some() {
            return;
        }
        self.send(Message::Cancel { number });
        let this = self.clone();
        let grace = self.world.options.timing.cancel_grace;
        tokio::spawn(async move {
            tokio::time::sleep(grace).await;
            if this.lock().pending.contains_key(&number) {
                this.end("a cancellation was not confirmed, and lent memory must come back");
            }
        });
    }

    /// Ends the link: calls fail, lent buffers return, nothing is delivered any more.
    pub(super) fn end(&self, reason: &str) {
        if self.ended.swap(true, Ordering::AcqRel) {
            return;
        }
        self.world.remove_link(&self.key, self);
        self.fail_all(reason);
        self.end.notify_waiters();
    }

    fn fail_all(&self, reason: &str) {
        let (pending, serving) = {
            let mut inner = self.lock();
            (std::mem::take(&mut inner.pending), std::mem::take(&mut inner.serving))
        };
        for served in serving.into_values() {
            served.cancelled.store(true, Ordering::Relaxed);
        }
        for call in pending.into_values() {
            let (peer, reason) = (self.address().to_owned(), reason.to_owned());
            let closed = !self.world.is_alive(&self.caller);
            let error = match call.sent {
                _ if closed => NetError::Closed,
                true => NetError::Disconnected { peer, reason },
                false => NetError::Unreachable { peer, reason },
            };
            call.finish(Err(error));
        }
    }
}
