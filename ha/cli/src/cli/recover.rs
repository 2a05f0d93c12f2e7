//! `ha recover`: a majority of HA's daemons is lost for good, and an operator makes HA anew from what one of those that are left has.

use std::time::{Duration, Instant};

use ha_api::{RaftStatus, Status};
use serde_json::{Value, json};
use types::NodeId;
use types::map::Node;

use super::node::find;
use crate::connect::Ha;
use crate::exit::{Exit, Failure};
use crate::output::{Format, show};

/// How long the new HA may take to have a leader.
const LEADS: Duration = Duration::from_secs(30);
/// How often that is looked at.
const LOOK: Duration = Duration::from_millis(200);

/// `ha recover`.
#[derive(clap::Args, Clone, Debug)]
pub struct Args {
    /// The node whose HA daemon is to be the first of the new HA: the one that has most
    #[arg(long, value_name = "NODE", required_unless_present = "dry_run")]
    from: Option<String>,
    /// Say what would be done and lost, and change nothing
    #[arg(long)]
    dry_run: bool,
}

/// What is left of HA.
struct Left<'a> {
    voters: Vec<NodeId>,
    /// Who answers, the one that has most first.
    answers: Vec<(&'a Node, RaftStatus)>,
    silent: Vec<&'a Node>,
}

/// Runs the verb.
pub async fn run(ha: &Ha, format: Format, args: &Args) -> Result<(), Failure> {
    let status = super::status::ask(ha).await?;
    let left = look(ha, &status).await?;
    let (best, has) = left.answers.first().ok_or_else(|| Failure::new(Exit::Unavailable, "no HA daemon answers"))?;
    let chosen = args.from.as_deref().map(|name| find(&status, name)).transpose()?.unwrap_or(best);
    if chosen.id != best.id && !left.answers.iter().any(|(node, raft)| node.id == chosen.id && place(raft) == place(has)) {
        let words = format!("{} has more of HA's log than {}, or that does not answer: say --from {}", best.name, chosen.name, best.name);
        return Err(Failure::new(Exit::Condition, words));
    }
    let plan = Plan { left: &left, chosen, last: has.last_log_index };
    if args.dry_run {
        return show(format, &plan.value(true), |_| plan.words());
    }
    let generation = ha.only(&chosen.ha_address)?.ask(async |client| client.recover(chosen.id).await).await?;
    wait(&ha.only(&chosen.ha_address)?, generation).await?;
    let mut value = plan.value(false);
    value["generation"] = json!(generation);
    show(format, &value, |_| {
        format!(
            "HA was made anew from what {} had, up to entry {}: {} leads. {}",
            chosen.name,
            has.last_log_index,
            chosen.name,
            plan.next()
        )
    })
}

fn place(raft: &RaftStatus) -> (u64, u64) {
    (raft.last_log_term, raft.last_log_index)
}

/// Asks every daemon; refuses where a majority is there.
async fn look<'a>(ha: &Ha, status: &'a Status) -> Result<Left<'a>, Failure> {
    if status.confirmed {
        let words = "a majority of HA's daemons answers, and one leads: there is nothing to recover (`ha status`)";
        return Err(Failure::new(Exit::Condition, words));
    }
    let (mut answers, mut silent) = (Vec::new(), Vec::new());
    for (node, raft) in super::log::ask_all(ha, status).await? {
        match raft {
            // A blank one has nothing to recover from.
            Ok(raft) if raft.last_log_index > 0 => answers.push((node, raft)),
            _ => silent.push(node),
        }
    }
    answers.sort_by_key(|(node, raft)| (std::cmp::Reverse(place(raft)), node.id));
    let voters = answers.first().map(|(_, raft)| raft.voters.clone()).unwrap_or_default();
    let there = answers.iter().filter(|(node, _)| voters.contains(&node.id)).count();
    if there > voters.len() / 2 {
        let words = format!("{there} of {} voters answer: they elect a leader by themselves, wait for it (`ha log`)", voters.len());
        return Err(Failure::new(Exit::Condition, words));
    }
    Ok(Left { voters, answers, silent })
}

/// Waits until the new HA has a leader.
async fn wait(one: &Ha, generation: u64) -> Result<(), Failure> {
    let end = Instant::now() + LEADS;
    loop {
        let raft = one.ask(async |client| client.raft_status().await).await;
        let leads = matches!(&raft, Ok(raft) if raft.generation >= generation && raft.state == "Leader");
        if leads && matches!(super::status::ask(one).await, Ok(status) if status.confirmed) {
            return Ok(());
        }
        if Instant::now() >= end {
            let words = format!("it was asked to, and does not lead within {} s: its log says why", LEADS.as_secs());
            return Err(Failure::new(Exit::Unavailable, words));
        }
        tokio::time::sleep(LOOK).await;
    }
}

/// What would be done.
struct Plan<'a> {
    left: &'a Left<'a>,
    chosen: &'a Node,
    last: u64,
}

impl Plan<'_> {
    fn silent(&self) -> Vec<&str> {
        self.left.silent.iter().map(|node| node.name.as_str()).collect()
    }

    fn next(&self) -> String {
        let others = self.left.answers.iter().filter(|(node, _)| node.id != self.chosen.id).count();
        let silent = self.silent();
        let mut words = Vec::new();
        if others > 0 {
            words.push(format!("{others} others that answer put their stores aside and follow."));
        }
        if !silent.is_empty() {
            words.push(format!(
                "{}: start each with an empty directory of HA; it follows, and votes again. Never let two of them start with what they had where {} cannot be reached: they would decide by themselves.",
                silent.join(", "),
                self.chosen.name
            ));
        }
        words.join(" ")
    }

    fn words(&self) -> String {
        let there: Vec<String> =
            self.left.answers.iter().map(|(node, raft)| format!("{} (entry {})", node.name, raft.last_log_index)).collect();
        [
            format!("voters: {}; these answer: {}", self.left.voters.len(), there.join(", ")),
            format!("HA would be made anew by {} alone, from what it has up to entry {}.", self.chosen.name, self.last),
            format!(
                "Lost would be what a majority without {} had agreed on after that: changes of devices, places, buckets and accounts of the last moments, or of as long as {} was cut off. Where members of groups moved since, data written there may be lost.",
                self.chosen.name, self.chosen.name
            ),
            "Bring a majority back instead, if it can be had: nothing is lost then.".into(),
            self.next(),
            format!("To do it: ha recover --from {}", self.chosen.name),
        ]
        .join("\n")
    }

    fn value(&self, dry_run: bool) -> Value {
        json!({
            "from": self.chosen.name,
            "last_log_index": self.last,
            "voters": self.left.voters.iter().map(ToString::to_string).collect::<Vec<_>>(),
            "answer": self.left.answers.iter().map(|(node, _)| node.name.clone()).collect::<Vec<_>>(),
            "silent": self.silent(),
            "dry_run": dry_run,
        })
    }
}
