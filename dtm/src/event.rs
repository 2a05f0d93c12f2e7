//! What a replica is told. Closed and encodable: a run is a file of events that can be replayed.

use std::sync::Arc;

use serde::{Deserialize, Serialize};
use types::ops::Op;
use types::record::{Record, Row, RowKey, Write};
use types::wire::dtm::{Envelope, records};
use types::{DeviceId, DtxId, Epoch, GroupId, HaTime, Seq, ViewNumber};

use crate::effect::{Reader, Ticket};
use crate::placement::Placement;

/// Milliseconds of the driver's monotonic clock, from wherever it begins.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Instant(pub u64);

impl Instant {
    /// So many milliseconds later.
    #[must_use]
    pub const fn after_ms(self, ms: u64) -> Self {
        Self(self.0.saturating_add(ms))
    }
}

/// The driver's name for a call of a client that waits for its answer; unique in the process.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct ClientId(pub u64);

/// One thing that happened.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Event {
    /// HA's log is taken in up to `epoch` of it, and this is what it says of the group.
    Placement(Box<Placement>),
    /// HA's log is taken in up to here, and nothing of the group has changed.
    Epoch(Epoch),
    /// The process's lease was renewed.
    Lease(Lease),
    /// A peer says something.
    Message(Envelope),
    /// A client wants a transaction.
    Execute(Execute),
    /// Every device effect up to this ticket is committed: what is read from the device shows it. Not yet safe from a crash.
    Committed(Ticket),
    /// Every device effect up to this ticket is on stable media.
    Persisted(Ticket),
    /// Answer to [`crate::Effect::ReadLog`]: records from there on, dense, at least one of them unless the log has none.
    LogRead {
        /// Whom it was read for.
        reader: Reader,
        /// Seq of the first that was asked for.
        from: Seq,
        /// The records.
        #[serde(with = "records")]
        records: Vec<Arc<Record>>,
    },
    /// Answer to [`crate::Effect::OpenCopy`].
    CopyOpened {
        /// Whom the snapshot is for.
        target: DeviceId,
        /// The rows in it show the records up to here: what the replica's state *in the snapshot* says.
        applied: Seq,
    },
    /// Answer to [`crate::Effect::ReadCopy`].
    CopyRead {
        /// Whom the rows are for.
        target: DeviceId,
        /// Which piece they are.
        number: u64,
        /// The rows.
        rows: Vec<(RowKey, Row)>,
        /// Whether none follows.
        end: bool,
    },
    /// All events that were ready have been handed in: say what is to be said once for all of them.
    Flush,
    /// Time has passed: [`crate::Replica::next_deadline`] is over.
    Tick,
}

/// The process's lease.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Lease {
    /// It ends here: `L(1-ρ)/(1+ρ)` after its renewal was *sent*, on the holder's own clock.
    pub until: Instant,
    /// It counts only once HA's log is taken in up to here.
    pub epoch: Epoch,
    /// HA time now.
    pub ha_time: HaTime,
}

/// A client's transaction, with what the device holds of the rows that decide it.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Execute {
    /// Who waits.
    pub client: ClientId,
    /// The view that the client believes in.
    pub view: ViewNumber,
    /// The transaction's name.
    pub dtx: DtxId,
    /// What it does.
    pub ops: Vec<Op>,
    /// What it does in other groups.
    pub parts: Vec<(GroupId, Vec<Write>)>,
    /// The rows that [`Op::rows`] names, as the device holds them *in this turn of the driver's loop*: not older than the last `Committed`
    /// or `Persisted` that was handed in. Rows that are not there are left out.
    pub rows: Vec<(RowKey, Row)>,
}
