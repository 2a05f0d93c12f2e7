//! Which action an operation of the protocol is, and what a list of access has to give for it. What is not here nobody but an account may ask for.

use crate::acl::Permission;

/// What has to be given for an act where no policy speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Need {
    /// This, on the bucket.
    Bucket(Permission),
    /// This, on the object.
    Object(Permission),
    /// It is the owner's alone.
    Owner,
    /// It is the owner's alone, and no policy can take it from him.
    OwnPolicy,
}

/// What an operation is.
#[derive(Clone, Copy, Debug)]
pub struct Rule {
    /// The action, as policies name it.
    pub action: &'static str,
    /// The action where it names a version.
    pub of_version: Option<&'static str>,
    /// What has to be given.
    pub need: Need,
}

/// The rule of an operation of the protocol, by its name.
pub fn of(operation: &str) -> Option<Rule> {
    use Permission::{Read, ReadAcp, Write, WriteAcp};
    let (action, of_version, need) = match operation {
        "HeadBucket" | "ListObjects" | "ListObjectsV2" => ("s3:ListBucket", None, Need::Bucket(Read)),
        "ListObjectVersions" => ("s3:ListBucketVersions", None, Need::Bucket(Read)),
        "ListMultipartUploads" => ("s3:ListBucketMultipartUploads", None, Need::Bucket(Read)),
        "GetBucketAcl" => ("s3:GetBucketAcl", None, Need::Bucket(ReadAcp)),
        "PutBucketAcl" => ("s3:PutBucketAcl", None, Need::Bucket(WriteAcp)),
        "GetBucketPolicy" => ("s3:GetBucketPolicy", None, Need::OwnPolicy),
        "PutBucketPolicy" => ("s3:PutBucketPolicy", None, Need::OwnPolicy),
        "DeleteBucketPolicy" => ("s3:DeleteBucketPolicy", None, Need::OwnPolicy),
        "PutObject"
        | "PostObject"
        | "CopyObject"
        | "CreateMultipartUpload"
        | "UploadPart"
        | "UploadPartCopy"
        | "CompleteMultipartUpload" => ("s3:PutObject", None, Need::Bucket(Write)),
        "AbortMultipartUpload" => ("s3:AbortMultipartUpload", None, Need::Bucket(Write)),
        "ListParts" => ("s3:ListMultipartUploadParts", None, Need::Bucket(Read)),
        "DeleteObject" => ("s3:DeleteObject", Some("s3:DeleteObjectVersion"), Need::Bucket(Write)),
        "GetObject" | "HeadObject" => ("s3:GetObject", Some("s3:GetObjectVersion"), Need::Object(Read)),
        "GetObjectAttributes" => ("s3:GetObjectAttributes", Some("s3:GetObjectVersionAttributes"), Need::Object(Read)),
        "GetObjectAcl" => ("s3:GetObjectAcl", Some("s3:GetObjectVersionAcl"), Need::Object(ReadAcp)),
        "PutObjectAcl" => ("s3:PutObjectAcl", Some("s3:PutObjectVersionAcl"), Need::Object(WriteAcp)),
        "GetObjectTagging" => ("s3:GetObjectTagging", Some("s3:GetObjectVersionTagging"), Need::Object(Read)),
        "PutObjectTagging" => ("s3:PutObjectTagging", Some("s3:PutObjectVersionTagging"), Need::Owner),
        "DeleteObjectTagging" => ("s3:DeleteObjectTagging", Some("s3:DeleteObjectVersionTagging"), Need::Owner),
        "GetObjectRetention" => ("s3:GetObjectRetention", None, Need::Owner),
        "PutObjectRetention" => ("s3:PutObjectRetention", None, Need::Owner),
        "GetObjectLegalHold" => ("s3:GetObjectLegalHold", None, Need::Owner),
        "PutObjectLegalHold" => ("s3:PutObjectLegalHold", None, Need::Owner),
        "RestoreObject" => ("s3:RestoreObject", None, Need::Owner),
        other => return of_bucket(other),
    };
    Some(Rule { action, of_version, need })
}

/// What an owner does with the bucket itself, where no list gives it away.
fn of_bucket(operation: &str) -> Option<Rule> {
    let action = match operation {
        "DeleteBucket" => "s3:DeleteBucket",
        "GetBucketLocation" => "s3:GetBucketLocation",
        "GetBucketVersioning" => "s3:GetBucketVersioning",
        "PutBucketVersioning" => "s3:PutBucketVersioning",
        "GetBucketTagging" => "s3:GetBucketTagging",
        "PutBucketTagging" | "DeleteBucketTagging" => "s3:PutBucketTagging",
        "GetBucketCors" => "s3:GetBucketCORS",
        "PutBucketCors" | "DeleteBucketCors" => "s3:PutBucketCORS",
        "GetBucketEncryption" => "s3:GetEncryptionConfiguration",
        "PutBucketEncryption" | "DeleteBucketEncryption" => "s3:PutEncryptionConfiguration",
        "GetBucketLifecycleConfiguration" => "s3:GetLifecycleConfiguration",
        "PutBucketLifecycleConfiguration" | "DeleteBucketLifecycle" => "s3:PutLifecycleConfiguration",
        "GetBucketPolicyStatus" => "s3:GetBucketPolicyStatus",
        "GetPublicAccessBlock" => "s3:GetBucketPublicAccessBlock",
        "PutPublicAccessBlock" | "DeletePublicAccessBlock" => "s3:PutBucketPublicAccessBlock",
        "GetBucketOwnershipControls" => "s3:GetBucketOwnershipControls",
        "PutBucketOwnershipControls" | "DeleteBucketOwnershipControls" => "s3:PutBucketOwnershipControls",
        "GetObjectLockConfiguration" => "s3:GetBucketObjectLockConfiguration",
        "PutObjectLockConfiguration" => "s3:PutBucketObjectLockConfiguration",
        "GetBucketNotificationConfiguration" => "s3:GetBucketNotification",
        "PutBucketNotificationConfiguration" => "s3:PutBucketNotification",
        "GetBucketLogging" => "s3:GetBucketLogging",
        "PutBucketLogging" => "s3:PutBucketLogging",
        "GetBucketRequestPayment" => "s3:GetBucketRequestPayment",
        "PutBucketRequestPayment" => "s3:PutBucketRequestPayment",
        "GetBucketWebsite" => "s3:GetBucketWebsite",
        "PutBucketWebsite" => "s3:PutBucketWebsite",
        "DeleteBucketWebsite" => "s3:DeleteBucketWebsite",
        "GetBucketReplication" => "s3:GetReplicationConfiguration",
        "PutBucketReplication" | "DeleteBucketReplication" => "s3:PutReplicationConfiguration",
        "GetBucketAccelerateConfiguration" => "s3:GetAccelerateConfiguration",
        "PutBucketAccelerateConfiguration" => "s3:PutAccelerateConfiguration",
        _ => return None,
    };
    Some(Rule { action, of_version: None, need: Need::Owner })
}
