//! The HA daemon: one member of the Raft group that holds the one truth about the cluster.
//!
//! - [`store`]: what it keeps on disk; [`raft`]: agreement; [`machine`]: the state as agreed and applied.
//! - [`lead`]: leases and decisions, where it leads; [`duties`]: what it does by itself; [`watch`]: its node's process.
//! - [`serve`]: requests of processes, clients, operators and other daemons; [`peer`]: messages to those; [`metrics`]: what it shows.
//!
//! What commands mean and what a leader should propose is `ha-state`'s; where groups lie is `layout`'s.

pub mod core;
pub mod daemon;
pub mod duties;
pub mod error;
pub mod lead;
pub mod machine;
pub mod metrics;
pub mod peer;
pub mod points;
pub mod raft;
pub mod serve;
pub mod store;
pub mod topology;
pub mod watch;
pub mod web;

pub use daemon::{Daemon, End, listen};
pub use error::{DaemonError, StoreError};
