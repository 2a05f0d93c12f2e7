//! The cluster at a glance: what `ha top` and the page of every node show, computed from what HA says and from nothing else.
//!
//! Totals of what processes are asked are in it as they are; what goes on is the difference of two glances ([`Seen::since`]).

use serde::Serialize;
use types::load::{Kind, NodeLoad, Work};
use types::map::{Device, Node, Pool};

use crate::health::{of_cluster, of_pool};
use crate::repair::Repair;
use crate::report::Space;
use crate::{EventLine, Status};

/// The cluster as it is.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Seen {
    /// Its id.
    pub cluster: String,
    /// `healthy`, `degraded`, `impaired` or `not-created`.
    pub health: &'static str,
    /// Whether HA's leader says so, with a quorum behind it; else it is what one daemon last knew.
    pub confirmed: bool,
    /// The daemon that says so.
    pub answered_by: String,
    /// The daemon that leads.
    pub leader: Option<String>,
    /// The last entry of HA's log that is in it.
    pub index: u64,
    /// The epoch.
    pub epoch: u64,
    /// The wall clock of the daemon that says so, milliseconds since 1970.
    pub unix_ms: u64,
    /// Catalogues there are.
    pub catalogues: usize,
    /// Open sessions of native clients.
    pub client_sessions: usize,
    /// How full all devices are together.
    pub space: SpaceSeen,
    /// Nodes.
    pub nodes: Vec<NodeSeen>,
    /// Devices.
    pub devices: Vec<DeviceSeen>,
    /// Pools.
    pub pools: Vec<PoolSeen>,
    /// Units that are rebuilt.
    pub repair: RepairSeen,
    /// Places that move.
    pub rebalance: RebalanceSeen,
    /// What an operator should know.
    pub warnings: Vec<String>,
    /// The last events, oldest first.
    pub events: Vec<EventSeen>,
    /// What went on in all nodes since an earlier glance.
    pub rates: Option<Rates>,
}

/// How full devices are together.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct SpaceSeen {
    /// Bytes for units.
    pub bytes: u64,
    /// Bytes used of them, where that is known.
    pub used_bytes: u64,
    /// Bytes free, likewise.
    pub free_bytes: u64,
    /// Devices.
    pub devices: usize,
    /// Devices that say how full they are.
    pub devices_that_say: usize,
}

/// A node.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct NodeSeen {
    /// Its name.
    pub name: String,
    /// The state of its storage process.
    pub state: String,
    /// Whether it is in maintenance.
    pub maintenance: bool,
    /// Whether an operator wants to be rid of it.
    pub removing: bool,
    /// For how long it has been in its state.
    pub for_ms: u64,
    /// Why.
    pub reason: String,
    /// Whether its HA daemon votes.
    pub voter: bool,
    /// Whether its HA daemon answers the one that says so.
    pub daemon_reachable: bool,
    /// How long ago its lease was renewed.
    pub lease_age_ms: Option<u64>,
    /// Its devices.
    pub devices: usize,
    /// Those that serve.
    pub devices_online: usize,
    /// Bytes used of its devices.
    pub space: SpaceSeen,
    /// Which start of its process.
    pub boot: u64,
    /// What the process has done in all.
    pub load: Option<LoadSeen>,
    /// What it did since an earlier glance.
    pub rates: Option<Rates>,
    #[serde(skip)]
    said: Option<NodeLoad>,
}

/// What a process has done since its start.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct LoadSeen {
    /// For how long it ran when it said so.
    pub at_ms: u64,
    /// Requests refused because too many were under way.
    pub refused: u64,
    /// What was done, by kind.
    pub work: Vec<WorkSeen>,
}

/// What was done of one kind.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct WorkSeen {
    /// Which, in words.
    pub kind: &'static str,
    /// Requests that ended.
    pub count: u64,
    /// How long they took together.
    pub micros: u64,
    /// Bytes that went with them.
    pub bytes: u64,
}

/// What goes on, by kind.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Rates {
    /// A row a kind.
    pub kinds: Vec<Rate>,
}

/// What goes on of one kind.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Rate {
    /// Which, in words.
    pub kind: &'static str,
    /// Requests in a second.
    pub per_second: f64,
    /// Bytes in a second.
    pub bytes_per_second: f64,
    /// How long one takes on the average.
    pub mean_ms: Option<f64>,
    /// How long 99 of 100 take at most, about.
    pub p99_ms: Option<f64>,
}

