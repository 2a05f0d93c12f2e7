//! The history of the cluster, for `ha events`: bounded, in log order, part of the state.

use std::fmt;

use serde::{Deserialize, Serialize};
use types::{CatalogueId, DeviceId, Epoch, GroupId, HaTime, NodeId, PoolId, SessionId};

/// Most events kept.
pub const EVENTS_MAX: usize = 100_000;
/// Longest text of an event, in bytes.
pub const EVENT_TEXT_BYTES_MAX: usize = 256;

/// Something that happened to the cluster.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Event {
    /// The log entry that did it.
    pub index: u64,
    /// The epoch after it.
    pub epoch: Epoch,
    /// HA time of it.
    pub at: HaTime,
    /// The leader's wall clock, milliseconds since 1970.
    pub wall_ms: u64,
    /// To whom.
    pub subject: Subject,
    /// What, as in `ONLINE -> TRANSIENT`.
    pub what: String,
    /// Why.
    pub cause: String,
}

/// Whom an event is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Subject {
    /// The whole cluster.
    Cluster,
    /// The process of a node.
    Process(NodeId),
    /// A device.
    Device(DeviceId),
    /// A pool.
    Pool(PoolId),
    /// A group.
    Group(GroupId),
    /// A catalogue.
    Catalogue(CatalogueId),
    /// A session.
    Session(SessionId),
}

impl fmt::Display for Subject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Cluster => f.pad("cluster"),
            Self::Process(node) => f.pad(&node.to_string()),
            Self::Device(device) => f.pad(&device.to_string()),
            Self::Pool(pool) => f.pad(&pool.to_string()),
            Self::Group(group) => f.pad(&format!("group {group}")),
            Self::Catalogue(catalogue) => f.pad(&catalogue.to_string()),
            Self::Session(session) => f.pad(&session.to_string()),
        }
    }
}

/// A text cut to [`EVENT_TEXT_BYTES_MAX`], at a character.
pub(crate) fn cut(text: &str) -> String {
    let mut end = text.len().min(EVENT_TEXT_BYTES_MAX);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    text[..end].to_string()
}
