//! Messages to the other daemons: who is who, and Raft's network over them.
//!
//! Every message and every answer carries cluster, node, store and incarnation of its sender and the node it is for, and is refused where
//! any of that is not as it was. Raft's small messages have a connection of their own, so that no snapshot stands in their way.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, RwLock};
use std::time::Duration;

use ha_api::pb::peer_client::PeerClient;
use ha_api::pb::{PeerCall, PeerFrame};
use ha_api::tls::{Tls, channel};
use ha_api::{HaError, MESSAGE_BYTES_MAX};
use openraft::BasicNode;
use openraft::error::{InstallSnapshotError, NetworkError, RPCError, RaftError, RemoteError, Unreachable};
use openraft::network::{Backoff, RPCOption, RaftNetwork, RaftNetworkFactory};
use openraft::raft::{
    AppendEntriesRequest, AppendEntriesResponse, InstallSnapshotRequest, InstallSnapshotResponse, VoteRequest, VoteResponse,
};
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::sync::watch;
use tonic::transport::{Channel, Endpoint};
use types::codec::{decode, encode};
use types::{ClusterId, NodeId};

use crate::error::DaemonError;
use crate::raft::{HEARTBEAT, Types};
use crate::store::Identity;
use crate::store::pins::Pins;

/// How long a connection may take to come about.
const CONNECT: Duration = Duration::from_millis(500);
/// How long a connection may be silent before it is asked for a sign of life, and how long that may take.
const KEEP_ALIVE: Duration = Duration::from_millis(300);

/// The other daemons.
#[derive(Debug)]
pub struct Peers {
    /// Who this daemon is.
    pub identity: Identity,
    pins: Pins,
    factor: f64,
    tls: Option<Tls>,
    links: RwLock<BTreeMap<NodeId, Link>>,
    /// The last complaint about each peer: one is logged once, not with every message.
    complaints: Mutex<BTreeMap<NodeId, String>>,
    /// The generation of an HA that was made anew without this daemon; 0 where none is known.
    superseded: watch::Sender<u64>,
}

#[derive(Clone, Debug)]
struct Link {
    address: String,
    quick: PeerClient<Channel>,
    bulk: PeerClient<Channel>,
}

fn client(address: &str, factor: f64, tls: Option<&Tls>) -> Result<PeerClient<Channel>, DaemonError> {
    let keep_alive = KEEP_ALIVE.mul_f64(factor);
    let endpoint = Endpoint::from_shared(format!("http://{address}"))
        .map_err(|e| DaemonError::Topology(format!("`{address}`: {e}")))?
        .connect_timeout(CONNECT.mul_f64(factor))
        .tcp_nodelay(true)
        .http2_keep_alive_interval(keep_alive)
        .keep_alive_timeout(keep_alive)
        .keep_alive_while_idle(true);
    let client = PeerClient::new(channel(&endpoint, address, tls));
    Ok(client.max_decoding_message_size(MESSAGE_BYTES_MAX).max_encoding_message_size(MESSAGE_BYTES_MAX))
}

fn link(address: &str, factor: f64, tls: Option<&Tls>) -> Result<Link, DaemonError> {
    Ok(Link { address: address.into(), quick: client(address, factor, tls)?, bulk: client(address, factor, tls)? })
}

impl Peers {
    /// Links to the daemons at these addresses; they connect when they are used.
    pub fn new(
        identity: Identity,
        pins: Pins,
        addresses: &BTreeMap<NodeId, String>,
        factor: f64,
        tls: Option<Tls>,
    ) -> Result<Self, DaemonError> {
        let peers =
            Self { identity, pins, factor, tls, links: RwLock::default(), complaints: Mutex::default(), superseded: watch::Sender::new(0) };
        for (node, address) in addresses {
            peers.know(*node, address)?;
        }
        Ok(peers)
    }

