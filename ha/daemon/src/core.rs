//! What the services of a daemon share: the applied state, the Raft group, the way to the leader.
//!
//! Any daemon takes any request; what only the leader can do is passed on to it, again and again until there is one or the time is over.
//! Every command may be proposed twice, so an attempt without an answer is made again.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use ha_api::HaError;
use ha_api::pb::{DoneReply, PeerCall};
use ha_state::{Change, Command, Done, Outcome, Refused};
use tokio::sync::watch;
use types::codec::{decode, encode};
use types::{Epoch, HaTime, NodeId};

use crate::lead::{Ask, Denied, Lead, LeaderView, Told};
use crate::machine::Machine;
use crate::peer::Peers;
use crate::raft::{AgreeError, Consensus, Group};

/// How long a change may take, before scaling: less than a client's attempt.
const CHANGE: Duration = Duration::from_millis(1800);
/// How long one attempt at a change may take at another daemon, before scaling: that one may hang.
const CHANGE_ATTEMPT: Duration = Duration::from_millis(800);
/// How long a renewal may take, before scaling: less than a client's attempt.
const ASK: Duration = Duration::from_millis(280);
/// How long to wait for another leader before the one that is known is asked again, before scaling.
pub const RETRY: Duration = Duration::from_millis(100);
/// How long the leader waits for processes to take the log in before it says who has not, before scaling.
const LATE: Duration = Duration::from_millis(300);
/// How long a daemon may be without word of a leader before its subscribers should look elsewhere, before scaling.
const OUT_OF_TOUCH: Duration = Duration::from_millis(2000);
/// How long to wait where nobody leads.
const PAUSE: Duration = Duration::from_millis(10);
/// How long the local state may lag behind what was agreed on, before scaling.
const LAG: Duration = Duration::from_millis(500);

/// The shared part of a daemon.
pub struct Core {
    /// The state as applied here.
    pub machine: Machine,
    /// The Raft group.
    pub group: Group,
    /// The leader's part.
    pub lead: Arc<Lead>,
    /// The other daemons.
    pub peers: Arc<Peers>,
    /// By what times are scaled.
    pub factor: f64,
    /// Addresses of daemons as this one is configured: what counts until the cluster is created.
    configured: BTreeMap<NodeId, String>,
    /// Daemons that answered when last asked.
    pub reachable: Mutex<BTreeSet<NodeId>>,
    /// When a leader was last heard of.
    heard: Mutex<Instant>,
    /// The generation of the HA that this daemon is to make anew; 0 where it is not to.
    pub recovery: watch::Sender<u64>,
}

impl std::fmt::Debug for Core {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Core").field("identity", &self.peers.identity).finish_non_exhaustive()
    }
}

/// A change that was agreed on.
#[derive(Clone, Debug)]
pub struct Changed {
    /// Its index.
    pub index: u64,
    /// What it gave.
    pub done: Done,
    /// An attempt before it had no answer, and may have been the one that did it.
    pub repeated: bool,
}

impl Core {
    /// Puts the parts together.
    pub fn new(
        machine: Machine,
        group: Group,
        lead: Arc<Lead>,
        peers: Arc<Peers>,
        configured: BTreeMap<NodeId, String>,
        factor: f64,
    ) -> Arc<Self> {
        let (reachable, heard) = (Mutex::default(), Mutex::new(Instant::now()));
        let recovery = watch::Sender::new(0);
        Arc::new(Self { machine, group, lead, peers, factor, configured, reachable, heard, recovery })
    }

    /// Addresses of all daemons: as the cluster says, once it is created.
    pub fn addresses(&self) -> BTreeMap<NodeId, String> {
        self.machine.read(|state| match state.topology() {
            Some(topology) => topology.nodes.iter().map(|node| (node.id, node.ha_address.clone())).collect(),
            None => self.configured.clone(),
        })
    }

    /// This daemon's node.
    pub fn node(&self) -> NodeId {
        self.peers.identity.node
    }

