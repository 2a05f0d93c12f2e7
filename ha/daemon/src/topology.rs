//! From the configured topology to the one that the HA state is created with.

use std::collections::BTreeMap;

use ha_api::config::HaConfig;
use ha_state::{DeviceSpec, NodeSpec, PoolSpec, Topology};
use types::NodeId;

use crate::error::DaemonError;

/// The topology as `ha-state` declares it, checked by its rules too.
pub fn topology_of(config: &HaConfig) -> Result<Topology, DaemonError> {
    let declared = &config.topology;
    let voters = declared.voters();
    let node_id = |name: &str| declared.node_named(name).map(|n| n.id);
    let nodes = declared.nodes.iter().map(|n| NodeSpec {
        id: n.id,
        name: n.name.clone(),
        storage_set: n.storage_set,
        rack: n.rack,
        ha_address: n.ha.clone(),
        fabric_address: n.fabric.clone(),
        voter: voters.contains(&n.id),
    });
    let devices = declared.devices.iter().map(|d| {
        let node = node_id(&d.node).ok_or_else(|| DaemonError::Topology(format!("{}: no node `{}`", d.id, d.node)))?;
        Ok(DeviceSpec { id: d.id, node, disk_group: d.disk_group, bytes: d.bytes })
    });
    let pools = declared.pools.iter().map(|p| PoolSpec {
        id: p.id,
        name: p.name.clone(),
        scheme: p.scheme,
        failure_domain: p.failure_domain,
        devices: p.devices.clone(),
        groups: p.groups,
        priority: p.priority,
        avoid_node: p.avoid_node,
    });
    let topology = Topology {
        cluster: config.cluster,
        nodes: nodes.collect(),
        devices: devices.collect::<Result<_, DaemonError>>()?,
        pools: pools.collect(),
    };
    topology.validate().map_err(|e| DaemonError::Topology(e.to_string()))?;
    Ok(topology)
}

/// The address of each node's HA daemon.
pub fn addresses_of(config: &HaConfig) -> BTreeMap<NodeId, String> {
    config.topology.nodes.iter().map(|n| (n.id, n.ha.clone())).collect()
}
