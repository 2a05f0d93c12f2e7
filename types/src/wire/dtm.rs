//! Messages of DTM0 between the replicas of a group. One head carries a batch of envelopes to one process, and which devices of the sending
//! process are full, with a format byte in front.
//!
//! Whatever asserts that something is durable (`Persistent`, `PeerState`) says of which boot and which incarnation, in its envelope. The
//! last variants go from group to group: the envelope's group is the receiver's.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::codec::{self, CodecError};
use crate::limits::MESSAGE_HEAD_BYTES_MAX;
use crate::record::{Position, Record, Row, RowKey, Write, writes_bytes};
use crate::{Boot, DeviceId, DtxId, Epoch, GroupId, Incarnation, Seq, ViewNumber};

/// Format of a head of envelopes that this build writes and reads: its first byte.
pub const FORMAT: u8 = 4;
/// Most envelopes in one head.
pub const ENVELOPES_MAX: usize = 4096;
/// Most devices of one process that a head names as full.
pub const FULL_MAX: usize = 1024;
/// Largest record (as [`Record::bytes`] counts) that a log takes: a head holds one with room for everything else in it.
pub const RECORD_BYTES_MAX: usize = MESSAGE_HEAD_BYTES_MAX - 256 * 1024;
/// Records in one message stop at this many bytes, unless the first alone has more: a head of a few messages stays below its limit.
pub const REDO_BYTES_MAX: usize = 512 * 1024;
/// Most records in one message.
pub const REDO_RECORDS_MAX: usize = 1024;

/// A message with its sender and receiver.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Envelope {
    /// Which group it is about.
    pub group: GroupId,
    /// The replica that sends it.
    pub from: DeviceId,
    /// The replica that is to have it.
    pub to: DeviceId,
    /// Boot of the sender's process.
    pub boot: Boot,
    /// Incarnation of the sender's device.
    pub incarnation: Incarnation,
    /// What it says.
    pub message: Message,
}

/// What one replica says to another.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Message {
    /// The primary of `view`: these records come next; also its heartbeat, then without records.
    Redo {
        /// The sender's view.
        view: ViewNumber,
        /// The primary's last seq when it made `normal` this view.
        base: Seq,
        /// Place of the record before the first of `records`.
        prev: Position,
        /// Records, dense.
        #[serde(with = "records")]
        records: Vec<Arc<Record>>,
        /// All records up to here are STABLE, and applied by the primary.
        stable: Seq,
        /// All records up to here are PERSISTENT at every participant that has not FAILED.
        all_persistent: Seq,
    },
    /// A participant: I hold all records up to `upto` as the primary of `view` does, on stable media.
    Persistent {
        /// The primary's view.
        view: ViewNumber,
        /// The sender's own `normal`; below `view` this is flow control only.
        normal: Option<ViewNumber>,
        /// Up to where.
        upto: Seq,
        /// What the sender knows to be STABLE.
        stable: Seq,
    },
    /// A participant: I do not hold the record that yours go on from.
    Gap {
        /// The primary's view.
        view: ViewNumber,
        /// The sender's own `normal`; `None` is blank: then it may have less than it once said.
        normal: Option<ViewNumber>,
        /// Go on from after here.
        last: Seq,
        /// What the sender knows to be STABLE: the logs agree up to there.
        stable: Seq,
    },
    /// A primary to be of `view`: what do you hold?
    Peer {
        /// The new view.
        view: ViewNumber,
    },
    /// Answer to `Peer`: I refuse everything below `view` from now on, and hold this.
    PeerState {
        /// The new view.
        view: ViewNumber,
        /// The view whose primary the log was last brought in line with; `None` is blank.
        normal: Option<ViewNumber>,
        /// Last record.
        last: Position,
        /// What the sender knows to be STABLE.
        stable: Seq,
    },
    /// A primary to be of `view`: give me your records after `after`.
    Fetch {
        /// The new view.
        view: ViewNumber,
        /// The last record that is not wanted.
        after: Seq,
    },
    /// Answer to `Fetch`.
    Fetched {
        /// The new view.
        view: ViewNumber,
        /// Place of the record before the first of `records`.
        prev: Position,
        /// Records, dense.
        #[serde(with = "records")]
        records: Vec<Arc<Record>>,
        /// Last record of the sender.
        last: Position,
    },
    /// The active primary of `view`: you, recovering since `epoch`, hold what was there when I learned of your return.
    End {
        /// The epoch that announced the receiver RECOVERING.
        epoch: Epoch,
        /// The sender's view.
        view: ViewNumber,
        /// The receiver's boot.
        boot: Boot,
    },
    /// The message of a view is refused.
    Refused {
        /// The view that it was of.
        view: ViewNumber,
        /// Why.
        reason: Reason,
    },
    /// A replica that lacks what was pruned to the active primary: copy the group to me.
    CopyRequest {
        /// The primary's view.
        view: ViewNumber,
    },
    /// A piece of a full copy.
    CopyPiece {
        /// The primary's view.
        view: ViewNumber,
        /// Place of the last record that the copy shows; its seq, with the sender's boot, is the copy's name.
        at: Position,
        /// Which piece, from 0.
        number: u64,
        /// Rows of all catalogues, results among them, in the order of catalogues and keys.
        rows: Vec<(RowKey, Row)>,
        /// Whether it is the last.
        end: bool,
    },
    /// A piece has been taken.
    CopyTaken {
        /// The primary's view.
        view: ViewNumber,
        /// The copy's seq.
        at: Seq,
        /// Which piece.
        number: u64,
    },
    /// The coordinating group to the primary of another: your part of a transaction.
    Part {
        /// The receiver's view as the sender knows it.
        view: ViewNumber,
        /// The part.
        part: Part,
    },
    /// The primary of a group to the coordinating one: that part is STABLE here, and applied.
    PartStable {
        /// The sender's view.
        view: ViewNumber,
        /// The sender's group.
        participant: GroupId,
        /// The transaction's seq in the coordinating group.
        seq: Seq,
    },
}

