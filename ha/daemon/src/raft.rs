//! The Raft group behind a narrow trait of ours, so that the rest of the daemon knows nothing of openraft.
//!
//! What openraft leaves open is closed here: no write and no read waits for ever; a leader that no quorum has confirmed of late does not
//! count as one; who cannot see a majority does not stand for election (0.9 has no pre-vote).

use std::collections::{BTreeMap, BTreeSet};
use std::io::Cursor;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use ha_api::RaftStatus;
use ha_state::{Command, Outcome};
use openraft::error::{ClientWriteError, RaftError};
use openraft::{BasicNode, ChangeMembers, Config, Raft, RaftMetrics, ServerState, SnapshotPolicy};
use serde::{Deserialize, Serialize};
use tokio::sync::watch;
use types::NodeId;

use crate::error::DaemonError;
use crate::machine::Machine;
use crate::peer::{Network, Peers};
use crate::points;
use crate::store::Identity;
use crate::store::log::Log;

/// A command as it lies in the log.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Agreed(#[serde(with = "types::codec::bytes")] pub Vec<u8>);

/// What applying an entry gave; nothing for Raft's own.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Answer(pub Option<Outcome>);

openraft::declare_raft_types!(
    /// The types of our Raft group.
    pub Types:
        D = Agreed,
        R = Answer,
        NodeId = u64,
        Node = BasicNode,
        Entry = openraft::Entry<Types>,
        SnapshotData = Cursor<Vec<u8>>,
        AsyncRuntime = openraft::TokioRuntime,
);

/// Heartbeat, before scaling.
pub const HEARTBEAT: Duration = Duration::from_millis(50);
/// Shortest election timeout, before scaling.
const ELECTION_MIN: Duration = Duration::from_millis(150);
/// Longest election timeout, before scaling.
pub const ELECTION_MAX: Duration = Duration::from_millis(300);
/// How long the whole of a snapshot's piece may take.
const SNAPSHOT_PIECE: Duration = Duration::from_millis(2000);
/// Entries between snapshots.
const SNAPSHOT_ENTRIES: u64 = 5000;
/// Entries kept behind a snapshot, for daemons that lag a little.
const KEPT_ENTRIES: u64 = 1000;
/// Entries in one message, and in one frame of the log: so many of the largest commands fit.
const MESSAGE_ENTRIES_MAX: u64 = 16;
/// Largest command: the first groups of a very large pool.
pub const COMMAND_BYTES_MAX: usize = 12 * 1024 * 1024;
/// Bytes of a snapshot in one message.
const SNAPSHOT_PIECE_BYTES: u64 = 3 * 1024 * 1024;

/// Where this daemon stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Standing {
    /// The term.
    pub term: u64,
    /// The leader that it knows of.
    pub leader: Option<NodeId>,
    /// Whether it leads, as far as it knows.
    pub leads: bool,
    /// Whether, moreover, a quorum has confirmed that within the shortest time in which there could be another leader.
    pub confirmed: bool,
}

/// Why something was not agreed on.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error, Serialize, Deserialize)]
pub enum AgreeError {
    /// Another daemon leads, if that is known; nothing has happened.
    #[error("this daemon does not lead")]
    NotLeader(Option<NodeId>),
    /// No answer in time: it may still be agreed on.
    #[error("no quorum within {0:?}")]
    Timeout(Duration),
    /// Raft has ended.
    #[error("{0}")]
    Ended(String),
    /// The command is too large.
    #[error("a command of {0} bytes; at most {COMMAND_BYTES_MAX}")]
    TooLarge(usize),
}

/// Agreement on commands.
#[async_trait]
pub trait Consensus: Send + Sync {
    /// Has a command agreed on and applied here; gives its index.
    async fn agree(&self, command: &Command, within: Duration) -> Result<(u64, Outcome), AgreeError>;
    /// Has a quorum confirm, after this call began, that this daemon leads; the state is applied up to what was committed before.
    async fn confirm(&self, within: Duration) -> Result<(), AgreeError>;
    /// Where this daemon stands.
    fn standing(&self) -> Standing;
    /// For operators.
    fn status(&self) -> RaftStatus;
}

/// The group, on openraft.
#[derive(Clone)]
pub struct Group {
    raft: Raft<Types>,
    log: Log,
    identity: Identity,
    factor: f64,
}

fn millis(time: Duration, factor: f64) -> u64 {
    u64::try_from(time.mul_f64(factor).as_millis()).unwrap_or(u64::MAX).max(1)
}

