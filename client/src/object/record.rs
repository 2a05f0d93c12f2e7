//! The record of an object: read from the primary of its group, and checked before anybody relies on it.

use std::sync::Arc;

use types::keys::{self, Place};
use types::map::{Catalogue, CatalogueKind, Pool};
use types::object::{Content, ObjectRecord, Part, Stored, VersionRow};
use types::record::{Row, RowKey};
use types::{Version, VersionId};

use crate::Error;
use crate::inner::Inner;
use crate::name::{check_name, escaped};

/// A name in its bucket.
#[derive(Clone, Debug)]
pub(crate) struct Target {
    pub(crate) bucket: (Catalogue, Pool),
    pub(crate) name: Vec<u8>,
}

impl Target {
    /// Checks the name and looks the bucket up.
    pub(crate) async fn find(inner: &Inner, bucket: &str, name: &[u8]) -> Result<Self, Error> {
        check_name("the object's name", name)?;
        let bucket = inner.catalogue(CatalogueKind::Bucket, bucket).await?;
        Ok(Self { bucket, name: name.to_vec() })
    }

    pub(super) fn row(&self, key: Vec<u8>) -> RowKey {
        RowKey { catalogue: self.bucket.0.id, key }
    }

    /// The name, as a human reads it.
    pub(crate) fn shown(&self) -> String {
        format!("{}/{}", self.bucket.0.name, escaped(&self.name))
    }

    /// The record as it is now: that of a version, or of the current object.
    ///
    /// # Errors
    /// [`Error::Marker`] where there is a delete marker, [`Error::NotFound`] where there is nothing.
    pub(crate) async fn record(&self, inner: &Arc<Inner>, id: Option<VersionId>) -> Result<(Version, ObjectRecord), Error> {
        let found = self.find_version(inner, id).await?;
        match found.version {
            Stored::Object(record) => Ok((found.row_version, record)),
            Stored::Marker { modified_ms } => Err(Error::Marker { what: format!("object {}", self.shown()), id: found.id, modified_ms }),
        }
    }

    /// A version as it is now, or what is current.
    pub(crate) async fn find_version(&self, inner: &Arc<Inner>, id: Option<VersionId>) -> Result<Found, Error> {
        let group = Inner::group_of(&self.bucket, &self.name);
        let what = format!("look for object {}", self.shown());
        let kept = id.map(|id| keys::version(&self.name, Place::Kept(id)));
        let keys = [keys::object(&self.name), keys::version(&self.name, Place::Marker)].into_iter().chain(kept);
        let mut rows = inner.read(&what, group, keys.map(|key| self.row(key)).collect()).await?.into_iter();
        let (object, marker, kept) = (rows.next().flatten(), rows.next().flatten(), rows.next().flatten());
        let is_wanted = |found: &Found| id.is_none_or(|id| id == found.id);
        if let Some(row) = object {
            let (row_version, record) = read_record(&self.shown(), &row)?;
            let found = Found { row_version, id: record.id, is_current: true, version: Stored::Object(record) };
            if is_wanted(&found) {
                return Ok(found);
            }
        }
        for (row, is_current) in [(marker, true), (kept, false)] {
            let Some(row) = row else { continue };
            let VersionRow { id, version, .. } = read_version(&self.shown(), &row)?;
            let found = Found { row_version: row.version, id, is_current, version };
            if is_wanted(&found) {
                return Ok(found);
            }
        }
        Err(Error::NotFound(match id {
            None => format!("object {}", self.shown()),
            Some(_) => format!("that version of object {}", self.shown()),
        }))
    }
}

/// A version that is there.
pub(crate) struct Found {
    /// The version of its row.
    pub(crate) row_version: Version,
    pub(crate) id: VersionId,
    pub(crate) is_current: bool,
    pub(crate) version: Stored,
}

/// The version in a row.
pub(crate) fn read_version(shown: &str, row: &Row) -> Result<VersionRow, Error> {
    let corrupt = |reason: String| Error::Corrupt { what: format!("the record of a version of object {shown}"), reason };
    let version = VersionRow::from_value(&row.value).map_err(|e| corrupt(e.to_string()))?;
    if let Stored::Object(record) = &version.version {
        check_record(record).map_err(corrupt)?;
    }
    Ok(version)
}

/// The record in a row; one that contradicts itself is an error, not a wrong byte.
pub(crate) fn read_record(shown: &str, row: &Row) -> Result<(Version, ObjectRecord), Error> {
    let corrupt = |reason: String| Error::Corrupt { what: format!("the record of object {shown}"), reason };
    let record = ObjectRecord::from_value(&row.value).map_err(|e| corrupt(e.to_string()))?;
    check_record(&record).map_err(corrupt)?;
    Ok((row.version, record))
}

fn check_record(record: &ObjectRecord) -> Result<(), String> {
    match &record.content {
        Content::Inline(bytes) if bytes.len() as u64 != record.size => {
            Err(format!("it holds {} bytes and says {}", bytes.len(), record.size))
        }
        Content::Inline(_) => Ok(()),
        Content::Parts(parts) => check_parts(parts, record.size),
    }
}

/// Whether parts follow each other and hold that many bytes.
pub(super) fn check_parts(parts: &[Part], size: u64) -> Result<(), String> {
    let mut at = 0;
    for part in parts {
        layout::stripe::Shape::of(part).map_err(|e| e.to_string())?;
        if part.offset != at || part.length == 0 || part.length > types::limits::FID_BYTES_MAX {
            return Err(format!("its part at {} with {} bytes follows byte {at}", part.offset, part.length));
        }
        at += part.length;
    }
    if at == size { Ok(()) } else { Err(format!("its parts hold {at} bytes and it says {size}")) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use types::{Fid, Seq};

    #[test]
    fn a_record_that_contradicts_itself_is_an_error() {
        let record =
            |size, content| ObjectRecord { size, checksum: 0, modified_ms: 0, content, user_metadata: Vec::new(), id: VersionId::Null };
        let part = |offset, length| Part { offset, length, fid: Fid::default(), data: 4, parity: 2, unit_bytes: 65536 };
        let read = |record: ObjectRecord| read_record("b/n", &Row { version: Seq(1), value: record.to_value() });
        assert!(read(record(1, Content::Inline(vec![1]))).is_ok());
        assert!(read(record(2, Content::Inline(vec![1]))).is_err());
        assert!(read(record(9, Content::Parts(vec![part(0, 4), part(4, 5)]))).is_ok());
        assert!(read(record(9, Content::Parts(vec![part(0, 4), part(5, 5)]))).is_err());
        assert!(read(record(9, Content::Parts(vec![part(0, 4)]))).is_err());
        assert!(read(record(4, Content::Parts(vec![Part { data: 0, ..part(0, 4) }]))).is_err());
        assert!(read_record("b/n", &Row { version: Seq(1), value: vec![9, 9] }).is_err());
    }
}
