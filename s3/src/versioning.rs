//! Whether a bucket keeps versions, and the list of those that it has.

use client::{VersionInfo, VersionPage, VersionToken, VersionsRequest};
use s3s::dto::{
    BucketVersioningStatus, CommonPrefix, DeleteMarkerEntry, GetBucketVersioningInput, GetBucketVersioningOutput, ListObjectVersionsInput,
    ListObjectVersionsOutput, MFADelete, ObjectVersion, ObjectVersionStorageClass, PutBucketVersioningInput, PutBucketVersioningOutput,
};
use s3s::{S3Request, S3Result, s3_error};
use types::object::Versioning;
use types::records::BucketDocument;

use crate::Gateway;
use crate::access::Owners;
use crate::checksum::Algorithm;
use crate::condition;
use crate::error::{self, Of};
use crate::lock;
use crate::metadata;
use crate::object::list::{Names, page_limit};
use crate::version;

/// Runs PutBucketVersioning.
pub async fn put(gateway: &Gateway, req: S3Request<PutBucketVersioningInput>) -> S3Result<PutBucketVersioningOutput> {
    let input = req.input;
    let bucket = gateway.bucket(&input.bucket).await?;
    let wanted = input.versioning_configuration;
    if wanted.mfa_delete.as_ref().is_some_and(|mfa| mfa.as_str() != MFADelete::DISABLED) {
        return Err(s3_error!(NotImplemented, "MFA delete is not implemented"));
    }
    let status =
        wanted.status.ok_or_else(|| s3_error!(IllegalVersioningConfigurationException, "The Versioning element must be specified"))?;
    let Some(versioning) = Versioning::parse(status.as_str()).filter(|wanted| *wanted != Versioning::Off) else {
        return Err(metadata::malformed());
    };
    if versioning != Versioning::Enabled && lock::is_on(&bucket) {
        return Err(s3_error!(
            InvalidBucketState,
            "An Object Lock configuration is present on this bucket, so the versioning state cannot be changed."
        ));
    }
    gateway.set_document(&bucket, BucketDocument::Versioning, Some(status.as_str().to_owned())).await?;
    Ok(PutBucketVersioningOutput::default())
}

/// Runs GetBucketVersioning.
pub async fn get(gateway: &Gateway, req: S3Request<GetBucketVersioningInput>) -> S3Result<GetBucketVersioningOutput> {
    let status = match gateway.bucket(&req.input.bucket).await?.versioning() {
        Versioning::Off => None,
        versioning => Some(BucketVersioningStatus::from_static(versioning.name())),
    };
    Ok(GetBucketVersioningOutput { status, ..GetBucketVersioningOutput::default() })
}

/// Runs ListObjectVersions.
pub async fn list(gateway: &Gateway, req: S3Request<ListObjectVersionsInput>) -> S3Result<ListObjectVersionsOutput> {
    let input = req.input;
    let owners = gateway.owners(&input.bucket).await?;
    let names = Names::of(input.encoding_type.as_ref())?;
    let prefix = input.prefix.clone().unwrap_or_default();
    let limit = page_limit(input.max_keys)?;
    let key_marker = input.key_marker.as_deref().filter(|marker| !marker.is_empty());
    let id_marker = version::wanted(input.version_id_marker.as_deref().filter(|marker| !marker.is_empty()))?;
    let after = match (key_marker, id_marker) {
        (None, Some(_)) => return Err(s3_error!(InvalidArgument, "A version-id marker cannot be specified without a key marker.")),
        (marker, id) => marker.map(|name| VersionToken { name: name.as_bytes().to_vec(), id }),
    };
    let request = VersionsRequest {
        prefix: prefix.as_bytes().to_vec(),
        after,
        delimiter: input.delimiter.as_ref().filter(|delimiter| !delimiter.is_empty()).map(|delimiter| delimiter.as_bytes().to_vec()),
        limit: limit.unsigned_abs() as usize,
    };
    let page = if limit == 0 {
        VersionPage::default()
    } else {
        gateway.client.versions(&input.bucket, &request).await.map_err(|e| error::of(Of::Bucket, e))?
    };
    let next = page.next.as_ref();
    Ok(ListObjectVersionsOutput {
        is_truncated: Some(next.is_some()),
        next_key_marker: next.map(|next| names.write(&next.name)),
        next_version_id_marker: next.and_then(|next| next.id).map(|id| id.to_string()),
        versions: Some(page.versions.iter().filter_map(|version| object(version, names, &owners)).collect()),
        delete_markers: Some(
            page.versions.iter().filter(|version| version.object.is_none()).map(|marker| deleted(marker, names, &owners)).collect(),
        ),
        common_prefixes: Some(page.prefixes.iter().map(|prefix| CommonPrefix { prefix: Some(names.write(prefix)) }).collect()),
        key_marker: Some(names.write(input.key_marker.unwrap_or_default().as_bytes())),
        version_id_marker: Some(input.version_id_marker.unwrap_or_default()),
        max_keys: Some(limit),
        prefix: Some(names.write(prefix.as_bytes())),
        delimiter: input.delimiter.filter(|delimiter| !delimiter.is_empty()).map(|delimiter| names.write(delimiter.as_bytes())),
        encoding_type: input.encoding_type,
        name: Some(input.bucket),
        ..ListObjectVersionsOutput::default()
    })
}

fn object(version: &VersionInfo, names: Names, owners: &Owners) -> Option<ObjectVersion> {
    let info = version.object.as_ref()?;
    let sums = metadata::checksums(info);
    let algorithms = Algorithm::all_of(&sums);
    Some(ObjectVersion {
        key: Some(names.write(&version.name)),
        version_id: Some(version.id.to_string()),
        is_latest: Some(version.is_current),
        last_modified: Some(condition::at_ms(version.modified_ms)),
        e_tag: Some(metadata::etag(info)),
        size: Some(i64::try_from(info.size).unwrap_or(i64::MAX)),
        storage_class: Some(match metadata::word(info, metadata::STORAGE_CLASS) {
            Some(class) => ObjectVersionStorageClass::from(class.to_owned()),
            None => ObjectVersionStorageClass::from_static(ObjectVersionStorageClass::STANDARD),
        }),
        owner: Some(owners.of(&info.user_metadata)),
        checksum_type: (!algorithms.is_empty()).then(|| metadata::checksum_type(info)),
        checksum_algorithm: (!algorithms.is_empty())
            .then(|| algorithms.iter().map(|one| s3s::dto::ChecksumAlgorithm::from(one.name().to_ascii_uppercase())).collect()),
        ..ObjectVersion::default()
    })
}

fn deleted(marker: &VersionInfo, names: Names, owners: &Owners) -> DeleteMarkerEntry {
    DeleteMarkerEntry {
        key: Some(names.write(&marker.name)),
        version_id: Some(marker.id.to_string()),
        is_latest: Some(marker.is_current),
        last_modified: Some(condition::at_ms(marker.modified_ms)),
        owner: Some(owners.of(&[])),
    }
}
