//! Uploads in parts: what lies beside an object's record until its parts become an object, or nothing.
//!
//! ```text
//!            PutPart                CompleteUpload, EndUpload            the sweep
//!   Open ─────────────► Open ─────────────────────────────► Ended ─────────────► no rows
//! ```
//! Each part put writes the upload's row anew, so that its version stands for all its parts: a completion is bound to the version it has
//! looked at. What an upload that has ended kept is the object's; its other parts are nobody's, and the sweep makes their fids dead.

use serde::{Deserialize, Serialize};

use crate::object::{Part, RowError, from_versioned, versioned};
use crate::{Fid, HaTime};

/// Bytes of an upload's id.
pub const UPLOAD_ID_BYTES: usize = 16;

/// Which upload of a name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct UploadId(pub [u8; UPLOAD_ID_BYTES]);

/// Where an upload stands.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum UploadState {
    /// It takes parts.
    Open,
    /// It was completed or given up: its rows are to be taken away.
    Ended {
        /// Numbers of the parts whose fids the object has, in order.
        kept: Vec<u16>,
    },
}

/// An upload.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct UploadRow {
    /// Wall clock of who began it, in milliseconds since 1970: data, never a decision.
    pub began_ms: u64,
    /// The user's own words about the object to be.
    pub user_metadata: Vec<(String, String)>,
    /// Where it stands.
    pub state: UploadState,
}

/// A part of an upload.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PartRow {
    /// Bytes in it, as they lie.
    pub size: u64,
    /// CRC32C of all of them.
    pub checksum: u32,
    /// Wall clock of its writer, in milliseconds since 1970.
    pub modified_ms: u64,
    /// Where its bytes lie, with offsets from its own begin.
    pub runs: Vec<Part>,
    /// Words about it.
    pub user_metadata: Vec<(String, String)>,
}

/// Fids that nothing refers to, too many to have a dead row each at once.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RetiredRow {
    /// `at` of the record that made them dead.
    pub since: HaTime,
    /// Those that have no dead row yet.
    pub fids: Vec<Fid>,
}

impl UploadRow {
    /// The value of the row.
    pub fn to_value(&self) -> Vec<u8> {
        versioned(self)
    }

    /// The inverse.
    pub fn from_value(value: &[u8]) -> Result<Self, RowError> {
        from_versioned(value)
    }
}

impl PartRow {
    /// The fids that hold its bytes.
    pub fn fids(&self) -> impl Iterator<Item = Fid> + '_ {
        self.runs.iter().map(|run| run.fid)
    }

    /// The value of the row.
    pub fn to_value(&self) -> Vec<u8> {
        versioned(self)
    }

    /// The inverse.
    pub fn from_value(value: &[u8]) -> Result<Self, RowError> {
        from_versioned(value)
    }
}

impl RetiredRow {
    /// The value of the row.
    pub fn to_value(&self) -> Vec<u8> {
        versioned(self)
    }

    /// The inverse.
    pub fn from_value(value: &[u8]) -> Result<Self, RowError> {
        from_versioned(value)
    }
}
