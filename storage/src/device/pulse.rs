//! What a device is at work at, and since when: how a disk is noticed that neither does what it is told nor fails.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

/// Work under way. Bounded: transfers have a permit each, and the commit is one.
#[derive(Debug, Default)]
pub(crate) struct Pulse {
    inner: Mutex<Inner>,
}

#[derive(Debug, Default)]
struct Inner {
    next: u64,
    /// In the order of their begin.
    under_way: BTreeMap<u64, Instant>,
}

/// A piece of work, until it is dropped.
#[derive(Debug)]
pub(crate) struct Work {
    pulse: Arc<Pulse>,
    number: u64,
}

impl Pulse {
    /// Something begins.
    pub fn begin(self: &Arc<Self>) -> Work {
        let mut inner = self.inner();
        let number = inner.next;
        inner.next += 1;
        inner.under_way.insert(number, Instant::now());
        drop(inner);
        Work { pulse: Arc::clone(self), number }
    }

    /// Since when the oldest piece of work is under way.
    pub fn busy_since(&self) -> Option<Instant> {
        self.inner().under_way.first_key_value().map(|(_, since)| *since)
    }

    fn inner(&self) -> MutexGuard<'_, Inner> {
        // Nothing panics while it holds the lock half changed.
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Work {
    fn drop(&mut self) {
        self.pulse.inner().under_way.remove(&self.number);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_oldest_work_counts_until_it_is_over() {
        let pulse = Arc::<Pulse>::default();
        assert_eq!(pulse.busy_since(), None);
        let first = pulse.begin();
        let since = pulse.busy_since();
        let second = pulse.begin();
        assert_eq!(pulse.busy_since(), since);
        drop(first);
        assert!(pulse.busy_since() >= since && pulse.busy_since().is_some());
        drop(second);
        assert_eq!(pulse.busy_since(), None);
    }
}