    /// A leader has written to this daemon.
    pub fn hears_leader(&self) {
        *self.heard.lock().expect("nobody panics with the lock") = Instant::now();
    }

    /// Whether what is applied here is close to what is committed, as far as can be known.
    pub fn in_touch(&self) -> bool {
        let standing = self.group.standing();
        let heard = self.heard.lock().expect("nobody panics with the lock").elapsed();
        standing.confirmed || (!standing.leads && heard < OUT_OF_TOUCH.mul_f64(self.factor))
    }

    /// Has a change agreed on, wherever the leader is, and applied here.
    pub async fn change(&self, change: Change) -> Result<Changed, HaError> {
        let end = Instant::now() + CHANGE.mul_f64(self.factor);
        let mut unanswered = None;
        loop {
            let left = end.saturating_duration_since(Instant::now());
            let standing = self.group.standing();
            if left.is_zero() {
                return Err(match unanswered {
                    Some(why) => HaError::Unknown(why),
                    None => HaError::Unavailable(self.nobody_leads(standing.leader)),
                });
            }
            let attempt = match standing.leader {
                _ if standing.leads => self.lead.agree(change.clone(), left).await,
                Some(leader) => self.forward(leader, &change, left.min(CHANGE_ATTEMPT.mul_f64(self.factor))).await,
                None => Err(AgreeError::NotLeader(None)),
            };
            match attempt {
                Ok((index, Ok(done))) => {
                    self.machine.reaches(index, LAG.mul_f64(self.factor)).await;
                    return Ok(Changed { index, done, repeated: unanswered.is_some() });
                }
                Ok((_, Err(refused))) => return Err(refusal(refused)),
                Err(AgreeError::NotLeader(_)) => {}
                Err(error @ AgreeError::TooLarge(_)) => return Err(HaError::Refused(error.to_string())),
                Err(error) => unanswered = Some(error.to_string()),
            }
            tokio::time::sleep(PAUSE).await;
        }
    }

    async fn forward(&self, leader: NodeId, change: &Change, within: Duration) -> Result<(u64, Outcome), AgreeError> {
        let command = Command { epoch: Epoch(0), at: HaTime(0), wall_ms: 0, change: change.clone() };
        match self.peers.call(leader, PeerCall::Propose, command.encode(), within).await {
            Ok(bytes) => decode(&bytes).unwrap_or_else(|e| Err(AgreeError::Ended(e.to_string()))),
            Err(HaError::Unknown(why)) => Err(AgreeError::Ended(why)),
            // Not sent, or refused as a whole: nothing has happened.
            Err(_) => Err(AgreeError::NotLeader(None)),
        }
    }

    /// Whether a change would be refused, by the state as it is here.
    pub fn would(&self, change: Change) -> Result<DoneReply, HaError> {
        let mut state = self.machine.read(Clone::clone);
        let (index, at) = (state.index(), state.ha_time());
        let command = Command { epoch: state.epoch(), at, wall_ms: 0, change };
        state.apply(index + 1, &command).map(|_| DoneReply { index }).map_err(refusal)
    }

