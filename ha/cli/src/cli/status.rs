//! `ha status`: the cluster on one page.

use std::time::Duration;

use ha_api::Status;
use serde_json::{Value, json};

use crate::cli::report;
use crate::connect::Ha;
use crate::exit::{Exit, Failure};
use crate::health;
use crate::output::{Cell, Format, Tone, coloured, fields, show, table, toned};
use crate::time::span;

/// `ha status`.
#[derive(clap::Args, Clone, Debug)]
pub struct Args {
    /// Show it again every second, until interrupted
    #[arg(long)]
    pub watch: bool,
}

/// How often `--watch` asks.
const WATCH: Duration = Duration::from_secs(1);

/// Runs the verb.
pub async fn run(ha: &Ha, format: Format, args: &Args) -> Result<(), Failure> {
    if !args.watch {
        let status = ask(ha).await?;
        return show(format, &value(&status), |coloured| text(&status, coloured));
    }
    let mut every = tokio::time::interval(WATCH);
    loop {
        every.tick().await;
        match ask(ha).await {
            Ok(status) => {
                // A terminal shows the page in place; a file gets one after the other.
                let clear = if format == Format::Text && coloured() { "\x1b[H\x1b[2J" } else { "" };
                show(format, &value(&status), |coloured| format!("{clear}{}\n", text(&status, coloured)))?;
            }
            Err(failure) if failure.exit == Exit::Unavailable => report(&failure, format),
            Err(failure) => return Err(failure),
        }
    }
}

/// The status that HA gives.
pub async fn ask(ha: &Ha) -> Result<Status, Failure> {
    ha.ask(async |client| client.status().await).await
}

fn leader(status: &Status) -> String {
    let name = |id| status.map.nodes.get(&id).map_or_else(|| id.to_string(), |n| n.name.clone());
    status.leader.map_or_else(|| "none".into(), name)
}

/// All of it for programs.
pub fn value(status: &Status) -> Value {
    let map = &status.map;
    let word = health::of_cluster(map, &status.unfilled);
    let pools: Vec<Value> = map.pools.values().map(|p| super::pool::value(status, p)).collect();
    json!({
        "cluster": map.cluster.to_string(),
        "health": word,
        "confirmed": status.confirmed,
        "voters_that_answer": daemons(status).0,
        "voters_that_do_not": daemons(status).1,
        "answered_by": status.answered_by.to_string(),
        "leader": status.leader.map(|id| id.to_string()),
        "index": map.index,
        "epoch": map.epoch.0,
        "ha_time_ms": map.ha_time.0,
        "nodes": map.nodes.values().map(|n| super::node::value(status, n)).collect::<Vec<_>>(),
        "devices": map.devices.values().map(|d| super::device::value(status, d)).collect::<Vec<_>>(),
        "pools": pools,
        "catalogues": map.catalogues.len(),
        "catalogues_being_emptied": status.dropped,
        "unix_ms": status.wall_ms,
        "client_sessions": status.client_sessions,
        "device_away_ms": status.device_away_ms,
        "node_away_ms": status.node_away_ms,
        "warnings": status.warnings,
    })
}

/// All of it for people.
pub fn text(status: &Status, coloured: bool) -> String {
    let map = &status.map;
    let word = health::of_cluster(map, &status.unfilled);
    let tone = health::tone_of_cluster(word);
    let mut out = fields(
        &[
            ("cluster", Cell::from(map.cluster)),
            ("health", toned(word, tone)),
            ("HA leader", if status.confirmed { toned(leader(status), Tone::Good) } else { toned(unconfirmed(status), Tone::Bad) }),
            ("epoch", Cell::from(format!("{} (log index {})", map.epoch.0, map.index))),
            ("catalogues", Cell::from(catalogues(status))),
            ("clients", Cell::from(status.client_sessions)),
        ],
        coloured,
    );
    let rows: Vec<Vec<Cell>> = map
        .nodes
        .values()
        .map(|node| {
            let extra = status.nodes.get(&node.id).cloned().unwrap_or_default();
            let devices: Vec<_> = map.devices.values().filter(|d| d.node == node.id).collect();
            let online = devices.iter().filter(|d| d.state.is_readable()).count();
            let tone = if online == devices.len() { Tone::Good } else { Tone::Bad };
            vec![
                Cell::from(&node.name),
                super::node::state_of(status, node),
                Cell::from(span(status.wall_ms.saturating_sub(extra.since_wall_ms))),
                toned(format!("{online} of {}", devices.len()), tone),
                super::node::daemon(node, &extra),
                Cell::from(extra.reason),
            ]
        })
        .collect();
    out.push_str("\n\n");
    out.push_str(&table(&["NODE", "STATE", "SINCE", "DEVICES", "HA", "REASON"], &rows, coloured));
    let rows: Vec<Vec<Cell>> = map.pools.values().map(|p| super::pool::row(status, p)).collect();
    out.push_str("\n\n");
    out.push_str(&table(&super::pool::HEADING, &rows, coloured));
    if !status.away.is_empty() {
        out.push_str("\n\n");
        out.push_str(&table(&super::device::AWAY_HEADING, &super::device::away_rows(status), coloured));
    }
    for warning in &status.warnings {
        out.push_str(&format!("\n\n{}", crate::output::paint(&format!("warning: {warning}"), Tone::Warn, coloured)));
    }
    out
}

fn catalogues(status: &Status) -> String {
    match (status.map.catalogues.len(), status.dropped) {
        (count, 0) => count.to_string(),
        (count, dropped) => format!("{count}, and {dropped} dropped that are being emptied"),
    }
}

fn unconfirmed(status: &Status) -> String {
    let name = status.map.nodes.get(&status.answered_by).map_or_else(|| status.answered_by.to_string(), |node| node.name.clone());
    let (there, silent) = daemons(status);
    let answer = if silent.is_empty() { String::new() } else { format!(" ({} do not answer)", silent.join(", ")) };
    let voters = status.map.nodes.values().filter(|node| node.voter).count();
    format!("no majority: of {voters} voters {} answer{answer}; what {name} last knew is shown, and may be old", there.len())
}

/// The voters whose daemons answer the one that was asked, and those whose do not.
fn daemons(status: &Status) -> (Vec<&str>, Vec<&str>) {
    let answers = |id| status.nodes.get(&id).is_some_and(|node| node.daemon_reachable);
    let voters = status.map.nodes.values().filter(|node| node.voter);
    let (there, silent): (Vec<_>, Vec<_>) = voters.partition(|node| answers(node.id));
    (there.iter().map(|node| node.name.as_str()).collect(), silent.iter().map(|node| node.name.as_str()).collect())
}
