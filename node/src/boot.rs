//! One life of the process, as a list of calls in order: open the devices, register with HA, take in its log, format what is new, bring the
//! machines back, start the fabric, the drivers and the duties; then wait for the end.
//!
//! A life ends when the process is asked to stop, or when HA says that this start of it is over: it was cut off or hung for too long, and
//! others took its place. Then everything is let go and the caller begins a new life, which registers anew and recovers.

use std::collections::{BTreeMap, HashMap};
use std::future::Future;
use std::sync::{Arc, OnceLock};
use std::thread::JoinHandle;
use std::time::Duration;

use ha_api::config::NodeConfig;
use ha_api::{ClientOptions, HaClient, HaError, Registered};
use ha_state::lease::Timing;
use net::Transport;
use net::fabric::{Endpoint, EndpointConfig};
use s3::Webhooks;
use storage::EndsProcess;
use tokio::sync::watch;
use tokio::task::JoinSet;
use types::{Boot, DeviceId, Epoch, Incarnation, NodeId};

use crate::confirm::Confirming;
use crate::devices::{self, InUse};
use crate::driver::{Clock, Driver, DriverInbox, Place, Surroundings};
use crate::error::NodeError;
use crate::fences::Fences;
use crate::follow::Following;
use crate::gateway::Known;
use crate::hearing::Hearing;
use crate::lease::Lease;
use crate::lease::renew::Renewal;
use crate::metrics::{self, EventCounts, Requests};
use crate::peers::Peers;
use crate::rebuild::{self, RebuildOptions};
use crate::repair::{self, Repairs};
use crate::report::{DeviceEnd, HowEnded, Reports};
use crate::scrub::{self, ScrubOptions};
use crate::serve::{LocalDevice, Node, NodeService};
use crate::sweep::{Sweep, SweepOptions};
use crate::view::Views;
use crate::watch::{Watch, Watched};

/// First pause between attempts to reach HA; doubles up to [`PAUSE_MAX`].
const PAUSE_MIN: Duration = Duration::from_millis(100);
/// Longest pause between attempts to reach HA.
const PAUSE_MAX: Duration = Duration::from_secs(2);
/// Attempts to listen at an address that the process before this one may still hold.
const LISTEN_ATTEMPTS: u32 = 20;
/// Pause between them.
const LISTEN_PAUSE: Duration = Duration::from_millis(100);
/// How long drivers may take to end.
const LET_GO: Duration = Duration::from_secs(10);
/// How often it is looked whether the fabric still works.
const ENDPOINT_LOOK: Duration = Duration::from_millis(250);
/// Bytes of the buffers that data goes through: with the caches of the devices, well within 512 MiB.
const POOL_BYTES: usize = 128 * 1024 * 1024;

/// What is not in the configuration file.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// Of the sweep.
    pub sweep: SweepOptions,
    /// Of the scrub.
    pub scrub: ScrubOptions,
    /// Of rebuilding.
    pub rebuild: RebuildOptions,
    /// Of those who are told of events.
    pub webhooks: Webhooks,
}

/// Why a life ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ended {
    /// It was asked to.
    Stopped,
    /// HA gave this start of the process up, in words; a new one may begin.
    Superseded(String),
}

/// Lives once: until `stop` says so, or HA does. `serving` is told when the process takes requests.
///
/// `known` is what the S3 role reads, of this life while it lasts.
pub async fn run(
    config: &NodeConfig,
    options: Options,
    known: &Known,
    serving: impl FnOnce(),
    stop: impl Future<Output = ()>,
) -> Result<Ended, NodeError> {
    tokio::pin!(stop);
    let begun = tokio::select! {
        life = Life::begin(config, options, known) => life?,
        () = &mut stop => return Ok(Ended::Stopped),
    };
    let (mut life, over) = begun;
    serving();
    let ended = tokio::select! {
        () = stop => Ended::Stopped,
        why = over => Ended::Superseded(why),
    };
    tracing::info!(?ended, "the process lets go of its devices");
    known.forget();
    life.end().await;
    Ok(ended)
}

/// What runs during a life.
struct Life {
    endpoint: Arc<Endpoint>,
    drivers: Vec<JoinHandle<()>>,
    inboxes: Vec<Arc<DriverInbox>>,
    duties: JoinSet<()>,
}

