//! Placement: groups are created. The leader computes them with `layout`; here is only checked what must hold whatever it computed, and only
//! the whole command is applied or none of it. How slots move is [`super::slots`].

use std::collections::BTreeSet;

use types::map::{CatalogueKind, Group, GroupView, Pool, Slots};
use types::scheme::Scheme;
use types::state::DeviceState;
use types::{DeviceId, Epoch, GroupId, PoolId, ViewNumber};

use super::{DEFAULT_BUCKET, GroupExtra, State};
use crate::event::Subject;
use crate::outcome::{Done, Outcome, Refused};
use crate::topology::GROUPS_MAX;

impl State {
    pub(super) fn create_groups(&mut self, pool_id: PoolId, groups: &[Vec<Option<DeviceId>>]) -> Outcome {
        let Some(pool) = self.pool(pool_id) else { return Err(Refused::NoPool(pool_id)) };
        if pool.groups != 0 {
            return if self.placed_so(pool_id, groups) { Ok(Done::AlreadySo) } else { Err(Refused::HasGroups(pool_id)) };
        }
        let Ok(count) = u32::try_from(groups.len()) else {
            return Err(Refused::TooMany { what: "groups".into(), max: GROUPS_MAX as usize });
        };
        if count > GROUPS_MAX {
            return Err(Refused::TooMany { what: "groups".into(), max: GROUPS_MAX as usize });
        }
        let replicated = matches!(pool.scheme, Scheme::Replicated { .. });
        for (index, slots) in (0..count).zip(groups) {
            let group = GroupId { pool: pool_id, index };
            self.check_slots(pool, slots).map_err(|problem| Refused::Placement { group, problem })?;
            if replicated && slots.iter().any(Option::is_none) {
                return Err(Refused::Placement { group, problem: "a replicated group is created with all its members".into() });
            }
        }
        if count == 0 {
            return Ok(Done::AlreadySo);
        }
        self.move_epoch();
        let number = ViewNumber(self.map.index);
        let mut load = self.primaries();
        for (index, slots) in (0..count).zip(groups) {
            let id = GroupId { pool: pool_id, index };
            if replicated {
                let members: Vec<DeviceId> = slots.iter().flatten().copied().collect();
                let primary = self.choose_first(&members, &mut load);
                let view = GroupView {
                    number,
                    created: Epoch(number.0),
                    primary,
                    old: members.clone(),
                    learners: Vec::new(),
                    active: ViewNumber(0),
                    members: members.clone(),
                };
                self.map.groups.insert(id, Group::Replicated(view));
                self.groups.insert(id, GroupExtra { active_members: members, stepping_down: None });
            } else {
                self.map.groups.insert(id, Group::Erasure(Slots { number, slots: slots.clone() }));
            }
        }
        if let Some(pool) = self.map.pools.get_mut(&pool_id) {
            pool.groups = count;
        }
        self.note(Subject::Pool(pool_id), &format!("{count} groups created"), "its devices have registered");
        if replicated && self.catalogues_made == 0 {
            self.create_catalogue(DEFAULT_BUCKET, CatalogueKind::Bucket, Some(pool_id), 0)?;
        }
        Ok(Done::Changed)
    }

    /// Whether the pool has exactly these groups: the command was applied before.
    fn placed_so(&self, pool: PoolId, groups: &[Vec<Option<DeviceId>>]) -> bool {
        let present = self.map.groups.range(GroupId { pool, index: 0 }..=GroupId { pool, index: u32::MAX });
        let same = |group: &Group, slots: &[Option<DeviceId>]| match group {
            Group::Replicated(view) => view.members.iter().map(|m| Some(*m)).eq(slots.iter().copied()),
            Group::Erasure(s) => s.slots == slots,
        };
        present.clone().count() == groups.len() && present.zip(groups).all(|((_, group), slots)| same(group, slots))
    }

    /// What must hold for the slots of one group, whatever the leader computed.
    pub(super) fn check_slots(&self, pool: &Pool, slots: &[Option<DeviceId>]) -> Result<(), String> {
        if slots.len() != pool.scheme.width() {
            return Err(format!("{} slots, the scheme {} has {}", slots.len(), pool.scheme, pool.scheme.width()));
        }
        let (mut seen, mut sets) = (BTreeSet::new(), BTreeSet::new());
        for id in slots.iter().flatten() {
            let (true, Some(device)) = (pool.devices.contains(id), self.map.devices.get(id)) else {
                return Err(format!("{id} is not of pool `{}`", pool.name));
            };
            if matches!(device.state, DeviceState::Unknown | DeviceState::Failed) {
                return Err(format!("{id} is {}", device.state));
            }
            if !seen.insert(*id) {
                return Err(format!("{id} fills two slots"));
            }
            sets.extend(self.map.nodes.get(&device.node).map(|n| n.storage_set));
        }
        if sets.len() > 1 { Err("its members are in several storage sets".into()) } else { Ok(()) }
    }
}
