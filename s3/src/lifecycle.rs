//! Lifecycle of a bucket: the rules by which objects, versions and uploads go by themselves; checked as S3 does when they are set.

mod rules;

use std::collections::BTreeSet;

use client::ObjectInfo;
use s3s::dto::{
    BucketLifecycleConfiguration, DeleteBucketLifecycleInput, DeleteBucketLifecycleOutput, ExpirationStatus,
    GetBucketLifecycleConfigurationInput, GetBucketLifecycleConfigurationOutput, LifecycleExpiration, LifecycleRule,
    PutBucketLifecycleConfigurationInput, PutBucketLifecycleConfigurationOutput, Timestamp,
};
use s3s::{S3Request, S3Response, S3Result, s3_error};
use types::records::{Bucket, BucketDocument};

pub use rules::{DAY_MS, Lifecycle};

use crate::Gateway;
use crate::condition::{ms_of, now_ms};
use crate::metadata::malformed;
use crate::records::{document, document_of};
use crate::tags::Tags;

/// Most rules of a bucket, as S3 has it.
const RULES_MAX: usize = 1000;
/// Longest name of a rule, as S3 has it.
const ID_MAX: usize = 255;
/// Most noncurrent versions that a rule can keep, as S3 has it.
const NEWER_MAX: i32 = 100;

/// Runs PutBucketLifecycleConfiguration.
pub async fn put(
    gateway: &Gateway,
    req: S3Request<PutBucketLifecycleConfigurationInput>,
) -> S3Result<PutBucketLifecycleConfigurationOutput> {
    let input = req.input;
    let bucket = gateway.bucket(&input.bucket).await?;
    let mut configuration = input.lifecycle_configuration.ok_or_else(malformed)?;
    if configuration.rules.is_empty() || configuration.rules.len() > RULES_MAX {
        return Err(malformed());
    }
    name(&mut configuration.rules)?;
    configuration.rules.iter().try_for_each(check)?;
    gateway.set_document(&bucket, BucketDocument::Lifecycle, Some(document_of(&configuration))).await?;
    Ok(PutBucketLifecycleConfigurationOutput::default())
}

/// Runs GetBucketLifecycleConfiguration.
pub async fn get(
    gateway: &Gateway,
    req: S3Request<GetBucketLifecycleConfigurationInput>,
) -> S3Result<GetBucketLifecycleConfigurationOutput> {
    let bucket = gateway.bucket(&req.input.bucket).await?;
    let found = document::<BucketLifecycleConfiguration>(&bucket, BucketDocument::Lifecycle)?;
    let rules = found.ok_or_else(|| s3_error!(NoSuchLifecycleConfiguration, "The lifecycle configuration does not exist"))?.rules;
    Ok(GetBucketLifecycleConfigurationOutput { rules: Some(rules), ..GetBucketLifecycleConfigurationOutput::default() })
}

/// Runs DeleteBucketLifecycle.
pub async fn delete(gateway: &Gateway, req: S3Request<DeleteBucketLifecycleInput>) -> S3Result<S3Response<DeleteBucketLifecycleOutput>> {
    let bucket = gateway.bucket(&req.input.bucket).await?;
    gateway.set_document(&bucket, BucketDocument::Lifecycle, None).await?;
    Ok(S3Response::with_status(DeleteBucketLifecycleOutput::default(), hyper::StatusCode::NO_CONTENT))
}

/// When the current object goes, in the form of the header; `None` where no rule is about it.
pub fn expiration(bucket: &Bucket, info: &ObjectInfo) -> Option<String> {
    bucket.document(BucketDocument::Lifecycle)?;
    Lifecycle::of(bucket, DAY_MS)?.header(&info.name, info.size, &info.user_metadata, info.modified_ms)
}

/// Gives each rule a name of its own.
fn name(rules: &mut [LifecycleRule]) -> S3Result<()> {
    let mut names = BTreeSet::new();
    for id in rules.iter().filter_map(|rule| rule.id.as_deref()).filter(|id| !id.is_empty()) {
        if id.chars().count() > ID_MAX {
            return Err(s3_error!(InvalidArgument, "ID length should not exceed allowed limit of 255"));
        }
        if !names.insert(id.to_owned()) {
            return Err(s3_error!(InvalidArgument, "Rule ID must be unique. Found same ID for more than one rule"));
        }
    }
    for (number, rule) in rules.iter_mut().enumerate() {
        if rule.id.as_deref().is_none_or(str::is_empty) {
            let made = |attempt: usize| format!("{:012x}-{number}-{attempt}", now_ms());
            rule.id = (0..).map(made).find(|id| names.insert(id.clone()));
        }
    }
    Ok(())
}

