//! `ha node maintenance start|end NODE`: an operator is about to stop a node. Primaries leave it, nothing is given to it and nothing of it is
//! given up, until the operator says that it is over.

use std::time::{Duration, Instant};

use ha_api::Status;
use ha_api::pb::NodeWish;
use serde_json::json;

use super::{find, primaries};
use crate::cli::status::ask;
use crate::connect::Ha;
use crate::exit::{Exit, Failure};
use crate::health::without;
use crate::output::{Format, show};

/// How long primaries may take to leave: the command says how many have not.
const LEAVE: Duration = Duration::from_secs(30);
/// How often that is looked at.
const LOOK: Duration = Duration::from_millis(100);

/// `ha node maintenance ...`.
#[derive(clap::Subcommand, Clone, Debug)]
pub enum Verb {
    /// Before a node is stopped: refused where something would not be served without it; returns when its primaries have left
    Start {
        /// Its name or id, as `node-1`
        node: String,
        /// Even where something would not be served
        #[arg(long)]
        force: bool,
        /// Say what would be, and change nothing
        #[arg(long)]
        dry_run: bool,
    },
    /// When it is back: it is as any other again
    End {
        /// Its name or id, as `node-1`
        node: String,
        /// Say what would be, and change nothing
        #[arg(long)]
        dry_run: bool,
    },
}

/// Runs the verb.
pub async fn run(ha: &Ha, format: Format, verb: &Verb) -> Result<(), Failure> {
    match verb {
        Verb::Start { node, force, dry_run } => start(ha, format, node, *force, *dry_run).await,
        Verb::End { node, dry_run } => {
            let status = ask(ha).await?;
            let (id, name) = named(&status, node)?;
            if !dry_run {
                ha.ask(async |client| client.ask_node(id, NodeWish::EndMaintenance, false).await).await?;
            }
            let would = if *dry_run { "would be" } else { "is" };
            let value = json!({ "node": name, "maintenance": false, "was": status.maintenance.contains_key(&id), "dry_run": dry_run });
            show(format, &value, |_| format!("{name} {would} as any other again"))
        }
    }
}

async fn start(ha: &Ha, format: Format, node: &str, force: bool, dry_run: bool) -> Result<(), Failure> {
    let mut status = ask(ha).await?;
    let (id, name) = named(&status, node)?;
    if !force && !status.maintenance.contains_key(&id) {
        let reasons = without::reasons(&status, find(&status, node)?);
        if let Some(reason) = reasons.first() {
            let words = format!("{name} is needed: {reason} (`ha check stop {name}` says all of it; --force goes on)");
            return Err(Failure::new(Exit::Condition, words));
        }
    }
    if !dry_run {
        ha.ask(async |client| client.ask_node(id, NodeWish::StartMaintenance, false).await).await?;
        let end = Instant::now() + LEAVE;
        while primaries(&status, find(&status, node)?) > 0 && Instant::now() < end {
            tokio::time::sleep(LOOK).await;
            status = ask(ha).await?;
        }
    }
    let left = primaries(&status, find(&status, node)?);
    let value = json!({ "node": name, "maintenance": true, "primaries": left, "dry_run": dry_run });
    show(format, &value, |_| match (dry_run, left) {
        (true, _) => format!("{name} would be in maintenance, and its {left} primaries would leave it"),
        (false, 0) => format!("{name} is in maintenance, and has no primaries: stop it; `ha node maintenance end {name}` when it is back"),
        (false, _) => format!("{name} is in maintenance, and {left} primaries have not left it yet (`ha node show {name}`)"),
    })
}

fn named(status: &Status, node: &str) -> Result<(types::NodeId, String), Failure> {
    let node = find(status, node)?;
    Ok((node.id, node.name.clone()))
}
