//! Events: what happened to an object, kept as a row until it was told.
//!
//! The row is written in the transaction of the change itself, so that it is there exactly when the change is: no crash loses one, and none is
//! made up. It lies in the group of its object, under the name of whom it is told to, in the order of the group's log.

use serde::{Deserialize, Serialize};

use crate::VersionId;
use crate::object::{RowError, from_versioned, versioned};

/// Longest name of a target, in bytes.
pub const TARGET_NAME_BYTES_MAX: usize = 64;

/// By what an object is changed, as far as the operation itself does not say it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Cause {
    /// Somebody asked for it.
    #[default]
    Asked,
    /// Somebody sent a form.
    Form,
    /// Somebody had an object copied.
    Copy,
    /// A rule of its bucket.
    Rule,
}

/// What happened. Numbered for life by their order: add at the end.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Happening {
    /// An object was put.
    Put,
    /// It came by a form.
    Post,
    /// It was copied.
    Copy,
    /// It was uploaded in parts.
    Completed,
    /// An object or a version was deleted for good.
    Deleted,
    /// A delete marker was made.
    Marked,
    /// A rule deleted one for good.
    Expired,
    /// A rule made a delete marker.
    ExpiredMarked,
}

impl Happening {
    /// All of them.
    pub const ALL: [Self; 8] =
        [Self::Put, Self::Post, Self::Copy, Self::Completed, Self::Deleted, Self::Marked, Self::Expired, Self::ExpiredMarked];

    /// The name that S3 has for it, without `s3:`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Put => "ObjectCreated:Put",
            Self::Post => "ObjectCreated:Post",
            Self::Copy => "ObjectCreated:Copy",
            Self::Completed => "ObjectCreated:CompleteMultipartUpload",
            Self::Deleted => "ObjectRemoved:Delete",
            Self::Marked => "ObjectRemoved:DeleteMarkerCreated",
            Self::Expired => "LifecycleExpiration:Delete",
            Self::ExpiredMarked => "LifecycleExpiration:DeleteMarkerCreated",
        }
    }

    /// Whether an object is there after it that was not before.
    pub fn is_creation(self) -> bool {
        matches!(self, Self::Put | Self::Post | Self::Copy | Self::Completed)
    }
}

/// Who wants to be told of something.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Wish {
    /// The target.
    pub target: String,
    /// The name of the bucket's rule that says so.
    pub rule: String,
}

/// Something that happened to an object, for one target. Its key has the target, its place in the log and the object's name.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct EventRow {
    /// What happened.
    pub happening: Happening,
    /// The bucket's name.
    pub bucket: String,
    /// The name of the bucket's rule that wants it told.
    pub rule: String,
    /// Wall clock of the primary, in milliseconds since 1970.
    pub at_ms: u64,
    /// Bytes of the object that was made.
    pub size: Option<u64>,
    /// Its ETag.
    pub etag: Option<String>,
    /// Its version, or the one that was deleted; none in a bucket that never kept any.
    pub version: Option<VersionId>,
}

impl EventRow {
    /// The value of its row: a format byte, then the row.
    pub fn to_value(&self) -> Vec<u8> {
        versioned(self)
    }

    /// The row in a value.
    pub fn from_value(value: &[u8]) -> Result<Self, RowError> {
        from_versioned(value)
    }
}

/// Whether that may name a target: part of ARNs, of keys of rows and of command lines.
pub fn is_target_name(text: &str) -> bool {
    (1..=TARGET_NAME_BYTES_MAX).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_alphanumeric() || b"_-.".contains(&b))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Seq;

    #[test]
    fn a_row_is_read_as_it_was_written_and_nothing_else_is() {
        let row = EventRow {
            happening: Happening::Completed,
            bucket: "b".into(),
            rule: "r".into(),
            at_ms: 9,
            size: Some(5),
            etag: Some("e".into()),
            version: Some(VersionId::At(Seq(3))),
        };
        assert_eq!(EventRow::from_value(&row.to_value()).ok().as_ref(), Some(&row));
        assert!([&[][..], &[99, 0], &row.to_value()[..4]].into_iter().all(|bytes| EventRow::from_value(bytes).is_err()));
    }

    #[test]
    fn names_of_targets_are_parts_of_arns() {
        assert!(is_target_name("audit-1.eu_2"));
        for bad in ["", "a:b", "a b", "a/b", "ä", &"a".repeat(TARGET_NAME_BYTES_MAX + 1)] {
            assert!(!is_target_name(bad), "{bad}");
        }
    }
}
