//! The services of a daemon: for processes, clients and operators, and for the other daemons.

pub mod client;
pub mod convert;
pub mod follow;
pub mod peer;
mod recovery;
mod removal;
pub mod show;

use ha_api::CLUSTER_KEY;
use tonic::metadata::MetadataMap;
use types::ClusterId;

/// Whether a request that names a cluster names this one.
pub(crate) fn check_cluster(own: ClusterId, metadata: &MetadataMap) -> Result<(), tonic::Status> {
    let Some(named) = metadata.get(CLUSTER_KEY) else { return Ok(()) };
    match named.to_str().ok().and_then(|text| text.parse::<ClusterId>().ok()) {
        Some(named) if named == own => Ok(()),
        _ => Err(ha_api::HaError::Stranger(format!("this is an HA daemon of cluster {own}, not of the one that was asked for")).into()),
    }
}
