//! The daemon's page of metrics: the Raft group as it sees it, and the cluster as its own state has it.
//!
//! Nobody else is asked: a page comes without a leader, too, and shows then what was known last. What only the leader knows (how full devices
//! are, how old leases are) is on the leader's page alone.

use std::collections::BTreeMap;
use std::sync::Arc;

use ha_api::Status;
use ha_api::repair::Repair;
use ha_api::report::Space;
use ha_api::tls::Tls;
use ha_state::State;
use service::metrics::{Kind, Page};
use types::PoolId;
use types::map::{ClusterMap, Group};
use types::scheme::Scheme;
use types::state::{DeviceState, ProcessState};
use types::wire::request::DeviceUsage;

use crate::core::Core;
use crate::lead::LeaderView;
use crate::raft::Consensus;
use crate::serve::show;

const PROCESS_STATES: [ProcessState; 5] =
    [ProcessState::Unknown, ProcessState::Recovering, ProcessState::Online, ProcessState::Transient, ProcessState::Failed];
const DEVICE_STATES: [DeviceState; 8] = [
    DeviceState::Unknown,
    DeviceState::Recovering,
    DeviceState::Online,
    DeviceState::Transient,
    DeviceState::Failed,
    DeviceState::Repairing,
    DeviceState::Repaired,
    DeviceState::Rebalancing,
];

/// A metric's name, what it is, and where it comes from.
type Figure<T> = (&'static str, &'static str, fn(&T) -> u64);

/// The page as it is now.
pub async fn page(core: Arc<Core>, tls: Option<Tls>) -> Page {
    let mut page = Page::default();
    page.metric("redoubt_build_info", Kind::Gauge, "The program; always 1.")
        .sample(&[("program", &"redoubt-ha"), ("version", &env!("CARGO_PKG_VERSION"))], 1);
    page.metric("redoubt_ha_tls", Kind::Gauge, "Whether HA's port takes nobody without a certificate.")
        .sample(&[], u8::from(tls.is_some()));
    if let Some(tls) = tls {
        // Nobody takes one that cannot be read, or is over.
        let seconds = tls.good_for().map_or(0, |time| time.as_secs());
        page.metric("redoubt_certificate_good_for_seconds", Kind::Gauge, "For how long the certificate will be taken.")
            .sample(&[], seconds);
    }
    raft(&core, &mut page);
    core.machine.read(|state| {
        cluster(state.map(), &mut page);
        let mut errors = page.metric("redoubt_device_errors_total", Kind::Counter, "Errors of a device in its present format.");
        for (id, device) in &state.map().devices {
            let name = node_name(state.map(), device.node);
            errors.sample(&[("device", id), ("node", &name)], state.device(*id).map_or(0, |known| known.errors));
        }
        away(state, &mut page);
        let clients = state.sessions().values().filter(|session| session.node.is_none()).count();
        page.metric("redoubt_client_sessions", Kind::Gauge, "Open sessions of native clients.").sample(&[], clients);
    });
    if let Some(view) = core.lead.view() {
        core.machine.read(|state| leader(state.map(), &view, &mut page));
        whole(&show::status_by(&core, Some(view)), &mut page);
    }
    page.process();
    page
}

