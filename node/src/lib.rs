//! The storage process: serves units and catalogues, and runs the DTM0 machines over its devices.
//!
//! [`run`] is one life of it, from its registration with HA to its end; [`boot`] is the list of what happens first. What it knows of the
//! cluster is [`view`], whether it may serve is [`lease`], what it does for others is [`serve`], and what holds it all together, one thread
//! for each device, is [`driver`]. Placement, states and views are HA's to decide; the protocol is `dtm`'s.

pub mod boot;
pub mod driver;
pub mod dtm_log;
pub mod error;
pub mod fences;
pub mod flights;
pub mod follow;
pub mod hearing;
pub mod lease;
pub mod metrics;
pub mod pace;
pub mod peers;
pub mod permits;
pub mod points;
pub mod rebuild;
pub mod repair;
pub mod report;
pub mod rooms;
pub mod scrub;
pub mod serve;
pub mod stripes;
pub mod sweep;
pub mod view;
pub mod watch;

mod confirm;
mod devices;
mod gateway;

pub use boot::{Ended, Options, run};
pub use error::NodeError;
pub use gateway::{Known, S3Role};
