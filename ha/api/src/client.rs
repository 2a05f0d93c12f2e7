//! The client that everybody speaks to HA with: any daemon will do, and it asks the next one where one does not answer.
//!
//! Every call ends by itself: one attempt at one daemon is bounded, and so is the whole. Every change may be sent twice, so an attempt
//! without an answer is simply made again elsewhere. Reads made after a change through one client see that change.

use std::collections::BTreeMap;
use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use tonic::{Response, Status};
use types::codec::{decode, encode};
use types::load::NodeLoad;
use types::map::{CatalogueKind, ClusterMap};
use types::quota::Quota;
use types::records::{Account, Bucket, RecordChange, RecordDone, Target};
use types::wire::request::Ticket;
use types::{Boot, CatalogueId, ClusterId, DeviceId, Epoch, GroupId, HaTime, Incarnation, NodeId, PoolId, SessionId, ViewNumber};

use crate::config::{DeviceConfig, NodeEntry};
use crate::report::{DeviceReport, EventLine, Found, Grant, RaftStatus, Registered, Verdict};
use crate::tls::Tls;
use crate::{HaError, LEADER_KEY, pb};

mod daemon;
pub mod follow;
mod hedge;

/// Accounts, the quotas of those that have one, and targets of events.
type AccountsAndTargets = (BTreeMap<String, Account>, BTreeMap<String, Quota>, BTreeMap<String, Target>);

pub(crate) use daemon::Service;

use daemon::Daemon;
use follow::Follower;
use hedge::Worth;

/// How long one attempt at one daemon may take.
const ATTEMPT: Duration = Duration::from_millis(2000);
/// How long one attempt at renewing a lease may take: another daemon must have its turn within the lease.
const RENEW_ATTEMPT: Duration = Duration::from_millis(300);
/// How long a renewal may take in all: a later answer is worth nothing.
const RENEW_DEADLINE: Duration = Duration::from_millis(900);
/// With less time left no daemon is asked any more: it could not answer, and its silence would hide what was said before.
const ATTEMPT_MIN: Duration = Duration::from_millis(20);
/// How long a daemon that did not answer comes last.
const SUSPECT: Duration = Duration::from_millis(1000);
/// How long to wait when no daemon could.
const ROUND_PAUSE: Duration = Duration::from_millis(50);
/// How long a daemon has to give the map before the next one is asked too: more than a healthy one takes.
const MAP_DELAY: Duration = Duration::from_millis(100);
/// The same for a change, which a majority has to write down.
const CHANGE_DELAY: Duration = Duration::from_millis(300);
/// How long a daemon has to give the status, for which it waits for a leader, before the next one is asked too.
const STATUS_DELAY: Duration = Duration::from_millis(400);
/// What an attempt needs beside the daemon's waiting for a leader.
const FOR_THE_ANSWER: Duration = Duration::from_millis(600);
/// How a client behaves.
#[derive(Clone, Debug)]
pub struct ClientOptions {
    /// Who, for display.
    pub name: String,
    /// The cluster that the daemons must be of, where it is known.
    pub cluster: Option<ClusterId>,
    /// By what all times are scaled.
    pub factor: f64,
    /// How long a call may take in all.
    pub deadline: Duration,
    /// The certificate that is shown; without, nothing is encrypted.
    pub tls: Option<Tls>,
}

impl Default for ClientOptions {
    fn default() -> Self {
        Self { name: "client".into(), cluster: None, factor: 1.0, deadline: Duration::from_secs(5), tls: None }
    }
}

/// HA, as a process, a client or an operator speaks to it. Cheap to clone.
#[derive(Clone, Debug)]
pub struct HaClient {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    daemons: Vec<Daemon>,
    options: ClientOptions,
    /// The greatest log index in any answer: what is read later is at least of it.
    seen: AtomicU64,
}

/// What one attempt came to.
struct Failure {
    error: HaError,
    leader: Option<String>,
}

impl From<Status> for Failure {
    fn from(status: Status) -> Self {
        let leader = status.metadata().get(LEADER_KEY).and_then(|v| v.to_str().ok()).map(str::to_string);
        Self { error: status.into(), leader }
    }
}

