//! Placement: which device fills which slot of which group of a pool.
//!
//! Guarantees, whatever the cluster looks like: no failure domain holds more slots of a group than its rule allows; all members of a group
//! are in one storage set; no device fills two slots of a group; a slot with no legal device stays empty; the same map gives the same
//! answer. Within these rules slots are spread by the devices' size, and what is placed already moves only where it must, or where moving
//! brings the balance nearer. Only the HA leader computes placements; everybody else reads them from the cluster map.
//!
//! The rules nest (device, disk group, node, rack), so for one group they are a laminar matroid: taking legal devices one after the other,
//! the emptiest first, never runs into a dead end. (Edmonds, "Matroids and the greedy algorithm", 1971.)

mod assign;
mod balance;
mod site;
mod substitute;
#[cfg(test)]
mod tests;

use types::map::{ClusterMap, Group};
use types::scheme::{FailureDomain, Scheme};
use types::{DeviceId, GroupId, PoolId};

use site::Site;
pub use substitute::substitute;

/// Slots of an erasure-coded pool per device, at least: so that a lost device's work is shared by many, and one slot is 3 % of a device.
pub const SLOTS_PER_DEVICE_MIN: u32 = 32;
/// Groups of a replicated pool where nothing is said; for life.
pub const REPLICATED_GROUPS: u32 = 256;
/// Of the groups of a pool that avoids nodes, one in so many avoids any given node.
pub const AVOID_ONE_IN: usize = 3;

/// One entry a group, one device a slot.
pub type Groups = Vec<Vec<Option<DeviceId>>>;

/// What is wanted of a pool.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Wish {
    /// How many groups, at least; 0 takes as many as the pool needs. Groups that are there are never taken away.
    pub groups: u32,
    /// Whether for each node of a storage set a third of the groups there have no slot on it.
    pub avoid_node: bool,
    /// Whether new groups are made where the pool needs more; without, those that are there are spread over its devices.
    pub grow: bool,
}

/// Why there is no placement.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PlacementError {
    /// No such pool.
    #[error("{0} is not in the map")]
    NoPool(PoolId),
    /// No storage set has room for one whole group.
    #[error(
        "pool `{pool}`: {scheme} needs {needed} slots in different failure domains ({domain}) of one storage set, the best set has room for \
         {found}: add nodes or disk groups, or take a narrower scheme"
    )]
    TooFewDomains {
        /// The pool's name.
        pool: String,
        /// Its scheme.
        scheme: Scheme,
        /// Its failure domain.
        domain: FailureDomain,
        /// Slots of a group.
        needed: usize,
        /// Slots that the best set has room for.
        found: usize,
    },
    /// Groups that avoid a node need others that are enough.
    #[error(
        "pool `{pool}`: for each node a third of the groups are to avoid it, but without {avoided} of its {nodes} nodes no storage set has \
         room for {scheme}: add nodes, or take a narrower scheme"
    )]
    CannotAvoid {
        /// The pool's name.
        pool: String,
        /// Its scheme.
        scheme: Scheme,
        /// Nodes of the best set.
        nodes: usize,
        /// How many of them a group avoids.
        avoided: usize,
    },
}

/// The groups of a pool: those that `map` has, moved as little as possible, and new ones up to what is wanted.
pub fn place(map: &ClusterMap, pool: PoolId, wish: Wish) -> Result<Groups, PlacementError> {
    let pool = map.pools.get(&pool).ok_or(PlacementError::NoPool(pool))?;
    let site = Site::of(map, pool);
    let existing = existing(map, pool.id);
    let count = if wish.grow { existing.len().max(wanted(pool.scheme, &site, wish.groups)) } else { existing.len() };
    let mut plan = assign::Plan::new(&site, pool, &wish, &existing, count);
    if existing.len() < count && plan.usable.is_empty() {
        return Err(refusal(&site, pool, &wish));
    }
    plan.assign_sets();
    for set in 0..site.sets.len() {
        plan.place_set(set);
    }
    Ok(plan.into_groups())
}

/// How many groups the pool has at least.
fn wanted(scheme: Scheme, site: &Site, wish: u32) -> usize {
    match scheme {
        Scheme::Replicated { .. } => (if wish == 0 { REPLICATED_GROUPS } else { wish }) as usize,
        Scheme::Erasure { .. } => {
            let slots = site.devices.len() * SLOTS_PER_DEVICE_MIN as usize;
            (wish as usize).max(slots.div_ceil(scheme.width().max(1))).max(1)
        }
    }
}

fn existing(map: &ClusterMap, pool: PoolId) -> Groups {
    let slots = |group: &Group| match group {
        Group::Replicated(view) => view.members.iter().copied().map(Some).collect(),
        Group::Erasure(slots) => slots.slots.clone(),
    };
    map.groups.range(GroupId { pool, index: 0 }..=GroupId { pool, index: u32::MAX }).map(|(_, group)| slots(group)).collect()
}

fn refusal(site: &Site, pool: &types::map::Pool, wish: &Wish) -> PlacementError {
    let rules = site::Rules::of(pool);
    let needed = pool.scheme.width();
    let room = |set: &site::Set| site.room(set, &rules, &[]);
    let found = site.sets.iter().map(room).max().unwrap_or(0);
    if found < needed || !wish.avoid_node {
        return PlacementError::TooFewDomains { pool: pool.name.clone(), scheme: pool.scheme, domain: pool.failure_domain, needed, found };
    }
    let nodes = site.sets.iter().map(|set| set.nodes.len()).max().unwrap_or(0);
    PlacementError::CannotAvoid { pool: pool.name.clone(), scheme: pool.scheme, nodes, avoided: nodes.div_ceil(AVOID_ONE_IN) }
}
