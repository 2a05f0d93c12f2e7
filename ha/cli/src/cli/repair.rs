//! `ha repair status|pause|resume`: units of objects that are rebuilt, because their device failed, is to be replaced, or came back blank.

use std::collections::BTreeMap;

use ha_api::Status;
use ha_api::pb::ClusterWish;
use serde_json::{Value, json};
use types::DeviceId;
use types::map::{Group, Slots};
use types::scrub::RebuildProgress;
use types::state::DeviceState;

use crate::connect::Ha;
use crate::exit::Failure;
use crate::output::{Cell, Format, Tone, bytes, fields, show, table, toned};
use crate::time::span;

/// `ha repair ...`.
#[derive(clap::Subcommand, Clone, Debug)]
pub enum Verb {
    /// What is rebuilt, how fast, and how long it will take
    Status,
    /// Rebuild nothing and move no slot until `resume`
    Pause,
    /// Take `pause` back
    Resume,
}

/// Runs the verb.
pub async fn run(ha: &Ha, format: Format, verb: &Verb) -> Result<(), Failure> {
    let wish = match verb {
        Verb::Status => None,
        Verb::Pause => Some(ClusterWish::PauseRepair),
        Verb::Resume => Some(ClusterWish::ResumeRepair),
    };
    if let Some(wish) = wish {
        ha.ask(async |client| client.ask_cluster(wish, 0).await).await?;
    }
    let status = super::status::ask(ha).await?;
    let repair = Repair::of(&status);
    show(format, &repair.value(), |coloured| repair.page(coloured))
}

/// How far repair is, from what HA and the devices say.
pub struct Repair<'a> {
    paused: bool,
    /// Slots that lack units, by their devices.
    filling: BTreeMap<DeviceId, (usize, Option<&'a RebuildProgress>)>,
    /// Slots on devices that have failed: they have not moved.
    to_move: usize,
    /// Slots on devices that are to be replaced.
    to_drain: usize,
    empty: usize,
    /// About, by what a slot holds on the average.
    bytes_left: u64,
    bytes_per_second: u64,
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

    fn slots(&self) -> usize {
        self.filling.values().map(|(slots, _)| slots).sum()
    }

    fn word(&self) -> (&'static str, Tone) {
        let left = self.slots() + self.to_move + self.to_drain;
        match (self.paused, left, self.slots() + self.to_drain) {
            (_, 0, _) => ("idle", Tone::Good),
            (true, ..) => ("paused", Tone::Warn),
            (false, _, 0) => ("no place", Tone::Bad),
            (false, ..) => ("running", Tone::Warn),
        }
    }

    fn eta_ms(&self) -> Option<u64> {
        (self.bytes_per_second > 0).then(|| self.bytes_left.saturating_mul(1000) / self.bytes_per_second)
    }

    /// It for programs.
    pub fn value(&self) -> Value {
        let device = |(id, (slots, progress)): (&DeviceId, &(usize, Option<&RebuildProgress>))| {
            json!({
                "device": id.to_string(),
                "slots": slots,
                "units": progress.map(|p| p.units),
                "bytes": progress.map(|p| p.bytes),
                "bytes_per_second": progress.map(|p| p.bytes_per_second),
                "waiting": progress.map(|p| p.waiting),
                "incomplete": progress.map(|p| p.lost),
            })
        };
        json!({
            "state": self.word().0,
            "paused": self.paused,
            "slots": self.slots(),
            "slots_to_move": self.to_move,
            "slots_to_drain": self.to_drain,
            "slots_empty": self.empty,
            "bytes_left_about": self.bytes_left,
            "bytes_per_second": self.bytes_per_second,
            "eta_ms": self.eta_ms(),
            "devices": self.filling.iter().map(device).collect::<Vec<_>>(),
        })
    }

    fn page(&self, coloured: bool) -> String {
        let (word, tone) = self.word();
        let rate = match self.eta_ms() {
            Some(eta) => format!("{}/s, about {} left", bytes(self.bytes_per_second), span(eta)),
            None => "-".into(),
        };
        let places = if self.to_move > 0 { Tone::Bad } else { Tone::Plain };
        let rows = [
            ("repair", if self.paused && word == "idle" { toned("idle, and paused", Tone::Warn) } else { toned(word, tone) }),
            ("slots that lack units", Cell::from(self.slots())),
            ("slots on failed devices", toned(self.to_move, places)),
            ("slots on devices to go", Cell::from(self.to_drain)),
            ("empty slots", Cell::from(self.empty)),
            ("left, about", Cell::from(bytes(self.bytes_left))),
            ("rate", Cell::from(rate)),
        ];
        let mut page = fields(&rows, coloured);
        if !self.filling.is_empty() {
            let row = |(id, (slots, progress)): (&DeviceId, &(usize, Option<&RebuildProgress>))| {
                let of = |figure: fn(&RebuildProgress) -> String| Cell::from(progress.map_or_else(|| "-".into(), figure));
                vec![
                    Cell::from(id),
                    Cell::from(slots),
                    of(|p| p.units.to_string()),
                    of(|p| bytes(p.bytes)),
                    of(|p| format!("{}/s", bytes(p.bytes_per_second))),
                    of(|p| p.waiting.to_string()),
                    of(|p| p.lost.to_string()),
                ]
            };
            let rows: Vec<Vec<Cell>> = self.filling.iter().map(row).collect();
            page.push_str("\n\n");
            page.push_str(&table(&["DEVICE", "SLOTS", "UNITS REBUILT", "BYTES", "RATE", "WAITING", "INCOMPLETE"], &rows, coloured));
        }
        page
    }
}
