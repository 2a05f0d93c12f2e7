//! The caller's side: [`Transport`] and what it takes and gives.

use async_trait::async_trait;
use bytes::Bytes;
use tokio::time::Instant;
use types::limits::MESSAGE_HEAD_BYTES_MAX;
use types::wire::Operation;
use types::{Boot, NodeId};

use crate::buf::BUF_BYTES_MAX;
use crate::{Buf, BufPool, NetError, PeerIdentity};

/// Somebody to call: an address, and who is expected there.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Peer {
    /// `IP:port` of its endpoint.
    pub address: String,
    /// Who it must be; anybody of the cluster where `None`.
    pub node: Option<NodeId>,
    /// Which start of it; any where `None`. A newer start than that of a standing link makes the link anew.
    pub boot: Option<Boot>,
}

impl Peer {
    /// Whoever of the cluster listens there.
    pub fn at(address: impl Into<String>) -> Self {
        Self { address: address.into(), node: None, boot: None }
    }

    /// That node, as started then.
    pub fn node(address: impl Into<String>, node: NodeId, boot: Option<Boot>) -> Self {
        Self { address: address.into(), node: Some(node), boot }
    }
}

/// Memory for the server to reach, one-sided, until it replies.
#[derive(Debug)]
pub enum Lend {
    /// Data that goes with the request: the server pulls it.
    Give(Buf),
    /// Room for data that comes with the reply: the server pushes into it.
    Room(Buf),
}

impl Lend {
    /// The buffer, either way.
    pub fn buf(&self) -> &Buf {
        match self {
            Self::Give(buf) | Self::Room(buf) => buf,
        }
    }
}

/// What is asked of a peer.
#[derive(Debug)]
pub struct Request {
    /// Which operation.
    pub operation: Operation,
    /// Its head, at most [`types::limits::MESSAGE_HEAD_BYTES_MAX`] long.
    pub head: Bytes,
    /// Its bulk data.
    pub lend: Option<Lend>,
}

impl Request {
    /// A request without bulk data.
    pub fn new(operation: Operation, head: impl Into<Bytes>) -> Self {
        Self { operation, head: head.into(), lend: None }
    }

    /// A request with bulk data.
    pub fn lending(operation: Operation, head: impl Into<Bytes>, lend: Lend) -> Self {
        Self { operation, head: head.into(), lend: Some(lend) }
    }
}

/// What a peer answered.
#[derive(Debug)]
pub struct Reply {
    /// The answer's head.
    pub head: Bytes,
    /// The buffer that was lent, back.
    pub lent: Option<Buf>,
    /// How many bytes at the beginning of the room were filled.
    pub pushed: usize,
}

/// Calls and posts to peers, over links that are made when they are needed and made anew when they broke.
///
/// Order: posts to one peer arrive in the order in which they were accepted, or not at all; a link that broke loses what was under way.
/// Calls have no order. Every queue is bounded: `call` waits for room until its deadline, `post` says [`NetError::Busy`].
#[async_trait]
pub trait Transport: Send + Sync {
    /// The buffers that may be lent here.
    fn pool(&self) -> &BufPool;

    /// Asks and waits for the answer, at most until `deadline`.
    ///
    /// A lent buffer comes back with the reply; on an error, or if the future is dropped, it returns to the pool by itself once the peer
    /// cannot reach it any more.
    async fn call(&self, peer: &Peer, request: Request, deadline: Instant) -> Result<Reply, NetError>;

    /// Sends one way. Never blocks; `Ok` says only that the message was queued.
    fn post(&self, peer: &Peer, operation: Operation, head: Bytes) -> Result<(), NetError>;

    /// Ends the links to the peer: HA says that it is dead, or started anew. Its calls fail at once.
    fn disconnect(&self, peer: &Peer);
}

/// What every transport refuses before it sends anything.
pub(crate) fn check_request(request: &Request, pool: &BufPool) -> Result<(), NetError> {
    check_head(&request.head)?;
    let Some(lend) = &request.lend else { return Ok(()) };
    if !lend.buf().is_of(pool) {
        return Err(NetError::NotLent("a buffer of another pool"));
    }
    if lend.buf().len() > BUF_BYTES_MAX {
        return Err(NetError::TooLarge { what: "lent memory", bytes: lend.buf().len(), max: BUF_BYTES_MAX });
    }
    Ok(())
}

/// Heads are bounded.
pub(crate) fn check_head(head: &Bytes) -> Result<(), NetError> {
    if head.len() > MESSAGE_HEAD_BYTES_MAX {
        return Err(NetError::TooLarge { what: "a head", bytes: head.len(), max: MESSAGE_HEAD_BYTES_MAX });
    }
    Ok(())
}

/// Whether who answered is who was meant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fit {
    Fits,
    /// The same node, but a start before the one that is meant: the link outlived it.
    Older,
    Wrong,
}

pub(crate) fn judge(expected: &Peer, found: &PeerIdentity) -> Fit {
    if expected.node.is_some_and(|node| node != found.node) {
        return Fit::Wrong;
    }
    match expected.boot {
        Some(boot) if boot > found.boot => Fit::Older,
        Some(boot) if boot < found.boot => Fit::Wrong,
        _ => Fit::Fits,
    }
}

pub(crate) fn wrong_peer(expected: &Peer, found: &PeerIdentity) -> NetError {
    let start = expected.boot.map_or(String::new(), |boot| format!(" at {boot}"));
    NetError::WrongPeer {
        peer: expected.address.clone(),
        expected: expected.node.map_or_else(|| format!("whom the caller meant{start}"), |node| format!("{node}{start}")),
        found: format!("{} at {}", found.node, found.boot),
    }
}
