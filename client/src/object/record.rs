//! The record of an object: read from the primary of its group, and checked before anybody relies on it.

use std::sync::Arc;

use types::map::{Catalogue, CatalogueKind, Pool};
use types::object::{Content, ObjectRecord, Part};
use types::record::{Row, RowKey};
use types::{Version, keys};

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

    /// The row of the record.
    pub(crate) fn row(&self) -> RowKey {
        RowKey { catalogue: self.bucket.0.id, key: keys::object(&self.name) }
    }

    /// The name, as a human reads it.
    pub(crate) fn shown(&self) -> String {
        format!("{}/{}", self.bucket.0.name, escaped(&self.name))
    }

    /// The record as it is now.
    pub(crate) async fn record(&self, inner: &Arc<Inner>) -> Result<(Version, ObjectRecord), Error> {
        let group = Inner::group_of(&self.bucket, &self.name);
        let what = format!("look for object {}", self.shown());
        let row = inner.read(&what, group, vec![self.row()]).await?.pop().flatten();
        let row = row.ok_or_else(|| Error::NotFound(format!("object {}", self.shown())))?;
        read_record(&self.shown(), &row)
    }
}

/// The record in a row; one that contradicts itself is an error, not a wrong byte.
pub(crate) fn read_record(shown: &str, row: &Row) -> Result<(Version, ObjectRecord), Error> {
    let corrupt = |reason: String| Error::Corrupt { what: format!("the record of object {shown}"), reason };
    let record = ObjectRecord::from_value(&row.value).map_err(|e| corrupt(e.to_string()))?;
    match &record.content {
        Content::Inline(bytes) if bytes.len() as u64 != record.size => {
            return Err(corrupt(format!("it holds {} bytes and says {}", bytes.len(), record.size)));
        }
        Content::Inline(_) => {}
        Content::Parts(parts) => check_parts(parts, record.size).map_err(corrupt)?,
    }
    Ok((row.version, record))
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
        let record = |size, content| ObjectRecord { size, checksum: 0, modified_ms: 0, content, user_metadata: Vec::new() };
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