/// What a change of a catalogue came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CatalogueMade {
    /// Its id.
    pub id: CatalogueId,
    /// Whether this call made it. Where an attempt had no answer and the next one found it, it is taken to have been this call.
    pub created: bool,
}

impl HaClient {
    /// A client of the daemons at `addresses` (`host:port`, preferred first). Connects when it is used; to be called within a runtime.
    pub fn connect<A: AsRef<str>>(addresses: &[A]) -> Result<Self, HaError> {
        Self::with_options(addresses, ClientOptions::default())
    }

    /// The same, with options.
    pub fn with_options<A: AsRef<str>>(addresses: &[A], options: ClientOptions) -> Result<Self, HaError> {
        if addresses.is_empty() {
            return Err(HaError::Refused("no address of an HA daemon is given".into()));
        }
        let daemons = addresses.iter().map(|a| Daemon::new(a.as_ref(), &options)).collect::<Result<_, _>>()?;
        Ok(Self { inner: Arc::new(Inner { daemons, options, seen: AtomicU64::new(0) }) })
    }

    /// The addresses it was given.
    pub fn addresses(&self) -> Vec<String> {
        self.inner.daemons.iter().map(|d| d.address.clone()).collect()
    }

    /// The cluster's map, of that epoch at least and never older than what this client has seen or changed. A daemon that is cut off from
    /// the others gives the one that it has: that counts only where no other daemon has a confirmed one.
    pub async fn map(&self, min_epoch: Epoch) -> Result<ClusterMap, HaError> {
        let request = pb::MapRequest { min_epoch: min_epoch.0, min_index: self.seen() };
        let ask = move |mut s: Service| async move { s.get_map(request).await };
        let worth = |reply: &pb::MapReply| if reply.confirmed { Worth::Best } else { Worth::Perhaps(reply.index) };
        let map: ClusterMap = read(&self.hedged(MAP_DELAY, ask, worth).await?.map)?;
        self.saw(map.index);
        Ok(map)
    }

    /// A new session of a native client, with HA time.
    pub async fn open_session(&self) -> Result<Ticket, HaError> {
        let request = pb::OpenSessionRequest { nonce: rand::random(), name: self.inner.options.name.clone() };
        let ask = |mut s: Service| {
            let request = request.clone();
            async move { s.open_session(request).await }
        };
        let reply = self.hedged(CHANGE_DELAY, ask, |_| Worth::Best).await?;
        self.saw(reply.session);
        Ok(ticket(&reply))
    }

    /// Keeps a session for another lease, and gives HA time; [`HaError::NotFound`] where it is closed.
    pub async fn renew_session(&self, session: SessionId) -> Result<Ticket, HaError> {
        let request = pb::SessionRequest { session: session.0 };
        Ok(ticket(&self.call(|mut s| async move { s.renew_session(request).await }).await?))
    }

    /// Ends a session; one that is closed already is no error.
    pub async fn close_session(&self, session: SessionId) -> Result<(), HaError> {
        let request = pb::SessionRequest { session: session.0 };
        self.done(self.call(|mut s| async move { s.close_session(request).await }).await?)
    }

    /// Makes a bucket or an index over `width` groups (0: HA's default) of a replicated pool (`None`: the first).
    pub async fn create_catalogue(
        &self,
        kind: CatalogueKind,
        name: &str,
        width: u32,
        pool: Option<PoolId>,
    ) -> Result<CatalogueMade, HaError> {
        let kind = match kind {
            CatalogueKind::Bucket => pb::CatalogueKind::Bucket,
            CatalogueKind::Index => pb::CatalogueKind::Index,
        };
        let pool = pool.map_or(0, |p| u32::from(p.0));
        let request = pb::CreateCatalogueRequest { kind: kind.into(), name: name.into(), width, pool };
        let unanswered = AtomicU64::new(0);
        let reply = self
            .call(|mut s| {
                let (request, unanswered) = (request.clone(), &unanswered);
                async move {
                    unanswered.fetch_add(1, Ordering::Relaxed);
                    s.create_catalogue(request).await
                }
            })
            .await?;
        self.saw(reply.index);
        Ok(CatalogueMade { id: CatalogueId(reply.id), created: reply.created || unanswered.into_inner() > 1 })
    }

