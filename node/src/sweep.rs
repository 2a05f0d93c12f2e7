//! The sweep, at each group's primary: pending fids of closed sessions become dead, old dead fids are deleted from their devices, and their
//! rows go once every device has confirmed. Objects go that the rules of their bucket are over.
//!
//! Every change is an ordinary transaction on the row as it was seen, so that it does not matter who sweeps, how often, or what happens in
//! between. A device that is away keeps its slot in the row; one that is FAILED is not waited for. What was dropped is emptied here, too.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use net::{Operation, Peer, Request};
use tokio::sync::oneshot;
use types::event::Cause;
use types::limits::{DTX_OPS_MAX, SCAN_KEYS_MAX};
use types::map::Catalogue;
use types::ops::Op;
use types::state::DeviceState;
use types::wire::request::{DeleteUnits, Execute, ExecuteReply, ScanRow, UnitReply};
use types::{CatalogueId, DeviceId, DtxId, Epoch, Fid, GroupId, HaTime, SessionId, ViewNumber, codec, keys, routing};

mod dropped;
mod events;
mod lifecycle;
mod plan;
mod uploads;

use crate::driver::{Caller, ClientRequest};
use crate::points;
use crate::serve::Node;
use crate::view::{ClusterView, SessionState};
use plan::DeadFid;
pub use plan::key_after;

/// How often the sweep looks around.
const ROUND: Duration = Duration::from_millis(1000);
/// Pending rows are looked at when a session was closed, and every so often.
const PENDING_AGAIN: Duration = Duration::from_secs(60);
/// A dead row is looked for about so many times while it ages.
const LOOKS_PER_AGE: u32 = 20;
/// How often a day the rules of buckets are followed.
const RULES_PER_DAY: u64 = 24;
/// How long a device of this process may take: one that hangs must not hold up what is swept at the others.
const DEVICE_PATIENCE: Duration = Duration::from_secs(30);
/// How long one transaction or one request to a device may take.
const PATIENCE: Duration = Duration::from_secs(5);
/// Rows looked at together where their values may be long: 64 KiB each, or the numbers of ten thousand parts.
const ROWS_MAX: usize = 64;
/// Pages of such rows that are taken away at one place in one round.
const PAGES_A_ROUND_MAX: usize = 64;

/// How the sweep behaves.
#[derive(Clone, Copy, Debug)]
pub struct SweepOptions {
    /// Milliseconds of HA time that a dead fid's units stay, for GETs that began before.
    pub dead_age_ms: u64,
    /// Milliseconds of a day of the rules by which objects go: a real one, but for tests.
    pub day_ms: u64,
}

impl Default for SweepOptions {
    fn default() -> Self {
        Self { dead_age_ms: 10 * 60 * 1000, day_ms: s3::DAY_MS }
    }
}

/// Sweeps the groups whose primary is here.
pub struct Sweep {
    node: Arc<Node>,
    options: SweepOptions,
    counter: AtomicU64,
}

/// A catalogue in a group whose primary is here.
#[derive(Clone, Copy, Debug)]
struct Place {
    device: DeviceId,
    group: GroupId,
    view: ViewNumber,
    catalogue: CatalogueId,
}

/// Waits for a transaction of the sweep.
struct Waiter(oneshot::Sender<ExecuteReply>);

impl Caller for Waiter {
    fn answer(self: Box<Self>, reply: ExecuteReply) {
        // Whoever gave up waiting does not want the answer.
        let _gone = self.0.send(reply);
    }
}

impl Sweep {
    /// Sweeps for this node.
    pub fn new(node: Arc<Node>, options: SweepOptions) -> Self {
        Self { node, options, counter: AtomicU64::new(1) }
    }

    /// Sweeps for ever.
    pub async fn run(self: Arc<Self>) {
        let mut sessions = Arc::default();
        let mut pending_at = Instant::now();
        let mut dead_at = Instant::now();
        let mut rules_at = Instant::now();
        let rules_round = Duration::from_millis(self.options.day_ms / RULES_PER_DAY).max(ROUND);
        let dead_round = Duration::from_millis(self.options.dead_age_ms / u64::from(LOOKS_PER_AGE)).clamp(ROUND, PENDING_AGAIN);
        loop {
            tokio::time::sleep(ROUND).await;
            let (view, now) = (self.node.views.now(), Instant::now());
            let places = self.places(&view, view.map.catalogues.values());
            let dropped = self.places(&view, view.dropped.values().map(|dropped| &dropped.catalogue));
            for place in &dropped {
                self.empty(&view, *place).await;
            }
            if !Arc::ptr_eq(&sessions, &view.sessions) || now >= pending_at {
                let mut all = true;
                for place in &places {
                    all &= self.sweep_pending(*place).await;
                }
                if all {
                    self.forget_sessions().await;
                    (sessions, pending_at) = (view.sessions.clone(), now + PENDING_AGAIN);
                }
            }
            if now >= dead_at {
                for place in places.iter().chain(&dropped) {
                    self.sweep_uploads(*place).await;
                    self.sweep_retired(*place).await;
                    self.sweep_dead(*place).await;
                }
                dead_at = Instant::now() + dead_round;
            }
            if now >= rules_at {
                self.follow_rules(&view, &places).await;
                rules_at = Instant::now() + rules_round;
            }
        }
    }

