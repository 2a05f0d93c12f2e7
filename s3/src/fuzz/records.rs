//! Rows of a catalogue as a gateway reads them, and the words of a record: what another build, or a damaged disk, could hand to it.

use client::{Lock, ObjectInfo};
use s3s::S3Result;
use types::VersionId;
use types::keys::Key;
use types::object::{DeadRow, ObjectRecord, PendingRow, RowError, VersionRow};
use types::upload::{PartRow, RetiredRow, UploadRow};

use crate::acl::Acl;
use crate::encryption::name_of_part;
use crate::metadata::{self, Headers, PartSizes};
use crate::tags::Tags;
use crate::{condition, upload, version};

/// What can be read can be written, and is the same then.
fn row<T: PartialEq + std::fmt::Debug>(input: &[u8], read: fn(&[u8]) -> Result<T, RowError>, write: fn(&T) -> Vec<u8>) -> Option<T> {
    let value = read(input).ok()?;
    assert_eq!(read(&write(&value)).as_ref(), Ok(&value));
    Some(value)
}

/// Words, as the gateway reads them, with what is worked out of them.
fn words(all: Vec<(String, String)>, size: u64) -> String {
    let _lock = Lock::of(&all).keeps(1, false);
    let _name = name_of_part(1, &all);
    let _algorithm = upload::checksum_of(&all);
    let info = ObjectInfo {
        name: b"n".to_vec(),
        size,
        checksum: 1,
        version: types::Seq(7),
        id: VersionId::Null,
        modified_ms: size,
        parts: Vec::new(),
        user_metadata: all,
    };
    let headers = Headers::of(&info);
    let _expires = headers.expires();
    if let Some(acl) = &headers.acl {
        let acl = Acl::of_text(acl, "ann");
        assert_eq!(Acl::of_text(&acl.to_text(), "ann"), acl);
    }
    let sizes = PartSizes::read(&info);
    if let Some(sizes) = &sizes {
        let _part = (sizes.count(), sizes.part(1), sizes.part(10_000), sizes.part(u64::MAX), sizes.iter().take(100).count());
    }
    let _shown = (condition::modified(&info), metadata::etag(&info), metadata::checksum_type(&info), metadata::checksums(&info));
    format!("{} {} {}", headers.user.len().min(3), headers.tags.count().is_some(), sizes.is_some())
}

fn refused<T>(outcome: S3Result<T>) -> bool {
    outcome.is_err()
}

/// A row of any kind; else, text: words of a record, `name=value` on each line.
pub fn records(input: &[u8]) -> String {
    let mut told = String::new();
    let is_key = Key::parse(input).is_some();
    if let Some(record) = row(input, ObjectRecord::from_value, ObjectRecord::to_value) {
        let _bytes = record.plain_bytes();
        told.push_str(&format!(" object {}", words(record.user_metadata, record.size)));
    }
    if let Some(version) = row(input, VersionRow::from_value, VersionRow::to_value) {
        told.push_str(&format!(" version {}", version.order.0 > 0));
    }
    if let Some(part) = row(input, PartRow::from_value, PartRow::to_value) {
        told.push_str(&format!(" part {}", words(part.user_metadata, part.size)));
    }
    if let Some(upload) = row(input, UploadRow::from_value, UploadRow::to_value) {
        told.push_str(&format!(" upload {}", words(upload.user_metadata, upload.began_ms)));
    }
    let others = [
        row(input, RetiredRow::from_value, RetiredRow::to_value).is_some(),
        row(input, PendingRow::from_value, PendingRow::to_value).is_some(),
        row(input, DeadRow::from_value, DeadRow::to_value).is_some(),
    ];
    let text = String::from_utf8_lossy(input);
    let pairs = text.lines().filter_map(|line| line.split_once('=')).map(|(name, value)| (name.to_owned(), value.to_owned())).collect();
    let of_text = words(pairs, input.len() as u64);
    let line = text.lines().next().unwrap_or_default();
    let texts = [refused(Tags::from_header(line)), refused(version::wanted(Some(line))), metadata::unhex(line).is_none()];
    if told.is_empty() {
        return format!("text {is_key} {others:?} {of_text} {texts:?}");
    }
    format!("read{told} {others:?}")
}
