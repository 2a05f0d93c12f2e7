//! What the cases stand on: something that starts nodes and clients.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use net::fabric::{Drive, Endpoint, EndpointConfig};
use net::sim::{Network, SimOptions};
use net::{BufPool, Identity, Peer, Transport};
use types::{Boot, ClusterId, NodeId};

use crate::service::TestService;

pub const CLUSTER: ClusterId = ClusterId(0xc1);
/// Pools are as large as the largest buffer, so that taking it whole shows that nothing else is out.
pub const POOL_BYTES: usize = 16 * 1024 * 1024;

/// A node that runs; it stops when it is dropped.
pub struct Node {
    pub transport: Arc<dyn Transport>,
    pub service: Arc<TestService>,
    pub address: String,
}

impl Node {
    pub fn peer(&self) -> Peer {
        Peer::at(self.address.clone())
    }
}

/// A kind of network.
pub trait Bed: Send + Sync {
    fn start(&self, identity: Identity, at: Option<&str>) -> Node;
    fn client_of(&self, identity: Identity) -> Arc<dyn Transport>;

    fn node(&self) -> Node {
        self.start(identity(1), None)
    }

    fn client(&self) -> Arc<dyn Transport> {
        self.client_of(Identity::client(CLUSTER))
    }
}

pub fn identity(boot: u64) -> Identity {
    Identity { cluster: CLUSTER, node: NodeId(1), boot: Boot(boot) }
}

/// Waits until every buffer of a pool is back.
pub async fn whole(pool: &BufPool) {
    let all = tokio::time::timeout(std::time::Duration::from_secs(10), pool.take(POOL_BYTES)).await;
    assert!(all.is_ok(), "buffers are missing: {pool:?}");
}

pub struct Fabric {
    pub shards: usize,
    pub own_threads: bool,
}

impl Fabric {
    fn drive(&self) -> Drive {
        if self.own_threads { Drive::Threads } else { Drive::Runtime(tokio::runtime::Handle::current()) }
    }
}

impl Bed for Fabric {
    fn start(&self, identity: Identity, at: Option<&str>) -> Node {
        let service = Arc::new(TestService::default());
        let config = EndpointConfig {
            pool_bytes: POOL_BYTES,
            shards: self.shards,
            drive: self.drive(),
            ..EndpointConfig::node(identity, at.unwrap_or("127.0.0.1:0"), service.clone())
        };
        let endpoint = Endpoint::start(config).unwrap();
        service.serve_with(endpoint.pool());
        let address = endpoint.local_address().unwrap().to_owned();
        Node { transport: endpoint, service, address }
    }

    fn client_of(&self, identity: Identity) -> Arc<dyn Transport> {
        let config =
            EndpointConfig { pool_bytes: POOL_BYTES, shards: self.shards, drive: self.drive(), ..EndpointConfig::client(identity) };
        Endpoint::start(config).unwrap()
    }
}

pub struct Simulated {
    network: Network,
    next: AtomicU64,
}

impl Simulated {
    pub fn new(seed: u64) -> Self {
        Self { network: Network::new(seed, SimOptions::default()), next: AtomicU64::new(1) }
    }
}

impl Bed for Simulated {
    fn start(&self, identity: Identity, at: Option<&str>) -> Node {
        let service = Arc::new(TestService::default());
        let address = at.map_or_else(|| format!("node-{}", self.next.fetch_add(1, Ordering::Relaxed)), str::to_owned);
        let endpoint = self.network.endpoint(&address, identity, Some(service.clone()), POOL_BYTES).unwrap();
        service.serve_with(endpoint.pool());
        Node { transport: endpoint, service, address }
    }

    fn client_of(&self, identity: Identity) -> Arc<dyn Transport> {
        let address = format!("client-{}", self.next.fetch_add(1, Ordering::Relaxed));
        self.network.endpoint(&address, identity, None, POOL_BYTES).unwrap()
    }
}
