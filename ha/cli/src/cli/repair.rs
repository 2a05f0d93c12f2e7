//! `ha repair status|pause|resume`: units of objects that are rebuilt, because their device failed, is to be replaced, or came back blank.

use ha_api::pb::ClusterWish;
use ha_api::repair::Repair;
use serde_json::{Value, json};
use types::DeviceId;
use types::scrub::RebuildProgress;

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
    show(format, &value(&repair), |coloured| page(&repair, coloured))
}

/// It for programs.
pub fn value(repair: &Repair<'_>) -> Value {
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
        "state": repair.word(),
        "paused": repair.paused,
        "slots": repair.slots(),
        "slots_to_move": repair.to_move,
        "slots_to_drain": repair.to_drain,
        "slots_empty": repair.empty,
        "bytes_left_about": repair.bytes_left,
        "bytes_per_second": repair.bytes_per_second,
        "eta_ms": repair.eta_ms(),
        "devices": repair.filling.iter().map(device).collect::<Vec<_>>(),
    })
}

/// The colour of the word for it.
pub fn tone(word: &str) -> Tone {
    match word {
        "idle" => Tone::Good,
        "no place" => Tone::Bad,
        _ => Tone::Warn,
    }
}

fn page(repair: &Repair<'_>, coloured: bool) -> String {
    let word = repair.word();
    let tone = tone(word);
    let rate = match repair.eta_ms() {
        Some(eta) => format!("{}/s, about {} left", bytes(repair.bytes_per_second), span(eta)),
        None => "-".into(),
    };
    let places = if repair.to_move > 0 { Tone::Bad } else { Tone::Plain };
    let rows = [
        ("repair", if repair.paused && word == "idle" { toned("idle, and paused", Tone::Warn) } else { toned(word, tone) }),
        ("slots that lack units", Cell::from(repair.slots())),
        ("slots on failed devices", toned(repair.to_move, places)),
        ("slots on devices to go", Cell::from(repair.to_drain)),
        ("empty slots", Cell::from(repair.empty)),
        ("left, about", Cell::from(bytes(repair.bytes_left))),
        ("rate", Cell::from(rate)),
    ];
    let mut page = fields(&rows, coloured);
    if !repair.filling.is_empty() {
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
        let rows: Vec<Vec<Cell>> = repair.filling.iter().map(row).collect();
        page.push_str("\n\n");
        page.push_str(&table(&["DEVICE", "SLOTS", "UNITS REBUILT", "BYTES", "RATE", "WAITING", "INCOMPLETE"], &rows, coloured));
    }
    page
}
