//! `ha device list`: devices with their states.

use ha_api::Status;
use serde_json::{Value, json};
use types::map::Device;

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
}

/// Columns of [`row`].
pub const HEADING: [&str; 10] = ["DEVICE", "NODE", "DISK GROUP", "STATE", "USED", "FREE", "SIZE", "INCARNATION", "ERRORS", "REASON"];

/// Runs the verb.
pub async fn run(ha: &Ha, format: Format, verb: &Verb) -> Result<(), Failure> {
    let Verb::List { node } = verb;
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
        if status.units_missing.contains(&device.id) {
            toned(format!("{}; units of before it was formatted anew are missing", device.reason), Tone::Warn)
        } else {
            Cell::from(&device.reason)
        },
    ]
}
