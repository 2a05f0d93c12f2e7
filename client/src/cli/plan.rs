//! `redoubt plan`: what a cluster can hold, which losses it bears, and how long it takes at least to build anew what was lost. Of a cluster that is
//! thought of, whose groups are placed as HA would place them, or of the one that runs, as its groups are.

mod figures;

use ha_api::config::topology::PoolConfig;
use serde_json::{Value, json};
use types::map::{ClusterMap, Device, Node, Pool};
use types::scheme::FailureDomain;
use types::state::{DeviceState, ProcessState};
use types::{Boot, DeviceId, DiskGroupId, Epoch, Incarnation, NodeId, PoolId};

use super::connect::ha;
use super::exit::{Exit, Failure};
use super::{Common, output};
use figures::{DOMAINS, Figures, Loss};

/// Nodes of a storage set, unless it is said.
const STORAGE_SET_NODES: u16 = 3;

/// Arguments of `plan`.
#[derive(clap::Args)]
pub struct Arguments {
    /// How many nodes; without, the cluster that runs is looked at
    #[arg(long, value_parser = clap::value_parser!(u16).range(3..=288), requires = "device_bytes")]
    nodes: Option<u16>,
    /// Disk groups of each node
    #[arg(long, default_value_t = 2, value_parser = clap::value_parser!(u32).range(1..=16), requires = "nodes")]
    disk_groups: u32,
    /// Devices of each disk group
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=64), requires = "nodes")]
    devices: u32,
    /// Size of each device for objects, as 4TiB; where several are given nodes take them in turn
    #[arg(long, value_name = "SIZE", value_parser = size, requires = "nodes")]
    device_bytes: Vec<u64>,
    /// Racks, over which the nodes of each storage set are spread in turn
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u16).range(1..=288), requires = "nodes")]
    racks: u16,
    /// Storage sets [default: of three nodes each]
    #[arg(long, value_parser = clap::value_parser!(u16).range(1..=96), requires = "nodes")]
    storage_sets: Option<u16>,
    /// A pool as NAME=SCHEME@DOMAIN, as data=8+3@node; ,avoid behind it keeps a third of its groups off each node [default: those of a small cluster]
    #[arg(long = "pool", value_name = "POOL", value_parser = pool, requires = "nodes")]
    pools: Vec<PoolConfig>,
    /// What a device reads and writes a second to build anew what was lost
    #[arg(long, default_value = "100MiB", value_name = "SIZE", value_parser = size)]
    device_rate: u64,
}

fn size(text: &str) -> Result<u64, String> {
    match super::size::parse(text)? {
        0 => Err("0 is no size".into()),
        bytes => Ok(bytes),
    }
}

fn pool(text: &str) -> Result<PoolConfig, String> {
    let wrong = || format!("`{text}` is no pool: say NAME=SCHEME@DOMAIN, as data=8+3@node or small=2+2@disk-group,avoid");
    let (name, rest) = text.split_once('=').filter(|(name, _)| !name.is_empty()).ok_or_else(wrong)?;
    let (scheme, rest) = rest.split_once('@').ok_or_else(wrong)?;
    let (domain, avoid_node) = rest.strip_suffix(",avoid").map_or((rest, false), |domain| (domain, true));
    let failure_domain = DOMAINS.into_iter().find(|known| known.to_string() == domain).ok_or_else(wrong)?;
    Ok(PoolConfig {
        id: PoolId(0),
        name: name.into(),
        scheme: scheme.parse()?,
        failure_domain,
        groups: 0,
        priority: 0,
        avoid_node,
        devices: Vec::new(),
    })
}

/// Runs the verb.
pub async fn run(common: &Common, arguments: &Arguments) -> Result<(), Failure> {
    let map = match arguments.nodes {
        Some(nodes) => arguments.imagined(nodes).map_err(Failure::usage)?,
        None => ha(common)?.status().await.map_err(|e| Failure::from(&e))?.map,
    };
    if map.pools.is_empty() {
        return Err(Failure::new(Exit::Condition, "the cluster has no pools yet"));
    }
    let rate = arguments.device_rate;
    let pools: Vec<(&Pool, Figures)> = map.pools.values().map(|pool| (pool, figures::of(&map, pool, rate))).collect();
    let value = value(&map, &pools, rate, arguments.nodes.is_none());
    output::value(common.output, &value, || words(&value, &pools, rate))
}

