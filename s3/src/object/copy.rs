//! COPY of an object: read and written by the gateway; the copy is a new object with bytes of its own.

use client::Condition;
use s3s::dto::{ChecksumType, CopyObjectInput, CopyObjectOutput, CopyObjectResult, CopySource, MetadataDirective, TaggingDirective};
use s3s::{S3Request, S3Result, s3_error};

use super::put::{self, Content};
use crate::Gateway;
use crate::body::Announced;
use crate::checksum::Algorithm;
use crate::condition::{self, source_conditions_given};
use crate::error::{self, Of};
use crate::metadata::{self, Headers, headers_given};

/// Runs the verb.
pub async fn run(gateway: &Gateway, req: S3Request<CopyObjectInput>) -> S3Result<CopyObjectOutput> {
    let mut input = req.input;
    refuse_unknown(&input)?;
    let (from_bucket, from_key) = source(&input.copy_source)?;
    gateway.check_bucket(&from_bucket).await?;
    gateway.check_bucket(&input.bucket).await?;
    let replaces = input.metadata_directive.as_ref().is_some_and(|directive| directive.as_str() == MetadataDirective::REPLACE);
    if !replaces && input.storage_class.is_none() && from_bucket == input.bucket && from_key == input.key {
        return Err(s3_error!(
            InvalidRequest,
            "This copy request is illegal because it is trying to copy an object to itself without changing the object's metadata, storage \
             class, website redirect location or encryption attributes."
        ));
    }
    let reader = gateway.client.get(&from_bucket, from_key.as_bytes(), None).await.map_err(|e| error::of(Of::Object, e))?;
    let conditions = source_conditions_given!(input);
    conditions.check_copy(reader.info())?;
    let info = reader.info().clone();
    let retags = input.tagging_directive.as_ref().is_some_and(|directive| directive.as_str() == TaggingDirective::REPLACE);
    let (of_source, given) = (Headers::of(&info), headers_given!(input));
    let tags = if retags { given.tags.clone() } else { of_source.tags.clone() };
    let storage_class = given.storage_class.clone();
    let headers = Headers { tags, storage_class, ..if replaces { given } else { of_source } };
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
    };
    let copy = put::write(gateway, &input.bucket, &input.key, content, &headers, Condition::Always).await?;
    let sums = metadata::checksums(&copy);
    let result = CopyObjectResult {
        checksum_type: Algorithm::any_of(&sums).map(|_| ChecksumType::from_static(ChecksumType::FULL_OBJECT)),
        checksum_crc32: sums.checksum_crc32,
        checksum_crc32c: sums.checksum_crc32c,
        checksum_crc64nvme: sums.checksum_crc64nvme,
        checksum_sha1: sums.checksum_sha1,
        checksum_sha256: sums.checksum_sha256,
        e_tag: Some(metadata::etag(&copy)),
        last_modified: Some(condition::modified(&copy)),
    };
    Ok(CopyObjectOutput { copy_object_result: Some(result), ..CopyObjectOutput::default() })
}

/// Bucket and key of what is to be copied.
pub fn source(source: &CopySource) -> S3Result<(String, String)> {
    match source {
        CopySource::Bucket { bucket, key, version_id } if version_id.as_deref().is_none_or(|version| version == "null") => {
            Ok((bucket.to_string(), key.to_string()))
        }
        CopySource::Bucket { .. } => Err(s3_error!(NoSuchVersion, "The specified version does not exist.")),
        _ => Err(s3_error!(NotImplemented, "Copies from access points are not implemented")),
    }
}

fn refuse_unknown(input: &CopyObjectInput) -> S3Result<()> {
    let encrypted = input.sse_customer_algorithm.is_some()
        || input.server_side_encryption.is_some()
        || input.copy_source_sse_customer_algorithm.is_some();
    let locked = input.object_lock_mode.is_some() || input.object_lock_legal_hold_status.is_some();
    let grants = [&input.grant_full_control, &input.grant_read, &input.grant_read_acp, &input.grant_write_acp];
    put::refuse_if(encrypted || locked || put::is_shared(input.acl.as_ref(), grants))
}
