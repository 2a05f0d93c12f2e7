//! Requests of processes, clients and operators.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use ha_api::pb::ha_server::Ha;
use ha_api::tls::{Role, permit};
use ha_api::{Found, HaError, LEADER_KEY, pb};
use ha_state::{Change, ClusterWish, DeviceWish, Done, NodeWish, State};
use serde::de::DeserializeOwned;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Response, Status};
use types::codec::{decode, encode};
use types::map::CatalogueKind;
use types::records::{Bucket, BucketDocument, RecordChange, RecordDone};
use types::{Boot, CatalogueId, DeviceId, Epoch, GroupId, Incarnation, NodeId, PoolId, SessionId, ViewNumber};

use super::{check_cluster, convert, follow, recovery, removal, show};
use crate::core::{Changed, Core};
use crate::lead::Ask;
use crate::raft::Consensus;
use crate::watch::{Watch, take_hold};

/// How long a read waits for the state that it asks for, before scaling.
const READ: Duration = Duration::from_millis(1500);

/// The service for everybody but daemons.
#[derive(Debug)]
pub struct HaService {
    core: Arc<Core>,
    watch: Watch,
}

impl HaService {
    /// For that daemon.
    pub fn new(core: Arc<Core>) -> Self {
        Self { core, watch: Watch::default() }
    }

    fn open<T>(&self, request: Request<T>) -> Result<T, Status> {
        check_cluster(self.core.peers.identity.cluster, request.metadata())?;
        Ok(request.into_inner())
    }

    /// The same, for those alone who are that by their certificates.
    fn open_for<T>(&self, roles: &[Role], request: Request<T>) -> Result<T, Status> {
        permit(request.extensions(), roles)?;
        self.open(request)
    }

    async fn change(&self, change: Change) -> Result<Changed, Status> {
        self.core.change(change).await.map_err(|e| self.with_leader(e))
    }

    async fn done(&self, change: Change) -> Result<Response<pb::DoneReply>, Status> {
        Ok(Response::new(pb::DoneReply { index: self.change(change).await?.index }))
    }

    /// Who could not be served here may ask the leader itself.
    fn with_leader(&self, error: HaError) -> Status {
        let retryable = error.is_retryable();
        let mut status = Status::from(error);
        if retryable
            && let Some(address) = self.core.group.standing().leader.and_then(|id| self.core.addresses().remove(&id))
            && let Ok(value) = address.parse()
        {
            status.metadata_mut().insert(LEADER_KEY, value);
        }
        status
    }

    async fn session(&self, session: SessionId) -> Result<Response<pb::SessionReply>, Status> {
        let told = self.core.ask(Ask::Session(session)).await.map_err(|e| self.with_leader(e))?;
        Ok(Response::new(pb::SessionReply { session: session.0, ha_time: told.ha_time.0 }))
    }
}

fn read<T: DeserializeOwned>(body: &[u8]) -> Result<T, Status> {
    decode(body).map_err(|e| HaError::Refused(e.to_string()).into())
}

fn node_id(number: u32) -> Result<NodeId, Status> {
    u16::try_from(number).map(NodeId).map_err(|_| HaError::Refused(format!("node {number}: nodes have numbers up to 65535")).into())
}

/// The state answered with something else than its command asks for.
fn unexpected(done: &Done) -> Status {
    HaError::Garbled(format!("the state answered {done:?}")).into()
}

/// Who may make a change of the global records: accounts, quotas and targets are an operator's.
fn may_change(change: &RecordChange) -> &'static [Role] {
    match change {
        RecordChange::SetDocument { document: BucketDocument::Quota, .. } => &[Role::Operator],
        RecordChange::CreateBucket { .. }
        | RecordChange::SetDocument { .. }
        | RecordChange::SealBucket { .. }
        | RecordChange::ReopenBucket { .. }
        | RecordChange::RemoveBucket { .. } => &[Role::Node, Role::Client, Role::Operator],
        RecordChange::CreateAccount { .. }
        | RecordChange::SetAccountDisabled { .. }
        | RecordChange::DeleteAccount { .. }
        | RecordChange::PutKey { .. }
        | RecordChange::DeleteKey { .. }
        | RecordChange::SetAccountQuota { .. }
        | RecordChange::PutTarget { .. }
        | RecordChange::DeleteTarget { .. } => &[Role::Operator],
    }
}

