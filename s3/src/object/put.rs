//! PUT of an object: streamed in, checked, visible as one transaction.

use client::{Condition, ObjectInfo, PutOptions};
use s3s::checksum::ChecksumHasher;
use s3s::dto::{Checksum, ChecksumType, ObjectCannedACL, PutObjectInput, PutObjectOutput, StreamingBlob};
use s3s::{S3Request, S3Result, TrailingHeaders, s3_error};

use crate::Gateway;
use crate::body::{Announced, Received};
use crate::condition;
use crate::error::{self, Of};
use crate::metadata::{self, Headers, headers_given};

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
}

/// Runs the verb.
pub async fn run(gateway: &Gateway, req: S3Request<PutObjectInput>) -> S3Result<PutObjectOutput> {
    let trailer = req.trailing_headers.clone();
    let trails = req.headers.get("x-amz-trailer").and_then(|names| names.to_str().ok()).unwrap_or_default().to_ascii_lowercase();
    let mut input = req.input;
    refuse_unknown(&input)?;
    gateway.check_bucket(&input.bucket).await?;
    let condition = condition_of(gateway, &input).await?;
    let headers = headers_given!(input);
    check_user(&headers)?;
    let body = input.body.take().unwrap_or_else(|| StreamingBlob::from(s3s::Body::empty()));
    let announced = announced(&input, trailer)?;
    let hasher = hasher(&input, &announced, &trails);
    let content = Content { body, announced, hasher };
    let info = write(gateway, &input.bucket, &input.key, content, &headers, condition).await?;
    let checksums = metadata::checksums(&info);
    Ok(PutObjectOutput {
        e_tag: Some(metadata::etag(&info)),
        checksum_type: has_any(&checksums).then(|| ChecksumType::from_static(ChecksumType::FULL_OBJECT)),
        checksum_crc32: checksums.checksum_crc32,
        checksum_crc32c: checksums.checksum_crc32c,
        checksum_crc64nvme: checksums.checksum_crc64nvme,
        checksum_sha1: checksums.checksum_sha1,
        checksum_sha256: checksums.checksum_sha256,
        ..PutObjectOutput::default()
    })
}

/// Writes an object under its headers.
pub async fn write(
    gateway: &Gateway,
    bucket: &str,
    key: &str,
    content: Content,
    headers: &Headers,
    condition: Condition,
) -> S3Result<ObjectInfo> {
    let length = content.announced.length;
    if length.is_some_and(|length| length > PUT_BYTES_MAX) {
        return Err(s3_error!(EntityTooLarge, "Your proposed upload exceeds the maximum allowed size"));
    }
    let (received, sums) = Received::new(content.body, content.announced, content.hasher);
    let options = PutOptions { condition, user_metadata: headers.to_words(), ..PutOptions::default() };
    // Known once the body has passed, and that is before the commit.
    let words_at_end = || {
        let sums = sums.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        sums.as_ref().map(metadata::sum_words)
    };
    // The end of an empty body is looked at only where its length is not known.
    let length = length.filter(|length| *length > 0);
    let put = gateway.writes.put_described(bucket, key.as_bytes(), received, length, &options, words_at_end);
    put.await.map_err(|e| error::of(Of::Bucket, e))
}

/// What is not there yet is refused: a caller must not think that its object is locked, encrypted or tagged when it is not.
fn refuse_unknown(input: &PutObjectInput) -> S3Result<()> {
    let encrypted = input.sse_customer_algorithm.is_some() || input.server_side_encryption.is_some() || input.ssekms_key_id.is_some();
    let locked = input.object_lock_mode.is_some() || input.object_lock_legal_hold_status.is_some();
    let grants = [&input.grant_full_control, &input.grant_read, &input.grant_read_acp, &input.grant_write_acp];
    let is_shared = is_shared(input.acl.as_ref(), grants);
    refuse_if(encrypted || locked || is_shared || input.tagging.is_some() || input.write_offset_bytes.is_some())
}

