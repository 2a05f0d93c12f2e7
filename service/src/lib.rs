//! How our programs live on a host: what they tell its service manager, the metrics that they show, the pages and completions that come with
//! them, and the points at which tests have them fail.
//!
//! Nothing here knows the cluster.

pub mod manager;
pub mod metrics;
pub mod pages;
pub mod points;
pub mod ports;
pub mod usage;

pub use manager::Manager;