impl Arguments {
    /// A cluster as it would be.
    fn imagined(&self, nodes: u16) -> Result<ClusterMap, String> {
        let mut map = ClusterMap::default();
        let sets = self.storage_sets.unwrap_or(nodes / STORAGE_SET_NODES).clamp(1, nodes);
        for number in 0..nodes {
            let id = NodeId(number + 1);
            let node = Node {
                id,
                name: format!("node-{}", id.0),
                storage_set: number % sets + 1,
                rack: number / sets % self.racks + 1,
                ha_address: String::new(),
                fabric_address: String::new(),
                state: ProcessState::Online,
                boot: Boot(1),
                voter: false,
            };
            map.nodes.insert(id, node);
            let bytes = self.device_bytes[usize::from(number) % self.device_bytes.len()];
            for at in 0..self.disk_groups * self.devices {
                let disk_group = DiskGroupId(u32::from(number) * self.disk_groups + at / self.devices + 1);
                let device = DeviceId(u32::from(number) * self.disk_groups * self.devices + at + 1);
                map.devices.insert(device, a_device(device, id, disk_group, bytes));
            }
        }
        let pools = if self.pools.is_empty() { PoolConfig::usual() } else { self.pools.clone() };
        for (number, wish) in (1u16..).zip(pools) {
            if map.pool_named(&wish.name).is_some() {
                return Err(format!("two pools are called `{}`", wish.name));
            }
            let id = PoolId(number);
            let devices = map.devices.keys().copied().collect();
            let PoolConfig { name, scheme, failure_domain, groups, priority, avoid_node, .. } = wish;
            map.pools.insert(id, Pool { id, name, scheme, failure_domain, devices, groups, priority });
            figures::place_pool(&mut map, id, groups, avoid_node)?;
        }
        Ok(map)
    }
}

fn a_device(id: DeviceId, node: NodeId, disk_group: DiskGroupId, bytes: u64) -> Device {
    let (state, incarnation, registered) = (DeviceState::Online, Incarnation(1), Epoch(1));
    Device { id, node, disk_group, state, incarnation, registered, bytes, reason: String::new() }
}

fn key(domain: FailureDomain) -> String {
    domain.to_string().replace('-', "_")
}

fn value(map: &ClusterMap, pools: &[(&Pool, Figures)], rate: u64, runs: bool) -> Value {
    let loss = |loss: &Option<Loss>| {
        loss.map(|loss| json!({"bytes": loss.bytes, "slots": loss.slots, "slots_that_wait": loss.waits, "seconds": loss.seconds}))
    };
    let pools: Vec<Value> = pools
        .iter()
        .map(|(pool, figures)| {
            let bears: serde_json::Map<_, _> =
                DOMAINS.iter().zip(&figures.bears).map(|(domain, count)| (key(*domain), json!(count))).collect();
            json!({
                "name": pool.name,
                "scheme": pool.scheme.to_string(),
                "failure_domain": pool.failure_domain.to_string(),
                "groups": figures.groups,
                "usable_bytes": figures.usable,
                "bears": bears,
                "device_lost": loss(&figures.device),
                "node_lost": loss(&figures.node),
            })
        })
        .collect();
    json!({
        "runs": runs,
        "nodes": map.nodes.len(),
        "devices": map.devices.len(),
        "bytes": map.devices.values().map(|device| device.bytes).sum::<u64>(),
        "device_rate": rate,
        "writes_without_any_node": figures::writes_without_any_node(map),
        "pools": pools,
    })
}

fn time(loss: &Option<Loss>) -> String {
    let Some(loss) = loss else { return "-".into() };
    let seconds = loss.seconds.ceil() as u64;
    let span = match seconds {
        0..=119 => format!("{seconds} s"),
        120..=7199 => format!("{} min", seconds.div_ceil(60)),
        _ => format!("{:.1} h", loss.seconds / 3600.0),
    };
    match loss.waits {
        0 => span,
        waits if waits == loss.slots => format!("{span}, on new hardware"),
        waits => format!("{span}, {waits} of {} on new hardware", loss.slots),
    }
}

