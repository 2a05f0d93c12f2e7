//! What the write-ahead log holds, in a form of our own: openraft's types may change, files may not. See `docs/formats/ha-store.md`.

use std::collections::{BTreeMap, BTreeSet};

use openraft::{BasicNode, CommittedLeaderId, Entry, EntryPayload, LeaderId, LogId, Membership, StoredMembership, Vote};
use serde::{Deserialize, Serialize};

use crate::raft::{Agreed, Types};

/// The place of an entry: who led when it was made, and its index.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Place {
    /// Term.
    pub term: u64,
    /// Leader of that term.
    pub leader: u64,
    /// Index.
    pub index: u64,
}

/// One step of the log. Variants are numbered for life by their order: add at the end.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Record {
    /// The vote is this from here on.
    Vote {
        /// Term.
        term: u64,
        /// For whom.
        node: u64,
        /// Whether a quorum has granted it.
        committed: bool,
    },
    /// An entry at the end of the log.
    Entry(Place, Payload),
    /// Entries from that index on are gone: another leader has others.
    Truncate(u64),
    /// Entries up to that place are gone: a snapshot has them.
    Purge(Place),
}

/// What an entry carries.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Payload {
    /// Nothing: a new leader's first.
    Blank,
    /// A command of the HA state.
    Command(#[serde(with = "types::codec::bytes")] Vec<u8>),
    /// Who votes and who follows.
    Members(Members),
}

/// A membership.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Members {
    /// Voters; two sets while they change.
    pub voters: Vec<BTreeSet<u64>>,
    /// All nodes with their addresses.
    pub nodes: BTreeMap<u64, String>,
}

/// Head of a snapshot.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SnapshotHead {
    /// The last entry in it.
    pub last: Option<Place>,
    /// The entry of the membership in it.
    pub members_at: Option<Place>,
    /// The membership.
    pub members: Members,
    /// Its name.
    pub id: String,
}

impl From<LogId<u64>> for Place {
    fn from(id: LogId<u64>) -> Self {
        Self { term: id.leader_id.term, leader: id.leader_id.node_id, index: id.index }
    }
}

impl From<Place> for LogId<u64> {
    fn from(place: Place) -> Self {
        Self::new(CommittedLeaderId::new(place.term, place.leader), place.index)
    }
}

impl From<&Membership<u64, BasicNode>> for Members {
    fn from(membership: &Membership<u64, BasicNode>) -> Self {
        Self {
            voters: membership.get_joint_config().clone(),
            nodes: membership.nodes().map(|(id, node)| (*id, node.addr.clone())).collect(),
        }
    }
}

impl From<Members> for Membership<u64, BasicNode> {
    fn from(members: Members) -> Self {
        let nodes: BTreeMap<u64, BasicNode> = members.nodes.into_iter().map(|(id, addr)| (id, BasicNode { addr })).collect();
        Self::new(members.voters, nodes)
    }
}

impl From<&Vote<u64>> for Record {
    fn from(vote: &Vote<u64>) -> Self {
        Self::Vote { term: vote.leader_id.term, node: vote.leader_id.node_id, committed: vote.committed }
    }
}

/// The vote of a record's fields.
pub fn vote(term: u64, node: u64, committed: bool) -> Vote<u64> {
    Vote { leader_id: LeaderId::new(term, node), committed }
}

impl From<&Entry<Types>> for Record {
    fn from(entry: &Entry<Types>) -> Self {
        let payload = match &entry.payload {
            EntryPayload::Blank => Payload::Blank,
            EntryPayload::Normal(agreed) => Payload::Command(agreed.0.clone()),
            EntryPayload::Membership(membership) => Payload::Members(membership.into()),
        };
        Self::Entry(entry.log_id.into(), payload)
    }
}

/// The entry of a record's fields.
pub fn entry(place: Place, payload: Payload) -> Entry<Types> {
    let payload = match payload {
        Payload::Blank => EntryPayload::Blank,
        Payload::Command(bytes) => EntryPayload::Normal(Agreed(bytes)),
        Payload::Members(members) => EntryPayload::Membership(members.into()),
    };
    Entry { log_id: place.into(), payload }
}

impl SnapshotHead {
    /// The head of a snapshot as openraft describes it.
    pub fn of(meta: &openraft::SnapshotMeta<u64, BasicNode>) -> Self {
        Self {
            last: meta.last_log_id.map(Into::into),
            members_at: meta.last_membership.log_id().map(Into::into),
            members: meta.last_membership.membership().into(),
            id: meta.snapshot_id.clone(),
        }
    }

    /// The description of it for openraft.
    pub fn meta(&self) -> openraft::SnapshotMeta<u64, BasicNode> {
        openraft::SnapshotMeta {
            last_log_id: self.last.map(Into::into),
            last_membership: StoredMembership::new(self.members_at.map(Into::into), self.members.clone().into()),
            snapshot_id: self.id.clone(),
        }
    }
}
