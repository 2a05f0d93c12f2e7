//! Booted hosts on one machine: Debian with systemd as PID 1, each with its own root, address and control groups, in network namespaces that
//! this tool makes. A power cut, a frozen host and a cut network are real for everything that runs in them.
//!
//! - [`image`]: the base image that all roots lie over; [`set`]: the hosts of a run and where everything of them is.
//! - [`network`]: the switch and its ports; [`host`]: booting and ending one; [`cgroup`]: what holds its processes; [`permit`]: whether this
//!   machine allows all that.
//!
//! The page cache survives a power cut here, for the kernel is the machine's own: writes lost below it are the simulated disk's to test.

pub mod cgroup;
pub mod host;
pub mod image;
pub mod network;
pub mod permit;
pub mod run;
pub mod set;

pub use set::{Host, Set};
