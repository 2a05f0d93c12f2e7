//! The way to a shard, from any thread: leave a command, and carry it out at once if nobody else holds the shard.
//!
//! A shard belongs to whoever holds its lock: mostly the task that drives it ([`super::drive`]), which sleeps without it, and otherwise
//! whoever has something to send. So nobody wakes another thread only to have a message sent. Who finds the lock taken leaves the command in
//! the queue and goes: who holds the lock looks at the queue again after letting go of it.
//!
//! The queue itself has no bound of its own: what stands in it is bounded by the permits of calls and posts and by the number of requests
//! being served, and a cancellation must never be turned away.

use std::cell::Cell;
use std::collections::VecDeque;
use std::os::fd::OwnedFd;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::Waker;

use futures::task::AtomicWaker;

use super::command::Command;
use super::shard::{Shard, ShardParts, Turn};
use crate::NetError;

/// One shard, as everybody knows it.
#[derive(Default)]
pub(super) struct ShardHandle {
    queue: Mutex<Queue>,
    /// `None` before the start and after the end.
    shard: Mutex<Option<Shard>>,
    /// Who drives it, asleep.
    driver: AtomicWaker,
    /// Turns of who drives it.
    turns: AtomicU64,
}

#[derive(Default)]
struct Queue {
    commands: VecDeque<Command>,
    closed: bool,
}

/// How often in a row a thread that handed a command over looks for more.
const HELPS_MAX: usize = 4;

thread_local! {
    /// How many shards this thread holds.
    static HOLDS: Cell<u32> = const { Cell::new(0) };
    /// The shard that this thread drove last.
    static DRIVES: Cell<*const ShardHandle> = const { Cell::new(std::ptr::null()) };
}

/// While this lives, the thread holds a shard.
struct Holding;

impl Holding {
    fn begin() -> Self {
        HOLDS.set(HOLDS.get() + 1);
        Self
    }
}

impl Drop for Holding {
    fn drop(&mut self) {
        HOLDS.set(HOLDS.get() - 1);
    }
}

impl ShardHandle {
    /// Opens the shard; from now on commands are carried out.
    pub(super) fn open(self: &Arc<Self>, parts: ShardParts) -> Result<Option<std::net::SocketAddr>, NetError> {
        let shard = Shard::open(parts, self.clone())?;
        let address = shard.address()?;
        *self.lock_shard() = Some(shard);
        Ok(address)
    }

    /// Hands a command over; `false` if nobody will ever take it, and then it is dropped.
    pub(super) fn push(&self, command: Command) -> bool {
        {
            let mut queue = self.lock();
            if queue.closed {
                return false;
            }
            queue.commands.push_back(command);
        }
        self.help();
        true
    }

    /// Carries out what stands in the queue, unless somebody holds the shard.
    fn help(&self) {
        for _ in 0..HELPS_MAX {
            if self.lock().commands.is_empty() {
                return;
            }
            let Ok(mut held) = self.shard.try_lock() else { return };
            let Some(shard) = held.as_mut() else { return };
            let holding = Holding::begin();
            let needs_driver = shard.help(!self.is_driven_here());
            drop(holding);
            drop(held);
            if needs_driver {
                self.driver.wake();
            }
        }
        // Others go on handing over: who drives the shard takes that, so that nobody is kept here.
        self.driver.wake();
    }

    /// One turn of who drives the shard.
    pub(super) fn turn(&self, may_be_events: bool) -> Result<Turn, NetError> {
        let turn = {
            if self.shard.is_poisoned() {
                let reason = "a thread panicked while it held the shard: what its tables say is not to be trusted";
                return Err(NetError::Fabric { call: "a turn", reason: reason.into() });
            }
            let mut held = self.lock_shard();
            let Some(shard) = held.as_mut() else { return Ok(Turn::Closed) };
            let _holding = Holding::begin();
            shard.turn(may_be_events)?
        };
        self.turns.fetch_add(1, Ordering::Relaxed);
        let queue = self.lock();
        Ok(if queue.closed {
            Turn::Closed
        } else if queue.commands.is_empty() {
            turn
        } else {
            Turn::Busy
        })
    }

    /// Who drives the shard is to be woken by this; it runs on the calling thread.
    pub(super) fn set_driver(&self, waker: &Waker) {
        DRIVES.set(std::ptr::from_ref(self));
        self.driver.register(waker);
    }

    /// Whether the shard is driven on the calling thread, so that its next turn comes without waking another one. Wrong where
    /// a runtime has moved the task: then who drives it is woken for nothing, or looked after early.
    fn is_driven_here(&self) -> bool {
        std::ptr::eq(DRIVES.get(), self)
    }

    /// Descriptors of the shard's own, to sleep on: of completions and of events.
    pub(super) fn descriptors(&self) -> Result<[OwnedFd; 2], NetError> {
        self.lock_shard().as_ref().ok_or(NetError::Closed)?.descriptors()
    }

    /// Ends the queue. What is in it is dropped.
    fn close(&self) {
        let left = {
            let mut queue = self.lock();
            queue.closed = true;
            std::mem::take(&mut queue.commands)
        };
        drop(left);
        self.driver.wake();
    }

    /// Ends the shard with all its links and calls, now; who holds it has it ended by who drives it.
    pub(super) fn end(&self) {
        self.close();
        if !Self::is_held_here() {
            let shard = self.lock_shard().take();
            if let Some(shard) = shard {
                shard.end();
            }
        }
    }

    /// Whether the calling thread holds a shard: it may not wait for one.
    pub(super) fn is_held_here() -> bool {
        HOLDS.get() > 0
    }

    pub(super) fn turns(&self) -> u64 {
        self.turns.load(Ordering::Relaxed)
    }

    pub(super) fn is_closed(&self) -> bool {
        self.lock().closed
    }

    /// Swaps everything in the queue with `out`, which is empty.
    pub(super) fn take(&self, out: &mut VecDeque<Command>) {
        std::mem::swap(&mut self.lock().commands, out);
    }

    fn lock(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn lock_shard(&self) -> MutexGuard<'_, Option<Shard>> {
        self.shard.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
