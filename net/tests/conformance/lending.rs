//! Lent memory: every size, parts, bounds, and that every buffer comes back.

use std::time::Duration;

use bytes::Bytes;
use net::{BufPool, Lend, NetError, Operation, Request, Transport};
use tokio::task::JoinSet;
use tokio::time::Instant;
use types::checksum::crc32c;

use crate::bed::{Bed, whole};
use crate::calls::soon;
use crate::service::pattern;

const MIB: usize = 1024 * 1024;
const SIZES: [usize; 9] = [0, 1, 4096, 65_536, MIB - 1, MIB, MIB + 1, 5 * MIB + 17, 16 * MIB];

pub async fn lent_data_of_every_size_is_pulled_whole(bed: &impl Bed) {
    let (node, client) = (bed.node(), bed.client());
    for length in SIZES {
        let mut buf = client.pool().take(length).await.unwrap();
        buf.copy_from_slice(&pattern(length));
        let sum = crc32c(&buf);
        let request = Request::lending(Operation::Sink, Bytes::new(), Lend::Give(buf));
        let reply = client.call(&node.peer(), request, soon()).await.unwrap();
        assert_eq!(reply.head[..], sum.to_le_bytes(), "{length}");
        let lent = reply.lent.unwrap();
        assert_eq!((lent.len(), reply.pushed), (length, 0));
        assert_eq!(crc32c(&lent), sum);
    }
    whole(client.pool()).await;
    whole(node.transport.pool()).await;
}

pub async fn lent_room_of_every_size_is_filled(bed: &impl Bed) {
    let (node, client) = (bed.node(), bed.client());
    for length in SIZES {
        let mut buf = client.pool().take(length).await.unwrap();
        buf.fill(0);
        let request = Request::lending(Operation::Source, Bytes::new(), Lend::Room(buf));
        let reply = client.call(&node.peer(), request, soon()).await.unwrap();
        let lent = reply.lent.unwrap();
        assert_eq!((lent.len(), reply.pushed), (length, length));
        assert!(lent[..] == pattern(length)[..], "{length}");
        assert_eq!(reply.head[..], crc32c(&lent).to_le_bytes());
    }
    whole(client.pool()).await;
    whole(node.transport.pool()).await;
}

/// A transfer that waits for the transport's clock (50 ms) would take twice the time that is allowed here; one that does not takes a fraction.
pub async fn small_transfers_do_not_wait_for_the_clock(bed: &impl Bed) {
    const TRANSFERS: u32 = 100;
    let (node, client) = (bed.node(), bed.client());
    for operation in [Operation::Sink, Operation::Source] {
        let mut buf = client.pool().take(4096).await.unwrap();
        let start = Instant::now();
        for _ in 0..TRANSFERS {
            let lend = if operation == Operation::Sink { Lend::Give(buf) } else { Lend::Room(buf) };
            let reply = client.call(&node.peer(), Request::lending(operation, Bytes::new(), lend), soon()).await.unwrap();
            buf = reply.lent.unwrap();
        }
        let allowed = TRANSFERS * Duration::from_millis(25);
        assert!(start.elapsed() < allowed, "{operation:?}: {:?}", start.elapsed());
    }
}

pub async fn a_server_may_pull_and_push_in_parts(bed: &impl Bed) {
    let (node, client) = (bed.node(), bed.client());
    let mut buf = client.pool().take(300_000).await.unwrap();
    buf.copy_from_slice(&pattern(300_000));
    let give = Request::lending(Operation::Read, Bytes::new(), Lend::Give(buf));
    let room = Request::lending(Operation::Read, Bytes::new(), Lend::Room(client.pool().take(300_000).await.unwrap()));
    let peer = node.peer();
    let server = async {
        for _ in 0..2 {
            let mut incoming = node.service.next_held().await;
            let mut part = node.transport.pool().take(65_536).await.unwrap();
            match incoming.lend().unwrap() {
                (300_000, false) => {
                    let mut got = Vec::new();
                    while got.len() < 300_000 {
                        part = incoming.pull(part).await.unwrap();
                        let length = part.len().min(300_000 - got.len());
                        got.extend_from_slice(&part[..length]);
                    }
                    assert!(got == pattern(300_000));
                }
                (300_000, true) => {
                    for piece in pattern(200_000).chunks(50_000) {
                        part[..piece.len()].copy_from_slice(piece);
                        part = incoming.push(part, piece.len()).await.unwrap();
                    }
                }
                other => panic!("{other:?}"),
            }
            incoming.reply(Bytes::new());
        }
    };
    let (given, filled, ()) = tokio::join!(client.call(&peer, give, soon()), client.call(&peer, room, soon()), server);
    given.unwrap();
    let filled = filled.unwrap();
    assert_eq!(filled.pushed, 200_000);
    assert!(filled.lent.unwrap()[..200_000] == pattern(200_000)[..]);
}

