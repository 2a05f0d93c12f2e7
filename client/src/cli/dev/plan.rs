//! What a new local cluster consists of: ports, directories, devices, pools, and the configuration of each process.

use std::collections::BTreeSet;
use std::path::Path;

use client::ClusterKey;
use ha_api::config::{DeviceConfig, Factor, HaConfig, NodeConfig, NodeDevice, NodeEntry, PoolConfig, S3Config, TopologyConfig};
use types::{ClusterId, DeviceId, DiskGroupId, NodeId};

use super::Service;
use super::cluster::{ClusterFile, FILE_VERSION, KEY_FILE, NodeFile, S3Keys, write_private};
use crate::cli::exit::Failure;
use crate::cli::output;

/// Largest storage set: groups have all their members in one.
const STORAGE_SET_NODES: usize = 3;
/// Ports of a node: HA, fabric, S3, and the pages of both processes.
const PORTS: usize = 5;
/// All devices together are never planned larger than this share of what is free in its file system.
const FREE_SHARE: f64 = 0.3;

/// Nodes of a cluster unless told otherwise.
pub const NODES: u16 = 3;
/// Disk groups of a node unless told otherwise.
pub const DISK_GROUPS: u16 = 2;

/// What is asked for.
#[derive(Debug, PartialEq, Eq)]
pub struct Wish {
    /// How many nodes.
    pub nodes: u16,
    /// How many disk groups a node, of one device each.
    pub disk_groups: u16,
    /// Size of a device; what is usual and fits where `None`.
    pub device_bytes: Option<u64>,
    /// By what times are scaled.
    pub factor: Factor,
}

/// Size of a device unless told otherwise.
const DEVICE_BYTES: u64 = 2 << 30;

/// Makes directories and configurations for a new cluster, and at last `cluster.json`.
pub fn create(dir: &Path, wish: &Wish) -> Result<ClusterFile, Failure> {
    std::fs::create_dir_all(dir).map_err(|e| Failure::io(dir.display(), &e))?;
    let dir = std::path::absolute(dir).map_err(|e| Failure::io(dir.display(), &e))?;
    let device_bytes = wish.device_bytes.map_or_else(|| usual_device_bytes(&dir, wish), Ok)?;
    let ports = service::ports::free(usize::from(wish.nodes) * PORTS).map_err(|e| Failure::other(e.to_string()))?;
    let address = |port: &u16| format!("127.0.0.1:{port}");
    let nodes: Vec<NodeFile> = (1..=wish.nodes)
        .zip(ports.chunks(PORTS))
        .map(|(id, ports)| NodeFile {
            id,
            name: format!("node-{id}"),
            ha: address(&ports[0]),
            fabric: address(&ports[1]),
            s3: Some(address(&ports[2])),
            web: Some(address(&ports[3])),
            metrics: Some(address(&ports[4])),
        })
        .collect();
    let cluster = ClusterId(rand::random::<u128>() | 1);
    let file = ClusterFile {
        version: FILE_VERSION,
        cluster: cluster.to_string(),
        ha: nodes.iter().map(|node| node.ha.clone()).collect(),
        s3: Some(S3Keys::drawn()),
        last_removed: 0,
        nodes,
        dir,
    };
    write_key(&file)?;
    let topology = topology(&file, wish, device_bytes);
    topology.check().map_err(Failure::usage)?;
    for node in &file.nodes {
        configure(&file, node, cluster, wish.factor, &topology)?;
    }
    file.write()?;
    Ok(file)
}

