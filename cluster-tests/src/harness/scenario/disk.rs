//! What a disk of a scenario does wrong.

use serde::Deserialize;

/// Calls of a disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum DiskCall {
    /// Making durable what was written.
    Sync,
    /// Writing.
    Write,
    /// Reading.
    Read,
}

/// What a disk does wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum DiskError {
    /// EIO.
    Io,
    /// ENOSPC.
    Full,
    /// It says that it is done, and does nothing.
    Lie,
    /// It takes its time.
    Slow,
    /// The process ends as it begins a sync, and of what it has written before only some sectors are there: as after a power cut.
    Tear,
}

impl DiskError {
    /// Its word.
    pub fn word(self) -> &'static str {
        match self {
            Self::Io => "io",
            Self::Full => "full",
            Self::Lie => "lie",
            Self::Slow => "slow",
            Self::Tear => "tear",
        }
    }
}

impl DiskCall {
    /// Its word.
    pub fn word(self) -> &'static str {
        match self {
            Self::Sync => "sync",
            Self::Write => "write",
            Self::Read => "read",
        }
    }
}
