//! `ha device list|fail|replace|keep`: devices with their states, and what an operator wants of them.

use ha_api::Status;
use ha_api::pb::DeviceWish;
use serde_json::{Value, json};
use types::map::{Device, Group};
use types::state::DeviceState;

use crate::connect::Ha;
use crate::exit::Failure;
use crate::output::{Cell, Format, Tone, bytes, show, state, table, toned};

/// `ha device ...`.
#[derive(clap::Subcommand, Clone, Debug)]
pub enum Verb {
    /// All devices
    List {
        /// Only those of this node
        #[arg(long, value_name = "NODE")]
        node: Option<String>,
    },
    /// Give a device up for good: its replicated groups move to others. Refused where a group needs what is on it
    Fail {
        /// Its id, as `dev-1`
        device: String,
    },
    /// Move a device's replicated groups to others while it serves; units of objects stay
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

/// Runs the verb.
pub async fn run(ha: &Ha, format: Format, verb: &Verb) -> Result<(), Failure> {
    let node = match verb {
        Verb::List { node } => node,
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
    let devices: Vec<&Device> = status.map.devices.values().filter(wanted).collect();
    let all: Vec<Value> = devices.iter().map(|d| value(&status, d)).collect();
    show(format, &json!(all), |coloured| {
        let rows: Vec<Vec<Cell>> = devices.iter().map(|d| row(&status, d)).collect();
        table(&HEADING, &rows, coloured)
    })
}

/// Asks HA for something about one device, and shows how that is then.
async fn wish(ha: &Ha, format: Format, name: &str, wish: DeviceWish) -> Result<(), Failure> {
    let status = super::status::ask(ha).await?;
    let is_it = |d: &&Device| d.id.to_string() == name || d.id.0.to_string() == name;
    let known = || status.map.devices.values();
    let device = known().find(is_it).ok_or_else(|| Failure::no_such("device", name, known().map(|d| d.id.to_string())))?;
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

/// What goes on with a device, beside its state.
fn notes(status: &Status, device: &Device) -> Vec<String> {
    let (members, learns) = groups(status, device);
    let mut notes = Vec::new();
    if status.leaving.contains(&device.id) {
        notes.push(if members > 0 {
            format!("is to be replaced, {members} groups to move")
        } else {
            "is to be replaced, its groups have moved".into()
        });
    } else if device.state == DeviceState::Failed && members > 0 {
        notes.push(format!("{members} groups to move"));
    }
    if learns > 0 {
        notes.push(format!("is filled with {learns} groups"));
    }
    if status.units_missing.contains(&device.id) {
        notes.push("units of before it was formatted anew are missing".into());
    }
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
        "leaving": status.leaving.contains(&device.id),
        "units_missing": status.units_missing.contains(&device.id),
        "incarnation": device.incarnation.0,
        "registered_epoch": device.registered.0,
        "errors": status.device_errors.get(&device.id).copied().unwrap_or(0),
        "reason": device.reason,
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
