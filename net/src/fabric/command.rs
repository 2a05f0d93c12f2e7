//! What a shard is told.

use bytes::Bytes;
use tokio::sync::{OwnedSemaphorePermit, oneshot};
use types::wire::Operation;

use super::sys::Arrival;
use crate::{Buf, Lend, NetError, Peer, Reply};

/// A call, on its way out.
pub(super) struct CallCommand {
    pub(super) call: u64,
    pub(super) peer: Peer,
    pub(super) operation: Operation,
    pub(super) head: Bytes,
    pub(super) lend: Option<Lend>,
    pub(super) deadline_ms: u32,
    pub(super) permit: OwnedSemaphorePermit,
    pub(super) done: oneshot::Sender<Result<Reply, NetError>>,
}

/// A post, on its way out.
pub(super) struct PostCommand {
    pub(super) peer: Peer,
    pub(super) operation: Operation,
    pub(super) head: Bytes,
    pub(super) permit: OwnedSemaphorePermit,
}

/// A pull or push for a request that is being served.
pub(super) struct TransferCommand {
    pub(super) link: u32,
    pub(super) call: u64,
    pub(super) buf: Buf,
    /// Where in the lent memory.
    pub(super) offset: usize,
    pub(super) length: usize,
    /// Push, else pull.
    pub(super) write: bool,
    pub(super) done: oneshot::Sender<Result<Buf, NetError>>,
}

/// The answer to a request that is being served.
pub(super) struct AnswerCommand {
    pub(super) link: u32,
    pub(super) call: u64,
    pub(super) answer: Result<Bytes, String>,
    pub(super) pushed: usize,
}

/// Anything that a shard is told.
pub(super) enum Command {
    Call(CallCommand),
    Post(PostCommand),
    /// The caller does not wait any more.
    Cancel(u64),
    Disconnect(String),
    Accept(Arrival),
    Transfer(TransferCommand),
    Answer(AnswerCommand),
}
