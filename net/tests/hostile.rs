//! The fabric against what is not our protocol, and against silence: only over libfabric, because it is about real sockets.
#![allow(clippy::unwrap_used, reason = "tests")]

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use bytes::Bytes;
use net::fabric::{Endpoint, EndpointConfig};
use net::{Identity, Incoming, Lend, NetError, Operation, Peer, Request, Service, Transport};
use rand::{RngCore, SeedableRng};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::Instant;
use types::{Boot, ClusterId, NodeId};

const CLUSTER: ClusterId = ClusterId(0xc1);
const POOL_BYTES: usize = 16 * 1024 * 1024;

/// Echo answers; everything else is held for ever.
#[derive(Default)]
struct Echo(std::sync::Mutex<Vec<Incoming>>);

impl Service for Echo {
    fn serve(&self, incoming: Incoming) {
        if incoming.operation == Operation::Echo {
            let head = incoming.head.clone();
            incoming.reply(head);
        } else {
            self.0.lock().unwrap().push(incoming);
        }
    }
}

fn node() -> (Arc<Endpoint>, String) {
    let identity = Identity { cluster: CLUSTER, node: NodeId(1), boot: Boot(1) };
    let config = EndpointConfig { pool_bytes: POOL_BYTES, ..EndpointConfig::node(identity, "127.0.0.1:0", Arc::new(Echo::default())) };
    let endpoint = Endpoint::start(config).unwrap();
    let address = endpoint.local_address().unwrap().to_owned();
    (endpoint, address)
}

fn client() -> Arc<Endpoint> {
    let config = EndpointConfig { pool_bytes: POOL_BYTES, ..EndpointConfig::client(Identity::client(CLUSTER)) };
    Endpoint::start(config).unwrap()
}

fn soon() -> Instant {
    Instant::now() + Duration::from_secs(20)
}

async fn echo(client: &Endpoint, peer: &Peer) -> Result<(), NetError> {
    client.call(peer, Request::new(Operation::Echo, Bytes::from_static(b"hello")), soon()).await.map(drop)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn garbage_on_the_port_harms_nobody() {
    let (_node, address) = node();
    let (client, peer) = (client(), Peer::at(address.clone()));
    echo(&client, &peer).await.unwrap();
    let mut random = rand_chacha::ChaCha8Rng::seed_from_u64(1);
    let mut open = Vec::new();
    for round in 0..64usize {
        let mut stream = TcpStream::connect(&address).await.unwrap();
        let mut bytes = vec![0; [0, 1, 7, 48, 300, 5000, 100_000][round % 7]];
        match round % 3 {
            0 => random.fill_bytes(&mut bytes),
            1 => bytes.fill(0),
            _ => bytes.iter_mut().zip(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n".iter().cycle()).for_each(|(to, from)| *to = *from),
        }
        // The other side may close while we write.
        let _ = stream.write_all(&bytes).await;
        if round % 2 == 0 {
            open.push(stream);
        }
        if round % 8 == 0 {
            echo(&client, &peer).await.unwrap();
        }
    }
    // Somebody new is served beside those who said nothing sensible and stay.
    let other = self::client();
    echo(&other, &peer).await.unwrap();
    echo(&client, &peer).await.unwrap();
}

/// Carries bytes between a new port and `to`; garbles or stops when it is told to.
struct Wire {
    address: String,
    stopped: Arc<AtomicBool>,
    garble: Arc<AtomicBool>,
}

impl Wire {
    async fn new(to: String) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let (stopped, garble) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicBool::new(false)));
        let this = Self { address, stopped: stopped.clone(), garble: garble.clone() };
        tokio::spawn(async move {
            while let Ok((near, _)) = listener.accept().await {
                let Ok(far) = TcpStream::connect(&to).await else { continue };
                let (near_in, near_out) = near.into_split();
                let (far_in, far_out) = far.into_split();
                tokio::spawn(carry(near_in, far_out, stopped.clone(), garble.clone()));
                tokio::spawn(carry(far_in, near_out, stopped.clone(), Arc::default()));
            }
        });
        this
    }
}

