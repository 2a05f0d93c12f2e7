//! What an operator declares when a cluster is created: nodes, devices, pools. Checked whole before anything is built on it.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};
use types::limits::CATALOGUE_NAME_BYTES_MAX;
use types::scheme::{FailureDomain, Scheme};
use types::{ClusterId, DeviceId, DiskGroupId, NodeId, PoolId};

/// Most nodes of a cluster.
pub const NODES_MAX: usize = 1000;
/// Most devices of a cluster.
pub const DEVICES_MAX: usize = 20_000;
/// Most pools of a cluster.
pub const POOLS_MAX: usize = 1000;
/// Most groups of one pool.
pub const GROUPS_MAX: u32 = 200_000;

/// A cluster as declared.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Topology {
    /// Which cluster.
    pub cluster: ClusterId,
    /// Its nodes.
    pub nodes: Vec<NodeSpec>,
    /// Their devices.
    pub devices: Vec<DeviceSpec>,
    /// Its pools.
    pub pools: Vec<PoolSpec>,
}

/// A node as declared.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct NodeSpec {
    /// From 1.
    pub id: NodeId,
    /// The operator's name for it.
    pub name: String,
    /// Its storage set: a group has all its members in one.
    pub storage_set: u16,
    /// Its rack.
    pub rack: u16,
    /// `host:port` of its HA daemon (gRPC).
    pub ha_address: String,
    /// `host:port` of its storage process (fabric).
    pub fabric_address: String,
    /// Whether its HA daemon votes.
    pub voter: bool,
}

/// A device as declared.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeviceSpec {
    /// From 1, unique in the cluster.
    pub id: DeviceId,
    /// The node it is in.
    pub node: NodeId,
    /// Its disk group, unique in the cluster.
    pub disk_group: DiskGroupId,
    /// Size for objects, in bytes: its weight in placement.
    pub bytes: u64,
}

/// A pool as declared.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PoolSpec {
    /// From 1.
    pub id: PoolId,
    /// The operator's name for it.
    pub name: String,
    /// How it protects.
    pub scheme: Scheme,
    /// What may fail as one.
    pub failure_domain: FailureDomain,
    /// The devices that it may use; empty means all.
    pub devices: Vec<DeviceId>,
    /// How many groups; 0 lets the leader take as many as the pool needs.
    pub groups: u32,
    /// Where the default policy tries it: lower is earlier.
    pub priority: u8,
    /// Whether, for each node of a storage set, a third of the groups there avoid it, so that writes go on while the node is away.
    pub avoid_node: bool,
}

/// Why a declared cluster cannot be.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error, Serialize, Deserialize)]
pub enum TopologyError {
    /// Two things have one id, name or address.
    #[error("{what} {value} is given twice")]
    Twice {
        /// `node id`, `device id` and so on.
        what: String,
        /// The id, name or address.
        value: String,
    },
    /// Something refers to what is not there.
    #[error("{what} refers to {missing}, which is not declared")]
    Missing {
        /// Who refers.
        what: String,
        /// To what.
        missing: String,
    },
    /// A value is out of its bounds.
    #[error("{what}: {problem}")]
    Bounds {
        /// Of what.
        what: String,
        /// What is wrong.
        problem: String,
    },
}

fn bounds(what: impl Into<String>, problem: impl Into<String>) -> TopologyError {
    TopologyError::Bounds { what: what.into(), problem: problem.into() }
}

fn unique<K: Ord + ToString>(seen: &mut BTreeSet<K>, what: &str, value: K) -> Result<(), TopologyError> {
    let text = value.to_string();
    if seen.insert(value) { Ok(()) } else { Err(TopologyError::Twice { what: what.into(), value: text }) }
}

fn name_is_good(what: &str, name: &str) -> Result<(), TopologyError> {
    if name.is_empty() || name.len() > CATALOGUE_NAME_BYTES_MAX {
        return Err(bounds(what, format!("a name has 1 to {CATALOGUE_NAME_BYTES_MAX} bytes, `{name}` has {}", name.len())));
    }
    if name.chars().any(char::is_control) {
        return Err(bounds(what, format!("a name has no control characters, {name:?} has")));
    }
    Ok(())
}