    /// Removes a bucket or an index; one that is gone already is no error. When it returns, no process admits a write of it any more.
    pub async fn drop_catalogue(&self, id: CatalogueId) -> Result<(), HaError> {
        let request = pb::DropCatalogueRequest { id: id.0 };
        self.done(self.call(|mut s| async move { s.drop_catalogue(request).await }).await?)
    }

    /// A change of the global records. When it returns, every process with a lease has taken it in. Where an attempt had no answer and the next
    /// one found the bucket, it is taken to have been this call that made it.
    pub async fn change_record(&self, change: &RecordChange) -> Result<RecordDone, HaError> {
        let request = pb::RecordRequest { change: encode(change) };
        let attempts = AtomicU64::new(0);
        let reply = self
            .call(|mut s| {
                let (request, attempts) = (request.clone(), &attempts);
                async move {
                    attempts.fetch_add(1, Ordering::Relaxed);
                    s.change_record(request).await
                }
            })
            .await?;
        self.saw(reply.index);
        Ok(match read(&reply.done)? {
            RecordDone::Bucket { id, created } => RecordDone::Bucket { id, created: created || attempts.into_inner() > 1 },
            done => done,
        })
    }

    /// Accounts by their names, and the quotas of those that have one.
    pub async fn accounts(&self) -> Result<(BTreeMap<String, Account>, BTreeMap<String, Quota>), HaError> {
        let (accounts, quotas, _) = self.accounts_and_targets().await?;
        Ok((accounts, quotas))
    }

    /// Whom events may be told to, by their names.
    pub async fn targets(&self) -> Result<BTreeMap<String, Target>, HaError> {
        Ok(self.accounts_and_targets().await?.2)
    }

    async fn accounts_and_targets(&self) -> Result<AccountsAndTargets, HaError> {
        read(&self.call(|mut s| async move { s.get_accounts(pb::StatusRequest::default()).await }).await?.body)
    }

    /// What is kept of buckets, by their names.
    pub async fn buckets(&self) -> Result<BTreeMap<String, Bucket>, HaError> {
        read(&self.call(|mut s| async move { s.get_buckets(pb::StatusRequest::default()).await }).await?.body)
    }

    /// A process has started, or has learnt that it was declared lost: it gets a boot, and is told what to do with its devices.
    ///
    /// It has the locks on its devices, so that no other process of this node can be alive.
    pub async fn register(&self, node: NodeId, pid: u32, devices: &[(DeviceId, Found)]) -> Result<Registered, HaError> {
        let request = pb::RegisterRequest { node: node.0.into(), pid, nonce: rand::random(), devices: encode(&devices.to_vec()) };
        let reply = self.call(|mut s| send(request.clone(), async move |r| s.register(r).await)).await?;
        self.saw(reply.index);
        let devices: BTreeMap<DeviceId, Verdict> = read(&reply.devices)?;
        Ok(Registered { boot: Boot(reply.boot), epoch: Epoch(reply.epoch), ha_time: HaTime(reply.ha_time), devices })
    }

    /// Renews the lease of a process, every 200 ms; the caller notes when it called, for that is when the lease begins.
    ///
    /// `confirmed` is the log index that the process has taken in, `load` what it says of itself. [`HaError::OldBoot`]: the process was
    /// declared lost and has to register.
    pub async fn renew(&self, node: NodeId, boot: Boot, pid: u32, confirmed: u64, load: &NodeLoad) -> Result<Grant, HaError> {
        let request = pb::RenewRequest { node: node.0.into(), boot: boot.0, pid, confirmed, load: encode(load) };
        let renew = |mut s: Service| send(request.clone(), async move |r| s.renew(r).await);
        let reply = self.within(RENEW_ATTEMPT, RENEW_DEADLINE, renew).await?;
        Ok(Grant { epoch: Epoch(reply.epoch), ha_time: HaTime(reply.ha_time) })
    }

