//! A cluster of daemons in this process, on ports that the system chose.

use std::net::TcpListener;
use std::time::Duration;

use ha_api::config::{DeviceConfig, Factor, HaConfig, NodeEntry, PoolConfig, TopologyConfig};
use ha_api::tls::Tls;
use ha_api::{ClientOptions, Follower, HaClient, Notice};
use ha_daemon::{Daemon, DaemonError, listen};
use ha_state::{Change, Command, LossReason};
use tokio::runtime::{Builder, Runtime};
use tokio::sync::{Mutex, MutexGuard};
use types::scheme::{FailureDomain, Scheme};
use types::{Boot, ClusterId, DeviceId, DiskGroupId, NodeId, PoolId};

/// By what times are scaled: tests share their machine.
const FACTOR: f64 = 2.0;
/// A millisecond of the design, here.
pub const FACTOR_MS: Duration = Duration::from_millis(2);
/// A millisecond where the processor is the limit.
pub const BUSY: Duration = Duration::from_millis(3);
/// How long anything may take.
const PATIENCE: Duration = Duration::from_secs(20);
const CLUSTER: ClusterId = ClusterId(0x1234_5678);

/// The cluster.
pub struct Cluster {
    dir: tempfile::TempDir,
    configs: Vec<HaConfig>,
    daemons: Vec<Option<Running>>,
    /// Goes last: the next cluster starts when this one has ended.
    _alone: MutexGuard<'static, ()>,
}

/// One cluster of a process at a time: tests hold elections and leases to times, which daemons of other tests would take from them.
static ALONE: Mutex<()> = Mutex::const_new(());

/// A daemon on threads of its own, so that all of it can end at once.
struct Running {
    runtime: Runtime,
    daemon: Daemon,
}

impl Running {
    async fn start(config: &HaConfig, listener: TcpListener) -> Result<Self, DaemonError> {
        let runtime = Builder::new_multi_thread().worker_threads(1).enable_all().build().expect("a runtime");
        let config = config.clone();
        let started = runtime.spawn(async move { Daemon::start(&config, listener).await }).await.expect("it does not panic");
        match started {
            Ok(daemon) => Ok(Self { runtime, daemon }),
            Err(error) => {
                runtime.shutdown_background();
                Err(error)
            }
        }
    }

    /// All tasks and connections end where they stand.
    async fn kill(self) {
        let Self { runtime, daemon } = self;
        let ended = tokio::task::spawn_blocking(move || {
            runtime.shutdown_timeout(PATIENCE);
            drop(daemon);
        });
        ended.await.expect("it does not panic");
    }
}

