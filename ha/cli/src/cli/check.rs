//! `ha check stop NODE`: whether the cluster serves on without a node, and if not, what would not.

use ha_api::Status;
use serde_json::{Value, json};
use types::map::Node;

use crate::connect::Ha;
use crate::exit::{Exit, Failure};
use crate::health::without;
use crate::output::{Format, show};

/// `ha check ...`.
#[derive(clap::Subcommand, Clone, Debug)]
pub enum Verb {
    /// Whether a node may be stopped now: exit code 0 if so, else 4 and the reasons
    Stop {
        /// Its name or id, as `node-1`
        node: String,
    },
}

/// Runs the verb.
pub async fn run(ha: &Ha, format: Format, verb: &Verb) -> Result<(), Failure> {
    let Verb::Stop { node: name } = verb;
    let status = super::status::ask(ha).await?;
    let node = super::node::find(&status, name)?;
    let reasons = reasons(&status, node);
    let shown = value(&status, node);
    show(format, &shown, |_| match reasons.as_slice() {
        [] => format!("{} may be stopped: everything is served without it", node.name),
        some => format!("{} is needed:\n  {}", node.name, some.join("\n  ")),
    })?;
    match reasons.len() {
        0 => Ok(()),
        count => Err(Failure::new(Exit::Condition, format!("{} is needed: {count} reasons", node.name))),
    }
}

fn reasons(status: &Status, node: &Node) -> Vec<String> {
    let mut reasons = without::reasons(status, node);
    if !status.confirmed {
        reasons.push("no leader of HA answers: what is known may be old".into());
    }
    reasons
}

/// Whether a node may be stopped, for programs.
pub fn value(status: &Status, node: &Node) -> Value {
    let reasons = reasons(status, node);
    json!({ "node": node.name, "safe": reasons.is_empty(), "reasons": reasons })
}