    /// Groups whose primary, in this process, is active in that view.
    pub async fn report_active(&self, boot: Boot, groups: &[(GroupId, ViewNumber)]) -> Result<(), HaError> {
        let request = pb::ActiveReport { boot: boot.0, groups: encode(&groups.to_vec()) };
        self.done(self.call(|mut s| send(request.clone(), async move |r| s.report_active(r).await)).await?)
    }

    /// The process has everything that it missed; `epoch` is that of its registration.
    pub async fn report_recovered(&self, boot: Boot, epoch: Epoch) -> Result<(), HaError> {
        let request = pb::RecoveredReport { boot: boot.0, epoch: epoch.0 };
        self.done(self.call(|mut s| async move { s.report_recovered(request).await }).await?)
    }

    /// Groups in which nothing of a dropped catalogue is left, as their primaries in this process see in that view.
    pub async fn report_emptied(&self, boot: Boot, emptied: &[(CatalogueId, GroupId, ViewNumber)]) -> Result<(), HaError> {
        let request = pb::EmptiedReport { boot: boot.0, emptied: encode(&emptied.to_vec()) };
        self.done(self.call(|mut s| send(request.clone(), async move |r| s.report_emptied(r).await)).await?)
    }

    /// Learners that are filled, as the active primaries of their groups in this process saw in that view.
    pub async fn report_filled(&self, boot: Boot, filled: &[(GroupId, ViewNumber, DeviceId, Incarnation)]) -> Result<(), HaError> {
        let request = pb::FilledReport { boot: boot.0, filled: encode(&filled.to_vec()) };
        self.done(self.call(|mut s| send(request.clone(), async move |r| s.report_filled(r).await)).await?)
    }

    /// What an operator wants of a device, in that format of it.
    pub async fn ask_device(&self, device: DeviceId, incarnation: Incarnation, wish: pb::DeviceWish) -> Result<(), HaError> {
        let request = pb::DeviceAsk { device: device.0, incarnation: incarnation.0, wish: wish.into() };
        self.done(self.call(|mut s| async move { s.ask_device(request).await }).await?)
    }

    /// Slots that have all their units, in which view, on which device of that process and in which format of it.
    pub async fn report_slots(&self, boot: Boot, filled: &[(GroupId, ViewNumber, u8, DeviceId, Incarnation)]) -> Result<(), HaError> {
        let request = pb::SlotsReport { boot: boot.0, filled: encode(&filled.to_vec()) };
        self.done(self.call(|mut s| send(request.clone(), async move |r| s.report_slots(r).await)).await?)
    }

    /// What an operator wants of the cluster; `ms` where that is a time.
    pub async fn ask_cluster(&self, wish: pb::ClusterWish, ms: u64) -> Result<(), HaError> {
        let request = pb::ClusterAsk { wish: wish.into(), ms };
        self.done(self.call(|mut s| async move { s.ask_cluster(request).await }).await?)
    }

    /// A node joins the cluster with these devices of it; with `dry_run` only whether it would be refused.
    pub async fn add_node(&self, node: &NodeEntry, devices: &[DeviceConfig], dry_run: bool) -> Result<(), HaError> {
        let request = pb::NodeAdd { node: encode(node), devices: encode(&devices.to_vec()), dry_run };
        self.done(self.call(|mut s| send(request.clone(), async move |r| s.add_node(r).await)).await?)
    }

    /// What an operator wants of a node; with `dry_run` only whether it would be refused.
    pub async fn ask_node(&self, node: NodeId, wish: pb::NodeWish, dry_run: bool) -> Result<(), HaError> {
        let request = pb::NodeAsk { node: node.0.into(), wish: wish.into(), dry_run };
        self.done(self.call(|mut s| async move { s.ask_node(request).await }).await?)
    }

