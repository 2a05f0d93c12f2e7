//! Between the words of `ha-api` and those of `ha-state`, which do not know each other.

use std::collections::BTreeMap;

use ha_api::config::{DeviceConfig, NodeEntry};
use ha_api::{DeviceReport, DeviceTrouble, EventLine};
use ha_state::{Change, DeviceSpec, Event, NodeSpec};
use types::DeviceId;

/// A node that joins, with its devices.
pub fn new_node(node: &NodeEntry, devices: &[DeviceConfig]) -> (NodeSpec, Vec<DeviceSpec>) {
    let device = |d: &DeviceConfig| DeviceSpec { id: d.id, node: node.id, disk_group: d.disk_group, bytes: d.bytes };
    let spec = NodeSpec {
        id: node.id,
        name: node.name.clone(),
        storage_set: node.storage_set,
        rack: node.rack,
        ha_address: node.ha.clone(),
        fabric_address: node.fabric.clone(),
        voter: false,
    };
    (spec, devices.iter().map(device).collect())
}

/// What a process found.
pub fn found(found: ha_api::Found) -> ha_state::Found {
    match found {
        ha_api::Found::Blank => ha_state::Found::Blank,
        ha_api::Found::Formatted { uuid, incarnation } => ha_state::Found::Formatted { uuid, incarnation },
        ha_api::Found::Unusable => ha_state::Found::Unusable,
        ha_api::Found::OtherCluster => ha_state::Found::OtherCluster,
        ha_api::Found::OtherDevice => ha_state::Found::OtherDevice,
        ha_api::Found::Newer => ha_state::Found::Newer,
    }
}

/// What it is to do.
pub fn verdicts(verdicts: BTreeMap<DeviceId, ha_state::Verdict>) -> BTreeMap<DeviceId, ha_api::Verdict> {
    let convert = |verdict| match verdict {
        ha_state::Verdict::Use(incarnation) => ha_api::Verdict::Use(incarnation),
        ha_state::Verdict::Format(incarnation) => ha_api::Verdict::Format(incarnation),
        ha_state::Verdict::Refuse(why) => ha_api::Verdict::Refuse(why),
    };
    verdicts.into_iter().map(|(id, verdict)| (id, convert(verdict))).collect()
}

/// The change that a report on a device asks for.
pub fn device_change(report: DeviceReport) -> Change {
    let DeviceReport { device, incarnation, trouble, error } = report;
    match trouble {
        DeviceTrouble::Errors { count, report } => Change::DeviceError { device, incarnation, count, error, report },
        DeviceTrouble::Ended => Change::DeviceFailed { device, incarnation, ended: true, reason: error },
        // Its process may use it still: its primaries step down first.
        DeviceTrouble::Amnesia => Change::DeviceFailed { device, incarnation, ended: false, reason: error },
        DeviceTrouble::Hangs => Change::DeviceHangs { device, incarnation, reason: error },
        DeviceTrouble::Lags => Change::DeviceLags { device, incarnation, reason: error },
    }
}

/// A line of the history.
pub fn event_line(event: &Event) -> EventLine {
    EventLine {
        index: event.index,
        epoch: event.epoch,
        at: event.at,
        wall_ms: event.wall_ms,
        subject: event.subject.to_string(),
        what: event.what.clone(),
        cause: event.cause.clone(),
    }
}
