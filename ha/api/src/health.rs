//! How well the cluster is, in numbers: computed from the map alone, the same for people and for programs.

use std::collections::{BTreeMap, BTreeSet};

use types::map::{ClusterMap, Group, Pool, Slots};
use types::scheme::Scheme;
use types::state::{DeviceState, ProcessState};
use types::{DeviceId, GroupId, PoolId};

/// The groups of a pool by what they can do now.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PoolHealth {
    /// All groups.
    pub groups: usize,
    /// Fully there: every member ONLINE and, where replicated, the primary active.
    pub whole: usize,
    /// They serve, with members away.
    pub degraded: usize,
    /// They do not serve now: no active primary, or fewer than N units readable.
    pub unavailable: usize,
    /// Slots that no device fills.
    pub empty_slots: usize,
    /// Of the degraded ones: a slot of them lacks units that are to be rebuilt.
    pub units_missing: usize,
}

impl PoolHealth {
    /// In a few words.
    pub fn words(&self) -> String {
        if self.groups == 0 {
            return "no groups yet".into();
        }
        let mut parts = vec![format!("{} of {} whole", self.whole, self.groups)];
        for (count, what) in [
            (self.degraded, "degraded"),
            (self.unavailable, "not serving"),
            (self.empty_slots, "empty slots"),
            (self.units_missing, "with units missing"),
        ] {
            if count > 0 {
                parts.push(format!("{count} {what}"));
            }
        }
        parts.join(", ")
    }
}

/// How well a group is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum GroupHealth {
    /// Everything of it is there.
    Whole,
    /// It serves, with members away.
    Degraded,
    /// It does not serve now.
    Unavailable,
}

impl GroupHealth {
    /// The word for it.
    pub fn word(self) -> &'static str {
        match self {
            Self::Whole => "whole",
            Self::Degraded => "degraded",
            Self::Unavailable => "not serving",
        }
    }
}

/// Slots of erasure-coded groups that lack units.
pub type Unfilled = BTreeMap<GroupId, BTreeSet<u8>>;

/// The devices of a group that do not have all that was written to it.
pub fn units_missing<'a>(missing: &'a Unfilled, id: GroupId, group: &'a Group) -> impl Iterator<Item = DeviceId> {
    let slots = match group {
        Group::Erasure(slots) => slots.slots.as_slice(),
        Group::Replicated(_) => &[],
    };
    missing.get(&id).into_iter().flatten().filter_map(|slot| slots.get(usize::from(*slot)).copied().flatten())
}

/// How well a group of a pool is; `missing` are the slots that lack units.
pub fn of_group(map: &ClusterMap, missing: &Unfilled, pool: &Pool, id: GroupId, group: &Group) -> GroupHealth {
    let readable = |id| map.devices.get(id).is_some_and(|d| d.state.is_readable());
    let there = group.devices().iter().filter(|id| readable(*id)).count();
    let serves = match group {
        Group::Replicated(view) => view.primary.is_some() && view.active == view.number,
        Group::Erasure(_) => match pool.scheme {
            Scheme::Erasure { data, .. } => there >= usize::from(data),
            Scheme::Replicated { .. } => false,
        },
    };
    match (serves, there >= pool.scheme.width() && units_missing(missing, id, group).next().is_none()) {
        (false, _) => GroupHealth::Unavailable,
        (true, true) => GroupHealth::Whole,
        (true, false) => GroupHealth::Degraded,
    }
}

/// The groups of a pool.
pub fn groups_of(map: &ClusterMap, pool: PoolId) -> impl Iterator<Item = (&GroupId, &Group)> {
    map.groups.range(GroupId { pool, index: 0 }..=GroupId { pool, index: u32::MAX })
}

/// How well a pool is.
pub fn of_pool(map: &ClusterMap, missing: &Unfilled, pool: &Pool) -> PoolHealth {
    let mut out = PoolHealth::default();
    for (id, group) in groups_of(map, pool.id) {
        out.groups += 1;
        match of_group(map, missing, pool, *id, group) {
            GroupHealth::Whole => out.whole += 1,
            GroupHealth::Degraded => out.degraded += 1,
            GroupHealth::Unavailable => out.unavailable += 1,
        }
        out.units_missing += usize::from(units_missing(missing, *id, group).next().is_some());
        if let Group::Erasure(Slots { slots, .. }) = group {
            out.empty_slots += slots.iter().filter(|s| s.is_none()).count();
        }
    }
    out
}

/// The cluster in one word: `healthy`, `degraded` (it serves everything, something is away), `impaired` (something does not serve), or
/// `not-created`.
pub fn of_cluster(map: &ClusterMap, missing: &Unfilled) -> &'static str {
    if map.nodes.is_empty() {
        return "not-created";
    }
    let pools: Vec<PoolHealth> = map.pools.values().map(|p| of_pool(map, missing, p)).collect();
    let all_there = map.nodes.values().all(|n| n.state == ProcessState::Online)
        && map.devices.values().all(|d| matches!(d.state, DeviceState::Online | DeviceState::Rebalancing));
    if pools.iter().any(|p| p.unavailable > 0 || p.groups == 0) {
        "impaired"
    } else if !all_there || pools.iter().any(|p| p.degraded > 0) {
        "degraded"
    } else {
        "healthy"
    }
}