async fn carry(
    mut from: tokio::net::tcp::OwnedReadHalf,
    mut to: tokio::net::tcp::OwnedWriteHalf,
    stopped: Arc<AtomicBool>,
    garble: Arc<AtomicBool>,
) {
    let mut bytes = vec![0; 65536];
    while let Ok(count @ 1..) = from.read(&mut bytes).await {
        while stopped.load(Ordering::Relaxed) {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        if garble.load(Ordering::Relaxed) {
            // Behind the provider's own header, where ours lies.
            bytes[count - 1] ^= 0x10;
        }
        if to.write_all(&bytes[..count]).await.is_err() {
            return;
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_silent_link_is_dead_after_its_time_and_lent_memory_comes_back() {
    let (_node, address) = node();
    let wire = Wire::new(address).await;
    let (client, peer) = (client(), Peer::at(wire.address.clone()));
    echo(&client, &peer).await.unwrap();
    let lend = Lend::Room(client.pool().take(1000).await.unwrap());
    let waiting = tokio::spawn({
        let (client, peer) = (client.clone(), peer.clone());
        async move { client.call(&peer, Request::lending(Operation::Read, Bytes::new(), lend), soon()).await.map(drop) }
    });
    // The link for control lives and says so; only then it is cut.
    tokio::time::sleep(Duration::from_millis(700)).await;
    echo(&client, &peer).await.unwrap();
    wire.stopped.store(true, Ordering::Relaxed);
    let began = Instant::now();
    let result = waiting.await.unwrap();
    assert!(matches!(result, Err(NetError::Disconnected { .. })), "{result:?}");
    assert!(began.elapsed() > Duration::from_millis(1400) && began.elapsed() < Duration::from_secs(5), "{:?}", began.elapsed());
    tokio::time::timeout(Duration::from_secs(5), client.pool().take(POOL_BYTES)).await.unwrap().unwrap();
    // While it is cut, a call fails of the connection and not of its own deadline.
    let result = echo(&client, &peer).await;
    assert!(matches!(result, Err(NetError::Unreachable { .. } | NetError::Disconnected { .. })), "{result:?}");
    wire.stopped.store(false, Ordering::Relaxed);
    let deadline = soon();
    while echo(&client, &peer).await.is_err() {
        assert!(Instant::now() < deadline);
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_late_call_with_lent_memory_over_a_cut_link_gets_it_back_after_the_grace() {
    let (_node, address) = node();
    let wire = Wire::new(address).await;
    let (client, peer) = (client(), Peer::at(wire.address.clone()));
    let lend = || Lend::Room(client.pool().try_take(1000).unwrap());
    let late = Instant::now() + Duration::from_millis(200);
    client.call(&peer, Request::lending(Operation::Read, Bytes::new(), lend()), late).await.unwrap_err();
    let pool = client.pool();
    drop(tokio::time::timeout(Duration::from_secs(5), pool.take(POOL_BYTES)).await.unwrap().unwrap());
    wire.stopped.store(true, Ordering::Relaxed);
    let began = Instant::now();
    let result = client.call(&peer, Request::lending(Operation::Read, Bytes::new(), lend()), began + Duration::from_millis(200)).await;
    assert!(matches!(result, Err(NetError::TimedOut { .. })), "{result:?}");
    // Nobody confirms: the grace, and then the end of the link, give it back.
    drop(tokio::time::timeout(Duration::from_secs(5), pool.take(POOL_BYTES)).await.unwrap().unwrap());
    assert!(began.elapsed() > Duration::from_millis(600), "{:?}", began.elapsed());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_frame_that_was_garbled_on_the_way_ends_the_link_and_nothing_else() {
    let (_node, address) = node();
    let wire = Wire::new(address.clone()).await;
    let (client, peer) = (client(), Peer::at(wire.address.clone()));
    echo(&client, &peer).await.unwrap();
    wire.garble.store(true, Ordering::Relaxed);
    let result = echo(&client, &peer).await;
    assert!(matches!(result, Err(NetError::Disconnected { .. })), "{result:?}");
    wire.garble.store(false, Ordering::Relaxed);
    let deadline = soon();
    while echo(&client, &peer).await.is_err() {
        assert!(Instant::now() < deadline);
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    echo(&client, &Peer::at(address)).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_configuration_that_cannot_work_is_one_clear_error() {
    let identity = Identity { cluster: CLUSTER, node: NodeId(1), boot: Boot(1) };
    let (_node, address) = node();
    let start = |change: &dyn Fn(&mut EndpointConfig)| {
        let mut config =
            EndpointConfig { pool_bytes: POOL_BYTES, ..EndpointConfig::node(identity, "127.0.0.1:0", Arc::new(Echo::default())) };
        change(&mut config);
        Endpoint::start(config).map(drop).unwrap_err().to_string()
    };
    assert!(start(&|config| config.provider = "nonsense".to_owned()).contains("nonsense"));
    assert!(start(&|config| config.listen = Some("localhost".to_owned())).contains("IP:port"));
    assert!(start(&|config| config.shards = 0).contains("shards"));
    assert!(start(&|config| config.listen = Some(address.clone())).to_lowercase().contains("in use"));
}
