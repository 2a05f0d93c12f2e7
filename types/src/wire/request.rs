//! What clients ask of storage processes, and what they are told.

use serde::{Deserialize, Serialize};

use crate::event::Cause;
use crate::ops::{Op, OpsError};
use crate::record::{Outcome, Row, RowKey, Write};
use crate::scrub::{RebuildProgress, ScrubProgress};
use crate::{CatalogueId, DeviceId, DtxId, Epoch, Fid, GroupId, HaTime, Seq, SessionId, ViewNumber};

/// A refusal that every request may get instead of its answer.
#[derive(Debug, thiserror::Error, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Refusal {
    /// The sender's view of the group is not the receiver's, or the receiver is not its active primary. The sender fetches the map as of
    /// `epoch` at least and tries again, with the same dtx id.
    #[error("the group's view is {current} here (epoch {epoch})")]
    WrongView {
        /// The view that the receiver knows.
        current: ViewNumber,
        /// The epoch that the receiver knows.
        epoch: Epoch,
    },
    /// The receiver cannot serve now, and may soon: no lease, not active yet, recovering, queue full. Try again after a pause.
    #[error("not now: {0}")]
    Busy(String),
    /// The transaction may or may not have happened, and nobody can tell any more. Read before you go on.
    #[error("the outcome of the transaction is unknown: its id is older than the duplicates' window")]
    OutcomeUnknown,
    /// The group or device is not here, or the request makes no sense. Trying again does not help.
    #[error("refused: {0}")]
    Invalid(String),
    /// A transaction out of bounds.
    #[error(transparent)]
    Ops(#[from] OpsError),
    /// No room; deletes and reads still work.
    #[error("device {0} is full")]
    Full(DeviceId),
    /// The device failed at it; HA has been told.
    #[error("device {device} failed: {reason}")]
    Device {
        /// Which device.
        device: DeviceId,
        /// What it did.
        reason: String,
    },
    /// What lies on the device is not what was written; HA has been told.
    #[error("unit {unit} of {fid} on {device} is corrupt in chunk {chunk}")]
    Corrupt {
        /// Which device.
        device: DeviceId,
        /// Which chunk of an object.
        fid: Fid,
        /// Which unit.
        unit: u32,
        /// Which 64 KiB of it.
        chunk: u32,
    },
    /// No such unit on this device.
    #[error("unit {unit} of {fid} is not on {device}")]
    NoUnit {
        /// Which device.
        device: DeviceId,
        /// Which chunk of an object.
        fid: Fid,
        /// Which unit.
        unit: u32,
    },
    /// The writer's session is closed, or the fid is dead: the write must not happen any more.
    #[error("session {0} is closed or the fid is dead")]
    Fenced(SessionId),
    /// The bucket or index was dropped.
    #[error("{0} was dropped")]
    Gone(CatalogueId),
    /// The transaction was under way, or done, when the receiver lost the right to answer it: unlike after every other refusal it may happen
    /// yet, or have happened. Who asks again with the same dtx id is told the outcome; who cannot does not know it.
    #[error("under way, and not answered: {reason}")]
    InDoubt {
        /// Why there is no answer.
        reason: String,
        /// The epoch that the receiver knows.
        epoch: Epoch,
    },
}

/// A transaction, for the primary of the group that decides it: its only one, or the one that coordinates.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Execute {
    /// Which group.
    pub group: GroupId,
    /// The view that the client believes in.
    pub view: ViewNumber,
    /// Its name.
    pub dtx: DtxId,
    /// What it does in that group. Whatever conditions it has are here.
    pub ops: Vec<Op>,
    /// What it does in others, a part a group: with all of `ops`, or not at all.
    pub parts: Vec<(GroupId, Vec<Write>)>,
    /// By what, for those who are told of it.
    pub cause: Cause,
}

/// Answer to [`Execute`], only once the record is STABLE, and every part.
pub type ExecuteReply = Result<Outcome, Refusal>;

/// Rows of one group, from its primary; linearizable.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Read {
    /// Which group.
    pub group: GroupId,
    /// The view that the client believes in.
    pub view: ViewNumber,
    /// Which rows.
    pub rows: Vec<RowKey>,
}

/// Answer to [`Read`]: an entry a row.
pub type ReadReply = Result<Vec<Option<Row>>, Refusal>;

/// Up to where a member has to have applied a group's log, to serve a read that is asked for now: what the group's primary answers has been
/// told to somebody, or will be.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReadPoint {
    /// Which group.
    pub group: GroupId,
    /// The view that the client believes in.
    pub view: ViewNumber,
}

/// Answer to [`ReadPoint`].
pub type ReadPointReply = Result<Seq, Refusal>;

/// Rows of one group, from any member that has applied its log up to a point; linearizable for each row, if the point was asked for after the
/// read began. Answered by a [`ReadReply`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReadNear {
    /// Which group.
    pub group: GroupId,
    /// Which of its members.
    pub device: DeviceId,
    /// The point.
    pub point: Seq,
    /// Which rows.
    pub rows: Vec<RowKey>,
}

