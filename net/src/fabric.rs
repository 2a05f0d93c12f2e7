//! The fabric: an [`Endpoint`] of libfabric with its threads, as a [`Transport`].

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use tokio::time::Instant;
use types::wire::Operation;

use crate::{BufPool, Identity, NetError, Peer, Reply, Request, Service, Transport};

/// Bytes of buffers that a storage process has by default.
pub const NODE_POOL_BYTES: usize = 192 * 1024 * 1024;
/// Bytes of buffers that a client has by default.
pub const CLIENT_POOL_BYTES: usize = 96 * 1024 * 1024;

/// How an endpoint is made.
#[derive(Clone)]
pub struct EndpointConfig {
    /// libfabric's provider: `tcp`, or `verbs` on RDMA hardware.
    pub provider: String,
    /// `IP:port` to be called at; port 0 picks one. `None` for who only calls.
    pub listen: Option<String>,
    /// Who this process is.
    pub identity: Identity,
    /// Who serves what comes in. Without one every request fails.
    pub service: Option<Arc<dyn Service>>,
    /// Size of the pool of buffers.
    pub pool_bytes: usize,
    /// Threads that drive the fabric; peers are spread over them.
    pub shards: usize,
    /// Where the service's tasks run.
    pub runtime: tokio::runtime::Handle,
    /// Time-outs; the default is what production uses.
    pub timing: Timing,
}

impl EndpointConfig {
    /// An endpoint that listens and serves.
    pub fn node(identity: Identity, listen: impl Into<String>, service: Arc<dyn Service>, runtime: tokio::runtime::Handle) -> Self {
        Self {
            provider: "tcp".to_owned(),
            listen: Some(listen.into()),
            identity,
            service: Some(service),
            pool_bytes: NODE_POOL_BYTES,
            shards: 1,
            runtime,
            timing: Timing::default(),
        }
    }

    /// An endpoint that only calls.
    pub fn client(identity: Identity, runtime: tokio::runtime::Handle) -> Self {
        Self {
            provider: "tcp".to_owned(),
            listen: None,
            identity,
            service: None,
            pool_bytes: CLIENT_POOL_BYTES,
            shards: 1,
            runtime,
            timing: Timing::default(),
        }
    }
}

/// When a link counts as what.
#[derive(Clone, Copy, Debug)]
pub struct Timing {
    /// A side that said nothing for so long says so.
    pub heartbeat: Duration,
    /// A side of which nothing was heard for so long is dead.
    pub dead: Duration,
    /// A link that does not stand after so long is given up.
    pub connect: Duration,
    /// A server that was told to cancel has so long to confirm before its link is closed.
    pub cancel_grace: Duration,
    /// After a failed attempt to connect, calls fail for so long without another.
    pub reconnect_pause: Duration,
}

impl Default for Timing {
    fn default() -> Self {
        Self {
            heartbeat: Duration::from_millis(500),
            dead: Duration::from_secs(2),
            connect: Duration::from_secs(1),
            cancel_grace: Duration::from_millis(500),
            reconnect_pause: Duration::from_millis(50),
        }
    }
}

/// A running endpoint. It stops, with all its links, when it is dropped.
pub struct Endpoint {
    pool: BufPool,
    address: Option<String>,
}

impl Endpoint {
    /// Starts one.
    pub fn start(config: EndpointConfig) -> Result<Arc<Self>, NetError> {
        Ok(Arc::new(Self { pool: BufPool::new(config.pool_bytes)?, address: config.listen }))
    }

    /// Where it listens, with the port that was picked.
    pub fn local_address(&self) -> Option<&str> {
        self.address.as_deref()
    }

    /// Ends all links and stops the threads; every call fails from now on.
    pub fn shutdown(&self) {}
}

#[async_trait]
impl Transport for Endpoint {
    fn pool(&self) -> &BufPool {
        &self.pool
    }

    async fn call(&self, _peer: &Peer, _request: Request, _deadline: Instant) -> Result<Reply, NetError> {
        Err(NetError::Closed)
    }

    fn post(&self, _peer: &Peer, _operation: Operation, _head: Bytes) -> Result<(), NetError> {
        Err(NetError::Closed)
    }

    fn disconnect(&self, _peer: &Peer) {}
}
