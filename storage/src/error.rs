//! What can go wrong on a device, with the object in it.
//!
//! Three kinds: a request that cannot be served (the device goes on), a device that does not open (nothing is touched), and a device that
//! has failed: [`StorageError::Failed`] is the answer to every change from then on.

use types::wire::request::Refusal;
use types::{ClusterId, DeviceId, Fid};

/// Why a device did not do what it was asked.
#[derive(Debug, Clone, thiserror::Error, PartialEq, Eq)]
pub enum StorageError {
    /// No room; nothing was changed. Deletes and reads still work.
    #[error("the device is full: {0}")]
    Full(String),
    /// The fid is dead or its session closed: the unit must not be written any more.
    #[error("{0} is dead or its session is closed")]
    Fenced(Fid),
    /// There is no such unit here.
    #[error("unit {unit} of {fid} is not here")]
    NoUnit {
        /// Which chunk of an object.
        fid: Fid,
        /// Which unit.
        unit: u32,
    },
    /// What lies there is not what was written.
    #[error("unit {unit} of {fid} is corrupt in chunk {chunk}")]
    Corrupt {
        /// Which chunk of an object.
        fid: Fid,
        /// Which unit.
        unit: u32,
        /// Which 64 KiB of it; 0 also where its header is damaged.
        chunk: u32,
    },
    /// The unit is there already, with another content. Units are written once.
    #[error("unit {unit} of {fid} is here already, with another content")]
    Conflict {
        /// Which chunk of an object.
        fid: Fid,
        /// Which unit.
        unit: u32,
    },
    /// The data that was handed in does not have the checksum that came with it.
    #[error("chunk {chunk} of unit {unit} of {fid} was damaged before it came here")]
    BadChecksum {
        /// Which chunk of an object.
        fid: Fid,
        /// Which unit.
        unit: u32,
        /// Which 64 KiB of it.
        chunk: u32,
    },
    /// The request makes no sense.
    #[error("refused: {0}")]
    Invalid(String),
    /// The data file failed at it; this request ends with it, others go on.
    #[error("{what}: {reason}")]
    Io {
        /// What was tried.
        what: String,
        /// What the system says.
        reason: String,
    },
    /// A metadata write or a sync failed: the device takes no more changes in this incarnation.
    #[error("the device has failed: {0}")]
    Failed(String),
    /// A row, record or state that was read back is not what was written.
    #[error("metadata is damaged: {0}")]
    Damaged(String),
    /// No device was ever formatted here, or its formatting did not end.
    #[error("{0} is not a formatted device")]
    NotFormatted(String),
    /// A device lies here already, or something else.
    #[error("{0} is not empty")]
    NotEmpty(String),
    /// The device belongs to another cluster.
    #[error("the device belongs to cluster {found}, not to {expected}")]
    WrongCluster {
        /// Whose it is.
        found: ClusterId,
        /// Who asks.
        expected: ClusterId,
    },
    /// Another device lies here: a disk in the wrong slot.
    #[error("here lies {found}, not {expected}")]
    WrongDevice {
        /// Which it is.
        found: DeviceId,
        /// Which is asked for.
        expected: DeviceId,
    },
    /// A newer software wrote the device.
    #[error("the device has format {found}, this software knows formats up to {known}")]
    NewerFormat {
        /// Its format version.
        found: u32,
        /// Ours.
        known: u32,
    },
    /// The device uses a feature that this software does not have.
    #[error("the device uses features {0:#x} that this software does not know")]
    UnknownFeatures(u64),
    /// Another process works on the device.
    #[error("{0} is in use by another process")]
    InUse(String),
}

impl StorageError {
    /// What tells HA of the device: an error of the device, not of the request.
    pub fn is_device_fault(&self) -> bool {
        matches!(self, Self::Corrupt { .. } | Self::Io { .. } | Self::Failed(_) | Self::Damaged(_))
    }

    /// What the client of `device` is told.
    pub fn refusal(&self, device: DeviceId) -> Refusal {
        match self {
            Self::Full(_) => Refusal::Full(device),
            Self::Fenced(fid) => Refusal::Fenced(fid.session),
            Self::NoUnit { fid, unit } => Refusal::NoUnit { device, fid: *fid, unit: *unit },
            Self::Corrupt { fid, unit, chunk } => Refusal::Corrupt { device, fid: *fid, unit: *unit, chunk: *chunk },
            Self::BadChecksum { .. } => Refusal::Busy(self.to_string()),
            Self::Conflict { .. } | Self::Invalid(_) => Refusal::Invalid(self.to_string()),
            _ => Refusal::Device { device, reason: self.to_string() },
        }
    }

    pub(crate) fn io(what: impl Into<String>, error: &std::io::Error) -> Self {
        Self::Io { what: what.into(), reason: error.to_string() }
    }
}
