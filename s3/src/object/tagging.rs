//! Tags of an object that is there: read, set, taken away. Its bytes and its time stay as they are.

use client::{Condition, Error, ObjectInfo};
use hyper::http::Extensions;
use s3s::dto::{
    DeleteObjectTaggingInput, DeleteObjectTaggingOutput, GetObjectTaggingInput, GetObjectTaggingOutput, PutObjectTaggingInput,
    PutObjectTaggingOutput,
};
use s3s::{S3Request, S3Response, S3Result, s3_error};

use crate::Gateway;
use crate::error::{self, Of};
use crate::metadata;
use crate::tags::{TAGS, Tags};
use crate::version;

/// How often it is tried to set tags of an object that is written all the time.
const TRIES_MAX: u32 = 10;

/// What is kept of a version, and how it is called.
pub async fn stat(
    gateway: &Gateway,
    extensions: &Extensions,
    bucket: &str,
    key: &str,
    named: Option<&str>,
) -> S3Result<(ObjectInfo, Option<String>)> {
    let versioning = gateway.bucket(bucket).await?.versioning();
    let wanted = version::wanted(named)?;
    let info = match gateway.client.stat_version(bucket, key.as_bytes(), wanted).await {
        Ok(info) => info,
        Err(failure) => return Err(gateway.missing(extensions, bucket, version::missing(wanted, failure)).await?),
    };
    let shown = version::shown(versioning, info.id);
    Ok((info, shown))
}

/// Runs GetObjectTagging.
pub async fn get(gateway: &Gateway, req: S3Request<GetObjectTaggingInput>) -> S3Result<GetObjectTaggingOutput> {
    let input = req.input;
    let (info, version_id) = stat(gateway, &req.extensions, &input.bucket, &input.key, input.version_id.as_deref()).await?;
    gateway.may_show(&req.extensions, &info).await?;
    Ok(GetObjectTaggingOutput { tag_set: Tags::of(&info.user_metadata).to_xml(), version_id })
}

/// Runs PutObjectTagging.
pub async fn put(gateway: &Gateway, req: S3Request<PutObjectTaggingInput>) -> S3Result<PutObjectTaggingOutput> {
    let input = req.input;
    let tags = Tags::from_xml(input.tagging.tag_set)?;
    let version_id = set(gateway, &req.extensions, &input.bucket, &input.key, input.version_id.as_deref(), &tags).await?;
    Ok(PutObjectTaggingOutput { version_id })
}

/// Runs DeleteObjectTagging.
pub async fn delete(gateway: &Gateway, req: S3Request<DeleteObjectTaggingInput>) -> S3Result<S3Response<DeleteObjectTaggingOutput>> {
    let input = req.input;
    let version_id = set(gateway, &req.extensions, &input.bucket, &input.key, input.version_id.as_deref(), &Tags::default()).await?;
    Ok(S3Response::with_status(DeleteObjectTaggingOutput { version_id }, hyper::StatusCode::NO_CONTENT))
}

async fn set(
    gateway: &Gateway,
    extensions: &Extensions,
    bucket: &str,
    key: &str,
    named: Option<&str>,
    tags: &Tags,
) -> S3Result<Option<String>> {
    set_word(gateway, extensions, bucket, key, named, TAGS, tags.to_word()).await
}

/// Sets a word of an object's record, or takes it away.
pub async fn set_word(
    gateway: &Gateway,
    extensions: &Extensions,
    bucket: &str,
    key: &str,
    named: Option<&str>,
    name: &str,
    word: Option<(String, String)>,
) -> S3Result<Option<String>> {
    for _ in 0..TRIES_MAX {
        let (info, shown) = stat(gateway, extensions, bucket, key, named).await?;
        let mut words: Vec<(String, String)> = info.user_metadata.iter().filter(|(known, _)| known != name).cloned().collect();
        if metadata::word(&info, metadata::ETAG).is_none() {
            // An ETag that was made of the version stays what it was.
            words.push((metadata::ETAG.to_owned(), metadata::etag(&info).value().to_owned()));
        }
        words.extend(word.clone());
        match gateway.client.describe_version(bucket, key.as_bytes(), Some(info.id), words, Condition::Version(info.version)).await {
            Err(Error::Condition { .. }) => {}
            other => return other.map(|()| shown).map_err(|e| error::of(Of::Object, e)),
        }
    }
    Err(s3_error!(
        OperationAborted,
        "A conflicting conditional operation is currently in progress against this resource. Please try again."
    ))
}
