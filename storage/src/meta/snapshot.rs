//! Metadata of one moment: what a full copy of a group is read from while the group goes on.
//!
//! A snapshot keeps the space of what was replaced since from being used again: whoever takes one lets it go.

use types::record::{Row, RowKey};
use types::wire::dtm::row_bytes;
use types::{CatalogueId, GroupId};

use super::Meta;
use super::read::{damaged, decode_row};
use super::sealed::{self, after, unseal};
use super::store::{Family, Frozen};
use crate::StorageError;

/// The metadata of a device as it was.
pub struct MetaSnapshot {
    frozen: Box<dyn Frozen>,
}

/// Some rows of a group, in the order of catalogues and keys.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RowsPage {
    /// The rows.
    pub rows: Vec<(RowKey, Row)>,
    /// Whether none follows.
    pub end: bool,
}

impl Meta {
    /// All metadata as of now: every batch that was committed, none that comes.
    pub fn snapshot(&self) -> Result<MetaSnapshot, StorageError> {
        Ok(MetaSnapshot { frozen: self.store().freeze()? })
    }
}

impl MetaSnapshot {
    /// What the replica of a group kept of itself then.
    pub fn replica_state(&self, group: GroupId) -> Result<Option<Vec<u8>>, StorageError> {
        let key = sealed::group(group);
        let value = self.frozen.get(Family::State, &key)?;
        value.map(|value| unseal(Family::State, &key, &value).map(<[u8]>::to_vec)).transpose()
    }

    /// Rows of all catalogues of a group that follow a key, or the first; at most so many, stopping at so many bytes but giving one at least.
    pub fn rows(&self, group: GroupId, follow: Option<&RowKey>, rows_max: usize, bytes_max: usize) -> Result<RowsPage, StorageError> {
        let prefix = sealed::group(group);
        // The least key that is greater: the same with a zero byte.
        let from = follow.map_or_else(|| prefix.to_vec(), |key| [&sealed::row(group, key)[..], &[0]].concat());
        let mut page = RowsPage { rows: Vec::new(), end: true };
        let mut bytes = 0;
        super::read::each_of(&*self.frozen, Family::Catalogues, &from, &after(&prefix), |key, value| {
            let row = decode_row(key, value, true)?;
            let key = row_key(key)?;
            bytes += row_bytes(&key, &row);
            if page.rows.len() >= rows_max || (bytes > bytes_max && !page.rows.is_empty()) {
                page.end = false;
                return Ok(false);
            }
            page.rows.push((key, row));
            Ok(true)
        })?;
        Ok(page)
    }
}

fn row_key(key: &[u8]) -> Result<RowKey, StorageError> {
    let split = key.get(sealed::GROUP_BYTES..).and_then(<[u8]>::split_first_chunk::<8>);
    let (catalogue, rest) = split.ok_or_else(|| damaged(Family::Catalogues, key, "it is not of a catalogue"))?;
    Ok(RowKey { catalogue: CatalogueId(u64::from_be_bytes(*catalogue)), key: rest.to_vec() })
}
