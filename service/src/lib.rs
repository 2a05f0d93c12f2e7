//! How our programs live on a host: what they tell its service manager, the metrics that they show, and the pages and completions that come with
//! them.
//!
//! Nothing here knows the cluster.

pub mod manager;
pub mod metrics;
pub mod pages;
pub mod ports;

pub use manager::Manager;
