//! What of lists and policies does not count, and who owns what others write into a bucket.

use s3s::dto::{
    DeleteBucketOwnershipControlsInput, DeleteBucketOwnershipControlsOutput, DeletePublicAccessBlockInput, DeletePublicAccessBlockOutput,
    GetBucketOwnershipControlsInput, GetBucketOwnershipControlsOutput, GetPublicAccessBlockInput, GetPublicAccessBlockOutput,
    ObjectOwnership, OwnershipControls, OwnershipControlsRule, PublicAccessBlockConfiguration, PutBucketOwnershipControlsInput,
    PutBucketOwnershipControlsOutput, PutPublicAccessBlockInput, PutPublicAccessBlockOutput,
};
use s3s::{S3Error, S3ErrorCode, S3Request, S3Response, S3Result, s3_error};
use types::records::BucketDocument;

use crate::Gateway;
use crate::access::{bucket_acl, owner_of};
use crate::acl::Acl;
use crate::records::{document, document_of};

/// What does not count.
pub async fn get(gateway: &Gateway, req: S3Request<GetPublicAccessBlockInput>) -> S3Result<GetPublicAccessBlockOutput> {
    let bucket = gateway.bucket(&req.input.bucket).await?;
    match document::<PublicAccessBlockConfiguration>(&bucket, BucketDocument::PublicAccessBlock)? {
        Some(block) => Ok(GetPublicAccessBlockOutput { public_access_block_configuration: Some(block) }),
        None => {
            let code = S3ErrorCode::Custom("NoSuchPublicAccessBlockConfiguration".into());
            let mut error = S3Error::with_message(code, "The public access block configuration was not found");
            error.set_status_code(hyper::StatusCode::NOT_FOUND);
            Err(error)
        }
    }
}

/// Says what does not count.
pub async fn put(gateway: &Gateway, req: S3Request<PutPublicAccessBlockInput>) -> S3Result<PutPublicAccessBlockOutput> {
    let bucket = gateway.bucket(&req.input.bucket).await?;
    let given = req.input.public_access_block_configuration;
    let block = PublicAccessBlockConfiguration {
        block_public_acls: Some(given.block_public_acls.unwrap_or(false)),
        block_public_policy: Some(given.block_public_policy.unwrap_or(false)),
        ignore_public_acls: Some(given.ignore_public_acls.unwrap_or(false)),
        restrict_public_buckets: Some(given.restrict_public_buckets.unwrap_or(false)),
    };
    gateway.set_document(&bucket, BucketDocument::PublicAccessBlock, Some(document_of(&block))).await?;
    Ok(PutPublicAccessBlockOutput {})
}

/// Everything counts again.
pub async fn delete(
    gateway: &Gateway,
    req: S3Request<DeletePublicAccessBlockInput>,
) -> S3Result<S3Response<DeletePublicAccessBlockOutput>> {
    let bucket = gateway.bucket(&req.input.bucket).await?;
    gateway.set_document(&bucket, BucketDocument::PublicAccessBlock, None).await?;
    Ok(S3Response::with_status(DeletePublicAccessBlockOutput {}, hyper::StatusCode::NO_CONTENT))
}

/// Who owns what others write.
pub async fn ownership(gateway: &Gateway, req: S3Request<GetBucketOwnershipControlsInput>) -> S3Result<GetBucketOwnershipControlsOutput> {
    let bucket = gateway.bucket(&req.input.bucket).await?;
    let Some(set) = bucket.document(BucketDocument::Ownership) else {
        return Err(s3_error!(OwnershipControlsNotFoundError, "The bucket ownership controls were not found"));
    };
    let rule = OwnershipControlsRule { object_ownership: ObjectOwnership::from(set.to_owned()) };
    Ok(GetBucketOwnershipControlsOutput { ownership_controls: Some(OwnershipControls { rules: vec![rule] }) })
}

/// Says who owns it.
pub async fn put_ownership(
    gateway: &Gateway,
    req: S3Request<PutBucketOwnershipControlsInput>,
) -> S3Result<PutBucketOwnershipControlsOutput> {
    let bucket = gateway.bucket(&req.input.bucket).await?;
    let [OwnershipControlsRule { object_ownership }] = &req.input.ownership_controls.rules[..] else { return Err(malformed()) };
    let mode = ownership_named(object_ownership)?;
    if mode == ObjectOwnership::BUCKET_OWNER_ENFORCED && bucket_acl(&bucket) != Acl::private(owner_of(&bucket)) {
        let words = "Bucket cannot have ACLs set with ObjectOwnership's BucketOwnerEnforced setting";
        return Err(S3Error::with_message(S3ErrorCode::InvalidBucketAclWithObjectOwnership, words));
    }
    gateway.set_document(&bucket, BucketDocument::Ownership, Some(mode.to_owned())).await?;
    Ok(PutBucketOwnershipControlsOutput {})
}

/// Nothing is said of it any more.
pub async fn delete_ownership(
    gateway: &Gateway,
    req: S3Request<DeleteBucketOwnershipControlsInput>,
) -> S3Result<S3Response<DeleteBucketOwnershipControlsOutput>> {
    let bucket = gateway.bucket(&req.input.bucket).await?;
    gateway.set_document(&bucket, BucketDocument::Ownership, None).await?;
    Ok(S3Response::with_status(DeleteBucketOwnershipControlsOutput {}, hyper::StatusCode::NO_CONTENT))
}

/// A mode of ownership that there is.
pub fn ownership_named(named: &ObjectOwnership) -> S3Result<&'static str> {
    let known = [ObjectOwnership::BUCKET_OWNER_ENFORCED, ObjectOwnership::BUCKET_OWNER_PREFERRED, ObjectOwnership::OBJECT_WRITER];
    known.into_iter().find(|one| *one == named.as_str()).ok_or_else(malformed)
}

fn malformed() -> S3Error {
    s3_error!(MalformedXML, "The XML you provided was not well-formed or did not validate against our published schema")
}
