//! Object lock: a bucket's setting, what a version is kept by, and the refusals. A lock lies in the record of its version, so that it is set
//! and looked at under the version of that record: nothing comes in between.

use client::{Error, Lock, LockMode, VersionId, VersionInfo};
use hyper::http::Extensions;
use s3s::dto::{
    DefaultRetention, GetObjectLegalHoldInput, GetObjectLegalHoldOutput, GetObjectLockConfigurationInput, GetObjectLockConfigurationOutput,
    GetObjectRetentionInput, GetObjectRetentionOutput, ObjectLockConfiguration, ObjectLockEnabled, ObjectLockLegalHold,
    ObjectLockLegalHoldStatus, ObjectLockMode, ObjectLockRetention, ObjectLockRetentionMode, PutObjectLegalHoldInput,
    PutObjectLegalHoldOutput, PutObjectLockConfigurationInput, PutObjectLockConfigurationOutput, PutObjectRetentionInput,
    PutObjectRetentionOutput, Timestamp,
};
use s3s::{S3Error, S3ErrorCode, S3Request, S3Result, s3_error};
use types::object::Versioning;
use types::records::{Bucket, BucketDocument};

use crate::Gateway;
use crate::access::{self, Act};
use crate::condition::{at_exact_ms, ms_of, now_ms};
use crate::error::{self, Of};
use crate::metadata::malformed;
use crate::object::words::{self, Named, named};
use crate::records::{document, document_of};

/// How often it is tried to remove a version whose words are changed all the time.
const TRIES_MAX: u32 = 10;
/// Longest default retention, as S3 has it.
const DAYS_MAX: i32 = 36_500;
/// The same in years.
const YEARS_MAX: i32 = 100;
const DAY_MS: u64 = 24 * 60 * 60 * 1000;

/// The setting of a new bucket whose objects can be locked.
pub fn initial() -> String {
    let enabled = Some(ObjectLockEnabled::from_static(ObjectLockEnabled::ENABLED));
    document_of(&ObjectLockConfiguration { object_lock_enabled: enabled, rule: None })
}

/// Whether objects of the bucket can be locked.
pub fn is_on(bucket: &Bucket) -> bool {
    bucket.document(BucketDocument::ObjectLock).is_some()
}

fn check_on(bucket: &Bucket) -> S3Result<()> {
    if is_on(bucket) { Ok(()) } else { Err(s3_error!(InvalidRequest, "Bucket is missing Object Lock Configuration")) }
}

/// Runs PutObjectLockConfiguration.
pub async fn put_configuration(
    gateway: &Gateway,
    req: S3Request<PutObjectLockConfigurationInput>,
) -> S3Result<PutObjectLockConfigurationOutput> {
    let input = req.input;
    let bucket = gateway.bucket(&input.bucket).await?;
    let configuration = input.object_lock_configuration.ok_or_else(malformed)?;
    check_configuration(&configuration)?;
    if bucket.versioning() != Versioning::Enabled {
        return Err(s3_error!(InvalidBucketState, "Versioning must be 'Enabled' on the bucket to apply a Object Lock configuration"));
    }
    gateway.set_document(&bucket, BucketDocument::ObjectLock, Some(document_of(&configuration))).await?;
    Ok(PutObjectLockConfigurationOutput::default())
}

fn check_configuration(configuration: &ObjectLockConfiguration) -> S3Result<()> {
    if configuration.object_lock_enabled.as_ref().map(ObjectLockEnabled::as_str) != Some(ObjectLockEnabled::ENABLED) {
        return Err(malformed());
    }
    let Some(rule) = &configuration.rule else { return Ok(()) };
    let default = rule.default_retention.as_ref().ok_or_else(malformed)?;
    let mode = default.mode.as_ref().map(ObjectLockRetentionMode::as_str);
    mode.and_then(LockMode::parse).ok_or_else(malformed)?;
    let period = |words: &'static str| {
        let mut error = S3Error::with_message(S3ErrorCode::Custom("InvalidRetentionPeriod".into()), words);
        error.set_status_code(hyper::StatusCode::BAD_REQUEST);
        error
    };
    match (default.days, default.years) {
        (Some(_), Some(_)) | (None, None) => Err(malformed()),
        (Some(count), None) | (None, Some(count)) if count <= 0 => Err(period("Default retention period must be a positive integer value")),
        (days, years) if days.is_some_and(|days| days > DAYS_MAX) || years.is_some_and(|years| years > YEARS_MAX) => {
            Err(period("Default retention period is too large"))
        }
        _ => Ok(()),
    }
}

