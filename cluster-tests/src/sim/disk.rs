//! The simulated disk under a machine's state: writes are durable once a sync that began after them has ended.
//!
//! A crash keeps what was synced and a prefix, of any length, of what was not: the metadata store writes one log in order. Torn sectors,
//! bit rot and errors belong to the simulated device of `storage`, below this.

use std::collections::VecDeque;

/// State that changes by writes.
pub trait Durable: Clone {
    /// One write.
    type Write: Clone;

    /// Makes the write.
    fn write(&mut self, write: &Self::Write);
}

/// Which sync: it covers everything written before it began.
pub type Ticket = u64;

/// A disk with a state on it.
#[derive(Clone, Debug)]
pub struct Disk<S: Durable> {
    synced: S,
    current: S,
    unsynced: VecDeque<S::Write>,
    /// Writes ever, and of them synced.
    written: u64,
    durable: u64,
    syncs: VecDeque<(Ticket, u64)>,
    tickets: Ticket,
}

impl<S: Durable> Disk<S> {
    /// A disk that durably holds this state.
    pub fn new(state: S) -> Self {
        Self {
            synced: state.clone(),
            current: state,
            unsynced: VecDeque::new(),
            written: 0,
            durable: 0,
            syncs: VecDeque::new(),
            tickets: 0,
        }
    }

    /// What a reader sees: every write, synced or not.
    pub fn current(&self) -> &S {
        &self.current
    }

    /// What a crash leaves at least.
    pub fn synced(&self) -> &S {
        &self.synced
    }

    /// Writes, not yet durably.
    pub fn write(&mut self, write: S::Write) {
        self.current.write(&write);
        self.unsynced.push_back(write);
        self.written += 1;
    }

    /// How many writes a crash could lose.
    pub fn unsynced(&self) -> usize {
        self.unsynced.len()
    }

    /// Begins a sync of everything written so far.
    pub fn begin_sync(&mut self) -> Ticket {
        self.tickets += 1;
        self.syncs.push_back((self.tickets, self.written));
        self.tickets
    }

    /// A sync has ended: it, and those begun before it, are durable. False where a crash took it away.
    pub fn end_sync(&mut self, ticket: Ticket) -> bool {
        let Some(place) = self.syncs.iter().position(|(t, _)| *t == ticket) else { return false };
        let (_, upto) = self.syncs[place];
        self.syncs.drain(..=place);
        while self.durable < upto {
            let write = self.unsynced.pop_front().expect("what is written and not durable is queued");
            self.synced.write(&write);
            self.durable += 1;
        }
        true
    }

    /// Power is gone: the first `kept` of the writes not synced happen to be on the medium, the others never were.
    pub fn crash(&mut self, kept: usize) {
        for write in self.unsynced.drain(..).take(kept) {
            self.synced.write(&write);
        }
        self.current = self.synced.clone();
        self.durable = self.written;
        self.syncs.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Clone, Debug, PartialEq)]
    struct List(Vec<u32>);

    impl Durable for List {
        type Write = u32;

        fn write(&mut self, write: &u32) {
            self.0.push(*write);
        }
    }

    #[test]
    fn a_crash_keeps_what_was_synced_and_a_prefix_of_the_rest() {
        for kept in 0..=2 {
            let mut disk = Disk::new(List(Vec::new()));
            disk.write(1);
            let first = disk.begin_sync();
            disk.write(2);
            let second = disk.begin_sync();
            assert!(disk.end_sync(first));
            disk.write(3);
            disk.crash(kept);
            assert_eq!(disk.current().0, (1..=1 + kept as u32).collect::<Vec<_>>());
            assert!(!disk.end_sync(second), "a sync that the crash took away does not end");
            disk.write(9);
            let third = disk.begin_sync();
            assert!(disk.end_sync(third));
            assert_eq!(disk.synced(), disk.current());
        }
    }
}
