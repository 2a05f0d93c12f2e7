//! What this process has to tell HA: kept until HA's log shows that it was heard, and bounded because there is one entry for each thing.
//!
//! Drivers and those who serve put in; [`crate::hearing`] sends.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};

use storage::StorageError;
use tokio::sync::Notify;
use types::wire::request::Refusal;
use types::{CatalogueId, DeviceId, Epoch, Fid, GroupId, Incarnation, ViewNumber};

/// Bad places of all devices that are remembered.
const PLACES_MAX: usize = 4096;

fn unit_place(fid: Fid, unit: u32) -> String {
    format!("unit {unit} of {fid}")
}

/// Reports to be made. Cheap to clone: the clones share them.
#[derive(Clone, Debug, Default)]
pub struct Reports {
    inner: Arc<Inner>,
}

#[derive(Debug, Default)]
struct Inner {
    pending: Mutex<Pending>,
    /// What was told to be bad: a place counts once, however often it is read.
    places: Mutex<BTreeSet<(DeviceId, String)>>,
    /// Devices of this process that were given up because they hung.
    hung: Mutex<BTreeSet<DeviceId>>,
    bell: Notify,
}

/// What has not been told yet.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Pending {
    /// Groups that are active here, with the view.
    pub active: BTreeMap<GroupId, ViewNumber>,
    /// Groups that have their `End`, with the epoch that it is for.
    pub ended: BTreeMap<GroupId, Epoch>,
    /// Errors of devices that go on: how many, and the last of them in words.
    pub errors: BTreeMap<DeviceId, DeviceTrouble>,
    /// Devices that are over, in that incarnation (`None`: the one in use here).
    pub failed: BTreeMap<DeviceId, DeviceEnd>,
    /// Groups in which nothing of a dropped catalogue is left, with the view in which that was seen.
    pub emptied: BTreeMap<(CatalogueId, GroupId), ViewNumber>,
    /// Learners that are filled, in which view and in which format.
    pub filled: BTreeMap<(GroupId, DeviceId), (ViewNumber, Incarnation)>,
    /// Slots that have all their units, in which view and on which device.
    pub slots: BTreeMap<(GroupId, u8), (ViewNumber, DeviceId)>,
    /// Devices, most of them of others, that no log is kept for any longer, and in which incarnation.
    pub lagging: BTreeMap<DeviceId, (Incarnation, String)>,
}

/// Errors of one device since the last report.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DeviceTrouble {
    /// How many.
    pub count: u32,
    /// The last one, in words.
    pub last: String,
}

/// The end of a device.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeviceEnd {
    /// In which format of it; `None` is the one in use here.
    pub incarnation: Option<Incarnation>,
    /// How.
    pub how: HowEnded,
    /// Why, in words.
    pub reason: String,
}

/// How a device has ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HowEnded {
    /// It failed, and this process has stopped using it.
    Broke,
    /// It answers nothing, and this process has stopped using it.
    Hangs,
    /// It is another process's, and has forgotten what it said.
    Forgot,
}

impl Reports {
    /// A group is active here.
    pub fn active(&self, group: GroupId, view: ViewNumber) {
        self.change(|pending| {
            pending.active.insert(group, view);
        });
    }

    /// A group has its `End`.
    pub fn ended(&self, group: GroupId, epoch: Epoch) {
        self.change(|pending| {
            pending.ended.insert(group, epoch);
        });
    }

    /// A learner of a group that is active here is filled.
    pub fn filled(&self, group: GroupId, view: ViewNumber, device: DeviceId, incarnation: Incarnation) {
        self.change(|pending| {
            pending.filled.insert((group, device), (view, incarnation));
        });
    }

    /// A slot on a device here has all its units.
    pub fn slot_filled(&self, group: GroupId, slot: u8, view: ViewNumber, device: DeviceId) {
        self.change(|pending| {
            pending.slots.insert((group, slot), (view, device));
        });
    }

    /// Nothing of a dropped catalogue is left in a group.
    pub fn emptied(&self, catalogue: CatalogueId, group: GroupId, view: ViewNumber) {
        self.change(|pending| {
            pending.emptied.insert((catalogue, group), view);
        });
    }

    /// A device made an error and goes on. The same words again are the same place, which counts once.
    pub fn trouble(&self, device: DeviceId, error: String) {
        self.trouble_at(device, error.clone(), error);
    }

