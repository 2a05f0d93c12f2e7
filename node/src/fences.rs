//! How far each device has taken HA's log in, and which views of its erasure-coded groups it has made durable.
//!
//! A driver raises both after its sync; whoever serves waits here for a view or an epoch that it has not reached yet. What is below a
//! durable view is refused for good: a restarted device still refuses it.

use std::collections::HashMap;
use std::sync::RwLock;
use std::time::Duration;

use tokio::sync::watch;
use types::{DeviceId, Epoch, GroupId, ViewNumber};

/// Fences of the devices of one process. The set of devices is fixed at the start.
#[derive(Debug)]
pub struct Fences {
    devices: HashMap<DeviceId, Fence>,
}

#[derive(Debug)]
struct Fence {
    taken_in: watch::Sender<u64>,
    views: RwLock<HashMap<GroupId, ViewNumber>>,
}

impl Fences {
    /// Fences for these devices, which have taken in nothing.
    pub fn new(devices: impl IntoIterator<Item = DeviceId>) -> Self {
        let fence = || Fence { taken_in: watch::Sender::new(0), views: RwLock::default() };
        Self { devices: devices.into_iter().map(|device| (device, fence())).collect() }
    }

    /// Whether the process has the device.
    pub fn has(&self, device: DeviceId) -> bool {
        self.devices.contains_key(&device)
    }

    /// Views of erasure-coded groups that are durable on the device from now on.
    pub fn raise(&self, device: DeviceId, views: &[(GroupId, ViewNumber)]) {
        let Some(fence) = self.devices.get(&device) else { return };
        let mut known = fence.views.write().expect("nobody panics with the lock");
        for (group, view) in views {
            let entry = known.entry(*group).or_default();
            *entry = (*entry).max(*view);
        }
    }

    /// The durable view of an erasure-coded group on the device; 0 where there is none.
    pub fn view(&self, device: DeviceId, group: GroupId) -> ViewNumber {
        let Some(fence) = self.devices.get(&device) else { return ViewNumber(0) };
        fence.views.read().expect("nobody panics with the lock").get(&group).copied().unwrap_or_default()
    }

    /// The device has taken HA's log in up to `index`, with all that follows from it.
    pub fn advance(&self, device: DeviceId, index: u64) {
        if let Some(fence) = self.devices.get(&device) {
            fence.taken_in.send_if_modified(|known| {
                let newer = index > *known;
                *known = index.max(*known);
                newer
            });
        }
    }

    /// How far the device has taken HA's log in.
    pub fn taken_in(&self, device: DeviceId) -> Epoch {
        Epoch(self.devices.get(&device).map_or(0, |fence| *fence.taken_in.borrow()))
    }

    /// How far every device has taken HA's log in.
    pub fn all_taken_in(&self) -> u64 {
        self.devices.values().map(|fence| *fence.taken_in.borrow()).min().unwrap_or(u64::MAX)
    }

    /// The device has failed: it takes nothing in any more, and holds nobody up.
    pub fn retire(&self, device: DeviceId) {
        self.advance(device, u64::MAX);
    }

    /// Waits until the device has taken HA's log in up to `epoch`, for so long at most; whether it has.
    pub async fn reach(&self, device: DeviceId, epoch: Epoch, patience: Duration) -> bool {
        let Some(fence) = self.devices.get(&device) else { return false };
        let mut taken_in = fence.taken_in.subscribe();
        let reached = taken_in.wait_for(|index| *index >= epoch.get());
        matches!(tokio::time::timeout(patience, reached).await, Ok(Ok(_)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use types::PoolId;

    #[tokio::test]
    async fn a_waiter_goes_on_when_the_device_has_taken_the_log_in() {
        let fences = Fences::new([DeviceId(1)]);
        assert!(!fences.reach(DeviceId(1), Epoch(5), Duration::ZERO).await);
        assert!(!fences.reach(DeviceId(2), Epoch(0), Duration::ZERO).await, "not a device of ours");
        let reach = fences.reach(DeviceId(1), Epoch(5), Duration::from_secs(60));
        let (reached, ()) = tokio::join!(reach, async { fences.advance(DeviceId(1), 6) });
        assert!(reached);
        fences.advance(DeviceId(1), 4);
        assert_eq!(fences.taken_in(DeviceId(1)), Epoch(6));
    }

    #[test]
    fn a_fence_never_goes_down() {
        let fences = Fences::new([DeviceId(1)]);
        let group = GroupId { pool: PoolId(2), index: 0 };
        fences.raise(DeviceId(1), &[(group, ViewNumber(9))]);
        fences.raise(DeviceId(1), &[(group, ViewNumber(7))]);
        assert_eq!(fences.view(DeviceId(1), group), ViewNumber(9));
        assert_eq!(fences.view(DeviceId(3), group), ViewNumber(0));
    }
}
