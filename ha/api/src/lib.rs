//! HA's interface: the configuration files of a node, the gRPC messages, and the client that everybody speaks to HA with.
//!
//! - [`config`]: `node.toml` and `ha.toml`, checked whole when they are read.
//! - [`HaClient`]: maps, sessions, catalogues, registration, leases, reports, status.
//! - [`seen`]: the cluster at a glance, from what HA says: what `ha top` and the page of every node show.
//! - [`tls`]: certificates of the cluster's CA, and what they say.
//! - [`Follower`]: the state of HA as a snapshot and then every change in order.
//!
//! What the commands mean is `ha-state`'s; who answers is `ha-daemon`. Snapshots and commands pass through here as bytes.

pub mod client;
pub mod config;
pub mod error;
pub mod health;
pub mod repair;
pub mod report;
pub mod seen;
pub mod tls;

/// Messages, clients and servers as generated from `proto/ha.proto`.
#[allow(missing_docs, clippy::all, clippy::pedantic, reason = "generated code; the documentation is in the proto file")]
pub mod pb {
    tonic::include_proto!("redoubt.ha.v1");
}

pub use client::follow::{Follower, Notice};
pub use client::{ClientOptions, HaClient};
pub use error::HaError;
pub use report::{
    Away, DeviceReport, DeviceTrouble, EventLine, Found, Grant, NodeStatus, RaftStatus, RebalanceStatus, Registered, Replacement,
    ReplacementStep, Status, Verdict,
};

/// Metadata key in which a request names its cluster.
pub const CLUSTER_KEY: &str = "redoubt-cluster";
/// Metadata key in which a daemon that cannot serve a request names the daemon that leads.
pub const LEADER_KEY: &str = "redoubt-leader";
/// Largest gRPC message that daemons and clients take: a snapshot of the state.
pub const MESSAGE_BYTES_MAX: usize = 256 * 1024 * 1024;
