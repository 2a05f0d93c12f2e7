//! From a device to the machines of its replicas, at the start of the process; and the device as a driver's [`Store`].

use std::sync::Arc;

use dtm::{Config, DtmError, Identity, Replica, ReplicaState, Restore};
use storage::{Device, Durability, MetaSnapshot, RowsPage, StorageError};
use types::record::{Record, Row, RowKey};
use types::{CatalogueId, Epoch, GroupId, Seq};

use super::store::{Change, Page, Room, Store};
use super::{DriverError, Place};

/// Rows of results that are read at once.
const RESULTS_PAGE_ROWS: usize = 4096;
/// Bytes of a log that are read at once.
const LOG_PAGE_BYTES: usize = 1024 * 1024;

impl Store for Device {
    type Error = StorageError;
    type Snapshot = MetaSnapshot;

    fn room(&self) -> Result<Room, StorageError> {
        match self.meta().admit() {
            Ok(()) => Ok(Room::Free),
            Err(StorageError::Full(_)) if self.meta().is_spent()? => Ok(Room::Spent),
            Err(StorageError::Full(_)) if self.meta().is_out()? => Ok(Room::Out),
            Err(StorageError::Full(_)) => Ok(Room::Full),
            Err(error) => Err(error),
        }
    }

    fn check(&self) -> Result<(), StorageError> {
        self.failure().map_or(Ok(()), |reason| Err(StorageError::Failed(reason)))
    }

    fn fail(&self, reason: &str) {
        Self::fail(self, reason);
    }

    fn write(&self, changes: &[(GroupId, Change<'_>)], sync: bool) -> Result<(), StorageError> {
        let mut batch = self.meta().batch();
        for (group, change) in changes {
            match change {
                Change::Append(record) => batch.append_record(*group, record),
                Change::Cut(after) => batch.cut_log(*group, *after),
                Change::Prune(upto) => batch.prune_log(*group, *upto),
                Change::State(state) => batch.put_replica_state(*group, state),
                Change::Put { key, version, value } => batch.put_row(*group, key, *version, value),
                Change::Delete(key) => batch.delete_row(*group, key),
                Change::Wipe => batch.wipe_group(*group),
                Change::Forget => batch.forget_group(*group),
                Change::Fence(view) => batch.put_view(*group, *view),
            }
        }
        self.meta().commit(batch, if sync { Durability::Sync } else { Durability::Buffered })
    }

    fn row(&self, group: GroupId, key: &RowKey) -> Result<Option<Row>, StorageError> {
        self.meta().row(group, key)
    }

    fn log(&self, group: GroupId, from: Seq, upto: Seq, bytes_max: usize) -> Result<Vec<Record>, StorageError> {
        self.meta().log(group, from..=upto, bytes_max)
    }

    fn snapshot(&self, group: GroupId) -> Result<(MetaSnapshot, Vec<u8>), StorageError> {
        let snapshot = self.meta().snapshot()?;
        let state = snapshot.replica_state(group)?;
        let state = state.ok_or_else(|| StorageError::Damaged(format!("there is no state of the replica of group {group}")))?;
        Ok((snapshot, state))
    }

    fn page(
        &self,
        snapshot: &MetaSnapshot,
        group: GroupId,
        after: Option<&RowKey>,
        rows_max: usize,
        bytes_max: usize,
    ) -> Result<Page, StorageError> {
        let RowsPage { rows, end } = snapshot.rows(group, after, rows_max, bytes_max)?;
        Ok(Page { rows, end })
    }
}

/// Brings every replica of a device back.
pub fn replicas(
    device: &Device,
    place: Place,
    registered: Epoch,
    config: &Arc<Config>,
) -> Result<Vec<(GroupId, Replica)>, DriverError<StorageError>> {
    let mut replicas = Vec::new();
    for (group, state) in device.meta().replica_states()? {
        let wrong = |error: DtmError| DriverError::Replica { group, error };
        let state = ReplicaState::decode(&state).map_err(wrong)?;
        let me = Identity { group, device: place.device, boot: place.boot, incarnation: place.incarnation, registered };
        let (floor, applied) = (state.floor, state.applied);
        let mut restore = Restore::new(me, config.clone(), state);
        if !restore.is_over() {
            results(device, group, applied, &mut restore)?;
            crossings(device, group, dtm::crossing::UNFINISHED, &mut restore)?;
            crossings(device, group, dtm::crossing::PARTS, &mut restore)?;
            log(device, group, floor.seq, &mut restore)?;
        }
        replicas.push((group, restore.finish().map_err(wrong)?));
    }
    Ok(replicas)
}

fn results(device: &Device, group: GroupId, applied: Seq, restore: &mut Restore) -> Result<(), DriverError<StorageError>> {
    let mut from = Vec::new();
    loop {
        let page = device.meta().scan(group, dtm::results::CATALOGUE, &from, &[], RESULTS_PAGE_ROWS, true)?;
        for row in &page {
            let seq = row.row.version;
            if seq > applied || dtm::result_key(seq).key != row.key {
                return Err(DriverError::Replica { group, error: DtmError::ResultRow(seq) });
            }
            restore.result(seq, &row.row.value).map_err(|error| DriverError::Replica { group, error })?;
        }
        match page.last() {
            Some(last) => from = crate::sweep::key_after(&last.key),
            None => return Ok(()),
        }
    }
}

fn crossings(device: &Device, group: GroupId, catalogue: CatalogueId, restore: &mut Restore) -> Result<(), DriverError<StorageError>> {
    let mut from = Vec::new();
    loop {
        let page = device.meta().scan(group, catalogue, &from, &[], RESULTS_PAGE_ROWS, true)?;
        let Some(last) = page.last() else { return Ok(()) };
        from = crate::sweep::key_after(&last.key);
        for row in page {
            let key = RowKey { catalogue, key: row.key };
            restore.crossing(&key, &row.row).map_err(|error| DriverError::Replica { group, error })?;
        }
    }
}

fn log(device: &Device, group: GroupId, floor: Seq, restore: &mut Restore) -> Result<(), DriverError<StorageError>> {
    let Some((_, last)) = device.meta().log_bounds(group) else { return Ok(()) };
    let mut next = floor.next();
    while next <= last {
        let page = device.meta().log(group, next..=last, LOG_PAGE_BYTES)?;
        let Some(end) = page.last().map(|record| record.seq) else { return Ok(()) };
        for record in page {
            restore.record(Arc::new(record)).map_err(|error| DriverError::Replica { group, error })?;
        }
        next = end.next();
    }
    Ok(())
}
