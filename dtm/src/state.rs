//! What a replica keeps of itself on its device, beside log, rows and results. Format: `docs/formats/dtm-log.md`.

use serde::{Deserialize, Serialize};
use types::codec;
use types::record::Position;
use types::{Seq, ViewNumber};

use crate::error::DtmError;

/// Format that this build writes: the first byte.
pub const FORMAT: u8 = 1;

/// The replica state of one group on one device.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct ReplicaState {
    /// No view below this one is listened to.
    pub promised: ViewNumber,
    /// The log has been brought in line with the primary of this view at least; `None` is blank: the replica does not count.
    pub normal: Option<ViewNumber>,
    /// Place of the last record that was pruned; zero where none was.
    pub floor: Position,
    /// The last record of the log when the state was written; the log itself may have more, never less unless it was cut.
    pub last: Seq,
    /// Known to be STABLE up to here; may lag.
    pub stable: Seq,
    /// The rows show the records up to here; may lag after a crash, with the rows.
    pub applied: Seq,
    /// Whether a full copy is in progress: then nothing but its end, or a wipe, is possible.
    pub copying: bool,
}

impl ReplicaState {
    /// Its bytes, a format byte in front.
    pub fn encode(&self) -> Vec<u8> {
        let mut out = vec![FORMAT];
        out.extend(codec::encode(self));
        out
    }

    /// The inverse.
    pub fn decode(bytes: &[u8]) -> Result<Self, DtmError> {
        match bytes.split_first() {
            Some((&FORMAT, rest)) => Ok(codec::decode(rest)?),
            Some((&other, _)) => Err(DtmError::StateFormat(other)),
            None => Err(DtmError::StateEmpty),
        }
    }
}
