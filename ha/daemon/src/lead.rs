//! What only the leader does: leases, and deciding what to propose.
//!
//! What is remembered is of one term, [`Term`]; here are its clock, its quorum and its loops. A lease is granted after a quorum has confirmed
//! the leader, a look is taken only where one did so a moment ago.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use ha_state::director::{PlaceRequest, Placers, SubstituteRequest};
use ha_state::lease::Timing;
use ha_state::state::is_live;
use ha_state::term::{NotRenewed, Term};
use ha_state::{Change, Command, LossReason, Outcome};
use layout::place::{Wish, place, substitute};
use serde::{Deserialize, Serialize};
use tokio::sync::{mpsc, oneshot, watch};
use types::load::NodeLoad;
use types::map::{ClusterMap, Node};
use types::wire::request::DeviceUsage;
use types::{Boot, DeviceId, Epoch, HaTime, NodeId, SessionId};

use crate::machine::Machine;
use crate::raft::{AgreeError, Consensus};

/// How often the director looks, before scaling.
const LOOK: Duration = Duration::from_millis(50);
/// Least time between two looks: a burst of entries is looked at once.
const LOOK_PAUSE: Duration = Duration::from_millis(5);
/// How long a proposal of the director may take, before scaling.
const PROPOSAL: Duration = Duration::from_millis(1000);
/// How long a quorum may take to confirm the leader, before scaling.
const CONFIRM: Duration = Duration::from_millis(150);
/// With less than one part in so many free a device is nearly full, which an operator is told.
pub const NEARLY_FULL_SHARE: u64 = 10;
/// A device with less than one part in so many free takes over no member of a group.
const SPARE_SHARE: u64 = 20;
/// Renewals that wait for one confirmation.
const ASKS_MAX: usize = 4096;

/// What daemons ask the leader.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Ask {
    /// Renew the lease of a process, which has taken in the log up to `confirmed`.
    Renew {
        /// Its node.
        node: NodeId,
        /// Which start of it.
        boot: Boot,
        /// Index.
        confirmed: u64,
        /// What it says of itself.
        load: Box<NodeLoad>,
    },
    /// A process has taken in the log up to there.
    Confirm {
        /// Which start of it.
        boot: Boot,
        /// Index.
        index: u64,
    },
    /// Renew a client's session.
    Session(SessionId),
    /// Up to which index must be applied for a read?
    ReadIndex,
}

/// What the leader answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Told {
    /// The epoch of the leader's state.
    pub epoch: Epoch,
    /// The leader's HA time.
    pub ha_time: HaTime,
    /// The last entry that the leader has applied.
    pub index: u64,
}

/// Why the leader does not.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Denied {
    /// It does not lead, or no quorum has confirmed it: ask again.
    NotLeader(Option<NodeId>),
    /// The boot is over.
    OldBoot(Boot),
    /// The session is closed.
    NoSession(SessionId),
}

/// What only a leader knows, for operators.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct LeaderView {
    /// Index confirmed by each process.
    pub confirmed: BTreeMap<Boot, u64>,
    /// How long ago each lease was renewed, in milliseconds.
    pub lease_age_ms: BTreeMap<Boot, u64>,
    /// How full each device is, as its live process says.
    pub usage: BTreeMap<DeviceId, DeviceUsage>,
    /// What each live process is asked, as it says.
    pub load: BTreeMap<Boot, NodeLoad>,
    /// What the director says, and which devices are nearly full.
    pub warnings: Vec<String>,
    /// Members and slots that a rebalance still has to move.
    pub to_move: Option<usize>,
}

type Waiting = (Ask, oneshot::Sender<Result<Told, Denied>>);

/// The leader's part of a daemon; idle where another one leads.
pub struct Lead {
    machine: Machine,
    group: Arc<dyn Consensus>,
    timing: Timing,
    factor: f64,
    /// All monotonic times count from here.
    origin: Instant,
    term: Mutex<Option<Term>>,
    /// How full devices are. An entry a device of the cluster at most; what it says is of no consequence.
    usage: Mutex<BTreeMap<DeviceId, DeviceUsage>>,
    /// What processes are asked, likewise: the newest start of each node.
    load: Mutex<BTreeMap<NodeId, (Boot, NodeLoad)>>,
    /// Told whenever a process has confirmed how far it has taken the log in.
    confirmations: watch::Sender<()>,
    asks: mpsc::Sender<Waiting>,
}

