//! PUT of an object: streamed in, checked, visible as one transaction.

use client::{Condition, ObjectInfo, PutOptions};
use s3s::checksum::ChecksumHasher;
use s3s::dto::{ChecksumAlgorithm, ChecksumType, PutObjectInput, PutObjectOutput, StreamingBlob};
use s3s::{S3Request, S3Result, s3_error};
use types::event::Cause;
use types::quota::Usage;

use crate::Gateway;
use crate::access;
use crate::acl::headers_of_acl;
use crate::body::{Announced, Received};
use crate::checksum::Algorithm;
use crate::condition;
use crate::encryption::{self, PieceName, Sealing, Told, customer_given, stored_bytes};
use crate::error::{self, Of};
use crate::lifecycle;
use crate::lock::lock_given;
use crate::metadata::{self, Headers, headers_given};
use crate::version;

/// Largest object that one PUT takes, as S3 has it.
pub const PUT_BYTES_MAX: u64 = 5 * 1024 * 1024 * 1024;
/// Most bytes of a user's own words about an object, as S3 has it.
const USER_BYTES_MAX: usize = 2 * 1024;

/// What is to be written, and under which name.
pub struct Content {
    /// The bytes.
    pub body: StreamingBlob,
    /// What is said of them.
    pub announced: Announced,
    /// The checksums that are to be computed.
    pub hasher: ChecksumHasher,
    /// How they are encrypted.
    pub sealing: Option<Sealing>,
}

/// Runs the verb.
pub async fn run(gateway: &Gateway, req: S3Request<PutObjectInput>) -> S3Result<PutObjectOutput> {
    let cause = req.extensions.get::<Cause>().copied().unwrap_or_default();
    let trailer = req.trailing_headers.clone();
    let trails = trailing(&req.headers);
    let mut input = req.input;
    refuse_if(input.write_offset_bytes.is_some())?;
    let bucket = gateway.bucket(&input.bucket).await?;
    let sealing = gateway.sealing(&bucket, &input.key, input.server_side_encryption.as_ref(), customer_given!(input)?)?;
    let Told { by_server, algorithm, key_md5 } = Sealing::told(sealing.as_ref());
    let lock = lock_given!(input).lock(&bucket)?;
    let condition = condition::of_put(gateway, &input.bucket, &input.key, input.if_match.as_ref(), input.if_none_match.as_ref()).await?;
    let caller = access::caller(&req.extensions)?;
    let mut headers = headers_given!(input);
    headers.acl = gateway.acl_given(&input.bucket, &caller, &headers_of_acl!(input, object)).await?;
    check_user(&headers)?;
    let body = input.body.take().unwrap_or_else(|| StreamingBlob::from(s3s::Body::empty()));
    let announced = announced!(input, trailer, trails);
    let named = input.checksum_algorithm.as_ref().map(ChecksumAlgorithm::as_str);
    let hasher = Algorithm::hasher(&announced.named(named));
    let content = Content { body, announced, hasher, sealing };
    let words = lock.set_in(&headers.to_words());
    let info = write(gateway, &input.bucket, &input.key, content, words, (cause, condition)).await?;
    let checksums = metadata::checksums(&info);
    Ok(PutObjectOutput {
        version_id: version::made(info.id),
        expiration: lifecycle::expiration(&bucket, &info),
        e_tag: Some(metadata::etag(&info)),
        server_side_encryption: by_server,
        sse_customer_algorithm: algorithm,
        sse_customer_key_md5: key_md5,
        checksum_type: Algorithm::any_of(&checksums).is_some().then(|| ChecksumType::from_static(ChecksumType::FULL_OBJECT)),
        checksum_crc32: checksums.checksum_crc32,
        checksum_crc32c: checksums.checksum_crc32c,
        checksum_crc64nvme: checksums.checksum_crc64nvme,
        checksum_sha1: checksums.checksum_sha1,
        checksum_sha256: checksums.checksum_sha256,
        ..PutObjectOutput::default()
    })
}