#[tonic::async_trait]
impl Ha for HaService {
    async fn get_map(&self, request: Request<pb::MapRequest>) -> Result<Response<pb::MapReply>, Status> {
        let pb::MapRequest { min_epoch, min_index } = self.open(request)?;
        // Where no leader answers, the state as it is here must do, and is called that.
        let confirmed = self.core.catch_up().await;
        let mut applied = self.core.machine.index();
        let enough = || self.core.machine.read(|s| s.topology().is_some() && s.epoch() >= Epoch(min_epoch) && s.index() >= min_index);
        let reached = tokio::time::timeout(READ.mul_f64(self.core.factor), applied.wait_for(|_| enough())).await;
        match reached {
            Ok(Ok(_)) => {}
            _ if self.core.machine.read(|s| s.topology().is_none()) => {
                return Err(self.with_leader(HaError::Unavailable("the cluster has not been created yet".into())));
            }
            _ => {
                let why = format!("{} has not reached epoch {min_epoch} and index {min_index} yet", self.core.node());
                return Err(self.with_leader(HaError::Unavailable(why)));
            }
        }
        let index = self.core.machine.applied();
        let map = self.core.machine.map().to_vec();
        Ok(Response::new(pb::MapReply { map, index, confirmed }))
    }

    async fn open_session(&self, request: Request<pb::OpenSessionRequest>) -> Result<Response<pb::SessionReply>, Status> {
        let pb::OpenSessionRequest { nonce, name } = self.open(request)?;
        let changed = self.change(Change::OpenSession { nonce, name }).await?;
        match changed.done {
            Done::Session(session) => self.session(session).await,
            other => Err(unexpected(&other)),
        }
    }

    async fn renew_session(&self, request: Request<pb::SessionRequest>) -> Result<Response<pb::SessionReply>, Status> {
        self.session(SessionId(self.open(request)?.session)).await
    }

    async fn close_session(&self, request: Request<pb::SessionRequest>) -> Result<Response<pb::DoneReply>, Status> {
        let session = SessionId(self.open(request)?.session);
        self.done(Change::CloseSession { session }).await
    }

    async fn create_catalogue(&self, request: Request<pb::CreateCatalogueRequest>) -> Result<Response<pb::CatalogueReply>, Status> {
        let request = self.open(request)?;
        let kind = match request.kind() {
            pb::CatalogueKind::Bucket => CatalogueKind::Bucket,
            pb::CatalogueKind::Index => CatalogueKind::Index,
            pb::CatalogueKind::Unspecified => return Err(HaError::Refused("a catalogue of no kind".into()).into()),
        };
        let pool = u16::try_from(request.pool).map_err(|_| HaError::Refused(format!("no pool {}", request.pool)))?;
        let pool = (pool != 0).then_some(PoolId(pool));
        let changed = self.change(Change::CreateCatalogue { name: request.name, kind, pool, width: request.width }).await?;
        match changed.done {
            Done::Catalogue { id, created } => {
                let created = created || changed.repeated;
                Ok(Response::new(pb::CatalogueReply { id: id.0, created, index: changed.index }))
            }
            other => Err(unexpected(&other)),
        }
    }

    async fn drop_catalogue(&self, request: Request<pb::DropCatalogueRequest>) -> Result<Response<pb::DoneReply>, Status> {
        let id = CatalogueId(self.open(request)?.id);
        let index = self.change(Change::DropCatalogue { id }).await?.index;
        if !self.core.machine.reaches(index, Duration::ZERO).await {
            let words = "this daemon lags behind the entry that dropped it: ask again";
            return Err(HaError::Unavailable(words.into()).into());
        }
        // It may be an earlier entry that dropped it. What is gone was taken in by all.
        if let Some(at) = self.core.machine.read(|state| state.dropped().get(&id).map(|dropped| dropped.at)) {
            self.core.taken_in_by_all(at).await.map_err(|e| self.with_leader(e))?;
        }
        Ok(Response::new(pb::DoneReply { index }))
    }

