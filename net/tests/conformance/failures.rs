//! Peers that are not there, go away, come back, or are somebody else.

use std::time::Duration;

use bytes::Bytes;
use net::{Identity, Lend, NetError, Operation, Peer, Reply, Request, Transport};
use tokio::time::Instant;
use types::{Boot, ClusterId, NodeId};

use crate::bed::{Bed, identity, whole};
use crate::calls::soon;

fn echo() -> Request {
    Request::new(Operation::Echo, Bytes::new())
}

/// Calls until it is answered, as a caller does who knows that the peer is coming back.
async fn until_answered(client: &dyn Transport, peer: &Peer) -> Reply {
    let deadline = soon();
    loop {
        match client.call(peer, echo(), deadline).await {
            Ok(reply) => return reply,
            Err(error) => assert!(Instant::now() < deadline, "{error}"),
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

pub async fn nobody_there_is_an_error_before_the_deadline(bed: &impl Bed) {
    let node = bed.node();
    let peer = node.peer();
    drop(node);
    let client = bed.client();
    let began = Instant::now();
    let lend = Lend::Give(client.pool().take(10).await.unwrap());
    let result = client.call(&peer, Request::lending(Operation::Sink, Bytes::new(), lend), soon()).await;
    assert!(matches!(result, Err(NetError::Unreachable { .. })), "{result:?}");
    assert!(result.unwrap_err().is_not_sent());
    assert!(began.elapsed() < Duration::from_secs(5));
    whole(client.pool()).await;
}

pub async fn another_cluster_is_refused(bed: &impl Bed) {
    let node = bed.node();
    let stranger = bed.client_of(Identity::client(ClusterId(0xbad)));
    let result = stranger.call(&node.peer(), echo(), soon()).await;
    match result {
        Err(NetError::Unreachable { reason, .. }) => assert!(reason.contains("another cluster"), "{reason}"),
        other => panic!("{other:?}"),
    }
    bed.client().call(&node.peer(), echo(), soon()).await.unwrap();
}

pub async fn a_peer_that_stops_fails_its_calls_and_is_reached_again_when_it_returns(bed: &impl Bed) {
    let (node, client) = (bed.node(), bed.client());
    let peer = node.peer();
    let lend = Lend::Room(client.pool().take(100_000).await.unwrap());
    let waiting = tokio::spawn({
        let (client, peer) = (client.clone(), peer.clone());
        async move { client.call(&peer, Request::lending(Operation::Read, Bytes::new(), lend), soon()).await.map(drop) }
    });
    let held = node.service.next_held().await;
    drop(node);
    let result = waiting.await.unwrap();
    assert!(matches!(result, Err(NetError::Disconnected { .. })), "{result:?}");
    assert!(held.is_cancelled());
    whole(client.pool()).await;
    drop(held);
    let node = bed.start(identity(2), Some(&peer.address));
    until_answered(&*client, &peer).await;
    drop(node);
}

pub async fn an_older_start_of_a_peer_is_not_taken_for_the_newer(bed: &impl Bed) {
    let (node, client) = (bed.start(identity(5), None), bed.client());
    let at = |boot| Peer::node(node.address.clone(), NodeId(1), Some(Boot(boot)));
    client.call(&at(5), echo(), soon()).await.unwrap();
    let result = client.call(&at(4), echo(), soon()).await;
    assert!(matches!(result, Err(NetError::WrongPeer { .. })), "{result:?}");
    // One that is not there yet: the link is made anew, finds the old start, and the call fails.
    let result = client.call(&at(6), echo(), soon()).await;
    assert!(matches!(result, Err(NetError::WrongPeer { .. })), "{result:?}");
    let other = Peer::node(node.address.clone(), NodeId(2), None);
    let result = client.call(&other, echo(), soon()).await;
    assert!(matches!(result, Err(NetError::WrongPeer { .. })), "{result:?}");
    client.call(&node.peer(), echo(), soon()).await.unwrap();
    let address = node.address.clone();
    drop(node);
    let _node = bed.start(identity(6), Some(&address));
    let newer = Peer::node(address, NodeId(1), Some(Boot(6)));
    until_answered(&*client, &newer).await;
}

pub async fn a_told_disconnect_ends_calls_and_the_next_one_connects_anew(bed: &impl Bed) {
    let (node, client) = (bed.node(), bed.client());
    let peer = node.peer();
    let waiting = tokio::spawn({
        let (client, peer) = (client.clone(), peer.clone());
        async move { client.call(&peer, Request::new(Operation::Read, Bytes::new()), soon()).await.map(drop) }
    });
    let _held = node.service.next_held().await;
    client.disconnect(&peer);
    let result = waiting.await.unwrap();
    assert!(matches!(result, Err(NetError::Disconnected { .. })), "{result:?}");
    client.call(&peer, echo(), soon()).await.unwrap();
}
