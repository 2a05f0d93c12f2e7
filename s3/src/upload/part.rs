//! UploadPart and UploadPartCopy: a part comes from the caller, or from an object that is there.

use client::{PartInfo, UploadId, UploadInfo};
use s3s::dto::{
    ChecksumAlgorithm, CopyPartResult, ETag, StreamingBlob, UploadPartCopyInput, UploadPartCopyOutput, UploadPartInput, UploadPartOutput,
};
use s3s::{S3Request, S3Result, s3_error};
use types::quota::Usage;

use crate::Gateway;
use crate::access::{self, Act};
use crate::body::{Announced, Received};
use crate::checksum::Algorithm;
use crate::condition::{self, source_conditions_given};
use crate::encryption::{self, Sealing, Told, customer_given, source_customer_given};
use crate::error::{self, Of};
use crate::metadata;
use crate::object::put::{Content, PUT_BYTES_MAX, announced, length_of, trailing};
use crate::object::{copy, get};
use crate::version;

/// Runs UploadPart.
pub async fn run(gateway: &Gateway, req: S3Request<UploadPartInput>) -> S3Result<UploadPartOutput> {
    let (trailer, trails) = (req.trailing_headers.clone(), trailing(&req.headers));
    let mut input = req.input;
    let customer = customer_given!(input)?;
    let bucket = gateway.bucket(&input.bucket).await?;
    let (upload, number) = (super::id(&input.upload_id)?, super::number(input.part_number)?);
    let of = super::open(gateway, &input.bucket, &input.key, upload).await?;
    let sealing = gateway.sealing_of_upload(&bucket, &input.key, &of.user_metadata, customer.as_ref())?;
    let Told { by_server, algorithm, key_md5 } = Sealing::told(sealing.as_ref());
    let body = input.body.take().unwrap_or_else(|| StreamingBlob::from(s3s::Body::empty()));
    let announced = announced!(input, trailer, trails);
    let named = announced.named(input.checksum_algorithm.as_ref().map(ChecksumAlgorithm::as_str));
    let content = Content { hasher: Algorithm::hasher(&wanted(&of, &named)?), body, announced, sealing };
    let part = write(gateway, &input.bucket, &input.key, upload, number, content).await?;
    let sums = metadata::checksums_of(&part.user_metadata);
    Ok(UploadPartOutput {
        e_tag: Some(ETag::Strong(super::etag_of(&part).to_owned())),
        server_side_encryption: by_server,
        sse_customer_algorithm: algorithm,
        sse_customer_key_md5: key_md5,
        checksum_crc32: sums.checksum_crc32,
        checksum_crc32c: sums.checksum_crc32c,
        checksum_crc64nvme: sums.checksum_crc64nvme,
        checksum_sha1: sums.checksum_sha1,
        checksum_sha256: sums.checksum_sha256,
        ..UploadPartOutput::default()
    })
}

/// The checksums of a part: that of its upload, and what its caller names where the upload has none.
fn wanted(upload: &UploadInfo, named: &[Algorithm]) -> S3Result<Vec<Algorithm>> {
    let Some((of_upload, _)) = super::checksum_of(&upload.user_metadata) else { return Ok(named.to_vec()) };
    match named.iter().find(|named| **named != of_upload) {
        None => Ok(vec![of_upload]),
        Some(other) => {
            let (expected, actual) = (of_upload.name(), other.name());
            Err(s3_error!(
                InvalidRequest,
                "Checksum Type mismatch occurred, expected checksum Type: {expected}, actual checksum Type: {actual}"
            ))
        }
    }
}

async fn write(gateway: &Gateway, bucket: &str, key: &str, upload: UploadId, number: u16, content: Content) -> S3Result<PartInfo> {
    let length = content.announced.length;
    if length.is_some_and(|length| length > PUT_BYTES_MAX) {
        return Err(s3_error!(EntityTooLarge, "Your proposed upload exceeds the maximum allowed size"));
    }
    // Where no length is said there has to be room for something.
    let admitted = gateway.admit(bucket, Usage { bytes: length.unwrap_or(1), objects: 0 }).await?;
    let (received, sums) = Received::new(content.body, content.announced, content.hasher);
    let sealing = content.sealing.as_ref().map(|sealing| (sealing, Sealing::part(number)));
    let words_at_end = || {
        let sums = sums.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        sums.as_ref().map(|sums| encryption::words_of(sums, sealing))
    };
    let length = length_of(length, sealing.is_some());
    let source = encryption::incoming(received, sealing);
    let put = gateway.writes.put_part(bucket, key.as_bytes(), upload, number, source, length, words_at_end);
    let part = put.await.map_err(|e| error::of(Of::Upload, e))?;
    admitted.done(part.size);
    Ok(part)
}

