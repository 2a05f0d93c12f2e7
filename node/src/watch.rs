//! Who hangs: looked at before each renewal of the lease, which says to HA that this process works.
//!
//! ```text
//! driver, transfer or commit under way for HANG_MAX   its device is given up: HA is told, the others go on
//! one that was given up answers again, and HA has it  the process starts again, to use it
//! down as away, not as FAILED
//! the same at every device that is left                the lease is not renewed: it is not a disk that hangs, and FAILED is final
//! a shard of the fabric without a turn for L          the lease is not renewed: nobody can ask this process anything
//! ```
//!
//! Time in which this process did not run (stopped, starved, its machine asleep) is nobody's hanging: after a pause between two looks, what is
//! under way counts from then on.
//!
//! The thread of a device that is given up may hang for ever, or wake: whatever it has written by then, it says nothing of it to anybody
//! ([`crate::driver`] looks whether its device has failed after each write), and clients that it would answer have no lease to go with it.

use std::sync::Arc;
use std::time::{Duration, Instant};

use types::state::DeviceState;
use types::wire::request::Refusal;
use types::{DeviceId, Incarnation};

use crate::driver::{DriverInbox, Surroundings};
use crate::report::{DeviceEnd, HowEnded};

/// How long a device may take for one thing, with times that are not scaled: well beyond a flush on a busy machine. FAILED, which HA
/// makes of it where no group is short then, is final for a format of a device.
pub const HANG_MAX: Duration = Duration::from_secs(20);

/// A pause between two looks of more than this share of [`HANG_MAX`] says that the process did not run: there are several looks a second.
const PAUSE_SHARE: u32 = 4;

/// A device that is watched.
pub struct Watched {
    /// Which.
    pub device: DeviceId,
    /// Its format.
    pub incarnation: Incarnation,
    /// What waits for its driver.
    pub inbox: Arc<DriverInbox>,
    /// Since when the oldest of its transfers and commits is under way.
    pub busy_since: Box<dyn Fn() -> Option<Instant> + Send + Sync>,
    /// Has it take no more changes, of whomever.
    pub fail: Box<dyn Fn(&str) + Send + Sync>,
}

/// Watches devices and fabric.
pub struct Watch {
    around: Surroundings,
    devices: Vec<Watched>,
    /// Given up.
    hung: Vec<Watched>,
    hang_max: Duration,
    /// When was looked, and since when the process has run without a pause.
    looked: Option<(Instant, Instant)>,
    turns: Box<dyn Fn() -> Vec<u64> + Send + Sync>,
    /// Of each shard of the fabric: its turns, and when they were seen to change.
    seen: Vec<(u64, Instant)>,
    still_max: Duration,
}

impl Watch {
    /// Watches these; `turns` are those of the fabric's shards.
    pub fn new(around: Surroundings, devices: Vec<Watched>, factor: f64, turns: Box<dyn Fn() -> Vec<u64> + Send + Sync>) -> Self {
        let still_max = around.lease.timing().lease;
        Self { around, devices, hung: Vec::new(), hang_max: HANG_MAX.mul_f64(factor), looked: None, turns, seen: Vec::new(), still_max }
    }

    /// Gives up what hangs; an error where this process is not to say that it works.
    pub fn look(&mut self, now: Instant) -> Result<(), String> {
        let runs_since = match self.looked {
            Some((before, since)) if now.saturating_duration_since(before) <= self.hang_max / PAUSE_SHARE => since,
            _ => now,
        };
        self.looked = Some((now, runs_since));
        let hangs = |watched: &Watched| {
            let since = watched.inbox.busy_since().into_iter().chain((watched.busy_since)()).min();
            since.is_some_and(|since| now.saturating_duration_since(since.max(runs_since)) > self.hang_max)
        };
        let (hung, fine): (Vec<_>, Vec<_>) = std::mem::take(&mut self.devices).into_iter().partition(hangs);
        if fine.is_empty() && !hung.is_empty() {
            let words = format!("all {} devices that are left hang", hung.len());
            self.devices = hung;
            return Err(words);
        }
        self.devices = fine;
        hung.iter().for_each(|watched| self.give_up(watched));
        self.hung.extend(hung);
        self.look_at_fabric(now)
    }

    /// A device that was given up, is at work at nothing any more, and is wanted by HA: it is only away. Who starts again can use it.
    pub fn woken(&self) -> Option<DeviceId> {
        let map = &self.around.views.now().map;
        let is_wanted = |watched: &Watched| {
            let known = map.devices.get(&watched.device);
            known.is_some_and(|known| known.state == DeviceState::Transient && known.incarnation == watched.incarnation)
        };
        let is_idle = |watched: &Watched| watched.inbox.busy_since().is_none() && (watched.busy_since)().is_none();
        self.hung.iter().find(|watched| is_idle(watched) && is_wanted(watched)).map(|watched| watched.device)
    }

    fn look_at_fabric(&mut self, now: Instant) -> Result<(), String> {
        let turns = (self.turns)();
        self.seen.resize(turns.len(), (u64::MAX, now));
        for (shard, (turns, seen)) in turns.into_iter().zip(&mut self.seen).enumerate() {
            if seen.0 != turns {
                *seen = (turns, now);
            }
            let still = now.saturating_duration_since(seen.1);
            if still > self.still_max {
                return Err(format!("shard {shard} of the fabric has made no turn for {} ms", still.as_millis()));
            }
        }
        Ok(())
    }

    fn give_up(&self, watched: &Watched) {
        let Watched { device, incarnation, inbox, fail, .. } = watched;
        let reason = format!("it hangs: something has been under way for more than {} s", self.hang_max.as_secs());
        fail(&reason);
        self.around.permits.withdraw(*device);
        self.around.fences.retire(*device);
        self.around.rooms.tell(*device, false);
        for request in inbox.abandon() {
            request.caller.answer(Err(Refusal::Busy(reason.clone())));
        }
        self.around.reports.failed(*device, DeviceEnd { incarnation: Some(*incarnation), how: HowEnded::Hangs, reason });
    }
}
