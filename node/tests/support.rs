//! Three HA daemons in this process and three storage processes beside it, on ports that the system chose, and somebody who asks them
//! things over the fabric.

#![allow(dead_code, reason = "each test uses its part of it")]

use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use ha_api::config::{DeviceConfig, Factor, HaConfig, NodeConfig, NodeDevice, NodeEntry, PoolConfig, TopologyConfig};
use ha_api::{ClientOptions, HaClient};
use ha_daemon::{Daemon, listen};
use net::fabric::{Endpoint, EndpointConfig};
use net::{Identity, Lend, Operation, Peer, Reply, Request, Transport};
use serde::de::DeserializeOwned;
use types::buf::IoBuf;
use types::map::{Catalogue, CatalogueKind, ClusterMap};
use types::ops::{Condition, Op};
use types::record::{Outcome, Row, RowKey};
use types::scheme::{FailureDomain, Scheme};
use types::state::ProcessState;
use types::wire::request::{Execute, Read, ReadUnit, Refusal, Ticket, UnitInfo, WriteUnit};
use types::{ClusterId, DeviceId, DiskGroupId, DtxId, Epoch, Fid, GroupId, HaTime, NodeId, PoolId, SessionId, checksum, codec, routing};

/// By what times are scaled: tests share their machine.
const FACTOR: f64 = 2.0;
/// How long anything may take.
const PATIENCE: Duration = Duration::from_secs(40);
/// How long one answer may take.
const ANSWER: Duration = Duration::from_secs(5);
const CLUSTER: ClusterId = ClusterId(0x00c0_ffee);
const DEVICE_BYTES: u64 = 64 * 1024 * 1024;
/// The replicated pool.
pub const META: PoolId = PoolId(1);
/// The erasure-coded pool, 2+1 over nodes.
pub const DATA: PoolId = PoolId(2);

/// The cluster.
pub struct Cluster {
    dir: tempfile::TempDir,
    daemons: Vec<Daemon>,
    nodes: Vec<Option<Child>>,
    /// HA, as anybody may ask it.
    pub ha: HaClient,
    endpoint: Arc<Endpoint>,
    session: Ticket,
    counter: AtomicU64,
}

fn topology(ha: &[u16], fabric: &[u16]) -> TopologyConfig {
    let number = |i: usize| u16::try_from(i + 1).expect("few nodes");
    let pool = |id, name: &str, scheme, groups| PoolConfig {
        id,
        name: name.into(),
        scheme,
        failure_domain: FailureDomain::Node,
        groups,
        priority: 0,
        avoid_node: false,
        devices: Vec::new(),
    };
    TopologyConfig {
        nodes: (0..ha.len())
            .map(|i| NodeEntry {
                id: NodeId(number(i)),
                name: format!("node-{}", i + 1),
                ha: format!("127.0.0.1:{}", ha[i]),
                fabric: format!("127.0.0.1:{}", fabric[i]),
                rack: 0,
                storage_set: 0,
            })
            .collect(),
        devices: (0..ha.len())
            .map(|i| DeviceConfig {
                id: DeviceId(number(i).into()),
                node: format!("node-{}", i + 1),
                disk_group: DiskGroupId(number(i).into()),
                bytes: DEVICE_BYTES,
            })
            .collect(),
        pools: vec![
            pool(META, "meta", Scheme::Replicated { copies: 3 }, 4),
            pool(DATA, "data", Scheme::Erasure { data: 2, parity: 1, spare: 0 }, 4),
        ],
    }
}