impl Topology {
    /// Why the cluster cannot be, if so. Names the first thing that is wrong.
    pub fn validate(&self) -> Result<(), TopologyError> {
        for (what, have, max) in
            [("nodes", self.nodes.len(), NODES_MAX), ("devices", self.devices.len(), DEVICES_MAX), ("pools", self.pools.len(), POOLS_MAX)]
        {
            if have > max {
                return Err(bounds(what, format!("at most {max}, not {have}")));
            }
        }
        self.validate_nodes()?;
        self.validate_devices()?;
        self.validate_pools()
    }

    fn validate_nodes(&self) -> Result<(), TopologyError> {
        if self.nodes.is_empty() {
            return Err(bounds("nodes", "a cluster has at least one"));
        }
        let (mut ids, mut names, mut ha, mut fabric) = (BTreeSet::new(), BTreeSet::new(), BTreeSet::new(), BTreeSet::new());
        for node in &self.nodes {
            if node.id.0 == 0 {
                return Err(bounds(format!("node `{}`", node.name), "nodes are numbered from 1"));
            }
            unique(&mut ids, "node id", node.id)?;
            name_is_good("node name", &node.name)?;
            unique(&mut names, "node name", node.name.clone())?;
            for (seen, what, address) in [(&mut ha, "HA address", &node.ha_address), (&mut fabric, "fabric address", &node.fabric_address)]
            {
                if address.is_empty() || address.len() > CATALOGUE_NAME_BYTES_MAX {
                    return Err(bounds(format!("{what} of node `{}`", node.name), "say host:port"));
                }
                unique(seen, what, address.clone())?;
            }
        }
        Ok(())
    }

    fn validate_devices(&self) -> Result<(), TopologyError> {
        let nodes: BTreeSet<NodeId> = self.nodes.iter().map(|n| n.id).collect();
        let mut ids = BTreeSet::new();
        let mut groups: BTreeMap<DiskGroupId, NodeId> = BTreeMap::new();
        for device in &self.devices {
            unique(&mut ids, "device id", device.id)?;
            if device.id.0 == 0 || device.bytes == 0 {
                return Err(bounds(device.id.to_string(), "devices are numbered from 1 and have a size"));
            }
            if !nodes.contains(&device.node) {
                return Err(TopologyError::Missing { what: device.id.to_string(), missing: device.node.to_string() });
            }
            let home = *groups.entry(device.disk_group).or_insert(device.node);
            if home != device.node {
                return Err(bounds(
                    device.disk_group.to_string(),
                    format!("is in {home} and in {}: number disk groups for the whole cluster", device.node),
                ));
            }
        }
        Ok(())
    }

    fn validate_pools(&self) -> Result<(), TopologyError> {
        let devices: BTreeSet<DeviceId> = self.devices.iter().map(|d| d.id).collect();
        let (mut ids, mut names) = (BTreeSet::new(), BTreeSet::new());
        for pool in &self.pools {
            let what = format!("pool `{}`", pool.name);
            unique(&mut ids, "pool id", pool.id)?;
            name_is_good("pool name", &pool.name)?;
            unique(&mut names, "pool name", pool.name.clone())?;
            pool.scheme.validate().map_err(|problem| bounds(&what, problem))?;
            if pool.groups > GROUPS_MAX {
                return Err(bounds(&what, format!("at most {GROUPS_MAX} groups, not {}", pool.groups)));
            }
            let mut seen = BTreeSet::new();
            for device in &pool.devices {
                unique(&mut seen, &format!("device of {what}"), *device)?;
                if !devices.contains(device) {
                    return Err(TopologyError::Missing { what: what.clone(), missing: device.to_string() });
                }
            }
        }
        Ok(())
    }
}
