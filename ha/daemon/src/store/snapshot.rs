//! Snapshots of the HA state on disk: one file, replaced whole.

use std::sync::{Arc, Mutex};

use serde::{Deserialize, Serialize};
use types::checksum::crc32c;
use types::codec::{decode, encode};

use super::disk::{Disk, TEMPORARY};
use super::record::SnapshotHead;
use crate::error::StoreError;

/// The file.
pub const NAME: &str = "snapshot";
/// First bytes of it.
const MAGIC: &[u8; 8] = b"RDBTHAS1";
/// Magic, store uuid, checksum of what follows.
const HEADER_BYTES: usize = 8 + 16 + 4;

/// A snapshot.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Snapshot {
    /// Of which entry and membership.
    pub head: SnapshotHead,
    /// The state.
    #[serde(with = "types::codec::bytes")]
    pub state: Vec<u8>,
}

/// Where the snapshot is kept; the last one is also in memory.
#[derive(Clone)]
pub struct Snapshots {
    store: u128,
    disk: Arc<Mutex<dyn Disk>>,
    last: Arc<Mutex<Option<Arc<Snapshot>>>>,
}

impl std::fmt::Debug for Snapshots {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Snapshots").field("store", &self.store).finish_non_exhaustive()
    }
}

impl Snapshots {
    /// Reads the snapshot of that store, if it has one.
    pub fn open(mut disk: impl Disk, store: u128) -> Result<Self, StoreError> {
        let io = |source| StoreError::Io { what: NAME.into(), source };
        let names = disk.list().map_err(io)?;
        for name in names.iter().filter(|n| n.ends_with(TEMPORARY)) {
            disk.remove(name).map_err(io)?;
        }
        let last = match names.iter().any(|n| n == NAME) {
            true => Some(Arc::new(parse(&disk.read(NAME).map_err(io)?, store)?)),
            false => None,
        };
        Ok(Self { store, disk: Arc::new(Mutex::new(disk)), last: Arc::new(Mutex::new(last)) })
    }

    /// The last snapshot.
    pub fn last(&self) -> Option<Arc<Snapshot>> {
        self.last.lock().expect("nobody panics with the lock").clone()
    }

    /// Makes a snapshot the last one; durable when it returns. An older one than there is changes nothing.
    pub fn save(&self, snapshot: Snapshot) -> Result<(), StoreError> {
        let mut disk = self.disk.lock().expect("nobody panics with the lock");
        let index = |s: &Snapshot| s.head.last.map(|p| p.index);
        if self.last().is_some_and(|last| index(&last) > index(&snapshot)) {
            return Ok(());
        }
        let body = encode(&snapshot);
        let mut bytes = MAGIC.to_vec();
        bytes.extend_from_slice(&self.store.to_le_bytes());
        bytes.extend_from_slice(&crc32c(&body).to_le_bytes());
        bytes.extend_from_slice(&body);
        disk.put(NAME, &bytes).map_err(|source| StoreError::Io { what: NAME.into(), source })?;
        *self.last.lock().expect("nobody panics with the lock") = Some(Arc::new(snapshot));
        Ok(())
    }
}

fn parse(bytes: &[u8], store: u128) -> Result<Snapshot, StoreError> {
    let damaged = |problem: String| StoreError::Damaged { file: NAME.into(), problem };
    let (header, body) = bytes.split_at_checked(HEADER_BYTES).ok_or_else(|| damaged("it is too short".into()))?;
    if header[..8] != *MAGIC || header[8..24] != store.to_le_bytes() {
        return Err(damaged("its header is not that of this store's snapshot".into()));
    }
    if header[24..] != crc32c(body).to_le_bytes() {
        return Err(damaged("its checksum is wrong".into()));
    }
    decode(body).map_err(|e| damaged(e.to_string()))
}
