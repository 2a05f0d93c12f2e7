//! Who may use the gateway: access keys and their secrets.

use std::collections::BTreeMap;

use s3s::auth::{S3Auth, SecretKey};
use s3s::{S3Result, s3_error};

/// Access keys and their secrets. Secrets are shown nowhere.
#[derive(Clone, Default)]
pub struct Keys(BTreeMap<String, String>);

impl Keys {
    /// One key.
    pub fn one(access_key: impl Into<String>, secret_key: impl Into<String>) -> Self {
        Self(BTreeMap::from([(access_key.into(), secret_key.into())]))
    }
}

impl std::fmt::Debug for Keys {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_set().entries(self.0.keys()).finish()
    }
}

#[async_trait::async_trait]
impl S3Auth for Keys {
    async fn get_secret_key(&self, access_key: &str) -> S3Result<SecretKey> {
        match self.0.get(access_key) {
            Some(secret) => Ok(SecretKey::from(secret.clone())),
            None => Err(s3_error!(InvalidAccessKeyId, "The AWS Access Key Id you provided does not exist in our records.")),
        }
    }
}