impl Group {
    /// Starts the group's member in this daemon. It stands for no election before [`Group::stand`].
    pub async fn start(identity: Identity, log: Log, machine: Machine, peers: Arc<Peers>, factor: f64) -> Result<Self, DaemonError> {
        let config = Config {
            cluster_name: identity.cluster.to_string(),
            heartbeat_interval: millis(HEARTBEAT, factor),
            election_timeout_min: millis(ELECTION_MIN, factor),
            election_timeout_max: millis(ELECTION_MAX, factor),
            install_snapshot_timeout: millis(SNAPSHOT_PIECE, factor),
            max_payload_entries: MESSAGE_ENTRIES_MAX,
            snapshot_policy: SnapshotPolicy::LogsSinceLast(SNAPSHOT_ENTRIES),
            snapshot_max_chunk_size: SNAPSHOT_PIECE_BYTES,
            max_in_snapshot_log_to_keep: KEPT_ENTRIES,
            enable_elect: false,
            ..Config::default()
        };
        let config = config.validate().map_err(|e| DaemonError::Raft(e.to_string()))?;
        let id = u64::from(identity.node.0);
        let raft =
            Raft::new(id, Arc::new(config), Network(peers), log.clone(), machine).await.map_err(|e| DaemonError::Raft(e.to_string()))?;
        Ok(Self { raft, log, identity, factor })
    }

    /// The member, for messages of its peers.
    pub(crate) fn raft(&self) -> &Raft<Types> {
        &self.raft
    }

    /// Whether this daemon stands for election when it hears of no leader.
    pub fn stand(&self, stand: bool) {
        self.raft.runtime_config().elect(stand);
    }

    /// Makes these the first voters of a new group.
    pub async fn initialize(&self, voters: BTreeMap<NodeId, String>) -> Result<(), DaemonError> {
        let voters: BTreeMap<u64, BasicNode> = voters.into_iter().map(|(id, addr)| (u64::from(id.0), BasicNode { addr })).collect();
        self.raft.initialize(voters).await.map_err(|e| DaemonError::Raft(e.to_string()))
    }

    /// Lets a daemon follow that has no vote; nothing where it does already.
    pub async fn add_learner(&self, node: NodeId, address: &str, within: Duration) -> Result<(), AgreeError> {
        let node = u64::from(node.0);
        let added = self.raft.add_learner(node, BasicNode { addr: address.into() }, false);
        match tokio::time::timeout(within, added).await {
            Err(_) => Err(AgreeError::Timeout(within)),
            Ok(Err(RaftError::Fatal(e))) => Err(AgreeError::Ended(e.to_string())),
            Ok(Err(RaftError::APIError(ClientWriteError::ForwardToLeader(f)))) => Err(AgreeError::NotLeader(node_of(f.leader_id))),
            Ok(Err(e)) => Err(AgreeError::Ended(e.to_string())),
            Ok(Ok(_)) => Ok(()),
        }
    }

    /// Has these vote, and no others; those that gave up their vote follow. It is finished where it was broken off.
    pub async fn set_voters(&self, voters: &BTreeSet<NodeId>, within: Duration) -> Result<(), AgreeError> {
        self.change(ChangeMembers::ReplaceAllVoters(voters.iter().map(|id| u64::from(id.0)).collect()), within).await
    }

    /// Nodes without a vote are no members any more.
    pub async fn forget(&self, nodes: &BTreeSet<NodeId>, within: Duration) -> Result<(), AgreeError> {
        self.change(ChangeMembers::RemoveNodes(nodes.iter().map(|id| u64::from(id.0)).collect()), within).await
    }

    async fn change(&self, members: ChangeMembers<u64, BasicNode>, within: Duration) -> Result<(), AgreeError> {
        match tokio::time::timeout(within, self.raft.change_membership(members, true)).await {
            Err(_) => Err(AgreeError::Timeout(within)),
            Ok(Err(RaftError::APIError(ClientWriteError::ForwardToLeader(f)))) => Err(AgreeError::NotLeader(node_of(f.leader_id))),
            Ok(Err(e)) => Err(AgreeError::Ended(e.to_string())),
            Ok(Ok(_)) => Ok(()),
        }
    }

    /// The voters that a change is after which was begun and not finished: until it is, a majority of those before counts, too.
    pub fn half_way_to(&self) -> Option<BTreeSet<NodeId>> {
        let metrics = self.raft.metrics().borrow().clone();
        let configs = metrics.membership_config.membership().get_joint_config();
        let (last, before) = configs.split_last()?;
        (!before.is_empty()).then(|| last.iter().filter_map(|id| node_of(Some(*id))).collect())
    }

    /// Nodes in the group's membership.
    pub fn members(&self) -> Vec<NodeId> {
        let metrics = self.raft.metrics().borrow().clone();
        metrics.membership_config.nodes().filter_map(|(id, _)| node_of(Some(*id))).collect()
    }

