//! Versions as the protocol names them, and what is said where one is missing or a delete marker.

use client::{Error, VersionId};
use hyper::HeaderMap;
use hyper::header::{ALLOW, HeaderValue, LAST_MODIFIED};
use s3s::{S3Error, S3Result, s3_error};
use types::object::Versioning;

use crate::condition::at_ms;
use crate::error::{self, Of};
use crate::metadata::http_date;

/// The version that a request names; `None` for what is current.
///
/// # Errors
/// `InvalidArgument` where that is none.
pub fn wanted(text: Option<&str>) -> S3Result<Option<VersionId>> {
    let invalid = || s3_error!(InvalidArgument, "Invalid version id specified");
    text.map(|text| text.parse().map_err(|_| invalid())).transpose()
}

/// The version that an answer about an object names: none in a bucket that never kept any.
pub fn shown(versioning: Versioning, id: VersionId) -> Option<String> {
    (versioning != Versioning::Off || id != VersionId::Null).then(|| id.to_string())
}

/// The version that an answer to a write names: the null version has no name of its own.
pub fn made(id: VersionId) -> Option<String> {
    (id != VersionId::Null).then(|| id.to_string())
}

/// The error of a failure to find a version, or what is current.
pub fn missing(wanted: Option<VersionId>, failure: Error) -> S3Error {
    match failure {
        Error::NotFound(_) if wanted.is_some() => s3_error!(NoSuchVersion, "The specified version does not exist."),
        Error::Marker { id, modified_ms, .. } => marker(wanted.is_some(), id, modified_ms),
        other => error::of(Of::Object, other),
    }
}

fn marker(is_named: bool, id: VersionId, modified_ms: u64) -> S3Error {
    let mut headers = HeaderMap::new();
    headers.insert("x-amz-delete-marker", HeaderValue::from_static("true"));
    headers.extend(HeaderValue::from_str(&id.to_string()).ok().map(|id| (hyper::header::HeaderName::from_static("x-amz-version-id"), id)));
    let mut error = if is_named {
        headers.insert(ALLOW, HeaderValue::from_static("DELETE"));
        headers.extend(http_date(&at_ms(modified_ms)).and_then(|date| HeaderValue::from_str(&date).ok()).map(|date| (LAST_MODIFIED, date)));
        s3_error!(MethodNotAllowed, "The specified method is not allowed against this resource.")
    } else {
        s3_error!(NoSuchKey, "The specified key does not exist.")
    };
    error.set_headers(headers);
    error
}

#[cfg(test)]
mod tests {
    use super::*;
    use s3s::S3ErrorCode;
    use types::Seq;

    #[test]
    fn versions_go_both_ways_and_what_is_none_is_refused() {
        let id = VersionId::At(Seq(77));
        assert_eq!(wanted(made(id).as_deref()).ok(), Some(Some(id)));
        assert_eq!(wanted(Some("null")).ok(), Some(Some(VersionId::Null)));
        assert_eq!(wanted(None).ok(), Some(None));
        for bad in ["", "77", "000000000000004D", "../x"] {
            assert_eq!(wanted(Some(bad)).err().map(|e| e.code().clone()), Some(S3ErrorCode::InvalidArgument), "{bad}");
        }
        assert_eq!((made(VersionId::Null), shown(Versioning::Off, VersionId::Null)), (None, None));
        assert_eq!(shown(Versioning::Suspended, VersionId::Null).as_deref(), Some("null"));
    }

    #[test]
    fn a_delete_marker_says_that_it_is_one() {
        let of = |wanted| {
            let error = missing(wanted, Error::Marker { what: "o".into(), id: VersionId::At(Seq(5)), modified_ms: 0 });
            let header = error.headers().and_then(|headers| headers.get("x-amz-delete-marker").cloned());
            assert_eq!(header.as_ref().map(HeaderValue::as_bytes), Some(&b"true"[..]));
            error.code().clone()
        };
        assert_eq!(of(None), S3ErrorCode::NoSuchKey);
        assert_eq!(of(Some(VersionId::At(Seq(5)))), S3ErrorCode::MethodNotAllowed);
        assert_eq!(missing(Some(VersionId::Null), Error::NotFound("o".into())).code(), &S3ErrorCode::NoSuchVersion);
    }
}
