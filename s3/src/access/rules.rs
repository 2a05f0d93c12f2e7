//! Which action an operation of the protocol is, and what a list of access has to give for it. What is not here nobody but an account may ask for.

use hyper::HeaderMap;

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

/// Beginnings of headers of a bucket's creation that set something of it, and what has to be allowed for that besides.
pub const OF_NEW_BUCKETS: [(&str, &[&str]); 4] = [
    ("x-amz-acl", &["s3:PutBucketAcl"]),
    ("x-amz-grant-", &["s3:PutBucketAcl"]),
    ("x-amz-object-ownership", &["s3:PutBucketOwnershipControls"]),
    ("x-amz-bucket-object-lock-enabled", &["s3:PutBucketVersioning", "s3:PutBucketObjectLockConfiguration"]),
];

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

/// Operations whose headers can do more than write.
pub const WRITES: [&str; 3] = ["PutObject", "CopyObject", "CreateMultipartUpload"];

/// What the headers of such an operation do beside it, and whether that has to be allowed by itself.
pub fn of_headers(headers: &HeaderMap) -> Vec<(&'static str, bool)> {
    let is_it = |name: &str, wanted: &str| name == wanted || (wanted.ends_with('-') && name.starts_with(wanted));
    let is_given = |names: &[&str]| headers.keys().any(|name| names.iter().any(|one| is_it(name.as_str(), one)));
    let all: [(&[&str], _, _); 4] = [
        (&["x-amz-acl", "x-amz-grant-"], "s3:PutObjectAcl", false),
        (&["x-amz-tagging"], "s3:PutObjectTagging", false),
        (&["x-amz-object-lock-mode", "x-amz-object-lock-retain-until-date"], "s3:PutObjectRetention", true),
        (&["x-amz-object-lock-legal-hold"], "s3:PutObjectLegalHold", true),
    ];
    all.into_iter().filter(|(names, ..)| is_given(names)).map(|(_, action, is_a_right)| (action, is_a_right)).collect()
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

#[cfg(test)]
mod tests {
    use super::*;
    use hyper::header::{HeaderName, HeaderValue};

    #[test]
    fn headers_of_a_write_are_actions_of_their_own() {
        let of = |names: &[&'static str]| {
            let pairs = names.iter().map(|name| (HeaderName::from_static(name), HeaderValue::from_static("x")));
            of_headers(&pairs.collect())
        };
        assert_eq!(of(&["content-type", "x-amz-meta-acl"]), []);
        assert_eq!(of(&["x-amz-acl"]), [("s3:PutObjectAcl", false)]);
        assert_eq!(of(&["x-amz-grant-read", "x-amz-tagging"]), [("s3:PutObjectAcl", false), ("s3:PutObjectTagging", false)]);
        assert_eq!(of(&["x-amz-object-lock-mode", "x-amz-object-lock-retain-until-date"]), [("s3:PutObjectRetention", true)]);
        assert_eq!(of(&["x-amz-object-lock-legal-hold"]), [("s3:PutObjectLegalHold", true)]);
    }

    #[test]
    fn what_takes_rights_or_history_away_is_the_owners() {
        for operation in ["PutObjectTagging", "DeleteObjectTagging", "PutObjectRetention", "PutObjectLegalHold", "PutBucketEncryption"] {
            assert!(of(operation).is_some_and(|rule| rule.need == Need::Owner), "{operation}");
        }
        assert!(of("PutBucketPolicy").is_some_and(|rule| rule.need == Need::OwnPolicy));
        assert!(of("CompleteEverything").is_none());
    }
}
