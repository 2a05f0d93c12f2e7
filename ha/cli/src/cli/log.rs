//! `ha log`: the Raft group, as each HA daemon sees it.

use std::collections::BTreeMap;

use ha_api::{RaftStatus, Status};
use serde_json::{Value, json};
use tokio::task::JoinSet;
use types::NodeId;
use types::map::Node;

use crate::connect::Ha;
use crate::exit::{Exit, Failure};
use crate::output::{Cell, Format, Tone, show, table, toned};

/// `ha log`.
#[derive(clap::Args, Clone, Debug)]
pub struct Args {}

/// Runs the verb.
pub async fn run(ha: &Ha, format: Format, _: &Args) -> Result<(), Failure> {
    let status = super::status::ask(ha).await?;
    let asked = ask_all(ha, &status).await?;
    let all: Vec<Value> = asked.iter().map(|(node, raft)| value(node, raft)).collect();
    show(format, &json!(all), |coloured| {
        let rows: Vec<Vec<Cell>> = asked.iter().map(|(node, raft)| row(node, raft)).collect();
        table(&["NODE", "RAFT", "TERM", "LEADER", "LAST", "APPLIED", "SNAPSHOT", "PURGED", "VOTERS"], &rows, coloured)
    })
}

/// Asks every daemon by itself, all at once.
pub async fn ask_all<'a>(ha: &Ha, status: &'a Status) -> Result<Vec<(&'a Node, Result<RaftStatus, Failure>)>, Failure> {
    let mut answers = BTreeMap::new();
    let mut asking = JoinSet::new();
    for node in status.map.nodes.values() {
        let (id, one) = (node.id, ha.only(&node.ha_address));
        asking.spawn(async move {
            match one {
                Ok(one) => (id, one.ask(async |client| client.raft_status().await).await),
                Err(failure) => (id, Err(failure)),
            }
        });
    }
    while let Some(answer) = asking.join_next().await {
        let (id, raft) = answer.map_err(|e| Failure::new(Exit::Failure, e.to_string()))?;
        answers.insert(id, raft);
    }
    Ok(status.map.nodes.values().filter_map(|node| Some((node, answers.remove(&node.id)?))).collect())
}

fn names(nodes: &[NodeId]) -> Vec<String> {
    nodes.iter().map(ToString::to_string).collect()
}

/// What one says, for programs.
pub fn value(node: &Node, raft: &Result<RaftStatus, Failure>) -> Value {
    match raft {
        Ok(r) => json!({
            "node": node.name,
            "reachable": true,
            "state": r.state,
            "term": r.term,
            "leader": r.leader.map(|l| l.to_string()),
            "millis_since_quorum_ack": r.millis_since_quorum_ack,
            "last_log_index": r.last_log_index,
            "last_log_term": r.last_log_term,
            "generation": r.generation,
            "applied_index": r.applied_index,
            "snapshot_index": r.snapshot_index,
            "purged_index": r.purged_index,
            "voters": names(&r.voters),
            "learners": names(&r.learners),
            "replicated": r.replicated.iter().map(|(id, index)| (id.to_string(), json!(index))).collect::<serde_json::Map<_, _>>(),
            "store": format!("{:032x}", r.store),
            "store_opened": r.incarnation,
        }),
        Err(failure) => json!({ "node": node.name, "reachable": false, "error": failure.message }),
    }
}

fn row(node: &Node, raft: &Result<RaftStatus, Failure>) -> Vec<Cell> {
    match raft {
        Ok(r) => vec![
            Cell::from(&node.name),
            toned(&r.state, if r.state == "Candidate" { Tone::Warn } else { Tone::Good }),
            Cell::from(r.term),
            Cell::from(r.leader.map_or_else(|| "none".to_string(), |l| l.to_string())),
            Cell::from(r.last_log_index),
            Cell::from(r.applied_index),
            Cell::from(r.snapshot_index),
            Cell::from(r.purged_index),
            Cell::from(names(&r.voters).join(" ")),
        ],
        Err(_) => vec![Cell::from(&node.name), toned("no answer", Tone::Bad)],
    }
}
