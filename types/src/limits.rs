//! The bounds that several crates must agree on. Bounds of one crate live with that crate.

/// Block of a device: alignment of every direct read and write.
pub const BLOCK_BYTES: usize = 4096;
/// What one CRC32C covers.
pub const CHUNK_BYTES: usize = 64 * 1024;
/// Largest unit. With [`SCHEME_DATA_MAX`] data units it bounds a stripe in memory.
pub const UNIT_BYTES_MAX: usize = 1024 * 1024;
/// Largest chunk of an object under one fid.
pub const FID_BYTES_MAX: u64 = 64 * 1024 * 1024;
/// An object up to this size is a value in its record.
pub const INLINE_BYTES_MAX: usize = 64 * 1024;
/// Most parts of an object that is written at once.
pub const PARTS_IN_RECORD_MAX: usize = 1024;
/// Most parts of an object that was uploaded in parts: with all that is said of them they leave a transaction room.
pub const PARTS_OF_UPLOAD_MAX: usize = 16_384;
/// Fids of one object that are made dead a row each, in the transaction that replaces it; of an object with more they go into one row.
pub const FIDS_RETIRED_APART_MAX: usize = PARTS_IN_RECORD_MAX;
/// Largest object of the native API: parts in the record times the size of a part.
pub const OBJECT_BYTES_MAX: u64 = PARTS_IN_RECORD_MAX as u64 * FID_BYTES_MAX;
/// Longest name of an object or key of an index, in bytes.
pub const NAME_BYTES_MAX: usize = 1024;
/// Longest name of a catalogue, in bytes.
pub const CATALOGUE_NAME_BYTES_MAX: usize = 255;
/// Largest value of a user's index: one inline value.
pub const VALUE_BYTES_MAX: usize = INLINE_BYTES_MAX;
/// Most operations in one transaction.
pub const DTX_OPS_MAX: usize = 1024;
/// Largest transaction, beside one inline value.
pub const DTX_BYTES_MAX: usize = 1024 * 1024;
/// Most keys in one page of a scan.
pub const SCAN_KEYS_MAX: usize = 1000;
/// Most data units in a stripe.
pub const SCHEME_DATA_MAX: usize = 16;
/// Most parity units in a stripe.
pub const SCHEME_PARITY_MAX: usize = 4;
/// What one decode may read: the largest message (a page of log records) with room to spare.
pub const DECODE_BYTES_MAX: usize = 256 * 1024 * 1024;
/// Largest head (everything but lent data) of one message on the fabric.
pub const MESSAGE_HEAD_BYTES_MAX: usize = 2 * 1024 * 1024;
/// Largest document of a bucket's settings, in bytes.
pub const BUCKET_DOCUMENT_BYTES_MAX: usize = 20 * 1024;
/// Most accounts of a cluster.
pub const ACCOUNTS_MAX: usize = 10_000;
/// Most keys of an account: one in use, one that takes its place, and some for programs.
pub const ACCOUNT_KEYS_MAX: usize = 10;
/// Longest name of an account or of a key, in bytes.
pub const ACCOUNT_NAME_BYTES_MAX: usize = 128;
/// Most targets of events of a cluster.
pub const TARGETS_MAX: usize = 256;
/// Longest address of a target, in bytes.
pub const TARGET_URL_BYTES_MAX: usize = 2048;
/// Longest secret of a key as it is kept, encrypted, in bytes.
pub const SEALED_SECRET_BYTES_MAX: usize = 512;