    /// The daemon of a node is there from now on; nothing changes where that is known.
    pub fn know(&self, node: NodeId, address: &str) -> Result<(), DaemonError> {
        let mut links = self.links.write().expect("nobody panics with the lock");
        if node != self.identity.node && links.get(&node).is_none_or(|known| known.address != address) {
            links.insert(node, link(address, self.factor, self.tls.as_ref())?);
        }
        Ok(())
    }

    /// The store by which the daemon of a node is known.
    pub fn store_of(&self, node: NodeId) -> Option<u128> {
        self.pins.known(node)
    }

    /// Stores that are nobody's from now on.
    pub fn set_former(&self, stores: &BTreeSet<u128>) {
        self.pins.set_former(stores);
    }

    /// Daemons of other nodes than these are strangers from now on.
    pub fn keep_only(&self, nodes: impl Fn(NodeId) -> bool) {
        self.links.write().expect("nobody panics with the lock").retain(|node, _| nodes(*node));
    }

    /// The other daemons' nodes.
    pub fn others(&self) -> Vec<NodeId> {
        self.links.read().expect("nobody panics with the lock").keys().copied().collect()
    }

    fn link(&self, node: NodeId) -> Option<Link> {
        self.links.read().expect("nobody panics with the lock").get(&node).cloned()
    }

    /// One message and its answer.
    pub async fn call(&self, node: NodeId, call: PeerCall, body: Vec<u8>, within: Duration) -> Result<Vec<u8>, HaError> {
        let link = self.link(node).ok_or_else(|| HaError::NotFound(format!("{node} is not in the topology")))?;
        let mut client = if call == PeerCall::Snapshot { link.bulk } else { link.quick };
        let answer = tokio::time::timeout(within, client.call(self.frame(node, call, body))).await;
        let result = match answer {
            Err(_) => Err(HaError::Unknown(format!("{node} within {within:?}"))),
            Ok(Err(status)) => Err(status.into()),
            Ok(Ok(answer)) => {
                let answer = answer.into_inner();
                self.admit(&answer).map(|_| answer.body)
            }
        };
        match &result {
            Err(HaError::Stranger(why)) => self.complain(node, why),
            Ok(_) => drop(self.complaints.lock().expect("nobody panics with the lock").remove(&node)),
            Err(_) => {}
        }
        result
    }

    fn complain(&self, node: NodeId, why: &str) {
        let before = self.complaints.lock().expect("nobody panics with the lock").insert(node, why.into());
        if before.as_deref() != Some(why) {
            tracing::error!(%node, why, "this daemon and that one refuse each other");
        }
    }

    /// A frame from this daemon.
    pub fn frame(&self, to: NodeId, call: PeerCall, body: Vec<u8>) -> PeerFrame {
        PeerFrame {
            cluster: self.identity.cluster.0.to_be_bytes().to_vec(),
            from: self.identity.node.0.into(),
            to: to.0.into(),
            store: self.identity.store.to_be_bytes().to_vec(),
            incarnation: self.identity.incarnation,
            call: call.into(),
            body,
            generation: self.identity.generation,
            to_store: self.pins.known(to).map(|store| store.to_be_bytes().to_vec()).unwrap_or_default(),
        }
    }

    /// Whether a frame is from before HA was made anew: its sender is to hear of that.
    pub fn is_former(&self, frame: &PeerFrame) -> bool {
        frame.cluster == self.identity.cluster.0.to_be_bytes() && frame.generation < self.identity.generation
    }

    /// The generation of an HA that was made anew without this daemon; 0 where none is known.
    pub fn superseded(&self) -> watch::Receiver<u64> {
        self.superseded.subscribe()
    }

