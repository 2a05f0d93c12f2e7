//! `ha rebalance status|start|pause|resume`: members and slots that move so that every device has its share.

use ha_api::Status;
use ha_api::pb::ClusterWish;
use serde_json::{Value, json};

use crate::connect::Ha;
use crate::exit::{Exit, Failure};
use crate::output::{Cell, Format, Tone, fields, show, toned};

/// `ha rebalance ...`.
#[derive(clap::Subcommand, Clone, Debug)]
pub enum Verb {
    /// Whether places move, and how many are still to
    Status,
    /// Spread what there is over all devices; a node that joins starts it by itself
    Start,
    /// Move nothing for balance until `resume`
    Pause,
    /// Take `pause` back
    Resume,
}

/// Runs the verb.
pub async fn run(ha: &Ha, format: Format, verb: &Verb) -> Result<(), Failure> {
    let wish = match verb {
        Verb::Status => None,
        Verb::Start => Some(ClusterWish::Rebalance),
        Verb::Pause => Some(ClusterWish::PauseRebalance),
        Verb::Resume => Some(ClusterWish::ResumeRebalance),
    };
    if matches!(verb, Verb::Pause | Verb::Resume) && super::status::ask(ha).await?.rebalance.is_none() {
        let words = "no rebalance goes on; one that begins later (`ha node add`) can be paused then";
        return Err(Failure::new(Exit::Condition, words));
    }
    if let Some(wish) = wish {
        ha.ask(async |client| client.ask_cluster(wish, 0).await).await?;
    }
    let status = super::status::ask(ha).await?;
    show(format, &value(&status), |coloured| page(&status, coloured))
}

fn word(status: &Status) -> (&'static str, Tone) {
    match status.rebalance {
        None => ("idle", Tone::Good),
        Some(rebalance) if rebalance.paused => ("paused", Tone::Warn),
        Some(_) => ("running", Tone::Warn),
    }
}

/// Slots of erasure-coded groups that moved and are being filled.
fn slots_filling(status: &Status) -> usize {
    status.unfilled.values().map(std::collections::BTreeSet::len).sum()
}

/// The rebalance for programs.
pub fn value(status: &Status) -> Value {
    let of = status.rebalance;
    json!({
        "state": word(status).0,
        "to_move": of.and_then(|r| r.to_move),
        "members_filling": of.map(|r| r.filling),
        "slots_filling": of.map(|_| slots_filling(status)),
    })
}

fn page(status: &Status, coloured: bool) -> String {
    let (word, tone) = word(status);
    let or_unknown = |count: Option<usize>| Cell::from(count.map_or_else(|| "-".into(), |count| count.to_string()));
    let of = status.rebalance;
    let rows = [
        ("rebalance", toned(word, tone)),
        ("places to move", or_unknown(of.and_then(|r| r.to_move))),
        ("members being filled", or_unknown(of.map(|r| r.filling))),
        ("slots being filled", or_unknown(of.map(|_| slots_filling(status)))),
    ];
    fields(&rows, coloured)
}
