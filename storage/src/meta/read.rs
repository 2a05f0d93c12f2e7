//! What is read back from a device's metadata, each thing with its checksum verified.

use std::ops::{ControlFlow, RangeInclusive};

use types::codec;
use types::limits::MESSAGE_HEAD_BYTES_MAX;
use types::record::{Record, Row, RowKey};
use types::wire::request::ScanRow;
use types::{CatalogueId, GroupId, Seq, ViewNumber};

use super::sealed::{self, GROUP_BYTES, after, hex, unseal};
use super::store::{Family, Frozen, Visit};
use super::{Bounds, Meta};
use crate::StorageError;

/// A scan stops beyond so many bytes of keys and values: more than any answer holds.
pub const SCAN_BYTES_MAX: usize = MESSAGE_HEAD_BYTES_MAX;

/// How much of a scan is read at once.
#[derive(Clone, Copy, Debug)]
pub struct RunBounds {
    /// Rows.
    pub rows: usize,
    /// Bytes of them: the row that passes it is the last.
    pub bytes: usize,
}

/// Rows in the order of their keys.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Run {
    /// They.
    pub rows: Vec<ScanRow>,
    /// There may be more behind them.
    pub is_cut: bool,
}
/// What a row counts in a scan beside its key and value.
const ROW_BYTES: usize = 32;
/// Bytes of a version in a row's value.
const VERSION_BYTES: usize = 8;

impl Meta {
    /// A row as it was last committed.
    pub fn row(&self, group: GroupId, row: &RowKey) -> Result<Option<Row>, StorageError> {
        let key = sealed::row(group, row);
        self.store.get(Family::Catalogues, &key)?.map(|value| decode_row(&key, &value, true)).transpose()
    }

    /// The same without waiting for the disk; `None` where that would have to be.
    pub fn row_now(&self, group: GroupId, row: &RowKey) -> Result<Option<Option<Row>>, StorageError> {
        let key = sealed::row(group, row);
        let Some(found) = self.store.get_now(Family::Catalogues, &key)? else { return Ok(None) };
        found.map(|value| decode_row(&key, &value, true)).transpose().map(Some)
    }

    /// Rows of a catalogue whose keys begin with `prefix`, at or after `from`, in order, as of one moment; without `values` these are
    /// empty.
    ///
    /// It ends after `limit` rows, or once the rows returned have more than [`SCAN_BYTES_MAX`] bytes.
    pub fn scan(
        &self,
        group: GroupId,
        catalogue: CatalogueId,
        from: &[u8],
        prefix: &[u8],
        limit: usize,
        values: bool,
    ) -> Result<Vec<ScanRow>, StorageError> {
        self.scan_run(group, catalogue, from, prefix, RunBounds { rows: limit, bytes: SCAN_BYTES_MAX }, values).map(|run| run.rows)
    }

    /// The same within bounds of one's own; at least one row where there is one.
    pub fn scan_run(
        &self,
        group: GroupId,
        catalogue: CatalogueId,
        from: &[u8],
        prefix: &[u8],
        bounds: RunBounds,
        values: bool,
    ) -> Result<Run, StorageError> {
        let base = sealed::catalogue(group, catalogue);
        let start = [&base[..], from.max(prefix)].concat();
        let end = after(&[&base[..], prefix].concat());
        let mut run = Run { rows: Vec::new(), is_cut: bounds.rows == 0 };
        let mut bytes = 0;
        if run.is_cut {
            return Ok(run);
        }
        self.each(Family::Catalogues, &start, &end, |key, value| {
            let row = decode_row(key, value, values)?;
            bytes += key.len() - base.len() + row.value.len() + ROW_BYTES;
            run.rows.push(ScanRow { key: key[base.len()..].to_vec(), row });
            run.is_cut = run.rows.len() >= bounds.rows || bytes > bounds.bytes;
            Ok(!run.is_cut)
        })?;
        Ok(run)
    }

    /// Records of a group's log, dense, from the first of `seqs` that is there. It ends once there are `bytes_max` bytes, but gives one
    /// record at least where there is one.
    pub fn log(&self, group: GroupId, seqs: RangeInclusive<Seq>, bytes_max: usize) -> Result<Vec<Record>, StorageError> {
        let Some((first, last)) = self.log_bounds(group) else { return Ok(Vec::new()) };
        let (first, last) = (first.max(*seqs.start()), last.min(*seqs.end()));
        if first > last {
            return Ok(Vec::new());
        }
        let mut records: Vec<Record> = Vec::new();
        let mut bytes = 0;
        let mut expected = first;
        let end = [&sealed::log(group, last)[..], &[0]].concat();
        self.each(Family::Log, &sealed::log(group, first), &end, |key, value| {
            let record = decode_record(key, value)?;
            if record.seq != expected {
                return Err(StorageError::Damaged(format!("the log of group {group} has {} in place of {expected}", record.seq)));
            }
            expected = expected.next();
            bytes += record.bytes();
            if bytes > bytes_max && !records.is_empty() {
                return Ok(false);
            }
            records.push(record);
            Ok(true)
        })?;
        if records.is_empty() {
            return Err(StorageError::Damaged(format!("{first} is missing in the log of group {group}")));
        }
        Ok(records)
    }

