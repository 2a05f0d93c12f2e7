//! Bounds: what is beyond them waits or is refused, and nothing is lost.

use bytes::Bytes;
use net::{NetError, Operation, Request};
use tokio::task::JoinSet;

use crate::bed::Bed;
use crate::calls::soon;

pub async fn posts_beyond_the_bound_are_refused_and_later_taken_again(bed: &impl Bed) {
    let (node, client) = (bed.node(), bed.client());
    let head = Bytes::from(vec![3; 1024 * 1024]);
    let mut taken = 0;
    let refused = loop {
        match client.post(&node.peer(), Operation::Dtm, head.clone()) {
            Ok(()) => taken += 1,
            Err(error) => break error,
        }
        assert!(taken < 10_000, "there is no bound");
    };
    assert!(matches!(refused, NetError::Busy(_)), "{refused:?}");
    for _ in 0..taken {
        assert_eq!(node.service.next_post().await, head);
    }
    client.post(&node.peer(), Operation::Dtm, Bytes::from_static(b"last")).unwrap();
    assert_eq!(node.service.next_post().await[..], b"last"[..]);
}

pub async fn calls_beyond_the_bound_wait_for_their_turn(bed: &impl Bed) {
    const CALLS: usize = 1500;
    let (node, client) = (bed.node(), bed.client());
    let mut calls = JoinSet::new();
    for _ in 0..CALLS {
        let (client, peer) = (client.clone(), node.peer());
        calls.spawn(async move { client.call(&peer, Request::new(Operation::Read, Bytes::new()), soon()).await });
    }
    let mut held_most = 0;
    for _ in 0..CALLS {
        let incoming = node.service.next_held().await;
        held_most = held_most.max(node.service.held.lock().unwrap().len() + 1);
        incoming.reply(Bytes::new());
    }
    while let Some(call) = calls.join_next().await {
        call.unwrap().unwrap();
    }
    assert!(held_most <= 1024, "{held_most} at once");
}