/// Waits until something is so.
pub async fn eventually(what: &str, mut is_so: impl AsyncFnMut() -> bool) {
    let waited = tokio::time::timeout(PATIENCE, async {
        while !is_so().await {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    });
    waited.await.unwrap_or_else(|_| panic!("{what}: not within {PATIENCE:?}"));
}

/// Waits for the loss of a process in the log.
pub async fn wait_for_loss(follower: &mut Follower, of: Boot) -> LossReason {
    let seen = tokio::time::timeout(PATIENCE, async {
        loop {
            let Some(Notice::Entry { command, .. }) = follower.next().await else { continue };
            if !command.is_empty()
                && let Change::ProcessLost { boot, reason, .. } = Command::decode(&command).expect("a command of ours").change
                && boot == of
            {
                return reason;
            }
        }
    });
    seen.await.unwrap_or_else(|_| panic!("{of} is not declared lost within {PATIENCE:?}"))
}

impl Cluster {
    /// Starts so many daemons and waits for a leader and the cluster's creation.
    pub async fn start(count: u16) -> Self {
        Self::start_with(count, None).await
    }

    /// The same, each with that certificate.
    pub async fn start_with(count: u16, tls: Option<Tls>) -> Self {
        let alone = ALONE.lock().await;
        let log = std::env::var("RUST_LOG").unwrap_or_default();
        if !log.is_empty() {
            // A second test of the same process finds it set.
            drop(tracing_subscriber::fmt().with_env_filter(log).with_test_writer().try_init());
        }
        let dir = tempfile::tempdir().expect("a temporary directory");
        let ports = service::ports::free(count.into()).expect("free ports");
        let port = |i: u16| ports[usize::from(i - 1)];
        let topology = TopologyConfig {
            nodes: (1..=count)
                .map(|i| NodeEntry {
                    id: NodeId(i),
                    name: format!("node-{i}"),
                    ha: format!("127.0.0.1:{}", port(i)),
                    fabric: format!("127.0.0.2:{i}"),
                    rack: 0,
                    storage_set: 0,
                })
                .collect(),
            devices: (1..=count)
                .map(|i| DeviceConfig {
                    id: DeviceId(i.into()),
                    node: format!("node-{i}"),
                    disk_group: DiskGroupId(i.into()),
                    bytes: 1 << 30,
                })
                .collect(),
            pools: vec![PoolConfig {
                id: PoolId(1),
                name: "meta".into(),
                scheme: Scheme::Replicated { copies: if count < 3 { 1 } else { 3 } },
                failure_domain: FailureDomain::Node,
                groups: 8,
                priority: 0,
                avoid_node: false,
                devices: Vec::new(),
            }],
        };
        let config = |i: u16| HaConfig {
            cluster: CLUSTER,
            node: format!("node-{i}"),
            listen: format!("127.0.0.1:{}", port(i)),
            dir: dir.path().join(format!("node-{i}")),
            factor: Factor::new(FACTOR).expect("in range"),
            metrics: None,
            tls: tls.clone(),
            insecure: false,
            fault_points: None,
            topology: topology.clone(),
        };
        let configs: Vec<HaConfig> = (1..=count).map(config).collect();
        let mut daemons = Vec::new();
        for config in &configs {
            let listener = listen(&config.listen).expect("the port is free");
            daemons.push(Some(Running::start(config, listener).await.expect("it starts")));
        }
        let cluster = Self { dir, configs, daemons, _alone: alone };
        cluster.leader().await;
        cluster
    }

    /// The daemon that leads.
    pub async fn leader(&self) -> usize {
        eventually("a leader", async || self.position().is_some()).await;
        self.position().expect("it was there just now")
    }

    fn position(&self) -> Option<usize> {
        self.daemons.iter().position(|d| d.as_ref().is_some_and(|running| running.daemon.is_leader()))
    }

    /// Ends a daemon without a word to anybody.
    pub async fn kill(&mut self, i: usize) {
        if let Some(daemon) = self.daemons[i].take() {
            daemon.kill().await;
        }
    }

    /// Starts it again.
    pub async fn restart(&mut self, i: usize) {
        let config = &self.configs[i];
        let mut started = None;
        eventually("the daemon starts again", async || {
            let Ok(listener) = listen(&config.listen) else { return false };
            started = Running::start(config, listener).await.ok();
            started.is_some()
        })
        .await;
        self.daemons[i] = started;
    }

    /// Removes all that a daemon knows.
    pub fn wipe(&self, i: usize) {
        std::fs::remove_dir_all(&self.configs[i].dir).expect("it is there");
    }

    /// Has a daemon take a snapshot and let its log go.
    pub async fn compact(&self, i: usize) {
        self.daemons[i].as_ref().expect("it runs").daemon.compact().await;
    }

    /// What a daemon of another cluster says when it is given the directory of this one.
    pub async fn start_in_dir_of(&self, i: usize, cluster: ClusterId) -> String {
        let copy = self.dir.path().join("copy");
        std::fs::create_dir(&copy).expect("a directory");
        std::fs::copy(self.configs[i].dir.join("identity"), copy.join("identity")).expect("a copy");
        let config = HaConfig { cluster, dir: copy, ..self.configs[i].clone() };
        match Running::start(&config, listen("127.0.0.1:0").expect("a port")).await {
            Ok(_) => panic!("it must not start"),
            Err(error) => error.to_string(),
        }
    }

    /// The address of a daemon.
    pub fn address(&self, i: usize) -> String {
        self.configs[i].listen.clone()
    }

    fn client_where(&self, wanted: impl Fn(usize) -> bool) -> HaClient {
        let addresses: Vec<String> = (0..self.configs.len()).filter(|i| wanted(*i)).map(|i| self.address(i)).collect();
        let options = ClientOptions { cluster: Some(CLUSTER), factor: FACTOR, ..ClientOptions::default() };
        HaClient::with_options(&addresses, options).expect("good addresses")
    }

    /// A client of all daemons.
    pub fn client(&self) -> HaClient {
        self.client_where(|_| true)
    }

    /// A client of one.
    pub fn client_of(&self, i: usize) -> HaClient {
        self.client_where(|j| j == i)
    }

    /// A client of all but one.
    pub fn client_without(&self, i: usize) -> HaClient {
        self.client_where(|j| j != i)
    }

    /// Stops them all.
    pub async fn stop(mut self) {
        for i in 0..self.daemons.len() {
            self.kill(i).await;
        }
    }
}