/// What is known of all of it together: space, repair, rebalance.
fn whole(status: &Status, page: &mut Page) {
    type OfSpace = fn(&Space) -> u64;
    let figures: [(&str, &str, OfSpace); 4] = [
        ("redoubt_pool_size_bytes", "Bytes for units of the devices of a pool; pools may share devices.", |space| space.bytes),
        ("redoubt_pool_used_bytes", "Bytes used of them, on the devices that say so.", |space| space.used),
        ("redoubt_pool_free_bytes", "Bytes free of them, likewise.", |space| space.free),
        ("redoubt_pool_devices_silent", "Devices of a pool that do not say how full they are.", |space| space.unknown as u64),
    ];
    for (name, help, of) in figures {
        let mut metric = page.metric(name, Kind::Gauge, help);
        for pool in status.map.pools.values() {
            metric.sample(&[("pool", &pool.name)], of(&status.space(&pool.devices)));
        }
    }
    let (repair, rebalance) = (Repair::of(status), status.rebalance);
    let slots = repair.slots() + repair.to_move + repair.to_drain;
    let to_move = rebalance.and_then(|of| of.to_move).unwrap_or(0);
    for (name, help, value) in [
        ("redoubt_repair_slots_left", "Slots that lack units, or are on devices that failed or are to go.", slots as u64),
        ("redoubt_repair_left_bytes", "Bytes that are to be rebuilt, about.", repair.bytes_left),
        ("redoubt_repair_bytes_per_second", "Bytes that all devices rebuild in a second, of late.", repair.bytes_per_second),
        ("redoubt_repair_paused", "Whether an operator has paused repair.", u64::from(repair.paused)),
        ("redoubt_rebalance_running", "Whether places move so that every device has its share.", u64::from(rebalance.is_some())),
        ("redoubt_rebalance_places_left", "Places that are still to move.", to_move as u64),
        ("redoubt_rebalance_groups_filling", "Groups of which a member is being filled.", rebalance.map_or(0, |of| of.filling as u64)),
        ("redoubt_catalogues_dropped", "Catalogues that were dropped and are being emptied.", status.dropped as u64),
    ] {
        page.metric(name, Kind::Gauge, help).sample(&[], value);
    }
}

fn raft(core: &Core, page: &mut Page) {
    let (standing, status) = (core.group.standing(), core.group.status());
    for (name, help, value) in [
        ("redoubt_raft_leader", "Whether this daemon leads, with a quorum behind it.", u64::from(standing.confirmed)),
        ("redoubt_raft_in_touch", "Whether this daemon leads or hears from who does.", u64::from(core.in_touch())),
        ("redoubt_raft_term", "Raft's term.", status.term),
        ("redoubt_raft_last_log_index", "The last entry of the log.", status.last_log_index),
        ("redoubt_raft_applied_index", "The last entry applied.", status.applied_index),
        ("redoubt_raft_snapshot_index", "The last entry in the snapshot.", status.snapshot_index),
        ("redoubt_raft_voters", "Daemons that vote.", status.voters.len() as u64),
        ("redoubt_raft_learners", "Daemons that follow without a vote.", status.learners.len() as u64),
    ] {
        page.metric(name, Kind::Gauge, help).sample(&[], value);
    }
    let reachable = core.reachable.lock().expect("nobody panics with the lock").clone();
    let own = core.node();
    let mut metric = page.metric("redoubt_ha_peer_reachable", Kind::Gauge, "Whether the daemon of another node answers this one.");
    for node in core.addresses().keys().filter(|node| **node != own) {
        metric.sample(&[("peer", node)], u8::from(reachable.contains(node)));
    }
}

/// What is away for how long yet, and which nodes are so on purpose.
fn away(state: &State, page: &mut Page) {
    let mut metric = page.metric("redoubt_device_fails_in_seconds", Kind::Gauge, "After how long a device that is away is given up.");
    for (id, device) in &state.map().devices {
        if let Some(ms) = show::away(state, *id).and_then(|away| away.fails_in_ms) {
            metric.sample(&[("device", id), ("node", &node_name(state.map(), device.node))], ms as f64 / 1000.0);
        }
    }
    let mut metric = page.metric("redoubt_node_maintenance", Kind::Gauge, "Whether a node is in maintenance.");
    for (id, node) in &state.map().nodes {
        metric.sample(&[("node", &node.name)], u8::from(state.maintenance().contains_key(id)));
    }
}

fn node_name(map: &ClusterMap, node: types::NodeId) -> String {
    map.nodes.get(&node).map_or_else(|| node.to_string(), |node| node.name.clone())
}