impl std::fmt::Debug for Lead {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Lead").field("timing", &self.timing).finish_non_exhaustive()
    }
}

/// This machine's wall clock in milliseconds since 1970, for display.
pub fn wall_ms() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |d| u64::try_from(d.as_millis()).unwrap_or(u64::MAX))
}

impl Lead {
    /// The leader's part; its two loops are [`Lead::grant_leases`] and [`Lead::direct`].
    pub fn new(machine: Machine, group: Arc<dyn Consensus>, factor: f64) -> (Arc<Self>, mpsc::Receiver<Waiting>) {
        let (asks, waiting) = mpsc::channel(ASKS_MAX);
        let (timing, origin) = (Timing::scaled(factor), Instant::now());
        let (term, confirmations) = (Mutex::new(None), watch::Sender::new(()));
        let (usage, load) = (Mutex::default(), Mutex::default());
        (Arc::new(Self { machine, group, timing, factor, origin, term, usage, load, confirmations, asks }), waiting)
    }

    fn now(&self) -> Duration {
        self.origin.elapsed()
    }

    fn term(&self) -> MutexGuard<'_, Option<Term>> {
        self.term.lock().expect("nobody panics with the lock")
    }

    /// Takes note of where this daemon stands; whether it leads.
    fn follow_standing(&self, term: &mut Option<Term>) -> bool {
        let standing = self.group.standing();
        if !standing.leads {
            *term = None;
        } else if term.as_ref().is_none_or(|t| t.number() != standing.term) {
            let elected = self.now();
            tracing::info!(term = standing.term, "this daemon leads");
            *term = Some(self.machine.read(|state| Term::begin(standing.term, self.timing, state, elected)));
        }
        term.is_some()
    }

    fn ha_time(&self, term: &Term) -> HaTime {
        self.machine.read(|state| term.ha_time(state, self.now()))
    }

    /// Has a change agreed on, stamped with this leader's epoch and time.
    pub async fn agree(&self, change: Change, within: Duration) -> Result<(u64, Outcome), AgreeError> {
        let command = {
            let mut guard = self.term();
            if !self.follow_standing(&mut guard) {
                return Err(AgreeError::NotLeader(self.group.standing().leader));
            }
            let term = guard.as_mut().expect("it leads");
            if let Change::ProcessLost { boot, reason: LossReason::Ended | LossReason::Stopped, .. } = &change {
                term.note_ended(*boot);
            }
            let (at, epoch) = (self.ha_time(term), self.machine.read(|state| state.epoch()));
            Command { epoch, at, wall_ms: wall_ms(), change }
        };
        self.group.agree(&command, within).await
    }

    /// Answers another daemon, or this one.
    pub async fn ask(&self, ask: Ask) -> Result<Told, Denied> {
        let standing = self.group.standing();
        if !standing.leads {
            return Err(Denied::NotLeader(standing.leader));
        }
        if let Ask::Confirm { boot, index } = ask {
            let mut guard = self.term();
            self.follow_standing(&mut guard);
            return self.answer(guard.as_mut(), &Ask::Confirm { boot, index });
        }
        let (tell, told) = oneshot::channel();
        self.asks.send((ask, tell)).await.map_err(|_| Denied::NotLeader(None))?;
        told.await.unwrap_or(Err(Denied::NotLeader(None)))
    }

    /// The loop that answers what needs a quorum's word: whatever waits is answered after one confirmation that began after it had come.
    pub async fn grant_leases(self: Arc<Self>, mut waiting: mpsc::Receiver<Waiting>) {
        let mut round = Vec::new();
        while waiting.recv_many(&mut round, ASKS_MAX).await > 0 {
            let confirmed = self.group.confirm(CONFIRM.mul_f64(self.factor)).await;
            let mut guard = self.term();
            let leads = confirmed.is_ok() && self.follow_standing(&mut guard);
            for (ask, tell) in round.drain(..) {
                let answer = if leads { self.answer(guard.as_mut(), &ask) } else { Err(Denied::NotLeader(self.group.standing().leader)) };
                // Who does not wait any more has asked elsewhere.
                drop(tell.send(answer));
            }
        }
    }

    fn answer(&self, term: Option<&mut Term>, ask: &Ask) -> Result<Told, Denied> {
        let Some(term) = term else { return Err(Denied::NotLeader(None)) };
        let now = self.now();
        let (mut epoch, index) = self.machine.read(|state| (state.epoch(), state.index()));
        match *ask {
            Ask::Renew { node, boot, confirmed, ref load } => {
                match self.machine.read(|state| term.renew(state, node, boot, confirmed, now)) {
                    Ok(granted_on) => {
                        epoch = granted_on;
                        self.note_load(node, boot, load);
                        self.confirmations.send_replace(());
                    }
                    Err(NotRenewed::OldBoot) => return Err(Denied::OldBoot(boot)),
                    Err(NotRenewed::Condemned) => return Err(Denied::NotLeader(None)),
                }
            }
            Ask::Confirm { boot, index } => {
                term.note_confirmed(boot, index);
                self.confirmations.send_replace(());
            }
            Ask::Session(session) => {
                if !self.machine.read(|state| term.renew_session(state, session, now)) {
                    return Err(Denied::NoSession(session));
                }
            }
            Ask::ReadIndex => {}
        }
        Ok(Told { epoch, ha_time: self.ha_time(term), index })
    }

    /// Takes note of what a process says of itself; what is no device of its node is left out.
    fn note_load(&self, node: NodeId, boot: Boot, load: &NodeLoad) {
        let said = &load.devices;
        let kept = NodeLoad { devices: Vec::new(), ..load.clone() };
        self.load.lock().expect("nobody panics with the lock").insert(node, (boot, kept));
        let mut usage = self.usage.lock().expect("nobody panics with the lock");
        self.machine.read(|state| {
            let has = |id: &DeviceId| state.map().devices.get(id).is_some_and(|device| device.node == node);
            usage.extend(said.iter().filter(|said| has(&said.device)).map(|said| (said.device, said.clone())));
        });
    }

    /// How full the devices of live processes are.
    fn usage(&self) -> BTreeMap<DeviceId, DeviceUsage> {
        let usage = self.usage.lock().expect("nobody panics with the lock");
        self.machine.read(|state| {
            let serves = |id: &DeviceId| state.map().devices.get(id).is_some_and(|device| device.state.is_writable());
            usage.iter().filter(|(id, _)| serves(id)).map(|(id, said)| (*id, said.clone())).collect()
        })
    }

    /// What live processes are asked.
    fn load(&self) -> BTreeMap<Boot, NodeLoad> {
        let load = self.load.lock().expect("nobody panics with the lock");
        let is_this = |node: &NodeId, boot: Boot| {
            self.machine.read(|state| state.map().nodes.get(node).is_some_and(|node| node.boot == boot && is_live(node)))
        };
        load.iter().filter(|(node, (boot, _))| is_this(node, *boot)).map(|(_, (boot, load))| (*boot, load.clone())).collect()
    }

    /// Devices that are nearly full, in words.
    fn nearly_full(&self, usage: &BTreeMap<DeviceId, DeviceUsage>) -> Vec<String> {
        let full = usage.values().filter(|said| said.bytes > 0 && said.free < said.bytes / NEARLY_FULL_SHARE);
        self.machine.read(|state| {
            let name = |id| state.map().node_of(id).map_or_else(String::new, |node| format!(" of {}", node.name));
            full.map(|said| {
                let percent = said.bytes.saturating_sub(said.free).saturating_mul(100) / said.bytes;
                format!("{}{} is {percent} % full: delete something or add devices", said.device, name(said.device))
            })
            .collect()
        })
    }

    /// The loop that decides what to propose: with every entry applied, and often enough to see leases end.
    pub async fn direct(self: Arc<Self>) {
        let mut applied = self.machine.index();
        let mut warned = Vec::new();
        loop {
            for command in self.look(&mut warned) {
                let change = format!("{:?}", command.change);
                let change = change.get(..200).unwrap_or(&change);
                match self.group.agree(&command, PROPOSAL.mul_f64(self.factor)).await {
                    Ok((index, Ok(done))) => tracing::info!(index, change, ?done, "decided"),
                    Ok((index, Err(why))) => tracing::info!(index, change, %why, "decided too late"),
                    Err(error) => {
                        tracing::warn!(change, %error, "not agreed on");
                        break;
                    }
                }
            }
            tokio::time::sleep(LOOK_PAUSE).await;
            // Whichever comes first; a closed channel means that the daemon ends, and this loop with it.
            let _ = tokio::time::timeout(LOOK.mul_f64(self.factor), applied.changed()).await;
        }
    }

    /// One look at state and observations.
    fn look(&self, warned: &mut Vec<String>) -> Vec<Command> {
        let mut guard = self.term();
        if !self.follow_standing(&mut guard) || !self.group.standing().confirmed {
            return Vec::new();
        }
        let term = guard.as_mut().expect("it leads");
        let usage = self.usage();
        let chosen = |map: &ClusterMap, request: &SubstituteRequest<'_>| choose_substitute(map, request, &usage);
        let place = Placers { groups: &place_groups, substitute: &chosen };
        let commands = self.machine.read(|state| term.look(state, self.now(), wall_ms(), place));
        for warning in term.warnings().iter().filter(|w| !warned.contains(w)) {
            tracing::warn!("{warning}");
        }
        *warned = term.warnings().to_vec();
        commands
    }

    /// Waits until every process that may serve has taken in the log up to `index`, and no longer than that; gives the name of one that has not.
    pub async fn late(&self, index: u64, within: Duration) -> Result<Option<String>, Denied> {
        let (mut confirmations, mut applied) = (self.confirmations.subscribe(), self.machine.index());
        let end = tokio::time::sleep(within);
        tokio::pin!(end);
        loop {
            confirmations.mark_unchanged();
            applied.mark_unchanged();
            let standing = self.group.standing();
            if !standing.confirmed {
                return Err(Denied::NotLeader(standing.leader));
            }
            let late = self.late_now(index);
            if late.is_none() {
                return Ok(None);
            }
            // A closed channel means that the daemon ends.
            tokio::select! {
                _ = confirmations.changed() => {}
                _ = applied.changed() => {}
                () = &mut end => return Ok(late),
            }
        }
    }

    fn late_now(&self, index: u64) -> Option<String> {
        if self.machine.applied() < index {
            return Some("the leader".into());
        }
        let guard = self.term();
        let Some(term) = guard.as_ref() else { return Some("the leader".into()) };
        let has = |node: &Node| term.confirmed().get(&node.boot).is_some_and(|confirmed| *confirmed >= index);
        self.machine.read(|state| state.map().nodes.values().find(|node| is_live(node) && !has(node)).map(|node| node.name.clone()))
    }

    /// For operators.
    pub fn view(&self) -> Option<LeaderView> {
        let guard = self.term();
        let term = guard.as_ref()?;
        let now = self.now();
        let age = |at: &Duration| u64::try_from(now.saturating_sub(*at).as_millis()).unwrap_or(u64::MAX);
        let usage = self.usage();
        let warnings = term.warnings().iter().cloned().chain(self.nearly_full(&usage)).collect();
        Some(LeaderView {
            confirmed: term.confirmed().clone(),
            lease_age_ms: term.renewed().iter().map(|(boot, at)| (*boot, age(at))).collect(),
            usage,
            load: self.load(),
            warnings,
            to_move: term.to_move(),
        })
    }
}

/// The groups of a pool, by `layout`.
fn place_groups(map: &ClusterMap, request: &PlaceRequest) -> Result<Vec<Vec<Option<DeviceId>>>, String> {
    place(map, request.pool, Wish { groups: request.groups, avoid_node: request.avoid_node, grow: request.grow }).map_err(|e| e.to_string())
}

/// Who takes a member's place, by `layout`: of those that have room, as far as that is known.
fn choose_substitute(map: &ClusterMap, request: &SubstituteRequest<'_>, usage: &BTreeMap<DeviceId, DeviceUsage>) -> Option<DeviceId> {
    let is_full = |said: &&DeviceUsage| said.free < said.bytes / SPARE_SHARE;
    let not = usage.values().filter(is_full).map(|said| said.device).chain(request.not.iter().copied()).collect();
    substitute(map, request.group, request.out, &not)
}
