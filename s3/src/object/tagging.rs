//! Tags of an object that is there: read, set, taken away. Its bytes and its time stay as they are.

use client::{Condition, Error, ObjectInfo};
use s3s::dto::{
    DeleteObjectTaggingInput, DeleteObjectTaggingOutput, GetObjectTaggingInput, GetObjectTaggingOutput, PutObjectTaggingInput,
    PutObjectTaggingOutput,
};
use s3s::{S3Request, S3Response, S3Result, s3_error};

use super::get::refuse_unknown;
use crate::Gateway;
use crate::error::{self, Of};
use crate::metadata;
use crate::tags::{TAGS, Tags};

/// How often it is tried to set tags of an object that is written all the time.
const TRIES_MAX: u32 = 10;

async fn stat(gateway: &Gateway, bucket: &str, key: &str, version: Option<&String>) -> S3Result<ObjectInfo> {
    refuse_unknown(version, false)?;
    gateway.check_bucket(bucket).await?;
    gateway.client.stat(bucket, key.as_bytes()).await.map_err(|e| error::of(Of::Object, e))
}

/// Runs GetObjectTagging.
pub async fn get(gateway: &Gateway, req: S3Request<GetObjectTaggingInput>) -> S3Result<GetObjectTaggingOutput> {
    let input = req.input;
    let info = stat(gateway, &input.bucket, &input.key, input.version_id.as_ref()).await?;
    Ok(GetObjectTaggingOutput { tag_set: Tags::of(&info.user_metadata).to_xml(), version_id: None })
}

/// Runs PutObjectTagging.
pub async fn put(gateway: &Gateway, req: S3Request<PutObjectTaggingInput>) -> S3Result<PutObjectTaggingOutput> {
    let input = req.input;
    let tags = Tags::from_xml(input.tagging.tag_set)?;
    set(gateway, &input.bucket, &input.key, input.version_id.as_ref(), &tags).await?;
    Ok(PutObjectTaggingOutput::default())
}

/// Runs DeleteObjectTagging.
pub async fn delete(gateway: &Gateway, req: S3Request<DeleteObjectTaggingInput>) -> S3Result<S3Response<DeleteObjectTaggingOutput>> {
    let input = req.input;
    set(gateway, &input.bucket, &input.key, input.version_id.as_ref(), &Tags::default()).await?;
    Ok(S3Response::with_status(DeleteObjectTaggingOutput::default(), hyper::StatusCode::NO_CONTENT))
}

async fn set(gateway: &Gateway, bucket: &str, key: &str, version: Option<&String>, tags: &Tags) -> S3Result<()> {
    for _ in 0..TRIES_MAX {
        let info = stat(gateway, bucket, key, version).await?;
        let mut words: Vec<(String, String)> = info.user_metadata.iter().filter(|(name, _)| name != TAGS).cloned().collect();
        if metadata::word(&info, metadata::ETAG).is_none() {
            // An ETag that was made of the version stays what it was.
            words.push((metadata::ETAG.to_owned(), metadata::etag(&info).value().to_owned()));
        }
        words.extend(tags.to_word());
        match gateway.client.describe(bucket, key.as_bytes(), words, Condition::Version(info.version)).await {
            Err(Error::Condition { .. }) => {}
            other => return other.map_err(|e| error::of(Of::Object, e)),
        }
    }
    Err(s3_error!(
        OperationAborted,
        "A conflicting conditional operation is currently in progress against this resource. Please try again."
    ))
}
