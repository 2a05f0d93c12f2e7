//! Calls and posts without lent memory.

use std::time::Duration;

use bytes::Bytes;
use net::{NetError, Operation, Request};
use tokio::task::JoinSet;
use tokio::time::Instant;
use types::limits::MESSAGE_HEAD_BYTES_MAX;

use crate::bed::Bed;
use crate::service::pattern;

pub fn soon() -> Instant {
    Instant::now() + Duration::from_secs(20)
}

pub async fn heads_of_every_size_come_back_whole(bed: &impl Bed) {
    let (node, client) = (bed.node(), bed.client());
    for length in [0, 1, 48, 16_383, 16_384, 16_385, 100_000, 1_000_000, MESSAGE_HEAD_BYTES_MAX] {
        let head = Bytes::from(pattern(length));
        let reply = client.call(&node.peer(), Request::new(Operation::Echo, head.clone()), soon()).await.unwrap();
        assert!(reply.head == head, "{length}");
        assert!(reply.lent.is_none());
    }
}

pub async fn a_head_above_the_bound_is_refused_before_it_is_sent(bed: &impl Bed) {
    let (node, client) = (bed.node(), bed.client());
    let head = Bytes::from(vec![0; MESSAGE_HEAD_BYTES_MAX + 1]);
    let result = client.call(&node.peer(), Request::new(Operation::Echo, head.clone()), soon()).await;
    assert!(matches!(result, Err(NetError::TooLarge { .. })));
    assert!(matches!(client.post(&node.peer(), Operation::Dtm, head), Err(NetError::TooLarge { .. })));
}

pub async fn many_calls_at_once_are_each_answered_with_their_own_answer(bed: &impl Bed) {
    let (node, client) = (bed.node(), bed.client());
    let mut calls = JoinSet::new();
    for number in 0..2000u32 {
        let (peer, client) = (node.peer(), client.clone());
        calls.spawn(async move {
            let mut head = number.to_le_bytes().to_vec();
            // Some of them longer than a frame.
            head.resize(4 + (number as usize % 7) * 9000, number as u8);
            let reply = client.call(&peer, Request::new(Operation::Echo, head.clone()), soon()).await.unwrap();
            assert!(reply.head == head);
        });
    }
    while let Some(call) = calls.join_next().await {
        call.unwrap();
    }
}

pub async fn an_unanswered_call_ends_at_its_deadline(bed: &impl Bed) {
    let (node, client) = (bed.node(), bed.client());
    let began = Instant::now();
    let deadline = began + Duration::from_millis(300);
    let result = client.call(&node.peer(), Request::new(Operation::Read, Bytes::new()), deadline).await;
    assert!(matches!(result, Err(NetError::TimedOut { operation: Operation::Read, .. })), "{result:?}");
    assert!(began.elapsed() >= Duration::from_millis(300) && began.elapsed() < Duration::from_secs(3));
    // The server knew the deadline, and a late answer harms nobody.
    let held = node.service.next_held().await;
    assert!(held.deadline < began + Duration::from_secs(2));
    held.reply(Bytes::new());
    client.call(&node.peer(), Request::new(Operation::Echo, Bytes::new()), soon()).await.unwrap();
}

pub async fn a_request_that_is_dropped_unanswered_is_an_error_at_once(bed: &impl Bed) {
    let (node, client) = (bed.node(), bed.client());
    let result = client.call(&node.peer(), Request::new(Operation::Scan, Bytes::new()), soon()).await;
    assert!(matches!(result, Err(NetError::NoAnswer { .. })), "{result:?}");
}

pub async fn posts_arrive_in_order(bed: &impl Bed) {
    let (node, client) = (bed.node(), bed.client());
    for number in 0..1000u32 {
        let mut head = number.to_le_bytes().to_vec();
        head.resize(4 + (number as usize % 5) * 6000, 1);
        client.post(&node.peer(), Operation::Dtm, head.into()).unwrap();
        if number % 100 == 99 {
            // Room for more: posts are bounded.
            client.call(&node.peer(), Request::new(Operation::Echo, Bytes::new()), soon()).await.unwrap();
        }
    }
    for number in 0..1000u32 {
        let head = node.service.next_post().await;
        assert_eq!(head[..4], number.to_le_bytes());
    }
}