/// A device.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct DeviceSeen {
    /// Its id.
    pub id: String,
    /// Its node.
    pub node: String,
    /// Its state.
    pub state: String,
    /// Why.
    pub reason: String,
    /// Bytes for units.
    pub bytes: u64,
    /// Bytes used of them, where it says so.
    pub used_bytes: Option<u64>,
    /// Bytes of metadata.
    pub meta_bytes: Option<u64>,
    /// Errors in its present format.
    pub errors: u64,
    /// Whether an operator wants it replaced.
    pub leaving: bool,
    /// After how long it is given up, where it is away.
    pub fails_in_ms: Option<u64>,
    /// Units are rebuilt on it at this rate.
    pub rebuild_bytes_per_second: u64,
    /// Whether it is being read as a whole.
    pub scrubs: bool,
}

/// A pool.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct PoolSeen {
    /// Its name.
    pub name: String,
    /// Its scheme.
    pub scheme: String,
    /// How full its devices are together.
    pub space: SpaceSeen,
    /// Its groups.
    pub groups: usize,
    /// Those that are fully there.
    pub whole: usize,
    /// Those that serve without all members.
    pub degraded: usize,
    /// Those that do not serve.
    pub unavailable: usize,
    /// That in words.
    pub words: String,
}

/// Units that are rebuilt.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct RepairSeen {
    /// `idle`, `running`, `paused` or `no place`.
    pub state: &'static str,
    /// Slots that lack units or are on devices that go.
    pub slots_left: usize,
    /// About.
    pub bytes_left: u64,
    /// Of late.
    pub bytes_per_second: u64,
    /// How long it will take, about.
    pub eta_ms: Option<u64>,
}

/// Places that move so that every device has its share.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct RebalanceSeen {
    /// `idle`, `running` or `paused`.
    pub state: &'static str,
    /// Places that are still to move, where that is known.
    pub to_move: Option<usize>,
    /// Members and slots that are being filled.
    pub filling: usize,
}

/// An event.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct EventSeen {
    /// The entry of HA's log that did it.
    pub index: u64,
    /// The leader's wall clock, milliseconds since 1970.
    pub unix_ms: u64,
    /// To whom.
    pub subject: String,
    /// What.
    pub what: String,
    /// Why.
    pub cause: String,
}

impl Seen {
    /// What HA says, with the last events.
    pub fn of(status: &Status, events: &[EventLine]) -> Self {
        let map = &status.map;
        let name = |id| map.nodes.get(&id).map_or_else(|| format!("{id}"), |node| node.name.clone());
        let all: Vec<_> = map.devices.keys().copied().collect();
        Self {
            cluster: map.cluster.to_string(),
            health: of_cluster(map, &status.unfilled),
            confirmed: status.confirmed,
            answered_by: name(status.answered_by),
            leader: status.leader.filter(|_| status.confirmed).map(name),
            index: map.index,
            epoch: map.epoch.0,
            unix_ms: status.wall_ms,
            catalogues: map.catalogues.len(),
            client_sessions: status.client_sessions,
            space: space(status.space(&all), all.len()),
            nodes: map.nodes.values().map(|node| node_seen(status, node)).collect(),
            devices: map.devices.values().map(|device| device_seen(status, device)).collect(),
            pools: map.pools.values().map(|pool| pool_seen(status, pool)).collect(),
            repair: repair_seen(status),
            rebalance: rebalance_seen(status),
            warnings: status.warnings.clone(),
            events: events.iter().map(event_seen).collect(),
            rates: None,
        }
    }

    /// The same, with what went on since an earlier glance.
    #[must_use]
    pub fn since(mut self, before: &Self) -> Self {
        let mut all = [Work::default(); 4];
        let mut longest = 0;
        for node in &mut self.nodes {
            let then = before.nodes.iter().find(|then| then.name == node.name && then.boot == node.boot);
            let (Some(now), Some(then)) = (&node.said, then.and_then(|then| then.said.as_ref())) else { continue };
            let ms = now.at_ms.saturating_sub(then.at_ms);
            // It has not said anything new.
            if ms == 0 {
                continue;
            }
            let done: [Work; 4] = std::array::from_fn(|kind| now.work[kind].since(&then.work[kind]));
            all = std::array::from_fn(|kind| all[kind].and(&done[kind]));
            longest = longest.max(ms);
            node.rates = Some(rates(&done, ms));
        }
        self.rates = (longest > 0).then(|| rates(&all, longest));
        self
    }
}

