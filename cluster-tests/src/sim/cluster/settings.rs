//! What a run is made of, all of it drawn from the seed, and the cluster that it is of.

use ha_state::director::{PlaceRequest, Placers, SubstituteRequest};
use ha_state::{DeviceSpec, NodeSpec, PoolSpec, Topology};
use layout::place::Wish;
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use serde::{Deserialize, Serialize};
use types::map::ClusterMap;
use types::scheme::FailureDomain;
use types::{ClusterId, DeviceId, DiskGroupId, NodeId, PoolId};

use crate::sim::heap::{MILLISECOND, Micros, SECOND};
use crate::sim::swarm::{FaultKind, Swarm, log_uniform};

/// Drift bound in millionths.
const DRIFT_PPM: i64 = 10_000;
/// When faults begin: the cluster has come up by then.
pub const QUIET: Micros = 3 * SECOND;
/// How long everything has to become well once all is healed.
pub const CONVERGENCE: Micros = 40 * SECOND;
/// Most operations on one row where rows are deleted, so that the exhaustive search can check it.
pub const OPERATIONS_A_ROW: u64 = 50;
/// The cluster of every run.
pub const CLUSTER: ClusterId = ClusterId(0x51);
/// The replicated pool.
pub const META: PoolId = PoolId(1);
/// Size of a simulated device.
pub const DEVICE_BYTES: u64 = 1024 * 1024;

/// A kind of fault of the disks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum DiskFault {
    /// The power of a node goes in the middle of one of its next writes or syncs: what was not synced is lost, or there, or a part of it.
    PowerCut,
    /// The next writes of metadata of the run's bad device fail: it is given up.
    WriteError,
    /// The next syncs of metadata of the run's bad device fail.
    SyncError,
    /// The run's bad device is replaced by an empty one while its process is down.
    Blank,
    /// A device has no room for a while.
    Full,
}

impl DiskFault {
    const ALL: [Self; 5] = [Self::PowerCut, Self::WriteError, Self::SyncError, Self::Blank, Self::Full];
}

/// The configuration of a run.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Settings {
    /// Nodes.
    pub nodes: u32,
    /// Of them, the first so many have a daemon that votes.
    pub voters: u32,
    /// Devices of each node.
    pub devices: u32,
    /// Replicated groups.
    pub groups: u32,
    /// Copies of each row.
    pub copies: u8,
    /// Clients.
    pub clients: u32,
    /// Rows that they use.
    pub rows: u64,
    /// Mean pause of a client between two operations.
    pub think: Micros,
    /// Of a hundred operations, reads.
    pub reads_percent: u32,
    /// Whether rows are deleted, too.
    pub deletes: bool,
    /// When faults end.
    pub faulty: Micros,
    /// Faults of processes and of the network; times of syncs.
    pub swarm: Swarm,
    /// Faults of disks, each with its mean interval.
    pub disks: Vec<(DiskFault, Micros)>,
    /// The one device that may be lost in this run.
    pub bad: u32,
    /// Rates of the clocks of the processes, then of the daemons, in millionths off the true one.
    pub drift_ppm: Vec<i64>,
    /// How often a process asks for entries of HA's log.
    pub follow: Micros,
    /// What the disks do with what was not synced.
    pub disk_seed: u64,
    /// The rule of the protocol that is left out, to show that the checks see it.
    pub without: Option<String>,
}

impl Settings {
    /// Draws a configuration.
    pub fn draw(seed: u64) -> Self {
        let mut rng = ChaCha8Rng::seed_from_u64(seed ^ 0xc1_05_7e_12);
        // Large ones are rare: they take their time.
        let nodes = match rng.random_range(0..100) {
            0..70 => 3,
            70..98 => 5,
            _ => 36,
        };
        Self::draw_of(seed, nodes)
    }

