//! Driving a shard: a task that has it take a turn whenever something came, and sleeps on its descriptors in between.
//!
//! It runs on a thread of its own, with a runtime of one thread on which the service's tasks run too, or in the runtime of whoever made the
//! endpoint. Either way an answer finds its caller without waking another thread, if that waits in the same runtime.
#![allow(unsafe_code, reason = "has tokio watch descriptors")]

use std::future::poll_fn;
use std::os::fd::{AsFd, OwnedFd};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;
use tokio::time::{Instant, Sleep, sleep_until};

use super::handle::ShardHandle;
use super::shard::Turn;
use crate::NetError;

/// How long tasks of a shard's own thread may go on after its end.
const LET_GO: Duration = Duration::from_secs(1);

/// Drives a shard on a new thread.
pub(super) fn spawn_thread(shard: Arc<ShardHandle>, index: usize) -> Result<std::thread::JoinHandle<()>, NetError> {
    let failed = |call| move |e: std::io::Error| NetError::Fabric { call, reason: e.to_string() };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(failed("starting a runtime"))?;
    let run = move || {
        runtime.block_on(drive(shard, index));
        runtime.shutdown_timeout(LET_GO);
    };
    std::thread::Builder::new().name(format!("net-shard-{index}")).spawn(run).map_err(failed("spawn"))
}

/// Drives a shard until it is closed, or the fabric itself fails; the shard ends with it.
pub(super) async fn drive(shard: Arc<ShardHandle>, index: usize) {
    let _end = EndOnDrop(shard.clone());
    let done = match Driver::new(shard) {
        Ok(mut driver) => poll_fn(|cx| driver.poll(cx)).await,
        Err(error) => Err(error),
    };
    // An endpoint that was closed before its first turn has nothing to complain of.
    if let Err(error) = done
        && !matches!(error, NetError::Closed)
    {
        tracing::error!(component = "net.fabric", shard = index, %error, "the shard stops");
    }
}

/// However the task ends, nobody waits for its shard for ever.
struct EndOnDrop(Arc<ShardHandle>);

impl Drop for EndOnDrop {
    fn drop(&mut self) {
        self.0.end();
    }
}

struct Driver {
    shard: Arc<ShardHandle>,
    completions: AsyncFd<OwnedFd>,
    events: AsyncFd<OwnedFd>,
    sleep: Pin<Box<Sleep>>,
}

impl Driver {
    fn new(shard: Arc<ShardHandle>) -> Result<Self, NetError> {
        let [completions, events] = shard.descriptors()?;
        let watched = |fd: OwnedFd| {
            // SAFETY: an owned descriptor stays open and the same for as long as it lives, which is as long as what watches it.
            let watched = unsafe { AsyncFd::register_with_interest(fd, Interest::READABLE) };
            watched.map_err(|e| NetError::Fabric { call: "epoll_ctl", reason: e.to_string() })
        };
        let sleep = Box::pin(sleep_until(Instant::now()));
        Ok(Self { shard, completions: watched(completions)?, events: watched(events)?, sleep })
    }

    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), NetError>> {
        self.shard.set_driver(cx.waker());
        // Forgotten before the turn: whatever becomes ready during it is told again.
        forget(&self.completions, cx);
        let may_be_events = forget(&self.events, cx);
        let asleep = match self.shard.turn(may_be_events) {
            Err(error) => return Poll::Ready(Err(error)),
            Ok(Turn::Closed) => return Poll::Ready(Ok(())),
            Ok(Turn::Busy) => false,
            Ok(Turn::Idle(until)) => self.falls_asleep(until.into(), cx),
        };
        if !asleep {
            // Whoever was given something during the turn comes first.
            cx.waker().wake_by_ref();
        }
        Poll::Pending
    }

    /// Whether there is nothing to do until a descriptor or the clock says so.
    fn falls_asleep(&mut self, until: Instant, cx: &mut Context<'_>) -> bool {
        if self.sleep.deadline() != until {
            self.sleep.as_mut().reset(until);
        }
        // A descriptor may be readable without having become so: its descriptor is a set of others, of which one still has data.
        !(forget(&self.completions, cx) || forget(&self.events, cx) || is_readable(&self.completions))
            && self.sleep.as_mut().poll(cx).is_pending()
    }
}

/// Forgets that a descriptor became readable; whether it had. If not, the task is woken when it does.
fn forget(fd: &AsyncFd<OwnedFd>, cx: &mut Context<'_>) -> bool {
    let mut had = false;
    while let Poll::Ready(Ok(mut ready)) = fd.poll_read_ready(cx) {
        ready.clear_ready();
        had = true;
    }
    had
}

fn is_readable(fd: &AsyncFd<OwnedFd>) -> bool {
    let mut fds = [PollFd::from_borrowed_fd(fd.get_ref().as_fd(), PollFlags::IN)];
    matches!(poll(&mut fds, Some(&Timespec { tv_sec: 0, tv_nsec: 0 })), Ok(ready) if ready > 0)
}