fn rates(done: &[Work; 4], ms: u64) -> Rates {
    let seconds = ms as f64 / 1000.0;
    let rate = |(kind, work): (Kind, &Work)| Rate {
        kind: kind.words(),
        per_second: work.count as f64 / seconds,
        bytes_per_second: work.bytes as f64 / seconds,
        mean_ms: work.mean_micros().map(|micros| micros as f64 / 1000.0),
        p99_ms: work.p99_micros().map(|micros| micros as f64 / 1000.0),
    };
    Rates { kinds: Kind::ALL.into_iter().zip(done).map(rate).collect() }
}

fn space(of: Space, devices: usize) -> SpaceSeen {
    SpaceSeen { bytes: of.bytes, used_bytes: of.used, free_bytes: of.free, devices, devices_that_say: devices - of.unknown }
}

fn node_seen(status: &Status, node: &Node) -> NodeSeen {
    let extra = status.nodes.get(&node.id).cloned().unwrap_or_default();
    let devices: Vec<&Device> = status.map.devices.values().filter(|device| device.node == node.id).collect();
    let ids: Vec<_> = devices.iter().map(|device| device.id).collect();
    NodeSeen {
        name: node.name.clone(),
        state: node.state.to_string(),
        maintenance: status.maintenance.contains_key(&node.id),
        removing: status.removing.contains(&node.id),
        for_ms: status.wall_ms.saturating_sub(extra.since_wall_ms),
        reason: extra.reason,
        voter: node.voter,
        daemon_reachable: extra.daemon_reachable,
        lease_age_ms: extra.lease_age_ms,
        devices: devices.len(),
        devices_online: devices.iter().filter(|device| device.state.is_readable()).count(),
        space: space(status.space(&ids), ids.len()),
        boot: node.boot.0,
        load: extra.load.as_ref().map(load_seen),
        rates: None,
        said: extra.load,
    }
}

fn load_seen(load: &NodeLoad) -> LoadSeen {
    let work = |(kind, work): (Kind, &Work)| WorkSeen { kind: kind.words(), count: work.count, micros: work.micros, bytes: work.bytes };
    LoadSeen { at_ms: load.at_ms, refused: load.refused, work: Kind::ALL.into_iter().zip(&load.work).map(work).collect() }
}

fn device_seen(status: &Status, device: &Device) -> DeviceSeen {
    let usage = status.usage.get(&device.id);
    DeviceSeen {
        id: device.id.to_string(),
        node: status.map.nodes.get(&device.node).map_or_else(|| device.node.to_string(), |node| node.name.clone()),
        state: device.state.to_string(),
        reason: device.reason.clone(),
        bytes: usage.map_or(device.bytes, |usage| usage.bytes),
        used_bytes: usage.map(|usage| usage.bytes.saturating_sub(usage.free)),
        meta_bytes: usage.map(|usage| usage.meta_bytes),
        errors: status.device_errors.get(&device.id).copied().unwrap_or(0),
        leaving: status.leaving.contains(&device.id),
        fails_in_ms: status.away.get(&device.id).and_then(|away| away.fails_in_ms),
        rebuild_bytes_per_second: usage.map_or(0, |usage| usage.rebuild.bytes_per_second),
        scrubs: usage.is_some_and(|usage| usage.scrub.running),
    }
}

fn pool_seen(status: &Status, pool: &Pool) -> PoolSeen {
    let health = of_pool(&status.map, &status.unfilled, pool);
    PoolSeen {
        name: pool.name.clone(),
        scheme: pool.scheme.to_string(),
        space: space(status.space(&pool.devices), pool.devices.len()),
        groups: health.groups,
        whole: health.whole,
        degraded: health.degraded,
        unavailable: health.unavailable,
        words: health.words(),
    }
}

fn repair_seen(status: &Status) -> RepairSeen {
    let repair = Repair::of(status);
    RepairSeen {
        state: repair.word(),
        slots_left: repair.slots() + repair.to_move + repair.to_drain,
        bytes_left: repair.bytes_left,
        bytes_per_second: repair.bytes_per_second,
        eta_ms: repair.eta_ms(),
    }
}

fn rebalance_seen(status: &Status) -> RebalanceSeen {
    let state = match status.rebalance {
        None => "idle",
        Some(of) if of.paused => "paused",
        Some(_) => "running",
    };
    let slots: usize = status.unfilled.values().map(std::collections::BTreeSet::len).sum();
    RebalanceSeen {
        state,
        to_move: status.rebalance.and_then(|of| of.to_move),
        filling: status.rebalance.map_or(0, |of| of.filling + slots),
    }
}

fn event_seen(event: &EventLine) -> EventSeen {
    EventSeen {
        index: event.index,
        unix_ms: event.wall_ms,
        subject: event.subject.clone(),
        what: event.what.clone(),
        cause: event.cause.clone(),
    }
}
