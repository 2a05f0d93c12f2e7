//! Deletes an object: one transaction that takes the record away and makes its fids dead; the sweep frees their space later. Where the bucket
//! keeps versions the object becomes one, and a delete marker is current.

use types::VersionId;
use types::object::Versioning;
use types::ops::{Condition, Op};
use types::record::Outcome;

use super::put::now_ms;
use super::record::Target;
use crate::inner::Inner;
use crate::{Client, Error};

/// What a DELETE came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Deleted {
    /// The delete marker that is current now, where the bucket keeps versions.
    pub marker: Option<VersionId>,
}

impl Client {
    /// Deletes an object. `NotFound` where there is none and the bucket keeps no versions, `Condition` where it has another version than the
    /// condition says.
    pub async fn delete(&self, bucket: &str, name: &[u8], condition: Condition) -> Result<Deleted, Error> {
        let target = Target::find(&self.inner, bucket, name).await?;
        let what = format!("delete object {}", target.shown());
        let group = Inner::group_of(&target.bucket, name);
        let (catalogue, name) = (target.bucket.0.id, name.to_vec());
        let op = Op::DeleteObject { catalogue, name, condition, modified_ms: now_ms(), versioning: Versioning::Off };
        let not_found = || Error::NotFound(format!("object {}", target.shown()));
        match self.inner.execute(&what, group, vec![op]).await? {
            Outcome::Done { versioning: Versioning::Off, previous, .. } if previous == [None] => Err(not_found()),
            Outcome::Done { versioning: Versioning::Off, .. } => Ok(Deleted { marker: None }),
            Outcome::Done { version, versioning, .. } => Ok(Deleted { marker: Some(versioning.id(version)) }),
            Outcome::Refused { current: None, .. } => Err(not_found()),
            Outcome::Refused { current, .. } => Err(Error::Condition { what, current }),
        }
    }
}
