//! Which groups this process may serve reads of: written by the drivers, read by whoever serves, without waiting for a driver or a sync.
//!
//! A permit says "this replica is active in that view and has applied its base". Beside it stands what each replica shows, primary or not: "all
//! records up to here are in the rows, and no copy of them is coming in". Neither says anything of leases: the reader asks for those itself, and
//! for these again, after it has read.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, RwLock};

use types::{DeviceId, GroupId, Seq, ViewNumber};

/// One permit for each replica of the process.
#[derive(Debug, Default)]
pub struct Permits {
    cells: RwLock<HashMap<(DeviceId, GroupId), AtomicU64>>,
    shown: RwLock<HashMap<(DeviceId, GroupId), Shown>>,
}

/// What the rows of one replica show; written by its driver.
#[derive(Clone, Debug, Default)]
pub struct Shown(Arc<ShownCell>);

#[derive(Debug, Default)]
struct ShownCell {
    /// One more than the seq, or [`NONE`].
    upto: AtomicU64,
    /// How often that was taken away.
    taken_away: AtomicU64,
    /// Transactions over several groups that are not done.
    unfinished: AtomicU64,
}

impl Shown {
    /// All records up to here are in the rows; with `None` they are not to be read by themselves.
    pub fn set(&self, upto: Option<Seq>) {
        if upto.is_none() {
            self.0.taken_away.fetch_add(1, Ordering::SeqCst);
        }
        self.0.upto.store(upto.map_or(NONE, |seq| seq.0 + 1), Ordering::SeqCst);
    }

    /// So many of the transactions that its group coordinates are not done, as far as it has applied its log: a figure, nothing is decided by it.
    pub fn set_unfinished(&self, count: usize) {
        self.0.unfinished.store(count as u64, Ordering::Relaxed);
    }

    fn get(&self) -> Option<Seq> {
        self.0.upto.load(Ordering::SeqCst).checked_sub(1).map(Seq)
    }
}

/// No view has this number.
const NONE: u64 = 0;

impl Permits {
    /// The replica serves reads in that view from now on, or, with `None`, does not any more.
    pub fn set(&self, device: DeviceId, group: GroupId, view: Option<ViewNumber>) {
        let number = view.map_or(NONE, ViewNumber::get);
        let cells = self.cells.read().expect("nobody panics with the lock");
        if let Some(cell) = cells.get(&(device, group)) {
            cell.store(number, Ordering::SeqCst);
            return;
        }
        drop(cells);
        if number != NONE {
            self.cells.write().expect("nobody panics with the lock").insert((device, group), AtomicU64::new(number));
        }
    }

    /// Whether the replica serves reads in that view.
    pub fn holds(&self, device: DeviceId, group: GroupId, view: ViewNumber) -> bool {
        let cells = self.cells.read().expect("nobody panics with the lock");
        cells.get(&(device, group)).is_some_and(|cell| view.get() != NONE && cell.load(Ordering::SeqCst) == view.get())
    }

    /// Where the driver of a replica says what its rows show.
    pub fn shown_of(&self, device: DeviceId, group: GroupId) -> Shown {
        self.shown.write().expect("nobody panics with the lock").entry((device, group)).or_default().clone()
    }

    /// What the rows of a replica show, where they may be read by themselves.
    pub fn shown(&self, device: DeviceId, group: GroupId) -> Option<Seq> {
        self.shown.read().expect("nobody panics with the lock").get(&(device, group))?.get()
    }

    /// What `read` gives, if the rows show `point` before and after it and were not taken away in between.
    pub fn while_shown<T>(&self, device: DeviceId, group: GroupId, point: Seq, read: impl FnOnce() -> T) -> Option<T> {
        let shown = self.shown.read().expect("nobody panics with the lock").get(&(device, group)).cloned()?;
        let times = shown.0.taken_away.load(Ordering::SeqCst);
        let shows = || shown.get().is_some_and(|upto| upto >= point);
        let found = shows().then(read)?;
        (shows() && shown.0.taken_away.load(Ordering::SeqCst) == times).then_some(found)
    }

    /// How many transactions over several groups are not done, by the replicas of a device: each of them counts what its group coordinates.
    pub fn unfinished(&self, device: DeviceId) -> u64 {
        let shown = self.shown.read().expect("nobody panics with the lock");
        shown.iter().filter(|((of, _), _)| *of == device).map(|(_, shown)| shown.0.unfinished.load(Ordering::Relaxed)).sum()
    }

    /// Takes all permits of a device away: it failed.
    pub fn withdraw(&self, device: DeviceId) {
        self.shown.read().expect("nobody panics with the lock").iter().filter(|((of, _), _)| *of == device).for_each(|(_, shown)| {
            shown.set(None);
            shown.set_unfinished(0);
        });
        self.cells.write().expect("nobody panics with the lock").retain(|(of, _), _| *of != device);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use types::PoolId;

    #[test]
    fn rows_are_read_while_they_show_the_point_all_the_time() {
        let permits = Permits::default();
        let (device, group) = (DeviceId(1), GroupId { pool: PoolId(1), index: 3 });
        assert_eq!(permits.while_shown(device, group, Seq(1), || ()), None, "nobody has said anything");
        let shown = permits.shown_of(device, group);
        shown.set(Some(Seq(9)));
        assert_eq!(permits.while_shown(device, group, Seq(10), || shown.set(Some(Seq(10)))), None, "they do not show it yet");
        shown.set(Some(Seq(10)));
        assert_eq!(permits.while_shown(device, group, Seq(10), || 7), Some(7));
        assert_eq!(permits.while_shown(device, group, Seq(10), || shown.set(None)), None);
        shown.set(Some(Seq(10)));
        let copied = || {
            shown.set(None);
            shown.set(Some(Seq(10)));
        };
        assert_eq!(permits.while_shown(device, group, Seq(10), copied), None, "they were another copy's in between");
    }

    #[test]
    fn a_permit_is_for_one_view_of_one_replica() {
        let permits = Permits::default();
        let (device, group) = (DeviceId(1), GroupId { pool: PoolId(1), index: 3 });
        assert!(!permits.holds(device, group, ViewNumber(0)));
        permits.set(device, group, Some(ViewNumber(7)));
        assert!(permits.holds(device, group, ViewNumber(7)));
        assert!(!permits.holds(device, group, ViewNumber(8)));
        assert!(!permits.holds(DeviceId(2), group, ViewNumber(7)));
        permits.set(device, group, None);
        assert!(!permits.holds(device, group, ViewNumber(7)));
        assert!(!permits.holds(device, group, ViewNumber(0)));
        permits.set(device, group, Some(ViewNumber(9)));
        permits.withdraw(device);
        assert!(!permits.holds(device, group, ViewNumber(9)));
    }

    #[test]
    fn what_is_not_done_is_counted_over_the_replicas_of_a_device() {
        let permits = Permits::default();
        let group = |index| GroupId { pool: PoolId(1), index };
        permits.shown_of(DeviceId(1), group(0)).set_unfinished(2);
        permits.shown_of(DeviceId(1), group(1)).set_unfinished(3);
        permits.shown_of(DeviceId(2), group(1)).set_unfinished(3);
        assert_eq!((permits.unfinished(DeviceId(1)), permits.unfinished(DeviceId(2))), (5, 3));
        permits.withdraw(DeviceId(1));
        assert_eq!((permits.unfinished(DeviceId(1)), permits.unfinished(DeviceId(2))), (0, 3));
    }
}
