//! What a device says of its work behind the clients: how far it is with reading everything that lies on it and what that found, and with
//! rebuilding what it lacks.

use serde::{Deserialize, Serialize};

use crate::HaTime;

/// The pass that is under way, or else the last one.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ScrubProgress {
    /// Whether a pass is under way.
    pub running: bool,
    /// HA time when the pass began; 0 before the first.
    pub begun: HaTime,
    /// HA time when the last whole pass ended; 0 before the first did.
    pub ended: HaTime,
    /// Units read.
    pub units: u64,
    /// Bytes read, of units and of metadata.
    pub bytes: u64,
    /// Rows, records of logs and other entries of the metadata that were read.
    pub rows: u64,
    /// Units that were damaged.
    pub damaged: u64,
    /// Of those: written anew, or gone by now.
    pub repaired: u64,
    /// Entries of the metadata that were damaged.
    pub rows_damaged: u64,
}

impl ScrubProgress {
    /// What was found and is still as it was found.
    pub fn left(&self) -> u64 {
        self.damaged.saturating_sub(self.repaired) + self.rows_damaged
    }
}

/// Units that were rebuilt on a device since its process started.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct RebuildProgress {
    /// Units rebuilt.
    pub units: u64,
    /// Bytes of them.
    pub bytes: u64,
    /// Bytes in a second, of late; 0 while nothing is rebuilt.
    pub bytes_per_second: u64,
    /// Units that could not be rebuilt at the last try: too few others of their stripes are there now.
    pub waiting: u64,
    /// Units that cannot be rebuilt: too few others of their stripes are anywhere.
    pub lost: u64,
}
