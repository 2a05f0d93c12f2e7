//! Requests that are being served: what the shard knows of each, and the handle that the service answers through.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use async_trait::async_trait;
use bytes::Bytes;
use tokio::sync::oneshot;
use types::wire::frame::LendDescriptor;

use super::command::{AnswerCommand, Command, TransferCommand};
use super::handle::ShardHandle;
use super::link::LinkId;
use crate::service::Exchange;
use crate::{Buf, NetError};

/// A request of the other side, until it is answered.
pub(super) struct Served {
    /// The memory that it lent.
    pub(super) lend: Option<LendDescriptor>,
    /// Length of its head.
    pub(super) head_bytes: usize,
    /// Transfers under way for it. The answer waits for them.
    pub(super) transfers: usize,
    /// The answer, once the service gave it.
    pub(super) answer: Option<(Result<Bytes, String>, usize)>,
    /// The caller gave up; shared with the service's handle.
    pub(super) cancelled: Arc<AtomicBool>,
}

/// The service's way back to the shard, for one request.
pub(super) struct FabricExchange {
    pub(super) shard: Arc<ShardHandle>,
    pub(super) link: LinkId,
    pub(super) call: u64,
    pub(super) cancelled: Arc<AtomicBool>,
}

impl FabricExchange {
    async fn transfer(&self, buf: Buf, offset: usize, length: usize, write: bool) -> Result<Buf, NetError> {
        if self.is_cancelled() {
            return Err(NetError::CallerGone);
        }
        let (done, result) = oneshot::channel();
        let command = TransferCommand { link: self.link, call: self.call, buf, offset, length, write, done };
        if !self.shard.push(Command::Transfer(command)) {
            return Err(NetError::Closed);
        }
        result.await.unwrap_or(Err(NetError::Closed))
    }
}

#[async_trait]
impl Exchange for FabricExchange {
    async fn pull(&self, buf: Buf, offset: usize, length: usize) -> Result<Buf, NetError> {
        self.transfer(buf, offset, length, false).await
    }

    async fn push(&self, buf: Buf, offset: usize, length: usize) -> Result<Buf, NetError> {
        self.transfer(buf, offset, length, true).await
    }

    fn finish(&self, answer: Result<Bytes, String>, pushed: usize) {
        // Of no use once the shard is gone.
        self.shard.push(Command::Answer(AnswerCommand { link: self.link, call: self.call, answer, pushed }));
    }

    fn is_cancelled(&self) -> bool {
        self.cancelled.load(Ordering::Relaxed)
    }
}
