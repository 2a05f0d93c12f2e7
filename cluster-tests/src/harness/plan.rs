//! What a scenario's cluster consists of: addresses, directories, configurations, and the `cluster.json` that `redoubt dev` reads.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use ha_api::config::{DeviceConfig, Factor, HaConfig, NodeConfig, NodeDevice, NodeEntry, PoolConfig, TopologyConfig};
use serde_json::json;
use types::{ClusterId, DeviceId, DiskGroupId, NodeId, PoolId};

use super::network::Network;
use super::scenario::{FaultKind, Scenario, Topology};

/// Ports of a node on a network of its own: HA, fabric.
const PORTS: [u16; 2] = [7000, 7001];

/// A node of the plan.
#[derive(Clone, Debug)]
pub struct Node {
    /// Its name.
    pub name: String,
    /// Its directory.
    pub dir: PathBuf,
    /// `host:port` of its HA daemon.
    pub ha: String,
    /// `host:port` of its storage process.
    pub fabric: String,
    /// The directories of its devices.
    pub devices: Vec<PathBuf>,
}

/// Writes everything that the processes of a cluster need below `dir`.
pub fn write(scenario: &Scenario, dir: &Path, network: Option<&Network>) -> Result<Vec<Node>> {
    let wish = &scenario.topology;
    let nodes = nodes(wish, dir, network)?;
    let topology = topology(wish, &nodes)?;
    topology.check().map_err(|problem| anyhow::anyhow!("{}: {problem}", scenario.name.value))?;
    let cluster = ClusterId(rand::random::<u128>() | 1);
    let factor = Factor::new(wish.factor).context("a factor is 0.1 to 100")?;
    for node in &nodes {
        configure(node, &nodes, cluster, factor, &topology, scenario.has(FaultKind::Point))?;
    }
    let rows: Vec<_> =
        (1..).zip(&nodes).map(|(id, node)| json!({"id": id, "name": node.name, "ha": node.ha, "fabric": node.fabric})).collect();
    let ha: Vec<&str> = nodes.iter().map(|node| node.ha.as_str()).collect();
    let file = json!({"version": 1, "cluster": cluster.to_string(), "ha": ha, "nodes": rows});
    std::fs::write(dir.join("cluster.json"), serde_json::to_string_pretty(&file)?)?;
    Ok(nodes)
}

fn nodes(wish: &Topology, dir: &Path, network: Option<&Network>) -> Result<Vec<Node>> {
    let mut ports = service::ports::free(usize::from(wish.nodes.value) * 2)?.into_iter();
    let mut nodes = Vec::new();
    for number in 1..=wish.nodes.value {
        let name = format!("node-{number}");
        let addresses = match network {
            Some(network) => PORTS.map(|port| network.host(&name).map(|host| format!("{}:{port}", host.address))),
            None => PORTS.map(|_| Ok(format!("127.0.0.1:{}", ports.next().expect("two a node")))),
        };
        let [ha, fabric] = addresses;
        let home = dir.join(&name);
        let first = u32::from(number - 1) * u32::from(wish.disk_groups.value) + 1;
        let devices = (first..first + u32::from(wish.disk_groups.value)).map(|id| home.join(DeviceId(id).to_string())).collect();
        nodes.push(Node { name, dir: home, ha: ha?, fabric: fabric?, devices });
    }
    Ok(nodes)
}

fn topology(wish: &Topology, nodes: &[Node]) -> Result<TopologyConfig> {
    let groups = u32::from(wish.disk_groups.value);
    let entry = |(id, node): (u16, &Node)| NodeEntry {
        id: NodeId(id),
        name: node.name.clone(),
        ha: node.ha.clone(),
        fabric: node.fabric.clone(),
        rack: 1,
        storage_set: 1,
    };
    let devices = (0u32..).zip(nodes).flat_map(|(at, node)| {
        (at * groups + 1..=(at + 1) * groups).map(|id| DeviceConfig {
            id: DeviceId(id),
            node: node.name.clone(),
            disk_group: DiskGroupId(id),
            bytes: wish.device.value.0,
        })
    });
    Ok(TopologyConfig { nodes: (1..).zip(nodes).map(entry).collect(), devices: devices.collect(), pools: pools(wish)? })
}

/// Those that the scenario names, or those of `redoubt dev up`.
fn pools(wish: &Topology) -> Result<Vec<PoolConfig>> {
    if wish.pools.is_empty() {
        return Ok(PoolConfig::usual());
    }
    let mut pools = Vec::new();
    for (id, wish) in (1..).zip(&wish.pools) {
        let wish = &wish.value;
        pools.push(PoolConfig {
            id: PoolId(id),
            name: wish.name.clone(),
            scheme: wish.scheme.parse().map_err(anyhow::Error::msg)?,
            failure_domain: wish.domain,
            groups: wish.groups,
            priority: wish.priority,
            avoid_node: wish.avoid_node,
            devices: Vec::new(),
        });
    }
    Ok(pools)
}

/// Where the fault points of a node's processes are armed, in its directory.
pub const SOCKETS: [&str; 2] = ["ha.points", "storage.points"];

fn configure(node: &Node, all: &[Node], cluster: ClusterId, factor: Factor, topology: &TopologyConfig, has_points: bool) -> Result<()> {
    let [ha_points, storage_points] = SOCKETS.map(|name| has_points.then(|| node.dir.join(name)));
    let own = topology.devices.iter().filter(|device| device.node == node.name);
    let devices: Vec<NodeDevice> =
        own.zip(&node.devices).map(|(device, path)| NodeDevice { id: device.id, path: path.clone(), bytes: device.bytes }).collect();
    for path in node.devices.iter().cloned().chain([node.dir.join("ha")]) {
        std::fs::create_dir_all(&path).with_context(|| path.display().to_string())?;
    }
    let name = node.name.clone();
    let ha = HaConfig {
        cluster,
        node: name.clone(),
        listen: node.ha.clone(),
        dir: node.dir.join("ha"),
        factor,
        topology: topology.clone(),
        metrics: None,
        tls: None,
        insecure: true,
        fault_points: ha_points,
    };
    // The local daemon first.
    let mut daemons = vec![node.ha.clone()];
    daemons.extend(all.iter().filter(|other| other.name != node.name).map(|other| other.ha.clone()));
    let storage = NodeConfig {
        cluster,
        node: name,
        ha: daemons,
        fabric: node.fabric.clone(),
        provider: "tcp".into(),
        factor,
        s3: None,
        metrics: None,
        tls: None,
        fault_points: storage_points,
        devices,
    };
    std::fs::write(node.dir.join("ha.toml"), ha.to_toml())?;
    Ok(std::fs::write(node.dir.join("node.toml"), storage.to_toml())?)
}
