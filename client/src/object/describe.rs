//! Changes what is said of an object, and nothing else of it.

use types::VersionId;
use types::ops::{Condition, Op};
use types::record::Outcome;

use super::put::check_metadata;
use super::record::Target;
use crate::inner::Inner;
use crate::{Client, Error};

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
        check_metadata(&words)?;
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
