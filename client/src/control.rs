//! What a client needs of HA: the map, a session, and catalogues. One narrow trait, so that tests stand in for a cluster.

use async_trait::async_trait;
use types::map::{CatalogueKind, ClusterMap};
use types::wire::request::Ticket;
use types::{CatalogueId, Epoch, SessionId};

/// Why HA did not do it.
#[derive(Debug, Clone, thiserror::Error, PartialEq, Eq)]
pub enum ControlError {
    /// No HA daemon could, now. Try again.
    #[error("HA: {0}")]
    Unavailable(String),
    /// No answer: it may or may not have happened.
    #[error("HA did not answer: {0}")]
    Unknown(String),
    /// HA refuses, and will again.
    #[error("HA refuses: {0}")]
    Refused(String),
    /// It is there already.
    #[error("{0} exists already")]
    Exists(String),
    /// There is no such thing.
    #[error("{0} does not exist")]
    NotFound(String),
}

/// HA, as a client sees it. Every call ends by itself, within a few seconds.
#[async_trait]
pub trait Control: Send + Sync {
    /// The cluster's map, of this epoch at least.
    async fn map(&self, min_epoch: Epoch) -> Result<ClusterMap, ControlError>;

    /// A new session, with HA time.
    async fn open_session(&self) -> Result<Ticket, ControlError>;

    /// Keeps a session for another lease, and gives HA time; `NotFound` where the session is closed.
    async fn renew_session(&self, session: SessionId) -> Result<Ticket, ControlError>;

    /// Ends a session: what it left pending is swept.
    async fn close_session(&self, session: SessionId) -> Result<(), ControlError>;

    /// Makes a bucket or an index over `width` groups; HA's default where `None`.
    async fn create_catalogue(&self, kind: CatalogueKind, name: &str, width: Option<u32>) -> Result<(), ControlError>;

    /// Removes a bucket or an index.
    async fn drop_catalogue(&self, id: CatalogueId) -> Result<(), ControlError>;
}
