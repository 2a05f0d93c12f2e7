//! Where a new fid goes: the pool by policy, then any of its groups whose devices are all ONLINE and whose nodes nobody suspects.

use tokio::time::Instant;
use types::map::{ClusterMap, Pool, Slots};
use types::scheme::Scheme;
use types::state::ProcessState;
use types::{DeviceId, GroupId, PoolId, ViewNumber};

use crate::Error;
use crate::suspects::Suspects;

/// A group that takes all units of a stripe now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Place {
    /// Which group.
    pub group: GroupId,
    /// Its view.
    pub view: ViewNumber,
    /// N.
    pub data: u8,
    /// K.
    pub parity: u8,
    /// A device a slot.
    pub devices: Vec<DeviceId>,
}

/// The erasure-coded pools that the policy allows, in its order.
pub(crate) fn pools<'a>(map: &'a ClusterMap, wanted: Option<&str>) -> Result<Vec<&'a Pool>, Error> {
    if let Some(name) = wanted {
        let pool = map.pool_named(name).ok_or_else(|| Error::NotFound(format!("pool `{name}`")))?;
        if !matches!(pool.scheme, Scheme::Erasure { .. }) {
            return Err(Error::Invalid(format!("pool `{name}` is replicated and holds no objects: choose one of scheme N+K")));
        }
        return Ok(vec![pool]);
    }
    let mut pools: Vec<&Pool> = map.pools.values().filter(|p| matches!(p.scheme, Scheme::Erasure { .. })).collect();
    pools.sort_by_key(|p| (p.priority, p.id));
    if pools.is_empty() {
        return Err(Error::Invalid("the cluster has no erasure-coded pool: create one".into()));
    }
    Ok(pools)
}

/// A place for a new fid, by the policy's order of pools; `failed` are pools where attempts failed, oldest first: they come last.
///
/// Where every group has a suspected node, the one whose suspicion is oldest: a node that came back is suspected for a while, too, and is a
/// better choice than one that has just died. `spread` is any number: it chooses among the groups that will do equally.
pub(crate) fn place(map: &ClusterMap, suspects: &Suspects, pools: &[&Pool], failed: &[PoolId], spread: u64) -> Option<Place> {
    let others = pools.iter().filter(|pool| !failed.contains(&pool.id));
    let order = others.chain(failed.iter().filter_map(|id| pools.iter().find(|pool| pool.id == *id)));
    let mut in_doubt: Option<(Option<Instant>, Place)> = None;
    for pool in order {
        let mut places = candidates(map, suspects, pool);
        let Some(oldest) = places.iter().map(|(until, _)| *until).min() else { continue };
        places.retain(|(until, _)| *until == oldest);
        let at = usize::try_from(spread % places.len() as u64).expect("below a usize");
        let chosen = places.swap_remove(at);
        if oldest.is_none() {
            return Some(chosen.1);
        }
        if in_doubt.as_ref().is_none_or(|(until, _)| oldest < *until) {
            in_doubt = Some(chosen);
        }
    }
    in_doubt.map(|(_, place)| place)
}

/// Groups of a pool that would do, each with the end of the freshest suspicion of a node of it.
fn candidates(map: &ClusterMap, suspects: &Suspects, pool: &Pool) -> Vec<(Option<Instant>, Place)> {
    let Scheme::Erasure { data, parity, .. } = pool.scheme else { return Vec::new() };
    let groups = GroupId { pool: pool.id, index: 0 }..=GroupId { pool: pool.id, index: u32::MAX };
    let places = map.groups.range(groups).filter_map(|(group, _)| whole(map, *group, map.slots(*group)?, data, parity));
    let suspected = |place: &Place| place.devices.iter().filter_map(|d| suspects.until(map.node_of(*d)?.id)).max();
    places.map(|place| (suspected(&place), place)).collect()
}

/// The group as a place, if every slot has a device and every device is ONLINE.
fn whole(map: &ClusterMap, group: GroupId, slots: &Slots, data: u8, parity: u8) -> Option<Place> {
    let devices: Vec<DeviceId> = slots.slots.iter().copied().collect::<Option<_>>()?;
    let online = |device: &DeviceId| {
        map.devices.get(device).is_some_and(|d| d.state.is_readable())
            && map.node_of(*device).is_some_and(|n| n.state == ProcessState::Online)
    };
    (devices.len() == usize::from(data) + usize::from(parity) && devices.iter().all(online)).then_some(Place {
        group,
        view: slots.number,
        data,
        parity,
        devices,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sample;
    use types::NodeId;

    #[test]
    fn a_healthy_cluster_writes_to_the_first_pool() {
        let map = sample::map();
        let pools = pools(&map, None).expect("has pools");
        for spread in 0..10 {
            let place = place(&map, &Suspects::default(), &pools, &[], spread).expect("has a place");
            assert_eq!((place.group.pool, place.data, place.parity), (sample::DATA, 4, 2));
        }
    }

    #[test]
    fn with_a_node_away_the_second_pool_takes_over_without_it() {
        let mut map = sample::map();
        sample::take_away(&mut map, NodeId(2));
        let pools = pools(&map, None).expect("has pools");
        for spread in 0..10 {
            let place = place(&map, &Suspects::default(), &pools, &[], spread).expect("has a place");
            assert_eq!(place.group.pool, sample::SECOND);
            assert!(place.devices.iter().all(|d| map.devices[d].node != NodeId(2)));
        }
    }

    #[tokio::test]
    async fn a_suspected_node_is_avoided_before_ha_says_so() {
        let map = sample::map();
        let suspects = Suspects::default();
        suspects.suspect(NodeId(3));
        let pools = pools(&map, None).expect("has pools");
        let place = place(&map, &suspects, &pools, &[sample::DATA], 7).expect("has a place");
        assert_eq!(place.group.pool, sample::SECOND);
        assert!(place.devices.iter().all(|d| map.devices[d].node != NodeId(3)));
    }

    #[tokio::test(start_paused = true)]
    async fn a_node_that_came_back_is_a_better_choice_than_one_that_has_just_died() {
        let map = sample::map();
        let suspects = Suspects::default();
        suspects.suspect(NodeId(1));
        tokio::time::advance(std::time::Duration::from_secs(1)).await;
        suspects.suspect(NodeId(2));
        let pools = pools(&map, None).expect("has pools");
        for (spread, failed) in (0..10).flat_map(|spread| {
            [&[][..], &[sample::DATA], &[sample::SECOND], &[sample::SECOND, sample::DATA]].map(|failed| (spread, failed))
        }) {
            let place = place(&map, &suspects, &pools, failed, spread).expect("has a place");
            assert!(place.devices.iter().all(|d| map.devices[d].node != NodeId(2)), "{failed:?}: {place:?}");
        }
    }

    #[test]
    fn a_chosen_pool_is_the_only_one() {
        let map = sample::map();
        assert!(matches!(pools(&map, Some("nope")), Err(Error::NotFound(_))));
        assert!(matches!(pools(&map, Some("meta")), Err(Error::Invalid(_))));
        assert_eq!(pools(&map, Some("second")).expect("is there").len(), 1);
    }
}