impl Cluster {
    /// Starts everything and waits until all nodes are ONLINE and all groups have been active.
    pub async fn start() -> Self {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let ports = service::ports::free(6).expect("free ports");
        let (ha_ports, fabric_ports) = ports.split_at(3);
        let topology = topology(ha_ports, fabric_ports);
        let factor = Factor::new(FACTOR).expect("in range");
        let mut daemons = Vec::new();
        for i in 0..ha_ports.len() {
            let node = format!("node-{}", i + 1);
            let home = dir.path().join(&node);
            std::fs::create_dir(&home).expect("a directory");
            let address = format!("127.0.0.1:{}", ha_ports[i]);
            let config = HaConfig {
                cluster: CLUSTER,
                node: node.clone(),
                listen: address,
                dir: home.join("ha"),
                factor,
                topology: topology.clone(),
                metrics: None,
                tls: None,
                insecure: false,
                fault_points: None,
            };
            let listener = listen(&config.listen).expect("the port is free");
            daemons.push(Daemon::start(&config, listener).await.expect("a daemon starts"));
            let mut ha: Vec<String> = ha_ports.iter().map(|port| format!("127.0.0.1:{port}")).collect();
            ha.swap(0, i);
            let id = DeviceId(u32::try_from(i + 1).expect("few nodes"));
            let config = NodeConfig {
                cluster: CLUSTER,
                node,
                ha,
                fabric: format!("127.0.0.1:{}", fabric_ports[i]),
                provider: "tcp".into(),
                factor,
                s3: None,
                metrics: None,
                tls: None,
                fault_points: None,
                devices: vec![NodeDevice { id, path: home.join("device"), bytes: DEVICE_BYTES }],
            };
            std::fs::write(home.join("node.toml"), config.to_toml()).expect("a configuration");
        }
        let addresses: Vec<String> = ha_ports.iter().map(|port| format!("127.0.0.1:{port}")).collect();
        let options = ClientOptions { name: "test".into(), factor: FACTOR, deadline: PATIENCE, ..ClientOptions::default() };
        let ha = HaClient::with_options(&addresses, options).expect("addresses");
        let mut config = EndpointConfig::client(Identity::client(CLUSTER));
        config.pool_bytes = 8 * 1024 * 1024;
        let endpoint = Endpoint::start(config).expect("an endpoint");
        let session = ha.open_session().await.expect("a session");
        let mut cluster = Self { dir, daemons, nodes: vec![None, None, None], ha, endpoint, session, counter: AtomicU64::new(1) };
        for node in 1..=3 {
            cluster.start_node(node);
        }
        cluster.all_online().await;
        cluster
    }

    fn home(&self, node: u16) -> PathBuf {
        self.dir.path().join(format!("node-{node}"))
    }

    /// The file that holds the units of a node's device.
    pub fn blocks(&self, node: u16) -> PathBuf {
        self.home(node).join("device").join("blocks")
    }

    /// Starts a storage process.
    pub fn start_node(&mut self, node: u16) {
        let home = self.home(node);
        let log = std::fs::OpenOptions::new().create(true).append(true).open(home.join("log")).expect("a log");
        let child = Command::new(env!("CARGO_BIN_EXE_redoubt-node"))
            .arg("--config")
            .arg(home.join("node.toml"))
            .args(["--dead-age-ms", "500"])
            .stdin(Stdio::null())
            .stderr(log)
            .spawn()
            .expect("the process starts");
        self.nodes[usize::from(node - 1)] = Some(child);
    }

    /// Kills a storage process where it stands.
    pub fn kill_node(&mut self, node: u16) {
        if let Some(mut child) = self.nodes[usize::from(node - 1)].take() {
            child.kill().expect("it can be killed");
            child.wait().expect("it ends");
        }
    }

    /// Asks a storage process to stop, and waits for its end.
    pub async fn stop_node(&mut self, node: u16) -> Option<i32> {
        let mut child = self.nodes[usize::from(node - 1)].take().expect("it runs");
        let pid = rustix::process::Pid::from_raw(i32::try_from(child.id()).expect("a pid")).expect("a pid");
        rustix::process::kill_process(pid, rustix::process::Signal::TERM).expect("it can be told");
        tokio::task::spawn_blocking(move || child.wait().expect("it ends").code()).await.expect("it does not panic")
    }