fn cluster(map: &ClusterMap, page: &mut Page) {
    page.metric("redoubt_cluster_epoch", Kind::Gauge, "The last entry that changed configuration, states or placement.")
        .sample(&[], map.epoch.0);
    let mut metric = page.metric("redoubt_node_state", Kind::Gauge, "1 for the state that the storage process of a node is in, else 0.");
    for node in map.nodes.values() {
        for state in PROCESS_STATES {
            metric.sample(&[("node", &node.name), ("state", &state)], u8::from(node.state == state));
        }
    }
    let mut metric = page.metric("redoubt_device_state", Kind::Gauge, "1 for the state that a device is in, else 0.");
    for (id, device) in &map.devices {
        let name = node_name(map, device.node);
        for state in DEVICE_STATES {
            metric.sample(&[("device", id), ("node", &name), ("state", &state)], u8::from(device.state == state));
        }
    }
    groups(map, page);
}

/// Of the groups of one pool.
#[derive(Default)]
struct Counts {
    groups: u64,
    not_serving: u64,
    missing: u64,
}

fn groups(map: &ClusterMap, page: &mut Page) {
    let readable = |id| map.devices.get(&id).is_some_and(|device| device.state.is_readable());
    let mut pools: BTreeMap<PoolId, Counts> = map.pools.keys().map(|id| (*id, Counts::default())).collect();
    for (id, group) in &map.groups {
        let Some(pool) = map.pools.get(&id.pool) else { continue };
        let there = group.devices().iter().filter(|id| readable(**id)).count();
        let serves = match group {
            Group::Replicated(view) => view.primary.is_some() && view.active == view.number,
            Group::Erasure(_) => matches!(pool.scheme, Scheme::Erasure { data, .. } if there >= usize::from(data)),
        };
        let counts = pools.entry(id.pool).or_default();
        counts.groups += 1;
        counts.not_serving += u64::from(!serves);
        counts.missing += pool.scheme.width().saturating_sub(there) as u64;
    }
    let figures: [Figure<Counts>; 3] = [
        ("redoubt_pool_groups", "Groups of a pool.", |counts| counts.groups),
        ("redoubt_pool_groups_not_serving", "Groups that do not serve now.", |counts| counts.not_serving),
        ("redoubt_pool_members_missing", "Members of groups, or slots, on no device that serves reads.", |counts| counts.missing),
    ];
    for (name, help, of) in figures {
        let mut metric = page.metric(name, Kind::Gauge, help);
        for (id, counts) in &pools {
            let pool = map.pools.get(id).map_or_else(|| id.to_string(), |pool| pool.name.clone());
            metric.sample(&[("pool", &pool)], of(counts));
        }
    }
}

fn leader(map: &ClusterMap, view: &LeaderView, page: &mut Page) {
    let figures: [Figure<DeviceUsage>; 4] = [
        ("redoubt_device_size_bytes", "Bytes for units of a device.", |usage| usage.bytes),
        ("redoubt_device_free_bytes", "Bytes free of them.", |usage| usage.free),
        ("redoubt_device_metadata_bytes", "Bytes of metadata of a device.", |usage| usage.meta_bytes),
        ("redoubt_device_units", "Units of a device.", |usage| usage.units),
    ];
    for (name, help, of) in figures {
        let mut metric = page.metric(name, Kind::Gauge, help);
        for (id, usage) in &view.usage {
            let node = map.devices.get(id).map_or_else(String::new, |device| node_name(map, device.node));
            metric.sample(&[("device", id), ("node", &node)], of(usage));
        }
    }
    let mut metric = page.metric("redoubt_lease_age_seconds", Kind::Gauge, "Since when the lease of a node's process was not renewed.");
    for node in map.nodes.values() {
        if let Some(age) = view.lease_age_ms.get(&node.boot) {
            metric.sample(&[("node", &node.name)], *age as f64 / 1000.0);
        }
    }
    page.metric("redoubt_warnings", Kind::Gauge, "Things that an operator should know: `ha status` says them.")
        .sample(&[], view.warnings.len());
}