    async fn change_record(&self, request: Request<pb::RecordRequest>) -> Result<Response<pb::RecordReply>, Status> {
        let extensions = request.extensions().clone();
        let change = read(&self.open(request)?.change)?;
        permit(&extensions, may_change(&change))?;
        let changed = self.change(Change::Record(change)).await?;
        let Done::Record(done) = changed.done else { return Err(unexpected(&changed.done)) };
        self.core.taken_in_by_all(changed.index).await.map_err(|e| self.with_leader(e))?;
        // An attempt of this daemon's that had no answer may have made it.
        let done = match done {
            RecordDone::Bucket { id, created } => RecordDone::Bucket { id, created: created || changed.repeated },
            other => other,
        };
        Ok(Response::new(pb::RecordReply { done: encode(&done), index: changed.index }))
    }

    async fn get_accounts(&self, request: Request<pb::StatusRequest>) -> Result<Response<pb::BytesReply>, Status> {
        self.open_for(&[Role::Operator], request)?;
        if !self.core.catch_up().await {
            return Err(self.with_leader(HaError::Unavailable("no leader answers".into())));
        }
        Ok(Response::new(pb::BytesReply {
            body: self.core.machine.read(|state| encode(&(state.accounts(), state.quotas(), state.targets()))),
            confirmed: true,
        }))
    }

    async fn get_buckets(&self, request: Request<pb::StatusRequest>) -> Result<Response<pb::BytesReply>, Status> {
        self.open_for(&[Role::Operator], request)?;
        if !self.core.catch_up().await {
            return Err(self.with_leader(HaError::Unavailable("no leader answers".into())));
        }
        let named = |state: &State| -> BTreeMap<String, Bucket> {
            let catalogues = state.map().catalogues.values().filter(|catalogue| catalogue.kind == CatalogueKind::Bucket);
            catalogues.filter_map(|catalogue| Some((catalogue.name.clone(), state.buckets().get(&catalogue.id)?.clone()))).collect()
        };
        Ok(Response::new(pb::BytesReply { body: self.core.machine.read(|state| encode(&named(state))), confirmed: true }))
    }

    async fn register(&self, request: Request<pb::RegisterRequest>) -> Result<Response<pb::RegisterReply>, Status> {
        let request = self.open_for(&[Role::Node], request)?;
        let node = node_id(request.node)?;
        let devices: Vec<(DeviceId, Found)> = read(&request.devices)?;
        let devices = devices.into_iter().map(|(id, found)| (id, convert::found(found))).collect();
        // Held before the process is anything, so that its end cannot be missed.
        let alive = if node == self.core.node() { take_hold(request.pid) } else { None };
        let change = Change::RegisterProcess { node, pid: request.pid, nonce: request.nonce, devices };
        let changed = self.change(change).await?;
        match changed.done {
            Done::Registered(registered) => {
                if let Some(alive) = alive {
                    self.watch.begin(&self.core, registered.boot, alive);
                }
                Ok(Response::new(pb::RegisterReply {
                    boot: registered.boot.0,
                    epoch: registered.epoch.0,
                    ha_time: registered.ha_time.0,
                    devices: encode(&convert::verdicts(registered.devices)),
                    index: changed.index,
                }))
            }
            other => Err(unexpected(&other)),
        }
    }

    async fn renew(&self, request: Request<pb::RenewRequest>) -> Result<Response<pb::RenewReply>, Status> {
        let pb::RenewRequest { node, boot, pid, confirmed, load } = self.open_for(&[Role::Node], request)?;
        let (node, boot) = (node_id(node)?, Boot(boot));
        let load = Box::new(read(&load)?);
        let told = self.core.ask(Ask::Renew { node, boot, confirmed, load }).await.map_err(|e| self.with_leader(e))?;
        if node == self.core.node() {
            self.watch.ensure(&self.core, boot, pid);
        }
        Ok(Response::new(pb::RenewReply { epoch: told.epoch.0, ha_time: told.ha_time.0 }))
    }

