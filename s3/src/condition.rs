//! Conditions of requests on what is there: `If-Match`, `If-None-Match`, `If-Modified-Since`, `If-Unmodified-Since`, as RFC 9110, section
//! 13, orders them.

use client::{Condition, ObjectInfo};
use hyper::HeaderMap;
use hyper::header::{ETAG, HeaderValue, IF_MATCH, IF_NONE_MATCH, LAST_MODIFIED};
use s3s::dto::{ETag, ETagCondition, Timestamp, TimestampFormat};
use s3s::{S3Error, S3ErrorCode, S3Result, s3_error};

use crate::Gateway;
use crate::error::{self, Of};
use crate::metadata;

/// The conditions of a read.
#[derive(Clone, Debug, Default)]
pub struct OfRead {
    /// It has this ETag.
    pub if_match: Option<ETagCondition>,
    /// It has another.
    pub if_none_match: Option<ETagCondition>,
    /// It was written after.
    pub if_modified_since: Option<Timestamp>,
    /// It was not written after.
    pub if_unmodified_since: Option<Timestamp>,
}

/// The conditions that a read gives, taken out of its input.
macro_rules! conditions_given {
    ($input:ident) => {
        $crate::condition::OfRead {
            if_match: $input.if_match,
            if_none_match: $input.if_none_match,
            if_modified_since: $input.if_modified_since,
            if_unmodified_since: $input.if_unmodified_since,
        }
    };
}
pub(crate) use conditions_given;

/// Those that a copy gives for its source.
macro_rules! source_conditions_given {
    ($input:ident) => {
        $crate::condition::OfRead {
            if_match: $input.copy_source_if_match,
            if_none_match: $input.copy_source_if_none_match,
            if_modified_since: $input.copy_source_if_modified_since,
            if_unmodified_since: $input.copy_source_if_unmodified_since,
        }
    };
}
pub(crate) use source_conditions_given;

/// The last time that can be written, in milliseconds since 1970: the end of the year 9999.
const TIME_MS_MAX: u64 = 253_402_300_799_000;

/// When an object was written, to the second, as HTTP tells times.
pub fn modified(info: &ObjectInfo) -> Timestamp {
    at_ms(info.modified_ms)
}

/// A time of a record, to the second.
pub fn at_ms(ms: u64) -> Timestamp {
    let seconds = std::time::Duration::from_secs(ms.min(TIME_MS_MAX) / 1000);
    Timestamp::from(std::time::UNIX_EPOCH + seconds)
}

/// A time of a record, to the millisecond.
pub fn at_exact_ms(ms: u64) -> Timestamp {
    // The last that can be written.
    let ms = ms.min(TIME_MS_MAX);
    Timestamp::from(std::time::UNIX_EPOCH + std::time::Duration::from_millis(ms))
}

/// The inverse of [`at_exact_ms`]; times before 1970 are 1970.
pub fn ms_of(time: &Timestamp) -> u64 {
    let mut text = Vec::new();
    let written = time.format(TimestampFormat::EpochSeconds, &mut text).ok().and_then(|()| String::from_utf8(text).ok());
    let seconds: f64 = written.and_then(|text| text.parse().ok()).unwrap_or(0.0);
    (seconds.max(0.0) * 1000.0).round() as u64
}

/// The wall clock, in milliseconds since 1970.
pub fn now_ms() -> u64 {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    since.map_or(0, |since| u64::try_from(since.as_millis()).unwrap_or(u64::MAX))
}

/// Whether an ETag is one that is asked for.
pub fn holds(condition: &ETagCondition, etag: &ETag) -> bool {
    condition.is_any() || condition.as_etag().is_some_and(|wanted| wanted.weak_cmp(etag))
}

impl OfRead {
    /// Whether the object may be shown.
    ///
    /// # Errors
    /// `PreconditionFailed`, or `NotModified` where the caller has it already.
    pub fn check(&self, info: &ObjectInfo) -> S3Result<()> {
        let (etag, modified) = (metadata::etag(info), modified(info));
        let failed = || s3_error!(PreconditionFailed, "At least one of the pre-conditions you specified did not hold");
        match (&self.if_match, &self.if_unmodified_since) {
            (Some(condition), _) if !holds(condition, &etag) => return Err(failed()),
            (None, Some(since)) if modified > *since => return Err(failed()),
            _ => {}
        }
        match (&self.if_none_match, &self.if_modified_since) {
            (Some(condition), _) if holds(condition, &etag) => Err(not_modified(info)),
            (None, Some(since)) if modified <= *since => Err(not_modified(info)),
            _ => Ok(()),
        }
    }
}

