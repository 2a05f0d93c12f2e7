//! The words of the system: ids, epochs, states, sizes, checksums, codecs, the cluster map and every message that crosses the fabric.
//!
//! Everything else depends on this crate and it depends on nothing of ours. It does no I/O, reads no clock and draws no random numbers.

pub mod buf;
pub mod checksum;
pub mod codec;
pub mod event;
pub mod ids;
pub mod keys;
pub mod limits;
pub mod load;
pub mod map;
pub mod object;
pub mod ops;
pub mod quota;
pub mod record;
pub mod records;
pub mod routing;
pub mod scheme;
pub mod scrub;
pub mod state;
pub mod upload;
pub mod wire;

pub use ids::*;