    async fn report_active(&self, request: Request<pb::ActiveReport>) -> Result<Response<pb::DoneReply>, Status> {
        let pb::ActiveReport { boot, groups } = self.open_for(&[Role::Node], request)?;
        let groups: Vec<(GroupId, ViewNumber)> = read(&groups)?;
        self.done(Change::Active { boot: Boot(boot), groups }).await
    }

    async fn report_recovered(&self, request: Request<pb::RecoveredReport>) -> Result<Response<pb::DoneReply>, Status> {
        let pb::RecoveredReport { boot, epoch } = self.open_for(&[Role::Node], request)?;
        self.done(Change::Recovered { boot: Boot(boot), epoch: Epoch(epoch) }).await
    }

    async fn report_emptied(&self, request: Request<pb::EmptiedReport>) -> Result<Response<pb::DoneReply>, Status> {
        let pb::EmptiedReport { boot, emptied } = self.open_for(&[Role::Node], request)?;
        let emptied: Vec<(CatalogueId, GroupId, ViewNumber)> = read(&emptied)?;
        self.done(Change::CataloguesEmptied { boot: Boot(boot), emptied }).await
    }

    async fn report_filled(&self, request: Request<pb::FilledReport>) -> Result<Response<pb::DoneReply>, Status> {
        let pb::FilledReport { boot, filled } = self.open_for(&[Role::Node], request)?;
        let groups: Vec<(GroupId, ViewNumber, DeviceId, Incarnation)> = read(&filled)?;
        self.done(Change::Filled { boot: Boot(boot), groups }).await
    }

    async fn ask_device(&self, request: Request<pb::DeviceAsk>) -> Result<Response<pb::DoneReply>, Status> {
        let request = self.open_for(&[Role::Operator], request)?;
        let wish = match request.wish() {
            pb::DeviceWish::Fail => DeviceWish::Fail,
            pb::DeviceWish::Replace => DeviceWish::Replace,
            pb::DeviceWish::Keep => DeviceWish::Keep,
            pb::DeviceWish::Scrub => DeviceWish::Scrub,
            pb::DeviceWish::Unspecified => return Err(HaError::Refused("nothing is asked of the device".into()).into()),
        };
        let (device, incarnation) = (DeviceId(request.device), Incarnation(request.incarnation));
        self.done(Change::AskDevice { device, incarnation, wish }).await
    }

    async fn report_slots(&self, request: Request<pb::SlotsReport>) -> Result<Response<pb::DoneReply>, Status> {
        let pb::SlotsReport { boot, filled } = self.open_for(&[Role::Node], request)?;
        self.done(Change::SlotsFilled { boot: Boot(boot), slots: read(&filled)? }).await
    }

    async fn ask_cluster(&self, request: Request<pb::ClusterAsk>) -> Result<Response<pb::DoneReply>, Status> {
        let request = self.open_for(&[Role::Operator], request)?;
        let wish = match request.wish() {
            pb::ClusterWish::DeviceAway => ClusterWish::DeviceAway(request.ms),
            pb::ClusterWish::NodeAway => ClusterWish::NodeAway(request.ms),
            pb::ClusterWish::PauseRepair => ClusterWish::PauseRepair,
            pb::ClusterWish::ResumeRepair => ClusterWish::ResumeRepair,
            pb::ClusterWish::Rebalance => ClusterWish::Rebalance,
            pb::ClusterWish::PauseRebalance => ClusterWish::PauseRebalance,
            pb::ClusterWish::ResumeRebalance => ClusterWish::ResumeRebalance,
            pb::ClusterWish::Unspecified => return Err(HaError::Refused("nothing is asked of the cluster".into()).into()),
        };
        self.done(Change::AskCluster(wish)).await
    }

    async fn add_node(&self, request: Request<pb::NodeAdd>) -> Result<Response<pb::DoneReply>, Status> {
        let pb::NodeAdd { node, devices, dry_run } = self.open_for(&[Role::Operator], request)?;
        let (node, devices) = convert::new_node(&read(&node)?, &read::<Vec<_>>(&devices)?);
        let change = Change::AddNode { node, devices };
        if dry_run {
            self.core.catch_up().await;
            return self.core.would(change).map(Response::new).map_err(Status::from);
        }
        self.done(change).await
    }

