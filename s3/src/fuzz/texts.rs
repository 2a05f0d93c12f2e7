//! Policies of buckets, and the XML of all settings and requests: a setting that can be read can be written, and is then read as the same.

use s3s::dto::{
    AccessControlPolicy, BucketLifecycleConfiguration, CORSConfiguration, CompletedMultipartUpload, CreateBucketConfiguration, Delete,
    NotificationConfiguration, ObjectLockConfiguration, ObjectLockLegalHold, ObjectLockRetention, OwnershipControls,
    PublicAccessBlockConfiguration, ServerSideEncryptionConfiguration, Tagging, VersioningConfiguration,
};
use s3s::xml::{Deserialize, Deserializer};
use types::records::Records;

use crate::acl::Acl;
use crate::policy::{Asked, Context, Policy, Verdict, Who};
use crate::records::document_of;
use crate::tags::Tags;
use crate::{bucket, cors, lifecycle};

/// Knows something of every key.
struct Known;

impl Context for Known {
    fn values(&self, key: &str) -> Vec<String> {
        if key.len().is_multiple_of(5) {
            Vec::new()
        } else {
            vec!["10.0.0.1".into(), key.to_owned(), "2026-01-01T00:00:00Z".into(), "7".into()]
        }
    }
}

/// A policy of a bucket.
pub fn policy(input: &[u8]) -> String {
    let text = String::from_utf8_lossy(input);
    let policy = match Policy::parse(&text) {
        Ok(policy) => policy,
        // What it names of the input is no outcome of its own.
        Err(error) => return error.0.chars().take(24).collect(),
    };
    let long = format!("arn:aws:s3:::bucket/{}", "a/".repeat(500));
    let mut verdicts = String::new();
    for who in [Who::Anonymous, Who::Account("ann")] {
        for resource in ["arn:aws:s3:::bucket", &long] {
            verdicts.push(match policy.verdict(Asked { who, action: "s3:GetObject", resource }, &Known) {
                Verdict::Deny => 'd',
                Verdict::Allow => 'a',
                Verdict::Silent => '-',
            });
        }
    }
    format!("policy {verdicts} {} {} {}", policy.is_public(), policy.is_about("bucket"), policy.asks_of("s3:existingobjecttag"))
}

/// What is checked of a document once it is read.
fn checked(xml: &[u8]) -> String {
    fn read<'xml, T: Deserialize<'xml>>(xml: &'xml [u8]) -> Option<T> {
        T::deserialize(&mut Deserializer::new(xml)).ok()
    }
    let mut told = String::new();
    if let Some(rules) = read::<CORSConfiguration>(xml) {
        told.push_str(&format!(" cors {}", cors::problem(&rules).is_none()));
    }
    if let Some(tagging) = read::<Tagging>(xml) {
        told.push_str(&format!(" tags {}", Tags::of_bucket(tagging.tag_set).is_ok()));
    }
    if let Some(rules) = read::<BucketLifecycleConfiguration>(xml) {
        let wrong = rules.rules.iter().find_map(|rule| lifecycle::check(rule).err());
        told.push_str(&format!(" rules {:?}", wrong.map(|error| error.code().as_str().to_owned())));
    }
    if let Some(policy) = read::<AccessControlPolicy>(xml) {
        let acl = Acl::from_xml(policy, "ann", &Records::default(), &bucket::root());
        if let Ok(acl) = &acl {
            assert_eq!(Acl::of_text(&acl.to_text(), "ann"), *acl);
        }
        told.push_str(&format!(" acl {}", acl.is_ok()));
    }
    told
}

macro_rules! documents {
    ($xml:ident, $told:ident, $($kind:ty),*) => {
        $(
            if let Ok(document) = <$kind>::deserialize(&mut Deserializer::new($xml)) {
                let text = document_of(&document);
                let again = <$kind>::deserialize(&mut Deserializer::new(text.as_bytes()));
                assert!(again.as_ref().is_ok_and(|again| *again == document), "{text}: {again:?}");
                $told.push_str(concat!(" ", stringify!($kind)));
            }
        )*
    };
}

/// The XML of a setting, or of a request: each kind is tried.
pub fn xml(input: &[u8]) -> String {
    let mut told = String::new();
    documents!(
        input,
        told,
        AccessControlPolicy,
        BucketLifecycleConfiguration,
        CORSConfiguration,
        CreateBucketConfiguration,
        NotificationConfiguration,
        ObjectLockConfiguration,
        ObjectLockLegalHold,
        ObjectLockRetention,
        OwnershipControls,
        PublicAccessBlockConfiguration,
        ServerSideEncryptionConfiguration,
        Tagging,
        VersioningConfiguration
    );
    // These are requests, and kept nowhere.
    if CompletedMultipartUpload::deserialize(&mut Deserializer::new(input)).is_ok() {
        told.push_str(" CompletedMultipartUpload");
    }
    if Delete::deserialize(&mut Deserializer::new(input)).is_ok() {
        told.push_str(" Delete");
    }
    if told.is_empty() {
        return Tagging::deserialize(&mut Deserializer::new(input))
            .err()
            .map(|error| format!("{error:?}").chars().take(24).collect())
            .unwrap_or_default();
    }
    format!("read{told}{}", checked(input))
}