impl Life {
    async fn begin(
        config: &NodeConfig,
        options: Options,
        known: &Known,
    ) -> Result<(Self, impl Future<Output = String> + use<>), NodeError> {
        let ha = connect(config)?;
        let me = node_id(&ha, &config.node).await?;
        let views = Arc::new(Views::default());
        let found = devices::open_all(config, &views)?;
        let registered = register(&ha, me, &found.found).await?;
        let (boot_tx, boot) = watch::channel(Some(registered.boot));
        let (inboxes_tx, inboxes_rx) = watch::channel(Vec::new());
        let following = Following::new(me, ha.follow(0), views.clone(), inboxes_rx);
        let mut duties = JoinSet::new();
        let (over_tx, mut over_rx) = tokio::sync::mpsc::channel::<String>(2);
        let over = over_tx.clone();
        duties.spawn(async move {
            let why = following.run(boot).await;
            drop(boot_tx);
            // Whoever ends first says why; nobody waits for the second.
            let _second = over.try_send(why);
        });
        taken_in(&views, registered.epoch).await;
        let settled = devices::settle(config, found.open, &registered.devices, &views)?;
        let parts = Parts::new(config, me, &registered, views, settled.in_use);
        parts.tell_of_mended_devices();
        parts.tell_of_failed_devices(settled.failed);
        let machines = parts.machines();
        let endpoint = listen(config, &parts).await?;
        let transport: Arc<dyn Transport> = endpoint.clone();
        if parts.node.transport.set(transport.clone()).is_err() {
            unreachable!("the transport is set here only");
        }
        let drivers = parts.start_drivers(machines, transport)?;
        let inboxes: Vec<Arc<DriverInbox>> = parts.node.devices.values().map(|device| device.inbox.clone()).collect();
        inboxes_tx.send_replace(inboxes.clone());
        inboxes.iter().for_each(|inbox| inbox.ring());
        known.learn(parts.around.views.clone(), parts.around.lease.clone());
        parts.start_duties(&ha, (options, config.factor.get()), &inboxes, over_tx, &mut duties, endpoint.clone());
        if let Some(address) = config.metrics.clone() {
            duties.spawn(metrics::run(parts.node.clone(), address, config.tls.clone(), known.figures.clone()));
        }
        tracing::info!(node = %me, boot = %registered.boot, epoch = %registered.epoch, fabric = config.fabric, "serving");
        let over = async move { over_rx.recv().await.unwrap_or_else(|| "its duties ended".into()) };
        Ok((Self { endpoint, drivers, inboxes, duties }, over))
    }

    /// Lets everything go, so that another life of this process, or another process, can take it.
    async fn end(&mut self) {
        self.duties.shutdown().await;
        self.inboxes.iter().for_each(|inbox| inbox.stop());
        let (endpoint, drivers) = (self.endpoint.clone(), std::mem::take(&mut self.drivers));
        let letting_go = tokio::task::spawn_blocking(move || {
            endpoint.shutdown();
            for driver in drivers {
                if driver.join().is_err() {
                    tracing::error!("a driver had broken an invariant");
                }
            }
        });
        match tokio::time::timeout(LET_GO, letting_go).await {
            Ok(Ok(())) => {}
            Ok(Err(_)) => tracing::error!("letting go ended in a panic"),
            Err(_) => tracing::error!("a device hangs and is not waited for: it stays locked until this process has ended"),
        }
    }
}

/// What the life is made of, before it runs.
struct Parts {
    me: NodeId,
    boot: Boot,
    node: Arc<Node>,
    around: Surroundings,
    in_use: BTreeMap<DeviceId, InUse>,
}

type Machines = Vec<(Place, Vec<(types::GroupId, dtm::Replica)>)>;

impl Parts {
    fn new(config: &NodeConfig, me: NodeId, registered: &Registered, views: Arc<Views>, in_use: BTreeMap<DeviceId, InUse>) -> Self {
        let lease = Lease::new(Timing::scaled(config.factor.get()));
        lease.set_time(registered.ha_time, std::time::Instant::now());
        let around = Surroundings {
            views,
            fences: Arc::new(Fences::new(in_use.keys().copied())),
            permits: Arc::default(),
            lease: Arc::new(lease),
            rooms: Arc::default(),
            reports: Reports::default(),
        };
        let local = |store: &storage::Device| LocalDevice::new(store.clone(), POOL_BYTES, in_use.len());
        let node = Node {
            me,
            boot: registered.boot,
            views: around.views.clone(),
            fences: around.fences.clone(),
            permits: around.permits.clone(),
            lease: around.lease.clone(),
            rooms: around.rooms.clone(),
            repairs: Repairs::default(),
            devices: in_use.iter().map(|(id, (store, _))| (*id, local(store))).collect::<HashMap<_, _>>(),
            reports: around.reports.clone(),
            clock: Clock::start(),
            requests: Requests::default(),
            events: EventCounts::default(),
            transport: OnceLock::new(),
        };
        Self { me, boot: registered.boot, node: Arc::new(node), around, in_use }
    }

