//! What clients did and saw: the one form of history that every checker of linearizability reads.
//!
//! Moments are numbers that grow; an operation is before another where its return is smaller than the other's call.

use serde::{Deserialize, Serialize};

/// A moment.
pub type Moment = u64;

/// A value that a row was given. Every write of a history writes another one; 0 is never written.
pub type Value = u64;

/// What has to be true of the row for a write to happen.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Condition {
    /// Nothing.
    Always,
    /// The row is not there.
    Absent,
    /// The row is there.
    Present,
    /// The row holds this value.
    Is(Value),
}

/// What a client asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Action {
    /// What does the row hold?
    Read,
    /// Let the row hold this.
    Put(Value, Condition),
    /// Let the row be gone.
    Delete(Condition),
}

/// What a client was told.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Answer {
    /// Nothing, or that nobody knows: it may have happened, or may yet.
    Unknown,
    /// It never happened and never will.
    Never,
    /// The row's value, to a read.
    Read(Option<Value>),
    /// A write happened; the row held this before, where that was told.
    Done(Option<Option<Value>>),
    /// The condition did not hold; the row held this, where that was told.
    Refused(Option<Option<Value>>),
}

/// One operation of a client on one row.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Operation {
    /// Whose.
    pub client: u32,
    /// On which row.
    pub row: u64,
    /// When it was asked.
    pub call: Moment,
    /// When it was answered; `Moment::MAX` where it was not.
    pub ret: Moment,
    /// What was asked.
    pub action: Action,
    /// What was answered.
    pub answer: Answer,
}

/// The operations of each row, in the order of their calls.
pub fn by_row(history: &[Operation]) -> Vec<Vec<Operation>> {
    let mut rows: std::collections::BTreeMap<u64, Vec<Operation>> = std::collections::BTreeMap::new();
    for operation in history {
        rows.entry(operation.row).or_default().push(*operation);
    }
    rows.into_values()
        .map(|mut operations| {
            operations.sort_by_key(|operation| operation.call);
            operations
        })
        .collect()
}