impl OfRead {
    /// The same of the source of a copy, which has no "you have it already": every condition that fails is a failed condition.
    ///
    /// # Errors
    /// `PreconditionFailed`.
    pub fn check_copy(&self, info: &ObjectInfo) -> S3Result<()> {
        let failed = |_| s3_error!(PreconditionFailed, "At least one of the pre-conditions you specified did not hold");
        self.check(info).map_err(failed)
    }
}

/// What a PUT or a completion asks of the object that is there now.
///
/// # Errors
/// Those of [`of_write`], and of looking for the object.
pub async fn of_put(
    gateway: &Gateway,
    bucket: &str,
    key: &str,
    if_match: Option<&ETagCondition>,
    if_none_match: Option<&ETagCondition>,
) -> S3Result<Condition> {
    if if_match.is_none() && if_none_match.is_none() {
        return Ok(Condition::Always);
    }
    let current = match gateway.client.stat(bucket, key.as_bytes()).await {
        Ok(info) => Some(info),
        Err(client::Error::NotFound(_) | client::Error::Marker { .. }) => None,
        Err(error) => return Err(error::of(Of::Object, error)),
    };
    of_write(if_match, if_none_match, current.as_ref())
}

/// The same, of a copy's target: the protocol's type leaves these headers out.
///
/// # Errors
/// As [`of_put`], and `InvalidArgument` where a header is none of an ETag.
pub async fn of_headers(gateway: &Gateway, bucket: &str, key: &str, headers: &HeaderMap) -> S3Result<Condition> {
    let given = |name| headers.get(name).map(|value: &HeaderValue| ETagCondition::parse_http_header(value.as_bytes())).transpose();
    let invalid = |_| s3_error!(InvalidArgument, "The ETag of a condition is invalid");
    let (if_match, if_none_match) = (given(IF_MATCH).map_err(invalid)?, given(IF_NONE_MATCH).map_err(invalid)?);
    of_put(gateway, bucket, key, if_match.as_ref(), if_none_match.as_ref()).await
}

fn not_modified(info: &ObjectInfo) -> S3Error {
    let mut error = S3Error::new(S3ErrorCode::NotModified);
    error.set_status_code(hyper::StatusCode::NOT_MODIFIED);
    let etag = metadata::etag(info);
    let told = [(ETAG, Some(format!("\"{}\"", etag.value()))), (LAST_MODIFIED, metadata::http_date(&modified(info)))];
    let told = told.into_iter().filter_map(|(name, value)| Some((name, HeaderValue::from_str(&value?).ok()?)));
    error.set_headers(told.collect());
    error
}

