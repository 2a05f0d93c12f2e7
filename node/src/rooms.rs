//! Which devices are full: those of this process, as their drivers say, and those of others, as their messages say.
//!
//! Whoever originates asks before a transaction has any effect: a record goes to every member of its group, and one that cannot hold it
//! would fail of it. Bounded: one entry for each device.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Mutex, MutexGuard};
use std::time::{Duration, Instant};

use types::{DeviceId, NodeId};

/// How long the word of another process counts: some heartbeats. Of one that is silent for longer nothing is known, and nobody waits for it.
const WORD_LASTS: Duration = Duration::from_secs(5);

/// What is known of full devices.
#[derive(Debug, Default)]
pub struct Rooms {
    inner: Mutex<Inner>,
}

#[derive(Debug, Default)]
struct Inner {
    here: BTreeSet<DeviceId>,
    /// Of which node, and when it said so.
    elsewhere: BTreeMap<DeviceId, (NodeId, Instant)>,
}

impl Rooms {
    /// A device of this process is full, or is not any more.
    pub fn tell(&self, device: DeviceId, full: bool) {
        let mut inner = self.inner();
        let was = if full { !inner.here.insert(device) } else { inner.here.remove(&device) };
        if full != was {
            tracing::warn!(%device, full, "the room of a device changed");
        }
    }

    /// All devices of this process that are full.
    pub fn full_here(&self) -> Vec<DeviceId> {
        self.inner().here.iter().copied().collect()
    }

    /// Another process says which of its devices are full: these, and no others.
    pub fn hear(&self, node: NodeId, full: &[DeviceId], now: Instant) {
        let mut inner = self.inner();
        inner.elsewhere.retain(|_, (of, _)| *of != node);
        inner.elsewhere.extend(full.iter().map(|device| (*device, (node, now))));
    }

    /// Whether a device is known to be full.
    pub fn is_full(&self, device: DeviceId, now: Instant) -> bool {
        let inner = self.inner();
        let heard = |(_, at): &(NodeId, Instant)| now.saturating_duration_since(*at) < WORD_LASTS;
        inner.here.contains(&device) || inner.elsewhere.get(&device).is_some_and(heard)
    }

    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().expect("nobody panics with the lock")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_word_of_a_process_counts_and_only_for_some_time() {
        let (rooms, now) = (Rooms::default(), Instant::now());
        rooms.hear(NodeId(2), &[DeviceId(3), DeviceId(4)], now);
        rooms.hear(NodeId(3), &[DeviceId(5)], now);
        rooms.hear(NodeId(2), &[DeviceId(4)], now);
        let full = |at: Instant| (3..=5).map(|id| rooms.is_full(DeviceId(id), at)).collect::<Vec<_>>();
        assert_eq!(full(now), [false, true, true]);
        assert_eq!(full(now + WORD_LASTS), [false; 3]);
        assert!(rooms.full_here().is_empty(), "what others say is not passed on");
    }

    #[test]
    fn a_device_here_is_full_until_its_driver_says_otherwise() {
        let (rooms, now) = (Rooms::default(), Instant::now());
        rooms.tell(DeviceId(1), true);
        assert_eq!((rooms.full_here(), rooms.is_full(DeviceId(1), now)), (vec![DeviceId(1)], true));
        rooms.tell(DeviceId(1), false);
        assert_eq!((rooms.full_here(), rooms.is_full(DeviceId(1), now)), (Vec::new(), false));
    }
}
