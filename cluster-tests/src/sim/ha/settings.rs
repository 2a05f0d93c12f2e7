//! What a run is made of, all of it drawn from the seed, and the cluster that it is of.

use ha_state::director::{PlaceRequest, Placers, SubstituteRequest};
use ha_state::{DeviceSpec, NodeSpec, PoolSpec, Topology};
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use serde::{Deserialize, Serialize};
use types::map::ClusterMap;
use types::scheme::FailureDomain;
use types::state::DeviceState;
use types::{ClusterId, DeviceId, DiskGroupId, NodeId, PoolId};

use super::scenes::{LASTS, SCENES, Scene};
use crate::sim::heap::{MILLISECOND, Micros, SECOND};
use crate::sim::swarm::{Swarm, log_uniform};

/// Hosts: each has an HA daemon that votes and a node process with two devices.
pub const HOSTS: u32 = 3;
/// Replicated groups.
pub const GROUPS: u32 = 4;
/// Drift bound ρ in millionths.
const DRIFT_PPM: i64 = 10_000;
/// How often a run has scenes.
const AIMED: f64 = 0.25;
/// How long all have to be well again once everything is healed: leases, recoveries and moves of primaries fit several times.
pub const CONVERGENCE: Micros = 15 * SECOND;

/// A rule that a run leaves out, to show that the checks see it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Without {
    /// A leader grants without the word of a quorum.
    Quorum,
    /// A holder counts its lease from the answer, not from the sending.
    SentTime,
    /// A holder uses a grant before it has taken in the log up to its epoch.
    Epoch,
    /// A registration that was on its way when its process went may still arrive.
    OwnRegistration,
    /// A leader's wait of one lease from its election.
    ElectionWait,
}

/// The configuration of a run.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Settings {
    /// When faults begin: mostly after the cluster has come up.
    pub quiet: Micros,
    /// When they end.
    pub faulty: Micros,
    /// Faults and network.
    pub swarm: Swarm,
    /// The host whose devices may fail.
    pub bad_host: u32,
    /// Rate of the clocks of the processes, then of the daemons, in millionths off the true one.
    pub drift_ppm: Vec<i64>,
    /// How often a process asks its daemon for entries.
    pub follow: Micros,
    /// The host whose process is killed, and the one whose is frozen, once all is well.
    pub exam: (u32, u32),
    /// The rule that is left out.
    pub without: Option<Without>,
    /// Whether operators say for how long what is away is waited for, and begin and end maintenance.
    pub away: bool,
    /// Situations that rules of leases are for, each with its time and choice.
    pub scenes: Vec<(Micros, Scene, u32)>,
}

impl Settings {
    /// Draws a configuration.
    pub fn draw(seed: u64) -> Self {
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        let rng = &mut rng;
        let quiet = if rng.random_bool(0.8) { 1500 * MILLISECOND } else { 0 };
        let mut settings = Self {
            quiet,
            faulty: quiet + log_uniform(rng, 500 * MILLISECOND, 6 * SECOND),
            swarm: Swarm::draw(rng),
            bad_host: rng.random_range(0..HOSTS),
            drift_ppm: (0..2 * HOSTS).map(|_| rng.random_range(-DRIFT_PPM..=DRIFT_PPM)).collect(),
            follow: log_uniform(rng, 5 * MILLISECOND, 50 * MILLISECOND),
            exam: (rng.random_range(0..HOSTS), rng.random_range(0..HOSTS)),
            without: None,
            away: false,
            scenes: Vec::new(),
        };
        if rng.random_bool(AIMED) {
            settings.aim(rng);
        }
        settings
    }

    /// The same, with scenes whatever was drawn.
    pub fn draw_aimed(seed: u64) -> Self {
        let mut settings = Self::draw(seed);
        if settings.scenes.is_empty() {
            settings.aim(&mut ChaCha8Rng::seed_from_u64(seed ^ 0x5ce_ae5));
        }
        settings
    }

    /// Plays scenes, one after the other, in a cluster that is up; half of the time nothing else happens.
    fn aim(&mut self, rng: &mut ChaCha8Rng) {
        let mut at = 1500 * MILLISECOND;
        for _ in 0..rng.random_range(1..=2) {
            at += rng.random_range(0..SECOND);
            self.scenes.push((at, SCENES[rng.random_range(0..SCENES.len())], rng.random_range(0..1000)));
            at += LASTS;
        }
        self.faulty = self.faulty.max(at);
        if rng.random_bool(0.5) {
            self.swarm.faults.clear();
        }
    }
}

/// The node of a host.
pub fn node_of(host: u32) -> NodeId {
    NodeId(host as u16 + 1)
}

/// The devices of a host.
pub fn devices_of(host: u32) -> [DeviceId; 2] {
    [DeviceId(2 * host + 1), DeviceId(2 * host + 2)]
}

/// The replicated pool.
pub const META: PoolId = PoolId(1);

/// The cluster of every run.
pub fn topology() -> Topology {
    let node = |host: u32| NodeSpec {
        id: node_of(host),
        name: format!("node-{}", host + 1),
        storage_set: 0,
        rack: 0,
        ha_address: format!("h:{host}"),
        fabric_address: format!("f:{host}"),
        voter: true,
    };
    let device = |id: u32| DeviceSpec { id: DeviceId(id), node: node_of((id - 1) / 2), disk_group: DiskGroupId(id), bytes: 1 };
    let pool = |id: u16, scheme: &str| PoolSpec {
        id: PoolId(id),
        name: format!("pool-{id}"),
        scheme: scheme.parse().expect("a scheme"),
        failure_domain: FailureDomain::DiskGroup,
        devices: vec![],
        groups: GROUPS,
        priority: 0,
        avoid_node: false,
    };
    Topology {
        cluster: ClusterId(1),
        nodes: (0..HOSTS).map(node).collect(),
        devices: (1..=2 * HOSTS).map(device).collect(),
        pools: vec![pool(META.0, "1+2"), pool(2, "2+1")],
    }
}

/// One device of each host, turning around, failed ones left out: enough for this cluster.
pub fn place(map: &ClusterMap, request: &PlaceRequest) -> Result<Vec<Vec<Option<DeviceId>>>, String> {
    let usable = |d: &DeviceId| map.devices.get(d).is_some_and(|d| !matches!(d.state, DeviceState::Failed | DeviceState::Unknown));
    let slot = |group: u32, slot: u32| {
        let [a, b] = devices_of((group + slot) % HOSTS);
        let order = if group.is_multiple_of(2) { [a, b] } else { [b, a] };
        order.into_iter().find(usable)
    };
    let groups: Vec<Vec<Option<DeviceId>>> = (0..request.groups).map(|g| (0..HOSTS).map(|s| slot(g, s)).collect()).collect();
    if groups.iter().flatten().any(Option::is_none) { Err("a host has no device left".into()) } else { Ok(groups) }
}

/// By the rules of the product: a pool of disk groups takes any other device.
pub fn substitute(map: &ClusterMap, request: &SubstituteRequest<'_>) -> Option<DeviceId> {
    layout::place::substitute(map, request.group, request.out, request.not)
}

/// What a leader places with.
pub const PLACERS: Placers<'static> = Placers { groups: &place, substitute: &substitute };
