//! `ha process list`: storage processes with their leases and how far they have taken in HA's log.

use serde_json::{Value, json};

use crate::connect::Ha;
use crate::exit::Failure;
use crate::output::{Cell, Format, show, state, table};
use crate::time::span;

/// `ha process ...`.
#[derive(clap::Subcommand, Clone, Debug)]
pub enum Verb {
    /// All storage processes
    List,
}

/// Runs the verb.
pub async fn run(ha: &Ha, format: Format, verb: &Verb) -> Result<(), Failure> {
    let Verb::List = verb;
    let status = super::status::ask(ha).await?;
    let with_extra = || status.map.nodes.values().map(|n| (n, status.nodes.get(&n.id).cloned().unwrap_or_default()));
    let all: Vec<Value> = with_extra()
        .map(|(n, extra)| {
            json!({
                "node": n.name,
                "state": n.state.to_string(),
                "boot": n.boot.0,
                "pid": extra.pid,
                "since_ha_time_ms": extra.since.0,
                "since_unix_ms": extra.since_wall_ms,
                "lease_age_ms": extra.lease_age_ms,
                "confirmed_index": extra.confirmed_index,
                "index": status.map.index,
                "address": n.fabric_address,
                "reason": extra.reason,
            })
        })
        .collect();
    show(format, &json!(all), |coloured| {
        let or_none = |n: Option<u64>| n.map_or_else(|| "none".to_string(), |n| n.to_string());
        let rows: Vec<Vec<Cell>> = with_extra()
            .map(|(n, extra)| {
                vec![
                    Cell::from(&n.name),
                    state(n.state),
                    Cell::from(n.boot),
                    Cell::from(extra.pid),
                    Cell::from(span(status.wall_ms.saturating_sub(extra.since_wall_ms))),
                    Cell::from(or_none(extra.lease_age_ms)),
                    Cell::from(or_none(extra.confirmed_index)),
                    Cell::from(&n.fabric_address),
                    Cell::from(extra.reason),
                ]
            })
            .collect();
        table(&["NODE", "STATE", "BOOT", "PID", "SINCE", "LEASE AGE MS", "CONFIRMED", "ADDRESS", "REASON"], &rows, coloured)
    })
}
