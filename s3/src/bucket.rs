//! Buckets: made, removed when empty, found, listed.

pub mod tagging;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, UNIX_EPOCH};

use client::Error;
use s3s::dto::{
    Bucket, BucketLocationConstraint, CreateBucketInput, CreateBucketOutput, DeleteBucketInput, DeleteBucketOutput, GetBucketLocationInput,
    GetBucketLocationOutput, HeadBucketInput, HeadBucketOutput, ListBucketsInput, ListBucketsOutput, Owner, Timestamp,
};
use s3s::{S3Request, S3Result, s3_error};
use types::object::Versioning;
use types::records::{self, BucketDocument};

use crate::Gateway;
use crate::error::{self, Of};
use crate::lock;

/// Most buckets in one answer.
const LIST_MAX: usize = 10_000;
/// The region whose clients expect that making a bucket again is no error.
const FIRST_REGION: &str = "us-east-1";

/// The account of the key in the configuration.
pub const ROOT: &str = "redoubt";

/// Makes a bucket.
pub async fn create(gateway: &Gateway, req: S3Request<CreateBucketInput>) -> S3Result<CreateBucketOutput> {
    let input = req.input;
    let mut documents = BTreeMap::new();
    if input.object_lock_enabled_for_bucket == Some(true) {
        documents.insert(BucketDocument::Versioning, Versioning::Enabled.name().to_owned());
        documents.insert(BucketDocument::ObjectLock, lock::initial());
    }
    let grants = [&input.grant_full_control, &input.grant_read, &input.grant_read_acp, &input.grant_write, &input.grant_write_acp];
    if input.acl.is_some_and(|acl| acl.as_str() != "private") || grants.iter().any(|grant| grant.is_some()) {
        return Err(s3_error!(NotImplemented, "Access control lists other than private are not implemented"));
    }
    let wanted = input.create_bucket_configuration.and_then(|configuration| configuration.location_constraint);
    if wanted.is_some_and(|location| location.as_str() != gateway.region) {
        return Err(s3_error!(InvalidLocationConstraint, "The specified location-constraint is not valid"));
    }
    let name = input.bucket;
    let (_, is_new) = gateway.client.create_bucket(&name, ROOT, documents).await.map_err(|e| error::of(Of::Bucket, e))?;
    if !is_new && gateway.region != FIRST_REGION {
        return Err(error::of(Of::Bucket, Error::Exists(name)));
    }
    Ok(CreateBucketOutput { location: Some(format!("/{name}")) })
}

/// Removes a bucket without objects.
pub async fn delete(gateway: &Gateway, req: S3Request<DeleteBucketInput>) -> S3Result<DeleteBucketOutput> {
    let bucket = gateway.bucket(&req.input.bucket).await?;
    if !gateway.client.remove_empty_bucket(&req.input.bucket, bucket.id).await.map_err(|e| error::of(Of::Bucket, e))? {
        return Err(s3_error!(BucketNotEmpty, "The bucket you tried to delete is not empty"));
    }
    Ok(DeleteBucketOutput {})
}

/// Whether a bucket is there.
pub async fn head(gateway: &Gateway, req: S3Request<HeadBucketInput>) -> S3Result<HeadBucketOutput> {
    gateway.check_bucket(&req.input.bucket).await?;
    Ok(HeadBucketOutput { bucket_region: Some(gateway.region.clone()), ..HeadBucketOutput::default() })
}

/// Where a bucket is: `us-east-1` is said by saying nothing.
pub async fn location(gateway: &Gateway, req: S3Request<GetBucketLocationInput>) -> S3Result<GetBucketLocationOutput> {
    gateway.check_bucket(&req.input.bucket).await?;
    let elsewhere = gateway.region != FIRST_REGION;
    Ok(GetBucketLocationOutput { location_constraint: elsewhere.then(|| BucketLocationConstraint::from(gateway.region.clone())) })
}

/// All buckets, by name, in pages.
pub async fn list(gateway: &Gateway, req: S3Request<ListBucketsInput>) -> S3Result<ListBucketsOutput> {
    let input = req.input;
    let records = gateway.records().await?;
    let prefix = input.prefix.clone().unwrap_or_default();
    let after = input.continuation_token.unwrap_or_default();
    let limit = input.max_buckets.map_or(LIST_MAX, |max| usize::try_from(max).unwrap_or(0).clamp(1, LIST_MAX));
    let mut found = records.buckets.iter().filter(|(name, _)| name.starts_with(&prefix) && **name > after);
    let page: Vec<_> = found.by_ref().take(limit).collect();
    let more = found.next().is_some();
    let token = page.last().filter(|_| more).map(|(name, _)| (*name).clone());
    let bucket = |(name, bucket): (&String, &Arc<records::Bucket>)| Bucket {
        name: Some(name.clone()),
        bucket_region: Some(gateway.region.clone()),
        creation_date: Some(Timestamp::from(UNIX_EPOCH + Duration::from_millis(bucket.created_ms))),
    };
    Ok(ListBucketsOutput {
        buckets: Some(page.into_iter().map(bucket).collect()),
        continuation_token: token,
        owner: Some(owner()),
        prefix: input.prefix,
    })
}

/// Whose everything is.
pub fn owner() -> Owner {
    Owner { display_name: Some(ROOT.into()), id: Some(ROOT.into()) }
}