    /// Draws a configuration with so many nodes.
    pub fn draw_of(seed: u64, nodes: u32) -> Self {
        let mut rng = ChaCha8Rng::seed_from_u64(seed ^ 0x1d_ea);
        let rng = &mut rng;
        let voters = if nodes >= 5 && rng.random_bool(0.5) { 5 } else { 3 };
        let devices = if nodes > 5 { 1 } else { rng.random_range(1..=2) };
        let mut disks = Vec::new();
        for fault in DiskFault::ALL {
            let interval = log_uniform(rng, 500 * MILLISECOND, 4 * SECOND);
            if rng.random_bool(0.3) {
                disks.push((fault, interval));
            }
        }
        let mut swarm = Swarm::draw(rng);
        // Whole processes take longer to come back than a machine of one group: faults that never let them teach nothing.
        swarm.faults.retain(|(kind, _)| !matches!(kind, FaultKind::ViewChange | FaultKind::Wipe));
        swarm.faults.iter_mut().for_each(|(_, interval)| *interval = (*interval * 3).max(200 * MILLISECOND));
        Self {
            nodes,
            voters,
            devices,
            groups: if nodes > 5 { 48 } else { rng.random_range(1..=12) },
            copies: if nodes >= 5 && rng.random_bool(0.3) { 5 } else { 3 },
            clients: rng.random_range(1..=6),
            rows: rng.random_range(1..=16),
            think: log_uniform(rng, MILLISECOND, 100 * MILLISECOND),
            reads_percent: rng.random_range(0..=70),
            deletes: rng.random_bool(0.5),
            faulty: QUIET + log_uniform(rng, SECOND, 6 * SECOND),
            swarm,
            disks,
            bad: rng.random_range(0..nodes * devices),
            drift_ppm: (0..nodes + voters).map(|_| rng.random_range(-DRIFT_PPM..=DRIFT_PPM)).collect(),
            follow: log_uniform(rng, 10 * MILLISECOND, 60 * MILLISECOND),
            disk_seed: rng.random(),
            without: None,
        }
    }

    /// What the machines are made with: the product's own configuration.
    pub fn machine(&self) -> dtm::Config {
        let rules = self.without.as_deref().and_then(dtm::Rules::without).unwrap_or_default();
        dtm::Config { rules, ..dtm::Config::default() }
    }

    /// The devices of a host.
    pub fn devices_of(&self, host: u32) -> impl Iterator<Item = DeviceId> {
        let first = host * self.devices;
        (first + 1..=first + self.devices).map(DeviceId)
    }

    /// The cluster as declared.
    pub fn topology(&self) -> Topology {
        let node = |host: u32| NodeSpec {
            id: node_of(host),
            name: format!("node-{}", host + 1),
            storage_set: 0,
            rack: 0,
            ha_address: format!("h:{host}"),
            fabric_address: format!("{host}"),
            voter: host < self.voters,
        };
        let device = |host: u32, id: DeviceId| DeviceSpec { id, node: node_of(host), disk_group: DiskGroupId(id.0), bytes: DEVICE_BYTES };
        let pool = PoolSpec {
            id: META,
            name: "meta".into(),
            scheme: types::scheme::Scheme::Replicated { copies: self.copies },
            failure_domain: FailureDomain::Node,
            devices: Vec::new(),
            groups: self.groups,
            priority: 0,
            avoid_node: false,
        };
        Topology {
            cluster: CLUSTER,
            nodes: (0..self.nodes).map(node).collect(),
            devices: (0..self.nodes).flat_map(|host| self.devices_of(host).map(move |id| device(host, id))).collect(),
            pools: vec![pool],
        }
    }
}

/// The node of a host.
pub fn node_of(host: u32) -> NodeId {
    NodeId(host as u16 + 1)
}

/// The host of a node.
pub fn host_of(node: NodeId) -> u32 {
    u32::from(node.0) - 1
}

fn place(map: &ClusterMap, request: &PlaceRequest) -> Result<Vec<Vec<Option<DeviceId>>>, String> {
    let wish = Wish { groups: request.groups, avoid_node: request.avoid_node, grow: request.grow };
    layout::place::place(map, request.pool, wish).map_err(|error| error.to_string())
}

fn substitute(map: &ClusterMap, request: &SubstituteRequest<'_>) -> Option<DeviceId> {
    layout::place::substitute(map, request.group, request.out, request.not)
}

/// What a leader places with: the product's own placement.
pub const PLACERS: Placers<'static> = Placers { groups: &place, substitute: &substitute };