    fn trouble_at(&self, device: DeviceId, place: String, error: String) {
        if !self.is_new(device, place) {
            tracing::debug!(%device, error, "device error, at a place that is known to be bad");
            return;
        }
        tracing::warn!(%device, error, "device error");
        self.change(|pending| {
            let trouble = pending.errors.entry(device).or_default();
            trouble.count = trouble.count.saturating_add(1);
            trouble.last = error;
        });
    }

    fn is_new(&self, device: DeviceId, place: String) -> bool {
        let mut places = self.inner.places.lock().expect("nobody panics with the lock");
        // Where as many are bad, the device is about to be FAILED: what is over is counted each time.
        places.len() >= PLACES_MAX || places.insert((device, place))
    }

    /// A unit was written anew: it is a good place now, and counts again should it go bad.
    pub fn mended(&self, device: DeviceId, fid: Fid, unit: u32) {
        let mut places = self.inner.places.lock().expect("nobody panics with the lock");
        places.remove(&(device, unit_place(fid, unit)));
        places.remove(&(device, format!("reading {}", unit_place(fid, unit))));
    }

    /// A device is over. Of one that hung, what comes to light when it wakes says nothing more.
    pub fn failed(&self, device: DeviceId, end: DeviceEnd) {
        let mut hung = self.inner.hung.lock().expect("nobody panics with the lock");
        if end.how == HowEnded::Hangs {
            hung.insert(device);
        } else if end.how == HowEnded::Broke && hung.contains(&device) {
            return tracing::warn!(%device, reason = end.reason, "a device that was given up has ended");
        }
        drop(hung);
        tracing::error!(%device, reason = end.reason, "device is given up");
        self.change(|pending| {
            pending.failed.entry(device).or_insert(end);
        });
    }

    /// No log is kept for a device any longer.
    pub fn lags(&self, device: DeviceId, incarnation: Incarnation, reason: String) {
        tracing::warn!(%device, %incarnation, reason, "a device is to be copied to anew");
        self.change(|pending| {
            pending.lagging.insert(device, (incarnation, reason));
        });
    }

    /// What a client is told of an error of a device; HA hears of it too where it is the device's fault.
    pub fn storage(&self, device: DeviceId, error: &StorageError) -> Refusal {
        if error.is_device_fault() && !matches!(error, StorageError::Failed(_)) {
            let place = match error {
                StorageError::Corrupt { fid, unit, .. } => unit_place(*fid, *unit),
                StorageError::Io { what, .. } => what.clone(),
                other => other.to_string(),
            };
            self.trouble_at(device, place, error.to_string());
        }
        error.refusal(device)
    }

    /// Looks at what is pending, and may take some of it out.
    pub fn with<R>(&self, look: impl FnOnce(&mut Pending) -> R) -> R {
        look(&mut self.inner.pending.lock().expect("nobody panics with the lock"))
    }

    /// Waits until something was put in.
    pub async fn changed(&self) {
        self.inner.bell.notified().await;
    }

    fn change(&self, put: impl FnOnce(&mut Pending)) {
        self.with(put);
        self.inner.bell.notify_one();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use types::{PoolId, SessionId};

    #[test]
    fn a_bad_place_counts_once_however_often_it_is_read_until_it_is_mended() {
        let reports = Reports::default();
        let fid = Fid { group: GroupId { pool: PoolId(1), index: 0 }, session: SessionId(1), counter: 1 };
        let count = || reports.with(|pending| pending.errors.get(&DeviceId(1)).map_or(0, |trouble| trouble.count));
        let corrupt = |unit, chunk| StorageError::Corrupt { fid, unit, chunk };
        let io = StorageError::Io { what: format!("reading unit 1 of {fid}"), reason: "EIO".into() };
        for _ in 0..1000 {
            reports.storage(DeviceId(1), &corrupt(1, 0));
            reports.storage(DeviceId(1), &corrupt(1, 3));
            reports.storage(DeviceId(1), &io);
        }
        assert_eq!(count(), 2, "the unit is bad, and does not read");
        reports.storage(DeviceId(1), &corrupt(2, 0));
        assert_eq!(count(), 3);
        reports.mended(DeviceId(1), fid, 1);
        reports.storage(DeviceId(1), &corrupt(1, 0));
        reports.storage(DeviceId(1), &io);
        reports.storage(DeviceId(1), &corrupt(2, 0));
        assert_eq!(count(), 5);
    }
}