/// Runs UploadPartCopy.
pub async fn copy(gateway: &Gateway, req: S3Request<UploadPartCopyInput>) -> S3Result<UploadPartCopyOutput> {
    let input = req.input;
    let (customer, of_source_customer) = (customer_given!(input)?, source_customer_given!(input)?);
    let from = copy::source(&input.copy_source)?;
    let caller = access::caller(&req.extensions)?;
    let allowed = gateway.allow_source(&caller, Act::read(&from.bucket, &from.key, copy::named_version(&input.copy_source)), None).await?;
    let of_source = gateway.bucket(&from.bucket).await?;
    let bucket = gateway.bucket(&input.bucket).await?;
    let (upload, number) = (super::id(&input.upload_id)?, super::number(input.part_number)?);
    let of = super::open(gateway, &input.bucket, &input.key, upload).await?;
    let sealing = gateway.sealing_of_upload(&bucket, &input.key, &of.user_metadata, customer.as_ref())?;
    let Told { by_server, algorithm, key_md5 } = Sealing::told(sealing.as_ref());
    let reader = copy::open(gateway, &req.extensions, &from).await?;
    gateway.still_allowed(&caller, &allowed, reader.info()).await?;
    let (mut reader, _) = gateway.reading(&of_source, &from.key, reader, of_source_customer.as_ref())?;
    let conditions = source_conditions_given!(input);
    conditions.check_copy(reader.info())?;
    if let Some(range) = &input.copy_source_range {
        let (first, last) = copied(range, reader.info().size)?;
        reader.narrow(first, last - first + 1).map_err(|e| error::of(Of::Object, e))?;
    }
    let copy_source_version_id = version::shown(of_source.versioning(), reader.info().id);
    let announced = Announced { length: Some(reader.left()), ..Announced::default() };
    let content = Content { hasher: Algorithm::hasher(&wanted(&of, &[])?), announced, body: get::body(reader), sealing };
    let part = write(gateway, &input.bucket, &input.key, upload, number, content).await?;
    let sums = metadata::checksums_of(&part.user_metadata);
    let result = CopyPartResult {
        e_tag: Some(ETag::Strong(super::etag_of(&part).to_owned())),
        last_modified: Some(condition::at_ms(part.modified_ms)),
        checksum_crc32: sums.checksum_crc32,
        checksum_crc32c: sums.checksum_crc32c,
        checksum_crc64nvme: sums.checksum_crc64nvme,
        checksum_sha1: sums.checksum_sha1,
        checksum_sha256: sums.checksum_sha256,
    };
    Ok(UploadPartCopyOutput {
        copy_part_result: Some(result),
        copy_source_version_id,
        server_side_encryption: by_server,
        sse_customer_algorithm: algorithm,
        sse_customer_key_md5: key_md5,
        ..UploadPartCopyOutput::default()
    })
}

/// The first and the last byte of the source that `bytes=first-last` names: all of them have to be there.
fn copied(text: &str, size: u64) -> S3Result<(u64, u64)> {
    let number = |digits: &str| digits.bytes().all(|digit| digit.is_ascii_digit()).then(|| digits.parse::<u64>().ok()).flatten();
    let range = text.strip_prefix("bytes=").and_then(|range| range.split_once('-'));
    let Some((first, last)) = range.and_then(|(first, last)| Some((number(first)?, number(last)?))).filter(|(first, last)| first <= last)
    else {
        return Err(s3_error!(
            InvalidArgument,
            "The x-amz-copy-source-range value must be of the form bytes=first-last where first and last are the zero-based offsets of the \
             first and last bytes to copy"
        ));
    };
    if last >= size {
        return Err(s3_error!(InvalidArgument, "Range specified is not valid for source object of size: {size}"));
    }
    Ok((first, last))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_copied_range_lies_inside_of_its_source() {
        let of = |text: &str| copied(text, 10).ok();
        assert_eq!(of("bytes=0-9"), Some((0, 9)));
        assert_eq!(of("bytes=3-3"), Some((3, 3)));
        for bad in ["bytes=0-10", "bytes=4-3", "0-3", "bytes=0", "bytes=-3", "bytes=0-", "bytes=+1-2", "bytes=a-b"] {
            assert_eq!(of(bad), None, "{bad}");
        }
    }
}