#[cfg(test)]
mod tests {
    use types::map::{Device, GroupView, Node, Primary};
    use types::{Boot, DiskGroupId, Epoch, Incarnation, NodeId, ViewNumber};

    use super::*;

    fn map() -> ClusterMap {
        let node = |id: u16| Node {
            id: NodeId(id),
            name: format!("node-{id}"),
            storage_set: 0,
            rack: 0,
            ha_address: String::new(),
            fabric_address: String::new(),
            state: ProcessState::Online,
            boot: Boot(1),
            voter: true,
        };
        let device = |id: u32| Device {
            id: DeviceId(id),
            node: NodeId(id as u16),
            disk_group: DiskGroupId(id),
            state: DeviceState::Online,
            incarnation: Incarnation(1),
            registered: Epoch(1),
            bytes: 1,
            reason: String::new(),
        };
        let pool = |id: u16, scheme: &str| Pool {
            id: PoolId(id),
            name: format!("pool-{id}"),
            scheme: scheme.parse().expect("a scheme"),
            failure_domain: types::scheme::FailureDomain::Node,
            devices: vec![],
            groups: 1,
            priority: 0,
        };
        let members: Vec<DeviceId> = (1..=3).map(DeviceId).collect();
        let view = GroupView {
            number: ViewNumber(5),
            created: Epoch(5),
            primary: Some(Primary { device: DeviceId(1), boot: Boot(1) }),
            old: members.clone(),
            members,
            learners: vec![],
            active: ViewNumber(5),
        };
        let slots = Slots { number: ViewNumber(5), slots: (1..=3).map(|d| Some(DeviceId(d))).collect() };
        ClusterMap {
            nodes: (1..=3).map(|n| (NodeId(n), node(n))).collect(),
            devices: (1..=3).map(|d| (DeviceId(d), device(d))).collect(),
            pools: [(PoolId(1), pool(1, "1+2")), (PoolId(2), pool(2, "2+1"))].into(),
            groups: BTreeMap::from([
                (GroupId { pool: PoolId(1), index: 0 }, Group::Replicated(view)),
                (GroupId { pool: PoolId(2), index: 0 }, Group::Erasure(slots)),
            ]),
            ..ClusterMap::default()
        }
    }

    fn none() -> Unfilled {
        Unfilled::new()
    }

    #[test]
    fn a_slot_that_lacks_units_degrades_its_group() {
        let (map, missing) = (map(), Unfilled::from([(GroupId { pool: PoolId(2), index: 0 }, BTreeSet::from([1]))]));
        let (replicated, erasure) = (of_pool(&map, &missing, &map.pools[&PoolId(1)]), of_pool(&map, &missing, &map.pools[&PoolId(2)]));
        assert_eq!((replicated.whole, replicated.units_missing), (1, 0), "full copy brings rows back");
        assert_eq!((erasure.whole, erasure.degraded, erasure.units_missing), (0, 1, 1));
        assert!(erasure.words().contains("1 with units missing"), "{}", erasure.words());
        assert_eq!(of_cluster(&map, &missing), "degraded");
    }

    #[test]
    fn a_cluster_with_everything_there_is_healthy() {
        assert_eq!(of_cluster(&map(), &none()), "healthy");
        assert_eq!(of_cluster(&ClusterMap::default(), &none()), "not-created");
    }

    #[test]
    fn a_cluster_that_serves_without_one_device_is_degraded_and_without_two_impaired() {
        let mut map = map();
        map.devices.get_mut(&DeviceId(3)).expect("it").state = DeviceState::Transient;
        assert_eq!(of_cluster(&map, &none()), "degraded");
        assert_eq!(of_pool(&map, &none(), &map.pools[&PoolId(2)]).degraded, 1);
        map.devices.get_mut(&DeviceId(2)).expect("it").state = DeviceState::Recovering;
        assert_eq!(of_pool(&map, &none(), &map.pools[&PoolId(2)]).unavailable, 1);
        assert_eq!(of_cluster(&map, &none()), "impaired");
    }

    #[test]
    fn a_group_whose_primary_is_not_active_yet_does_not_serve() {
        let mut map = map();
        for group in map.groups.values_mut() {
            match group {
                Group::Replicated(view) => view.number = ViewNumber(6),
                Group::Erasure(slots) => slots.slots[0] = None,
            }
        }
        assert_eq!(of_pool(&map, &none(), &map.pools[&PoolId(1)]).unavailable, 1);
        let erasure = of_pool(&map, &none(), &map.pools[&PoolId(2)]);
        assert_eq!((erasure.degraded, erasure.empty_slots), (1, 1));
        assert!(erasure.words().contains("1 empty slots"));
    }
}
