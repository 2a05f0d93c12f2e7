//! How far repair is, from what HA and the devices say.

use std::collections::BTreeMap;

use types::DeviceId;
use types::map::{Group, Slots};
use types::scrub::RebuildProgress;
use types::state::DeviceState;

use crate::Status;

/// How far repair is, from what HA and the devices say.
pub struct Repair<'a> {
    /// Whether an operator has paused it.
    pub paused: bool,
    /// Slots that lack units, by their devices.
    pub filling: BTreeMap<DeviceId, (usize, Option<&'a RebuildProgress>)>,
    /// Slots on devices that have failed: they have not moved.
    pub to_move: usize,
    /// Slots on devices that are to be replaced.
    pub to_drain: usize,
    /// Slots that no device fills.
    pub empty: usize,
    /// About, by what a slot holds on the average.
    pub bytes_left: u64,
    /// Of all devices that rebuild, of late.
    pub bytes_per_second: u64,
}

impl<'a> Repair<'a> {
    /// Of that cluster.
    pub fn of(status: &'a Status) -> Self {
        let mut repair = Self {
            paused: status.repair_paused,
            filling: BTreeMap::new(),
            to_move: 0,
            to_drain: 0,
            empty: 0,
            bytes_left: 0,
            bytes_per_second: 0,
        };
        let (mut whole, mut used) = (0_u64, 0_u64);
        for (id, group) in &status.map.groups {
            let Group::Erasure(Slots { slots, .. }) = group else { continue };
            for (slot, device) in (0u8..).zip(slots) {
                let Some(device) = device else {
                    repair.empty += 1;
                    continue;
                };
                let failed = status.map.devices.get(device).is_none_or(|d| d.state == DeviceState::Failed);
                if failed {
                    repair.to_move += 1;
                } else if status.unfilled.get(id).is_some_and(|lacking| lacking.contains(&slot)) {
                    let progress = status.usage.get(device).map(|usage| &usage.rebuild);
                    repair.filling.entry(*device).or_insert((0, progress)).0 += 1;
                } else {
                    repair.to_drain += usize::from(status.leaving.contains(device));
                    whole += 1;
                }
            }
        }
        used += status.usage.values().map(|usage| usage.bytes.saturating_sub(usage.free)).sum::<u64>();
        let lacking = repair.filling.values().map(|(slots, _)| *slots).sum::<usize>() + repair.to_move + repair.to_drain;
        repair.bytes_left = used.checked_div(whole).unwrap_or(0) * lacking as u64;
        repair.bytes_per_second = repair.filling.values().filter_map(|(_, progress)| *progress).map(|p| p.bytes_per_second).sum();
        repair
    }

    /// Slots that lack units.
    pub fn slots(&self) -> usize {
        self.filling.values().map(|(slots, _)| slots).sum()
    }

    /// `idle`, `paused`, `running`, or `no place`: what there is to rebuild finds no device.
    pub fn word(&self) -> &'static str {
        let left = self.slots() + self.to_move + self.to_drain;
        match (self.paused, left, self.slots() + self.to_drain) {
            (_, 0, _) => "idle",
            (true, ..) => "paused",
            (false, _, 0) => "no place",
            (false, ..) => "running",
        }
    }

    /// How long it will take, about.
    pub fn eta_ms(&self) -> Option<u64> {
        (self.bytes_per_second > 0).then(|| self.bytes_left.saturating_mul(1000) / self.bytes_per_second)
    }
}