fn words(value: &Value, pools: &[(&Pool, Figures)], rate: u64) -> String {
    let heading = ["POOL", "SCHEME", "DOMAIN", "GROUPS", "HOLDS", "BEARS", "A DEVICE LOST", "A NODE LOST"].map(String::from).to_vec();
    let mut rows = vec![heading];
    for (pool, figures) in pools {
        let bears: Vec<String> = DOMAINS
            .iter()
            .zip(&figures.bears)
            .filter(|(_, count)| **count > 0)
            .map(|(domain, count)| format!("{count} {domain}{}", if *count > 1 { "s" } else { "" }))
            .collect();
        rows.push(vec![
            pool.name.clone(),
            pool.scheme.to_string(),
            pool.failure_domain.to_string(),
            figures.groups.to_string(),
            figures.usable.map_or_else(|| "records".into(), output::bytes_words),
            if bears.is_empty() { "nothing".into() } else { bears.join(" or ") },
            time(&figures.device),
            time(&figures.node),
        ]);
    }
    let goes_on = if value["writes_without_any_node"] == true { "go on" } else { "do not go on" };
    format!(
        "{} nodes, {} devices, {} for objects\n\n{}\n\nEach pool holds that much where it has the devices for itself and is filled evenly. Times are of a full pool whose devices give\n{} a second for it and whose network is no bound. While any one node is away writes {goes_on}.",
        value["nodes"],
        value["devices"],
        output::bytes_words(value["bytes"].as_u64().unwrap_or(0)),
        output::table(&rows),
        output::bytes_words(rate),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    const GIB: u64 = 1 << 30;

    fn arguments(pools: &[&str]) -> Arguments {
        let pools = pools.iter().map(|text| pool(text).expect(text)).collect();
        let (disk_groups, devices, device_bytes) = (2, 1, vec![64 * GIB]);
        Arguments { nodes: None, disk_groups, devices, device_bytes, racks: 1, storage_sets: None, pools, device_rate: GIB }
    }

    fn of(map: &ClusterMap, name: &str) -> Figures {
        figures::of(map, map.pool_named(name).expect("the pool"), GIB)
    }

    #[test]
    fn a_small_cluster_holds_what_its_schemes_leave_and_waits_for_new_hardware() {
        let map = arguments(&[]).imagined(3).expect("the usual one");
        let (meta, data, small) = (of(&map, "meta"), of(&map, "data"), of(&map, "second"));
        assert_eq!((meta.usable, meta.bears[0], meta.bears[2]), (None, 1, 1));
        // 4+2 on six devices: each has a slot of every group, and two thirds of what there is hold data.
        assert_eq!((data.usable, &data.bears[..3]), (Some(256 * GIB), &[2, 2, 1][..]));
        assert!(small.usable.is_some_and(|bytes| bytes <= 192 * GIB && bytes > 170 * GIB), "{small:?}");
        let lost = data.device.expect("it is full");
        assert_eq!((lost.bytes, lost.waits, lost.seconds), (64 * GIB, lost.slots, 64.0), "one device writes all of it");
        assert!(figures::writes_without_any_node(&map), "2+2 avoids each node");
        assert!(!figures::writes_without_any_node(&arguments(&["meta=1+2@node", "data=4+2@disk-group"]).imagined(3).expect("placed")));
    }

    #[test]
    fn what_is_lost_in_a_large_set_is_built_by_many_sooner_than_one_device_writes_it() {
        let mut asked = arguments(&["data=4+2@node"]);
        (asked.storage_sets, asked.devices) = (Some(1), 4);
        let map = asked.imagined(12).expect("placed");
        let data = of(&map, "data");
        let (device, node) = (data.device.expect("it is full"), data.node.expect("likewise"));
        assert_eq!((device.waits, node.waits), (0, 0));
        assert!(device.seconds < 20.0 && node.seconds > device.seconds, "{device:?} {node:?}");
        assert!(data.bears[0] == 2 && data.bears[2] >= 1 && data.bears[4] == 0, "{:?}", data.bears);
        let all = 96 * 64 * GIB / 3 * 2;
        assert!(data.usable.is_some_and(|bytes| bytes <= all && bytes > all / 10 * 8), "{data:?}");
    }

    #[test]
    fn what_cannot_be_placed_and_what_is_no_pool_is_said() {
        assert!(arguments(&["data=8+3@node"]).imagined(3).expect_err("too few").contains("8+3"));
        assert!(arguments(&["a=2+1@device", "a=4+2@device"]).imagined(3).expect_err("twice").contains("`a`"));
        for text in ["data", "=4+2@node", "data=4+2", "data=4+2@house", "data=x@node"] {
            assert!(pool(text).is_err(), "{text}");
        }
    }
}
