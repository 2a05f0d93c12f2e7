//! The server's side: [`Service`] and what it is given.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use tokio::time::Instant;
use types::limits::MESSAGE_HEAD_BYTES_MAX;
use types::wire::Operation;
use types::{Boot, ClusterId, NodeId};

use crate::{Buf, NetError};

/// Who this process is, as it tells its peers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Identity {
    /// Its cluster. Peers of another one are refused.
    pub cluster: ClusterId,
    /// Its node; zero for a client.
    pub node: NodeId,
    /// HA's number for this start; zero for a client.
    pub boot: Boot,
}

impl Identity {
    /// A client of that cluster.
    pub fn client(cluster: ClusterId) -> Self {
        Self { cluster, node: NodeId(0), boot: Boot(0) }
    }
}

/// Who a peer says it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct PeerIdentity {
    /// Its node; zero for a client.
    pub node: NodeId,
    /// HA's number for its start; zero for a client.
    pub boot: Boot,
    /// Drawn at random at its start.
    pub instance: u64,
}

/// Serves what comes in.
pub trait Service: Send + Sync {
    /// Takes one message. Called on the transport's own thread, inside the tokio runtime of the endpoint's configuration: it must not
    /// block; it spawns. `Incoming` is answered with [`Incoming::reply`]; one that is dropped without an answer fails at the caller.
    fn serve(&self, incoming: Incoming);
}

/// What a transport does for one request that is being served.
#[async_trait]
pub(crate) trait Exchange: Send + Sync {
    /// Fills `buf[..length]` from the lent memory at `offset`.
    async fn pull(&self, buf: Buf, offset: usize, length: usize) -> Result<Buf, NetError>;
    /// Writes `buf[..length]` into the lent memory at `offset`.
    async fn push(&self, buf: Buf, offset: usize, length: usize) -> Result<Buf, NetError>;
    /// Answers, or says why not.
    fn finish(&self, answer: Result<Bytes, String>, pushed: usize);
    /// Whether the caller is gone.
    fn is_cancelled(&self) -> bool;
}

/// Is told how requests went that were served.
pub trait Observer: Send + Sync {
    /// A request has ended, answered or not: how long that took from when it was given to [`Incoming::observe`], and how many bytes of lent
    /// memory were pulled or pushed.
    fn ended(&self, operation: Operation, took: Duration, bytes: usize);
}

/// An exchange whose end somebody is told.
struct Observed {
    exchange: Box<dyn Exchange>,
    operation: Operation,
    since: Instant,
    bytes: AtomicUsize,
    observer: Arc<dyn Observer>,
}

#[async_trait]
impl Exchange for Observed {
    async fn pull(&self, buf: Buf, offset: usize, length: usize) -> Result<Buf, NetError> {
        let buf = self.exchange.pull(buf, offset, length).await?;
        self.bytes.fetch_add(length, Ordering::Relaxed);
        Ok(buf)
    }

    async fn push(&self, buf: Buf, offset: usize, length: usize) -> Result<Buf, NetError> {
        let buf = self.exchange.push(buf, offset, length).await?;
        self.bytes.fetch_add(length, Ordering::Relaxed);
        Ok(buf)
    }

    fn finish(&self, answer: Result<Bytes, String>, pushed: usize) {
        self.exchange.finish(answer, pushed);
        self.observer.ended(self.operation, self.since.elapsed(), self.bytes.load(Ordering::Relaxed));
    }

    fn is_cancelled(&self) -> bool {
        self.exchange.is_cancelled()
    }
}

/// One message to be served.
pub struct Incoming {
    /// What is asked.
    pub operation: Operation,
    /// Its head.
    pub head: Bytes,
    /// Who asks.
    pub from: PeerIdentity,
    /// Until when an answer is of use.
    pub deadline: Instant,
    lend: Option<LendView>,
    exchange: Option<Box<dyn Exchange>>,
}

/// What the server knows of lent memory.
#[derive(Clone, Copy, Debug)]
struct LendView {
    length: usize,
    room: bool,
    done: usize,
}

impl Incoming {
    pub(crate) fn new(operation: Operation, head: Bytes, from: PeerIdentity, deadline: Instant) -> Self {
        Self { operation, head, from, deadline, lend: None, exchange: None }
    }

