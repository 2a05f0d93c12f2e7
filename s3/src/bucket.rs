//! Buckets: made, removed when empty, found, listed.

pub mod acl;
pub mod cors;
pub mod encryption;
pub mod notification;
pub mod policy;
pub mod public_access;
pub mod tagging;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, UNIX_EPOCH};

use client::Error;
use s3s::dto::{
    Bucket, BucketLocationConstraint, CreateBucketInput, CreateBucketOutput, DeleteBucketInput, DeleteBucketOutput, GetBucketLocationInput,
    GetBucketLocationOutput, HeadBucketInput, HeadBucketOutput, ListBucketsInput, ListBucketsOutput, ObjectOwnership, Timestamp,
};
use s3s::{S3Error, S3ErrorCode, S3Request, S3Result, s3_error};
use types::object::Versioning;
use types::records::{self, Account, BucketDocument};

use crate::Gateway;
use crate::access;
use crate::acl::{Acl, Between, headers_of_acl};
use crate::error::{self, Of};
use crate::lock;

/// Most buckets in one answer.
const LIST_MAX: usize = 10_000;
/// The region whose clients expect that making a bucket again is no error.
const FIRST_REGION: &str = "us-east-1";

/// The account of the key in the configuration.
pub use types::records::ROOT;

/// Makes a bucket.
pub async fn create(gateway: &Gateway, req: S3Request<CreateBucketInput>) -> S3Result<CreateBucketOutput> {
    let input = req.input;
    let mut documents = BTreeMap::new();
    if input.object_lock_enabled_for_bucket == Some(true) {
        documents.insert(BucketDocument::Versioning, Versioning::Enabled.name().to_owned());
        documents.insert(BucketDocument::ObjectLock, lock::initial());
    }
    let caller = access::caller(&req.extensions)?;
    let (owner, records) = (caller.account().ok_or_else(access::denied)?, gateway.records().await?);
    let acl = Acl::from_headers(&headers_of_acl!(input, write), Between { owner, bucket_owner: owner }, &records, &gateway.root)?;
    let ownership = input.object_ownership.as_ref().map(public_access::ownership_named).transpose()?;
    if ownership == Some(ObjectOwnership::BUCKET_OWNER_ENFORCED) && acl != Acl::private(owner) {
        let words = "Bucket cannot have ACLs set with ObjectOwnership's BucketOwnerEnforced setting";
        return Err(S3Error::with_message(S3ErrorCode::InvalidBucketAclWithObjectOwnership, words));
    }
    let wanted = input.create_bucket_configuration.and_then(|configuration| configuration.location_constraint);
    if wanted.is_some_and(|location| location.as_str() != gateway.region) {
        return Err(s3_error!(InvalidLocationConstraint, "The specified location-constraint is not valid"));
    }
    let name = input.bucket;
    let acl = (acl != Acl::private(owner)).then(|| (BucketDocument::Acl, acl.to_text()));
    let ownership = ownership.map(|mode| (BucketDocument::Ownership, mode.to_owned()));
    documents.extend(acl.into_iter().chain(ownership));
    let made = gateway.client.create_bucket(&name, owner, documents.clone()).await;
    let (_, is_new) = made.map_err(|e| error::of(Of::Bucket, e))?;
    if !is_new {
        let present = gateway.bucket(&name).await?;
        let is_same = [BucketDocument::Acl, BucketDocument::Ownership].iter().all(|one| present.documents.get(one) == documents.get(one));
        if access::owner_of(&present) != owner || !is_same {
            let words = "The requested bucket name is not available. The bucket namespace is shared by all users of the system. \
                         Please select a different name and try again.";
            return Err(S3Error::with_message(S3ErrorCode::BucketAlreadyExists, words));
        }
        if gateway.region != FIRST_REGION {
            return Err(error::of(Of::Bucket, Error::Exists(name)));
        }
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
    let caller = access::caller(&req.extensions)?;
    let account = caller.account().ok_or_else(access::denied)?;
    let prefix = input.prefix.clone().unwrap_or_default();
    let after = input.continuation_token.unwrap_or_default();
    let limit = input.max_buckets.map_or(LIST_MAX, |max| usize::try_from(max).unwrap_or(0).clamp(1, LIST_MAX));
    let mut found =
        records.buckets.iter().filter(|(name, bucket)| access::owner_of(bucket) == account && name.starts_with(&prefix) && **name > after);
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
        owner: Some(access::shown(account, &records, &gateway.root)),
        prefix: input.prefix,
    })
}

/// The account of the key in the configuration.
pub fn root() -> Account {
    Account { name: ROOT.into(), display_name: ROOT.into(), email: String::new(), created_ms: 0, disabled: false, keys: BTreeMap::new() }
}
