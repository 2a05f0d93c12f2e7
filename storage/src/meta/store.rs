//! The narrow trait between what a device keeps in metadata and where it keeps it: RocksDB ([`super::rocks`]) or, for simulation, memory
//! with a durable image ([`super::memory`]).
//!
//! An implementation guarantees: a batch is seen whole or not at all, also after a crash; batches become durable in the order in which
//! they were written; after a `write` with `sync` that ended well, that batch and all before it survive any crash.

use std::ops::ControlFlow;

use crate::StorageError;

/// The column families of a device, numbered for life.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum Family {
    /// Records of the units: `(fid, unit)`.
    Units = 0,
    /// Rows of the catalogues: `(group, catalogue, key)`.
    Catalogues = 1,
    /// Records of the logs: `(group, seq)`.
    Log = 2,
    /// Replica states: `(group)`.
    State = 3,
    /// Of the device itself: markers of dead fids, views of its groups.
    Device = 4,
}

impl Family {
    /// All of them.
    pub const ALL: [Self; 5] = [Self::Units, Self::Catalogues, Self::Log, Self::State, Self::Device];

    /// Its name in RocksDB.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Units => "units",
            Self::Catalogues => "catalogues",
            Self::Log => "dtm_log",
            Self::State => "dtm_state",
            Self::Device => "device",
        }
    }
}

/// One change.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    /// The key has this value now.
    Put(Family, Vec<u8>, Vec<u8>),
    /// The key is gone.
    Delete(Family, Vec<u8>),
    /// All keys from the first up to, but without, the second are gone.
    DeleteRange(Family, Vec<u8>, Vec<u8>),
}

/// Sees one key and its value.
pub type Visit<'a> = &'a mut dyn FnMut(&[u8], &[u8]) -> ControlFlow<()>;

/// Where metadata is kept.
pub trait MetaStore: Send + Sync {
    /// The value of a key.
    fn get(&self, family: Family, key: &[u8]) -> Result<Option<Vec<u8>>, StorageError>;

    /// Shows the keys from `from` up to, but without, `end` in order, as of one moment, until `visit` breaks.
    fn scan(&self, family: Family, from: &[u8], end: &[u8], visit: Visit<'_>) -> Result<(), StorageError>;

    /// Makes the changes, in order, all or none. With `sync` they are durable when this returns.
    fn write(&self, changes: Vec<Change>, sync: bool) -> Result<(), StorageError>;

    /// Bytes of metadata, about.
    fn bytes(&self) -> u64;

    /// Bytes that are left for more.
    fn free(&self) -> Result<u64, StorageError>;
}
