//! Objects and indices for applications: `Client` and its verbs, over the fabric to the storage processes and over gRPC to HA.
//!
//! A client places, encodes and checks everything itself: no process stands between it and the devices. Whatever meets a dying node is
//! tried again, under the same transaction id, until its deadline; every wait has one. What comes out of a read is verified here. Memory
//! is bounded, whatever the size of an object and however many are under way.

mod bucket;
mod catalogue;
mod control;
mod error;
#[cfg(test)]
mod fake;
mod index;
mod inner;
mod kv;
mod lock;
mod map;
mod name;
mod near;
mod object;
mod place;
mod retry;
#[cfg(test)]
mod sample;
mod seal;
mod session;
mod signature;
mod suspects;
#[cfg(test)]
mod tests;
mod transaction;

use std::sync::Arc;
use std::time::Duration;

use net::Transport;
use tokio::time::Instant;
use types::map::ClusterMap;
use types::{Epoch, NodeId};

pub use control::{Control, ControlError};
pub use error::Error;
pub use index::{Entry, ScanPage, ScanRequest};
pub use lock::{Lock, LockMode};
pub use name::{check_catalogue_name, check_name, check_value, escaped, unescaped};
pub use near::ReadFrom;
pub use object::{
    Deleted, ListPage, ListRequest, ObjectInfo, ObjectReader, PartInfo, PutOptions, Range, UploadInfo, UploadPage, UploadToken,
    VersionInfo, VersionPage, VersionToken, VersionsRequest,
};
pub use seal::{ClusterKey, KEY_BYTES, SealingKey, random, secret_of, token_of};
pub use signature::{Signed, Signer, ToSign, UNSIGNED, sha256};
pub use transaction::{Committed, Transaction};
pub use types::VersionId;
pub use types::map::CatalogueKind;
pub use types::ops::Condition;
pub use types::quota::{Quota, Usage};
pub use types::records::{RecordChange, RecordDone};
pub use types::upload::UploadId;

use ha_api::tls::Tls;
use inner::Inner;
use map::MapCache;
use retry::Attempts;

/// How a client behaves.
#[derive(Clone, Debug)]
pub struct Options {
    /// How long a transaction, a read, or a stripe of an object is tried before it is an error.
    pub timeout: Duration,
    /// Object data in memory, of all PUTs and GETs together.
    pub memory_bytes: usize,
    /// libfabric's provider: `tcp` or `verbs`.
    pub provider: String,
    /// Whether the fabric gets a thread of its own. Without, the runtime that [`Client::connect`] is called in drives it: answers come sooner,
    /// but who blocks that runtime stops the fabric. Best where the runtime has one thread.
    pub own_thread: bool,
    /// The certificate that HA is shown; without, nothing is encrypted.
    pub tls: Option<Tls>,
    /// Whom reads of rows (of keys, and of objects' records) are asked of.
    pub read: ReadFrom,
    /// The node that the client is at: its devices are the nearest.
    pub near: Option<NodeId>,
}

/// Object data in memory by default.
pub const MEMORY_BYTES: usize = 96 * 1024 * 1024;
/// Buffers of the fabric beyond that: those that a process which hangs has not given back, and units read to rebuild others.
const POOL_SPARE_BYTES: usize = 32 * 1024 * 1024;

impl Default for Options {
    fn default() -> Self {
        Self {
            timeout: Duration::from_secs(30),
            memory_bytes: MEMORY_BYTES,
            provider: "tcp".into(),
            own_thread: true,
            tls: None,
            read: ReadFrom::Primary,
            near: None,
        }
    }
}

/// A client of one cluster. Cheap to clone: the clones share everything.
#[derive(Clone)]
pub struct Client {
    inner: Arc<Inner>,
}

impl Client {
    /// A client of the cluster whose HA daemons are at these addresses (`host:port`); any of them will do. To be called within a runtime.
    pub async fn connect<A: AsRef<str>>(ha: &[A], options: Options) -> Result<Self, Error> {
        let options_of_ha = ha_api::ClientOptions {
            name: format!("client {}", std::process::id()),
            tls: options.tls.clone(),
            ..ha_api::ClientOptions::default()
        };
        let control = ha_api::HaClient::with_options(ha, options_of_ha).map_err(|e| Error::Invalid(e.to_string()))?;
        let control: Arc<dyn Control> = Arc::new(control);
        // Loading takes longer than all else here. Whether it succeeds is seen below.
        let loading = tokio::task::spawn_blocking(|| drop(net::fabric::load()));
        let map = first_map(&control, &options).await?;
        let _loaded = loading.await;
        let identity = net::Identity::client(map.latest().cluster);
        let mut config = net::fabric::EndpointConfig::client(identity);
        config.pool_bytes = options.memory_bytes + POOL_SPARE_BYTES;
        config.provider.clone_from(&options.provider);
        if !options.own_thread {
            config.drive = net::fabric::Drive::Runtime(tokio::runtime::Handle::current());
        }
        let transport = net::fabric::Endpoint::start(config).map_err(|e| Error::Refused(format!("the fabric does not start: {e}")))?;
        Ok(Self { inner: Arc::new(Inner::new(control, transport, map, options)) })
    }

    /// A client over these ways to HA and to the storage processes.
    pub async fn with(control: Arc<dyn Control>, transport: Arc<dyn Transport>, options: Options) -> Result<Self, Error> {
        let map = first_map(&control, &options).await?;
        Ok(Self { inner: Arc::new(Inner::new(control, transport, map, options)) })
    }

    /// The cluster map, at most `age` old.
    pub async fn map(&self, age: Duration) -> Result<Arc<ClusterMap>, Error> {
        let mut attempts = Attempts::new("fetch the cluster map", self.inner.options.timeout);
        let now = Instant::now();
        let since = now.checked_sub(age).unwrap_or(now);
        loop {
            match tokio::time::timeout_at(attempts.deadline(), self.inner.map.refresh(Epoch(0), since)).await {
                Ok(Ok(map)) => return Ok(map),
                Ok(Err(error)) => attempts.failed(error),
                Err(_) => return Err(attempts.unavailable()),
            }
            attempts.pause().await?;
        }
    }

    /// The transport, for benches.
    pub fn transport(&self) -> &Arc<dyn Transport> {
        &self.inner.transport
    }

    /// Ends the writer's session, so that HA need not wait for its lease. Nothing may be under way.
    pub async fn close(&self) {
        self.inner.sessions.close().await;
    }
}

async fn first_map(control: &Arc<dyn Control>, options: &Options) -> Result<MapCache, Error> {
    let mut attempts = Attempts::new("fetch the cluster map", options.timeout);
    loop {
        match tokio::time::timeout_at(attempts.deadline(), MapCache::fetch(control.clone())).await {
            Ok(Ok(map)) => return Ok(map),
            Ok(Err(ControlError::Refused(reason))) => return Err(Error::Refused(reason)),
            Ok(Err(error)) => attempts.failed(error),
            Err(_) => return Err(attempts.unavailable()),
        }
        attempts.pause().await?;
    }
}
