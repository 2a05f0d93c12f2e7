//! Exit codes, and the one mapping from errors to them; the same numbers as `redoubt`'s (`docs/exit-codes.md`).

use std::process::ExitCode;

use ha_api::HaError;

/// How `ha` ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Exit {
    /// Done.
    Ok = 0,
    /// It failed, and none of the others says how.
    Failure = 1,
    /// The command line makes no sense.
    Usage = 2,
    /// There is no such thing.
    NotFound = 3,
    /// What was asked about is not so.
    Condition = 4,
    /// No HA daemon could answer in time; trying again is safe.
    Unavailable = 5,
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
        }
    }
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit as u8)
    }
}

/// Why a command failed.
#[derive(Debug, Clone, PartialEq, Eq)]
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

    /// No such thing; says what there is.
    pub fn no_such(what: &str, name: &str, known: impl Iterator<Item = String>) -> Self {
        let known: Vec<String> = known.collect();
        let known = if known.is_empty() { "none yet".into() } else { known.join(", ") };
        Self::new(Exit::NotFound, format!("there is no {what} `{name}`; there are: {known}"))
    }

    /// What HA says, with whom was asked.
    pub fn of(error: &HaError, asked: &[String]) -> Self {
        let exit = match error {
            HaError::NotFound(_) => Exit::NotFound,
            // What `ha` asks for may be asked for again.
            HaError::Unavailable(_) | HaError::Unknown(_) => Exit::Unavailable,
            HaError::Refused(_) | HaError::OldBoot(_) | HaError::Stranger(_) | HaError::Garbled(_) => Exit::Failure,
        };
        if exit != Exit::Unavailable {
            return Self::new(exit, error.to_string());
        }
        let next = "see whether `redoubt-ha` runs there (`redoubt dev status` for a local cluster) and wants a certificate (--tls), or name another daemon with --server";
        Self::new(exit, format!("{error} (asked: {}): {next}", asked.join(", ")))
    }
}
