//! What is known of an object, without its bytes.

use types::VersionId;

use super::ObjectInfo;
use super::record::Target;
use crate::{Client, Error};

impl Client {
    /// What is known of an object.
    pub async fn stat(&self, bucket: &str, name: &[u8]) -> Result<ObjectInfo, Error> {
        self.stat_version(bucket, name, None).await
    }

    /// What is known of a version of an object; of the current one where `None`.
    ///
    /// # Errors
    /// [`Error::Marker`] where it is a delete marker.
    pub async fn stat_version(&self, bucket: &str, name: &[u8], id: Option<VersionId>) -> Result<ObjectInfo, Error> {
        let target = Target::find(&self.inner, bucket, name).await?;
        let (version, record) = target.record(&self.inner, id).await?;
        Ok(ObjectInfo::new(name, version, record).0)
    }
}
