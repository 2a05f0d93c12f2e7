//! A snapshot of RocksDB that lives as long as whoever holds it, and the database with it.

#![allow(unsafe_code, reason = "a snapshot borrows the database; here it goes with a share of it")]

use std::mem::ManuallyDrop;
use std::sync::Arc;

use rocksdb::{DB, Snapshot};

use super::{column, error, visit_all};
use crate::StorageError;
use crate::meta::store::{Family, Frozen, Visit};

/// A snapshot, and the database that it is of.
pub struct FrozenRocks {
    /// Goes before `db` does: see `drop`.
    snapshot: ManuallyDrop<Snapshot<'static>>,
    db: Arc<DB>,
}

impl FrozenRocks {
    pub fn new(db: &Arc<DB>) -> Self {
        let db = Arc::clone(db);
        // SAFETY: the reference is into the allocation of `db`, which does not move and lives until `drop` has let the snapshot go.
        let unbound: &'static DB = unsafe { &*Arc::as_ptr(&db) };
        Self { snapshot: ManuallyDrop::new(unbound.snapshot()), db }
    }
}

impl Drop for FrozenRocks {
    fn drop(&mut self) {
        // SAFETY: it is dropped here only, once, while `db` still holds the database.
        unsafe { ManuallyDrop::drop(&mut self.snapshot) }
    }
}

impl Frozen for FrozenRocks {
    fn get(&self, of: Family, key: &[u8]) -> Result<Option<Vec<u8>>, StorageError> {
        self.snapshot.get_cf(column(&self.db, of), key).map_err(|e| error("a key does not read", &e))
    }

    fn scan(&self, of: Family, from: &[u8], end: &[u8], visit: Visit<'_>) -> Result<(), StorageError> {
        visit_all(from, end, visit, |reading, mode| self.snapshot.iterator_cf_opt(column(&self.db, of), reading, mode))
    }
}
