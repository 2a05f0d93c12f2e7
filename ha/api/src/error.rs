//! What can go wrong between HA and who speaks with it, and the one mapping to and from gRPC codes.

use tonic::{Code, Status};

/// Why HA did not do it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum HaError {
    /// No daemon could, now; nothing has happened. Try again.
    #[error("HA: {0}")]
    Unavailable(String),
    /// No answer in time: it may or may not have happened.
    #[error("HA did not answer in time: {0}")]
    Unknown(String),
    /// HA refuses, and will again.
    #[error("HA refuses: {0}")]
    Refused(String),
    /// There is no such thing.
    #[error("{0}")]
    NotFound(String),
    /// The boot is over: the process has to register again, as a new one.
    #[error("{0}")]
    OldBoot(String),
    /// Who answered is of another cluster, or is another node than the one asked for.
    #[error("{0}")]
    Stranger(String),
    /// An answer that cannot be read.
    #[error("HA's answer cannot be read: {0}")]
    Garbled(String),
}

impl HaError {
    /// Whether another daemon, or the same one later, may do better.
    pub fn is_retryable(&self) -> bool {
        matches!(self, Self::Unavailable(_) | Self::Unknown(_))
    }
}

impl From<Status> for HaError {
    fn from(status: Status) -> Self {
        let text = status.message().to_string();
        match status.code() {
            Code::NotFound => Self::NotFound(text),
            Code::Aborted => Self::OldBoot(text),
            Code::PermissionDenied => Self::Stranger(text),
            Code::FailedPrecondition | Code::InvalidArgument | Code::AlreadyExists | Code::Unimplemented => Self::Refused(text),
            Code::DeadlineExceeded | Code::Cancelled => Self::Unknown(text),
            Code::DataLoss => Self::Garbled(text),
            // A connection that broke under a request has these codes too: whether the daemon has done it is not known.
            Code::Unknown | Code::Internal => Self::Unknown(text),
            _ => Self::Unavailable(text),
        }
    }
}

impl From<HaError> for Status {
    fn from(error: HaError) -> Self {
        let text = error.to_string();
        match error {
            HaError::Unavailable(text) => Self::unavailable(text),
            HaError::Unknown(text) => Self::deadline_exceeded(text),
            HaError::Refused(text) => Self::failed_precondition(text),
            HaError::NotFound(_) => Self::not_found(text),
            HaError::OldBoot(_) => Self::aborted(text),
            HaError::Stranger(_) => Self::permission_denied(text),
            HaError::Garbled(text) => Self::data_loss(text),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_crosses_the_wire_unchanged() {
        for error in [
            HaError::Unavailable("a".into()),
            HaError::Unknown("b".into()),
            HaError::Refused("c".into()),
            HaError::NotFound("d".into()),
            HaError::OldBoot("e".into()),
            HaError::Stranger("f".into()),
            HaError::Garbled("g".into()),
        ] {
            assert_eq!(HaError::from(Status::from(error.clone())), error);
        }
    }
}