/// What one group is to do of a transaction over several.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Part {
    /// The transaction.
    pub dtx: DtxId,
    /// The coordinating group.
    pub coordinator: GroupId,
    /// The transaction's seq there, which is STABLE: with the group the name of the part.
    pub seq: Seq,
    /// All transactions that the coordinating group coordinates below this seq are done.
    pub low: Seq,
    /// The effects.
    pub writes: Vec<Write>,
}

/// Why a message is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Reason {
    /// The receiver has promised this later view.
    Superseded(ViewNumber),
    /// The receiver is blank, and the view is older than its format.
    OlderThanFormat(Epoch),
    /// This build does not do what is asked.
    Unsupported,
    /// What the receiver lacks was pruned: this is the last record of which no log is left. It needs a full copy.
    Pruned(Position),
}

impl Message {
    /// The view that the message is of.
    pub fn view(&self) -> ViewNumber {
        match self {
            Self::Redo { view, .. }
            | Self::Persistent { view, .. }
            | Self::Gap { view, .. }
            | Self::Peer { view }
            | Self::PeerState { view, .. }
            | Self::Fetch { view, .. }
            | Self::Fetched { view, .. }
            | Self::End { view, .. }
            | Self::Refused { view, .. }
            | Self::CopyRequest { view }
            | Self::CopyPiece { view, .. }
            | Self::CopyTaken { view, .. }
            | Self::Part { view, .. }
            | Self::PartStable { view, .. } => *view,
        }
    }

    /// About how many bytes it takes.
    pub fn bytes(&self) -> usize {
        const FIXED: usize = 64;
        FIXED
            + match self {
                Self::Redo { records, .. } | Self::Fetched { records, .. } => records.iter().map(|r| r.bytes()).sum(),
                Self::CopyPiece { rows, .. } => rows.iter().map(|(key, row)| row_bytes(key, row)).sum(),
                Self::Part { part, .. } => writes_bytes(&part.writes),
                _ => 0,
            }
    }
}

/// About how many bytes a row takes in a piece of a copy.
pub fn row_bytes(key: &RowKey, row: &Row) -> usize {
    key.key.len() + row.value.len() + 24
}

