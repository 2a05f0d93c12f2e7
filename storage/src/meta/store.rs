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

impl Family {
    fn of(number: u8) -> Option<Self> {
        Self::ALL.into_iter().find(|family| *family as u8 == number)
    }
}

/// The byte form of changes, as the journal keeps them: `kind (1) · family (1) · length (4) and bytes of each part`.
pub fn encode(changes: &[Change]) -> Vec<u8> {
    let parts = |change: &Change| match change {
        Change::Put(_, key, value) | Change::DeleteRange(_, key, value) => key.len() + value.len(),
        Change::Delete(_, key) => key.len(),
    };
    let mut out = Vec::with_capacity(changes.iter().map(|change| 10 + parts(change)).sum());
    let part = |out: &mut Vec<u8>, bytes: &[u8]| {
        out.extend_from_slice(&u32::try_from(bytes.len()).expect("keys and values are bounded").to_le_bytes());
        out.extend_from_slice(bytes);
    };
    for change in changes {
        match change {
            Change::Put(family, key, value) => {
                out.extend_from_slice(&[PUT, *family as u8]);
                part(&mut out, key);
                part(&mut out, value);
            }
            Change::Delete(family, key) => {
                out.extend_from_slice(&[DELETE, *family as u8]);
                part(&mut out, key);
            }
            Change::DeleteRange(family, from, end) => {
                out.extend_from_slice(&[DELETE_RANGE, *family as u8]);
                part(&mut out, from);
                part(&mut out, end);
            }
        }
    }
    out
}

/// The changes of a byte form; `None` where it is none.
pub fn decode(mut bytes: &[u8]) -> Option<Vec<Change>> {
    fn part(bytes: &mut &[u8]) -> Option<Vec<u8>> {
        let (length, rest) = bytes.split_first_chunk()?;
        let (part, rest) = rest.split_at_checked(u32::from_le_bytes(*length) as usize)?;
        *bytes = rest;
        Some(part.to_vec())
    }
    let mut changes = Vec::new();
    while let Some(([kind, family], rest)) = bytes.split_first_chunk() {
        bytes = rest;
        let (family, key) = (Family::of(*family)?, part(&mut bytes)?);
        changes.push(match *kind {
            PUT => Change::Put(family, key, part(&mut bytes)?),
            DELETE => Change::Delete(family, key),
            DELETE_RANGE => Change::DeleteRange(family, key, part(&mut bytes)?),
            _ => return None,
        });
    }
    bytes.is_empty().then_some(changes)
}

const PUT: u8 = 1;
const DELETE: u8 = 2;
const DELETE_RANGE: u8 = 3;

/// Sees one key and its value.
pub type Visit<'a> = &'a mut dyn FnMut(&[u8], &[u8]) -> ControlFlow<()>;

/// Metadata of one moment.
pub trait Frozen: Send + Sync {
    /// The value of a key.
    fn get(&self, family: Family, key: &[u8]) -> Result<Option<Vec<u8>>, StorageError>;

    /// Shows the keys from `from` up to, but without, `end` in order, until `visit` breaks.
    fn scan(&self, family: Family, from: &[u8], end: &[u8], visit: Visit<'_>) -> Result<(), StorageError>;
}

/// Where metadata is kept.
pub trait MetaStore: Send + Sync {
    /// The value of a key.
    fn get(&self, family: Family, key: &[u8]) -> Result<Option<Vec<u8>>, StorageError>;
    /// The same from memory alone; `None` where the disk would have to be waited for.
    fn get_now(&self, family: Family, key: &[u8]) -> Result<Option<Option<Vec<u8>>>, StorageError> {
        self.get(family, key).map(Some)
    }

    /// Shows the keys from `from` up to, but without, `end` in order, as of one moment, until `visit` breaks.
    fn scan(&self, family: Family, from: &[u8], end: &[u8], visit: Visit<'_>) -> Result<(), StorageError>;

    /// Everything as of one moment: batches that are written later do not show.
    fn freeze(&self) -> Result<Box<dyn Frozen>, StorageError>;

    /// Makes the changes, in order, all or none. With `sync` they are durable when this returns.
    fn write(&self, changes: Vec<Change>, sync: bool) -> Result<(), StorageError>;

    /// Bytes of metadata, about. Does not wait for the disk.
    fn bytes(&self) -> u64;

    /// Bytes that are left for more.
    fn free(&self) -> Result<u64, StorageError>;
}
