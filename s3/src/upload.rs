//! Uploads in parts: a file for each verb. What an upload is to become is said when it begins and lies in its record as words; each part has
//! its own, and completion makes those of the object from both.

pub mod begin;
pub mod complete;
pub mod end;
pub mod list;
pub mod part;

use client::{Error, PartInfo, UploadId, UploadInfo};
use s3s::{S3Error, S3Result, s3_error};

use crate::Gateway;
use crate::checksum::{Algorithm, Kind};
use crate::error::{self, Of};
use crate::metadata::{self, find};

/// Most parts of an upload, as S3 has it.
pub const PARTS_MAX: u16 = 10_000;
/// The words of an upload that say which checksum its object gets.
const ALGORITHM: &str = "checksum-algorithm";

/// What an upload's record says of its checksums.
pub fn checksum_of(words: &[(String, String)]) -> Option<(Algorithm, Kind)> {
    let algorithm = Algorithm::parse(find(words, ALGORITHM)?).ok()?;
    let kind = find(words, metadata::CHECKSUM_TYPE).and_then(Kind::parse).unwrap_or(algorithm.usual_kind());
    Some((algorithm, kind))
}

/// The id that a caller gives; what is none is that of no upload.
pub fn id(text: &str) -> S3Result<UploadId> {
    let bytes = metadata::unhex(text).and_then(|bytes| bytes.try_into().ok());
    bytes.map(UploadId).ok_or_else(no_such_upload)
}

/// The number of a part that a caller gives.
pub fn number(number: i32) -> S3Result<u16> {
    let valid = u16::try_from(number).ok().filter(|number| (1..=PARTS_MAX).contains(number));
    valid.ok_or_else(|| s3_error!(InvalidArgument, "Part number must be an integer between 1 and 10000, inclusive"))
}

/// What is said where there is no such upload.
pub fn no_such_upload() -> S3Error {
    error::of(Of::Upload, Error::NotFound(String::new()))
}

/// An upload that takes parts.
pub async fn open(gateway: &Gateway, bucket: &str, key: &str, upload: UploadId) -> S3Result<UploadInfo> {
    gateway.client.upload(bucket, key.as_bytes(), upload).await.map_err(|e| error::of(Of::Upload, e))
}

/// The MD5 of a part, in hexadecimal digits.
pub fn etag_of(part: &PartInfo) -> &str {
    find(&part.user_metadata, metadata::ETAG).unwrap_or_default()
}