/// What a PUT asks of the object that it replaces: a condition on the version that was looked at, so that nothing comes in between.
///
/// # Errors
/// `PreconditionFailed` and `NoSuchKey` where it does not hold now; `NotImplemented` for what S3 has no words for.
pub fn of_write(
    if_match: Option<&ETagCondition>,
    if_none_match: Option<&ETagCondition>,
    current: Option<&ObjectInfo>,
) -> S3Result<Condition> {
    let failed = || s3_error!(PreconditionFailed, "At least one of the pre-conditions you specified did not hold");
    match (if_match, if_none_match, current) {
        (None, None, _) => Ok(Condition::Always),
        (None, Some(condition), None) if condition.is_any() => Ok(Condition::Absent),
        (None, Some(condition), Some(_)) if condition.is_any() => Err(failed()),
        (Some(_), None, None) => Err(s3_error!(NoSuchKey, "The specified key does not exist.")),
        (Some(condition), None, Some(info)) if holds(condition, &metadata::etag(info)) => Ok(Condition::Version(info.version)),
        (Some(_), None, Some(_)) => Err(failed()),
        (None, Some(condition), Some(info)) if holds(condition, &metadata::etag(info)) => Err(failed()),
        (None, Some(_), Some(info)) => Ok(Condition::Version(info.version)),
        (None, Some(_), None) => Ok(Condition::Absent),
        _ => Err(s3_error!(NotImplemented, "A header you provided implies functionality that is not implemented")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::{Duration, UNIX_EPOCH};
    use types::{Seq, VersionId};

    fn info() -> ObjectInfo {
        let words = vec![("etag".to_owned(), "aa".to_owned())];
        ObjectInfo {
            name: vec![1],
            size: 0,
            checksum: 0,
            version: Seq(4),
            id: VersionId::Null,
            modified_ms: 10_500,
            parts: vec![],
            user_metadata: words,
        }
    }

    fn is(etag: &str) -> Option<ETagCondition> {
        Some(ETagCondition::ETag(ETag::Strong(etag.into())))
    }

    fn at_second(second: u64) -> Option<Timestamp> {
        Some(Timestamp::from(UNIX_EPOCH + Duration::from_secs(second)))
    }

    fn code(conditions: OfRead) -> Option<S3ErrorCode> {
        conditions.check(&info()).err().map(|error| error.code().clone())
    }

    #[test]
    fn times_that_cannot_be_written_are_the_last_that_can() {
        for ms in [TIME_MS_MAX, TIME_MS_MAX + 5_000, u64::MAX] {
            assert_eq!((ms_of(&at_ms(ms)), ms_of(&at_exact_ms(ms))), (TIME_MS_MAX, TIME_MS_MAX), "{ms}");
            assert!(metadata::http_date(&at_ms(ms)).is_some_and(|date| date.contains("9999")));
        }
    }

    #[test]
    fn reads_are_refused_or_answered_as_the_rfc_orders() {
        let none = OfRead::default;
        assert_eq!(code(none()), None);
        assert_eq!(code(OfRead { if_match: is("aa"), ..none() }), None);
        assert_eq!(code(OfRead { if_match: is("bb"), ..none() }), Some(S3ErrorCode::PreconditionFailed));
        assert_eq!(code(OfRead { if_none_match: is("aa"), ..none() }), Some(S3ErrorCode::NotModified));
        assert_eq!(code(OfRead { if_none_match: Some(ETagCondition::Any), ..none() }), Some(S3ErrorCode::NotModified));
        assert_eq!(code(OfRead { if_modified_since: at_second(10), ..none() }), Some(S3ErrorCode::NotModified));
        assert_eq!(code(OfRead { if_modified_since: at_second(9), ..none() }), None);
        assert_eq!(code(OfRead { if_unmodified_since: at_second(9), ..none() }), Some(S3ErrorCode::PreconditionFailed));
        // The ETag decides where both are given.
        assert_eq!(code(OfRead { if_match: is("aa"), if_unmodified_since: at_second(9), ..none() }), None);
        assert_eq!(code(OfRead { if_none_match: is("bb"), if_modified_since: at_second(10), ..none() }), None);
    }

    #[test]
    fn a_conditional_write_is_bound_to_the_version_that_was_looked_at() {
        let write = |if_match: Option<ETagCondition>, if_none_match: Option<ETagCondition>, current: Option<ObjectInfo>| {
            of_write(if_match.as_ref(), if_none_match.as_ref(), current.as_ref()).map_err(|error| error.code().clone())
        };
        let there = || Some(info());
        let none = || None;
        assert_eq!(write(None, None, there()), Ok(Condition::Always));
        assert_eq!(write(None, Some(ETagCondition::Any), none()), Ok(Condition::Absent));
        assert_eq!(write(None, Some(ETagCondition::Any), there()), Err(S3ErrorCode::PreconditionFailed));
        assert_eq!(write(is("aa"), None, there()), Ok(Condition::Version(Seq(4))));
        assert_eq!(write(is("bb"), None, there()), Err(S3ErrorCode::PreconditionFailed));
        assert_eq!(write(is("aa"), None, none()), Err(S3ErrorCode::NoSuchKey));
        assert_eq!(write(None, is("aa"), there()), Err(S3ErrorCode::PreconditionFailed));
        assert_eq!(write(None, is("bb"), there()), Ok(Condition::Version(Seq(4))));
        assert_eq!(write(None, is("bb"), none()), Ok(Condition::Absent));
        assert_eq!(write(is("aa"), is("bb"), there()), Err(S3ErrorCode::NotImplemented));
    }
}
