//! GET and HEAD of an object.

use std::time::Duration;

use bytes::Bytes;
use client::ObjectInfo;
use futures::StreamExt;
use s3s::dto::{Checksum, ChecksumMode, GetObjectInput, GetObjectOutput, HeadObjectInput, HeadObjectOutput, StorageClass, StreamingBlob};
use s3s::{S3Error, S3ErrorCode, S3Request, S3Response, S3Result, s3_error};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;

use crate::Gateway;
use crate::checksum::Algorithm;
use crate::condition::{self, conditions_given};
use crate::encryption::{Reading, Told, customer_given};
use crate::error::{self, Of};
use crate::lifecycle;
use crate::lock;
use crate::metadata::{self, CONTENT_TYPE, Headers, PartSizes};
use crate::tags::Tags;
use crate::version;

/// Pieces that wait for the caller's socket; beyond them the reading waits.
const AHEAD_PIECES: usize = 2;

/// A caller who takes nothing for so long is given up.
const TAKEN_MAX: Duration = Duration::from_secs(60);

/// The part of an object that is shown.
struct Shown {
    first: u64,
    length: u64,
    is_range: bool,
    /// Parts of the object, where one was asked for and it was uploaded in parts.
    parts: Option<i32>,
}

impl Shown {
    fn content_range(&self, size: u64) -> Option<String> {
        self.is_range.then(|| format!("bytes {}-{}/{size}", self.first, self.first + self.length - 1))
    }

    fn status(&self) -> Option<hyper::StatusCode> {
        self.is_range.then_some(hyper::StatusCode::PARTIAL_CONTENT)
    }
}

/// What a range or a part number names; an object that was put at once is one part.
fn shown(info: &ObjectInfo, range: Option<s3s::dto::Range>, part: Option<i32>) -> S3Result<Shown> {
    let whole = |is_range| Shown { first: 0, length: info.size, is_range, parts: None };
    match (range, part) {
        (Some(_), Some(_)) => Err(s3_error!(InvalidRequest, "Cannot specify both Range header and partNumber query parameter")),
        (None, None) => Ok(whole(false)),
        (None, Some(number)) => {
            let Some(sizes) = PartSizes::read(info) else {
                return if number == 1 { Ok(whole(info.size > 0)) } else { Err(no_such_part()) };
            };
            let place = u64::try_from(number).map_err(|_| no_such_part())?;
            let (first, length) = sizes.part(place).ok_or_else(no_such_part)?;
            Ok(Shown { first, length, is_range: length > 0, parts: i32::try_from(sizes.count()).ok() })
        }
        (Some(range), None) => {
            let wanted = range.check(info.size).map_err(|_| s3_error!(InvalidRange, "The requested range is not satisfiable"))?;
            Ok(Shown { first: wanted.start, length: wanted.end - wanted.start, is_range: true, parts: None })
        }
    }
}

fn no_such_part() -> S3Error {
    let code = S3ErrorCode::Custom("InvalidPartNumber".into());
    let mut error = S3Error::with_message(code, "The requested partnumber is not satisfiable");
    error.set_status_code(hyper::StatusCode::RANGE_NOT_SATISFIABLE);
    error
}

/// What GET and HEAD answer alike: the protocol's types have these fields, and nothing in common that could be called.
macro_rules! described {
    ($output:ident { $($own:ident: $value:expr),* }, $input:ident, $info:ident, $shown:ident, $bucket:ident, $wanted:ident, $told:ident) => {{
        let lock = lock::told(client::Lock::of(&$info.user_metadata));
        let headers = Headers::of(&$info);
        let sums = sums_shown(&$info, $input.checksum_mode.as_ref(), $shown.is_range);
        let checksum_type = sums.as_ref().and_then(Algorithm::any_of).map(|_| metadata::checksum_type(&$info));
        let sums = sums.unwrap_or_default();
        $output {
            $($own: $value,)*
            accept_ranges: Some("bytes".into()),
            content_length: Some($shown.length as i64),
            content_range: $shown.content_range($info.size),
            parts_count: $shown.parts,
            version_id: version::shown($bucket.versioning(), $info.id),
            object_lock_mode: lock.mode,
            object_lock_retain_until_date: lock.until,
            object_lock_legal_hold_status: lock.hold,
            expiration: $wanted.is_none().then(|| lifecycle::expiration(&$bucket, &$info)).flatten(),
            e_tag: Some(metadata::etag(&$info)),
            last_modified: Some(condition::modified(&$info)),
            expires: $input.response_expires.or_else(|| headers.expires()),
            metadata: headers.user_map(),
            content_type: $input.response_content_type.or(headers.content_type).or_else(|| Some(CONTENT_TYPE.into())),
            cache_control: $input.response_cache_control.or(headers.cache_control),
            content_disposition: $input.response_content_disposition.or(headers.content_disposition),
            content_encoding: $input.response_content_encoding.or(headers.content_encoding),
            content_language: $input.response_content_language.or(headers.content_language),
            website_redirect_location: headers.website_redirect_location,
            storage_class: headers.storage_class.map(StorageClass::from),
            server_side_encryption: $told.by_server,
            sse_customer_algorithm: $told.algorithm,
            sse_customer_key_md5: $told.key_md5,
            checksum_type,
            checksum_crc32: sums.checksum_crc32,
            checksum_crc32c: sums.checksum_crc32c,
            checksum_crc64nvme: sums.checksum_crc64nvme,
            checksum_sha1: sums.checksum_sha1,
            checksum_sha256: sums.checksum_sha256,
            ..$output::default()
        }
    }};
}