/// A page of a catalogue, from the primary of some of its groups. Only keys of the kind of `from` are returned.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Scan {
    /// Groups whose primary is on the asked node, with the view that the client believes in.
    pub groups: Vec<(GroupId, ViewNumber)>,
    /// Which catalogue.
    pub catalogue: CatalogueId,
    /// Keys at or after this one, kind byte included.
    #[serde(with = "crate::codec::bytes")]
    pub from: Vec<u8>,
    /// Keys that begin so, kind byte included.
    #[serde(with = "crate::codec::bytes")]
    pub prefix: Vec<u8>,
    /// At most so many ([`crate::limits::SCAN_KEYS_MAX`]).
    pub limit: u32,
    /// Whether values are wanted.
    pub values: bool,
}

/// One row of a page.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ScanRow {
    /// Its key, kind byte included.
    #[serde(with = "crate::codec::bytes")]
    pub key: Vec<u8>,
    /// Its version and, where asked for, its value (else empty).
    pub row: Row,
}

/// Answer to [`Scan`].
pub type ScanReply = Result<ScanPage, Refusal>;

/// A page: the first keys of the merge of the groups asked for, in order.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ScanPage {
    /// The rows.
    pub rows: Vec<ScanRow>,
    /// Whether these groups have more after the last row.
    pub more: bool,
}

/// One unit of a stripe: its data is lent, `length` bytes of it count.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct WriteUnit {
    /// Where it is to go: the device that fills `slot` of the fid's group in `view`.
    pub device: DeviceId,
    /// The view of the group that the writer believes in.
    pub view: ViewNumber,
    /// What it is.
    pub unit: UnitInfo,
    /// CRC32C of each chunk, seeded, made by the client.
    pub checksums: Vec<u32>,
}

/// What a unit says of itself: enough to rebuild a device's index from its blocks alone.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct UnitInfo {
    /// The chunk of an object that it is a piece of; its group and its writer's session are in it.
    pub fid: Fid,
    /// Its number: `stripe * (N + K) + slot`.
    pub unit: u32,
    /// Data units in a stripe.
    pub data: u8,
    /// Parity units in a stripe.
    pub parity: u8,
    /// Bytes of a full unit of this fid.
    pub unit_bytes: u32,
    /// Bytes of this unit, a multiple of a block.
    pub length: u32,
    /// The catalogue of the object.
    pub catalogue: CatalogueId,
    /// Routing hash of the object's name.
    pub routing: u64,
}

impl UnitInfo {
    /// The slot of the group that the unit belongs to.
    pub fn slot(&self) -> usize {
        let width = u32::from(self.data) + u32::from(self.parity);
        (self.unit % width.max(1)) as usize
    }
}

/// Answer to what changes units.
pub type UnitReply = Result<(), Refusal>;

/// A range of a unit; the bytes are pushed into the room that is lent.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReadUnit {
    /// From which device.
    pub device: DeviceId,
    /// Which chunk of an object.
    pub fid: Fid,
    /// Which unit.
    pub unit: u32,
    /// First byte; a multiple of [`crate::limits::CHUNK_BYTES`].
    pub offset: u32,
    /// How many; ends at a chunk's end or the unit's.
    pub length: u32,
}

/// Answer to [`ReadUnit`]: the seeded checksums of the chunks that were pushed.
pub type ReadUnitReply = Result<Vec<u32>, Refusal>;

/// All units of dead fids on one device.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeleteUnits {
    /// On which device.
    pub device: DeviceId,
    /// Which chunks.
    pub fids: Vec<Fid>,
    /// The device first takes in HA's log up to here.
    pub epoch: Epoch,
}

/// Units of a group on one device, a page of them, for whoever fills another slot of the group.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ListUnits {
    /// On which device.
    pub device: DeviceId,
    /// Of which group.
    pub group: GroupId,
    /// The device lists only once it refuses writes below this view, and those that it had admitted are over.
    pub view: ViewNumber,
    /// After this unit, or from the first.
    pub after: Option<(Fid, u32)>,
    /// At most so many ([`crate::limits::SCAN_KEYS_MAX`]).
    pub limit: u32,
}

/// Answer to [`ListUnits`], in order; the last page is empty.
pub type ListUnitsReply = Result<Vec<UnitInfo>, Refusal>;

/// How full the devices of a process are.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Usage;

/// Answer to [`Usage`].
pub type UsageReply = Result<Vec<DeviceUsage>, Refusal>;

/// How full one device is, and what goes on behind its clients.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeviceUsage {
    /// Which device.
    pub device: DeviceId,
    /// Bytes for units, in all.
    pub bytes: u64,
    /// Bytes free of them.
    pub free: u64,
    /// Bytes of metadata.
    pub meta_bytes: u64,
    /// Units.
    pub units: u64,
    /// How far its scrub is.
    pub scrub: ScrubProgress,
    /// What it has rebuilt.
    pub rebuild: RebuildProgress,
    /// Transactions over several groups that are not done, by its replicas of the groups that coordinate them.
    pub unfinished: u64,
}

/// What a client knows of time, for dtx ids: HA time, extended by its own monotonic clock.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ticket {
    /// The client's session.
    pub session: SessionId,
    /// HA time when the ticket was issued.
    pub at: HaTime,
}
