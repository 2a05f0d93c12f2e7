//! `ha recover`: a majority of HA's daemons is lost for good, and an operator makes HA anew from what one of those that are left has.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use ha_api::{RaftStatus, Status};
use serde_json::{Value, json};
use tokio::task::JoinSet;
use types::NodeId;
use types::map::Node;

use super::node::find;
use crate::connect::Ha;
use crate::exit::{Exit, Failure};
use crate::output::{Format, show};

/// How long each daemon has to say what it has.
const ANSWER: Duration = Duration::from_secs(2);
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
    /// A node whose HA daemon does not answer, is gone for good, and never starts with what it had; may be given several times
    #[arg(long, value_name = "NODE")]
    lost: Vec<String>,
    /// Say what would be done and lost, and change nothing
    #[arg(long)]
    dry_run: bool,
}

/// What is left of HA.
struct Left<'a> {
    voters: Vec<NodeId>,
    /// Who has something, the one that has most first.
    has: Vec<(&'a Node, RaftStatus)>,
    /// Who answers and has nothing: lost for certain.
    blank: Vec<&'a Node>,
    /// Who does not answer: lost, or only out of reach.
    silent: Vec<&'a Node>,
}

/// Runs the verb.
pub async fn run(ha: &Ha, format: Format, args: &Args) -> Result<(), Failure> {
    let quick = ha.within(ANSWER)?;
    let status = newest(&quick).await?;
    let left = look(&quick, &status).await?;
    let lost = args.lost.iter().map(|name| find(&status, name).map(|node| node.id)).collect::<Result<BTreeSet<_>, _>>()?;
    let best = left.has.first().ok_or_else(nothing)?;
    let chosen = match args.from.as_deref().map(|name| find(&status, name)).transpose()? {
        Some(node) => left.has.iter().find(|(has, raft)| has.id == node.id && place(raft) == place(&best.1)).ok_or_else(|| {
            let words =
                format!("{} has more of HA's log than {}, or that does not answer: say --from {}", best.0.name, node.name, best.0.name);
            Failure::new(Exit::Condition, words)
        })?,
        None => best,
    };
    let plan = Plan { left: &left, chosen: chosen.0, last: chosen.1.last_log_index };
    if args.dry_run {
        return show(format, &plan.value(true), |_| plan.words());
    }
    left.are_lost(&lost)?;
    let one = ha.only(&chosen.0.ha_address)?;
    let generation = one.ask(async |client| client.recover(chosen.0.id).await).await?;
    wait(&one, generation).await?;
    let mut value = plan.value(false);
    value["generation"] = json!(generation);
    let name = &chosen.0.name;
    show(format, &value, |_| format!("HA was made anew from what {name} had, up to entry {}: {name} leads. {}", plan.last, plan.next()))
}

/// How much a daemon has.
fn place(raft: &RaftStatus) -> (u64, u64, u64) {
    (raft.generation, raft.last_log_term, raft.last_log_index)
}

fn nothing() -> Failure {
    Failure::new(Exit::Unavailable, "no HA daemon answers that has anything to make HA from: name one with --server, or start it")
}

/// What the daemon has that has most, of those that the command line names. Each is asked by itself, for nobody of them speaks for the others.
async fn newest(ha: &Ha) -> Result<Status, Failure> {
    let mut asking = JoinSet::new();
    for address in ha.addresses() {
        let one = ha.only(address)?;
        asking.spawn(async move {
            let raft = one.ask(async |client| client.raft_status().await).await.ok()?;
            Some((raft, one))
        });
    }
    let mut answers = Vec::new();
    while let Some(answer) = asking.join_next().await {
        answers.extend(answer.ok().flatten().filter(|(raft, _)| !is_blank(raft)));
    }
    let (_, one) = answers.into_iter().max_by_key(|(raft, _)| place(raft)).ok_or_else(nothing)?;
    super::status::ask(&one).await
}

fn is_blank(raft: &RaftStatus) -> bool {
    raft.last_log_index == 0
}