/// Runs GetObjectLockConfiguration.
pub async fn get_configuration(
    gateway: &Gateway,
    req: S3Request<GetObjectLockConfigurationInput>,
) -> S3Result<GetObjectLockConfigurationOutput> {
    let bucket = gateway.bucket(&req.input.bucket).await?;
    let configuration = configuration(&bucket)?
        .ok_or_else(|| s3_error!(ObjectLockConfigurationNotFoundError, "Object Lock configuration does not exist for this bucket"))?;
    Ok(GetObjectLockConfigurationOutput { object_lock_configuration: Some(configuration) })
}

fn configuration(bucket: &Bucket) -> S3Result<Option<ObjectLockConfiguration>> {
    document(bucket, BucketDocument::ObjectLock)
}

/// What a write says of the lock of its object.
#[derive(Clone, Debug, Default)]
pub struct Given {
    /// How it is kept.
    pub mode: Option<ObjectLockMode>,
    /// Until when.
    pub until: Option<Timestamp>,
    /// Whether it is held.
    pub hold: Option<ObjectLockLegalHoldStatus>,
}

/// What a write says, taken out of its input: the protocol's types have these fields, and nothing in common.
macro_rules! lock_given {
    ($input:ident) => {
        $crate::lock::Given {
            mode: $input.object_lock_mode.take(),
            until: $input.object_lock_retain_until_date.take(),
            hold: $input.object_lock_legal_hold_status.take(),
        }
    };
}
pub(crate) use lock_given;

impl Given {
    /// The lock of an object that is written into the bucket now: what is said, or what the bucket says.
    pub fn lock(&self, bucket: &Bucket) -> S3Result<Lock> {
        let invalid = |words: &'static str| s3_error!(InvalidArgument, "{words}");
        let retention = match (&self.mode, &self.until) {
            (None, None) => None,
            (Some(mode), Some(until)) => {
                let mode = LockMode::parse(mode.as_str()).ok_or_else(|| invalid("Unknown wormMode directive."))?;
                if ms_of(until) <= now_ms() {
                    return Err(invalid("The retain until date must be in the future!"));
                }
                Some((mode, ms_of(until)))
            }
            _ => return Err(invalid("x-amz-object-lock-retain-until-date and x-amz-object-lock-mode must both be supplied")),
        };
        let hold = match self.hold.as_ref().map(ObjectLockLegalHoldStatus::as_str) {
            None => None,
            Some("ON") => Some(true),
            Some("OFF") => Some(false),
            Some(_) => return Err(invalid("Legal Hold must be either of 'ON' or 'OFF'")),
        };
        if retention.is_some() || hold.is_some() {
            check_on(bucket)?;
        }
        let default = || Ok::<_, S3Error>(configuration(bucket)?.and_then(|of| of.rule?.default_retention).as_ref().and_then(default_of));
        Ok(Lock { retention: if retention.is_none() { default()? } else { retention }, hold })
    }
}

fn default_of(default: &DefaultRetention) -> Option<(LockMode, u64)> {
    let mode = LockMode::parse(default.mode.as_ref()?.as_str())?;
    let days = default.days.or_else(|| default.years.map(|years| years.saturating_mul(365)))?;
    Some((mode, now_ms() + u64::try_from(days).ok()? * DAY_MS))
}

/// The lock of a version in the form of the answers to GET and HEAD.
pub fn told(lock: Lock) -> Given {
    Given {
        mode: lock.retention.map(|(mode, _)| ObjectLockMode::from_static(mode.name())),
        until: lock.retention.map(|(_, until_ms)| at_exact_ms(until_ms)),
        hold: lock.hold.map(|hold| ObjectLockLegalHoldStatus::from_static(if hold { "ON" } else { "OFF" })),
    }
}

/// The lock of a version.
async fn find(gateway: &Gateway, extensions: &Extensions, named: Named<'_>) -> S3Result<Lock> {
    check_on(&*gateway.bucket(named.bucket).await?)?;
    Ok(Lock::of(&words::stat(gateway, extensions, named).await?.0.user_metadata))
}