/// Whether a rule says something that can be done.
pub(crate) fn check(rule: &LifecycleRule) -> S3Result<()> {
    if !matches!(rule.status.as_str(), ExpirationStatus::ENABLED | ExpirationStatus::DISABLED) {
        return Err(malformed());
    }
    let has_tags = check_filter(rule)?;
    let transitions = rule.transitions.iter().flatten();
    transitions.filter_map(|transition| transition.date.as_ref()).try_for_each(check_date)?;
    if rule.transitions.as_ref().is_some_and(|all| !all.is_empty())
        || rule.noncurrent_version_transitions.as_ref().is_some_and(|all| !all.is_empty())
    {
        return Err(s3_error!(NotImplemented, "Transitions to other storage classes are not implemented"));
    }
    if let Some(expiration) = &rule.expiration {
        check_expiration(expiration, has_tags)?;
    }
    if let Some(noncurrent) = &rule.noncurrent_version_expiration {
        match noncurrent.noncurrent_days {
            Some(days) if days > 0 => {}
            Some(_) => {
                return Err(s3_error!(
                    InvalidArgument,
                    "'NoncurrentDays' for NoncurrentVersionExpiration action must be a positive integer"
                ));
            }
            None => return Err(malformed()),
        }
        if noncurrent.newer_noncurrent_versions.is_some_and(|newer| !(1..=NEWER_MAX).contains(&newer)) {
            return Err(s3_error!(
                InvalidArgument,
                "'NewerNoncurrentVersions' for NoncurrentVersionExpiration action must be between 1 and 100"
            ));
        }
    }
    if let Some(abort) = &rule.abort_incomplete_multipart_upload {
        match abort.days_after_initiation {
            Some(days) if days > 0 => {}
            Some(_) => {
                return Err(s3_error!(
                    InvalidArgument,
                    "'DaysAfterInitiation' for AbortIncompleteMultipartUpload action must be a positive integer"
                ));
            }
            None => return Err(malformed()),
        }
        if has_tags {
            return Err(s3_error!(InvalidRequest, "AbortIncompleteMultipartUpload cannot be specified with Tags."));
        }
    }
    if rule.expiration.is_none() && rule.noncurrent_version_expiration.is_none() && rule.abort_incomplete_multipart_upload.is_none() {
        return Err(s3_error!(InvalidRequest, "At least one action needs to be specified in a rule."));
    }
    Ok(())
}

/// Whether the filter names tags.
fn check_filter(rule: &LifecycleRule) -> S3Result<bool> {
    let filter = match (&rule.prefix, &rule.filter) {
        (Some(_), Some(_)) | (None, None) => return Err(malformed()),
        (Some(_), None) => return Ok(false),
        (None, Some(filter)) => filter,
    };
    let tags: Vec<_> = filter.and.iter().flat_map(|and| and.tags.iter().flatten()).chain(&filter.tag).cloned().collect();
    let and = filter.and.as_ref();
    let greater = filter.object_size_greater_than.or_else(|| and?.object_size_greater_than);
    let less = filter.object_size_less_than.or_else(|| and?.object_size_less_than);
    if greater.is_some_and(|size| size < 0) || less.is_some_and(|size| size < 1) {
        return Err(s3_error!(InvalidRequest, "The object size of a filter must not be negative"));
    }
    if greater.zip(less).is_some_and(|(greater, less)| greater >= less) {
        return Err(s3_error!(InvalidRequest, "'ObjectSizeLessThan' has to be a value greater than 'ObjectSizeGreaterThan'"));
    }
    Tags::from_xml(tags.clone())?;
    Ok(!tags.is_empty())
}

fn check_expiration(expiration: &LifecycleExpiration, has_tags: bool) -> S3Result<()> {
    let marker = expiration.expired_object_delete_marker;
    match (&expiration.date, expiration.days, marker) {
        (Some(date), None, None) => check_date(date),
        (None, Some(days), None) if days > 0 => Ok(()),
        (None, Some(_), None) => Err(s3_error!(InvalidArgument, "'Days' for Expiration action must be a positive integer")),
        (None, None, Some(_)) if has_tags => Err(s3_error!(InvalidRequest, "ExpiredObjectDeleteMarker cannot be specified with Tags.")),
        (None, None, Some(_)) => Ok(()),
        _ => Err(malformed()),
    }
}

