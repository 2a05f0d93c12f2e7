//! What a daemon does by itself: see who can be reached, make the group once, let the others follow, create the cluster.
//!
//! The group is made by the first voter, and only when every voter answers and none of them has ever agreed on anything. A store that was
//! wiped meets others that are not fresh, and makes no second group.

pub mod anew;
mod voters;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use futures::future::join_all;
use ha_api::pb::PeerCall;
use ha_state::{Change, Topology};
use serde::{Deserialize, Serialize};
use types::NodeId;
use types::codec::decode;

use crate::core::Core;
use crate::raft::Consensus;

/// How often the others are asked for a sign of life, before scaling.
const PROBE: Duration = Duration::from_millis(100);
/// How long an answer to that may take, before scaling.
const PROBE_ANSWER: Duration = Duration::from_millis(250);
/// How often the leader looks at who should follow.
const LEARNERS: Duration = Duration::from_millis(500);
/// How long adding one may take, before scaling.
const ADD: Duration = Duration::from_millis(1000);

/// What a daemon says of itself when it is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hello {
    /// Nothing was ever voted or agreed on in its store.
    pub fresh: bool,
}

/// Asks all others again and again; stands for election only while a majority of the voters is in sight.
pub async fn probe(core: Arc<Core>, voters: BTreeSet<NodeId>, fresh: bool) {
    let own = core.node();
    // What the configuration says, until the group says more.
    let mut may_make = fresh && voters.first() == Some(&own);
    let mut every = tokio::time::interval(PROBE.mul_f64(core.factor));
    every.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        every.tick().await;
        know_all(&core);
        let answers = ask_all(&core).await;
        let members: BTreeSet<NodeId> = core.group.status().voters.into_iter().collect();
        let voting = if members.is_empty() { &voters } else { &members };
        let seen = voting.iter().filter(|n| **n == own || answers.contains_key(n)).count();
        // Who was left behind by an HA that was made anew elects nobody any more.
        core.group.stand(seen > voting.len() / 2 && *core.peers.superseded().borrow() == 0);
        *core.reachable.lock().expect("nobody panics with the lock") = answers.keys().copied().collect();
        if may_make && members.is_empty() && voters.iter().all(|n| *n == own || answers.contains_key(n)) {
            if let Some((other, _)) = answers.iter().find(|(_, hello)| !hello.fresh) {
                tracing::error!(%other, "this store is new and that of {other} is not: this daemon makes no second group; was it wiped?");
            } else {
                make_group(&core, &voters).await;
            }
            may_make = false;
        }
    }
}

/// Daemons of nodes that joined are known from the moment that this one has applied it, and those of nodes that were removed or replaced are not.
fn know_all(core: &Core) {
    let addresses = core.addresses();
    for (node, address) in &addresses {
        if let Err(error) = core.peers.know(*node, address) {
            tracing::warn!(%node, %error, "no link to the daemon of a node");
        }
    }
    core.peers.keep_only(|node| addresses.contains_key(&node));
    core.machine.read(|state| core.peers.set_former(state.former_stores()));
}

async fn ask_all(core: &Core) -> BTreeMap<NodeId, Hello> {
    let within = PROBE_ANSWER.mul_f64(core.factor);
    let asked = core.peers.others().into_iter().map(|node| async move {
        let bytes = core.peers.call(node, PeerCall::Hello, Vec::new(), within).await.ok()?;
        Some((node, decode(&bytes).ok()?))
    });
    join_all(asked).await.into_iter().flatten().collect()
}

async fn make_group(core: &Core, voters: &BTreeSet<NodeId>) {
    let addresses = core.addresses();
    let with_address = voters.iter().filter_map(|id| Some((*id, addresses.get(id)?.clone()))).collect();
    match core.group.initialize(with_address).await {
        Ok(()) => tracing::info!(?voters, "the group is made"),
        Err(error) => tracing::error!(%error, "the group cannot be made"),
    }
}

/// While this daemon leads: the cluster is created, and every daemon follows.
pub async fn complete(core: Arc<Core>, topology: Topology) {
    let mut every = tokio::time::interval(LEARNERS.min(PROBE.mul_f64(core.factor)));
    every.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        every.tick().await;
        if !core.group.standing().confirmed {
            continue;
        }
        if core.machine.read(|state| state.topology().is_none()) {
            // A leader that has not applied its log yet is told that there is one already.
            match core.lead.agree(Change::Bootstrap(topology.clone()), ADD.mul_f64(core.factor)).await {
                Ok((index, outcome)) => tracing::info!(index, ?outcome, "the cluster is created"),
                Err(error) => tracing::warn!(%error, "the cluster is not created yet"),
            }
        }
        let members = core.group.members();
        let reachable = core.reachable.lock().expect("nobody panics with the lock").clone();
        let goes = |id: &NodeId| core.machine.read(|state| state.is_to_go_out(*id));
        let missing = core.addresses().into_iter().find(|(id, _)| !members.contains(id) && reachable.contains(id) && !goes(id));
        if let Some((id, address)) = missing {
            match core.group.add_learner(id, &address, ADD.mul_f64(core.factor)).await {
                Ok(()) => tracing::info!(node = %id, "follows without a vote"),
                Err(error) => tracing::warn!(node = %id, %error, "does not follow yet"),
            }
        } else {
            voters::look(&core, &reachable).await;
        }
    }
}