/// Whether others than the owner are to see the object.
pub fn is_shared(acl: Option<&ObjectCannedACL>, grants: [&Option<String>; 4]) -> bool {
    acl.is_some_and(|acl| !matches!(acl.as_str(), "private" | "bucket-owner-full-control")) || grants.iter().any(|grant| grant.is_some())
}

/// Refuses what is not there yet.
pub fn refuse_if(is_unknown: bool) -> S3Result<()> {
    if is_unknown {
        return Err(s3_error!(NotImplemented, "A header you provided implies functionality that is not implemented"));
    }
    Ok(())
}

async fn condition_of(gateway: &Gateway, input: &PutObjectInput) -> S3Result<Condition> {
    if input.if_match.is_none() && input.if_none_match.is_none() {
        return Ok(Condition::Always);
    }
    let current = match gateway.client.stat(&input.bucket, input.key.as_bytes()).await {
        Ok(info) => Some(info),
        Err(client::Error::NotFound(_)) => None,
        Err(error) => return Err(error::of(Of::Object, error)),
    };
    condition::of_write(input.if_match.as_ref(), input.if_none_match.as_ref(), current.as_ref())
}

/// Refuses user metadata that S3 would refuse.
pub fn check_user(headers: &Headers) -> S3Result<()> {
    let bytes: usize = headers.user.iter().map(|(key, value)| key.len() + value.len()).sum();
    if bytes > USER_BYTES_MAX {
        return Err(s3_error!(MetadataTooLarge, "Your metadata headers exceed the maximum allowed metadata size"));
    }
    Ok(())
}

fn announced(input: &PutObjectInput, trailer: Option<TrailingHeaders>) -> S3Result<Announced> {
    let md5 = match &input.content_md5 {
        None => None,
        Some(text) => Some(md5_of(text).ok_or_else(|| s3_error!(InvalidDigest, "The Content-MD5 you specified was invalid."))?),
    };
    let checksums = Checksum {
        checksum_crc32: input.checksum_crc32.clone(),
        checksum_crc32c: input.checksum_crc32c.clone(),
        checksum_crc64nvme: input.checksum_crc64nvme.clone(),
        checksum_sha1: input.checksum_sha1.clone(),
        checksum_sha256: input.checksum_sha256.clone(),
        ..Checksum::default()
    };
    // Chunked bodies announce what they hold once decoded; `s3s` has put that here.
    let length = input.content_length.and_then(|length| u64::try_from(length).ok());
    Ok(Announced { length, md5, checksums, trailer })
}

fn md5_of(base64: &str) -> Option<[u8; 16]> {
    let decoded = base64_simd::STANDARD.decode_to_vec(base64).ok()?;
    decoded.try_into().ok()
}

/// Computes what the caller names: in a header, as what a trailer will bring, or as an algorithm.
fn hasher(input: &PutObjectInput, announced: &Announced, trails: &str) -> ChecksumHasher {
    let named = input.checksum_algorithm.as_ref().map(|algorithm| algorithm.as_str().to_ascii_lowercase());
    let trails: Vec<&str> = trails.split(',').filter_map(|name| name.trim().strip_prefix("x-amz-checksum-")).collect();
    let wants = |name: &str, said: &Option<String>| said.is_some() || named.as_deref() == Some(name) || trails.contains(&name);
    let said = &announced.checksums;
    ChecksumHasher {
        crc32: wants("crc32", &said.checksum_crc32).then(Default::default),
        crc32c: wants("crc32c", &said.checksum_crc32c).then(Default::default),
        crc64nvme: wants("crc64nvme", &said.checksum_crc64nvme).then(Default::default),
        sha1: wants("sha1", &said.checksum_sha1).then(Default::default),
        sha256: wants("sha256", &said.checksum_sha256).then(Default::default),
    }
}

fn has_any(sums: &Checksum) -> bool {
    [&sums.checksum_crc32, &sums.checksum_crc32c, &sums.checksum_crc64nvme, &sums.checksum_sha1, &sums.checksum_sha256]
        .iter()
        .any(|sum| sum.is_some())
}