    /// Has the daemon of a node make HA anew from what it has, alone. To be asked of that daemon only; gives the generation of the new HA.
    pub async fn recover(&self, node: NodeId) -> Result<u64, HaError> {
        let request = pb::RecoverRequest { node: node.0.into() };
        Ok(self.call(|mut s| async move { s.recover(request).await }).await?.generation)
    }

    /// A device had errors, or has ended.
    pub async fn report_device(&self, report: &DeviceReport) -> Result<(), HaError> {
        let request = pb::DeviceReport { report: encode(report) };
        self.done(self.call(|mut s| send(request.clone(), async move |r| s.report_device(r).await)).await?)
    }

    /// The state of HA after entry `from_index` (0: a snapshot first), then every entry in order, for ever: it goes on through restarts of
    /// daemons and moves to another one where the first is gone.
    pub fn follow(&self, from_index: u64) -> Follower {
        Follower::start(self.clone(), from_index)
    }

    /// The subscriber has taken in the log up to `index`; `boot` where it is a process.
    pub async fn confirm(&self, boot: Option<Boot>, index: u64) -> Result<(), HaError> {
        let request = pb::ConfirmRequest { boot: boot.map_or(0, |b| b.0), index };
        self.within(RENEW_ATTEMPT, RENEW_DEADLINE, |mut s| async move { s.confirm(request).await }).await.map(|_| ())
    }

    /// The cluster's state, with what the leader adds to it. Where no daemon finds a leader it is what one of them has, and says so.
    pub async fn status(&self) -> Result<crate::Status, HaError> {
        let request = pb::StatusRequest { wait_ms: self.wait_ms() };
        let ask = move |mut s: Service| async move { s.get_status(request).await };
        self.best_of(ask, |reply| read(&reply.body), |status: &crate::Status| (status.confirmed, status.map.index)).await
    }

    /// The history after log entry `after_index`, oldest first, the newest `limit` lines of it; and whether a leader was there, else it is what
    /// one daemon has.
    pub async fn events(&self, after_index: u64, limit: u32) -> Result<(Vec<EventLine>, bool), HaError> {
        let request = pb::EventsRequest { after_index, limit, wait_ms: self.wait_ms() };
        let ask = move |mut s: Service| async move { s.get_events(request).await };
        let last = |lines: &Vec<EventLine>| lines.last().map_or(0, |line| line.index);
        let both = |reply: &pb::BytesReply| Ok((read(&reply.body)?, reply.confirmed));
        self.best_of(ask, both, |(lines, confirmed)| (*confirmed, last(lines))).await
    }

    /// How long a daemon may wait for a leader: it has to answer within an attempt.
    fn wait_ms(&self) -> u64 {
        let wait = (ATTEMPT - FOR_THE_ANSWER).min(self.inner.options.deadline / 2).mul_f64(self.inner.options.factor);
        u64::try_from(wait.as_millis()).unwrap_or(u64::MAX)
    }

    /// What a daemon says that has a leader, or else, when a second round would come too late, the newest of what others have.
    async fn best_of<T, Fut>(
        &self,
        ask: impl Fn(Service) -> Fut,
        found: impl Fn(&pb::BytesReply) -> Result<T, HaError>,
        worth: impl Fn(&T) -> (bool, u64),
    ) -> Result<T, HaError>
    where
        Fut: Future<Output = Result<Response<pb::BytesReply>, Status>> + Send + 'static,
    {
        let factor = self.inner.options.factor;
        let until = Instant::now() + self.inner.options.deadline.saturating_sub(ATTEMPT).mul_f64(factor);
        loop {
            let worth_of = |reply: &pb::BytesReply| match found(reply).as_ref().map(&worth) {
                Ok((false, index)) => Worth::Perhaps(index),
                // What cannot be read is the same everywhere.
                Ok((true, _)) | Err(_) => Worth::Best,
            };
            let answer = found(&self.hedged(STATUS_DELAY, &ask, worth_of).await?)?;
            if worth(&answer).0 || Instant::now() >= until {
                return Ok(answer);
            }
            tokio::time::sleep(ROUND_PAUSE.mul_f64(factor)).await;
        }
    }