/// Changes the lock of a version, by what `change` makes of the present one.
async fn set(gateway: &Gateway, extensions: &Extensions, named: Named<'_>, change: impl Fn(Lock) -> S3Result<Lock> + Sync) -> S3Result<()> {
    check_on(&*gateway.bucket(named.bucket).await?)?;
    words::change(gateway, extensions, named, |words| Ok(change(Lock::of(words))?.set_in(words))).await.map(drop)
}

fn denied() -> S3Error {
    s3_error!(AccessDenied, "Access Denied because object protected by object lock.")
}

/// Runs PutObjectRetention.
pub async fn put_retention(gateway: &Gateway, req: S3Request<PutObjectRetentionInput>) -> S3Result<PutObjectRetentionOutput> {
    let caller = access::caller(&req.extensions)?;
    let input = req.input;
    check_on(&*gateway.bucket(&input.bucket).await?)?;
    let wanted = match input.retention.as_ref().map(|of| (of.mode.as_ref(), of.retain_until_date.as_ref())) {
        Some((Some(mode), Some(until))) => Some((LockMode::parse(mode.as_str()).ok_or_else(malformed)?, ms_of(until))),
        Some((None, None)) => None,
        _ => return Err(malformed()),
    };
    if wanted.is_some_and(|(_, until_ms)| until_ms <= now_ms()) {
        return Err(s3_error!(InvalidArgument, "The retain until date must be in the future!"));
    }
    let bypass = input.bypass_governance_retention == Some(true)
        && gateway.allow(&caller, Act::bypass(&input.bucket, &input.key, input.version_id.as_deref())).await.is_ok();
    let change =
        |lock: Lock| if may_retain(lock, wanted, bypass, now_ms()) { Ok(Lock { retention: wanted, ..lock }) } else { Err(denied()) };
    set(gateway, &req.extensions, named!(input), change).await?;
    Ok(PutObjectRetentionOutput::default())
}

/// Whether the retention of a version may become this one.
fn may_retain(lock: Lock, wanted: Option<(LockMode, u64)>, bypass: bool, now_ms: u64) -> bool {
    let Some((mode, until_ms)) = lock.retention.filter(|(_, until_ms)| *until_ms > now_ms) else { return true };
    let is_longer = wanted.is_some_and(|(wanted, later_ms)| wanted == mode && later_ms >= until_ms);
    is_longer || (mode == LockMode::Governance && bypass)
}

/// Runs GetObjectRetention.
pub async fn get_retention(gateway: &Gateway, req: S3Request<GetObjectRetentionInput>) -> S3Result<GetObjectRetentionOutput> {
    let input = req.input;
    let lock = find(gateway, &req.extensions, named!(input)).await?;
    let (mode, until_ms) = lock.retention.ok_or_else(not_locked)?;
    let mode = Some(ObjectLockRetentionMode::from_static(mode.name()));
    let retention = ObjectLockRetention { mode, retain_until_date: Some(at_exact_ms(until_ms)) };
    Ok(GetObjectRetentionOutput { retention: Some(retention) })
}

fn not_locked() -> S3Error {
    s3_error!(NoSuchObjectLockConfiguration, "The specified object does not have a ObjectLock configuration")
}

/// Runs PutObjectLegalHold.
pub async fn put_hold(gateway: &Gateway, req: S3Request<PutObjectLegalHoldInput>) -> S3Result<PutObjectLegalHoldOutput> {
    let input = req.input;
    check_on(&*gateway.bucket(&input.bucket).await?)?;
    let status = input.legal_hold.and_then(|hold| hold.status).ok_or_else(malformed)?;
    let hold = match status.as_str() {
        "ON" => true,
        "OFF" => false,
        _ => return Err(malformed()),
    };
    set(gateway, &req.extensions, named!(input), |lock| Ok(Lock { hold: Some(hold), ..lock })).await?;
    Ok(PutObjectLegalHoldOutput::default())
}

/// Runs GetObjectLegalHold.
pub async fn get_hold(gateway: &Gateway, req: S3Request<GetObjectLegalHoldInput>) -> S3Result<GetObjectLegalHoldOutput> {
    let input = req.input;
    let lock = find(gateway, &req.extensions, named!(input)).await?;
    let status = told(Lock { hold: Some(lock.hold.ok_or_else(not_locked)?), ..lock }).hold;
    Ok(GetObjectLegalHoldOutput { legal_hold: Some(ObjectLockLegalHold { status }) })
}