/// Makes directories and configurations for one more node; gives it with the configuration of its HA daemon. What was planned before and
/// did not get into the cluster's file is taken as it is.
pub fn add(file: &ClusterFile, device_bytes: Option<u64>) -> Result<(NodeFile, HaConfig), Failure> {
    let load = |node: &NodeFile| HaConfig::load(&file.config(node, Service::Ha)).map_err(|e| Failure::other(e.to_string()));
    let last = file.nodes.last().ok_or_else(|| Failure::other("a cluster without nodes"))?;
    let id = last.id.max(file.last_removed) + 1;
    let name = format!("node-{id}");
    let mut node = NodeFile { id, name, ha: String::new(), fabric: String::new(), s3: None, web: None, metrics: None };
    if file.config(&node, Service::Node).exists() {
        let config = load(&node)?;
        let storage = NodeConfig::load(&file.config(&node, Service::Node)).map_err(|e| Failure::other(e.to_string()))?;
        (node.ha, node.fabric, node.s3) = (config.listen.clone(), storage.fabric, storage.s3.map(|s3| s3.listen));
        (node.web, node.metrics) = (config.metrics.clone(), storage.metrics);
        return Ok((node, config));
    }
    let ports = service::ports::free(PORTS).map_err(|e| Failure::other(e.to_string()))?;
    let address = |at: usize| format!("127.0.0.1:{}", ports[at]);
    (node.ha, node.fabric, node.s3) = (address(0), address(1), Some(address(2)));
    (node.web, node.metrics) = (Some(address(3)), Some(address(4)));
    // The newest has all that came before it.
    let HaConfig { cluster, factor, mut topology, .. } = load(last)?;
    let like: Vec<DeviceConfig> = topology.devices.iter().filter(|device| device.node == last.name).cloned().collect();
    let sets = topology.nodes.iter().map(|known| known.storage_set).max().unwrap_or(1).max(1);
    topology.nodes.push(NodeEntry {
        id: NodeId(id),
        name: node.name.clone(),
        ha: node.ha.clone(),
        fabric: node.fabric.clone(),
        rack: 1,
        storage_set: (id - 1) % sets + 1,
    });
    topology.devices.extend(devices_of(id, like.len() as u16).zip(like).map(|(id, like)| DeviceConfig {
        id: DeviceId(id),
        node: node.name.clone(),
        disk_group: DiskGroupId(id),
        bytes: device_bytes.unwrap_or(like.bytes),
    }));
    topology.check().map_err(Failure::usage)?;
    configure(file, &node, cluster, factor, &topology)?;
    let config = load(&node)?;
    Ok((node, config))
}

/// What was asked for when that cluster was made, as its configuration says; no size where its devices have several.
pub fn planned(file: &ClusterFile) -> Result<Wish, Failure> {
    let first = file.nodes.first().ok_or_else(|| Failure::other("a cluster without nodes"))?;
    let path = file.config(first, Service::Ha);
    let config = HaConfig::load(&path).map_err(|e| Failure::other(e.to_string()))?;
    let devices = &config.topology.devices;
    let sizes: BTreeSet<u64> = devices.iter().map(|device| device.bytes).collect();
    Ok(Wish {
        nodes: file.nodes.len() as u16,
        disk_groups: devices.iter().filter(|device| device.node == first.name).count() as u16,
        device_bytes: sizes.first().copied().filter(|_| sizes.len() == 1),
        factor: config.factor,
    })
}

fn usual_device_bytes(dir: &Path, wish: &Wish) -> Result<u64, Failure> {
    let stat = rustix::fs::statvfs(dir).map_err(|e| Failure::io(dir.display(), &e.into()))?;
    let free = stat.f_bavail.saturating_mul(stat.f_frsize);
    let devices = u64::from(wish.nodes) * u64::from(wish.disk_groups);
    let share = (free as f64 * FREE_SHARE) as u64 / devices.max(1);
    let mebibyte = 1 << 20;
    let bytes = DEVICE_BYTES.min(share / mebibyte * mebibyte);
    if bytes < DEVICE_BYTES {
        output::note(format!("only {} are free: devices of {} each", output::bytes_words(free), output::bytes_words(bytes)));
    }
    Ok(bytes)
}

/// The device numbers of a node: one a disk group.
fn devices_of(node: u16, disk_groups: u16) -> impl Iterator<Item = u32> {
    let first = u32::from(node - 1) * u32::from(disk_groups) + 1;
    first..first + u32::from(disk_groups)
}

