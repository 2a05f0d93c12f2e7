//! `ha device list|show|fail|replace|keep|scrub`: devices with their states, and what an operator wants of them.

mod scrub;

use ha_api::pb::DeviceWish;
use ha_api::{Away, Status};
use serde_json::{Value, json};
use types::map::{Device, Group};
use types::state::DeviceState;

use crate::connect::Ha;
use crate::exit::Failure;
use crate::output::{Cell, Format, Tone, bytes, fields, show, state, table, toned};
use crate::time::span;

/// `ha device ...`.
#[derive(clap::Subcommand, Clone, Debug)]
pub enum Verb {
    /// All devices
    List {
        /// Only those of this node
        #[arg(long, value_name = "NODE")]
        node: Option<String>,
    },
    /// One device, with what goes on with it
    Show {
        /// Its id, as `dev-1`
        device: String,
    },
    /// Read everything on a device now, and repair what is damaged; else that is done once a week
    Scrub {
        /// Its id, as `dev-1`
        #[arg(required_unless_present = "all", conflicts_with = "all")]
        device: Option<String>,
        /// All devices that are not FAILED
        #[arg(long)]
        all: bool,
    },
    /// Give a device up for good: its groups move to others, and units of objects are rebuilt there. Refused where a group needs what is on it
    Fail {
        /// Its id, as `dev-1`
        device: String,
    },
    /// Move a device's groups, and the units of objects on it, to others while it serves
    Replace {
        /// Its id, as `dev-1`
        device: String,
    },
    /// Take `replace` back: what has not moved stays
    Keep {
        /// Its id, as `dev-1`
        device: String,
    },
}

/// Columns of [`row`].
pub const HEADING: [&str; 10] = ["DEVICE", "NODE", "DISK GROUP", "STATE", "USED", "FREE", "SIZE", "INCARNATION", "ERRORS", "REASON"];

/// Columns of [`away_rows`].
pub const AWAY_HEADING: [&str; 5] = ["AWAY", "NODE", "SINCE", "FAILED IN", "REASON"];

/// The same as words of a page.
const HEADING_WORDS: [&str; 10] = ["device", "node", "disk group", "state", "used", "free", "size", "incarnation", "errors", "reason"];

/// Devices that are away, and what becomes of them.
pub fn away_rows(status: &Status) -> Vec<Vec<Cell>> {
    let row = |(id, away): (&types::DeviceId, &Away)| {
        let node = status.map.node_of(*id).map_or_else(|| "-".into(), |node| node.name.clone());
        let reason = status.map.devices.get(id).map_or_else(String::new, |device| device.reason.clone());
        let (time, why) = match (away.fails_in_ms, &away.waits) {
            (Some(ms), _) => (toned(span(ms), Tone::Bad), reason),
            (None, Some(why)) => (Cell::from("-"), why.clone()),
            (None, None) => (Cell::from("-"), reason),
        };
        vec![Cell::from(id), Cell::from(node), Cell::from(span(away.for_ms)), time, Cell::from(why)]
    };
    status.away.iter().map(row).collect()
}

/// Runs the verb.
pub async fn run(ha: &Ha, format: Format, verb: &Verb) -> Result<(), Failure> {
    let node = match verb {
        Verb::List { node } => node,
        Verb::Show { device } => return show_one(ha, format, device).await,
        Verb::Scrub { device: Some(device), .. } => return wish(ha, format, device, DeviceWish::Scrub).await,
        Verb::Scrub { device: None, .. } => return scrub_all(ha, format).await,
        Verb::Fail { device } => return wish(ha, format, device, DeviceWish::Fail).await,
        Verb::Replace { device } => return wish(ha, format, device, DeviceWish::Replace).await,
        Verb::Keep { device } => return wish(ha, format, device, DeviceWish::Keep).await,
    };
    let status = super::status::ask(ha).await?;
    let nodes = &status.map.nodes;
    if let Some(name) = node
        && !nodes.values().any(|n| n.name == *name)
    {
        return Err(Failure::no_such("node", name, nodes.values().map(|n| n.name.clone())));
    }
    let wanted = |d: &&Device| node.as_ref().is_none_or(|name| nodes.get(&d.node).is_some_and(|n| n.name == *name));
    show_some(format, &status, status.map.devices.values().filter(wanted))
}

fn show_some<'a>(format: Format, status: &Status, devices: impl Iterator<Item = &'a Device>) -> Result<(), Failure> {
    let devices: Vec<&Device> = devices.collect();
    let all: Vec<Value> = devices.iter().map(|d| value(status, d)).collect();
    show(format, &json!(all), |coloured| {
        let rows: Vec<Vec<Cell>> = devices.iter().map(|d| row(status, d)).collect();
        table(&HEADING, &rows, coloured)
    })
}

fn find<'a>(status: &'a Status, name: &str) -> Result<&'a Device, Failure> {
    let is_it = |d: &&Device| d.id.to_string() == name || d.id.0.to_string() == name;
    let known = || status.map.devices.values();
    known().find(is_it).ok_or_else(|| Failure::no_such("device", name, known().map(|d| d.id.to_string())))
}

async fn show_one(ha: &Ha, format: Format, name: &str) -> Result<(), Failure> {
    let status = super::status::ask(ha).await?;
    let device = find(&status, name)?;
    show(format, &value(&status, device), |coloured| {
        let mut rows: Vec<(&str, Cell)> = HEADING_WORDS.iter().copied().zip(row(&status, device)).collect();
        rows.push(("scrub", Cell::from(scrub::words(&status, device))));
        match status.away.get(&device.id) {
            Some(Away { fails_in_ms: Some(ms), .. }) => rows.push(("FAILED in", toned(span(*ms), Tone::Bad))),
            Some(Away { waits: Some(why), .. }) => rows.push(("waited for", Cell::from(why))),
            _ => {}
        }
        fields(&rows, coloured)
    })
}

