//! Buckets: made, removed when empty, found, listed.

use client::{CatalogueKind, Error, ListRequest};
use s3s::dto::{
    Bucket, BucketLocationConstraint, CreateBucketInput, CreateBucketOutput, DeleteBucketInput, DeleteBucketOutput, GetBucketLocationInput,
    GetBucketLocationOutput, HeadBucketInput, HeadBucketOutput, ListBucketsInput, ListBucketsOutput, Owner, Timestamp,
};
use s3s::{S3Request, S3Result, s3_error};

use crate::Gateway;
use crate::error::{self, Of};

/// Most buckets in one answer.
const LIST_MAX: usize = 10_000;
/// The region whose clients expect that making a bucket again is no error.
const FIRST_REGION: &str = "us-east-1";

/// Makes a bucket.
pub async fn create(gateway: &Gateway, req: S3Request<CreateBucketInput>) -> S3Result<CreateBucketOutput> {
    let input = req.input;
    if input.object_lock_enabled_for_bucket == Some(true) {
        return Err(s3_error!(NotImplemented, "Object lock is not implemented"));
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
    match gateway.client.create(CatalogueKind::Bucket, &name, None).await {
        Err(Error::Exists(_)) if gateway.region == FIRST_REGION => {}
        made => made.map_err(|e| error::of(Of::Bucket, e))?,
    }
    Ok(CreateBucketOutput { location: Some(format!("/{name}")) })
}

/// Removes a bucket without objects.
pub async fn delete(gateway: &Gateway, req: S3Request<DeleteBucketInput>) -> S3Result<DeleteBucketOutput> {
    let bucket = &req.input.bucket;
    let first = ListRequest { limit: 1, ..ListRequest::default() };
    let page = gateway.client.list(bucket, &first).await.map_err(|e| error::of(Of::Bucket, e))?;
    if !page.objects.is_empty() {
        return Err(s3_error!(BucketNotEmpty, "The bucket you tried to delete is not empty"));
    }
    gateway.client.remove(CatalogueKind::Bucket, bucket).await.map_err(|e| error::of(Of::Bucket, e))?;
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
    let buckets = gateway.client.catalogues(CatalogueKind::Bucket).await.map_err(|e| error::of(Of::Bucket, e))?;
    let prefix = input.prefix.clone().unwrap_or_default();
    let after = input.continuation_token.unwrap_or_default();
    let limit = input.max_buckets.map_or(LIST_MAX, |max| usize::try_from(max).unwrap_or(0).clamp(1, LIST_MAX));
    let mut names = buckets.into_iter().map(|bucket| bucket.name).filter(|name| name.starts_with(&prefix) && *name > after);
    let page: Vec<String> = names.by_ref().take(limit).collect();
    let more = names.next().is_some();
    let token = page.last().filter(|_| more).cloned();
    let bucket = |name: String| Bucket {
        name: Some(name),
        bucket_region: Some(gateway.region.clone()),
        // HA does not keep it yet; clients cannot do without one.
        creation_date: Some(Timestamp::from(std::time::UNIX_EPOCH)),
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
    Owner { display_name: Some("redoubt".into()), id: Some("redoubt".into()) }
}
