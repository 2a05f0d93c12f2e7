//! The cluster as its operator declares it: nodes, devices, pools. Who votes follows from it.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};
use types::scheme::{FailureDomain, Scheme};
use types::{DeviceId, DiskGroupId, NodeId, PoolId};

use super::check_address;

/// Most HA daemons that vote.
pub const VOTERS_MAX: usize = 7;
/// Longest name of a node or a pool, in bytes.
const NAME_BYTES_MAX: usize = 255;

/// A cluster as declared.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TopologyConfig {
    /// Its nodes.
    #[serde(rename = "node")]
    pub nodes: Vec<NodeEntry>,
    /// Their devices.
    #[serde(default, rename = "device")]
    pub devices: Vec<DeviceConfig>,
    /// Its pools.
    #[serde(default, rename = "pool")]
    pub pools: Vec<PoolConfig>,
}

/// A node.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NodeEntry {
    /// From 1.
    pub id: NodeId,
    /// Its name.
    pub name: String,
    /// `host:port` of its HA daemon.
    pub ha: String,
    /// `host:port` of its storage process on the fabric.
    pub fabric: String,
    /// Its rack.
    #[serde(default)]
    pub rack: u16,
    /// Its storage set.
    #[serde(default)]
    pub storage_set: u16,
}

/// A device.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DeviceConfig {
    /// From 1, unique in the cluster.
    pub id: DeviceId,
    /// The name of its node.
    pub node: String,
    /// Its disk group, unique in the cluster.
    pub disk_group: DiskGroupId,
    /// Size for objects, in bytes.
    pub bytes: u64,
}

/// Replicated groups of a small cluster.
const SMALL_META_GROUPS: u32 = 32;

/// A pool.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PoolConfig {
    /// From 1.
    pub id: PoolId,
    /// Its name.
    pub name: String,
    /// `N+K`, `N+K+S`, or `1+2f` for copies.
    #[serde(with = "scheme_text")]
    pub scheme: Scheme,
    /// `device`, `disk-group`, `node`, `storage-set` or `rack`.
    pub failure_domain: FailureDomain,
    /// How many groups; 0 takes as many as the pool needs.
    #[serde(default)]
    pub groups: u32,
    /// Where the default policy tries it: lower is earlier.
    #[serde(default)]
    pub priority: u8,
    /// Whether for each node a third of the groups avoid it, so that writes go on while the node is away.
    #[serde(default)]
    pub avoid_node: bool,
    /// The devices that it may use; empty means all.
    #[serde(default)]
    pub devices: Vec<DeviceId>,
}

impl PoolConfig {
    /// The pools of a small cluster: `1+2` for metadata, `4+2` for data, and `2+2` for what is written while a node is away.
    pub fn usual() -> Vec<Self> {
        let pool = |id, name: &str, scheme, failure_domain, groups, priority, avoid_node| Self {
            id: PoolId(id),
            name: name.into(),
            scheme,
            failure_domain,
            groups,
            priority,
            avoid_node,
            devices: Vec::new(),
        };
        let erasure = |data, parity| Scheme::Erasure { data, parity, spare: 0 };
        vec![
            pool(1, "meta", Scheme::Replicated { copies: 3 }, FailureDomain::Node, SMALL_META_GROUPS, 0, false),
            pool(2, "data", erasure(4, 2), FailureDomain::DiskGroup, 0, 1, false),
            pool(3, "second", erasure(2, 2), FailureDomain::DiskGroup, 0, 2, true),
        ]
    }
}

mod scheme_text {
    use serde::{Deserialize, Deserializer, Serializer, de::Error};
    use types::scheme::Scheme;

    pub(super) fn serialize<S: Serializer>(scheme: &Scheme, s: S) -> Result<S::Ok, S::Error> {
        s.collect_str(scheme)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(d: D) -> Result<Scheme, D::Error> {
        let text = String::deserialize(d)?;
        // A scheme that parts well and cannot be (even copies) has its own words; see `Scheme::validate`.
        text.parse().map_err(D::Error::custom)
    }
}

fn once<T: Ord + std::fmt::Display>(seen: &mut BTreeSet<T>, what: &str, value: T) -> Result<(), String> {
    let text = value.to_string();
    if seen.insert(value) { Ok(()) } else { Err(format!("topology: {what} `{text}` is given twice")) }
}

fn check_name(what: &str, name: &str) -> Result<(), String> {
    if name.is_empty() || name.len() > NAME_BYTES_MAX || name.chars().any(char::is_control) {
        return Err(format!("topology: {what}: a name has 1 to {NAME_BYTES_MAX} bytes and no control characters"));
    }
    Ok(())
}

impl TopologyConfig {
    /// What is wrong with it, if so.
    pub fn check(&self) -> Result<(), String> {
        self.check_nodes()?;
        self.check_devices()?;
        self.check_pools()
    }

