//! A simulated network behind the same traits as the fabric: for tests of whole nodes in one thread, on tokio's paused clock.
//!
//! Everything random comes from one seed. A [`Network`] has endpoints at addresses (any text), and faults: [`Network::cut`] makes a way
//! silent (nothing arrives, nobody is told, until the links die of silence), [`Network::crash`] ends an endpoint at once (its peers see
//! their links break). What is shared with the fabric: links are made when needed, messages of a link arrive in order or not at all, a
//! lent buffer stays lent until the peer's answer, its confirmed cancellation, or the end of the link.
//!
//! Not simulated: credits and the fabric's own queues.

mod exchange;
mod link;
mod world;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use tokio::sync::oneshot;
use tokio::time::Instant;
use types::wire::Operation;
use types::wire::hello::LinkRole;

use crate::gate::Gates;
use crate::transport::{check_head, check_request};
use crate::{BufPool, Identity, NetError, Peer, PeerIdentity, Reply, Request, Service, Timing, Transport};
use link::{Link, Message, Pending};
use world::World;

/// How the network behaves when nothing is cut.
#[derive(Clone, Copy, Debug)]
pub struct SimOptions {
    /// Shortest time that a message travels.
    pub latency_min: Duration,
    /// Longest time that a message travels.
    pub latency_max: Duration,
    /// How fast lent data moves.
    pub bytes_per_second: u64,
    /// Of a thousand messages so many are lost on the way and sent again by the layer below: they and all behind them are late.
    pub late_per_mille: u32,
    /// By how much.
    pub late_by: Duration,
    /// Of a million messages so many break their link.
    pub break_per_million: u32,
    /// Time-outs of the links.
    pub timing: Timing,
}

impl Default for SimOptions {
    fn default() -> Self {
        Self {
            latency_min: Duration::from_micros(20),
            latency_max: Duration::from_micros(100),
            bytes_per_second: 2 << 30,
            late_per_mille: 0,
            late_by: Duration::from_millis(200),
            break_per_million: 0,
            timing: Timing::default(),
        }
    }
}

/// A network. Cheap to clone: the clones are one.
#[derive(Clone)]
pub struct Network {
    world: Arc<World>,
}

impl Network {
    /// An empty network.
    pub fn new(seed: u64, options: SimOptions) -> Self {
        Self { world: Arc::new(World::new(seed, options)) }
    }

    /// Starts an endpoint at an address; whoever has a service can be called. Its tasks run on the current tokio runtime.
    pub fn endpoint(
        &self,
        address: &str,
        identity: Identity,
        service: Option<Arc<dyn Service>>,
        pool_bytes: usize,
    ) -> Result<Arc<SimEndpoint>, NetError> {
        let pool = BufPool::new(pool_bytes)?;
        let node = Arc::new(SimNode {
            address: address.to_owned(),
            identity: PeerIdentity { node: identity.node, boot: identity.boot, instance: self.world.draw() },
            cluster: identity.cluster,
            service,
        });
        self.world.enter(&node)?;
        Ok(Arc::new(SimEndpoint { network: self.clone(), node, pool, gates: Gates::default(), next_call: AtomicU64::new(1) }))
    }

    /// Lets nothing pass from one address to the other, that way only.
    pub fn cut(&self, from: &str, to: &str) {
        self.world.cut(from, to);
    }

    /// Lets everything pass again; what was held up arrives, if its link lives.
    pub fn heal(&self, from: &str, to: &str) {
        self.world.heal(from, to);
    }

    /// Both ways.
    pub fn cut_both(&self, one: &str, other: &str) {
        self.cut(one, other);
        self.cut(other, one);
    }

    /// Both ways.
    pub fn heal_both(&self, one: &str, other: &str) {
        self.heal(one, other);
        self.heal(other, one);
    }

    /// Heals every cut.
    pub fn heal_all(&self) {
        self.world.heal_all();
    }

    /// Ends the endpoint at that address as a killed process ends.
    pub fn crash(&self, address: &str) {
        self.world.leave(address, None);
    }
}

/// Who is at an address.
struct SimNode {
    address: String,
    identity: PeerIdentity,
    cluster: types::ClusterId,
    service: Option<Arc<dyn Service>>,
}

/// An endpoint of a simulated network. It leaves when it is dropped.
pub struct SimEndpoint {
    network: Network,
    node: Arc<SimNode>,
    pool: BufPool,
    gates: Gates,
    next_call: AtomicU64,
}

impl SimEndpoint {
    /// Its address.
    pub fn address(&self) -> &str {
        &self.node.address
    }

    fn link(&self, peer: &Peer, role: LinkRole) -> Result<Arc<Link>, NetError> {
        Link::between(&self.network.world, &self.node, peer, role)
    }
}

#[async_trait]
impl Transport for SimEndpoint {
    fn pool(&self) -> &BufPool {
        &self.pool
    }

    async fn call(&self, peer: &Peer, request: Request, deadline: Instant) -> Result<Reply, NetError> {
        check_request(&request, &self.pool)?;
        let Request { operation, head, lend } = request;
        let late = || NetError::TimedOut { peer: peer.address.clone(), operation };
        let gate = self.gates.of(&peer.address)?;
        let permit = tokio::time::timeout_at(deadline, gate.call(head.len())).await.map_err(|_| late())??;
        let link = self.link(peer, if lend.is_some() { LinkRole::Bulk } else { LinkRole::Control })?;
        let number = self.next_call.fetch_add(1, Ordering::Relaxed);
        let (done, result) = oneshot::channel();
        let lent = lend.as_ref().map(|lend| (lend.buf().len(), matches!(lend, crate::Lend::Room(_))));
        link.expect(number, Pending { operation, lend, done: Some(done), sent: false, _permit: permit });
        let mut guard = CancelOnDrop { link: &link, number, armed: true };
        link.send(Message::Request { number, operation, head, lent, deadline, peer: peer.clone() });
        let result = tokio::time::timeout_at(deadline, result).await.map_err(|_| late())?;
        guard.armed = false;
        result.unwrap_or(Err(NetError::Closed))
    }

    fn post(&self, peer: &Peer, operation: Operation, head: Bytes) -> Result<(), NetError> {
        check_head(&head)?;
        let permit = self.gates.of(&peer.address)?.try_post(head.len())?;
        match self.link(peer, LinkRole::Control) {
            Ok(link) => link.send(Message::Post { operation, head, peer: peer.clone(), _permit: permit }),
            Err(NetError::Closed) => return Err(NetError::Closed),
            // As on the fabric: a post says only that it was queued.
            Err(_) => {}
        }
        Ok(())
    }

    fn disconnect(&self, peer: &Peer) {
        self.network.world.end_links(|link| link.is_between(&self.node, &peer.address), "it was told to end");
    }
}

impl Drop for SimEndpoint {
    fn drop(&mut self) {
        self.network.world.leave(&self.node.address, Some(&self.node));
    }
}

struct CancelOnDrop<'a> {
    link: &'a Arc<Link>,
    number: u64,
    armed: bool,
}

impl Drop for CancelOnDrop<'_> {
    fn drop(&mut self) {
        if self.armed {
            self.link.cancel(self.number);
        }
    }
}