    /// The Raft group, as the first daemon that answers sees it.
    pub async fn raft_status(&self) -> Result<RaftStatus, HaError> {
        read(&self.call(|mut s| async move { s.get_raft_status(pb::StatusRequest::default()).await }).await?.body)
    }

    fn seen(&self) -> u64 {
        self.inner.seen.load(Ordering::Relaxed)
    }

    fn saw(&self, index: u64) {
        self.inner.seen.fetch_max(index, Ordering::Relaxed);
    }

    fn done(&self, reply: pb::DoneReply) -> Result<(), HaError> {
        self.saw(reply.index);
        Ok(())
    }

    async fn call<T, Fut>(&self, request: impl Fn(Service) -> Fut) -> Result<T, HaError>
    where
        Fut: Future<Output = Result<Response<T>, Status>>,
    {
        self.within(ATTEMPT, self.inner.options.deadline, request).await
    }

    /// Asks one daemon after the other until one answers or the time is over.
    async fn within<T, Fut>(&self, attempt: Duration, deadline: Duration, request: impl Fn(Service) -> Fut) -> Result<T, HaError>
    where
        Fut: Future<Output = Result<Response<T>, Status>>,
    {
        let factor = self.inner.options.factor;
        let end = Instant::now() + deadline.mul_f64(factor);
        let mut unknown = false;
        let mut last = None;
        loop {
            let mut next = self.in_order();
            while let Some(daemon) = next.pop() {
                let left = end.saturating_duration_since(Instant::now()).min(attempt.mul_f64(factor));
                if left.is_zero() || (left < ATTEMPT_MIN.mul_f64(factor) && last.is_some()) {
                    break;
                }
                let failure = match tokio::time::timeout(left, request(daemon.service.clone())).await {
                    Ok(Ok(reply)) => {
                        daemon.suspect(None);
                        return Ok(reply.into_inner());
                    }
                    Ok(Err(status)) => Failure::from(status),
                    Err(_) => Failure { error: HaError::Unknown(format!("{} within {left:?}", daemon.address)), leader: None },
                };
                if !failure.error.is_retryable() {
                    return Err(failure.error);
                }
                unknown |= matches!(failure.error, HaError::Unknown(_));
                daemon.suspect(Some(Instant::now() + SUSPECT.mul_f64(factor)));
                if let Some(at) = failure.leader.and_then(|leader| next.iter().position(|d| d.address == leader)) {
                    let leader = next.remove(at);
                    next.push(leader);
                }
                last = Some(failure.error);
            }
            let left = end.saturating_duration_since(Instant::now());
            if left < ATTEMPT_MIN.mul_f64(factor) {
                let text = match last {
                    Some(HaError::Unavailable(text) | HaError::Unknown(text)) => text,
                    _ => format!("no daemon of {} answers", self.addresses().join(", ")),
                };
                return Err(if unknown { HaError::Unknown(text) } else { HaError::Unavailable(text) });
            }
            tokio::time::sleep(ROUND_PAUSE.mul_f64(factor).min(left)).await;
        }
    }

    /// The daemons, the one to ask first last: those under suspicion come after the others.
    fn in_order(&self) -> Vec<&Daemon> {
        let now = Instant::now();
        let (suspects, mut good): (Vec<&Daemon>, Vec<&Daemon>) = self.inner.daemons.iter().rev().partition(|d| d.is_suspect(now));
        let mut all = suspects;
        all.append(&mut good);
        all
    }
}

/// Moves a request that is not `Copy` into its call.
async fn send<R, T, F>(request: R, call: F) -> Result<Response<T>, Status>
where
    F: AsyncFnOnce(R) -> Result<Response<T>, Status>,
{
    call(request).await
}

fn ticket(reply: &pb::SessionReply) -> Ticket {
    Ticket { session: SessionId(reply.session), at: HaTime(reply.ha_time) }
}

fn read<T: serde::de::DeserializeOwned>(bytes: &[u8]) -> Result<T, HaError> {
    decode(bytes).map_err(|e| HaError::Garbled(e.to_string()))
}