    fn check_nodes(&self) -> Result<(), String> {
        if self.nodes.is_empty() {
            return Err("topology: a cluster has at least one node".into());
        }
        let (mut ids, mut names, mut addresses) = (BTreeSet::new(), BTreeSet::new(), BTreeSet::new());
        for node in &self.nodes {
            if node.id.0 == 0 {
                return Err(format!("topology: node `{}`: nodes are numbered from 1", node.name));
            }
            check_name("node", &node.name)?;
            once(&mut ids, "node id", node.id)?;
            once(&mut names, "node name", node.name.as_str())?;
            check_address(&format!("topology: node `{}`: ha", node.name), &node.ha)?;
            check_address(&format!("topology: node `{}`: fabric", node.name), &node.fabric)?;
            once(&mut addresses, "address", node.ha.as_str())?;
            once(&mut addresses, "address", node.fabric.as_str())?;
        }
        Ok(())
    }

    fn check_devices(&self) -> Result<(), String> {
        let mut ids = BTreeSet::new();
        let mut homes: BTreeMap<DiskGroupId, &str> = BTreeMap::new();
        for device in &self.devices {
            once(&mut ids, "device id", device.id)?;
            if device.id.0 == 0 || device.bytes == 0 {
                return Err(format!("topology: {}: devices are numbered from 1 and have a size", device.id));
            }
            if self.node_named(&device.node).is_none() {
                return Err(format!("topology: {}: its node `{}` is not declared", device.id, device.node));
            }
            let home = homes.entry(device.disk_group).or_insert(&device.node);
            if *home != device.node {
                return Err(format!(
                    "topology: {} is in `{home}` and in `{}`: number disk groups for the whole cluster",
                    device.disk_group, device.node
                ));
            }
        }
        Ok(())
    }

    fn check_pools(&self) -> Result<(), String> {
        let devices: BTreeSet<DeviceId> = self.devices.iter().map(|d| d.id).collect();
        let (mut ids, mut names) = (BTreeSet::new(), BTreeSet::new());
        for pool in &self.pools {
            check_name("pool", &pool.name)?;
            once(&mut ids, "pool id", pool.id)?;
            once(&mut names, "pool name", pool.name.as_str())?;
            pool.scheme.validate().map_err(|problem| format!("topology: pool `{}`: {problem}", pool.name))?;
            let mut seen = BTreeSet::new();
            for device in &pool.devices {
                if !devices.contains(device) {
                    return Err(format!("topology: pool `{}`: {device} is not declared", pool.name));
                }
                once(&mut seen, &format!("device of pool `{}`", pool.name), *device)?;
            }
        }
        Ok(())
    }

    /// The node of that name.
    pub fn node_named(&self, name: &str) -> Option<&NodeEntry> {
        self.nodes.iter().find(|n| n.name == name)
    }

    /// The node of that number.
    pub fn node(&self, id: NodeId) -> Option<&NodeEntry> {
        self.nodes.iter().find(|n| n.id == id)
    }

    /// The nodes whose daemons vote: an odd number, at most [`VOTERS_MAX`], spread over racks, then storage sets, lower ids first.
    pub fn voters(&self) -> BTreeSet<NodeId> {
        let places = self.nodes.iter().map(|n| (n.id, (n.rack, n.storage_set))).collect();
        voters_of(self.nodes.len(), &places, |_| false)
    }
}

/// How many daemons vote of a cluster of so many nodes: an odd number, at most [`VOTERS_MAX`].
pub fn voters_count(nodes: usize) -> usize {
    let most = nodes.min(VOTERS_MAX);
    if most.is_multiple_of(2) { most.saturating_sub(1) } else { most }
}

/// Who votes of a cluster of `nodes` nodes: of those with a place (rack and storage set) here those to `keep` first, then spread over racks,
/// then storage sets, lower ids first. Fewer than there should be where there are not enough places.
pub fn voters_of(nodes: usize, places: &BTreeMap<NodeId, (u16, u16)>, keep: impl Fn(&NodeId) -> bool) -> BTreeSet<NodeId> {
    let count = voters_count(nodes);
    let (mut racks, mut sets): (BTreeMap<u16, usize>, BTreeMap<u16, usize>) = Default::default();
    let mut voters = BTreeSet::new();
    while voters.len() < count {
        let rank = |(id, (rack, set)): &(&NodeId, &(u16, u16))| {
            let taken = |counts: &BTreeMap<u16, usize>, key: &u16| counts.get(key).copied().unwrap_or(0);
            (!keep(id), taken(&racks, rack), taken(&sets, set), **id)
        };
        let Some((next, (rack, set))) = places.iter().filter(|(id, _)| !voters.contains(*id)).min_by_key(rank) else { break };
        *racks.entry(*rack).or_default() += 1;
        *sets.entry(*set).or_default() += 1;
        voters.insert(*next);
    }
    voters
}
