//! How a device's scrub is shown.

use ha_api::Status;
use serde_json::{Value, json};
use types::map::Device;
use types::scrub::ScrubProgress;

use crate::output::bytes;
use crate::time::span;

fn of<'a>(status: &'a Status, device: &Device) -> Option<(&'a ScrubProgress, u64)> {
    let usage = status.usage.get(&device.id)?;
    Some((&usage.scrub, usage.units))
}

/// For programs; nothing where the device's process says nothing.
pub fn value(status: &Status, device: &Device) -> Value {
    let Some((scrub, units)) = of(status, device) else { return Value::Null };
    json!({
        "running": scrub.running,
        "begun_ha_time_ms": scrub.begun.0,
        "ended_ha_time_ms": scrub.ended.0,
        "units": scrub.units,
        "units_on_device": units,
        "rows": scrub.rows,
        "bytes": scrub.bytes,
        "damaged": scrub.damaged,
        "repaired": scrub.repaired,
        "rows_damaged": scrub.rows_damaged,
    })
}

/// For people, on one line.
pub fn words(status: &Status, device: &Device) -> String {
    let Some((scrub, units)) = of(status, device) else { return "not known: its process is away".into() };
    let ago = |at: u64| span(status.map.ha_time.0.saturating_sub(at));
    let found = format!(
        "{} units and {} entries of metadata, {} read; {} units damaged, {} repaired; {} entries damaged",
        scrub.units,
        scrub.rows,
        bytes(scrub.bytes),
        scrub.damaged,
        scrub.repaired,
        scrub.rows_damaged
    );
    match scrub {
        ScrubProgress { running: true, .. } => format!("under way for {}: {found} of {units} units", ago(scrub.begun.0)),
        ScrubProgress { ended, .. } if ended.0 > 0 => format!("ended {} ago: {found}", ago(ended.0)),
        _ => "none yet".into(),
    }
}

/// What an operator should see without asking.
pub fn note(status: &Status, device: &Device) -> Option<String> {
    let (scrub, units) = of(status, device)?;
    match (scrub.running, scrub.left()) {
        (true, _) => Some(format!("is scrubbed, {} of {units} units", scrub.units)),
        (false, 1..) => Some(format!("its scrub found {} things that are still damaged", scrub.left())),
        (false, 0) => None,
    }
}
