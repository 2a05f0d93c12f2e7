//! Changes what is said of an object, and nothing else of it.

use types::VersionId;
use types::limits::DTX_BYTES_MAX;
use types::object::OF_PARTS;
use types::ops::{Condition, Op};
use types::record::Outcome;

use super::put::{USER_METADATA_BYTES_MAX, check_metadata_of};
use super::record::Target;
use crate::inner::Inner;
use crate::{Client, Error};

/// Most bytes of the words about the parts of an object: 10,000 have 800 KB of them.
const OF_PARTS_BYTES_MAX: usize = DTX_BYTES_MAX - USER_METADATA_BYTES_MAX;

impl Client {
    /// Sets the words about an object: a new version of its record, with the same bytes and the same time. `NotFound` where there is none,
    /// `Condition` where it has another version than the condition says.
    pub async fn describe(&self, bucket: &str, name: &[u8], words: Vec<(String, String)>, condition: Condition) -> Result<(), Error> {
        self.describe_version(bucket, name, None, words, condition).await
    }

    /// The same of a version of an object; of the current one where `None`.
    pub async fn describe_version(
        &self,
        bucket: &str,
        name: &[u8],
        of: Option<VersionId>,
        words: Vec<(String, String)>,
        condition: Condition,
    ) -> Result<(), Error> {
        let (of_parts, others): (Vec<_>, Vec<_>) = words.iter().partition(|(name, _)| OF_PARTS.contains(&name.as_str()));
        check_metadata_of(others, USER_METADATA_BYTES_MAX)?;
        check_metadata_of(of_parts, OF_PARTS_BYTES_MAX)?;
        let target = Target::find(&self.inner, bucket, name).await?;
        let what = format!("describe object {}", target.shown());
        let group = Inner::group_of(&target.bucket, name);
        let op = Op::DescribeObject { catalogue: target.bucket.0.id, name: name.to_vec(), words, of, condition };
        match self.inner.execute(&what, group, vec![op]).await? {
            Outcome::Done { .. } => Ok(()),
            Outcome::Refused { current: None, .. } => Err(Error::NotFound(format!("object {}", target.shown()))),
            Outcome::Refused { current, .. } => Err(Error::Condition { what, current }),
        }
    }
}
