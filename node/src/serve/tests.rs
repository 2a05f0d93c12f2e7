//! Requests over a simulated network, at a node without devices.

use net::sim::{Network, SimOptions};
use net::{Identity, Peer, Request};
use types::wire::request::Read;
use types::{ClusterId, PoolId};

use super::*;

const CLUSTER: ClusterId = ClusterId(7);
const POOL_BYTES: usize = 1 << 20;
/// Less than a request waits for HA's log.
const PATIENCE: Duration = Duration::from_millis(100);

/// A node that knows nothing and has nothing.
pub fn node() -> Node {
    let lease = Lease::new(ha_state::lease::Timing::default());
    Node {
        me: NodeId(1),
        boot: Boot(2),
        views: Arc::default(),
        fences: Arc::new(Fences::new([])),
        permits: Arc::default(),
        lease: Arc::new(lease),
        rooms: Arc::default(),
        repairs: Repairs::default(),
        devices: HashMap::new(),
        reports: Reports::default(),
        clock: Clock::start(),
        requests: Requests::default(),
        events: EventCounts::default(),
        transport: OnceLock::new(),
    }
}

#[tokio::test]
async fn a_wait_ends_at_the_deadline_of_its_request() {
    let service = Arc::new(NodeService::new(Arc::new(node())));
    let network = Network::new(1, SimOptions::default());
    let identity = Identity { cluster: CLUSTER, node: NodeId(1), boot: Boot(2) };
    let _server = network.endpoint("server", identity, Some(service.clone()), POOL_BYTES).expect("an endpoint");
    let client = network.endpoint("client", Identity::client(CLUSTER), None, POOL_BYTES).expect("an endpoint");
    // Its sender knows more than the node, which waits for that.
    let read = Read { group: GroupId { pool: PoolId(1), index: 0 }, view: ViewNumber(9), rows: Vec::new() };
    let began = tokio::time::Instant::now();
    let request = Request::new(Operation::Read, codec::encode(&read));
    let peer = Peer::node("server".to_owned(), NodeId(1), None);
    let answer = client.call(&peer, request, began + PATIENCE).await;
    assert!(answer.is_err(), "nobody answers");
    let all = service.tasks.acquire_many(TASKS_MAX as u32).await;
    assert!(all.is_ok() && began.elapsed() < CATCH_UP_WAIT, "its task went on for {:?}", began.elapsed());
}
