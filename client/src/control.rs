//! What a client needs of HA: the map, a session, and catalogues. One narrow trait, so that tests stand in for a cluster.

use async_trait::async_trait;
use ha_api::{HaClient, HaError};
use types::map::{CatalogueKind, ClusterMap};
use types::records::{RecordChange, RecordDone};
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

    /// Makes a bucket or an index over `width` groups; HA's default where `None`. False where it was there already.
    async fn create_catalogue(&self, kind: CatalogueKind, name: &str, width: Option<u32>) -> Result<bool, ControlError>;

    /// Removes a bucket or an index.
    async fn drop_catalogue(&self, id: CatalogueId) -> Result<(), ControlError>;

    /// A change of the global records; every process has taken it in when it returns.
    async fn change_record(&self, change: &RecordChange) -> Result<RecordDone, ControlError>;
}

impl From<HaError> for ControlError {
    fn from(error: HaError) -> Self {
        match error {
            HaError::Unavailable(reason) => Self::Unavailable(reason),
            HaError::Unknown(reason) => Self::Unknown(reason),
            HaError::NotFound(what) => Self::NotFound(what),
            HaError::Refused(reason) | HaError::OldBoot(reason) | HaError::Stranger(reason) => Self::Refused(reason),
            HaError::Garbled(reason) => Self::Refused(format!("its answer cannot be read: {reason}")),
        }
    }
}

#[async_trait]
impl Control for HaClient {
    async fn map(&self, min_epoch: Epoch) -> Result<ClusterMap, ControlError> {
        Ok(Self::map(self, min_epoch).await?)
    }

    async fn open_session(&self) -> Result<Ticket, ControlError> {
        Ok(Self::open_session(self).await?)
    }

    async fn renew_session(&self, session: SessionId) -> Result<Ticket, ControlError> {
        Ok(Self::renew_session(self, session).await?)
    }

    async fn close_session(&self, session: SessionId) -> Result<(), ControlError> {
        Ok(Self::close_session(self, session).await?)
    }

    async fn create_catalogue(&self, kind: CatalogueKind, name: &str, width: Option<u32>) -> Result<bool, ControlError> {
        Ok(Self::create_catalogue(self, kind, name, width.unwrap_or(0), None).await?.created)
    }

    async fn drop_catalogue(&self, id: CatalogueId) -> Result<(), ControlError> {
        Ok(Self::drop_catalogue(self, id).await?)
    }

    async fn change_record(&self, change: &RecordChange) -> Result<RecordDone, ControlError> {
        Ok(Self::change_record(self, change).await?)
    }
}
