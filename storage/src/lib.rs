//! Devices: what lies on one, and how it gets there so that no crash and no bad sector makes it lie.
//!
//! A [`Device`] is a directory: `blocks`, a preallocated file of object data, and `meta/`, one RocksDB with the records of the units, the
//! rows of the catalogues and the logs of DTM0. This crate guarantees the invariants of `docs/formats/device.md`: what was acknowledged is
//! there after any crash, nothing half is visible, space is conserved, and what does not have its checksum is never returned.
//!
//! Views, sessions and placement are the process's business (`node`); a device only knows which fids are dead.

pub mod buf;
pub mod device;
pub mod error;
pub mod io;
pub mod meta;
pub mod options;
pub mod sim;
pub mod superblock;
pub mod unit;

mod alloc;
mod guard;

pub use buf::AlignedBuf;
pub use device::Device;
pub use error::StorageError;
pub use guard::EndsProcess;
pub use meta::{Batch, Durability, Meta, MetaSnapshot, RowsPage};
pub use options::{FormatOptions, IoMode, OpenOptions};
pub use superblock::Identity;
