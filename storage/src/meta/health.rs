//! Whether a device has failed: set once, never taken back in this incarnation.

use std::sync::OnceLock;

use crate::StorageError;

/// The first failure of a device, if any.
#[derive(Debug, Default)]
pub struct Health(OnceLock<String>);

impl Health {
    /// An error where the device has failed.
    pub fn check(&self) -> Result<(), StorageError> {
        match self.0.get() {
            Some(reason) => Err(StorageError::Failed(reason.clone())),
            None => Ok(()),
        }
    }

    /// The device has failed of this; what everybody is told from now on.
    pub fn fail(&self, error: &StorageError) -> StorageError {
        let reason = match error {
            StorageError::Failed(reason) => reason.clone(),
            other => other.to_string(),
        };
        if self.0.set(reason.clone()).is_ok() {
            tracing::error!(%reason, "the device has failed and takes no more changes");
        }
        StorageError::Failed(self.0.get().cloned().unwrap_or(reason))
    }

    /// What it has failed of.
    pub fn failure(&self) -> Option<String> {
        self.0.get().cloned()
    }
}