    async fn ask_node(&self, request: Request<pb::NodeAsk>) -> Result<Response<pb::DoneReply>, Status> {
        let request = self.open_for(&[Role::Operator], request)?;
        let node = node_id(request.node)?;
        let wish = match request.wish() {
            pb::NodeWish::StartMaintenance => NodeWish::StartMaintenance,
            pb::NodeWish::EndMaintenance => NodeWish::EndMaintenance,
            pb::NodeWish::Remove => NodeWish::Remove,
            pb::NodeWish::Keep => NodeWish::Keep,
            pb::NodeWish::Replace => NodeWish::Replace,
            pb::NodeWish::Unspecified => return Err(HaError::Refused("nothing is asked of the node".into()).into()),
        };
        if wish == NodeWish::Remove {
            // By the state as it is here: what it lets through that cannot be any more waits, and is shown.
            self.core.catch_up().await;
            self.core.machine.read(|state| removal::refusal(state, node)).map_or(Ok(()), |why| Err(HaError::Refused(why)))?;
        }
        let change = Change::AskNode { node, wish };
        if request.dry_run {
            self.core.catch_up().await;
            return self.core.would(change).map(Response::new).map_err(Status::from);
        }
        self.done(change).await
    }

    async fn recover(&self, request: Request<pb::RecoverRequest>) -> Result<Response<pb::RecoverReply>, Status> {
        let node = node_id(self.open_for(&[Role::Operator], request)?.node)?;
        if node != self.core.node() {
            return Err(HaError::Refused(format!("this is {}, not {node}", self.core.node())).into());
        }
        Ok(Response::new(pb::RecoverReply { generation: recovery::begin(&self.core)? }))
    }

    async fn report_device(&self, request: Request<pb::DeviceReport>) -> Result<Response<pb::DoneReply>, Status> {
        let report = self.open_for(&[Role::Node], request)?.report;
        self.done(convert::device_change(read(&report)?)).await
    }

    type FollowStream = ReceiverStream<Result<pb::NoticeMessage, Status>>;

    async fn follow(&self, request: Request<pb::FollowRequest>) -> Result<Response<Self::FollowStream>, Status> {
        // All of the state passes here, with its accounts.
        let pb::FollowRequest { from_index, name } = self.open_for(&[Role::Node, Role::Operator], request)?;
        Ok(Response::new(follow::follow(self.core.clone(), from_index, name)))
    }

    async fn confirm(&self, request: Request<pb::ConfirmRequest>) -> Result<Response<pb::DoneReply>, Status> {
        let pb::ConfirmRequest { boot, index } = self.open_for(&[Role::Node], request)?;
        if boot != 0 {
            self.core.ask(Ask::Confirm { boot: Boot(boot), index }).await.map_err(|e| self.with_leader(e))?;
        }
        Ok(Response::new(pb::DoneReply { index }))
    }

    async fn get_status(&self, request: Request<pb::StatusRequest>) -> Result<Response<pb::BytesReply>, Status> {
        let wait_ms = self.open(request)?.wait_ms;
        let status = show::status(&self.core, wait_ms).await;
        Ok(Response::new(pb::BytesReply { body: encode(&status), confirmed: status.confirmed }))
    }

    async fn get_events(&self, request: Request<pb::EventsRequest>) -> Result<Response<pb::BytesReply>, Status> {
        let pb::EventsRequest { after_index, limit, wait_ms } = self.open(request)?;
        let confirmed = show::settle(&self.core, wait_ms).await.is_some();
        Ok(Response::new(pb::BytesReply { body: encode(&show::events(&self.core, after_index, limit)), confirmed }))
    }

    async fn get_raft_status(&self, request: Request<pb::StatusRequest>) -> Result<Response<pb::BytesReply>, Status> {
        self.open(request)?;
        Ok(Response::new(pb::BytesReply { body: encode(&self.core.group.status()), confirmed: false }))
    }
}