/// Why a head is not a batch of envelopes.
#[derive(Debug, thiserror::Error, Clone, PartialEq, Eq)]
pub enum EnvelopeError {
    /// Nothing there.
    #[error("a head without any bytes")]
    Empty,
    /// Written by another build.
    #[error("envelopes of format {0}; this build reads {FORMAT}")]
    Format(u8),
    /// Too many.
    #[error("{0} envelopes in one head, {ENVELOPES_MAX} are allowed")]
    Count(usize),
    /// Too many.
    #[error("{0} full devices of one process, {FULL_MAX} are allowed")]
    Full(usize),
    /// Does not decode.
    #[error(transparent)]
    Codec(#[from] CodecError),
}

/// What one process says to another at once.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Head {
    /// Devices of the sending process that take no more rows now: all of them, each time.
    pub full: Vec<DeviceId>,
    /// The messages.
    pub envelopes: Vec<Envelope>,
}

/// The head of a batch, a format byte in front.
pub fn encode(full: &[DeviceId], envelopes: &[Envelope]) -> Vec<u8> {
    let mut head = vec![FORMAT];
    head.extend(codec::encode(&(full, envelopes)));
    head
}

/// The inverse of [`encode`], for bytes from anybody.
pub fn decode(head: &[u8]) -> Result<Head, EnvelopeError> {
    let (full, envelopes): (Vec<DeviceId>, Vec<Envelope>) = match head.split_first() {
        None => return Err(EnvelopeError::Empty),
        Some((&FORMAT, rest)) => codec::decode(rest)?,
        Some((&other, _)) => return Err(EnvelopeError::Format(other)),
    };
    if envelopes.len() > ENVELOPES_MAX {
        return Err(EnvelopeError::Count(envelopes.len()));
    }
    if full.len() > FULL_MAX {
        return Err(EnvelopeError::Full(full.len()));
    }
    Ok(Head { full, envelopes })
}

/// Shared records as plain ones.
pub mod records {
    use super::{Arc, Record};
    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    /// Writes the records themselves.
    pub fn serialize<S: Serializer>(records: &[Arc<Record>], serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(records.iter().map(|record| &**record))
    }

    /// Reads records, each of its own.
    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<Arc<Record>>, D::Error> {
        #[derive(Deserialize, Serialize)]
        struct Plain(Vec<Record>);
        Ok(Plain::deserialize(deserializer)?.0.into_iter().map(Arc::new).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::{Coordination, Outcome};
    use crate::{CatalogueId, HaTime};

    fn envelope() -> Envelope {
        let row = RowKey { catalogue: CatalogueId(1), key: vec![1, 2] };
        let record = Record {
            seq: Seq(1),
            view: ViewNumber(3),
            at: HaTime(9),
            dtx: DtxId::default(),
            writes: vec![Write::Put { row, value: vec![7; 9] }],
            outcome: Outcome::Done { version: Seq(1), previous: vec![None], versioning: crate::object::Versioning::Off },
            coordination: Coordination::Local,
        };
        let message = Message::Redo {
            view: ViewNumber(3),
            base: Seq(0),
            prev: Position::default(),
            records: vec![Arc::new(record)],
            stable: Seq(0),
            all_persistent: Seq(0),
        };
        Envelope { group: GroupId::default(), from: DeviceId(1), to: DeviceId(2), boot: Boot(4), incarnation: Incarnation(5), message }
    }

    #[test]
    fn envelopes_survive_their_bytes() {
        let batch = vec![envelope(), Envelope { message: Message::Peer { view: ViewNumber(8) }, ..envelope() }];
        let full = vec![DeviceId(1), DeviceId(7)];
        assert_eq!(decode(&encode(&full, &batch)), Ok(Head { full, envelopes: batch }));
    }

    #[test]
    fn every_truncation_is_an_error_and_another_format_says_so() {
        let head = encode(&[DeviceId(1)], &[envelope()]);
        for cut in 0..head.len() {
            assert!(decode(&head[..cut]).is_err());
        }
        assert_eq!(decode(&[9, 0]), Err(EnvelopeError::Format(9)));
        assert_eq!(decode(&encode(&[DeviceId(1); FULL_MAX + 1], &[])), Err(EnvelopeError::Full(FULL_MAX + 1)));
    }
}