/// Writes an object under these words.
pub async fn write(
    gateway: &Gateway,
    bucket: &str,
    key: &str,
    content: Content,
    mut words: Vec<(String, String)>,
    (cause, condition): (Cause, Condition),
) -> S3Result<ObjectInfo> {
    let length = content.announced.length;
    if length.is_some_and(|length| length > PUT_BYTES_MAX) {
        return Err(s3_error!(EntityTooLarge, "Your proposed upload exceeds the maximum allowed size"));
    }
    // Where no length is said there has to be room for something.
    let admitted = gateway.admit(bucket, Usage { bytes: length.unwrap_or(1), objects: 1 }).await?;
    let (received, sums) = Received::new(content.body, content.announced, content.hasher);
    let sealing = content.sealing.as_ref().map(|sealing| (sealing, PieceName::WHOLE));
    words.extend(content.sealing.as_ref().map(Sealing::word));
    let options = PutOptions { condition, user_metadata: words, cause, ..PutOptions::default() };
    // Known once the body has passed, and that is before the commit.
    let words_at_end = || {
        let sums = sums.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        sums.as_ref().map(|sums| encryption::words_of(sums, sealing))
    };
    let length = length_of(length, sealing.is_some());
    let source = encryption::incoming(received, sealing);
    let put = gateway.writes.put_described(bucket, key.as_bytes(), source, length, &options, words_at_end);
    let info = put.await.map_err(|e| error::of(Of::Bucket, e))?;
    admitted.done(info.size);
    Ok(info)
}

/// How many bytes are to be stored of a body of that length.
pub fn length_of(length: Option<u64>, is_encrypted: bool) -> Option<u64> {
    // The end of an empty body is looked at only where its length is not known.
    if is_encrypted { length.map(stored_bytes) } else { length.filter(|length| *length > 0) }
}

/// Refuses what is not there yet.
pub fn refuse_if(is_unknown: bool) -> S3Result<()> {
    if is_unknown {
        return Err(s3_error!(NotImplemented, "A header you provided implies functionality that is not implemented"));
    }
    Ok(())
}

/// Refuses user metadata that S3 would refuse.
pub fn check_user(headers: &Headers) -> S3Result<()> {
    let bytes: usize = headers.user.iter().map(|(key, value)| key.len() + value.len()).sum();
    if bytes > USER_BYTES_MAX {
        return Err(s3_error!(MetadataTooLarge, "Your metadata headers exceed the maximum allowed metadata size"));
    }
    Ok(())
}

/// The checksums that come after a body.
pub fn trailing(headers: &hyper::HeaderMap) -> Vec<Algorithm> {
    let names = headers.get("x-amz-trailer").and_then(|names| names.to_str().ok()).unwrap_or_default().to_ascii_lowercase();
    Algorithm::ALL.into_iter().filter(|one| names.split(',').any(|name| name.trim() == one.header())).collect()
}

/// What a caller says of a body: the protocol's types have these fields, and nothing in common.
macro_rules! announced {
    ($input:ident, $trailer:ident, $trails:ident) => {
        $crate::body::Announced {
            // Chunked bodies announce what they hold once decoded; `s3s` has put that here.
            length: $input.content_length.and_then(|length| u64::try_from(length).ok()),
            md5: $input.content_md5.as_deref().map($crate::object::put::md5_of).transpose()?,
            checksums: $crate::checksum::checksums_given!($input),
            trailer: $trailer,
            trails: $trails,
        }
    };
}
pub(crate) use announced;

/// The MD5 that a caller gives.
///
/// # Errors
/// `InvalidDigest` where it is none.
pub fn md5_of(base64: &str) -> S3Result<[u8; 16]> {
    let invalid = || s3_error!(InvalidDigest, "The Content-MD5 you specified was invalid.");
    let decoded = base64_simd::STANDARD.decode_to_vec(base64).map_err(|_| invalid())?;
    decoded.try_into().map_err(|_| invalid())
}
