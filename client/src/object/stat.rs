//! What is known of an object, without its bytes.

use super::ObjectInfo;
use super::record::Target;
use crate::{Client, Error};

impl Client {
    /// What is known of an object.
    pub async fn stat(&self, bucket: &str, name: &[u8]) -> Result<ObjectInfo, Error> {
        let target = Target::find(&self.inner, bucket, name).await?;
        let (version, record) = target.record(&self.inner).await?;
        Ok(ObjectInfo::new(name, version, record).0)
    }
}
