//! Who drives an endpoint, and who does its sending.
#![allow(clippy::unwrap_used, reason = "tests")]

use std::sync::Arc;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::time::Duration;

use bytes::Bytes;
use net::fabric::{Drive, Endpoint, EndpointConfig};
use net::{Identity, Incoming, NetError, Operation, Peer, Request, Service, Transport};
use tokio::time::Instant;
use types::{Boot, ClusterId, NodeId};

const CLUSTER: ClusterId = ClusterId(0xd1);
const POOL_BYTES: usize = 1024 * 1024;
const PATIENCE: Duration = Duration::from_secs(10);

/// Answers requests and tells of posts.
struct Tell(SyncSender<Bytes>);

impl Service for Tell {
    fn serve(&self, incoming: Incoming) {
        if incoming.is_one_way() {
            self.0.send(incoming.head.clone()).unwrap();
        } else {
            incoming.reply(Bytes::new());
        }
    }
}

fn node() -> (Arc<Endpoint>, Peer, Receiver<Bytes>) {
    let (tell, told) = sync_channel(16);
    let identity = Identity { cluster: CLUSTER, node: NodeId(1), boot: Boot(1) };
    let config = EndpointConfig { pool_bytes: POOL_BYTES, ..EndpointConfig::node(identity, "127.0.0.1:0", Arc::new(Tell(tell))) };
    let node = Endpoint::start(config).unwrap();
    let peer = Peer::at(node.local_address().unwrap());
    (node, peer, told)
}

fn driven_by(runtime: &tokio::runtime::Runtime) -> Arc<Endpoint> {
    let drive = Drive::Runtime(runtime.handle().clone());
    let config = EndpointConfig { pool_bytes: POOL_BYTES, drive, ..EndpointConfig::client(Identity::client(CLUSTER)) };
    Endpoint::start(config).unwrap()
}

async fn call(client: &Endpoint, peer: &Peer) -> Result<(), NetError> {
    client.call(peer, Request::new(Operation::Echo, Bytes::new()), Instant::now() + PATIENCE).await.map(drop)
}

#[test]
fn whoever_posts_sends_and_waits_for_no_other_thread() {
    let (_node, peer, told) = node();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let client = driven_by(&runtime);
    runtime.block_on(call(&client, &peer)).unwrap();
    // Nobody runs the runtime now, and this thread is none of its.
    client.post(&peer, Operation::Dtm, Bytes::from_static(b"from here")).unwrap();
    assert_eq!(told.recv_timeout(PATIENCE).unwrap(), "from here");
}

#[test]
fn an_endpoint_whose_runtime_ends_is_closed_and_says_so() {
    let (_node, peer, _told) = node();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let client = driven_by(&runtime);
    runtime.block_on(call(&client, &peer)).unwrap();
    assert!(!client.is_closed());
    drop(runtime);
    assert!(client.is_closed());
    let other = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    assert!(matches!(other.block_on(call(&client, &peer)), Err(NetError::Closed)));
    assert!(matches!(client.post(&peer, Operation::Dtm, Bytes::new()), Err(NetError::Closed)));
}