    /// Damage that was found and made good while a device was opened is an error of it all the same.
    fn tell_of_mended_devices(&self) {
        for (device, (store, _)) in self.in_use.iter().filter(|(_, (store, _))| store.superblocks_mended() > 0) {
            let count = store.superblocks_mended();
            self.around.reports.trouble(*device, format!("{count} superblock was damaged, and is written anew from its copy"));
        }
    }

    /// What could not be made use of has failed: the others go on without it.
    fn tell_of_failed_devices(&self, failed: Vec<(DeviceId, Incarnation, String)>) {
        for (device, incarnation, reason) in failed {
            self.around.reports.failed(device, DeviceEnd { incarnation: Some(incarnation), how: HowEnded::Broke, reason });
        }
    }

    /// The machines of every device. One whose contents cannot be is told to HA as failed, and stands still.
    fn machines(&self) -> Machines {
        let config = Arc::new(dtm::Config::default());
        let view = self.around.views.now();
        let mut machines = Vec::new();
        for (device, (store, incarnation)) in &self.in_use {
            let place = Place { node: self.me, boot: self.boot, device: *device, incarnation: *incarnation };
            let registered = view.map.devices.get(device).map_or(Epoch(0), |device| device.registered);
            let fenced = store.meta().views().map_err(|error| error.to_string());
            let replicas = fenced.and_then(|fenced| {
                self.around.fences.raise(*device, &fenced);
                crate::driver::replicas(store, place, registered, &config).map_err(|error| error.to_string())
            });
            match replicas {
                Ok(replicas) => machines.push((place, replicas)),
                Err(reason) => {
                    store.fail(&reason);
                    let end = DeviceEnd { incarnation: Some(*incarnation), how: HowEnded::Broke, reason };
                    self.around.reports.failed(*device, end);
                    self.around.fences.retire(*device);
                    self.node.devices[device].inbox.stop();
                }
            }
        }
        machines
    }

    fn start_drivers(&self, machines: Machines, transport: Arc<dyn Transport>) -> Result<Vec<JoinHandle<()>>, NodeError> {
        let local = self.node.devices.iter().map(|(id, device)| (*id, device.inbox.clone())).collect();
        let peers = Arc::new(Peers::new(transport, self.around.views.clone(), self.around.rooms.clone(), local));
        let mut drivers = Vec::new();
        for (place, replicas) in machines {
            let LocalDevice { store, inbox, .. } = self.node.devices[&place.device].clone();
            let driver = Driver::new(place, store, peers.clone(), self.around.clone(), inbox, replicas);
            let thread = std::thread::Builder::new().name(format!("driver-{}", place.device.0));
            drivers.push(
                thread
                    .spawn(|| {
                        let _guard = EndsProcess("driver");
                        driver.run();
                    })
                    .map_err(|error| NodeError::System { what: "starting a thread", error })?,
            );
        }
        Ok(drivers)
    }

    /// The devices, as who looks whether they hang sees them.
    fn watched(&self) -> Vec<Watched> {
        let watched = |(device, (store, incarnation)): (&DeviceId, &InUse)| {
            let (looks, fails) = (store.clone(), store.clone());
            Watched {
                device: *device,
                incarnation: *incarnation,
                inbox: self.node.devices[device].inbox.clone(),
                busy_since: Box::new(move || looks.busy_since()),
                fail: Box::new(move |reason| fails.fail(reason)),
            }
        };
        self.in_use.iter().map(watched).collect()
    }

