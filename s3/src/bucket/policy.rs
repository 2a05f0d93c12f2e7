//! The policy of a bucket: a document of its record, in JSON as it was given.

use s3s::dto::{
    DeleteBucketPolicyInput, DeleteBucketPolicyOutput, GetBucketPolicyInput, GetBucketPolicyOutput, GetBucketPolicyStatusInput,
    GetBucketPolicyStatusOutput, PolicyStatus, PutBucketPolicyInput, PutBucketPolicyOutput,
};
use s3s::{S3Error, S3ErrorCode, S3Request, S3Response, S3Result, s3_error};
use types::records::BucketDocument;

use crate::Gateway;
use crate::access::{bucket_acl, denied};
use crate::policy::Policy;
use crate::settings::PublicAccess;

/// The policy.
pub async fn get(gateway: &Gateway, req: S3Request<GetBucketPolicyInput>) -> S3Result<GetBucketPolicyOutput> {
    let bucket = gateway.bucket(&req.input.bucket).await?;
    match bucket.document(BucketDocument::Policy) {
        Some(policy) => Ok(GetBucketPolicyOutput { policy: Some(policy.to_owned()) }),
        None => Err(s3_error!(NoSuchBucketPolicy, "The bucket policy does not exist")),
    }
}

/// Replaces it.
pub async fn put(gateway: &Gateway, req: S3Request<PutBucketPolicyInput>) -> S3Result<S3Response<PutBucketPolicyOutput>> {
    let bucket = gateway.bucket(&req.input.bucket).await?;
    let text = req.input.policy;
    let policy = Policy::parse(&text).map_err(|why| S3Error::with_message(S3ErrorCode::MalformedPolicy, why.to_string()))?;
    if !policy.is_about(&req.input.bucket) {
        return Err(S3Error::with_message(S3ErrorCode::MalformedPolicy, "Policy has invalid resource"));
    }
    if PublicAccess::of(&bucket).block_policy && policy.is_public() {
        return Err(denied());
    }
    gateway.set_document(&bucket, BucketDocument::Policy, Some(text)).await?;
    Ok(S3Response::with_status(PutBucketPolicyOutput {}, hyper::StatusCode::NO_CONTENT))
}

/// Takes it away.
pub async fn delete(gateway: &Gateway, req: S3Request<DeleteBucketPolicyInput>) -> S3Result<S3Response<DeleteBucketPolicyOutput>> {
    let bucket = gateway.bucket(&req.input.bucket).await?;
    gateway.set_document(&bucket, BucketDocument::Policy, None).await?;
    Ok(S3Response::with_status(DeleteBucketPolicyOutput {}, hyper::StatusCode::NO_CONTENT))
}

/// Whether everybody gets in, by the policy or by the list.
pub async fn status(gateway: &Gateway, req: S3Request<GetBucketPolicyStatusInput>) -> S3Result<GetBucketPolicyStatusOutput> {
    let bucket = gateway.bucket(&req.input.bucket).await?;
    let block = PublicAccess::of(&bucket);
    let by_policy = gateway.policies.of(&bucket).ok().flatten().is_some_and(|it| it.is_public());
    let by_acl = bucket_acl(&bucket).is_public();
    let is_public = (by_policy && !block.restrict_buckets) || (by_acl && !block.ignore_acls);
    Ok(GetBucketPolicyStatusOutput { policy_status: Some(PolicyStatus { is_public: Some(is_public) }) })
}