/// Asks every daemon; refuses where a majority is there.
async fn look<'a>(ha: &Ha, status: &'a Status) -> Result<Left<'a>, Failure> {
    if status.confirmed {
        let words = "a majority of HA's daemons answers, and one leads: there is nothing to recover (`ha status`)";
        return Err(Failure::new(Exit::Condition, words));
    }
    let mut left = Left { voters: Vec::new(), has: Vec::new(), blank: Vec::new(), silent: Vec::new() };
    for (node, raft) in super::log::ask_all(ha, status).await? {
        match raft {
            Ok(raft) if is_blank(&raft) => left.blank.push(node),
            Ok(raft) => left.has.push((node, raft)),
            Err(_) => left.silent.push(node),
        }
    }
    left.has.sort_by_key(|(node, raft)| (std::cmp::Reverse(place(raft)), node.id));
    left.voters = left.has.first().map(|(_, raft)| raft.voters.clone()).unwrap_or_default();
    let there = left.has.iter().filter(|(node, _)| left.voters.contains(&node.id)).count();
    if there > left.voters.len() / 2 {
        let words = format!("{there} of {} voters answer: they elect a leader by themselves, wait for it (`ha log`)", left.voters.len());
        return Err(Failure::new(Exit::Condition, words));
    }
    Ok(left)
}

impl Left<'_> {
    /// Whether somebody answers for it that those who vote and say nothing are lost: they may be a majority that goes on where it cannot be seen.
    fn are_lost(&self, lost: &BTreeSet<NodeId>) -> Result<(), Failure> {
        if let Some((node, _)) = self.has.iter().find(|(node, _)| lost.contains(&node.id)) {
            return Err(Failure::new(Exit::Condition, format!("{} is not lost: it answers, and has what it had", node.name)));
        }
        let open = self.unnamed(lost);
        if open.is_empty() {
            return Ok(());
        }
        let named: Vec<String> = open.iter().map(|name| format!("--lost {name}")).collect();
        let words = format!(
            "{} not answer: start them, for with a majority nothing is lost; where they are gone for good, and never start with what they had, say {}",
            if open.len() == 1 { format!("{} does", open[0]) } else { format!("{} do", open.join(", ")) },
            named.join(" ")
        );
        Err(Failure::new(Exit::Condition, words))
    }

    /// Voters that say nothing and are not said to be lost.
    fn unnamed(&self, lost: &BTreeSet<NodeId>) -> Vec<&str> {
        let open = self.silent.iter().filter(|node| self.voters.contains(&node.id) && !lost.contains(&node.id));
        open.map(|node| node.name.as_str()).collect()
    }
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
    fn names(nodes: &[&Node]) -> Vec<String> {
        nodes.iter().map(|node| node.name.clone()).collect()
    }

    fn next(&self) -> String {
        let others = self.left.has.iter().filter(|(node, _)| node.id != self.chosen.id).count();
        let lost = Self::names(&[self.left.blank.as_slice(), &self.left.silent].concat());
        let mut words = Vec::new();
        if others > 0 {
            words.push(format!("{others} others that answer put their stores aside and follow."));
        }
        if !lost.is_empty() {
            words.push(format!(
                "{}: start each with an empty directory of HA; it follows, and votes again. Never let two of them start with what they had where {} cannot be reached: they would decide by themselves.",
                lost.join(", "),
                self.chosen.name
            ));
        }
        words.join(" ")
    }

    fn words(&self) -> String {
        let there: Vec<String> =
            self.left.has.iter().map(|(node, raft)| format!("{} (entry {})", node.name, raft.last_log_index)).collect();
        let said: String = self.left.unnamed(&BTreeSet::new()).iter().map(|name| format!(" --lost {name}")).collect();
        [
            format!("voters: {}; these answer: {}", self.left.voters.len(), there.join(", ")),
            format!("HA would be made anew by {} alone, from what it has up to entry {}.", self.chosen.name, self.last),
            format!(
                "Lost would be what a majority without {} had agreed on after that: changes of devices, places, buckets and accounts of the last moments, or of as long as {} was cut off. Where members of groups moved since, data written there may be lost.",
                self.chosen.name, self.chosen.name
            ),
            "Bring a majority back instead, if it can be had: nothing is lost then.".into(),
            self.next(),
            format!("To do it: ha recover --from {}{said}", self.chosen.name),
        ]
        .join("\n")
    }

    fn value(&self, dry_run: bool) -> Value {
        json!({
            "from": self.chosen.name,
            "last_log_index": self.last,
            "voters": self.left.voters.iter().map(ToString::to_string).collect::<Vec<_>>(),
            "answer": self.left.has.iter().map(|(node, _)| node.name.clone()).collect::<Vec<_>>(),
            "blank": Self::names(&self.left.blank),
            "silent": Self::names(&self.left.silent),
            "dry_run": dry_run,
        })
    }
}