async fn scrub_all(ha: &Ha, format: Format) -> Result<(), Failure> {
    let status = super::status::ask(ha).await?;
    for device in status.map.devices.values().filter(|d| d.state != DeviceState::Failed) {
        ha.ask(async |client| client.ask_device(device.id, device.incarnation, DeviceWish::Scrub).await).await?;
    }
    let status = super::status::ask(ha).await?;
    show_some(format, &status, status.map.devices.values())
}

/// Asks HA for something about one device, and shows how that is then.
async fn wish(ha: &Ha, format: Format, name: &str, wish: DeviceWish) -> Result<(), Failure> {
    let status = super::status::ask(ha).await?;
    let device = find(&status, name)?;
    ha.ask(async |client| client.ask_device(device.id, device.incarnation, wish).await).await?;
    let status = super::status::ask(ha).await?;
    let Some(device) = status.map.devices.get(&device.id) else { return Ok(()) };
    show(format, &value(&status, device), |coloured| table(&HEADING, &[row(&status, device)], coloured))
}

/// Of how many replicated groups a device is a member, and of how many a learner.
fn groups(status: &Status, device: &Device) -> (usize, usize) {
    let views = || status.map.groups.values().filter_map(|group| if let Group::Replicated(view) = group { Some(view) } else { None });
    let members = views().filter(|view| view.members.contains(&device.id)).count();
    (members, views().filter(|view| view.learners.contains(&device.id)).count())
}

/// Of how many erasure-coded groups a device has a slot, and how many of those lack units.
fn slots(status: &Status, device: &Device) -> (usize, usize) {
    let (mut all, mut lack) = (0, 0);
    for (id, group) in &status.map.groups {
        let Group::Erasure(slots) = group else { continue };
        let here = (0u8..).zip(&slots.slots).find(|(_, on)| **on == Some(device.id)).map(|(slot, _)| slot);
        all += usize::from(here.is_some());
        lack += usize::from(here.is_some_and(|slot| status.unfilled.get(id).is_some_and(|lacking| lacking.contains(&slot))));
    }
    (all, lack)
}

/// What goes on with a device, beside its state.
fn notes(status: &Status, device: &Device) -> Vec<String> {
    let ((members, learns), (slots, lack)) = (groups(status, device), slots(status, device));
    let mut notes = Vec::new();
    if status.leaving.contains(&device.id) {
        notes.push(match members + slots {
            0 => "is to be replaced, its groups have moved".into(),
            _ => format!("is to be replaced, {members} groups and {slots} slots to move"),
        });
    } else if device.state == DeviceState::Failed && members + slots > 0 {
        notes.push(format!("{members} groups and {slots} slots to move"));
    }
    if learns > 0 {
        notes.push(format!("is filled with {learns} groups"));
    }
    if lack > 0 {
        notes.push(format!("units of {lack} of its {slots} slots are rebuilt"));
    }
    notes.extend(scrub::note(status, device));
    notes
}

fn node_name(status: &Status, device: &Device) -> String {
    status.map.nodes.get(&device.node).map_or_else(|| device.node.to_string(), |n| n.name.clone())
}

/// A device for programs.
pub fn value(status: &Status, device: &Device) -> Value {
    let usage = status.usage.get(&device.id);
    json!({
        "id": device.id.to_string(),
        "node": node_name(status, device),
        "disk_group": device.disk_group.to_string(),
        "state": device.state.to_string(),
        "bytes": device.bytes,
        "used_bytes": usage.map(|usage| usage.bytes.saturating_sub(usage.free)),
        "free_bytes": usage.map(|usage| usage.free),
        "meta_bytes": usage.map(|usage| usage.meta_bytes),
        "units": usage.map(|usage| usage.units),
        "groups": groups(status, device).0,
        "learns": groups(status, device).1,
        "slots": slots(status, device).0,
        "slots_that_lack_units": slots(status, device).1,
        "leaving": status.leaving.contains(&device.id),
        "units_missing": status.units_missing.contains(&device.id),
        "incarnation": device.incarnation.0,
        "registered_epoch": device.registered.0,
        "errors": status.device_errors.get(&device.id).copied().unwrap_or(0),
        "reason": device.reason,
        "away": status.away.get(&device.id).map(|away| {
            json!({ "ms": away.for_ms, "fails_in_ms": away.fails_in_ms, "waits": away.waits })
        }),
        "scrub": scrub::value(status, device),
    })
}

/// A device for people.
pub fn row(status: &Status, device: &Device) -> Vec<Cell> {
    let errors = status.device_errors.get(&device.id).copied().unwrap_or(0);
    let usage = status.usage.get(&device.id);
    vec![
        Cell::from(device.id),
        Cell::from(node_name(status, device)),
        Cell::from(device.disk_group),
        state(device.state),
        Cell::from(usage.map_or_else(|| "-".into(), |usage| bytes(usage.bytes.saturating_sub(usage.free)))),
        Cell::from(usage.map_or_else(|| "-".into(), |usage| bytes(usage.free))),
        Cell::from(bytes(device.bytes)),
        Cell::from(device.incarnation),
        toned(errors, if errors == 0 { Tone::Plain } else { Tone::Warn }),
        match notes(status, device) {
            none if none.is_empty() => Cell::from(&device.reason),
            notes => toned(format!("{}; {}", device.reason, notes.join("; ")), Tone::Warn),
        },
    ]
}
