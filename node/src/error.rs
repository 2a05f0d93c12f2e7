//! What can go wrong with the process as a whole, with what was tried.

use types::DeviceId;

/// Why the process does not start, or ends.
#[derive(Debug, thiserror::Error)]
pub enum NodeError {
    /// The configuration cannot be used.
    #[error(transparent)]
    Config(#[from] ha_api::config::ConfigError),
    /// HA refuses this process for good.
    #[error("HA refuses this process: {0}")]
    Refused(String),
    /// HA answers, but not with what was asked for.
    #[error("HA: {0}")]
    Ha(#[from] ha_api::HaError),
    /// The fabric cannot be used.
    #[error("fabric: {0}")]
    Net(#[from] net::NetError),
    /// A device cannot be used.
    #[error("{device} at {path}: {error}")]
    Device {
        /// Which device.
        device: DeviceId,
        /// Where it is.
        path: String,
        /// What is wrong with it.
        error: storage::StorageError,
    },
    /// The system refuses something that a process may expect.
    #[error("{what}: {error}")]
    System {
        /// What was tried.
        what: &'static str,
        /// What the system says.
        error: std::io::Error,
    },
    /// The node's name is not in the cluster.
    #[error("node `{0}` is not in the cluster's topology")]
    UnknownNode(String),
}
