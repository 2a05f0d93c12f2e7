//! Catalogues and sessions: global records. They move the log, not the epoch.

#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};
use types::limits::CATALOGUE_NAME_BYTES_MAX;
use types::map::{Catalogue, CatalogueKind, GroupView};
use types::scheme::Scheme;
use types::{Boot, CatalogueId, GroupId, HaTime, NodeId, PoolId, SessionId, ViewNumber};

use super::State;
use crate::event::{Subject, cut};
use crate::outcome::{Done, Outcome, Refused};

/// Groups that a catalogue spans where nothing is said.
pub const CATALOGUE_WIDTH: u32 = 16;
/// Most catalogues of a cluster.
pub const CATALOGUES_MAX: usize = 100_000;
/// The bucket that is there from the start.
pub const DEFAULT_BUCKET: &str = "default";
/// Most open sessions of a cluster.
pub const SESSIONS_MAX: usize = 100_000;

/// A writer's session. Its id is the log index that opened it; a process's is its boot.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Session {
    /// The node whose process writes; `None` for a native client.
    pub node: Option<NodeId>,
    /// The client's name for itself.
    pub name: String,
    /// What the client drew for this session.
    pub nonce: u64,
    /// HA time of its opening.
    pub opened: HaTime,
}

/// A catalogue that was dropped, until nothing of it is left.
///
/// ```text
/// there --dropped: no write of it is admitted any more--> being emptied, group by group --empty in every group--> gone
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Dropped {
    /// What it was. Its name is free for another one.
    pub catalogue: Catalogue,
    /// The log entry that dropped it: a process that has taken it in admits no write of it.
    pub at: u64,
    /// The groups that may hold something of it still.
    pub left: BTreeSet<GroupId>,
}

impl Session {
    pub(super) fn of_process(node: NodeId, opened: HaTime) -> Self {
        Self { node: Some(node), name: String::new(), nonce: 0, opened }
    }
}

impl State {
    pub(super) fn create_catalogue(&mut self, name: &str, kind: CatalogueKind, pool: Option<PoolId>, width: u32) -> Outcome {
        if name.is_empty() || name.len() > CATALOGUE_NAME_BYTES_MAX || name.chars().any(char::is_control) {
            return Err(Refused::Name);
        }
        if let Some(present) = self.map.catalogue_named(kind, name) {
            return Ok(Done::Catalogue { id: present.id, created: false });
        }
        if self.map.catalogues.len() + self.dropped.len() >= CATALOGUES_MAX {
            return Err(Refused::TooMany { what: "catalogues".into(), max: CATALOGUES_MAX });
        }
        let mut replicated = self.map.pools.values().filter(|p| matches!(p.scheme, Scheme::Replicated { .. }));
        let pool = match pool {
            Some(id) => replicated.find(|p| p.id == id).ok_or(Refused::NoPool(id))?,
            None => replicated.find(|p| p.groups > 0).ok_or(Refused::NoGroups)?,
        };
        if pool.groups == 0 {
            return Err(Refused::NoGroups);
        }
        let width = if width == 0 { CATALOGUE_WIDTH } else { width }.min(pool.groups);
        // One after the other around the pool, so that few catalogues use all groups.
        let first_group = (self.catalogues_made * u64::from(CATALOGUE_WIDTH) % u64::from(pool.groups)) as u32;
        let id = CatalogueId(self.map.index);
        let catalogue = Catalogue { id, name: name.into(), kind, pool: pool.id, first_group, width };
        self.map.catalogues.insert(id, catalogue);
        if kind == CatalogueKind::Bucket {
            self.note_bucket(id, "", &BTreeMap::new());
        }
        self.catalogues_made = self.catalogues_made.wrapping_add(1);
        self.note(Subject::Catalogue(id), "created", name);
        Ok(Done::Catalogue { id, created: true })
    }

    pub(super) fn drop_catalogue(&mut self, id: CatalogueId) -> Outcome {
        match self.map.catalogues.remove(&id) {
            Some(catalogue) => {
                self.buckets.remove(&id);
                self.note(Subject::Catalogue(id), "dropped", &catalogue.name);
                let left = self.pool(catalogue.pool).map_or_else(BTreeSet::new, |pool| {
                    (0..catalogue.width.min(pool.groups)).map(|i| types::routing::catalogue_group(&catalogue, pool, i)).collect()
                });
                self.dropped.insert(id, Dropped { catalogue, at: self.map.index, left });
                Ok(Done::Changed)
            }
            // Ids are indices of entries: one at or below the cursor may have been there before.
            None if id.0 < self.map.index => Ok(Done::AlreadySo),
            None => Err(Refused::NoCatalogue(id)),
        }
    }

    /// Groups in which nothing of dropped catalogues is left, as the active primary of each says. What is no longer true is left out: another
    /// primary looks for itself.
    pub(super) fn catalogues_emptied(&mut self, boot: Boot, emptied: &[(CatalogueId, GroupId, ViewNumber)]) -> Outcome {
        if self.live(boot).is_none() {
            return Err(Refused::OldBoot { boot });
        }
        let mut changed = false;
        for (id, group, number) in emptied {
            let is_present = |view: &GroupView| view.number == *number && view.primary.is_some_and(|primary| primary.boot == boot);
            let Some(dropped) = self.dropped.get_mut(id).filter(|_| self.map.view(*group).is_some_and(is_present)) else { continue };
            changed |= dropped.left.remove(group);
            if dropped.left.is_empty()
                && let Some(dropped) = self.dropped.remove(id)
            {
                self.note(Subject::Catalogue(*id), "gone", &format!("nothing of {} is left", dropped.catalogue.name));
            }
        }
        Ok(if changed { Done::Changed } else { Done::AlreadySo })
    }

    pub(super) fn open_session(&mut self, nonce: u64, name: &str) -> Outcome {
        let same = |s: &Session| s.node.is_none() && s.nonce == nonce && s.name == cut(name);
        if let Some((id, _)) = self.sessions.iter().find(|(_, s)| same(s)) {
            return Ok(Done::Session(*id));
        }
        if self.sessions.len() >= SESSIONS_MAX {
            return Err(Refused::TooMany { what: "sessions".into(), max: SESSIONS_MAX });
        }
        let id = SessionId(self.map.index);
        self.sessions.insert(id, Session { node: None, name: cut(name), nonce, opened: self.map.ha_time });
        Ok(Done::Session(id))
    }

    pub(super) fn close_session(&mut self, id: SessionId) -> Outcome {
        match self.sessions.get(&id) {
            Some(session) if session.node.is_some() => Err(Refused::NoSession(id)),
            Some(_) => {
                self.sessions.remove(&id);
                Ok(Done::Changed)
            }
            None if id.0 < self.map.index => Ok(Done::AlreadySo),
            None => Err(Refused::NoSession(id)),
        }
    }
}