    /// First and last seq of a group's log; `None` where it is empty.
    pub fn log_bounds(&self, group: GroupId) -> Option<(Seq, Seq)> {
        self.bounds().get(&group).copied()
    }

    /// What the replica of a group keeps of itself.
    pub fn replica_state(&self, group: GroupId) -> Result<Option<Vec<u8>>, StorageError> {
        let key = sealed::group(group);
        let value = self.store.get(Family::State, &key)?;
        value.map(|value| unseal(Family::State, &key, &value).map(<[u8]>::to_vec)).transpose()
    }

    /// All replica states of the device.
    pub fn replica_states(&self) -> Result<Vec<(GroupId, Vec<u8>)>, StorageError> {
        let mut states = Vec::new();
        self.each(Family::State, &[], &after(&[]), |key, value| {
            states.push((group_of(Family::State, key)?, unseal(Family::State, key, value)?.to_vec()));
            Ok(true)
        })?;
        Ok(states)
    }

    /// The views of the device's groups that were made durable here.
    pub fn views(&self) -> Result<Vec<(GroupId, ViewNumber)>, StorageError> {
        let prefix = sealed::views();
        let mut views = Vec::new();
        self.each(Family::Device, &prefix, &after(&prefix), |key, value| {
            let body = unseal(Family::Device, key, value)?;
            let number = body.try_into().map_err(|_| damaged(Family::Device, key, "it is not a view"))?;
            views.push((group_of(Family::Device, &key[prefix.len()..])?, ViewNumber(u64::from_le_bytes(number))));
            Ok(true)
        })?;
        Ok(views)
    }

    /// Shows a range of keys until `visit` says `false` or fails.
    pub(crate) fn each(
        &self,
        family: Family,
        from: &[u8],
        end: &[u8],
        visit: impl FnMut(&[u8], &[u8]) -> Result<bool, StorageError>,
    ) -> Result<(), StorageError> {
        until(|show| self.store.scan(family, from, end, show), visit)
    }

    pub(super) fn read_bounds(&self) -> Result<Bounds, StorageError> {
        let mut bounds = Bounds::new();
        self.each(Family::Log, &[], &after(&[]), |key, _| {
            let group = group_of(Family::Log, key)?;
            let seq = sealed::seq_of(key).ok_or_else(|| damaged(Family::Log, key, "it is not a seq"))?;
            let range = bounds.entry(group).or_insert((seq, seq));
            if seq != range.0 && range.1.0.checked_add(1) != Some(seq.0) {
                return Err(StorageError::Damaged(format!("the log of group {group} goes from {} to {seq}", range.1)));
            }
            range.1 = seq;
            Ok(true)
        })?;
        Ok(bounds)
    }
}

/// Shows a range of the keys of a moment until `visit` says `false` or fails.
pub(super) fn each_of(
    frozen: &dyn Frozen,
    family: Family,
    from: &[u8],
    end: &[u8],
    visit: impl FnMut(&[u8], &[u8]) -> Result<bool, StorageError>,
) -> Result<(), StorageError> {
    until(|show| frozen.scan(family, from, end, show), visit)
}

fn until(
    scan: impl FnOnce(Visit<'_>) -> Result<(), StorageError>,
    mut visit: impl FnMut(&[u8], &[u8]) -> Result<bool, StorageError>,
) -> Result<(), StorageError> {
    let mut outcome = Ok(());
    scan(&mut |key, value| match visit(key, value) {
        Ok(true) => ControlFlow::Continue(()),
        Ok(false) => ControlFlow::Break(()),
        Err(error) => {
            outcome = Err(error);
            ControlFlow::Break(())
        }
    })?;
    outcome
}

pub(super) fn damaged(family: Family, key: &[u8], why: &str) -> StorageError {
    StorageError::Damaged(format!("{} {}: {why}", family.name(), hex(key)))
}

fn group_of(family: Family, key: &[u8]) -> Result<GroupId, StorageError> {
    sealed::group_of(key).filter(|_| key.len() >= GROUP_BYTES).ok_or_else(|| damaged(family, key, "it is not of a group"))
}

pub(super) fn decode_row(key: &[u8], value: &[u8], wanted: bool) -> Result<Row, StorageError> {
    let body = unseal(Family::Catalogues, key, value)?;
    let (version, value) =
        body.split_first_chunk::<VERSION_BYTES>().ok_or_else(|| damaged(Family::Catalogues, key, "it has no version"))?;
    let value = if wanted { value.to_vec() } else { Vec::new() };
    Ok(Row { version: Seq(u64::from_le_bytes(*version)), value })
}

/// Whether an entry of a family, other than of units, is what was written.
pub(crate) fn decode_entry(family: Family, key: &[u8], value: &[u8]) -> Result<(), StorageError> {
    match family {
        Family::Catalogues => decode_row(key, value, false).map(drop),
        Family::Log => decode_record(key, value).map(drop),
        _ => unseal(family, key, value).map(drop),
    }
}

fn decode_record(key: &[u8], value: &[u8]) -> Result<Record, StorageError> {
    let body = unseal(Family::Log, key, value)?;
    codec::decode(body).map_err(|error| damaged(Family::Log, key, &error.to_string()))
}
