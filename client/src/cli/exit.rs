//! Exit codes, and the one mapping from errors to them. Numbered for life: scripts rely on them (`docs/exit-codes.md`).

use std::process::ExitCode;

use client::Error;
use ha_api::HaError;

/// How `redoubt` ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Exit {
    /// Done.
    Ok = 0,
    /// It failed, and none of the others says how.
    Failure = 1,
    /// The command line, a name or a value makes no sense.
    Usage = 2,
    /// There is no such thing.
    NotFound = 3,
    /// A condition did not hold, or it exists already; nothing was changed.
    Condition = 4,
    /// The cluster could not serve in time; nothing was changed, trying again is safe.
    Unavailable = 5,
    /// More is damaged or lost than can be rebuilt.
    Corrupt = 6,
    /// No room.
    Full = 7,
    /// The change may or may not have happened.
    Unknown = 8,
    /// Ctrl-C: 128 + SIGINT, as shells have it.
    Interrupted = 130,
    /// SIGTERM: 128 + its number.
    Terminated = 143,
}

impl Exit {
    /// The code's name in JSON.
    pub fn word(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Failure => "failure",
            Self::Usage => "usage",
            Self::NotFound => "not-found",
            Self::Condition => "condition",
            Self::Unavailable => "unavailable",
            Self::Corrupt => "corrupt",
            Self::Full => "full",
            Self::Unknown => "unknown",
            Self::Interrupted => "interrupted",
            Self::Terminated => "terminated",
        }
    }
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit as u8)
    }
}

/// Why a command failed.
#[derive(Debug, Clone)]
pub struct Failure {
    /// With which code it ends.
    pub exit: Exit,
    /// What happened and what to do next.
    pub message: String,
}

impl Failure {
    /// A failure of that kind.
    pub fn new(exit: Exit, message: impl Into<String>) -> Self {
        Self { exit, message: message.into() }
    }

    /// A failure of the kind `Failure`.
    pub fn other(message: impl Into<String>) -> Self {
        Self::new(Exit::Failure, message)
    }

    /// A wrong use.
    pub fn usage(message: impl Into<String>) -> Self {
        Self::new(Exit::Usage, message)
    }

    /// What the system says about a file.
    pub fn io(path: impl std::fmt::Display, error: &std::io::Error) -> Self {
        Self::other(format!("{path}: {error}"))
    }
}

/// What makes a bucket or an index that is not there.
fn hint(error: &Error) -> &'static str {
    match error {
        Error::NotFound(what) if what.starts_with("bucket `") => {
            "; `redoubt bucket create NAME` makes one, `redoubt bucket list` shows which there are"
        }
        Error::NotFound(what) if what.starts_with("index `") => {
            "; `redoubt idx create NAME` makes one, `redoubt idx list` shows which there are"
        }
        _ => "",
    }
}

impl From<&HaError> for Failure {
    fn from(error: &HaError) -> Self {
        let exit = match error {
            HaError::NotFound(_) => Exit::NotFound,
            error if error.is_retryable() => Exit::Unavailable,
            _ => Exit::Failure,
        };
        Self::new(exit, error.to_string())
    }
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        let exit = match &error {
            Error::Invalid(_) => Exit::Usage,
            Error::NotFound(_) | Error::Marker { .. } => Exit::NotFound,
            Error::Condition { .. } | Error::Exists(_) => Exit::Condition,
            Error::Unavailable { .. } | Error::Replaced(_) => Exit::Unavailable,
            Error::OutcomeUnknown { .. } => Exit::Unknown,
            Error::Corrupt { .. } => Exit::Corrupt,
            Error::Full(_) => Exit::Full,
            Error::Refused(_) | Error::Io { .. } => Exit::Failure,
        };
        Self::new(exit, error.to_string() + hint(&error))
    }
}
