//! What can go wrong between two processes, with what was tried.

use types::wire::Operation;

/// Why a call, a post or an endpoint failed.
#[derive(Debug, Clone, thiserror::Error, PartialEq, Eq)]
pub enum NetError {
    /// No link to the peer could be made: the request was not sent.
    #[error("{peer} cannot be reached: {reason}")]
    Unreachable {
        /// Its address.
        peer: String,
        /// What was tried and what came of it.
        reason: String,
    },
    /// The link to the peer ended while the request was under way: it may or may not have been carried out.
    #[error("the link to {peer} ended: {reason}")]
    Disconnected {
        /// Its address.
        peer: String,
        /// What ended it.
        reason: String,
    },
    /// No answer before the deadline: the request may or may not have been carried out.
    #[error("{operation:?} at {peer} was not answered in time")]
    TimedOut {
        /// Its address.
        peer: String,
        /// What was asked.
        operation: Operation,
    },
    /// A bound is reached: nothing was sent. Try again after a pause.
    #[error("too much is under way: {0}")]
    Busy(String),
    /// At that address is somebody else than the caller expects: an older or newer start, or another node.
    #[error("{peer} is {found}, not {expected}")]
    WrongPeer {
        /// Its address.
        peer: String,
        /// Whom the caller expects.
        expected: String,
        /// Who answered.
        found: String,
    },
    /// The server has no answer: it refused the message or gave it up.
    #[error("{peer} has no answer: {reason}")]
    NoAnswer {
        /// Its address.
        peer: String,
        /// What it says.
        reason: String,
    },
    /// Something is larger than allowed: nothing was sent.
    #[error("{what} of {bytes} bytes is larger than {max}")]
    TooLarge {
        /// What.
        what: &'static str,
        /// How large it is.
        bytes: usize,
        /// How large it may be.
        max: usize,
    },
    /// The caller of a request that is being served is gone or gave up: its lent memory must not be touched.
    #[error("the caller is gone or gave up")]
    CallerGone,
    /// A server pulls or pushes what was not lent so.
    #[error("the request did not lend that: {0}")]
    NotLent(&'static str),
    /// The endpoint is closed.
    #[error("the endpoint is closed")]
    Closed,
    /// The configuration cannot be used.
    #[error("configuration: {0}")]
    Config(String),
    /// libfabric, or the system below it, failed where it should not.
    #[error("{call} failed: {reason}")]
    Fabric {
        /// The function.
        call: &'static str,
        /// What it said.
        reason: String,
    },
}

impl NetError {
    /// Whether the request certainly never reached the server's code.
    pub fn is_not_sent(&self) -> bool {
        matches!(
            self,
            Self::Unreachable { .. } | Self::Busy(_) | Self::WrongPeer { .. } | Self::TooLarge { .. } | Self::Closed | Self::Config(_)
        )
    }
}
