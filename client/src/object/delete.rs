//! Deletes an object: one transaction that takes the record away and makes its fids dead; the sweep frees their space later.

use types::ops::{Condition, Op};
use types::record::Outcome;

use super::record::Target;
use crate::inner::Inner;
use crate::{Client, Error};

impl Client {
    /// Deletes an object. `NotFound` where there is none, `Condition` where it has another version than the condition says.
    pub async fn delete(&self, bucket: &str, name: &[u8], condition: Condition) -> Result<(), Error> {
        let target = Target::find(&self.inner, bucket, name).await?;
        let what = format!("delete object {}", target.shown());
        let condition = if condition == Condition::Always { Condition::Present } else { condition };
        let group = Inner::group_of(&target.bucket, name);
        let op = Op::DeleteObject { catalogue: target.bucket.0.id, name: name.to_vec(), condition };
        match self.inner.execute(&what, group, vec![op]).await? {
            Outcome::Done { .. } => Ok(()),
            Outcome::Refused { current: None, .. } => Err(Error::NotFound(format!("object {}", target.shown()))),
            Outcome::Refused { current, .. } => Err(Error::Condition { what, current }),
        }
    }
}
