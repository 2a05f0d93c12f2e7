//! Tags of an object that is there: read, set, taken away.

use s3s::dto::{
    DeleteObjectTaggingInput, DeleteObjectTaggingOutput, GetObjectTaggingInput, GetObjectTaggingOutput, PutObjectTaggingInput,
    PutObjectTaggingOutput,
};
use s3s::{S3Request, S3Response, S3Result};

use crate::Gateway;
use crate::object::words::{self, named};
use crate::tags::{TAGS, Tags};

/// Runs GetObjectTagging.
pub async fn get(gateway: &Gateway, req: S3Request<GetObjectTaggingInput>) -> S3Result<GetObjectTaggingOutput> {
    let input = req.input;
    let (info, version_id) = words::stat(gateway, &req.extensions, named!(input)).await?;
    gateway.may_show(&req.extensions, &info).await?;
    Ok(GetObjectTaggingOutput { tag_set: Tags::of(&info.user_metadata).to_xml(), version_id })
}

/// Runs PutObjectTagging.
pub async fn put(gateway: &Gateway, req: S3Request<PutObjectTaggingInput>) -> S3Result<PutObjectTaggingOutput> {
    let input = req.input;
    let tags = Tags::from_xml(input.tagging.tag_set)?;
    let version_id = words::set(gateway, &req.extensions, named!(input), TAGS, tags.to_word()).await?;
    Ok(PutObjectTaggingOutput { version_id })
}

/// Runs DeleteObjectTagging.
pub async fn delete(gateway: &Gateway, req: S3Request<DeleteObjectTaggingInput>) -> S3Result<S3Response<DeleteObjectTaggingOutput>> {
    let input = req.input;
    let version_id = words::set(gateway, &req.extensions, named!(input), TAGS, None).await?;
    Ok(S3Response::with_status(DeleteObjectTaggingOutput { version_id }, hyper::StatusCode::NO_CONTENT))
}