fn topology(file: &ClusterFile, wish: &Wish, device_bytes: u64) -> TopologyConfig {
    let sets = (file.nodes.len() / STORAGE_SET_NODES).max(1);
    let nodes = file.nodes.iter().map(|node| NodeEntry {
        id: NodeId(node.id),
        name: node.name.clone(),
        ha: node.ha.clone(),
        fabric: node.fabric.clone(),
        rack: 1,
        storage_set: ((usize::from(node.id) - 1) % sets + 1) as u16,
    });
    let devices = file.nodes.iter().flat_map(|node| {
        devices_of(node.id, wish.disk_groups).map(|id| DeviceConfig {
            id: DeviceId(id),
            node: node.name.clone(),
            disk_group: DiskGroupId(id),
            bytes: device_bytes,
        })
    });
    TopologyConfig { nodes: nodes.collect(), devices: devices.collect(), pools: PoolConfig::usual() }
}

/// The key of the cluster, for its owner's eyes.
fn write_key(file: &ClusterFile) -> Result<(), Failure> {
    let path = file.dir.join(KEY_FILE);
    write_private(&path, &format!("{}\n", ClusterKey::drawn()))
}

fn configure(file: &ClusterFile, node: &NodeFile, cluster: ClusterId, factor: Factor, topology: &TopologyConfig) -> Result<(), Failure> {
    let dir = file.node_dir(node);
    let own = topology.devices.iter().filter(|device| device.node == node.name);
    let devices: Vec<NodeDevice> =
        own.map(|device| NodeDevice { id: device.id, path: dir.join(device.id.to_string()), bytes: device.bytes }).collect();
    for path in devices.iter().map(|device| device.path.clone()).chain([dir.join("ha")]) {
        std::fs::create_dir_all(&path).map_err(|e| Failure::io(path.display(), &e))?;
    }
    let ha = HaConfig {
        cluster,
        node: node.name.clone(),
        listen: node.ha.clone(),
        dir: dir.join("ha"),
        factor,
        topology: topology.clone(),
        metrics: node.web.clone(),
        tls: None,
        insecure: false,
        fault_points: None,
    };
    // The local daemon first.
    let mut daemons = vec![node.ha.clone()];
    daemons.extend(file.ha.iter().filter(|address| **address != node.ha).cloned());
    let fabric = node.fabric.clone();
    let s3 = node.s3.clone().zip(file.s3.clone()).map(|(listen, keys)| S3Config {
        listen,
        region: keys.region,
        access_key: keys.access_key,
        secret_key: keys.secret_key,
        key_file: Some(file.dir.join(KEY_FILE)),
        // All of it is on this machine.
        customer_keys_over_http: true,
        tls: None,
    });
    let storage = NodeConfig {
        cluster,
        node: node.name.clone(),
        ha: daemons,
        fabric,
        provider: "tcp".into(),
        factor,
        s3,
        metrics: node.metrics.clone(),
        tls: None,
        fault_points: None,
        devices,
    };
    for (service, text) in [(Service::Ha, ha.to_toml()), (Service::Node, storage.to_toml())] {
        let path = file.config(node, service);
        write_private(&path, &text)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_planned_cluster_is_one_that_ha_takes() {
        let dir = tempfile::tempdir().expect("a directory");
        for nodes in [3, 4, 7] {
            let wish = Wish { nodes, disk_groups: 2, device_bytes: Some(1 << 30), factor: Factor::ONE };
            let file = create(&dir.path().join(nodes.to_string()), &wish).expect("plans");
            assert_eq!(ClusterFile::read(&file.dir).expect("reads"), file);
            assert_eq!(planned(&file).expect("reads"), wish);
            let paths: BTreeSet<_> = file.nodes.iter().map(|node| file.config(node, Service::Node)).collect();
            assert_eq!(paths.len(), usize::from(nodes));
            for node in &file.nodes {
                HaConfig::load(&file.config(node, Service::Ha)).expect("a good ha.toml");
                let config = NodeConfig::load(&file.config(node, Service::Node)).expect("a good node.toml");
                assert_eq!((config.devices.len(), &config.ha[0]), (2, &node.ha));
            }
        }
    }
}
