//! A whole daemon, from its store to its port, and its end.

use std::net::TcpListener;
use std::sync::Arc;
use std::time::Duration;

use ha_api::MESSAGE_BYTES_MAX;
use ha_api::config::HaConfig;
use ha_api::pb::ha_server::HaServer;
use ha_api::pb::peer_server::PeerServer;
use ha_api::tls::{Tls, incoming};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tonic::transport::Server;
use tonic::transport::server::TcpIncoming;

use crate::core::Core;
use crate::duties;
use crate::error::DaemonError;
use crate::lead::Lead;
use crate::machine::Machine;
use crate::peer::Peers;
use crate::raft::{Consensus, Group};
use crate::serve::client::HaService;
use crate::serve::peer::PeerService;
use crate::store::{Lock, Store};
use crate::topology::{addresses_of, topology_of};
use crate::web;

/// Largest request of a client: a report on very many groups.
const REQUEST_BYTES_MAX: usize = 16 * 1024 * 1024;
/// How long a client's connection may be silent before it is asked for a sign of life, before scaling.
const KEEP_ALIVE: Duration = Duration::from_millis(2000);

/// A running daemon. Its tasks end when it is dropped; [`Daemon::stop`] ends it in order.
#[derive(Debug)]
pub struct Daemon {
    core: Arc<Core>,
    tasks: JoinSet<()>,
    end: watch::Receiver<Option<End>>,
    /// Given up last.
    lock: Lock,
}

/// Why a daemon does not go on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum End {
    /// It cannot, in words.
    Failed(String),
    /// It is to start again: its store begins anew.
    Again,
}

/// Takes the address that a configuration says.
pub fn listen(address: &str) -> Result<TcpListener, DaemonError> {
    let failed = |source| DaemonError::Listen { address: address.into(), source };
    let listener = TcpListener::bind(address).map_err(failed)?;
    listener.set_nonblocking(true).map_err(failed)?;
    Ok(listener)
}

impl Daemon {
    /// Starts a daemon that serves on `listener`.
    pub async fn start(config: &HaConfig, listener: TcpListener) -> Result<Self, DaemonError> {
        config.check().map_err(DaemonError::Topology)?;
        let topology = topology_of(config)?;
        let node = config.node_id().ok_or_else(|| DaemonError::Topology(format!("no node `{}`", config.node)))?;
        let (dir, cluster, factor) = (config.dir.clone(), config.cluster, config.factor.get());
        let opened = tokio::task::spawn_blocking(move || Store::open(&dir, cluster, node)).await;
        let store = opened.map_err(|e| DaemonError::Raft(e.to_string()))??;
        let fresh = store.log.is_fresh() && store.snapshots.last().is_none();
        let addresses = addresses_of(config);
        let peers = Arc::new(Peers::new(store.identity, store.pins, &addresses, factor, config.tls.clone())?);
        let machine = Machine::open(store.snapshots)?;
        let group = Group::start(store.identity, store.log, machine.clone(), peers.clone(), factor).await?;
        let (lead, asks) = Lead::new(machine.clone(), Arc::new(group.clone()), factor);
        let core = Core::new(machine, group.clone(), lead.clone(), peers, addresses, factor);
        tracing::info!(%node, %cluster, incarnation = store.identity.incarnation, fresh, "the HA daemon starts");
        if config.insecure {
            tracing::warn!(listen = config.listen, "insecure: whoever reaches this port may do anything to the cluster");
        }

        let (tell, end) = watch::channel(None);
        let mut tasks = JoinSet::new();
        let serving = serve(core.clone(), fresh, listener, config.tls.clone())?;
        let tell_serving = tell.clone();
        tasks.spawn(async move {
            let why = serving.await;
            tell_serving.send_replace(Some(End::Failed(format!("the port: {why}"))));
        });
        let (tell_again, anew) = (tell.clone(), duties::anew::begin(core.clone(), config.dir.clone()));
        tasks.spawn(async move {
            let end = match anew.await {
                Ok(wish) => {
                    tracing::warn!(?wish, "the daemon starts again, with a store that begins anew");
                    End::Again
                }
                Err(error) => End::Failed(error.to_string()),
            };
            tell_again.send_replace(Some(end));
        });
        tasks.spawn(async move {
            let why = group.ended().await;
            tell.send_replace(Some(End::Failed(format!("raft: {why}"))));
        });
        if let Some(address) = &config.metrics {
            let (listener, shown, tls) = (tokio::net::TcpListener::from_std(listen(address)?), core.clone(), config.tls.clone());
            let listener = listener.map_err(|source| DaemonError::Listen { address: address.clone(), source })?;
            tasks.spawn(service::metrics::serve(listener, move |path| web::answer(shown.clone(), tls.clone(), path)));
        }
        tasks.spawn(lead.clone().grant_leases(asks));
        tasks.spawn(lead.direct());
        tasks.spawn(duties::probe(core.clone(), config.topology.voters(), fresh));
        tasks.spawn(duties::complete(core.clone(), topology));
        Ok(Self { core, tasks, end, lock: store.lock })
    }

    /// Waits until the daemon does not go on, with the reason.
    pub async fn ended(&self) -> End {
        let mut told = self.end.clone();
        match told.wait_for(Option::is_some).await {
            Ok(end) => end.clone().unwrap_or(End::Again),
            Err(_) => End::Failed("its tasks have ended".into()),
        }
    }

    /// Whether this daemon leads, with a quorum behind it.
    pub fn is_leader(&self) -> bool {
        self.core.group.standing().confirmed
    }

    /// Takes a snapshot of the state now, and lets the log before it go.
    pub async fn compact(&self) {
        self.core.group.compact().await;
    }

    /// Stops in order: no more requests, then Raft.
    pub async fn stop(mut self) {
        self.tasks.abort_all();
        while self.tasks.join_next().await.is_some() {}
        self.core.group.stop().await;
        drop(self.core);
        drop(self.lock);
    }
}

/// The services on a port; ends only where the port fails.
fn serve(
    core: Arc<Core>,
    fresh: bool,
    listener: TcpListener,
    tls: Option<Tls>,
) -> Result<impl Future<Output = String> + Send, DaemonError> {
    let failed = |source| DaemonError::Listen { address: "the port".into(), source };
    let listener = tokio::net::TcpListener::from_std(listener).map_err(failed)?;
    let keep_alive = Some(KEEP_ALIVE.mul_f64(core.factor));
    let ha = HaServer::new(HaService::new(core.clone()))
        .max_decoding_message_size(REQUEST_BYTES_MAX)
        .max_encoding_message_size(MESSAGE_BYTES_MAX);
    let peer = PeerServer::new(PeerService::new(core, fresh))
        .max_decoding_message_size(MESSAGE_BYTES_MAX)
        .max_encoding_message_size(MESSAGE_BYTES_MAX);
    let server =
        Server::builder().http2_keepalive_interval(keep_alive).http2_keepalive_timeout(keep_alive).add_service(ha).add_service(peer);
    Ok(async move {
        let served = match tls {
            None => server.serve_with_incoming(TcpIncoming::from(listener).with_nodelay(Some(true))).await,
            Some(tls) => {
                let (connections, accepting) = incoming(listener, tls);
                tokio::select! {
                    served = server.serve_with_incoming(connections) => served,
                    () = accepting => Ok(()),
                }
            }
        };
        match served {
            Ok(()) => "it was closed".into(),
            Err(e) => e.to_string(),
        }
    })
}
