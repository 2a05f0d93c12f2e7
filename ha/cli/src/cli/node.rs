//! `ha node list|show|add|remove|keep|replace|maintenance`: nodes with their processes and daemons.

mod maintenance;
mod replace;

use std::path::{Path, PathBuf};

use ha_api::config::{DeviceConfig, HaConfig};
use ha_api::pb::NodeWish;
use ha_api::{NodeStatus, Status};
use serde_json::{Value, json};
use types::map::{Group, Node};

use crate::connect::Ha;
use crate::exit::{Exit, Failure};
use crate::output::{Cell, Format, Tone, fields, show, state, table, toned};
use crate::time::span;

/// `ha node ...`.
#[derive(clap::Subcommand, Clone, Debug)]
pub enum Verb {
    /// All nodes
    List,
    /// One node with its devices
    Show {
        /// Its name or id, as `node-1`
        node: String,
    },
    /// A node leaves: what it has moves to others while clients go on, and when it has nothing left the cluster forgets it
    Remove {
        /// Its name or id, as `node-1`
        node: String,
        /// Say whether the cluster can do without it, and change nothing
        #[arg(long)]
        dry_run: bool,
    },
    /// New hardware takes a node's place under its name, with blank disks
    Replace(replace::Args),
    /// Take `remove` back: what has not moved stays. Take `replace` back, while the node is there still
    Keep {
        /// Its name or id, as `node-1`
        node: String,
    },
    /// A new node joins: its devices get their share of what there is, while clients go on
    Add {
        /// The configuration of its HA daemon (ha.toml), which declares the node and its devices
        #[arg(value_name = "FILE")]
        config: PathBuf,
        /// Say what would join, and change nothing
        #[arg(long)]
        dry_run: bool,
    },
    /// Say that a node is about to be stopped, and that it is back
    #[command(subcommand)]
    Maintenance(maintenance::Verb),
}

/// Runs the verb.
pub async fn run(ha: &Ha, format: Format, verb: &Verb) -> Result<(), Failure> {
    match verb {
        Verb::Add { config, dry_run } => add(ha, format, config, *dry_run).await,
        Verb::Replace(args) => replace::run(ha, format, args).await,
        Verb::Maintenance(verb) => maintenance::run(ha, format, verb).await,
        Verb::Remove { node, dry_run } => wish(ha, format, node, NodeWish::Remove, *dry_run).await,
        Verb::Keep { node } => wish(ha, format, node, NodeWish::Keep, false).await,
        Verb::List => {
            let status = super::status::ask(ha).await?;
            let all: Vec<Value> = status.map.nodes.values().map(|n| value(&status, n)).collect();
            show(format, &json!(all), |coloured| list(&status, coloured))
        }
        Verb::Show { node: name } => {
            let status = super::status::ask(ha).await?;
            let node = find(&status, name)?;
            let mut shown = value(&status, node);
            let devices = status.map.devices.values().filter(|d| d.node == node.id);
            shown["device_states"] = devices.map(|d| super::device::value(&status, d)).collect();
            show(format, &shown, |coloured| page(&status, node, coloured))
        }
    }
}

/// A node is to be removed, or to be kept.
async fn wish(ha: &Ha, format: Format, name: &str, wish: NodeWish, dry_run: bool) -> Result<(), Failure> {
    let status = super::status::ask(ha).await?;
    let node = find(&status, name)?;
    ha.ask(async |client| client.ask_node(node.id, wish, dry_run).await).await?;
    let (name, removes) = (&node.name, wish == NodeWish::Remove);
    let words = match (removes, dry_run) {
        (true, true) => format!("the cluster can do without {name}"),
        (true, false) => format!("{name} is being emptied (`ha repair status`); when `ha node list` has it no more, stop it"),
        (false, _) => format!("{name} is kept"),
    };
    show(format, &json!({ "node": name, "removing": removes && !dry_run, "dry_run": dry_run }), |_| words)
}

/// The node that `config` is of joins the cluster.
async fn add(ha: &Ha, format: Format, config: &Path, dry_run: bool) -> Result<(), Failure> {
    let config = HaConfig::load(config).map_err(|e| Failure::new(Exit::Usage, e.to_string()))?;
    let of = config.topology.node_named(&config.node);
    let node = of.ok_or_else(|| Failure::new(Exit::Usage, format!("its topology does not declare `{}`", config.node)))?;
    let devices: Vec<DeviceConfig> = config.topology.devices.iter().filter(|d| d.node == config.node).cloned().collect();
    let status = super::status::ask(ha).await?;
    if status.map.cluster != config.cluster {
        let words =
            format!("it is of cluster {}, and HA answers for {}: name the daemons of that cluster", config.cluster, status.map.cluster);
        return Err(Failure::new(Exit::Usage, words));
    }
    if let Some(missing) = status.map.nodes.values().find(|known| config.topology.node_named(&known.name).is_none()) {
        let words = format!(
            "it does not declare {}, which is in the cluster: a daemon that knows of no others would make a cluster of its own; declare all nodes",
            missing.name
        );
        return Err(Failure::new(Exit::Usage, words));
    }
    let was_there = status.map.nodes.contains_key(&node.id);
    ha.ask(async |client| client.add_node(node, &devices, dry_run).await).await?;
    let word = match (was_there, dry_run) {
        (true, _) => "is in the cluster already",
        (false, true) => "would join",
        (false, false) => "joins: start its HA daemon and its storage process, then see `ha rebalance status`",
    };
    let devices: Vec<String> = devices.iter().map(|d| d.id.to_string()).collect();
    let shown = json!({ "node": node.name, "id": node.id.to_string(), "devices": devices, "was_there": was_there, "dry_run": dry_run });
    show(format, &shown, |_| format!("{} ({}) with {} {word}", node.name, node.id, devices.join(", ")))
}

