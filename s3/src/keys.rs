//! Who may use the gateway: the key of the configuration, and those of accounts, whose secrets HA keeps encrypted under the cluster's key.

use std::sync::Arc;

use client::{ClusterKey, secret_of};
use s3s::auth::{S3Auth, SecretKey};
use s3s::{S3Result, s3_error};

use crate::Gateway;
use crate::session::Session;

/// The key of the configuration, and the cluster's key. Secrets are shown nowhere.
#[derive(Clone)]
pub struct Keys {
    access_key: String,
    secret_key: String,
    cluster_key: Option<ClusterKey>,
}

impl Keys {
    /// The key that may do everything; with the cluster's key those of accounts, too.
    pub fn new(access_key: impl Into<String>, secret_key: impl Into<String>, cluster_key: Option<ClusterKey>) -> Self {
        Self { access_key: access_key.into(), secret_key: secret_key.into(), cluster_key }
    }

    /// The cluster's key, where the gateway has it.
    pub(crate) fn cluster_key(&self) -> Option<&ClusterKey> {
        self.cluster_key.as_ref()
    }

    /// Whether it is the key of the configuration.
    pub(crate) fn is_root(&self, access_key: &str) -> bool {
        self.access_key == access_key
    }
}

impl std::fmt::Debug for Keys {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Keys").field("access_key", &self.access_key).finish_non_exhaustive()
    }
}

impl Gateway {
    /// The secret of a key.
    ///
    /// # Errors
    /// `InvalidAccessKeyId`.
    pub(crate) async fn secret_of(&self, access_key: &str) -> S3Result<String> {
        let unknown = || s3_error!(InvalidAccessKeyId, "The AWS Access Key Id you provided does not exist in our records.");
        if self.keys.is_root(access_key) {
            return Ok(self.keys.secret_key.clone());
        }
        let records = self.records().await?;
        let account = records.keys.get(access_key).filter(|account| !account.disabled).ok_or_else(unknown)?;
        let sealed = account.keys.get(access_key).ok_or_else(unknown)?;
        let opened = self.keys.cluster_key.as_ref().and_then(|key| key.open(&secret_of(access_key), &sealed.sealed_secret));
        opened.and_then(|bytes| String::from_utf8(bytes).ok()).ok_or_else(|| {
            tracing::error!(access_key, "the secret of a key cannot be read: is it the same cluster key at every node?");
            unknown()
        })
    }

    /// The secret of a key, or of the session whose key it is.
    ///
    /// # Errors
    /// `InvalidAccessKeyId`.
    pub(crate) async fn secret_of_signer(&self, access_key: &str, session: Option<&Session>) -> S3Result<SecretKey> {
        match session.filter(|session| session.access_key == access_key) {
            Some(session) => Ok(session.secret.clone()),
            None => self.secret_of(access_key).await.map(SecretKey::from),
        }
    }
}

/// The secrets by which requests are signed: those of keys, and that of the session of one request.
pub struct Secrets {
    /// Knows the keys.
    pub gateway: Gateway,
    /// The session that the request's token is for.
    pub session: Option<Arc<Session>>,
}

#[async_trait::async_trait]
impl S3Auth for Secrets {
    async fn get_secret_key(&self, access_key: &str) -> S3Result<SecretKey> {
        self.gateway.secret_of_signer(access_key, self.session.as_deref()).await
    }
}
