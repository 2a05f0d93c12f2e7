//! Watching this node's storage process: its end is seen through a pidfd, at once, and becomes a `ProcessLost`.
//!
//! The watch begins with the registration and is begun again by any renewal, so a daemon that was restarted sees the process that went on
//! beside it. Whether a process hangs is its lease's affair.

use std::collections::BTreeMap;
use std::os::fd::OwnedFd;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use ha_api::HaError;
use ha_state::{Change, LossReason};
use rustix::process::{Pid, PidfdFlags, pidfd_open};
use tokio::io::unix::AsyncFd;
use tokio::task::JoinHandle;
use types::Boot;

use crate::core::Core;

/// How long to wait before an end that could not be reported is reported again.
const AGAIN: Duration = Duration::from_millis(50);

/// The watches of this daemon.
#[derive(Debug, Default)]
pub struct Watch {
    running: Mutex<BTreeMap<Boot, JoinHandle<()>>>,
}

/// A process that is alive now.
#[derive(Debug)]
pub struct Alive {
    pid: u32,
    fd: AsyncFd<OwnedFd>,
}

/// Takes hold of a process; `None`, with a word in the log, where it cannot be seen from here.
#[allow(deprecated, reason = "what follows `new` is unsafe for the sake of types that lend a foreign descriptor; `OwnedFd` owns its own")]
pub fn take_hold(pid: u32) -> Option<Alive> {
    let opened = i32::try_from(pid).ok().and_then(Pid::from_raw).map(|p| pidfd_open(p, PidfdFlags::NONBLOCK));
    match opened {
        Some(Ok(fd)) => AsyncFd::new(fd).map(|fd| Alive { pid, fd }).inspect_err(|e| tracing::warn!(pid, error = %e, "no watch")).ok(),
        Some(Err(e)) => {
            tracing::warn!(pid, error = %e, "the process cannot be watched: its end will be seen by its lease");
            None
        }
        None => None,
    }
}

impl Watch {
    /// Watches the process of that boot, which was alive when it spoke to us; forgets those of other boots.
    pub fn begin(&self, core: &Arc<Core>, boot: Boot, alive: Alive) {
        let mut running = self.running.lock().expect("nobody panics with the lock");
        running.retain(|_, task| !task.is_finished());
        if running.contains_key(&boot) {
            return;
        }
        let core = core.clone();
        running.insert(
            boot,
            tokio::spawn(async move {
                match alive.fd.readable().await {
                    Ok(_) => report(&core, boot, alive.pid).await,
                    Err(e) => tracing::error!(pid = alive.pid, error = %e, "the watch has failed"),
                }
            }),
        );
    }

    /// The same, where there is no watch yet.
    pub fn ensure(&self, core: &Arc<Core>, boot: Boot, pid: u32) {
        let watched = self.running.lock().expect("nobody panics with the lock").get(&boot).is_some_and(|task| !task.is_finished());
        if !watched && let Some(alive) = take_hold(pid) {
            self.begin(core, boot, alive);
        }
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        for task in self.running.lock().expect("nobody panics with the lock").values() {
            task.abort();
        }
    }
}

/// Reports the end of a process until it is agreed on.
async fn report(core: &Core, boot: Boot, pid: u32) {
    tracing::warn!(pid, %boot, "this node's process has ended");
    loop {
        let change = Change::ProcessLost { node: core.node(), boot, reason: LossReason::Ended };
        match core.change(change).await {
            Ok(_) | Err(HaError::OldBoot(_)) => return,
            Err(error) => tracing::warn!(%boot, %error, "its end is not agreed on yet"),
        }
        tokio::time::sleep(AGAIN).await;
    }
}