/// The node of that name or id.
pub fn find<'a>(status: &'a Status, name: &str) -> Result<&'a Node, Failure> {
    let is_it = |n: &&Node| n.name == *name || n.id.to_string() == *name || n.id.0.to_string() == *name;
    let found = status.map.nodes.values().find(is_it);
    found.ok_or_else(|| Failure::no_such("node", name, status.map.nodes.values().map(|n| n.name.clone())))
}

/// Its state, and whether it is in maintenance.
pub fn state_of(status: &Status, node: &Node) -> Cell {
    if status.maintenance.contains_key(&node.id) { toned(format!("{} (maintenance)", node.state), Tone::Warn) } else { state(node.state) }
}

/// A node for programs.
pub fn value(status: &Status, node: &Node) -> Value {
    let extra = status.nodes.get(&node.id).cloned().unwrap_or_default();
    json!({
        "id": node.id.to_string(),
        "name": node.name,
        "state": node.state.to_string(),
        "boot": node.boot.0,
        "pid": extra.pid,
        "since_ha_time_ms": extra.since.0,
        "since_unix_ms": extra.since_wall_ms,
        "reason": extra.reason,
        "confirmed_index": extra.confirmed_index,
        "lease_age_ms": extra.lease_age_ms,
        "daemon_reachable": extra.daemon_reachable,
        "maintenance": status.maintenance.contains_key(&node.id),
        "maintenance_ms": status.maintenance.get(&node.id),
        "removing": status.removing.contains(&node.id),
        "replacing": replace::value_of(status, node.id),
        "voter": node.voter,
        "leader": status.leader == Some(node.id),
        "storage_set": node.storage_set,
        "rack": node.rack,
        "ha_address": node.ha_address,
        "fabric_address": node.fabric_address,
        "primaries": primaries(status, node),
        "devices": status.map.devices.values().filter(|d| d.node == node.id).map(|d| d.id.to_string()).collect::<Vec<_>>(),
    })
}

fn primaries(status: &Status, node: &Node) -> usize {
    let here = |group: &&Group| match group {
        Group::Replicated(view) => view.primary.is_some_and(|p| status.map.devices.get(&p.device).is_some_and(|d| d.node == node.id)),
        Group::Erasure(_) => false,
    };
    status.map.groups.values().filter(here).count()
}

/// Its HA daemon, in a word.
pub fn daemon(node: &Node, extra: &NodeStatus) -> Cell {
    let role = if node.voter { "votes" } else { "learns" };
    if extra.daemon_reachable { toned(role, Tone::Good) } else { toned(format!("{role}, away"), Tone::Bad) }
}

fn list(status: &Status, coloured: bool) -> String {
    let row = |node: &Node| {
        let extra = status.nodes.get(&node.id).cloned().unwrap_or_default();
        vec![
            Cell::from(&node.name),
            state_of(status, node),
            Cell::from(node.boot),
            Cell::from(extra.pid),
            Cell::from(span(status.wall_ms.saturating_sub(extra.since_wall_ms))),
            Cell::from(primaries(status, node)),
            daemon(node, &extra),
            Cell::from(&node.fabric_address),
            Cell::from(&node.ha_address),
        ]
    };
    let rows: Vec<Vec<Cell>> = status.map.nodes.values().map(row).collect();
    table(&["NODE", "STATE", "BOOT", "PID", "SINCE", "PRIMARIES", "HA", "FABRIC", "HA ADDRESS"], &rows, coloured)
}

/// Why it is in its state, or what is done with it.
fn reason(status: &Status, node: &Node, extra: &NodeStatus) -> Cell {
    match status.replacing.get(&node.id) {
        _ if status.removing.contains(&node.id) => toned("is being removed", Tone::Warn),
        Some(going) => toned(format!("is being replaced ({}): {}", going.step.word(), going.lacks), Tone::Warn),
        None => Cell::from(&extra.reason),
    }
}

fn page(status: &Status, node: &Node, coloured: bool) -> String {
    let extra = status.nodes.get(&node.id).cloned().unwrap_or_default();
    let or_none = |n: Option<u64>, unit: &str| n.map_or_else(|| "none".to_string(), |n| format!("{n}{unit}"));
    let rows = [
        ("node", Cell::from(format!("{} ({})", node.name, node.id))),
        ("state", state_of(status, node)),
        ("reason", reason(status, node, &extra)),
        ("since", Cell::from(format!("{} ago", span(status.wall_ms.saturating_sub(extra.since_wall_ms))))),
        ("process", Cell::from(format!("{}, pid {}", node.boot, extra.pid))),
        ("lease renewed", Cell::from(or_none(extra.lease_age_ms, " ms ago"))),
        ("confirmed index", Cell::from(or_none(extra.confirmed_index, &format!(" of {}", status.map.index)))),
        ("primaries", Cell::from(primaries(status, node))),
        ("HA daemon", daemon(node, &extra)),
        ("fabric", Cell::from(&node.fabric_address)),
        ("HA", Cell::from(&node.ha_address)),
        ("storage set", Cell::from(node.storage_set)),
        ("rack", Cell::from(node.rack)),
    ];
    let devices: Vec<Vec<Cell>> =
        status.map.devices.values().filter(|d| d.node == node.id).map(|d| super::device::row(status, d)).collect();
    format!("{}\n\n{}", fields(&rows, coloured), table(&super::device::HEADING, &devices, coloured))
}
