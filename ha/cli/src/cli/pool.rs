//! `ha pool list|show`: pools, and how well their groups are.

use ha_api::Status;
use serde_json::{Value, json};
use types::map::{Group, Pool};
use types::{DeviceId, GroupId};

use crate::connect::Ha;
use crate::exit::Failure;
use crate::health::{self, groups_of, of_group, of_pool, units_missing};
use crate::output::{Cell, Format, bytes, show, table, toned};

/// `ha pool ...`.
#[derive(clap::Subcommand, Clone, Debug)]
pub enum Verb {
    /// All pools
    List,
    /// One pool with its groups
    Show {
        /// Its name or id
        pool: String,
    },
}

/// Columns of [`row`].
pub const HEADING: [&str; 8] = ["POOL", "SCHEME", "DOMAIN", "DEVICES", "USED", "FREE", "SIZE", "GROUPS"];

/// Runs the verb.
pub async fn run(ha: &Ha, format: Format, verb: &Verb) -> Result<(), Failure> {
    let status = super::status::ask(ha).await?;
    let map = &status.map;
    match verb {
        Verb::List => {
            let all: Vec<Value> = map.pools.values().map(|p| value(&status, p)).collect();
            show(format, &json!(all), |coloured| {
                let rows: Vec<Vec<Cell>> = map.pools.values().map(|p| row(&status, p)).collect();
                table(&HEADING, &rows, coloured)
            })
        }
        Verb::Show { pool: name } => {
            let is_it = |p: &&Pool| p.name == *name || p.id.to_string() == *name || p.id.0.to_string() == *name;
            let found = map.pools.values().find(is_it);
            let pool = found.ok_or_else(|| Failure::no_such("pool", name, map.pools.values().map(|p| p.name.clone())))?;
            show(format, &whole_value(&status, pool), |coloured| page(&status, pool, coloured))
        }
    }
}

/// A pool with its groups, for programs.
pub fn whole_value(status: &Status, pool: &Pool) -> Value {
    let mut shown = value(status, pool);
    shown["group_states"] = groups_of(&status.map, pool.id).map(|(id, group)| group_value(status, pool, *id, group)).collect();
    shown
}

/// A pool for programs.
pub fn value(status: &Status, pool: &Pool) -> Value {
    let health = of_pool(&status.map, &status.unfilled, pool);
    let space = status.space(&pool.devices);
    json!({
        "id": pool.id.to_string(),
        "name": pool.name,
        "scheme": pool.scheme.to_string(),
        "failure_domain": pool.failure_domain.to_string(),
        "priority": pool.priority,
        "devices": pool.devices.len(),
        "bytes": space.bytes,
        "used_bytes": space.used,
        "free_bytes": space.free,
        "devices_of_unknown_use": space.unknown,
        "groups_with_units_missing": health.units_missing,
        "groups": health.groups,
        "whole": health.whole,
        "degraded": health.degraded,
        "unavailable": health.unavailable,
        "empty_slots": health.empty_slots,
    })
}

/// A pool for people.
pub fn row(status: &Status, pool: &Pool) -> Vec<Cell> {
    let health = of_pool(&status.map, &status.unfilled, pool);
    let space = status.space(&pool.devices);
    // Of devices that are away nobody knows.
    let at_least = if space.unknown == 0 { "" } else { ">= " };
    vec![
        Cell::from(&pool.name),
        Cell::from(pool.scheme),
        Cell::from(pool.failure_domain),
        Cell::from(pool.devices.len()),
        Cell::from(format!("{at_least}{}", bytes(space.used))),
        Cell::from(format!("{at_least}{}", bytes(space.free))),
        Cell::from(bytes(space.bytes)),
        toned(health.words(), health::tone_of_pool(&health)),
    ]
}

fn group_value(status: &Status, pool: &Pool, id: GroupId, group: &Group) -> Value {
    let names = |devices: &[DeviceId]| devices.iter().map(ToString::to_string).collect::<Vec<_>>();
    let health = of_group(&status.map, &status.unfilled, pool, id, group).word();
    match group {
        Group::Replicated(view) => json!({
            "group": id.to_string(),
            "health": health,
            "view": view.number.0,
            "active_view": view.active.0,
            "primary": view.primary.map(|p| p.device.to_string()),
            "primary_boot": view.primary.map(|p| p.boot.0),
            "members": names(&view.members),
            "old": names(&view.old),
            "learners": names(&view.learners),
        }),
        Group::Erasure(slots) => json!({
            "group": id.to_string(),
            "health": health,
            "view": slots.number.0,
            "units_missing": names(&units_missing(&status.unfilled, id, group).collect::<Vec<_>>()),
            "slots": slots.slots.iter().map(|s| s.map(|d| d.to_string())).collect::<Vec<_>>(),
        }),
    }
}

fn page(status: &Status, pool: &Pool, coloured: bool) -> String {
    let summary = table(&HEADING, &[row(status, pool)], coloured);
    let group_row = |(id, group): (&GroupId, &Group)| {
        let health = of_group(&status.map, &status.unfilled, pool, *id, group);
        let missing = if units_missing(&status.unfilled, *id, group).next().is_some() { ", units missing" } else { "" };
        let (primary, active, devices) = match group {
            Group::Replicated(view) => (
                view.primary.map_or_else(|| "none".to_string(), |p| p.device.to_string()),
                view.active.to_string(),
                view.members.iter().map(ToString::to_string).chain(view.learners.iter().map(|d| format!("+{d}"))).collect::<Vec<_>>(),
            ),
            Group::Erasure(slots) => {
                let name = |slot: &Option<DeviceId>| slot.map_or_else(|| "empty".to_string(), |d| d.to_string());
                ("-".into(), "-".into(), slots.slots.iter().map(name).collect())
            }
        };
        vec![
            Cell::from(id),
            toned(format!("{}{missing}", health.word()), health::tone_of_group(health)),
            Cell::from(group.number()),
            Cell::from(active),
            Cell::from(primary),
            Cell::from(devices.join(" ")),
        ]
    };
    let rows: Vec<Vec<Cell>> = health::groups_of(&status.map, pool.id).map(group_row).collect();
    format!("{summary}\n\n{}", table(&["GROUP", "HEALTH", "VIEW", "ACTIVE", "PRIMARY", "DEVICES"], &rows, coloured))
}
