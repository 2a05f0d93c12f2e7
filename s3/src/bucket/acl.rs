//! The access control list of a bucket: a document of its record.

use s3s::dto::{GetBucketAclInput, GetBucketAclOutput, PutBucketAclInput, PutBucketAclOutput};
use s3s::{S3Request, S3Result};
use types::records::BucketDocument;

use crate::Gateway;
use crate::access::{self, bucket_acl, owner_of};
use crate::acl::{Acl, Between, headers_of_acl};
use crate::settings::PublicAccess;

/// The list.
pub async fn get(gateway: &Gateway, req: S3Request<GetBucketAclInput>) -> S3Result<GetBucketAclOutput> {
    let bucket = gateway.bucket(&req.input.bucket).await?;
    let (owner, grants) = bucket_acl(&bucket).to_xml(&*gateway.records().await?, &gateway.root);
    Ok(GetBucketAclOutput { owner: Some(owner), grants: Some(grants) })
}

/// Replaces it.
pub async fn put(gateway: &Gateway, req: S3Request<PutBucketAclInput>) -> S3Result<PutBucketAclOutput> {
    let input = req.input;
    let (bucket, records) = (gateway.bucket(&input.bucket).await?, gateway.records().await?);
    let owner = owner_of(&bucket);
    let given = headers_of_acl!(input, write);
    let acl = match input.access_control_policy {
        Some(xml) if given.is_empty() => Acl::from_xml(xml, owner, &records, &gateway.root)?,
        Some(_) => return Err(s3s::s3_error!(UnexpectedContent, "This request does not support content")),
        None => Acl::from_headers(&given, Between { owner, bucket_owner: owner }, &records, &gateway.root)?,
    };
    access::check_acl(&bucket, &acl, PublicAccess::of(&bucket))?;
    gateway.set_document(&bucket, BucketDocument::Acl, Some(acl.to_text())).await?;
    Ok(PutBucketAclOutput::default())
}
