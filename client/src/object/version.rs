//! One version of an object: looked at, and removed for good.

use types::keys::{self, Place};
use types::object::{Stored, VersionRow};
use types::ops::Op;
use types::record::Outcome;
use types::{Version, VersionId};

use super::ObjectInfo;
use super::record::{Found, Target, read_version};
use crate::inner::Inner;
use crate::{Client, Error};

/// How often it is tried to remove a version while others of its name come and go.
const TRIES_MAX: u32 = 20;

/// A version of an object, or a delete marker.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VersionInfo {
    /// The object's name.
    pub name: Vec<u8>,
    /// Which version.
    pub id: VersionId,
    /// The version of its row: another one with each change of what is said of it.
    pub version: Version,
    /// Whether it is what a GET without a version gets.
    pub is_current: bool,
    /// Wall clock of its writer, or of who deleted, in milliseconds since 1970.
    pub modified_ms: u64,
    /// The object; `None` for a delete marker.
    pub object: Option<ObjectInfo>,
}

impl VersionInfo {
    pub(super) fn new(name: &[u8], version: Version, is_current: bool, id: VersionId, stored: Stored) -> Self {
        let (modified_ms, object) = match stored {
            Stored::Object(record) => (record.modified_ms, Some(ObjectInfo::new(name, version, record).0)),
            Stored::Marker { modified_ms } => (modified_ms, None),
        };
        Self { name: name.to_vec(), id, version, is_current, modified_ms, object }
    }
}

impl Client {
    /// A version of an object or a delete marker; what is current where `None`. `NotFound` where there is none.
    pub async fn version(&self, bucket: &str, name: &[u8], id: Option<VersionId>) -> Result<VersionInfo, Error> {
        let target = Target::find(&self.inner, bucket, name).await?;
        let Found { row_version, id, is_current, version } = target.find_version(&self.inner, id).await?;
        Ok(VersionInfo::new(name, row_version, is_current, id, version))
    }

    /// Removes a version for good; where it was current, the newest of the others is. Says what was removed.
    ///
    /// # Errors
    /// `NotFound` where there is none, `Condition` where its row has another version than `seen`.
    pub async fn delete_version(&self, bucket: &str, name: &[u8], id: VersionId, seen: Option<Version>) -> Result<VersionInfo, Error> {
        let target = Target::find(&self.inner, bucket, name).await?;
        let what = format!("delete a version of object {}", target.shown());
        let group = Inner::group_of(&target.bucket, name);
        for _ in 0..TRIES_MAX {
            let found = target.find_version(&self.inner, Some(id)).await?;
            if seen.is_some_and(|seen| seen != found.row_version) {
                return Err(Error::Condition { what, current: Some(found.row_version) });
            }
            // Read after the row of what is current: as long as that stays as it is, versions go and none comes.
            let next = if found.is_current { self.newest_kept(&target).await? } else { None };
            let (catalogue, name, seen) = (target.bucket.0.id, name.to_vec(), found.row_version);
            let op = Op::DeleteVersion { catalogue, name, id, seen, next };
            match self.inner.execute(&what, group, vec![op]).await? {
                Outcome::Done { .. } => {
                    let Found { row_version, id, is_current, version } = found;
                    return Ok(VersionInfo::new(&target.name, row_version, is_current, id, version));
                }
                // Something came in between: what is there now is looked at again.
                Outcome::Refused { .. } => {}
            }
        }
        let reason = "other versions of it come and go all the time".to_string();
        Err(Error::Unavailable { what, reason, waited: self.inner.options.timeout })
    }

    /// The newest version of a name that is not current.
    async fn newest_kept(&self, target: &Target) -> Result<Option<VersionId>, Error> {
        let what = format!("look for versions of object {}", target.shown());
        let group = Inner::group_of(&target.bucket, &target.name);
        let from = keys::version(&target.name, Place::Kept(VersionId::Null));
        let prefix = keys::versions_of(&target.name);
        // The null version, if there is one, and the newest of the others.
        let page = self.inner.scan_of(&what, target.bucket.0.id, |of| of == group, &from, &prefix, 2, true).await?;
        let versions = page.rows.iter().map(|row| read_version(&target.shown(), &row.row)).collect::<Result<Vec<VersionRow>, _>>()?;
        Ok(versions.iter().max_by_key(|version| version.order).map(|version| version.id))
    }
}