fn check_date(date: &Timestamp) -> S3Result<()> {
    if ms_of(date).is_multiple_of(DAY_MS) { Ok(()) } else { Err(s3_error!(InvalidArgument, "'Date' must be at midnight GMT")) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use s3s::dto::{AbortIncompleteMultipartUpload, LifecycleRuleFilter, NoncurrentVersionExpiration, Tag};

    pub(super) fn rule() -> LifecycleRule {
        let expiration = Some(LifecycleExpiration { days: Some(1), ..LifecycleExpiration::default() });
        LifecycleRule {
            abort_incomplete_multipart_upload: None,
            expiration,
            filter: None,
            id: Some("a".into()),
            noncurrent_version_expiration: None,
            noncurrent_version_transitions: None,
            prefix: Some(String::new()),
            status: ExpirationStatus::from_static(ExpirationStatus::ENABLED),
            transitions: None,
        }
    }

    fn code(rule: LifecycleRule) -> Option<String> {
        check(&rule).err().map(|error| error.code().as_str().to_owned())
    }

    #[test]
    fn rules_that_say_nothing_or_too_much_are_refused_as_s3_does() {
        assert_eq!(code(rule()), None);
        let status = |status: &str| LifecycleRule { status: ExpirationStatus::from(status.to_owned()), ..rule() };
        assert_eq!(code(status("enabled")).as_deref(), Some("MalformedXML"));
        let expiring = |expiration| LifecycleRule { expiration: Some(expiration), ..rule() };
        let days = |days| LifecycleExpiration { days: Some(days), ..LifecycleExpiration::default() };
        assert_eq!(code(expiring(days(0))).as_deref(), Some("InvalidArgument"));
        let both = LifecycleExpiration { expired_object_delete_marker: Some(true), ..days(1) };
        assert_eq!(code(expiring(both)).as_deref(), Some("MalformedXML"));
        let at = |second| Timestamp::from(std::time::UNIX_EPOCH + std::time::Duration::from_secs(second));
        let date = |second| LifecycleExpiration { date: Some(at(second)), ..LifecycleExpiration::default() };
        assert_eq!(code(expiring(date(86_400))), None);
        assert_eq!(code(expiring(date(86_401))).as_deref(), Some("InvalidArgument"));
        assert_eq!(code(LifecycleRule { expiration: None, ..rule() }).as_deref(), Some("InvalidRequest"));
        assert_eq!(code(LifecycleRule { prefix: None, ..rule() }).as_deref(), Some("MalformedXML"));
        assert_eq!(code(LifecycleRule { filter: Some(LifecycleRuleFilter::default()), ..rule() }).as_deref(), Some("MalformedXML"));
        assert_eq!(code(LifecycleRule { filter: Some(LifecycleRuleFilter::default()), prefix: None, ..rule() }), None);
        let newer = |newer| NoncurrentVersionExpiration { newer_noncurrent_versions: Some(newer), noncurrent_days: Some(1) };
        assert_eq!(code(LifecycleRule { noncurrent_version_expiration: Some(newer(5)), ..rule() }), None);
        assert_eq!(code(LifecycleRule { noncurrent_version_expiration: Some(newer(101)), ..rule() }).as_deref(), Some("InvalidArgument"));
        let tag = Some(Tag { key: Some("k".into()), value: Some("v".into()) });
        let tagged = LifecycleRule { filter: Some(LifecycleRuleFilter { tag, ..LifecycleRuleFilter::default() }), prefix: None, ..rule() };
        assert_eq!(code(tagged.clone()), None);
        let abort_incomplete_multipart_upload = Some(AbortIncompleteMultipartUpload { days_after_initiation: Some(1) });
        assert_eq!(code(LifecycleRule { abort_incomplete_multipart_upload, ..tagged }).as_deref(), Some("InvalidRequest"));
    }

    #[test]
    fn each_rule_has_a_name_of_its_own() {
        let mut rules = [rule(), LifecycleRule { id: None, ..rule() }, LifecycleRule { id: Some(String::new()), ..rule() }];
        assert!(name(&mut rules).is_ok());
        let names: BTreeSet<_> = rules.iter().filter_map(|rule| rule.id.clone()).collect();
        assert!(names.len() == 3 && names.contains("a"));
        assert!(name(&mut [rule(), rule()]).is_err());
        assert!(name(&mut [LifecycleRule { id: Some("x".repeat(256)), ..rule() }]).is_err());
    }
}