    /// Who sent a frame, if it is one of ours and the frame is for us.
    pub fn admit(&self, frame: &PeerFrame) -> Result<NodeId, HaError> {
        let number = |bytes: &[u8]| bytes.try_into().map(u128::from_be_bytes).ok();
        let node = |n: u32| u16::try_from(n).map(NodeId).ok();
        let (Some(cluster), Some(store), Some(from), Some(to)) =
            (number(&frame.cluster), number(&frame.store), node(frame.from), node(frame.to))
        else {
            return Err(HaError::Refused("not a message between HA daemons".into()));
        };
        let own = &self.identity;
        let peer =
            Identity { cluster: ClusterId(cluster), node: from, store, incarnation: frame.incarnation, generation: frame.generation };
        if peer.cluster == own.cluster && to != own.node {
            return Err(HaError::Stranger(format!("this is {}, not {to}: two daemons have each other's address", own.node)));
        }
        if peer.cluster == own.cluster && self.link(from).is_none() {
            return Err(HaError::Stranger(format!("{from} is not in the topology of {}", own.node)));
        }
        if peer.cluster == own.cluster && peer.generation > own.generation {
            self.superseded.send_replace(peer.generation);
            return Err(HaError::Stranger(format!("HA was made anew without {}: it begins anew, too", own.node)));
        }
        if peer.cluster == own.cluster && peer.generation < own.generation {
            return Err(HaError::Stranger(format!("{from} is of before HA was made anew")));
        }
        self.pins.check(own, &peer).map_err(HaError::Stranger)?;
        if !frame.to_store.is_empty() && number(&frame.to_store) != Some(own.store) {
            let why = format!(
                "{from} knows {} by another store: where it was wiped or is new hardware, `ha node replace {}`",
                own.node, own.node
            );
            return Err(HaError::Stranger(why));
        }
        Ok(from)
    }
}

/// Gives Raft its connections.
#[derive(Clone, Debug)]
pub struct Network(pub Arc<Peers>);

/// Raft's connection to one daemon.
#[derive(Debug)]
pub struct Connection {
    peers: Arc<Peers>,
    target: NodeId,
}

impl RaftNetworkFactory<Types> for Network {
    type Network = Connection;

    async fn new_client(&mut self, target: u64, _node: &BasicNode) -> Connection {
        // A number beyond 65,535 is in no topology: calls to it fail, as they should.
        Connection { peers: self.0.clone(), target: NodeId(u16::try_from(target).unwrap_or(0)) }
    }
}

type Failed<E = openraft::error::Infallible> = RPCError<u64, BasicNode, RaftError<u64, E>>;

impl Connection {
    async fn send<Q: Serialize, A: DeserializeOwned, E>(&self, call: PeerCall, request: &Q, option: &RPCOption) -> Result<A, Failed<E>>
    where
        E: std::error::Error + DeserializeOwned,
    {
        let answer = self.peers.call(self.target, call, encode(request), option.hard_ttl()).await;
        let bytes = answer.map_err(|e| match e {
            HaError::Unknown(_) => RPCError::Network(NetworkError::new(&e)),
            _ => RPCError::Unreachable(Unreachable::new(&e)),
        })?;
        let result: Result<A, RaftError<u64, E>> = decode(&bytes).map_err(|e| RPCError::Network(NetworkError::new(&e)))?;
        result.map_err(|e| RPCError::RemoteError(RemoteError::new(u64::from(self.target.0), e)))
    }
}

impl RaftNetwork<Types> for Connection {
    async fn append_entries(
        &mut self,
        request: AppendEntriesRequest<Types>,
        option: RPCOption,
    ) -> Result<AppendEntriesResponse<u64>, Failed> {
        self.send(PeerCall::Append, &request, &option).await
    }

    async fn install_snapshot(
        &mut self,
        request: InstallSnapshotRequest<Types>,
        option: RPCOption,
    ) -> Result<InstallSnapshotResponse<u64>, Failed<InstallSnapshotError>> {
        self.send(PeerCall::Snapshot, &request, &option).await
    }

    async fn vote(&mut self, request: VoteRequest<u64>, option: RPCOption) -> Result<VoteResponse<u64>, Failed> {
        self.send(PeerCall::Vote, &request, &option).await
    }

    /// A daemon that was away is asked again with every heartbeat: the first one after its return must not be late.
    fn backoff(&self) -> Backoff {
        Backoff::new(std::iter::repeat(HEARTBEAT.mul_f64(self.peers.factor)))
    }
}
