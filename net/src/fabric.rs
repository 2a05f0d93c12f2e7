//! The fabric: an [`Endpoint`] of libfabric with its threads, as a [`Transport`].
//!
//! Two links per peer that is called: one for control (requests without lent memory, posts) and one for bulk data, which may be closed to
//! take lent memory back. Who is called only answers on the caller's links. The frames are those of `types::wire::frame`; the rules are in
//! `docs/formats/wire.md`. Provider `verbs` follows the manual pages and was never run on hardware.

pub mod bench;
mod command;
mod drive;
mod handle;
mod link;
mod serving;
mod shard;
mod slots;
mod sys;

use std::hash::{BuildHasher, RandomState};
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;

use async_trait::async_trait;
use bytes::Bytes;
use tokio::sync::oneshot;
use tokio::time::Instant;
use types::wire::Operation;

use crate::gate::Gates;
use crate::transport::{check_head, check_request};
use crate::{BufPool, Identity, NetError, Peer, Reply, Request, Service, Timing, Transport};
use command::{CallCommand, Command, PostCommand};
use handle::ShardHandle;
use shard::ShardParts;
use sys::Fabric;
pub use sys::load;

/// Most shards of an endpoint.
pub const SHARDS_MAX: usize = 64;
/// Bytes of buffers that a storage process has by default.
pub const NODE_POOL_BYTES: usize = 192 * 1024 * 1024;
/// Bytes of buffers that a client has by default.
pub const CLIENT_POOL_BYTES: usize = 96 * 1024 * 1024;

/// Who drives an endpoint, and where the tasks of its service run.
#[derive(Clone, Debug)]
pub enum Drive {
    /// Threads of its own, one for each shard: nobody else can hold up the fabric.
    Threads,
    /// This runtime: an answer comes to its caller without another thread being woken, but whoever blocks the runtime stops the fabric. Best
    /// where that has one thread.
    Runtime(tokio::runtime::Handle),
}

/// How an endpoint is made.
#[derive(Clone)]
pub struct EndpointConfig {
    /// libfabric's provider: `tcp`, or `verbs` on RDMA hardware.
    pub provider: String,
    /// `IP:port` to be called at; port 0 picks one. `None` for who only calls.
    pub listen: Option<String>,
    /// Who this process is.
    pub identity: Identity,
    /// Who serves what comes in. Without one every request fails.
    pub service: Option<Arc<dyn Service>>,
    /// Size of the pool of buffers.
    pub pool_bytes: usize,
    /// Domains that peers are spread over.
    pub shards: usize,
    /// Who drives it.
    pub drive: Drive,
    /// Time-outs; the default is what production uses.
    pub timing: Timing,
}

impl EndpointConfig {
    /// An endpoint that listens and serves.
    pub fn node(identity: Identity, listen: impl Into<String>, service: Arc<dyn Service>) -> Self {
        Self {
            provider: "tcp".to_owned(),
            listen: Some(listen.into()),
            identity,
            service: Some(service),
            pool_bytes: NODE_POOL_BYTES,
            shards: 1,
            drive: Drive::Threads,
            timing: Timing::default(),
        }
    }

    /// An endpoint that only calls.
    pub fn client(identity: Identity) -> Self {
        Self {
            provider: "tcp".to_owned(),
            listen: None,
            identity,
            service: None,
            pool_bytes: CLIENT_POOL_BYTES,
            shards: 1,
            drive: Drive::Threads,
            timing: Timing::default(),
        }
    }
}

/// A running endpoint. It stops, with all its links, when it is dropped.
pub struct Endpoint {
    pool: BufPool,
    address: Option<String>,
    gates: Gates,
    shards: Arc<[Arc<ShardHandle>]>,
    threads: Mutex<Vec<JoinHandle<()>>>,
    spread: RandomState,
    next_call: AtomicU64,
}

impl Endpoint {
    /// Starts one: when this returns, it listens.
    pub fn start(config: EndpointConfig) -> Result<Arc<Self>, NetError> {
        if config.shards == 0 || config.shards > SHARDS_MAX {
            return Err(NetError::Config(format!("{} shards are not between 1 and {SHARDS_MAX}", config.shards)));
        }
        let parse = |text: &String| text.parse::<SocketAddr>().map_err(|e| NetError::Config(format!("`{text}` is not IP:port: {e}")));
        let listen = config.listen.as_ref().map(parse).transpose()?;
        let fabric = Fabric::open(&config.provider, listen)?;
        let pool = BufPool::new(config.pool_bytes)?;
        let mut this = Self {
            pool: pool.clone(),
            address: None,
            gates: Gates::default(),
            shards: (0..config.shards).map(|_| Arc::default()).collect(),
            threads: Mutex::default(),
            spread: RandomState::new(),
            next_call: AtomicU64::new(1),
        };
        let inbound = Arc::default();
        let instance = rand::random();
        // On an error `this` is dropped, which ends the shards that are open already.
        for index in 0..config.shards {
            let parts = ShardParts {
                fabric: fabric.clone(),
                pool: pool.clone(),
                listen: listen.filter(|_| index == 0),
                identity: config.identity,
                instance,
                service: config.service.clone(),
                timing: config.timing,
                shards: this.shards.clone(),
                index,
                inbound: Arc::clone(&inbound),
            };
            if let Some(address) = this.shards[index].open(parts)? {
                this.address = Some(address.to_string());
            }
        }
        for (index, shard) in this.shards.iter().enumerate() {
            match &config.drive {
                Drive::Threads => this.lock_threads().push(drive::spawn_thread(shard.clone(), index)?),
                Drive::Runtime(runtime) => drop(runtime.spawn(drive::drive(shard.clone(), index))),
            }
        }
        Ok(Arc::new(this))
    }

