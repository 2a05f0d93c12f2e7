//! The metadata of a device: rows of catalogues, logs of DTM0, replica states, views of groups.
//!
//! Everything is synchronous: the driver of a device calls it from a thread of its own. What a [`Batch`] changes is seen whole or not at
//! all, and is durable when [`Meta::commit`] with [`Durability::Sync`] returns; so is every batch before it. Changes to one group come from
//! one thread. A failed write ends the device: every change after it is refused with [`StorageError::Failed`].
//!
//! Guaranteed: a row, record or state that is returned has the checksum that binds it to its key. Left to others: what they mean.

pub mod journal;
pub mod memory;
pub mod rocks;
pub mod store;

mod batch;
mod health;
mod manifest;
mod read;
pub(crate) mod sealed;
mod snapshot;

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

pub use batch::Batch;
pub(crate) use health::Health;
pub(crate) use read::decode_entry;
pub use read::{Run, RunBounds};
pub use snapshot::{MetaSnapshot, RowsPage};
use store::{Change, Family, MetaStore};
use types::{Fid, GroupId, Seq};

use crate::StorageError;

/// When a batch is durable.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Durability {
    /// When the commit returns.
    Sync,
    /// With the next commit that is synced, of any batch of the device; a crash before that may lose it, and all after it.
    Buffered,
}

/// First and last seq of each log that is not empty.
pub(crate) type Bounds = HashMap<GroupId, (Seq, Seq)>;

/// The metadata of one device.
pub struct Meta {
    store: Arc<dyn MetaStore>,
    health: Arc<Health>,
    bounds: Mutex<Bounds>,
    reserve_bytes: u64,
}

impl Meta {
    /// Takes over a store; reads the bounds of its logs.
    pub(crate) fn new(store: Arc<dyn MetaStore>, health: Arc<Health>, reserve_bytes: u64) -> Result<Self, StorageError> {
        let meta = Self { store, health, bounds: Mutex::default(), reserve_bytes };
        let bounds = meta.read_bounds()?;
        *meta.bounds() = bounds;
        Ok(meta)
    }

    /// An empty batch.
    pub fn batch(&self) -> Batch {
        Batch::default()
    }

    /// Makes the changes of a batch, in order, all or none.
    ///
    /// # Errors
    /// [`StorageError::Invalid`] where a log would not be dense (nothing is changed), [`StorageError::Failed`] where the device has failed,
    /// now or before.
    pub fn commit(&self, batch: Batch, durability: Durability) -> Result<(), StorageError> {
        let (changes, touched) = batch.resolve(&self.bounds())?;
        self.write(changes, durability == Durability::Sync)?;
        let mut bounds = self.bounds();
        for (group, range) in touched {
            match range {
                Some(range) => drop(bounds.insert(group, range)),
                None => drop(bounds.remove(&group)),
            }
        }
        Ok(())
    }

    /// Whether there is room for more than the log, deletes and recovery: asked before a client's transaction has any effect.
    ///
    /// # Errors
    /// [`StorageError::Full`] where there is not; [`StorageError::Failed`] where the device has failed.
    pub fn admit(&self) -> Result<(), StorageError> {
        self.health.check()?;
        let free = self.store.free()?;
        if free < self.reserve_bytes {
            return Err(StorageError::Full(format!("{free} bytes are left for metadata, {} are kept in reserve", self.reserve_bytes)));
        }
        Ok(())
    }

    /// Whether the first third of the reserve is used up, which is for logs of whatever kind: what is left is for deletes and changes of view.
    pub fn is_out(&self) -> Result<bool, StorageError> {
        Ok(self.store.free()? < self.reserve_bytes / 3 * 2)
    }

    /// Whether the second is, too: the last is for making durable in tables what memory holds already.
    pub fn is_spent(&self) -> Result<bool, StorageError> {
        Ok(self.store.free()? < self.reserve_bytes / 3)
    }

    /// Bytes of metadata, about.
    pub fn bytes(&self) -> u64 {
        self.store.bytes()
    }

    /// The changes themselves; whatever fails here ends the device.
    pub(crate) fn write(&self, changes: Vec<Change>, sync: bool) -> Result<(), StorageError> {
        self.health.check()?;
        self.store.write(changes, sync).map_err(|error| self.health.fail(&error))
    }

    /// Whether the device keeps a marker of the fid's death.
    pub(crate) fn is_dead(&self, fid: Fid) -> Result<bool, StorageError> {
        Ok(self.store.get(Family::Device, &sealed::dead(fid))?.is_some())
    }

    pub(crate) fn store(&self) -> &dyn MetaStore {
        &*self.store
    }

    fn bounds(&self) -> MutexGuard<'_, Bounds> {
        // Nothing panics while it holds the lock half changed.
        self.bounds.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
