//! What a scrub goes through: all that a device's metadata says, a page at a time, with every checksum of it verified.
//!
//! A page begins where the one before ended, and says what it cannot read instead of failing of it. The units that it names are the
//! caller's to read. Where a scrub stands is kept in the device's own metadata ([`Device::note`]).

use std::ops::ControlFlow;

use types::wire::request::UnitInfo;

use super::Device;
use crate::StorageError;
use crate::meta::sealed::{self, after, unseal};
use crate::meta::store::Family;
use crate::meta::{decode_entry, store::Change};
use crate::unit::UnitRecord;

/// Where a page begins: a family and a key of it. Opaque to others, and kept by them.
pub type Cursor = Vec<u8>;

/// What a page of a scrub goes over.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ScrubPage {
    /// Units whose records are good: their bytes are to be read.
    pub units: Vec<UnitInfo>,
    /// Entries of the metadata.
    pub rows: u64,
    /// Bytes of them.
    pub bytes: u64,
    /// Entries that are not what was written, in words.
    pub damaged: Vec<String>,
    /// Where the next page begins; `None` after the last.
    pub next: Option<Cursor>,
}

impl Device {
    /// A page of the device, from the begin or where the one before ended: at most so many entries, about so many bytes. To be called from a
    /// thread that may block.
    ///
    /// # Errors
    /// [`StorageError::Invalid`] for a cursor of something else.
    pub fn scrub_page(&self, from: Option<&Cursor>, entries_max: u64, bytes_max: u64) -> Result<ScrubPage, StorageError> {
        let (family, start) = match from {
            None => (Family::ALL[0], &[][..]),
            Some(cursor) => split(cursor).ok_or_else(|| StorageError::Invalid("not a place in a scrub".into()))?,
        };
        let mut page = ScrubPage::default();
        let mut next = None;
        let scanned = self.meta().store().scan(family, start, &after(&[]), &mut |key, value| {
            if page.rows >= entries_max || page.bytes >= bytes_max {
                next = Some(cursor(family, key));
                return ControlFlow::Break(());
            }
            page.rows += 1;
            page.bytes += (key.len() + value.len()) as u64;
            match look(family, key, value) {
                Ok(unit) => page.units.extend(unit),
                Err(error) => page.damaged.push(error.to_string()),
            }
            ControlFlow::Continue(())
        });
        // What the store itself cannot read ends the scan of a family: what lies behind it does not show.
        if let Err(error) = scanned {
            page.damaged.push(format!("{}: {error}", family.name()));
            next = None;
        }
        page.next = next.or_else(|| following(family).map(|family| cursor(family, &[])));
        Ok(page)
    }

    /// What the device keeps for its process under a name.
    ///
    /// # Errors
    /// [`StorageError::Damaged`].
    pub fn note(&self, name: &[u8]) -> Result<Option<Vec<u8>>, StorageError> {
        let key = sealed::note(name);
        let value = self.meta().store().get(Family::Device, &key)?;
        value.map(|value| unseal(Family::Device, &key, &value).map(<[u8]>::to_vec)).transpose()
    }

    /// Keeps something for the process under a name; a crash may lose the last of it.
    ///
    /// # Errors
    /// [`StorageError::Failed`].
    pub fn set_note(&self, name: &[u8], body: &[u8]) -> Result<(), StorageError> {
        let key = sealed::note(name);
        let value = sealed::seal(Family::Device, &key, &[body]);
        self.meta().write(vec![Change::Put(Family::Device, key, value)], false)
    }
}

fn look(family: Family, key: &[u8], value: &[u8]) -> Result<Option<UnitInfo>, StorageError> {
    match family {
        Family::Units => UnitRecord::from_value(key, value).map(|record| Some(record.info)),
        _ => decode_entry(family, key, value).map(|()| None),
    }
}

fn cursor(family: Family, key: &[u8]) -> Cursor {
    [&[family as u8], key].concat()
}

fn split(cursor: &[u8]) -> Option<(Family, &[u8])> {
    let (number, key) = cursor.split_first()?;
    Family::ALL.into_iter().find(|family| *family as u8 == *number).map(|family| (family, key))
}

fn following(family: Family) -> Option<Family> {
    Family::ALL.into_iter().skip_while(|other| *other != family).nth(1)
}
