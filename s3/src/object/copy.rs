//! COPY of an object: read and written by the gateway; the copy is a new object with bytes of its own.

use client::{Error, ObjectInfo, ObjectReader, VersionId};
use hyper::http::Extensions;
use s3s::dto::{ChecksumType, CopyObjectInput, CopyObjectOutput, CopyObjectResult, CopySource, MetadataDirective, TaggingDirective};
use s3s::{S3Request, S3Result, s3_error};

use super::put::{self, Content};
use types::event::Cause;

use crate::Gateway;
use crate::access::{self, Act};
use crate::acl::headers_of_acl;
use crate::body::Announced;
use crate::checksum::Algorithm;
use crate::condition::{self, source_conditions_given};
use crate::encryption::{Sealing, Told, customer_given, source_customer_given};
use crate::lifecycle;
use crate::lock::lock_given;
use crate::metadata::{self, Headers, headers_given};
use crate::version;

/// Runs the verb.
pub async fn run(gateway: &Gateway, req: S3Request<CopyObjectInput>) -> S3Result<CopyObjectOutput> {
    let mut input = req.input;
    let (customer, of_source_customer) = (customer_given!(input)?, source_customer_given!(input)?);
    let is_encrypted_anew = input.server_side_encryption.is_some() || customer.is_some();
    let from = source(&input.copy_source)?;
    let caller = access::caller(&req.extensions)?;
    let from_version = named_version(&input.copy_source);
    let allowed = gateway.allow_source(&caller, Act::read(&from.bucket, &from.key, from_version), None).await?;
    let of_source = gateway.bucket(&from.bucket).await?;
    let bucket = gateway.bucket(&input.bucket).await?;
    let lock = lock_given!(input).lock(&bucket)?;
    let sealing = gateway.sealing(&bucket, &input.key, input.server_side_encryption.as_ref(), customer)?;
    let Told { by_server, algorithm, key_md5 } = Sealing::told(sealing.as_ref());
    let replaces = input.metadata_directive.as_ref().is_some_and(|directive| directive.as_str() == MetadataDirective::REPLACE);
    let is_itself = from.bucket == input.bucket && from.key == input.key && from_version.is_none();
    if !replaces && input.storage_class.is_none() && !is_encrypted_anew && is_itself {
        return Err(s3_error!(
            InvalidRequest,
            "This copy request is illegal because it is trying to copy an object to itself without changing the object's metadata, storage \
             class, website redirect location or encryption attributes."
        ));
    }
    let target = condition::of_headers(gateway, &input.bucket, &input.key, &req.headers).await?;
    let reader = open(gateway, &req.extensions, &from).await?;
    gateway.still_allowed(&caller, &allowed, reader.info()).await?;
    let (reader, _) = gateway.reading(&of_source, &from.key, reader, of_source_customer.as_ref())?;
    let conditions = source_conditions_given!(input);
    conditions.check_copy(reader.info())?;
    let info = reader.info().clone();
    let retags = input.tagging_directive.as_ref().is_some_and(|directive| directive.as_str() == TaggingDirective::REPLACE);
    let (before, given) = (Headers::of(&info), headers_given!(input));
    let tags = if retags { given.tags.clone() } else { before.tags.clone() };
    if !retags && tags.count().is_some() {
        // They are read there and written here.
        gateway.allow_source(&caller, Act::read_tags(&from.bucket, &from.key, from_version), Some(&info)).await?;
        gateway.not_denied(&caller, Act::write_tags(&input.bucket, &input.key)).await?;
    }
    let storage_class = given.storage_class.clone();
    let acl = gateway.acl_given(&input.bucket, &caller, &headers_of_acl!(input, object)).await?;
    let headers = Headers { tags, storage_class, acl, ..if replaces { given } else { before } };
    put::check_user(&headers)?;
    // The copy keeps the checksums that its source has, or gets what is asked for.
    let algorithms = match &input.checksum_algorithm {
        Some(named) => vec![Algorithm::parse(named.as_str())?],
        None => Algorithm::all_of(&metadata::checksums(&info)),
    };
    let content = Content {
        announced: Announced { length: Some(info.size), ..Announced::default() },
        hasher: Algorithm::hasher(&algorithms),
        body: super::get::body(reader),
        sealing,
    };
    let words = lock.set_in(&headers.to_words());
    let copy = put::write(gateway, &input.bucket, &input.key, content, words, (Cause::Copy, target)).await?;
    Ok(CopyObjectOutput {
        copy_object_result: Some(told(&copy)),
        version_id: version::made(copy.id),
        expiration: lifecycle::expiration(&bucket, &copy),
        server_side_encryption: by_server,
        sse_customer_algorithm: algorithm,
        sse_customer_key_md5: key_md5,
        copy_source_version_id: version::shown(of_source.versioning(), info.id),
        ..CopyObjectOutput::default()
    })
}

/// What is told of a copy.
fn told(copy: &ObjectInfo) -> CopyObjectResult {
    let sums = metadata::checksums(copy);
    CopyObjectResult {
        checksum_type: Algorithm::any_of(&sums).map(|_| ChecksumType::from_static(ChecksumType::FULL_OBJECT)),
        checksum_crc32: sums.checksum_crc32,
        checksum_crc32c: sums.checksum_crc32c,
        checksum_crc64nvme: sums.checksum_crc64nvme,
        checksum_sha1: sums.checksum_sha1,
        checksum_sha256: sums.checksum_sha256,
        e_tag: Some(metadata::etag(copy)),
        last_modified: Some(condition::modified(copy)),
    }
}

/// The version that a source names, as it was given.
pub fn named_version(source: &CopySource) -> Option<&str> {
    match source {
        CopySource::Bucket { version_id, .. } => version_id.as_deref(),
        _ => None,
    }
}

/// What is to be copied.
pub struct Source {
    /// The bucket.
    pub bucket: String,
    /// The key.
    pub key: String,
    /// The version; what is current where `None`.
    pub version: Option<VersionId>,
}

/// Opens what is to be copied.
pub async fn open(gateway: &Gateway, extensions: &Extensions, source: &Source) -> S3Result<ObjectReader> {
    let Source { bucket, key, version } = source;
    match gateway.client.get_stored(bucket, key.as_bytes(), *version).await {
        Ok(reader) => Ok(reader),
        Err(Error::Marker { .. }) if version.is_some() => {
            Err(s3_error!(InvalidRequest, "The source of a copy request may not specifically refer to a delete marker by version id."))
        }
        Err(failure) => Err(gateway.missing(extensions, bucket, version::missing(*version, failure)).await?),
    }
}

/// What a caller names as the source.
pub fn source(source: &CopySource) -> S3Result<Source> {
    match source {
        CopySource::Bucket { bucket, key, version_id } => {
            let version = version::wanted(version_id.as_deref())?;
            Ok(Source { bucket: bucket.to_string(), key: key.to_string(), version })
        }
        _ => Err(s3_error!(NotImplemented, "Copies from access points are not implemented")),
    }
}
