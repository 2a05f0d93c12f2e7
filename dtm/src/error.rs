//! Why a replica cannot be brought back from its device.

use types::Seq;
use types::codec::CodecError;

/// What is wrong with what lies on the device.
#[derive(Debug, thiserror::Error, Clone, PartialEq, Eq)]
pub enum DtmError {
    /// Nothing there.
    #[error("the replica state has no bytes")]
    StateEmpty,
    /// Written by a newer build.
    #[error("the replica state has format {0}; this build reads {format}: upgrade it", format = crate::state::FORMAT)]
    StateFormat(u8),
    /// A result written by a newer build.
    #[error("a result has format {0}; this build reads {format}: upgrade it", format = crate::results::FORMAT)]
    ResultFormat(u8),
    /// A result's row is not one.
    #[error("the results row after {0} is not one")]
    ResultRow(Seq),
    /// A row of [`crate::crossing`] is not one.
    #[error("a row that record {0} left of transactions over several groups is not one")]
    CrossingRow(Seq),
    /// Does not decode.
    #[error(transparent)]
    Codec(#[from] CodecError),
    /// The log has a hole, or begins elsewhere than the state says.
    #[error("the log has {found} where {expected} was to come")]
    Hole {
        /// Which record was to come.
        expected: Seq,
        /// Which came.
        found: Seq,
    },
    /// The log ends before what the state counts on.
    #[error("the log ends at {last}, the state counts on {needed}")]
    Short {
        /// The log's last record.
        last: Seq,
        /// What the state says.
        needed: Seq,
    },
    /// A view in the log is above the promise, or below the one of the record before.
    #[error("record {0} is of a view that cannot be there")]
    View(Seq),
}
