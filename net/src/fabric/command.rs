//! What the rest of the process tells a shard: a queue with a wake-up that costs a system call only while the shard sleeps.
//!
//! The queue itself has no bound of its own: what stands in it is bounded by the permits of calls and posts and by the number of requests
//! being served, and a cancellation must never be turned away.

use std::collections::VecDeque;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use rustix::event::{EventfdFlags, eventfd};
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

/// The queue of one shard.
pub(super) struct CommandQueue {
    inner: Mutex<Inner>,
    sleeping: AtomicBool,
    wake: OwnedFd,
}

#[derive(Default)]
struct Inner {
    commands: VecDeque<Command>,
    closed: bool,
}

impl CommandQueue {
    pub(super) fn new() -> Result<Self, NetError> {
        let wake = eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)
            .map_err(|e| NetError::Fabric { call: "eventfd", reason: e.to_string() })?;
        Ok(Self { inner: Mutex::default(), sleeping: AtomicBool::new(false), wake })
    }

    /// Hands a command over; `false` if nobody will ever take it, and then it is dropped.
    pub(super) fn push(&self, command: Command) -> bool {
        {
            let mut inner = self.lock();
            if inner.closed {
                return false;
            }
            inner.commands.push_back(command);
        }
        self.wake();
        true
    }

    /// Ends the queue. What is in it is dropped.
    pub(super) fn close(&self) {
        let left = {
            let mut inner = self.lock();
            inner.closed = true;
            std::mem::take(&mut inner.commands)
        };
        drop(left);
        self.wake();
    }

    pub(super) fn is_closed(&self) -> bool {
        self.lock().closed
    }

    /// Swaps everything in the queue with `out`, which is empty.
    pub(super) fn take(&self, out: &mut VecDeque<Command>) {
        std::mem::swap(&mut self.lock().commands, out);
    }

    /// Says that the shard is about to sleep; `false` if it must not, because there is something to do.
    pub(super) fn fall_asleep(&self) -> bool {
        self.sleeping.store(true, Ordering::SeqCst);
        let inner = self.lock();
        inner.commands.is_empty() && !inner.closed
    }

    /// Says that the shard is awake.
    pub(super) fn awake(&self) {
        if !self.sleeping.swap(false, Ordering::SeqCst) {
            // Somebody woke us: empty the descriptor. It may be a moment before it is written; then one sleep is short.
            let mut count = [0; 8];
            let _ = rustix::io::read(&self.wake, &mut count);
        }
    }

    pub(super) fn wake_fd(&self) -> BorrowedFd<'_> {
        self.wake.as_fd()
    }

    fn wake(&self) {
        if self.sleeping.swap(false, Ordering::SeqCst) {
            // Fails only when the counter is full, and then the shard is awake anyway.
            let _ = rustix::io::write(&self.wake, &1u64.to_ne_bytes());
        }
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
