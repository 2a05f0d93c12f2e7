//! How much may be under way to one peer: permits for calls and for posts, so that neither starves the other.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::{OwnedSemaphorePermit, Semaphore, TryAcquireError};

use crate::NetError;

/// What a permit stands for.
const PERMIT_BYTES: usize = 1024;
/// Permits for calls to a peer, from sending to answer: 16 MiB of heads.
const CALL_PERMITS: usize = 16 * 1024;
/// What a call takes at least: so 1024 are under way at most.
const CALL_PERMITS_MIN: usize = 16;
/// Permits for posts to a peer, until they are sent: 16 MiB of heads.
const POST_PERMITS: usize = 16 * 1024;
/// Most peers that an endpoint knows at once.
const PEERS_MAX: usize = 4096;

/// The permits of one peer.
pub(crate) struct Gate {
    calls: Arc<Semaphore>,
    posts: Arc<Semaphore>,
}

impl Gate {
    /// Waits for room for a call.
    pub(crate) async fn call(&self, head: usize) -> Result<OwnedSemaphorePermit, NetError> {
        let count = CALL_PERMITS_MIN + head / PERMIT_BYTES;
        self.calls.clone().acquire_many_owned(count as u32).await.map_err(|_| NetError::Closed)
    }

    /// Room for a post, or an error.
    pub(crate) fn try_post(&self, head: usize) -> Result<OwnedSemaphorePermit, NetError> {
        let count = 1 + head / PERMIT_BYTES;
        self.posts.clone().try_acquire_many_owned(count as u32).map_err(|e| match e {
            TryAcquireError::NoPermits => NetError::Busy("posts to this peer".to_owned()),
            TryAcquireError::Closed => NetError::Closed,
        })
    }

    fn is_idle(self: &Arc<Self>) -> bool {
        Arc::strong_count(self) == 1 && self.calls.available_permits() == CALL_PERMITS && self.posts.available_permits() == POST_PERMITS
    }
}

/// The permits of all peers.
#[derive(Default)]
pub(crate) struct Gates {
    peers: Mutex<HashMap<String, Arc<Gate>>>,
}

impl Gates {
    pub(crate) fn of(&self, address: &str) -> Result<Arc<Gate>, NetError> {
        let mut peers = self.peers.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(gate) = peers.get(address) {
            return Ok(gate.clone());
        }
        if peers.len() >= PEERS_MAX {
            peers.retain(|_, gate| !gate.is_idle());
            if peers.len() >= PEERS_MAX {
                return Err(NetError::Busy(format!("{PEERS_MAX} peers at once")));
            }
        }
        let gate = Arc::new(Gate { calls: Arc::new(Semaphore::new(CALL_PERMITS)), posts: Arc::new(Semaphore::new(POST_PERMITS)) });
        peers.insert(address.to_owned(), gate.clone());
        Ok(gate)
    }
}
