//! What a replica wants done. The driver does it in order; what it may delay, and until when, each effect says itself.

use std::sync::Arc;

use serde::{Deserialize, Serialize};
use types::record::{Record, Row, RowKey};
use types::wire::dtm::{Envelope, Part, records};
use types::wire::request::ExecuteReply;
use types::{Boot, DeviceId, Epoch, GroupId, Incarnation, Seq, ViewNumber};

use crate::crossing::Note;
use crate::event::{ClientId, Instant};
use crate::state::ReplicaState;

/// Number of a change to the device, of one replica in one run; rises with every event that changes the device.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Ticket(pub u64);

/// One thing to do.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Effect {
    /// Put these records at the end of the log. Needs a sync.
    Append {
        /// The change's number.
        ticket: Ticket,
        /// Dense, from the log's last + 1.
        #[serde(with = "records")]
        records: Vec<Arc<Record>>,
    },
    /// Take every record above `after` out of the log. Needs a sync.
    Cut {
        /// The change's number.
        ticket: Ticket,
        /// The last record that stays.
        after: Seq,
    },
    /// Write the replica's state.
    SaveState {
        /// The change's number.
        ticket: Ticket,
        /// The state, whole.
        state: ReplicaState,
        /// Whether it needs a sync.
        sync: bool,
    },
    /// Carry out the writes of these records: every row gets the record's seq as its version. In the same batch, for each record, the row
    /// that [`crate::result_row`] gives is put, and the results rows of `dropped` are taken away. Needs no sync.
    Apply {
        /// The change's number.
        ticket: Ticket,
        /// Dense, in order.
        #[serde(with = "records")]
        records: Vec<Arc<Record>>,
        /// Results rows ([`crate::result_key`]) of these seqs fall out of the duplicates' window: first and last, empty where first > last.
        dropped: (Seq, Seq),
    },
    /// Put these rows of the machine's own, or take away those without one. In the same batch as an [`Effect::Apply`], which it follows from.
    /// Needs no sync.
    Note {
        /// The change's number.
        ticket: Ticket,
        /// The rows, in order: a later one counts.
        rows: Vec<Note>,
    },
    /// Take every record at or below `upto` out of the log. Needs no sync.
    Prune {
        /// The change's number.
        ticket: Ticket,
        /// The last record that goes.
        upto: Seq,
    },
    /// Take all rows of the group, results too, and its whole log away. Needs a sync.
    Wipe {
        /// The change's number.
        ticket: Ticket,
    },
    /// Put these rows, each as it is: a piece of a full copy. Needs no sync.
    Fill {
        /// The change's number.
        ticket: Ticket,
        /// Rows with their versions, results among them.
        rows: Vec<(RowKey, Row)>,
    },
    /// After the commit: take a snapshot of rows and state of the group for a copy to that device, in place of the one that is there for it,
    /// and hand in [`crate::Event::CopyOpened`].
    OpenCopy {
        /// Whom it is for.
        target: DeviceId,
    },
    /// After the commit: read rows from the snapshot and hand them in as [`crate::Event::CopyRead`].
    ReadCopy {
        /// Whom they are for.
        target: DeviceId,
        /// Which piece it is to be.
        number: u64,
        /// They follow this key, in the order of catalogues and keys; from the first where there is none.
        after: Option<RowKey>,
        /// So many at most.
        rows_max: usize,
        /// Stop at so many bytes, but give one row at least.
        bytes_max: usize,
    },
    /// The snapshot for that device is not needed any more.
    CloseCopy {
        /// Whom it was for.
        target: DeviceId,
    },
    /// After the commit: read records of the log and hand them in as [`crate::Event::LogRead`].
    ReadLog {
        /// Whom they are for.
        reader: Reader,
        /// First record.
        from: Seq,
        /// Last record.
        upto: Seq,
        /// Stop at so many bytes, but give one record at least.
        bytes_max: usize,
    },
    /// Send a message; where it names a ticket, only after that change is synced.
    Send {
        /// The message.
        envelope: Envelope,
        /// What it waits for.
        after: Option<Ticket>,
    },
    /// Send a part of a transaction to the primary of that group, in an envelope for it, wherever the map says that it is now; nobody, where it
    /// says that there is none. What it tells is STABLE: it waits for nothing.
    SendPart {
        /// The group that the part is for.
        group: GroupId,
        /// The part.
        part: Part,
    },
    /// Answer a client; where it names a ticket, only after that change is committed.
    Complete {
        /// Whom.
        client: ClientId,
        /// With what.
        reply: ExecuteReply,
        /// What it waits for.
        after: Option<Ticket>,
        /// The lease that lets us say so ends here: from then on the client is told `Busy` instead.
        before: Option<Instant>,
    },
    /// Tell HA, or the process.
    Report(Report),
}

impl Effect {
    /// The ticket of a change to the device.
    pub fn ticket(&self) -> Option<Ticket> {
        match self {
            Self::Append { ticket, .. }
            | Self::Cut { ticket, .. }
            | Self::SaveState { ticket, .. }
            | Self::Apply { ticket, .. }
            | Self::Note { ticket, .. }
            | Self::Prune { ticket, .. }
            | Self::Wipe { ticket }
            | Self::Fill { ticket, .. } => Some(*ticket),
            _ => None,
        }
    }

    /// Whether the batch that it goes into has to be synced.
    pub fn needs_sync(&self) -> bool {
        matches!(self, Self::Append { .. } | Self::Cut { .. } | Self::Wipe { .. } | Self::SaveState { sync: true, .. })
    }
}

/// Whom records are read from the log for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Reader {
    /// This replica's own applying.
    Apply,
    /// A peer that is behind, as the primary of that view.
    Redo(DeviceId, ViewNumber),
    /// A primary to be, of that view, that fetches.
    Fetch(DeviceId, ViewNumber),
}

/// What HA, or the process, is to know.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Report {
    /// For HA: the group is active in this view, with this replica as its primary.
    Active {
        /// The view.
        view: ViewNumber,
    },
    /// For the process: this group has its `End`. When every group of the process has one, it reports `Recovered` to HA.
    Recovered {
        /// The epoch that announced this process RECOVERING.
        epoch: Epoch,
        /// This process's boot.
        boot: Boot,
    },
    /// For HA: the device holds less than it said, in the same incarnation. It is to be failed.
    Amnesia {
        /// Which device.
        device: DeviceId,
        /// In which incarnation.
        incarnation: Incarnation,
        /// What it said it had.
        had: Seq,
        /// What it has.
        has: Seq,
    },
    /// For HA: the log cannot be kept for this device any longer, or it was to be primary and no log reaches back to what it lacks. It needs a
    /// full copy.
    NeedsCopy {
        /// Which device.
        device: DeviceId,
        /// In which incarnation.
        incarnation: Incarnation,
    },
    /// For HA: a learner counts in this view, and holds what there was when it began to. It may take a member's place.
    Filled {
        /// The view.
        view: ViewNumber,
        /// The learner.
        device: DeviceId,
        /// In which incarnation.
        incarnation: Incarnation,
    },
    /// For the log of the process: a peer's log contradicts what is STABLE here. A device lied, or this code is wrong.
    Diverged {
        /// The peer.
        device: DeviceId,
        /// The view in hand.
        view: ViewNumber,
        /// Where.
        seq: Seq,
    },
}
