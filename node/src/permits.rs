//! Which groups this process may serve reads of: written by the drivers, read by whoever serves, without waiting for a driver or a sync.
//!
//! A permit says "this replica is active in that view and has applied its base". It says nothing of leases: the reader asks for those itself,
//! after it has read.

use std::collections::HashMap;
use std::sync::RwLock;
use std::sync::atomic::{AtomicU64, Ordering};

use types::{DeviceId, GroupId, ViewNumber};

/// One permit for each replica of the process.
#[derive(Debug, Default)]
pub struct Permits {
    cells: RwLock<HashMap<(DeviceId, GroupId), AtomicU64>>,
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

    /// Takes all permits of a device away: it failed.
    pub fn withdraw(&self, device: DeviceId) {
        self.cells.write().expect("nobody panics with the lock").retain(|(of, _), _| *of != device);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use types::PoolId;

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
}
