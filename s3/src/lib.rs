//! The S3 gateway: Amazon's protocol, served by a storage process, on the buckets and objects of `client`.
//!
//! The protocol itself (parsing, signatures, chunked bodies, XML) is the `s3s` crate's; what is ours is the mapping: which object record an
//! S3 object is ([`metadata`]), which error a failure is ([`error`]), and that a PUT is visible as one transaction, after its bytes were checked
//! against what the caller said of them ([`body`]). A gateway keeps nothing of its own: any node is an entry, none is special. What is
//! supported is a table in `docs/s3.md`.

mod access;
mod acl;
mod body;
mod bucket;
mod checksum;
mod condition;
mod cors;
mod encryption;
mod error;
mod figures;
mod form;
#[cfg(test)]
mod fuzz;
mod gateway;
mod keys;
mod lifecycle;
mod limits;
mod lock;
mod metadata;
mod notify;
mod object;
mod policy;
mod quota;
mod records;
mod serve;
mod session;
mod settings;
mod sts;
mod tags;
mod upload;
mod version;
mod versioning;

pub use figures::Figures;
pub use gateway::Gateway;
pub use keys::Keys;
pub use lifecycle::{DAY_MS, Lifecycle};
pub use notify::message::text as event_text;
pub use notify::{Notifications, Webhooks, arn_of};
pub use records::Source;
pub use serve::{ServeError, TlsFiles, serve};
