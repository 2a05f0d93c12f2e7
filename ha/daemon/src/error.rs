//! What can go wrong in an HA daemon.

use std::io;
use std::path::PathBuf;

use ha_api::config::ConfigError;

/// Why a store cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The system says so.
    #[error("{what}: {source}")]
    Io {
        /// Which file.
        what: String,
        /// What it says.
        source: io::Error,
    },
    /// What is on disk is not what was written.
    #[error("{file}: {problem}")]
    Damaged {
        /// Which file.
        file: String,
        /// What is wrong.
        problem: String,
    },
    /// The store is of another cluster or of another node.
    #[error("{}: this is the store of {found}, not of {expected}", dir.display())]
    Other {
        /// Where.
        dir: PathBuf,
        /// Whose it is.
        found: String,
        /// Whose it should be.
        expected: String,
    },
    /// Another daemon uses it.
    #[error("{}: another HA daemon uses this store", .0.display())]
    InUse(PathBuf),
    /// A write has failed before.
    #[error("the log takes nothing more: a write has failed")]
    Broken,
    /// More at once than a frame may have.
    #[error("{bytes} bytes in one write of the log; at most {max}")]
    TooLarge {
        /// How many.
        bytes: usize,
        /// How many may be.
        max: usize,
    },
}

/// Why a daemon does not start or has ended.
#[derive(Debug, thiserror::Error)]
pub enum DaemonError {
    /// The configuration.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// What the configuration says cannot be.
    #[error("configuration: {0}")]
    Topology(String),
    /// The store.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The address cannot be listened on.
    #[error("{address}: {source}")]
    Listen {
        /// Which.
        address: String,
        /// What the system says.
        source: io::Error,
    },
    /// The Raft group does not start or has ended.
    #[error("raft: {0}")]
    Raft(String),
}