    /// Ends when Raft does, with the reason: the daemon must not go on then.
    pub async fn ended(&self) -> String {
        let mut metrics = self.raft.server_metrics();
        let mut data = self.raft.metrics();
        loop {
            let state = data.borrow().running_state.clone();
            if let Err(fatal) = state {
                return fatal.to_string();
            }
            tokio::select! {
                changed = data.changed() => if changed.is_err() { return "it has stopped".into() },
                changed = metrics.changed() => if changed.is_err() { return "it has stopped".into() },
            }
        }
    }

    /// Changes whenever [`Consensus::standing`] may have, and more often.
    pub fn standings(&self) -> watch::Receiver<RaftMetrics<u64, BasicNode>> {
        self.raft.metrics()
    }

    /// Takes a snapshot now; what it replaces in the log goes.
    pub async fn compact(&self) {
        if let Err(e) = self.raft.trigger().snapshot().await {
            tracing::warn!(error = %e, "no snapshot");
        }
    }

    /// Stops the member.
    pub async fn stop(&self) {
        if let Err(e) = self.raft.shutdown().await {
            tracing::warn!(error = %e, "raft did not stop in order");
        }
    }
}

fn node_of(id: Option<u64>) -> Option<NodeId> {
    id.and_then(|id| u16::try_from(id).ok()).map(NodeId)
}

#[async_trait]
impl Consensus for Group {
    async fn agree(&self, command: &Command, within: Duration) -> Result<(u64, Outcome), AgreeError> {
        let bytes = command.encode();
        if bytes.len() > COMMAND_BYTES_MAX {
            return Err(AgreeError::TooLarge(bytes.len()));
        }
        if let Err(injected) = points::BEFORE_PROPOSE.pass_in_task().await {
            return Err(AgreeError::Ended(injected.to_string()));
        }
        let written = self.raft.client_write(Agreed(bytes));
        match tokio::time::timeout(within, written).await {
            Err(_) => Err(AgreeError::Timeout(within)),
            Ok(Err(RaftError::Fatal(e))) => Err(AgreeError::Ended(e.to_string())),
            Ok(Err(RaftError::APIError(ClientWriteError::ForwardToLeader(f)))) => Err(AgreeError::NotLeader(node_of(f.leader_id))),
            Ok(Err(e)) => Err(AgreeError::Ended(e.to_string())),
            Ok(Ok(done)) => {
                let outcome = done.data.outcome().ok_or_else(|| AgreeError::Ended("a command was applied as none".into()))?;
                Ok((done.log_id.index, outcome))
            }
        }
    }

    async fn confirm(&self, within: Duration) -> Result<(), AgreeError> {
        match tokio::time::timeout(within, self.raft.ensure_linearizable()).await {
            Err(_) => Err(AgreeError::Timeout(within)),
            Ok(Ok(_)) => Ok(()),
            Ok(Err(RaftError::Fatal(e))) => Err(AgreeError::Ended(e.to_string())),
            Ok(Err(_)) => Err(AgreeError::NotLeader(self.standing().leader)),
        }
    }

    fn standing(&self) -> Standing {
        // One guard, dropped at once: Raft waits for whoever holds it.
        let (term, leader, leads, since, voters) = {
            let metrics = self.raft.metrics();
            let m = metrics.borrow();
            let voters = m.membership_config.membership().voter_ids().count();
            (m.current_term, node_of(m.current_leader), m.state == ServerState::Leader, m.millis_since_quorum_ack, voters)
        };
        let fresh = voters == 1 || since.is_some_and(|ms| ms <= millis(ELECTION_MIN, self.factor));
        Standing { term, leader, leads, confirmed: leads && fresh }
    }

    fn status(&self) -> RaftStatus {
        let m = self.raft.metrics().borrow().clone();
        let membership = m.membership_config.membership();
        let index = |id: Option<openraft::LogId<u64>>| id.map_or(0, |id| id.index);
        RaftStatus {
            node: self.identity.node,
            state: format!("{:?}", m.state),
            term: m.current_term,
            leader: node_of(m.current_leader),
            millis_since_quorum_ack: m.millis_since_quorum_ack,
            last_log_index: m.last_log_index.unwrap_or(0),
            last_log_term: self.log.last().map_or(0, |id| id.leader_id.term),
            applied_index: index(m.last_applied),
            snapshot_index: index(m.snapshot),
            purged_index: index(m.purged),
            voters: membership.voter_ids().filter_map(|id| node_of(Some(id))).collect(),
            learners: membership.learner_ids().filter_map(|id| node_of(Some(id))).collect(),
            replicated: m
                .replication
                .unwrap_or_default()
                .into_iter()
                .filter_map(|(id, at)| Some((node_of(Some(id))?, index(at))))
                .collect(),
            store: self.identity.store,
            incarnation: self.identity.incarnation,
            generation: self.identity.generation,
        }
    }
}
