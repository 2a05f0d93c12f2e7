//! `ha node replace NODE`: new hardware takes a node's place, under its name, with blank disks. HA does it step by step, whoever asks or leads;
//! the command asks for it, and says how far it is.

use std::io::Write;
use std::time::{Duration, Instant};

use ha_api::pb::NodeWish;
use ha_api::{ReplacementStep, Status};
use serde_json::{Value, json};
use types::NodeId;
use types::map::Node;
use types::state::ProcessState;

use super::find;
use crate::cli::status::ask;
use crate::connect::Ha;
use crate::exit::{Exit, Failure};
use crate::health::without;
use crate::output::{Format, show};

/// How often a command that waits looks.
const LOOK: Duration = Duration::from_millis(500);

/// `ha node replace`.
#[derive(clap::Args, Clone, Debug)]
pub struct Args {
    /// Its name or id, as `node-1`
    pub node: String,
    /// Say whether it may be replaced now, and change nothing
    #[arg(long)]
    pub dry_run: bool,
    /// Even where something would not be served while it is away
    #[arg(long)]
    pub force: bool,
    /// Wait so long until nothing is missing on it, and say each step
    #[arg(long, default_value_t = 0, value_name = "SECONDS", value_parser = clap::value_parser!(u64).range(0..=86_400))]
    pub wait: u64,
}

/// Runs the verb.
pub async fn run(ha: &Ha, format: Format, args: &Args) -> Result<(), Failure> {
    let status = ask(ha).await?;
    let node = find(&status, &args.node)?;
    let (id, name, goes_on) = (node.id, node.name.clone(), status.replacing.contains_key(&node.id));
    let serves = matches!(node.state, ProcessState::Online | ProcessState::Recovering);
    if !goes_on && serves && !args.force {
        let reasons = without::reasons(&status, node);
        if let Some(reason) = reasons.first() {
            let words = format!("{name} is needed: {reason} (`ha check stop {name}` says all of it; --force goes on)");
            return Err(Failure::new(Exit::Condition, words));
        }
    }
    if !goes_on {
        ha.ask(async |client| client.ask_node(id, NodeWish::Replace, args.dry_run).await).await?;
    }
    if args.dry_run {
        let words = if goes_on { format!("{name} is being replaced already") } else { plan(&status, node) };
        return show(format, &json!({ "node": name, "replacing": goes_on, "dry_run": true }), |_| words);
    }
    let status = if args.wait > 0 { wait(ha, format, id, Duration::from_secs(args.wait)).await? } else { ask(ha).await? };
    show(format, &value(&status, id, &name), |_| words(&status, id, &name))
}

/// What would be done.
fn plan(status: &Status, node: &Node) -> String {
    let name = &node.name;
    let devices: Vec<String> = status.map.devices.values().filter(|d| d.node == node.id).map(|d| d.id.to_string()).collect();
    let stop = if node.state == ProcessState::Transient { "" } else { "its primaries would leave it, and you would stop it; then " };
    let votes = if node.voter { "its HA daemon would lose its vote, " } else { "" };
    format!(
        "{name} may be replaced: {stop}{votes}what is on {} would count as lost, and new hardware of that name would be filled",
        devices.join(", ")
    )
}

/// Waits until it is done; says each step on standard error.
async fn wait(ha: &Ha, format: Format, id: NodeId, within: Duration) -> Result<Status, Failure> {
    let (end, mut said) = (Instant::now() + within, String::new());
    loop {
        match ask(ha).await {
            Ok(status) => {
                let Some(going) = status.replacing.get(&id) else { return Ok(status) };
                let now = format!("{}: {}", going.step.word(), going.lacks);
                if format == Format::Text && now != said {
                    // A closed standard error is no reason to give up.
                    drop(writeln!(std::io::stderr(), "{now}"));
                    said.clone_from(&now);
                }
                if Instant::now() >= end {
                    let words = format!("not done within {} s, {now}; it goes on, and the same command waits again", within.as_secs());
                    return Err(Failure::new(Exit::Unavailable, words));
                }
            }
            // Whoever leads next goes on with it.
            Err(failure) if failure.exit == Exit::Unavailable && Instant::now() < end => {}
            Err(failure) => return Err(failure),
        }
        tokio::time::sleep(LOOK).await;
    }
}

/// The replacement for programs; `null` of a node that is not being replaced.
pub fn value_of(status: &Status, id: NodeId) -> Value {
    status.replacing.get(&id).map_or(Value::Null, |going| json!({ "step": going.step.word(), "lacks": going.lacks, "ms": going.for_ms }))
}

fn value(status: &Status, id: NodeId, name: &str) -> Value {
    json!({ "node": name, "replacing": status.replacing.contains_key(&id), "step": value_of(status, id), "dry_run": false })
}

fn words(status: &Status, id: NodeId, name: &str) -> String {
    match status.replacing.get(&id) {
        None => format!("{name} is replaced: nothing is missing on it"),
        Some(going) => {
            let next = match going.step {
                ReplacementStep::Leaving => format!("; `ha node keep {name}` takes it back until then"),
                _ => String::new(),
            };
            format!("{name} is being replaced ({}): {}{next}", going.step.word(), going.lacks)
        }
    }
}
