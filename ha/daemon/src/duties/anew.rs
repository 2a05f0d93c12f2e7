//! A daemon that is to begin anew: asked to make HA again from what it has, or left behind by one that was made without it. It writes down what its
//! store is to become, and starts again.

use std::path::PathBuf;
use std::sync::Arc;

use crate::core::Core;
use crate::error::StoreError;
use crate::lead::wall_ms;
use crate::store::anew::{Wish, wish_for};
use crate::store::disk::FsDisk;

/// Waits until it is to, and writes it down; durable when it ends.
pub async fn begin(core: Arc<Core>, dir: PathBuf) -> Result<Wish, StoreError> {
    let (mut asked, mut superseded) = (core.recovery.subscribe(), core.peers.superseded());
    let wish = tokio::select! {
        biased;
        Ok(generation) = superseded.wait_for(|generation| *generation > 0) => Wish::Follow { generation: *generation },
        Ok(generation) = asked.wait_for(|generation| *generation > 0) => Wish::Lead { generation: *generation, wall_ms: wall_ms() },
        else => return Err(StoreError::Broken),
    };
    let failed = |source| StoreError::Io { what: dir.display().to_string(), source };
    wish_for(&mut FsDisk::open(&dir).map_err(failed)?, wish)?;
    Ok(wish)
}
