//! Tags of a bucket: a document of its record.

use s3s::dto::{
    DeleteBucketTaggingInput, DeleteBucketTaggingOutput, GetBucketTaggingInput, GetBucketTaggingOutput, PutBucketTaggingInput,
    PutBucketTaggingOutput, Tagging,
};
use s3s::{S3Request, S3Response, S3Result, s3_error};
use types::records::BucketDocument;

use crate::Gateway;
use crate::records::{document, document_of};
use crate::tags::Tags;

/// The tags.
pub async fn get(gateway: &Gateway, req: S3Request<GetBucketTaggingInput>) -> S3Result<GetBucketTaggingOutput> {
    let bucket = gateway.bucket(&req.input.bucket).await?;
    match document::<Tagging>(&bucket, BucketDocument::Tagging)? {
        Some(Tagging { tag_set }) => Ok(GetBucketTaggingOutput { tag_set }),
        None => Err(s3_error!(NoSuchTagSet, "The TagSet does not exist")),
    }
}

/// Replaces them.
pub async fn put(gateway: &Gateway, req: S3Request<PutBucketTaggingInput>) -> S3Result<S3Response<PutBucketTaggingOutput>> {
    let bucket = gateway.bucket(&req.input.bucket).await?;
    let tags = Tags::of_bucket(req.input.tagging.tag_set)?;
    gateway.set_document(&bucket, BucketDocument::Tagging, Some(document_of(&Tagging { tag_set: tags.to_xml() }))).await?;
    Ok(S3Response::with_status(PutBucketTaggingOutput {}, hyper::StatusCode::NO_CONTENT))
}

/// Takes them away.
pub async fn delete(gateway: &Gateway, req: S3Request<DeleteBucketTaggingInput>) -> S3Result<S3Response<DeleteBucketTaggingOutput>> {
    let bucket = gateway.bucket(&req.input.bucket).await?;
    gateway.set_document(&bucket, BucketDocument::Tagging, None).await?;
    Ok(S3Response::with_status(DeleteBucketTaggingOutput {}, hyper::StatusCode::NO_CONTENT))
}