    /// Asks the leader, wherever it is.
    pub async fn ask(&self, ask: Ask) -> Result<Told, HaError> {
        let end = Instant::now() + ASK.mul_f64(self.factor);
        let mut hint = None;
        loop {
            let left = end.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Err(HaError::Unavailable(self.nobody_leads(hint)));
            }
            let standing = self.group.standing();
            hint = standing.leader;
            let answer = match standing.leader {
                _ if standing.leads => tokio::time::timeout(left, self.lead.ask(ask.clone())).await.unwrap_or(Err(Denied::NotLeader(None))),
                Some(leader) => match self.peers.call(leader, PeerCall::Ask, encode(&ask), left).await {
                    Ok(bytes) => decode(&bytes).unwrap_or(Err(Denied::NotLeader(None))),
                    Err(_) => Err(Denied::NotLeader(None)),
                },
                None => Err(Denied::NotLeader(None)),
            };
            match answer {
                Ok(told) => return Ok(told),
                Err(Denied::OldBoot(boot)) => return Err(HaError::OldBoot(Refused::OldBoot { boot }.to_string())),
                Err(Denied::NoSession(session)) => return Err(HaError::NotFound(Refused::NoSession(session).to_string())),
                Err(Denied::NotLeader(_)) => tokio::time::sleep(PAUSE).await,
            }
        }
    }

    /// Waits until the state here has all that was committed before the call; whether that is so.
    pub async fn catch_up(&self) -> bool {
        match self.ask(Ask::ReadIndex).await {
            Ok(told) => self.machine.reaches(told.index, LAG.mul_f64(self.factor)).await,
            Err(_) => false,
        }
    }

    /// Waits until every process that may serve has taken in the log up to `index`: none acts on what was before any more. A process that
    /// does not is lost with its lease, and then not waited for.
    pub async fn taken_in_by_all(&self, index: u64) -> Result<(), HaError> {
        let end = Instant::now() + CHANGE.mul_f64(self.factor);
        loop {
            let mut standings = self.group.standings();
            standings.mark_unchanged();
            let standing = self.group.standing();
            let answer = match standing.leader {
                _ if standing.leads => self.late(index).await,
                Some(leader) => self.ask_late(leader, index).await,
                None => Err(Denied::NotLeader(None)),
            };
            let missing = match &answer {
                Ok(None) => return Ok(()),
                Ok(Some(name)) => format!("{name} has not taken in entry {index} of HA's log yet"),
                Err(_) => self.nobody_leads(standing.leader),
            };
            let left = end.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Err(HaError::Unavailable(missing));
            }
            if answer.is_err() {
                // Until somebody leads, or another one does. What the leader lacks does not show here.
                drop(tokio::time::timeout(left.min(RETRY.mul_f64(self.factor)), standings.changed()).await);
            }
        }
    }

    /// Who has not taken in the log up to `index`, where this daemon leads; waits a moment for nobody to be left.
    pub async fn late(&self, index: u64) -> Result<Option<String>, Denied> {
        self.lead.late(index, LATE.mul_f64(self.factor)).await
    }

    async fn ask_late(&self, leader: NodeId, index: u64) -> Result<Option<String>, Denied> {
        let within = (LATE + ASK).mul_f64(self.factor);
        let answer = self.peers.call(leader, PeerCall::Late, encode(&index), within).await;
        answer.ok().and_then(|bytes| decode(&bytes).ok()).unwrap_or(Err(Denied::NotLeader(None)))
    }

    /// What only the leader knows, where it answers.
    pub async fn leader_view(&self) -> Option<LeaderView> {
        let standing = self.group.standing();
        if standing.leads {
            return if standing.confirmed { self.lead.view() } else { None };
        }
        let bytes = self.peers.call(standing.leader?, PeerCall::LeaderView, Vec::new(), ASK.mul_f64(self.factor)).await.ok()?;
        decode::<Option<LeaderView>>(&bytes).ok()?
    }

    fn nobody_leads(&self, leader: Option<NodeId>) -> String {
        match leader {
            Some(leader) => format!("{} cannot reach {leader}, which leads", self.node()),
            None => format!("{} knows of no leader: is a majority of the HA daemons up?", self.node()),
        }
    }
}

/// A refusal as who asked is told it.
fn refusal(refused: Refused) -> HaError {
    let text = refused.to_string();
    match refused {
        Refused::OldBoot { .. } => HaError::OldBoot(text),
        Refused::NoCatalogue(_) | Refused::NoSession(_) | Refused::NoAccount(_) => HaError::NotFound(text),
        // The cluster is just being made.
        Refused::NotCreated | Refused::NoGroups => HaError::Unavailable(text),
        // It may have ended, which is seen soon.
        Refused::Usurped { .. } => HaError::Unavailable(text),
        _ => HaError::Refused(text),
    }
}
