//! Why an operation of a client failed, in the words of its caller: each error says what was tried and what to do next.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use types::{Version, VersionId};

/// The one error of this crate. What may be tried again says so by [`Error::is_retryable`].
#[derive(Debug, thiserror::Error, Clone)]
pub enum Error {
    /// The caller asked for something that cannot be.
    #[error("{0}")]
    Invalid(String),
    /// There is no such thing.
    #[error("{0} does not exist")]
    NotFound(String),
    /// There is a delete marker: the object was deleted, and its bucket keeps versions.
    #[error("{what} was deleted; its versions are there")]
    Marker {
        /// What was looked for.
        what: String,
        /// The delete marker.
        id: VersionId,
        /// Wall clock of who deleted, in milliseconds since 1970.
        modified_ms: u64,
    },
    /// It is there already.
    #[error("{0} exists already; choose another name, or use it")]
    Exists(String),
    /// A condition of the caller's did not hold; nothing was changed.
    #[error("{what}: the condition does not hold, {}", current_words(*current))]
    Condition {
        /// What was to be changed.
        what: String,
        /// The version that is there now.
        current: Option<Version>,
    },
    /// The cluster could not serve in time; nothing was changed. Trying again is safe.
    #[error("{what}: not available within {} ms: {reason}; try again, or look at `ha status`", waited.as_millis())]
    Unavailable {
        /// What was tried.
        what: String,
        /// The last thing that went wrong.
        reason: String,
        /// How long it was tried.
        waited: Duration,
    },
    /// The change may or may not have happened.
    #[error("{what}: it is not known whether it happened ({reason}); read it before you try again")]
    OutcomeUnknown {
        /// What was tried.
        what: String,
        /// The last thing that went wrong.
        reason: String,
    },
    /// The object was replaced or deleted while it was read. Reading it again gives the new one.
    #[error("{0} was replaced or deleted while it was read; read it again")]
    Replaced(String),
    /// More is damaged or lost than the pool's scheme can rebuild. Nothing wrong was returned.
    #[error("{what} cannot be read back: {reason}; see `ha device list` and `ha events`")]
    Corrupt {
        /// Which object.
        what: String,
        /// What is wrong with it.
        reason: String,
    },
    /// No room.
    #[error("{0}; delete something or add devices")]
    Full(String),
    /// The cluster refuses it, and will again.
    #[error("{0}")]
    Refused(String),
    /// The caller's own source or sink failed.
    #[error("{what}: {source}")]
    Io {
        /// What was read or written.
        what: String,
        /// What the system said.
        source: Arc<io::Error>,
    },
}

fn current_words(current: Option<Version>) -> String {
    current.map_or_else(|| "there is none".to_string(), |version| format!("it is at version {}", version.0))
}

impl Error {
    /// Whether the same call may succeed later, without harm if it happened already.
    pub fn is_retryable(&self) -> bool {
        matches!(self, Self::Unavailable { .. } | Self::Replaced(_))
    }

    /// An error of the caller's own source or sink.
    pub(crate) fn io(what: impl Into<String>, source: io::Error) -> Self {
        Self::Io { what: what.into(), source: Arc::new(source) }
    }
}