    /// Makes it a request: `lend` is the length of the lent memory and whether it is room.
    pub(crate) fn with_exchange(mut self, exchange: Box<dyn Exchange>, lend: Option<(usize, bool)>) -> Self {
        self.exchange = Some(exchange);
        self.lend = lend.map(|(length, room)| LendView { length, room, done: 0 });
        self
    }

    /// Has somebody told when it ends; a post never does.
    pub fn observe(&mut self, observer: Arc<dyn Observer>) {
        if let Some(exchange) = self.exchange.take() {
            let (operation, since, bytes) = (self.operation, Instant::now(), AtomicUsize::new(0));
            self.exchange = Some(Box::new(Observed { exchange, operation, since, bytes, observer }));
        }
    }

    /// Whether it is a post, which wants no answer.
    pub fn is_one_way(&self) -> bool {
        self.exchange.is_none()
    }

    /// Length of the lent memory, and whether it is room to push into (else data to pull).
    pub fn lend(&self) -> Option<(usize, bool)> {
        self.lend.map(|lend| (lend.length, lend.room))
    }

    /// Whether the caller is gone or gave up: what is being done for it is of no use.
    pub fn is_cancelled(&self) -> bool {
        self.exchange.as_ref().is_some_and(|exchange| exchange.is_cancelled())
    }

    /// Fills `buf` with the next bytes of the lent data and gives it back: as many as it is long or as are left, whichever is less.
    /// On an error the buffer returns to its pool.
    pub async fn pull(&mut self, buf: Buf) -> Result<Buf, NetError> {
        let lend = self.lend.filter(|lend| !lend.room).ok_or(NetError::NotLent("data to pull"))?;
        let exchange = self.exchange.as_ref().ok_or(NetError::NotLent("a post lends nothing"))?;
        let length = buf.len().min(lend.length - lend.done);
        if length == 0 {
            return Ok(buf);
        }
        let buf = exchange.pull(buf, lend.done, length).await?;
        self.advance(length);
        Ok(buf)
    }

    /// Writes `buf[..length]` after what was pushed before, and gives the buffer back once it may be used again.
    /// On an error the buffer returns to its pool.
    pub async fn push(&mut self, buf: Buf, length: usize) -> Result<Buf, NetError> {
        let lend = self.lend.filter(|lend| lend.room).ok_or(NetError::NotLent("room to push into"))?;
        let exchange = self.exchange.as_ref().ok_or(NetError::NotLent("a post lends nothing"))?;
        if length > buf.len() || length > lend.length - lend.done {
            return Err(NetError::TooLarge { what: "a push", bytes: length, max: buf.len().min(lend.length - lend.done) });
        }
        if length == 0 {
            return Ok(buf);
        }
        let buf = exchange.push(buf, lend.done, length).await?;
        self.advance(length);
        Ok(buf)
    }

    fn advance(&mut self, length: usize) {
        if let Some(lend) = &mut self.lend {
            lend.done += length;
        }
    }

    /// Answers. Whatever was pushed arrives before the answer. A post ignores it.
    pub fn reply(mut self, head: impl Into<Bytes>) {
        let head = head.into();
        let pushed = self.lend.filter(|lend| lend.room).map_or(0, |lend| lend.done);
        if let Some(exchange) = self.exchange.take() {
            if head.len() > MESSAGE_HEAD_BYTES_MAX {
                exchange.finish(Err(format!("its answer of {} bytes is too long", head.len())), 0);
            } else {
                exchange.finish(Ok(head), pushed);
            }
        }
    }

    /// Says that there is no answer: the caller gets [`NetError::NoAnswer`] with that reason.
    pub fn fail(mut self, reason: &str) {
        if let Some(exchange) = self.exchange.take() {
            exchange.finish(Err(reason.to_owned()), 0);
        }
    }
}

impl Drop for Incoming {
    fn drop(&mut self) {
        if let Some(exchange) = self.exchange.take() {
            exchange.finish(Err("the request was dropped".to_owned()), 0);
        }
    }
}

impl std::fmt::Debug for Incoming {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Incoming")
            .field("operation", &self.operation)
            .field("head_bytes", &self.head.len())
            .field("from", &self.from)
            .field("lend", &self.lend())
            .finish_non_exhaustive()
    }
}
