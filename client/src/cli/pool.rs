//! `redoubt pool`: the pools of devices, as the map has them.

use ha_api::Status;
use serde_json::{Value, json};
use types::map::{ClusterMap, Group, Pool};

use super::connect::ha;
use super::exit::{Exit, Failure};
use super::{Common, output};

/// Verbs on pools.
#[derive(clap::Subcommand)]
pub enum Verb {
    /// Lists the pools
    List,
    /// Shows a pool and its groups
    Show {
        /// The pool's name
        name: String,
    },
}

/// Runs a verb.
pub async fn run(common: &Common, verb: Verb) -> Result<(), Failure> {
    // Only HA is asked: the fabric need not be loaded for that.
    let status = ha(common)?.status().await.map_err(|e| Failure::from(&e))?;
    match verb {
        Verb::List => list(common, &status),
        Verb::Show { name } => {
            let missing = || Failure::new(Exit::NotFound, format!("pool `{name}` does not exist; `redoubt pool list` shows which do"));
            show(common, &status, status.map.pool_named(&name).ok_or_else(missing)?)
        }
    }
}

fn json_of(status: &Status, pool: &Pool) -> Value {
    let map = &status.map;
    let space = status.space(&devices(pool, map));
    json!({
        "id": pool.id.0,
        "name": pool.name,
        "scheme": pool.scheme.to_string(),
        "failure_domain": pool.failure_domain.to_string(),
        "groups": pool.groups,
        "groups_ready": groups(map, pool).filter(|(_, group)| is_ready(map, group)).count(),
        "devices": devices(pool, map).len(),
        "devices_that_say": devices(pool, map).len() - space.unknown,
        "bytes": space.bytes,
        "used_bytes": space.used,
        "free_bytes": space.free,
        "devices_of_unknown_use": space.unknown,
        "priority": pool.priority,
    })
}

/// The devices that a pool may use; none named means all.
fn devices(pool: &Pool, map: &ClusterMap) -> Vec<types::DeviceId> {
    if pool.devices.is_empty() { map.devices.keys().copied().collect() } else { pool.devices.clone() }
}

fn groups<'a>(map: &'a ClusterMap, pool: &Pool) -> impl Iterator<Item = (&'a types::GroupId, &'a Group)> {
    let id = pool.id;
    map.groups.iter().filter(move |(group, _)| group.pool == id)
}

/// Whether the group takes writes now.
pub fn is_ready(map: &ClusterMap, group: &Group) -> bool {
    match group {
        Group::Replicated(view) => view.primary.is_some() && view.active == view.number,
        Group::Erasure(slots) => slots.slots.iter().all(|slot| {
            let device = slot.and_then(|id| map.devices.get(&id));
            device.is_some_and(|d| d.state.is_readable())
        }),
    }
}

/// Columns of [`row`].
const HEADING: [&str; 11] = ["NAME", "SCHEME", "DOMAIN", "GROUPS", "READY", "DEVICES", "THAT SAY", "USED", "FREE", "SIZE", "PRIORITY"];

fn row(pool: &Value) -> Vec<String> {
    let cell = |key: &str| pool[key].as_str().map_or_else(|| pool[key].to_string(), String::from);
    let size = |key: &str| output::bytes_words(pool[key].as_u64().unwrap_or(0));
    let mut row = ["name", "scheme", "failure_domain", "groups", "groups_ready", "devices", "devices_that_say"].map(cell).to_vec();
    row.extend(["used_bytes", "free_bytes", "bytes"].map(size));
    row.push(cell("priority"));
    row
}

/// Of all devices, each once: pools may share them.
fn in_all(status: &Status) -> Value {
    let devices: Vec<_> = status.map.devices.keys().copied().collect();
    let space = status.space(&devices);
    json!({
        "devices": devices.len(),
        "devices_that_say": devices.len() - space.unknown,
        "bytes": space.bytes,
        "used_bytes": space.used,
        "free_bytes": space.free,
    })
}

fn words(all: &Value) -> String {
    let size = |key: &str| output::bytes_words(all[key].as_u64().unwrap_or(0));
    let (say, of) = (&all["devices_that_say"], &all["devices"]);
    let at_least = if say == of { "" } else { "at least " };
    format!(
        "in all: {at_least}{} used, {at_least}{} free of {}; {say} of {of} devices say how full they are",
        size("used_bytes"),
        size("free_bytes"),
        size("bytes")
    )
}

fn list(common: &Common, status: &Status) -> Result<(), Failure> {
    let pools: Vec<Value> = status.map.pools.values().map(|pool| json_of(status, pool)).collect();
    let all = in_all(status);
    output::value(common.output, &json!({"pools": pools, "in_all": all}), || {
        let mut rows = vec![HEADING.map(String::from).to_vec()];
        rows.extend(pools.iter().map(row));
        format!("{}\n\n{}", output::table(&rows), words(&all))
    })
}

fn show(common: &Common, status: &Status, pool: &Pool) -> Result<(), Failure> {
    let map = &status.map;
    let mut value = json_of(status, pool);
    let rows: Vec<Value> = groups(map, pool)
        .map(|(id, group)| {
            let devices: Vec<String> = match group {
                Group::Replicated(view) => view.members.iter().map(ToString::to_string).collect(),
                Group::Erasure(slots) => slots.slots.iter().map(|s| s.map_or_else(|| "-".into(), |d| d.to_string())).collect(),
            };
            let primary = match group {
                Group::Replicated(view) => view.primary.map(|p| p.device.to_string()),
                Group::Erasure(_) => None,
            };
            json!({"group": id.to_string(), "view": group.number().0, "devices": devices, "primary": primary, "ready": is_ready(map, group)})
        })
        .collect();
    value["group_list"] = rows.clone().into();
    output::value(common.output, &value, || {
        let mut lines = vec![["GROUP", "VIEW", "PRIMARY", "READY", "DEVICES"].map(String::from).to_vec()];
        for row in &rows {
            let devices: Vec<&str> = row["devices"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
            let primary = row["primary"].as_str().unwrap_or("-").to_string();
            let group = row["group"].as_str().unwrap_or_default().to_string();
            lines.push(vec![group, row["view"].to_string(), primary, row["ready"].to_string(), devices.join(" ")]);
        }
        let summary = output::table(&[HEADING.map(String::from).to_vec(), row(&value)]);
        format!("{summary}\n\n{}", output::table(&lines))
    })
}
