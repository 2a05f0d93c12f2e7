//! The record of the DTM0 log: what REDO carries, what every replica applies, and what a client is told of it.

use serde::{Deserialize, Serialize};

use crate::object::Versioning;
use crate::{CatalogueId, DtxId, GroupId, HaTime, Seq, Version, ViewNumber};

/// The name of a row: keys are unique in their catalogue.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct RowKey {
    /// Which catalogue.
    pub catalogue: CatalogueId,
    /// Which key in it, with its kind byte ([`crate::keys`]).
    #[serde(with = "crate::codec::bytes")]
    pub key: Vec<u8>,
}

/// A row as it is now.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Row {
    /// The record that wrote it.
    pub version: Version,
    /// What it holds.
    #[serde(with = "crate::codec::bytes")]
    pub value: Vec<u8>,
}

/// One effect of a record. Unconditional: what was to be decided was decided by the originator.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Write {
    /// The row is this value now, at the record's seq.
    Put {
        /// Which row.
        row: RowKey,
        /// Its value.
        #[serde(with = "crate::codec::bytes")]
        value: Vec<u8>,
    },
    /// The row is gone.
    Delete {
        /// Which row.
        row: RowKey,
    },
}

impl Write {
    /// Which row it is about.
    pub fn row(&self) -> &RowKey {
        match self {
            Self::Put { row, .. } | Self::Delete { row } => row,
        }
    }
}

/// The outcome of a transaction, the same on every replica; kept for the duplicates' window.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Outcome {
    /// All of it happened, at this version.
    Done {
        /// The record's seq.
        version: Version,
        /// The versions that its rows had before, an entry an operation that writes; `None` where the row was not there.
        previous: Vec<Option<Version>>,
        /// What the bucket does with versions, where objects were written or deleted.
        versioning: Versioning,
    },
    /// None of it happened: a condition did not hold.
    Refused {
        /// Which operation, from 0.
        op: u32,
        /// The version that the row has; `None` where it is not there.
        current: Option<Version>,
    },
}

/// The place of a transaction over several groups in the log of one of them (`dtm.md`, "Transactions over several groups").
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Coordination {
    /// A transaction of this group alone.
    #[default]
    Local,
    /// This group coordinates: the parts of the other groups.
    Coordinator {
        /// Group and effects of each part.
        parts: Vec<(GroupId, Vec<Write>)>,
    },
    /// A part that another group coordinates.
    Part {
        /// The coordinating group.
        coordinator: GroupId,
        /// The seq of the transaction there.
        seq: Seq,
        /// All transactions that the coordinating group coordinates below this seq are done.
        low: Seq,
    },
    /// All parts of the transaction at `seq` of this group are STABLE.
    Done {
        /// Which transaction of this log.
        seq: Seq,
    },
}

/// A record of a group's log.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Record {
    /// Its place, dense from 1.
    pub seq: Seq,
    /// The view whose primary gave it the place.
    pub view: ViewNumber,
    /// `max(HA time, at of the record before)`.
    pub at: HaTime,
    /// Which transaction.
    pub dtx: DtxId,
    /// What it does to the rows.
    pub writes: Vec<Write>,
    /// What the client is told.
    pub outcome: Outcome,
    /// Its place in a transaction over several groups.
    pub coordination: Coordination,
}

/// Place of a record in a log: two logs that hold the same position agree up to it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Position {
    /// Its seq.
    pub seq: Seq,
    /// Its view.
    pub view: ViewNumber,
}

impl Record {
    /// Where it stands.
    pub fn position(&self) -> Position {
        Position { seq: self.seq, view: self.view }
    }

    /// About how many bytes it takes in a message or on a device.
    pub fn bytes(&self) -> usize {
        let parts = match &self.coordination {
            Coordination::Coordinator { parts } => parts.iter().map(|(_, writes)| writes_bytes(writes)).sum(),
            _ => 0,
        };
        64 + writes_bytes(&self.writes) + parts
    }
}

/// About how many bytes these take in a message or on a device.
pub fn writes_bytes(writes: &[Write]) -> usize {
    let of = |write: &Write| match write {
        Write::Put { row, value } => row.key.len() + value.len() + 24,
        Write::Delete { row } => row.key.len() + 16,
    };
    writes.iter().map(of).sum()
}