/// Sends an object or a part of it.
pub async fn get(gateway: &Gateway, req: S3Request<GetObjectInput>) -> S3Result<S3Response<GetObjectOutput>> {
    let input = req.input;
    let customer = customer_given!(input)?;
    let bucket = gateway.bucket(&input.bucket).await?;
    let wanted = version::wanted(input.version_id.as_deref())?;
    let opened = gateway.client.get_stored(&input.bucket, input.key.as_bytes(), wanted).await;
    let reader = match opened {
        Ok(reader) => reader,
        Err(failure) => return Err(gateway.missing(&req.extensions, &input.bucket, version::missing(wanted, failure)).await?),
    };
    gateway.may_show(&req.extensions, reader.info()).await?;
    let (mut reading, told) = gateway.reading(&bucket, &input.key, reader, customer.as_ref())?;
    let conditions = conditions_given!(input);
    conditions.check(reading.info())?;
    let shown = shown(reading.info(), input.range, input.part_number)?;
    if shown.is_range && shown.length > 0 {
        reading.narrow(shown.first, shown.length).map_err(|e| error::of(Of::Object, e))?;
    }
    let info = reading.info().clone();
    let status = shown.status();
    let output = described!(
        GetObjectOutput { tag_count: Tags::of(&info.user_metadata).count(), body: Some(body(reading)) },
        input,
        info,
        shown,
        bucket,
        wanted,
        told
    );
    Ok(with(output, status))
}

/// Tells about an object.
pub async fn head(gateway: &Gateway, req: S3Request<HeadObjectInput>) -> S3Result<S3Response<HeadObjectOutput>> {
    let input = req.input;
    let customer = customer_given!(input)?;
    let bucket = gateway.bucket(&input.bucket).await?;
    let wanted = version::wanted(input.version_id.as_deref())?;
    let found = gateway.client.stat_version(&input.bucket, input.key.as_bytes(), wanted).await;
    let info = match found {
        Ok(info) => info,
        Err(failure) => return Err(gateway.missing(&req.extensions, &input.bucket, version::missing(wanted, failure)).await?),
    };
    gateway.may_show(&req.extensions, &info).await?;
    let told: Told = gateway.told(&bucket, &input.key, &info, customer.as_ref())?;
    let conditions = conditions_given!(input);
    conditions.check(&info)?;
    let shown = shown(&info, input.range, input.part_number)?;
    let output = described!(HeadObjectOutput {}, input, info, shown, bucket, wanted, told);
    Ok(with(output, shown.status()))
}

fn with<T>(output: T, status: Option<hyper::StatusCode>) -> S3Response<T> {
    match status {
        Some(status) => S3Response::with_status(output, status),
        None => S3Response::new(output),
    }
}

/// The checksums of a whole object, where they are asked for: those of a range are nobody's.
fn sums_shown(info: &ObjectInfo, mode: Option<&ChecksumMode>, is_range: bool) -> Option<Checksum> {
    (mode.is_some_and(|mode| mode.as_str() == ChecksumMode::ENABLED) && !is_range).then(|| metadata::checksums(info))
}

/// What is left of an object as a body: read a little ahead of the caller's socket, and no further. An error ends the connection before the
/// length that was told is reached, which is how the caller knows.
pub fn body(mut reader: Reading) -> StreamingBlob {
    let (tx, rx) = mpsc::channel::<Result<Bytes, client::Error>>(AHEAD_PIECES);
    tokio::spawn(async move {
        loop {
            let next = reader.next().await.transpose();
            let Some(piece) = next else { return };
            let failed = piece.as_ref().err().cloned();
            // Until it is taken it holds memory that others wait for.
            if !matches!(tokio::time::timeout(TAKEN_MAX, tx.send(piece)).await, Ok(Ok(()))) {
                return;
            }
            if let Some(error) = failed {
                tracing::warn!(%error, "a GET breaks off");
                return;
            }
        }
    });
    StreamingBlob::wrap(ReceiverStream::new(rx).fuse())
}

#[cfg(test)]
mod tests {
    use super::*;
    use types::Seq;

    fn info(size: u64) -> ObjectInfo {
        ObjectInfo {
            name: vec![1],
            size,
            checksum: 0,
            version: Seq(1),
            id: types::VersionId::Null,
            modified_ms: 0,
            parts: vec![],
            user_metadata: vec![],
        }
    }

    #[test]
    fn ranges_and_part_numbers_name_a_part_of_the_object() {
        let range = |text: &str| s3s::dto::Range::parse(text).ok();
        let of = |size, range, part| shown(&info(size), range, part).map(|s| (s.first, s.length, s.content_range(size)));
        assert_eq!(of(10, range("bytes=2-4"), None).ok(), Some((2, 3, Some("bytes 2-4/10".into()))));
        assert_eq!(of(10, range("bytes=-4"), None).ok(), Some((6, 4, Some("bytes 6-9/10".into()))));
        assert_eq!(of(10, None, Some(1)).ok(), Some((0, 10, Some("bytes 0-9/10".into()))));
        assert_eq!(of(0, None, Some(1)).ok(), Some((0, 0, None)));
        let words = vec![(metadata::PART_SIZES.to_owned(), "4*2,2".to_owned())];
        let parts = ObjectInfo { user_metadata: words, ..info(10) };
        let part = |number| shown(&parts, None, Some(number)).map(|s| (s.first, s.length, s.parts)).ok();
        assert_eq!([part(1), part(3), part(4), part(0), part(-1)], [Some((0, 4, Some(3))), Some((8, 2, Some(3))), None, None, None]);
        assert!(of(10, range("bytes=10-"), None).is_err());
        assert!(of(10, None, Some(2)).is_err());
        assert!(of(10, range("bytes=2-4"), Some(1)).is_err());
    }
}
