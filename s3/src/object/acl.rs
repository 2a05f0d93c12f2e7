//! The access control list of an object: a word of its record.

use s3s::dto::{GetObjectAclInput, GetObjectAclOutput, PutObjectAclInput, PutObjectAclOutput};
use s3s::{S3Request, S3Result};

use crate::Gateway;
use crate::access::{self, object_acl, owner_of};
use crate::acl::{Acl, Between, headers_of_acl};
use crate::object::words::{self, named};
use crate::settings::PublicAccess;

/// The list.
pub async fn get(gateway: &Gateway, req: S3Request<GetObjectAclInput>) -> S3Result<GetObjectAclOutput> {
    let input = req.input;
    let bucket = gateway.bucket(&input.bucket).await?;
    let (info, _) = words::stat(gateway, &req.extensions, named!(input)).await?;
    gateway.may_show(&req.extensions, &info).await?;
    let (owner, grants) = object_acl(&info.user_metadata, &bucket).to_xml(&*gateway.records().await?, &gateway.root);
    Ok(GetObjectAclOutput { owner: Some(owner), grants: Some(grants), ..GetObjectAclOutput::default() })
}

/// Replaces it.
pub async fn put(gateway: &Gateway, req: S3Request<PutObjectAclInput>) -> S3Result<PutObjectAclOutput> {
    let input = req.input;
    let (bucket, records) = (gateway.bucket(&input.bucket).await?, gateway.records().await?);
    let (info, _) = words::stat(gateway, &req.extensions, named!(input)).await?;
    let owner = object_acl(&info.user_metadata, &bucket).owner;
    let given = headers_of_acl!(input, object);
    let acl = match input.access_control_policy.clone() {
        Some(xml) if given.is_empty() => Acl::from_xml(xml, &owner, &records, &gateway.root)?,
        Some(_) => return Err(s3s::s3_error!(UnexpectedContent, "This request does not support content")),
        None => Acl::from_headers(&given, Between { owner: &owner, bucket_owner: owner_of(&bucket) }, &records, &gateway.root)?,
    };
    access::check_acl(&bucket, &acl, PublicAccess::of(&bucket))?;
    let word = access::word_of(acl, &bucket).map(|text| (access::ACL.to_owned(), text));
    words::set(gateway, &req.extensions, named!(input), access::ACL, word).await?;
    Ok(PutObjectAclOutput::default())
}
