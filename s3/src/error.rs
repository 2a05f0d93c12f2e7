//! Which S3 error a failure is.

use client::Error;
use s3s::{S3Error, S3ErrorCode, s3_error};

use crate::body::Mismatch;

/// What was asked for, to name what is missing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Of {
    /// A bucket.
    Bucket,
    /// An object in a bucket that is there.
    Object,
    /// An upload to a bucket that is there.
    Upload,
}

/// The S3 error of a failure.
pub fn of(what: Of, error: Error) -> S3Error {
    match error {
        Error::NotFound(_) if what == Of::Bucket => s3_error!(NoSuchBucket, "The specified bucket does not exist"),
        Error::NotFound(_) if what == Of::Upload => s3_error!(
            NoSuchUpload,
            "The specified upload does not exist. The upload ID may be invalid, or the upload may have been aborted or completed."
        ),
        error @ Error::Marker { .. } => crate::version::missing(None, error),
        Error::NotFound(_) => s3_error!(NoSuchKey, "The specified key does not exist."),
        Error::Exists(_) => {
            s3_error!(BucketAlreadyOwnedByYou, "Your previous request to create the named bucket succeeded and you already own it.")
        }
        Error::Condition { .. } => s3_error!(PreconditionFailed, "At least one of the pre-conditions you specified did not hold"),
        Error::Invalid(words) | Error::Refused(words) => S3Error::with_message(S3ErrorCode::InvalidRequest, words),
        // Nothing was changed, or it is safe to do again: clients wait and try again by themselves.
        Error::Unavailable { .. } => s3_error!(ServiceUnavailable, "Please reduce your request rate."),
        Error::Replaced(_) => s3_error!(OperationAborted, "The object was replaced while it was read. Please try again."),
        Error::Full(_) => with_status(S3ErrorCode::Custom("InsufficientCapacity".into()), 507, "The storage is full."),
        Error::Io { source, .. } => match source.get_ref().and_then(|inner| inner.downcast_ref::<Mismatch>()) {
            Some(mismatch) => mismatch.to_error(),
            None => s3_error!(IncompleteBody, "You did not provide the number of bytes specified by the Content-Length HTTP header."),
        },
        // A PUT or a DELETE of the same may be done again without harm.
        error @ (Error::OutcomeUnknown { .. } | Error::Corrupt { .. }) => {
            tracing::error!(%error, "a request failed");
            s3_error!(InternalError, "We encountered an internal error. Please try again.")
        }
    }
}

fn with_status(code: S3ErrorCode, status: u16, words: &'static str) -> S3Error {
    let mut error = S3Error::with_message(code, words);
    if let Ok(status) = hyper::StatusCode::from_u16(status) {
        error.set_status_code(status);
    }
    error
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_missing_is_called_by_its_name() {
        assert_eq!(of(Of::Bucket, Error::NotFound("b".into())).code(), &S3ErrorCode::NoSuchBucket);
        assert_eq!(of(Of::Object, Error::NotFound("o".into())).code(), &S3ErrorCode::NoSuchKey);
        assert_eq!(of(Of::Upload, Error::NotFound("u".into())).code(), &S3ErrorCode::NoSuchUpload);
    }

    #[test]
    fn a_checksum_of_the_caller_that_does_not_match_is_told_from_a_body_that_broke_off() {
        let io = |source: std::io::Error| Error::Io { what: "the source".into(), source: std::sync::Arc::new(source) };
        assert_eq!(of(Of::Object, io(std::io::Error::other(Mismatch::ContentMd5))).code(), &S3ErrorCode::BadDigest);
        assert_eq!(of(Of::Object, io(std::io::ErrorKind::UnexpectedEof.into())).code(), &S3ErrorCode::IncompleteBody);
    }

    #[test]
    fn a_full_cluster_is_507_and_one_that_cannot_serve_503() {
        let full = of(Of::Object, Error::Full("no room".into()));
        assert_eq!(full.status_code().map(|status| status.as_u16()), Some(507));
        let away = Error::Unavailable { what: "w".into(), reason: "r".into(), waited: std::time::Duration::ZERO };
        assert_eq!(of(Of::Object, away).code(), &S3ErrorCode::ServiceUnavailable);
    }
}
