//! The transport: requests, replies and lent memory between processes, over libfabric ([`fabric`]) or over a simulated network
//! ([`sim`]), behind the same traits.
//!
//! A caller uses [`Transport`]; whoever serves implements [`Service`]. Bulk data lies in buffers of a [`BufPool`] that the caller *lends*
//! and the server pulls or pushes one-sided. A buffer is unique and owned: while it is lent the transport owns it, and it goes back to its
//! pool only when nothing can touch it any more.
//!
//! What a message means is not known here: `types::wire` says it.

pub mod buf;
pub mod error;
#[cfg(feature = "libfabric")]
pub mod fabric;
mod gate;
pub mod service;
pub mod sim;
mod timing;
pub mod transport;

pub use buf::{Buf, BufPool};
pub use error::NetError;
#[cfg(feature = "libfabric")]
pub use fabric::bench;
pub use service::{Identity, Incoming, Observer, PeerIdentity, Service};
pub use timing::Timing;
pub use transport::{Lend, Peer, Reply, Request, Transport};
pub use types::wire::Operation;