    /// Takes away what the devices here keep of dead fids of sessions that are over.
    async fn forget_sessions(&self) {
        let node = self.node.clone();
        let forgetting = tokio::task::spawn_blocking(move || {
            for (device, local) in &node.devices {
                match local.store.forget_closed_sessions() {
                    Ok(0) => {}
                    Ok(markers) => tracing::debug!(%device, markers, "markers of dead fids are over with their sessions"),
                    Err(error) => drop(node.reports.storage(*device, &error)),
                }
            }
        });
        if let Err(error) = forgetting.await {
            tracing::error!(%error, "markers of dead fids stay");
        }
    }

    fn places<'a>(&self, view: &ClusterView, catalogues: impl Iterator<Item = &'a Catalogue>) -> Vec<Place> {
        let mut places = Vec::new();
        for catalogue in catalogues {
            let Some(pool) = view.map.pools.get(&catalogue.pool) else { continue };
            for i in 0..catalogue.width {
                let group = routing::catalogue_group(catalogue, pool, i);
                let Some(current) = view.map.view(group) else { continue };
                if let Some(device) = self.node.primary_here(current)
                    && self.node.permits.holds(device, group, current.number)
                {
                    places.push(Place { device, group, view: current.number, catalogue: catalogue.id });
                }
            }
        }
        places
    }

    /// Makes pending fids of closed sessions dead; whether everything was looked at.
    async fn sweep_pending(&self, place: Place) -> bool {
        let mut from = vec![keys::kind::PENDING];
        loop {
            let Some(rows) = self.page(place, &from).await else { return false };
            let Some(last) = rows.last() else { return true };
            from = key_after(&last.key);
            let view = self.node.views.now();
            let closed = |session: SessionId| view.session(session) == SessionState::Closed;
            for op in plan::abandons(place.catalogue, &rows, closed) {
                drop(points::SWEEP_BEFORE_ABANDON.pass_in_task().await);
                // One at a time: a fid that is committed or abandoned meanwhile refuses its own transaction only.
                self.execute(place, vec![op]).await;
            }
        }
    }

    async fn sweep_dead(&self, place: Place) {
        let mut from = vec![keys::kind::DEAD];
        while let Some(rows) = self.page(place, &from).await {
            let Some(last) = rows.last() else { return };
            from = key_after(&last.key);
            let now = self.ha_time();
            let ripe = plan::ripe(place.catalogue, &rows, now, self.options.dead_age_ms);
            if !ripe.is_empty() && !self.drain(place, &ripe).await {
                return;
            }
        }
    }

    /// Deletes dead fids from their devices and settles their rows; whether it is of use to go on.
    async fn drain(&self, place: Place, ripe: &[DeadFid]) -> bool {
        drop(points::SWEEP_BEFORE_DELETE.pass_in_task().await);
        let view = self.node.views.now();
        let mut wanted: BTreeMap<DeviceId, BTreeSet<Fid>> = BTreeMap::new();
        let mut asked = Vec::with_capacity(ripe.len());
        for dead in ripe {
            // The slots of a group that is no more have nobody to confirm.
            let slots = view.map.slots(dead.fid.group).map(|slots| plan::slots_left(&dead.state, slots)).unwrap_or_default();
            for (_, device) in &slots {
                wanted.entry(*device).or_default().insert(dead.fid);
            }
            asked.push(slots);
        }
        let mut confirmed: HashMap<DeviceId, bool> = HashMap::new();
        for (device, fids) in wanted {
            let state = view.map.devices.get(&device).map(|device| device.state);
            let done = match state {
                None | Some(DeviceState::Failed) => true,
                Some(state) if state.is_writable() => self.delete(&view, device, fids.into_iter().collect()).await,
                Some(_) => false,
            };
            confirmed.insert(device, done);
        }
        drop(points::SWEEP_BEFORE_SETTLE.pass_in_task().await);
        let is_confirmed = |device: DeviceId| confirmed.get(&device).copied().unwrap_or(false);
        let newest = self.node.views.now();
        let number = |view: &ClusterView, group| view.map.slots(group).map(|slots| slots.number);
        for (dead, slots) in ripe.iter().zip(&asked) {
            // A slot that moved meanwhile, or is being filled, may get the unit from one that was not reached yet: the row stays, all are asked again.
            let group = dead.fid.group;
            if number(&newest, group) != number(&view, group) || newest.unfilled.contains_key(&group) {
                continue;
            }
            if let Some(op) = plan::settle(dead, slots, is_confirmed)
                && !self.execute(place, vec![op]).await
            {
                return false;
            }
        }
        true
    }

    async fn delete(&self, view: &ClusterView, device: DeviceId, fids: Vec<Fid>) -> bool {
        if let Some(local) = self.node.devices.get(&device) {
            let Ok(deleted) = tokio::time::timeout(DEVICE_PATIENCE, local.store.delete_fids(&fids)).await else { return false };
            let deleted = deleted.map_err(|error| self.node.reports.storage(device, &error)).is_ok();
            return deleted && points::UNITS_DELETED.pass_in_task().await.is_ok();
        }
        let (Some(node), Some(transport)) = (view.map.node_of(device), self.node.transport.get()) else { return false };
        let peer = Peer::node(node.fabric_address.clone(), node.id, Some(node.boot));
        for fids in fids.chunks(DTX_OPS_MAX) {
            let delete = DeleteUnits { device, fids: fids.to_vec(), epoch: Epoch(view.index) };
            let request = Request::new(Operation::DeleteUnits, codec::encode(&delete));
            let reply = transport.call(&peer, request, tokio::time::Instant::now() + PATIENCE).await;
            let done = reply.map_err(|error| error.to_string()).and_then(|reply| {
                codec::decode::<UnitReply>(&reply.head).map_err(|error| error.to_string())?.map_err(|refusal| refusal.to_string())
            });
            if let Err(error) = done {
                tracing::debug!(%device, error, "dead fids are not deleted yet");
                return false;
            }
        }
        true
    }

    /// A page of rows of one kind, as they were applied; `None` where this is not the place any more.
    async fn page(&self, place: Place, from: &[u8]) -> Option<Vec<ScanRow>> {
        self.rows(place, from, from.get(..1)?, SCAN_KEYS_MAX).await
    }

    /// The same, of at most so many rows, of those that begin so.
    async fn rows(&self, place: Place, from: &[u8], prefix: &[u8], rows_max: usize) -> Option<Vec<ScanRow>> {
        let (node, from, prefix) = (self.node.clone(), from.to_vec(), prefix.to_vec());
        let reading = tokio::task::spawn_blocking(move || {
            let local = node.devices.get(&place.device)?;
            match local.store.meta().scan(place.group, place.catalogue, &from, &prefix, rows_max, true) {
                Ok(rows) => node.permits.holds(place.device, place.group, place.view).then_some(rows),
                Err(error) => {
                    node.reports.storage(place.device, &error);
                    None
                }
            }
        });
        tokio::time::timeout(DEVICE_PATIENCE, reading).await.ok()?.ok().flatten()
    }

    /// Takes the rows away that begin so, objects and parts by way of dead fids; whether none is left. So many in a round: other duties have
    /// their turn in between.
    async fn take_away(&self, place: Place, prefix: &[u8]) -> bool {
        for _ in 0..PAGES_A_ROUND_MAX {
            let Some(rows) = self.rows(place, prefix, prefix, ROWS_MAX).await else { return false };
            if rows.is_empty() {
                return true;
            }
            for ops in plan::removals(place.catalogue, &rows) {
                if !self.execute(place, ops).await {
                    return false;
                }
            }
        }
        false
    }

    /// One transaction at the group's driver; whether it was decided, either way.
    async fn execute(&self, place: Place, ops: Vec<Op>) -> bool {
        let counter = self.counter.fetch_add(1, Ordering::Relaxed);
        let dtx = DtxId { session: SessionId(self.node.boot.0), counter, at: self.ha_time() };
        let Some(local) = self.node.devices.get(&place.device) else { return false };
        let (tx, rx) = oneshot::channel();
        let execute = Execute { group: place.group, view: place.view, dtx, ops, parts: Vec::new(), cause: Cause::Rule };
        if local.inbox.offer_client(ClientRequest { execute, caller: Box::new(Waiter(tx)) }).is_err() {
            return false;
        }
        matches!(tokio::time::timeout(PATIENCE, rx).await, Ok(Ok(Ok(_))))
    }

    fn ha_time(&self) -> HaTime {
        self.node.lease.ha_time(Instant::now())
    }
}