    /// Where it listens, with the port that was picked.
    pub fn local_address(&self) -> Option<&str> {
        self.address.as_deref()
    }

    /// Whether a shard has stopped: told to, or because the fabric itself failed (which is in the log). Nothing works on it any more; a process
    /// whose endpoint is closed against its will has to end.
    pub fn is_closed(&self) -> bool {
        self.shards.iter().any(|shard| shard.is_closed())
    }

    /// How many turns each shard has made. One that is driven makes some every second, whether there is anything to do or not.
    pub fn turns(&self) -> Vec<u64> {
        self.shards.iter().map(|shard| shard.turns()).collect()
    }

    /// Ends all links and stops the threads; every call fails from now on.
    pub fn shutdown(&self) {
        for shard in self.shards.iter() {
            shard.end();
        }
        let threads = std::mem::take(&mut *self.lock_threads());
        let own = std::thread::current().id();
        for thread in threads {
            // The last owner may be a task's result that a shard itself drops; who is in a shard cannot wait for its end.
            if thread.thread().id() != own && !ShardHandle::is_held_here() && thread.join().is_err() {
                tracing::error!(component = "net.fabric", "a shard's thread panicked");
            }
        }
    }

    fn lock_threads(&self) -> std::sync::MutexGuard<'_, Vec<JoinHandle<()>>> {
        self.threads.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn shard_of(&self, peer: &Peer) -> &Arc<ShardHandle> {
        let count = self.shards.len();
        &self.shards[if count == 1 { 0 } else { (self.spread.hash_one(&peer.address) % count as u64) as usize }]
    }
}

#[async_trait]
impl Transport for Endpoint {
    fn pool(&self) -> &BufPool {
        &self.pool
    }

    async fn call(&self, peer: &Peer, request: Request, deadline: Instant) -> Result<Reply, NetError> {
        check_request(&request, &self.pool)?;
        let Request { operation, head, lend } = request;
        let late = || NetError::TimedOut { peer: peer.address.clone(), operation };
        let gate = self.gates.of(&peer.address)?;
        let permit = tokio::time::timeout_at(deadline, gate.call(head.len())).await.map_err(|_| late())??;
        let left = deadline.saturating_duration_since(Instant::now());
        let deadline_ms = u32::try_from(left.as_millis()).unwrap_or(u32::MAX);
        let call = self.next_call.fetch_add(1, Ordering::Relaxed);
        let (done, result) = oneshot::channel();
        let shard = self.shard_of(peer);
        let command = CallCommand { call, peer: peer.clone(), operation, head, lend, deadline_ms, permit, done };
        if !shard.push(Command::Call(command)) {
            return Err(NetError::Closed);
        }
        // From here on whoever stops waiting says so, because lent memory must come back.
        let mut guard = CancelOnDrop { shard, call, armed: true };
        let result = tokio::time::timeout_at(deadline, result).await.map_err(|_| late())?;
        guard.armed = false;
        result.unwrap_or(Err(NetError::Closed))
    }

    fn post(&self, peer: &Peer, operation: Operation, head: Bytes) -> Result<(), NetError> {
        check_head(&head)?;
        let permit = self.gates.of(&peer.address)?.try_post(head.len())?;
        let command = PostCommand { peer: peer.clone(), operation, head, permit };
        if self.shard_of(peer).push(Command::Post(command)) { Ok(()) } else { Err(NetError::Closed) }
    }

    fn disconnect(&self, peer: &Peer) {
        self.shard_of(peer).push(Command::Disconnect(peer.address.clone()));
    }
}

impl Drop for Endpoint {
    fn drop(&mut self) {
        self.shutdown();
    }
}

/// Tells the shard that a caller does not wait any more.
struct CancelOnDrop<'a> {
    shard: &'a ShardHandle,
    call: u64,
    armed: bool,
}

impl Drop for CancelOnDrop<'_> {
    fn drop(&mut self) {
        if self.armed {
            self.shard.push(Command::Cancel(self.call));
        }
    }
}