pub async fn a_server_cannot_reach_beyond_what_was_lent(bed: &impl Bed) {
    let (node, client) = (bed.node(), bed.client());
    let room = Request::lending(Operation::Read, Bytes::new(), Lend::Room(client.pool().take(1000).await.unwrap()));
    let peer = node.peer();
    let server = async {
        let mut incoming = node.service.next_held().await;
        let buf = node.transport.pool().take(2000).await.unwrap();
        assert!(matches!(incoming.push(buf, 1001).await, Err(NetError::TooLarge { .. })));
        let buf = node.transport.pool().take(2000).await.unwrap();
        assert!(matches!(incoming.pull(buf).await, Err(NetError::NotLent(_))));
        incoming.reply(Bytes::new());
    };
    let (reply, ()) = tokio::join!(client.call(&peer, room, soon()), server);
    reply.unwrap();
    whole(client.pool()).await;
    whole(node.transport.pool()).await;
}

pub async fn a_call_that_is_dropped_gives_its_buffer_back_and_its_server_is_told(bed: &impl Bed) {
    let (node, client) = (bed.node(), bed.client());
    for give in [true, false] {
        let buf = client.pool().take(MIB).await.unwrap();
        let lend = if give { Lend::Give(buf) } else { Lend::Room(buf) };
        let call = tokio::spawn({
            let (client, peer) = (client.clone(), node.peer());
            async move { client.call(&peer, Request::lending(Operation::Read, Bytes::new(), lend), soon()).await.map(drop) }
        });
        let mut incoming = node.service.next_held().await;
        assert!(!incoming.is_cancelled());
        call.abort();
        whole(client.pool()).await;
        assert!(incoming.is_cancelled());
        let buf = node.transport.pool().take(MIB).await.unwrap();
        let result = if give { incoming.pull(buf).await } else { incoming.push(buf, MIB).await };
        assert!(matches!(result, Err(NetError::CallerGone)), "{result:?}");
        incoming.reply(Bytes::new());
    }
    // The link is still there for others.
    client.call(&node.peer(), Request::new(Operation::Echo, Bytes::new()), soon()).await.unwrap();
    whole(node.transport.pool()).await;
}

pub async fn a_call_that_is_late_gives_its_buffer_back(bed: &impl Bed) {
    let (node, client) = (bed.node(), bed.client());
    let lend = Lend::Give(client.pool().take(MIB).await.unwrap());
    let deadline = Instant::now() + Duration::from_millis(200);
    let result = client.call(&node.peer(), Request::lending(Operation::Read, Bytes::new(), lend), deadline).await;
    assert!(matches!(result, Err(NetError::TimedOut { .. })), "{result:?}");
    whole(client.pool()).await;
}

pub async fn a_buffer_of_another_pool_cannot_be_lent(bed: &impl Bed) {
    let (node, client) = (bed.node(), bed.client());
    let other = BufPool::new(MIB).unwrap();
    let request = Request::lending(Operation::Sink, Bytes::new(), Lend::Give(other.take(10).await.unwrap()));
    assert!(matches!(client.call(&node.peer(), request, soon()).await, Err(NetError::NotLent(_))));
}

pub async fn no_buffer_leaks_when_calls_are_given_up_at_any_moment(bed: &impl Bed) {
    let (node, client) = (bed.node(), bed.client());
    let mut tasks = JoinSet::new();
    for task in 0..8u64 {
        let (client, peer) = (client.clone(), node.peer());
        tasks.spawn(async move {
            for round in 0..40u64 {
                // Deadlines from nothing to some milliseconds: some calls end before they are sent, some within a transfer, some well.
                let patience = Duration::from_micros((task * 7919 + round * 104_729) % 4000);
                let length = [1000, 65_536, 300_000, MIB][(task + round) as usize % 4];
                let Ok(buf) = client.pool().take(length).await else { continue };
                let (operation, lend) =
                    if (task ^ round) & 1 == 0 { (Operation::Sink, Lend::Give(buf)) } else { (Operation::Source, Lend::Room(buf)) };
                let request = Request::lending(operation, Bytes::new(), lend);
                // Whatever comes of it: only that the buffers come back is asked here.
                let _ = tokio::time::timeout(patience, client.call(&peer, request, soon())).await;
            }
        });
    }
    while let Some(task) = tasks.join_next().await {
        task.unwrap();
    }
    whole(client.pool()).await;
    whole(node.transport.pool()).await;
    still_works(&*client, &node).await;
}

async fn still_works(client: &dyn Transport, node: &crate::bed::Node) {
    let buf = client.pool().take(MIB).await.unwrap();
    let request = Request::lending(Operation::Source, Bytes::new(), Lend::Room(buf));
    let reply = client.call(&node.peer(), request, soon()).await.unwrap();
    assert!(reply.lent.unwrap()[..] == pattern(MIB)[..]);
}