    fn start_duties(
        &self,
        ha: &HaClient,
        (options, factor): (Options, f64),
        inboxes: &[Arc<DriverInbox>],
        over: tokio::sync::mpsc::Sender<String>,
        duties: &mut JoinSet<()>,
        endpoint: Arc<Endpoint>,
    ) {
        let turns = endpoint.clone();
        let watch = Watch::new(self.around.clone(), self.watched(), factor, Box::new(move || turns.turns()));
        let deaf = over.clone();
        duties.spawn(async move {
            while !endpoint.is_closed() {
                tokio::time::sleep(ENDPOINT_LOOK).await;
            }
            let _second = deaf.try_send("the fabric failed".into());
        });
        let renewal = Renewal {
            ha: ha.clone(),
            node: self.me,
            boot: self.boot,
            lease: self.around.lease.clone(),
            views: self.around.views.clone(),
            fences: self.around.fences.clone(),
            load: {
                let node = self.node.clone();
                Box::new(move || node.load())
            },
            inboxes: inboxes.to_vec(),
            watch,
        };
        duties.spawn(async move {
            let _second = over.try_send(renewal.run().await);
        });
        let hearing = Hearing {
            ha: ha.clone(),
            me: self.me,
            boot: self.boot,
            reports: self.around.reports.clone(),
            views: self.around.views.clone(),
            incarnations: self.in_use.iter().map(|(id, (_, incarnation))| (*id, *incarnation)).collect(),
        };
        duties.spawn(hearing.run());
        let (ha, views, fences) = (ha.clone(), self.around.views.clone(), self.around.fences.clone());
        duties.spawn(Confirming { ha, boot: self.boot, views, fences }.run());
        duties.spawn(repair::run(self.node.clone()));
        duties.spawn(rebuild::run(self.node.clone(), options.rebuild));
        duties.spawn(scrub::run(self.node.clone(), options.scrub));
        let sweep = Arc::new(Sweep::new(self.node.clone(), options.sweep));
        duties.spawn(sweep.clone().run());
        duties.spawn(sweep.tell_events(options.webhooks));
    }
}

fn connect(config: &NodeConfig) -> Result<HaClient, NodeError> {
    let options = ClientOptions {
        name: config.node.clone(),
        cluster: Some(config.cluster),
        factor: config.factor.get(),
        tls: config.tls.clone(),
        ..ClientOptions::default()
    };
    Ok(HaClient::with_options(&config.ha, options)?)
}

/// Asks HA until it answers; says now and then why the process does not go on.
async fn persist<T, Fut: Future<Output = Result<T, HaError>>>(what: &str, ask: impl Fn() -> Fut) -> Result<T, NodeError> {
    let mut pause = PAUSE_MIN;
    loop {
        match ask().await {
            Ok(answer) => return Ok(answer),
            Err(error) if error.is_retryable() => tracing::warn!(%error, "{what}: waiting for HA"),
            Err(error) => return Err(NodeError::Refused(format!("{what}: {error}"))),
        }
        tokio::time::sleep(pause).await;
        pause = (pause * 2).min(PAUSE_MAX);
    }
}

/// The number of the node of that name. A cluster that is not created yet is waited for.
async fn node_id(ha: &HaClient, name: &str) -> Result<NodeId, NodeError> {
    let nodes = persist("finding this node in the cluster", || async {
        let map = ha.map(Epoch(0)).await?;
        if map.nodes.is_empty() { Err(HaError::Unavailable("the cluster has not been created yet".into())) } else { Ok(map.nodes) }
    });
    let nodes = nodes.await?;
    nodes.values().find(|node| node.name == name).map(|node| node.id).ok_or_else(|| NodeError::UnknownNode(name.into()))
}

async fn register(ha: &HaClient, me: NodeId, found: &[(DeviceId, ha_api::Found)]) -> Result<Registered, NodeError> {
    persist("registering", || ha.register(me, std::process::id(), found)).await
}

/// Waits until HA's log is taken in up to there.
async fn taken_in(views: &Views, epoch: Epoch) {
    let mut newest = views.subscribe();
    // The sender is in `views`: it cannot be gone.
    let _reached = newest.wait_for(|view| view.index >= epoch.0).await;
}

async fn listen(config: &NodeConfig, parts: &Parts) -> Result<Arc<Endpoint>, NodeError> {
    let identity = net::Identity { cluster: config.cluster, node: parts.me, boot: parts.boot };
    let service = Arc::new(NodeService::new(parts.node.clone()));
    let mut endpoint = EndpointConfig::node(identity, config.fabric.clone(), service);
    endpoint.provider = config.provider.clone();
    endpoint.pool_bytes = POOL_BYTES;
    let mut attempt = 1;
    loop {
        match Endpoint::start(endpoint.clone()) {
            Ok(started) => return Ok(started),
            Err(error) if attempt < LISTEN_ATTEMPTS => tracing::debug!(%error, attempt, "cannot listen yet"),
            Err(error) => return Err(error.into()),
        }
        attempt += 1;
        tokio::time::sleep(LISTEN_PAUSE).await;
    }
}
