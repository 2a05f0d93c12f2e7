//! The fabric of a simulated process: messages to peers are kept until the world takes them. Nothing is asked over it.

use std::sync::Mutex;

use async_trait::async_trait;
use bytes::Bytes;
use net::{BufPool, NetError, Operation, Peer, Reply, Request, Transport};
use types::Boot;

use super::packet::Packet;
use crate::sim::network::NodeNumber;

/// What was sent and not taken yet.
pub struct Wire {
    pool: BufPool,
    sent: Mutex<Vec<(NodeNumber, Option<Boot>, Bytes)>>,
}

impl Wire {
    /// With nothing sent.
    pub fn new(pool_bytes: usize) -> Result<Self, String> {
        Ok(Self { pool: BufPool::new(pool_bytes).map_err(|error| error.to_string())?, sent: Mutex::default() })
    }

    /// What was sent since the last time, by a process of that boot.
    pub fn take(&self, boot: Boot) -> Vec<(NodeNumber, Packet)> {
        let sent = std::mem::take(&mut *self.sent.lock().expect("nobody panics with the lock"));
        sent.into_iter().map(|(to, peer, head)| (to, Packet::Dtm { boot, to: peer, head: head.to_vec() })).collect()
    }
}

#[async_trait]
impl Transport for Wire {
    fn pool(&self) -> &BufPool {
        &self.pool
    }

    async fn call(&self, _: &Peer, _: Request, _: tokio::time::Instant) -> Result<Reply, NetError> {
        Err(NetError::Closed)
    }

    fn post(&self, peer: &Peer, operation: Operation, head: Bytes) -> Result<(), NetError> {
        // The address of a simulated process is its number.
        let to: NodeNumber = peer.address.parse().map_err(|_| NetError::Config(format!("`{}` is no simulated process", peer.address)))?;
        if operation == Operation::Dtm {
            self.sent.lock().expect("nobody panics with the lock").push((to, peer.boot, head));
        }
        Ok(())
    }

    fn disconnect(&self, _: &Peer) {}
}
