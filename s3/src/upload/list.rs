//! ListParts and ListMultipartUploads.

use client::{PartInfo, UploadInfo, UploadPage, UploadToken};
use s3s::dto::{
    ChecksumAlgorithm, ChecksumType, CommonPrefix, ETag, Initiator, ListMultipartUploadsInput, ListMultipartUploadsOutput, ListPartsInput,
    ListPartsOutput, MultipartUpload, Owner, Part, StorageClass,
};
use s3s::{S3Request, S3Result, s3_error};

use crate::Gateway;
use crate::access::Owners;
use crate::condition;
use crate::error::{self, Of};
use crate::metadata;
use crate::object::list::Names;

/// Most entries of a page, as S3 has it.
const PAGE_MAX: i32 = 1000;

fn initiator(owner: Owner) -> Initiator {
    Initiator { display_name: owner.display_name, id: owner.id }
}

fn class_of(upload: &UploadInfo) -> StorageClass {
    let named = metadata::find(&upload.user_metadata, metadata::STORAGE_CLASS);
    named.map_or(StorageClass::from_static(StorageClass::STANDARD), |class| StorageClass::from(class.to_owned()))
}

fn limit(wanted: Option<i32>, name: &str) -> S3Result<i32> {
    match wanted.unwrap_or(PAGE_MAX) {
        negative if negative < 0 => Err(s3_error!(InvalidArgument, "Argument {name} must be an integer between 0 and 2147483647")),
        limit => Ok(limit.min(PAGE_MAX)),
    }
}

/// Runs ListParts.
pub async fn parts(gateway: &Gateway, req: S3Request<ListPartsInput>) -> S3Result<ListPartsOutput> {
    let input = req.input;
    let owners = gateway.owners(&input.bucket).await?;
    let id = super::id(&input.upload_id)?;
    let upload = super::open(gateway, &input.bucket, &input.key, id).await?;
    let limit = limit(input.max_parts, "max-parts")?;
    let after = u16::try_from(input.part_number_marker.unwrap_or(0)).unwrap_or(u16::MAX);
    let found = gateway.client.parts(&input.bucket, input.key.as_bytes(), id, after, limit.unsigned_abs() as usize);
    let (parts, more) = found.await.map_err(|e| error::of(Of::Upload, e))?;
    let checksum = super::checksum_of(&upload.user_metadata);
    Ok(ListPartsOutput {
        next_part_number_marker: Some(parts.last().map_or(0, |part| i32::from(part.number))),
        parts: Some(parts.iter().map(shown_part).collect()),
        is_truncated: Some(more && limit > 0),
        max_parts: Some(limit),
        part_number_marker: Some(i32::from(after)),
        checksum_algorithm: checksum.map(|(algorithm, _)| ChecksumAlgorithm::from(algorithm.name().to_ascii_uppercase())),
        checksum_type: checksum.map(|(_, kind)| ChecksumType::from_static(kind.name())),
        storage_class: Some(class_of(&upload)),
        initiator: Some(initiator(owners.of(&upload.user_metadata))),
        owner: Some(owners.of(&upload.user_metadata)),
        bucket: Some(input.bucket),
        key: Some(input.key),
        upload_id: Some(input.upload_id),
        ..ListPartsOutput::default()
    })
}

fn shown_part(part: &PartInfo) -> Part {
    let sums = metadata::checksums_of(&part.user_metadata);
    Part {
        part_number: Some(i32::from(part.number)),
        size: i64::try_from(part.size).ok(),
        e_tag: Some(ETag::Strong(super::etag_of(part).to_owned())),
        last_modified: Some(condition::at_ms(part.modified_ms)),
        checksum_crc32: sums.checksum_crc32,
        checksum_crc32c: sums.checksum_crc32c,
        checksum_crc64nvme: sums.checksum_crc64nvme,
        checksum_sha1: sums.checksum_sha1,
        checksum_sha256: sums.checksum_sha256,
    }
}

/// Runs ListMultipartUploads.
pub async fn uploads(gateway: &Gateway, req: S3Request<ListMultipartUploadsInput>) -> S3Result<ListMultipartUploadsOutput> {
    let input = req.input;
    let owners = gateway.owners(&input.bucket).await?;
    let names = Names::of(input.encoding_type.as_ref())?;
    let prefix = input.prefix.clone().unwrap_or_default();
    let limit = limit(input.max_uploads, "max-uploads")?;
    let delimiter = input.delimiter.as_deref().filter(|delimiter| !delimiter.is_empty()).map(str::as_bytes);
    let after = match input.key_marker.as_deref().filter(|marker| !marker.is_empty()) {
        None => None,
        Some(marker) => {
            let upload = input.upload_id_marker.as_deref().filter(|id| !id.is_empty());
            let upload = upload.map(|id| super::id(id).map_err(|_| s3_error!(InvalidArgument, "Invalid uploadId marker"))).transpose()?;
            Some(UploadToken { name: marker.as_bytes().to_vec(), upload })
        }
    };
    let page = if limit == 0 {
        UploadPage::default()
    } else {
        let found = gateway.client.uploads(&input.bucket, prefix.as_bytes(), delimiter, after, limit.unsigned_abs() as usize);
        found.await.map_err(|e| error::of(Of::Bucket, e))?
    };
    let next = page.next.as_ref();
    Ok(ListMultipartUploadsOutput {
        is_truncated: Some(next.is_some()),
        next_key_marker: next.map(|next| names.write(&next.name)),
        next_upload_id_marker: next.and_then(|next| next.upload).map(|upload| metadata::hex(&upload.0)),
        uploads: Some(page.uploads.iter().map(|upload| shown_upload(upload, names, &owners)).collect()),
        common_prefixes: Some(page.prefixes.iter().map(|prefix| CommonPrefix { prefix: Some(names.write(prefix)) }).collect()),
        key_marker: Some(names.write(input.key_marker.unwrap_or_default().as_bytes())),
        upload_id_marker: input.upload_id_marker,
        max_uploads: Some(limit),
        prefix: Some(names.write(prefix.as_bytes())),
        delimiter: input.delimiter.filter(|delimiter| !delimiter.is_empty()).map(|delimiter| names.write(delimiter.as_bytes())),
        encoding_type: input.encoding_type,
        bucket: Some(input.bucket),
        ..ListMultipartUploadsOutput::default()
    })
}

fn shown_upload(upload: &UploadInfo, names: Names, owners: &Owners) -> MultipartUpload {
    let checksum = super::checksum_of(&upload.user_metadata);
    MultipartUpload {
        key: Some(names.write(&upload.name)),
        upload_id: Some(metadata::hex(&upload.upload.0)),
        initiated: Some(condition::at_ms(upload.began_ms)),
        initiator: Some(initiator(owners.of(&upload.user_metadata))),
        owner: Some(owners.of(&upload.user_metadata)),
        storage_class: Some(class_of(upload)),
        checksum_algorithm: checksum.map(|(algorithm, _)| ChecksumAlgorithm::from(algorithm.name().to_ascii_uppercase())),
        checksum_type: checksum.map(|(_, kind)| ChecksumType::from_static(kind.name())),
    }
}
