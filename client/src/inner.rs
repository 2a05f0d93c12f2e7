//! What the verbs of a client share: the way to HA, to the processes, the map, the session and the bounds.

use std::sync::Arc;
use std::time::Duration;

use net::{Peer, Transport};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::Instant;
use types::map::{Catalogue, CatalogueKind, ClusterMap, Pool};
use types::{DeviceId, Epoch, GroupId, NodeId};

use crate::control::Control;
use crate::map::MapCache;
use crate::retry::Attempts;
use crate::session::{Session, Sessions};
use crate::suspects::Suspects;
use crate::{Error, Options};

/// What one permit of the memory budget stands for.
const PERMIT_BYTES: usize = 4096;

/// One client's.
pub(crate) struct Inner {
    pub(crate) control: Arc<dyn Control>,
    pub(crate) transport: Arc<dyn Transport>,
    pub(crate) map: MapCache,
    pub(crate) sessions: Sessions,
    pub(crate) suspects: Suspects,
    pub(crate) options: Options,
    /// Bytes of object data in memory, in permits: shared by all PUTs and GETs of the client.
    budget: Arc<Semaphore>,
    /// Spreads fids over groups.
    pub(crate) spread: std::sync::atomic::AtomicU64,
}

impl Inner {
    pub(crate) fn new(control: Arc<dyn Control>, transport: Arc<dyn Transport>, map: MapCache, options: Options) -> Self {
        let budget = Arc::new(Semaphore::new(options.memory_bytes / PERMIT_BYTES));
        let sessions = Sessions::new(control.clone());
        let spread = u64::from(rand::random::<u32>()).into();
        Self { control, transport, map, sessions, suspects: Suspects::default(), options, budget, spread }
    }

    /// The writer's session, opened if need be.
    pub(crate) async fn session(&self, attempts: &mut Attempts) -> Result<Arc<Session>, Error> {
        loop {
            match tokio::time::timeout_at(attempts.deadline(), self.sessions.get()).await {
                Ok(Ok(session)) => return Ok(session),
                Ok(Err(error)) => attempts.failed(error),
                Err(_) => return Err(attempts.unavailable()),
            }
            attempts.pause().await?;
        }
    }

    /// Tries to get a map of `epoch` at least, asked for after `since`. Without success the old one stays: the caller tries again anyway.
    /// Whether there is one.
    pub(crate) async fn learn(&self, epoch: Epoch, since: Instant, deadline: Instant) -> bool {
        match tokio::time::timeout_at(deadline, self.map.refresh(epoch, since)).await {
            Ok(Ok(_)) => return true,
            Ok(Err(error)) => tracing::debug!(%error, "no newer map"),
            Err(_) => tracing::debug!("no newer map in time"),
        }
        false
    }

    /// The map for new work; one that is old is fetched anew behind the caller's back.
    pub(crate) fn fresh_map(self: &Arc<Self>) -> Arc<ClusterMap> {
        if self.map.begin_renewal() {
            let inner = self.clone();
            tokio::spawn(async move {
                let now = Instant::now();
                // What was fetched a moment ago by somebody else will do.
                inner.learn(Epoch(0), now - Duration::from_millis(100), now + inner.options.timeout).await;
                inner.map.end_renewal();
            });
        }
        self.map.latest()
    }

    /// The catalogue of that name, asked for anew where this client does not know it.
    pub(crate) async fn catalogue(&self, kind: CatalogueKind, name: &str) -> Result<(Catalogue, Pool), Error> {
        let mut attempts = Attempts::new(format!("look for {} `{name}`", kind_word(kind)), self.options.timeout);
        let mut map = self.map.latest();
        let began = Instant::now();
        let mut asked = false;
        loop {
            if let Some(found) = map.catalogue_named(kind, name) {
                let pool = map.pools.get(&found.pool).cloned();
                let pool =
                    pool.ok_or_else(|| Error::Refused(format!("{} of {} `{name}` is not in the map", found.pool, kind_word(kind))))?;
                return Ok((found.clone(), pool));
            }
            if asked {
                return Err(Error::NotFound(format!("{} `{name}`", kind_word(kind))));
            }
            match tokio::time::timeout_at(attempts.deadline(), self.map.refresh(Epoch(0), began)).await {
                Ok(Ok(newer)) => (map, asked) = (newer, true),
                Ok(Err(error)) => {
                    attempts.failed(error);
                    attempts.pause().await?;
                }
                Err(_) => return Err(attempts.unavailable()),
            }
        }
    }

    /// Room for `bytes` of object data; waits for it, for as long as an operation may take. Others may keep what they have for as long as their
    /// callers are slow.
    pub(crate) async fn room(&self, what: &str, bytes: usize) -> Result<OwnedSemaphorePermit, Error> {
        let waits = self.budget.clone().acquire_many_owned(self.permits(bytes));
        match tokio::time::timeout(self.options.timeout, waits).await {
            Ok(permit) => Ok(permit.expect("the budget is never closed")),
            Err(_) => {
                let reason = "other reads and writes of this client keep all memory for objects".into();
                Err(Error::Unavailable { what: what.into(), reason, waited: self.options.timeout })
            }
        }
    }

    /// Room for `bytes`, if there is some now.
    pub(crate) fn room_now(&self, bytes: usize) -> Option<OwnedSemaphorePermit> {
        self.budget.clone().try_acquire_many_owned(self.permits(bytes)).ok()
    }

    /// Room for `bytes` that are fetched ahead, if there is some now beside the half of all that is kept for others to begin with: whoever asked
    /// for them may be slow to take them.
    pub(crate) fn room_ahead(&self, bytes: usize) -> Option<OwnedSemaphorePermit> {
        let kept = self.permits(self.options.memory_bytes / 2) as usize;
        let is_there = self.budget.available_permits() >= kept + self.permits(bytes) as usize;
        is_there.then(|| self.room_now(bytes))?
    }

    fn permits(&self, bytes: usize) -> u32 {
        u32::try_from(bytes.min(self.options.memory_bytes) / PERMIT_BYTES).expect("a budget is below 16 TiB")
    }

    /// The peer that a device is behind.
    pub(crate) fn peer_of(map: &ClusterMap, device: DeviceId) -> Option<(NodeId, Peer)> {
        let node = map.node_of(device)?;
        Some((node.id, Peer::node(node.fabric_address.clone(), node.id, None)))
    }

    /// The group of a name in a catalogue.
    pub(crate) fn group_of(catalogue: &(Catalogue, Pool), name: &[u8]) -> GroupId {
        types::routing::group_of(&catalogue.0, &catalogue.1, name)
    }
}

/// The user's word for a kind of catalogue.
pub(crate) fn kind_word(kind: CatalogueKind) -> &'static str {
    match kind {
        CatalogueKind::Bucket => "bucket",
        CatalogueKind::Index => "index",
    }
}
