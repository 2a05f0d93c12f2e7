//! The devices that a pool may use, with the domains they are in, and the rules for one group.

use std::collections::BTreeMap;

use types::DeviceId;
use types::map::{ClusterMap, Pool};
use types::scheme::{FailureDomain, Scheme};
use types::state::DeviceState;

/// A usable device; domains are numbered from 0 over the whole site.
#[derive(Clone, Debug)]
pub(super) struct Dev {
    pub(super) id: DeviceId,
    pub(super) weight: f64,
    pub(super) disk_group: usize,
    pub(super) node: usize,
    pub(super) rack: usize,
    pub(super) set: usize,
}

/// A storage set.
#[derive(Clone, Debug, Default)]
pub(super) struct Set {
    /// Its devices, as indices of [`Site::devices`].
    pub(super) devices: Vec<usize>,
    /// Its nodes that have a usable device.
    pub(super) nodes: Vec<usize>,
}

/// What a pool may use.
#[derive(Clone, Debug, Default)]
pub(super) struct Site {
    pub(super) devices: Vec<Dev>,
    pub(super) sets: Vec<Set>,
    pub(super) index: BTreeMap<DeviceId, usize>,
}

/// How many slots of one group may be in one domain.
#[derive(Clone, Copy, Debug)]
pub(super) struct Rules {
    pub(super) width: usize,
    pub(super) disk_group: usize,
    pub(super) node: usize,
    pub(super) rack: usize,
    pub(super) set: usize,
}

impl Rules {
    /// One slot a disk group, and one a node for whole copies; of what is larger, as many as the group can lose.
    pub(super) fn of(pool: &Pool) -> Self {
        let width = pool.scheme.width();
        let may_lose = pool.scheme.tolerance().max(1);
        let copies = matches!(pool.scheme, Scheme::Replicated { .. });
        let free = Self { width, disk_group: width, node: width, rack: width, set: width };
        match pool.failure_domain {
            FailureDomain::Device => free,
            FailureDomain::DiskGroup => Self { disk_group: 1, ..free },
            FailureDomain::Node => Self { node: if copies { 1 } else { may_lose }, ..free },
            FailureDomain::Rack => Self { rack: may_lose, ..free },
            FailureDomain::StorageSet => Self { set: may_lose, ..free },
        }
    }

    /// The same, with at most `node` slots on a node.
    pub(super) fn spread(self, node: usize) -> Self {
        Self { node: self.node.min(node), ..self }
    }
}

fn number<K: Ord>(numbers: &mut BTreeMap<K, usize>, key: K) -> usize {
    let next = numbers.len();
    *numbers.entry(key).or_insert(next)
}

impl Site {
    pub(super) fn of(map: &ClusterMap, pool: &Pool) -> Self {
        let mut site = Self::default();
        let (mut groups, mut nodes, mut racks, mut sets) = (BTreeMap::new(), BTreeMap::new(), BTreeMap::new(), BTreeMap::new());
        let mut allowed = pool.devices.clone();
        allowed.sort_unstable();
        allowed.dedup();
        for device in allowed.iter().filter_map(|id| map.devices.get(id)) {
            let usable =
                matches!(device.state, DeviceState::Online | DeviceState::Recovering | DeviceState::Transient | DeviceState::Rebalancing);
            let (true, Some(node)) = (usable && device.bytes > 0, map.nodes.get(&device.node)) else { continue };
            let index = site.devices.len();
            let set = number(&mut sets, node.storage_set);
            let dev = Dev {
                id: device.id,
                weight: device.bytes as f64,
                disk_group: number(&mut groups, device.disk_group),
                node: number(&mut nodes, node.id),
                rack: number(&mut racks, (node.storage_set, node.rack)),
                set,
            };
            if site.sets.len() <= set {
                site.sets.push(Set::default());
            }
            let home = &mut site.sets[set];
            home.devices.push(index);
            if !home.nodes.contains(&dev.node) {
                home.nodes.push(dev.node);
            }
            site.index.insert(device.id, index);
            site.devices.push(dev);
        }
        site
    }

    /// Whether `device` may fill an empty slot of a group that has `slots`.
    pub(super) fn fits(&self, rules: &Rules, slots: &[Option<usize>], device: usize) -> bool {
        let new = &self.devices[device];
        let (mut group, mut node, mut rack, mut all) = (1, 1, 1, 1);
        for old in slots.iter().flatten() {
            let dev = &self.devices[*old];
            if *old == device || dev.set != new.set {
                return false;
            }
            group += usize::from(dev.disk_group == new.disk_group);
            node += usize::from(dev.node == new.node);
            rack += usize::from(dev.rack == new.rack);
            all += 1;
        }
        group <= rules.disk_group && node <= rules.node && rack <= rules.rack && all <= rules.set.min(rules.width)
    }

    /// How many slots of one group the set has room for without the nodes in `avoid`.
    pub(super) fn room(&self, set: &Set, rules: &Rules, avoid: &[usize]) -> usize {
        let mut slots = Vec::new();
        for device in &set.devices {
            if slots.len() < rules.width && !avoid.contains(&self.devices[*device].node) && self.fits(rules, &slots, *device) {
                slots.push(Some(*device));
            }
        }
        slots.len()
    }

    /// The rules with the least number of slots on one node that still has room for all that has room without it.
    pub(super) fn spread(&self, set: &Set, rules: &Rules, avoid: &[usize]) -> Rules {
        let all = self.room(set, rules, avoid);
        let least = (1..=rules.width).map(|n| rules.spread(n)).find(|r| self.room(set, r, avoid) == all);
        least.unwrap_or(*rules)
    }
}

/// A number that looks drawn, from numbers: ties are broken by it, so that neighbours do not always meet. (splitmix64, Steele et al. 2014.)
pub(super) fn mix(a: u64, b: u64) -> u64 {
    let mut z = a.wrapping_mul(0x9E37_79B9_7F4A_7C15).wrapping_add(b).wrapping_add(0x9E37_79B9_7F4A_7C15);
    z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    z ^ (z >> 31)
}
