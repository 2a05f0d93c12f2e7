//! Objects: what is known of one, and the verbs on them, a file each.

mod count;
mod delete;
mod describe;
mod fetch;
mod get;
mod list;
mod part;
mod put;
mod record;
mod source;
mod stat;
mod stripe;
mod upload;
mod uploads;
mod version;
mod versions;

pub use delete::Deleted;
pub use get::{ObjectReader, Range};
pub use list::{ListPage, ListRequest};
pub use put::PutOptions;
pub use upload::{PartInfo, UploadInfo};
pub use uploads::{UploadPage, UploadToken};
pub use version::VersionInfo;
pub use versions::{VersionPage, VersionToken, VersionsRequest};

use types::object::{Content, ObjectRecord, Part};
use types::{PoolId, Version, VersionId};

/// What is known of an object.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ObjectInfo {
    /// Its name.
    pub name: Vec<u8>,
    /// Bytes in it, as its readers get them.
    pub size: u64,
    /// CRC32C of all its bytes, as they lie.
    pub checksum: u32,
    /// The version of its record: a new one with each PUT.
    pub version: Version,
    /// Which version of the object it is, where its bucket keeps them.
    pub id: VersionId,
    /// Wall clock of its writer, in milliseconds since 1970.
    pub modified_ms: u64,
    /// Where its bytes lie; empty where they lie in the record itself.
    pub parts: Vec<Part>,
    /// The user's own words about it.
    pub user_metadata: Vec<(String, String)>,
}

impl ObjectInfo {
    fn new(name: &[u8], version: Version, record: ObjectRecord) -> (Self, Content) {
        let parts = match &record.content {
            Content::Inline(_) => Vec::new(),
            Content::Parts(parts) => parts.clone(),
        };
        let info = Self {
            name: name.to_vec(),
            size: record.plain_bytes(),
            checksum: record.checksum,
            version,
            id: record.id,
            modified_ms: record.modified_ms,
            parts,
            user_metadata: record.user_metadata,
        };
        (info, record.content)
    }

    /// Whether its bytes are encrypted, so that only a gateway of S3 can read them.
    pub fn is_encrypted(&self) -> bool {
        types::object::encryption(&self.user_metadata).is_some()
    }

    /// The pools that hold its bytes, without repetition.
    pub fn pools(&self) -> Vec<PoolId> {
        let mut pools: Vec<PoolId> = self.parts.iter().map(|part| part.fid.group.pool).collect();
        pools.sort_unstable();
        pools.dedup();
        pools
    }
}