    /// The cluster's map, as new as this client has seen it.
    pub async fn map(&self) -> ClusterMap {
        self.ha.map(Epoch(0)).await.expect("a map")
    }

    /// Waits until every node is ONLINE and every replicated group was active in its present view.
    pub async fn all_online(&self) {
        self.eventually("all are ONLINE and active", async |map: &ClusterMap| {
            let online = map.nodes.values().all(|node| node.state == ProcessState::Online);
            let placed = map.pools.values().all(|pool| pool.groups > 0);
            let active = map.groups.keys().filter_map(|group| map.view(*group)).all(|view| view.active == view.number);
            online && placed && active
        })
        .await;
    }

    /// Waits until the map is so.
    pub async fn eventually(&self, what: &str, mut is_so: impl AsyncFnMut(&ClusterMap) -> bool) {
        let waited = tokio::time::timeout(PATIENCE, async {
            loop {
                let map = self.map().await;
                if is_so(&map).await {
                    return;
                }
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        });
        if waited.await.is_err() {
            for node in 1..=3 {
                eprintln!("--- node-{node}\n{}", std::fs::read_to_string(self.home(node).join("log")).unwrap_or_default());
            }
            panic!("{what}: not within {PATIENCE:?}: {:#?}", self.map().await.nodes);
        }
    }

    /// Asks a node; the answer, or why there is none.
    pub async fn ask<T: DeserializeOwned>(&self, map: &ClusterMap, node: NodeId, request: Request) -> Result<(T, Reply), String> {
        let peer = Peer::at(map.nodes[&node].fabric_address.clone());
        let deadline = tokio::time::Instant::now() + ANSWER;
        let reply = self.endpoint.call(&peer, request, deadline).await.map_err(|error| error.to_string())?;
        let value: Result<T, Refusal> = codec::decode(&reply.head).expect("an answer of its kind");
        value.map(|value| (value, reply)).map_err(|refusal| format!("{refusal:?}"))
    }

    /// A catalogue of one group.
    pub async fn catalogue(&self, name: &str) -> Catalogue {
        let made = self.ha.create_catalogue(CatalogueKind::Index, name, 1, None).await.expect("a catalogue");
        self.map().await.catalogues[&made.id].clone()
    }

    /// The one group of such a catalogue.
    pub fn group_of(&self, map: &ClusterMap, catalogue: &Catalogue) -> GroupId {
        routing::catalogue_group(catalogue, &map.pools[&catalogue.pool], 0)
    }

    /// The node of a group's primary.
    pub fn primary(&self, map: &ClusterMap, group: GroupId) -> Option<NodeId> {
        Some(map.devices[&map.view(group)?.primary?.device].node)
    }

    /// A name for a transaction.
    pub fn dtx(&self) -> DtxId {
        DtxId { session: self.session.session, counter: self.counter.fetch_add(1, Ordering::Relaxed), at: self.session.at }
    }

    /// Executes once, at the primary that the map names.
    pub async fn execute_once(&self, map: &ClusterMap, group: GroupId, dtx: DtxId, ops: &[Op]) -> Result<Outcome, String> {
        let node = self.primary(map, group).ok_or("no primary")?;
        let view = map.view(group).expect("a replicated group").number;
        let execute = Execute { group, view, dtx, ops: ops.to_vec(), parts: Vec::new(), cause: Default::default() };
        Ok(self.ask(map, node, Request::new(Operation::Execute, codec::encode(&execute))).await?.0)
    }

    /// Executes until it is answered, always under the same name.
    pub async fn execute(&self, group: GroupId, ops: &[Op]) -> Outcome {
        let dtx = self.dtx();
        let mut outcome = None;
        self.eventually("the transaction is answered", async |map: &ClusterMap| {
            outcome = self.execute_once(map, group, dtx, ops).await.ok();
            outcome.is_some()
        })
        .await;
        outcome.expect("it was answered")
    }

    /// Reads one row until it is answered.
    pub async fn read(&self, group: GroupId, row: &RowKey) -> Option<Row> {
        let mut answer = None;
        self.eventually("the read is answered", async |map: &ClusterMap| {
            let Some(node) = self.primary(map, group) else { return false };
            let read = Read { group, view: map.view(group).expect("a replicated group").number, rows: vec![row.clone()] };
            let rows = self.ask::<Vec<Option<Row>>>(map, node, Request::new(Operation::Read, codec::encode(&read))).await;
            answer = rows.ok().map(|(mut rows, _)| rows.remove(0));
            answer.is_some()
        })
        .await;
        answer.expect("it was answered")
    }

    /// A unit of a fid of that session, with its bytes.
    pub fn unit(&self, session: SessionId, slot: u32, length: usize) -> (UnitInfo, Vec<u8>) {
        let counter = self.counter.fetch_add(1, Ordering::Relaxed);
        let fid = Fid { group: GroupId { pool: DATA, index: 0 }, session, counter };
        let length32 = u32::try_from(length).expect("a small unit");
        let catalogue = types::CatalogueId(1);
        let info = UnitInfo { fid, unit: slot, data: 2, parity: 1, unit_bytes: length32, length: length32, catalogue, routing: 0 };
        let mark = counter.to_le_bytes();
        (info, (0..length).map(|i| mark[i % 8] ^ (i / 8) as u8 ^ 0x5a).collect())
    }

    /// What writes a unit, before its fields are bent.
    pub fn write(&self, map: &ClusterMap, info: &UnitInfo, data: &[u8]) -> WriteUnit {
        let slots = map.slots(info.fid.group).expect("an erasure-coded group");
        WriteUnit {
            device: slots.slots[info.slot()].expect("a full group"),
            view: slots.number,
            unit: info.clone(),
            checksums: checksum::unit_checksums(info.fid, info.unit, data),
        }
    }

    /// Writes a unit at the node of its device.
    pub async fn write_unit(&self, map: &ClusterMap, write: &WriteUnit, data: &[u8]) -> Result<(), String> {
        let mut buf = self.endpoint.pool().take(data.len()).await.expect("a buffer");
        buf.bytes_mut().copy_from_slice(data);
        let request = Request::lending(Operation::WriteUnit, codec::encode(write), Lend::Give(buf));
        let ((), _) = self.ask(map, map.devices[&write.device].node, request).await?;
        Ok(())
    }

    /// Reads all of a unit.
    pub async fn read_unit(&self, map: &ClusterMap, device: DeviceId, info: &UnitInfo) -> Result<Vec<u8>, String> {
        let read = ReadUnit { device, fid: info.fid, unit: info.unit, offset: 0, length: info.length };
        let room = self.endpoint.pool().take(info.length as usize).await.expect("a buffer");
        let request = Request::lending(Operation::ReadUnit, codec::encode(&read), Lend::Room(room));
        let (checksums, reply) = self.ask::<Vec<u32>>(map, map.devices[&device].node, request).await?;
        let bytes = reply.lent.expect("the room comes back").bytes().to_vec();
        assert_eq!(checksum::first_bad_chunk(info.fid, info.unit, 0, &bytes, &checksums), None);
        Ok(bytes)
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        for node in 1..=3 {
            self.kill_node(node);
        }
        self.endpoint.shutdown();
    }
}

/// A put of a user's row.
pub fn put(catalogue: &Catalogue, key: &[u8], value: &[u8]) -> Op {
    Op::Put { row: user_row(catalogue, key), value: value.to_vec(), condition: Condition::Always }
}

/// The row of a user's key.
pub fn user_row(catalogue: &Catalogue, key: &[u8]) -> RowKey {
    RowKey { catalogue: catalogue.id, key: types::keys::user(key) }
}

/// HA time that no cluster reaches.
pub const LATE: HaTime = HaTime(u64::MAX / 2);