/// Removes a version for good, unless it is locked; `None` where there is none.
pub async fn remove(
    gateway: &Gateway,
    bucket: &Bucket,
    name: &str,
    key: &str,
    id: VersionId,
    bypass: bool,
) -> S3Result<Option<VersionInfo>> {
    for _ in 0..TRIES_MAX {
        let mut seen = None;
        if is_on(bucket) {
            let found = match gateway.client.version(name, key.as_bytes(), Some(id)).await {
                Err(Error::NotFound(_)) => return Ok(None),
                other => other.map_err(|e| error::of(Of::Object, e))?,
            };
            let lock = found.object.as_ref().map(|object| Lock::of(&object.user_metadata)).unwrap_or_default();
            if lock.keeps(now_ms(), bypass) {
                return Err(denied());
            }
            seen = Some(found.version);
        }
        match gateway.client.delete_version(name, key.as_bytes(), id, seen).await {
            Ok(removed) => return Ok(Some(removed)),
            Err(Error::NotFound(_)) => return Ok(None),
            Err(Error::Condition { .. }) => {}
            Err(error) => return Err(error::of(Of::Object, error)),
        }
    }
    Err(s3_error!(
        OperationAborted,
        "A conflicting conditional operation is currently in progress against this resource. Please try again."
    ))
}

#[cfg(test)]
mod tests {
    use super::*;
    use s3s::dto::ObjectLockRule;

    #[test]
    fn a_default_has_a_mode_and_one_period_that_is_none_of_nothing() {
        let enabled = || Some(ObjectLockEnabled::from_static(ObjectLockEnabled::ENABLED));
        let code = |mode: &'static str, days, years| {
            let default = DefaultRetention { days, mode: Some(ObjectLockRetentionMode::from_static(mode)), years };
            let rule = Some(ObjectLockRule { default_retention: Some(default) });
            let checked = check_configuration(&ObjectLockConfiguration { object_lock_enabled: enabled(), rule });
            checked.err().map(|error| error.code().as_str().to_owned())
        };
        assert_eq!(code("GOVERNANCE", Some(1), None), None);
        assert_eq!(code("COMPLIANCE", None, Some(100)), None);
        assert_eq!(code("COMPLIANCE", Some(1), Some(1)).as_deref(), Some("MalformedXML"));
        assert_eq!(code("COMPLIANCE", None, None).as_deref(), Some("MalformedXML"));
        assert_eq!(code("governance", Some(1), None).as_deref(), Some("MalformedXML"));
        assert_eq!(code("GOVERNANCE", Some(0), None).as_deref(), Some("InvalidRetentionPeriod"));
        assert_eq!(code("GOVERNANCE", None, Some(-1)).as_deref(), Some("InvalidRetentionPeriod"));
        assert!(check_configuration(&ObjectLockConfiguration { object_lock_enabled: None, rule: None }).is_err());
        assert!(check_configuration(&ObjectLockConfiguration { object_lock_enabled: enabled(), rule: None }).is_ok());
    }

    #[test]
    fn retention_grows_and_shrinks_only_where_it_may() {
        let (governance, compliance) = (LockMode::Governance, LockMode::Compliance);
        let lock = |mode, until_ms| Lock { retention: Some((mode, until_ms)), hold: None };
        assert!(may_retain(lock(governance, 100), Some((governance, 100)), false, 50));
        assert!(!may_retain(lock(governance, 100), Some((governance, 99)), false, 50));
        assert!(may_retain(lock(governance, 100), Some((governance, 99)), true, 50));
        assert!(!may_retain(lock(governance, 100), Some((compliance, 200)), false, 50), "another mode is a change");
        assert!(may_retain(lock(governance, 100), Some((compliance, 200)), true, 50));
        assert!(!may_retain(lock(compliance, 100), Some((governance, 200)), true, 50));
        assert!(!may_retain(lock(compliance, 100), Some((compliance, 99)), true, 50) && !may_retain(lock(compliance, 100), None, true, 50));
        assert!(may_retain(lock(compliance, 100), None, false, 100), "it is over");
        assert!(may_retain(Lock::default(), Some((compliance, 60)), false, 50));
    }
}
