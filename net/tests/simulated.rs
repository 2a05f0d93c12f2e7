//! What only the simulated network can do: cuts, crashes, and the same run again from the same seed.
#![allow(clippy::unwrap_used, reason = "tests")]

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use net::sim::{Network, SimEndpoint, SimOptions};
use net::{Identity, Incoming, Lend, NetError, Operation, Peer, Request, Service, Transport};
use tokio::time::Instant;
use types::{Boot, ClusterId, NodeId};

const CLUSTER: ClusterId = ClusterId(0xc1);
const MIB: usize = 1024 * 1024;

/// Echo answers after a while, Read is held for ever.
#[derive(Default)]
struct Slow(std::sync::Mutex<Vec<Incoming>>);

impl Service for Slow {
    fn serve(&self, incoming: Incoming) {
        if incoming.operation == Operation::Echo {
            tokio::spawn(async move {
                tokio::time::sleep(Duration::from_micros(50)).await;
                let head = incoming.head.clone();
                incoming.reply(head);
            });
        } else {
            self.0.lock().unwrap().push(incoming);
        }
    }
}

fn node(network: &Network, address: &str) -> Arc<SimEndpoint> {
    let identity = Identity { cluster: CLUSTER, node: NodeId(1), boot: Boot(1) };
    network.endpoint(address, identity, Some(Arc::new(Slow::default())), 4 * MIB).unwrap()
}

fn client(network: &Network, address: &str) -> Arc<SimEndpoint> {
    network.endpoint(address, Identity::client(CLUSTER), None, 4 * MIB).unwrap()
}

fn soon() -> Instant {
    Instant::now() + Duration::from_secs(60)
}

async fn echo(client: &SimEndpoint, peer: &Peer) -> Result<(), NetError> {
    client.call(peer, Request::new(Operation::Echo, Bytes::from_static(b"x")), soon()).await.map(drop)
}

#[tokio::test(start_paused = true)]
async fn a_cut_is_silent_until_the_link_dies_of_it_and_lent_memory_comes_back_then() {
    let network = Network::new(1, SimOptions::default());
    let (_node, client, peer) = (node(&network, "n"), client(&network, "c"), Peer::at("n"));
    echo(&client, &peer).await.unwrap();
    for one_way in [("c", "n"), ("n", "c")] {
        let lend = Lend::Give(client.pool().take(4 * MIB).await.unwrap());
        let call = client.call(&peer, Request::lending(Operation::Read, Bytes::new(), lend), soon());
        let cut = async {
            tokio::time::sleep(Duration::from_millis(100)).await;
            network.cut(one_way.0, one_way.1);
            Instant::now()
        };
        let (result, began) = tokio::join!(call, cut);
        assert!(matches!(result, Err(NetError::Disconnected { .. })), "{result:?}");
        assert_eq!(began.elapsed(), Duration::from_secs(2));
        assert!(client.pool().try_take(4 * MIB).is_some());
        assert!(matches!(echo(&client, &peer).await, Err(NetError::Unreachable { .. } | NetError::Disconnected { .. })));
        network.heal_all();
        tokio::time::sleep(Duration::from_millis(60)).await;
        echo(&client, &peer).await.unwrap();
    }
}

#[tokio::test(start_paused = true)]
async fn what_a_short_cut_held_up_arrives_after_it() {
    let network = Network::new(1, SimOptions::default());
    let (_node, client, peer) = (node(&network, "n"), client(&network, "c"), Peer::at("n"));
    echo(&client, &peer).await.unwrap();
    network.cut_both("c", "n");
    let heal = async {
        tokio::time::sleep(Duration::from_millis(1500)).await;
        network.heal_both("c", "n");
    };
    let began = Instant::now();
    let (result, ()) = tokio::join!(echo(&client, &peer), heal);
    result.unwrap();
    assert!(began.elapsed() >= Duration::from_millis(1500));
}

#[tokio::test(start_paused = true)]
async fn a_crash_ends_the_calls_on_both_sides() {
    let network = Network::new(1, SimOptions::default());
    let (node, client, peer) = (node(&network, "n"), client(&network, "c"), Peer::at("n"));
    let waiting = client.call(&peer, Request::new(Operation::Read, Bytes::new()), soon());
    let crash = async {
        tokio::time::sleep(Duration::from_millis(10)).await;
        network.crash("n");
    };
    let (result, ()) = tokio::join!(waiting, crash);
    assert!(matches!(result, Err(NetError::Disconnected { .. })), "{result:?}");
    assert!(matches!(echo(&node, &Peer::at("c")).await, Err(NetError::Closed)));
    assert!(matches!(echo(&client, &peer).await, Err(NetError::Unreachable { .. })));
}

/// What a seed makes of some calls on a bad network: who was answered, when, and what the others got.
fn run(seed: u64) -> Vec<(Duration, Result<(), NetError>)> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
    runtime.block_on(async {
        let options = SimOptions { late_per_mille: 20, break_per_million: 20_000, ..SimOptions::default() };
        let network = Network::new(seed, options);
        let (_node, client, peer) = (node(&network, "n"), client(&network, "c"), Peer::at("n"));
        let began = Instant::now();
        let mut seen = Vec::new();
        for _ in 0..200 {
            let result = echo(&client, &peer).await;
            seen.push((began.elapsed(), result));
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        seen
    })
}

#[test]
fn the_same_seed_is_the_same_run() {
    let first = run(5);
    assert!(first.iter().any(|(_, result)| result.is_err()) && first.iter().any(|(_, result)| result.is_ok()));
    assert_eq!(first, run(5));
    assert_ne!(first, run(6));
}
