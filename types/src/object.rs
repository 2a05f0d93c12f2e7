//! Records of objects, and the rows beside them.

use serde::{Deserialize, Serialize};

use crate::{Fid, HaTime, Seq, SessionId, Version, VersionId};

/// Where a run of an object's bytes lies.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Part {
    /// First byte of the run in the object.
    pub offset: u64,
    /// Bytes in the run.
    pub length: u64,
    /// The chunk that holds them.
    pub fid: Fid,
    /// Data units in a stripe: the pool's scheme when the part was written.
    pub data: u8,
    /// Parity units in a stripe.
    pub parity: u8,
    /// Bytes of a full unit. The last stripe's units are `ceil(rest/N)` rounded up to a block.
    pub unit_bytes: u32,
}

/// What an object holds.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Content {
    /// The bytes themselves.
    Inline(#[serde(with = "crate::codec::bytes")] Vec<u8>),
    /// The places of the bytes, in order, without gaps.
    Parts(Vec<Part>),
}

/// The record of an object: the value under its object key.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ObjectRecord {
    /// Bytes in the object, as they lie.
    pub size: u64,
    /// CRC32C of all of them.
    pub checksum: u32,
    /// Wall clock of the writer in milliseconds since 1970: data, never a decision.
    pub modified_ms: u64,
    /// What it holds.
    pub content: Content,
    /// The user's own words about it, in order.
    pub user_metadata: Vec<(String, String)>,
    /// Which version it is.
    pub id: VersionId,
}

/// What a bucket does with objects that are replaced or deleted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Versioning {
    /// They are gone.
    #[default]
    Off,
    /// They stay as versions.
    Enabled,
    /// The versions that there are stay; what is written now is the null version.
    Suspended,
}

impl Versioning {
    /// As S3 and HA's records have it; what was never set has no name.
    pub fn name(self) -> &'static str {
        match self {
            Self::Off => "",
            Self::Enabled => "Enabled",
            Self::Suspended => "Suspended",
        }
    }

    /// The inverse of [`Self::name`].
    pub fn parse(name: &str) -> Option<Self> {
        [Self::Off, Self::Enabled, Self::Suspended].into_iter().find(|versioning| versioning.name() == name)
    }

    /// Which version it is that the record `seq` of the log makes.
    pub fn id(self, seq: Seq) -> VersionId {
        if self == Self::Enabled { VersionId::At(seq) } else { VersionId::Null }
    }
}

/// A version that is not the current object.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct VersionRow {
    /// Which version it is.
    pub id: VersionId,
    /// Its place among the versions of its name.
    pub order: Seq,
    /// When another one took its place, in milliseconds since 1970, on that one's writer's wall clock; 0 while it is current.
    pub replaced_ms: u64,
    /// What it is.
    pub version: Stored,
}

/// What a version is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Stored {
    /// An object.
    Object(ObjectRecord),
    /// A delete marker: there was no object then.
    Marker {
        /// Wall clock of who deleted, in milliseconds since 1970.
        modified_ms: u64,
    },
}

/// Format of object records and rows that this build writes, the first byte of the value.
pub const FORMAT: u8 = 1;

/// The word of a record that says how its bytes are encrypted, as [`encryption`] reads it.
pub const ENCRYPTION: &str = "encryption";
/// Beside it: how many bytes the object has for its readers. What lies there is more.
pub const PLAIN_BYTES: &str = "plain-bytes";
/// As [`ENCRYPTION`] begins where the key is encrypted under the cluster's.
pub const OF_CLUSTER: &str = "cluster ";
/// As it begins where the key is encrypted under a customer's.
pub const OF_CUSTOMER: &str = "customer ";
/// The ETag of an object, where whoever wrote it said one.
pub const ETAG: &str = "etag";
/// Words about the parts of an object, which grow with their number: the system's own.
pub const OF_PARTS: [&str; 3] = [PIECES, PART_SIZES, PART_SUMS];
/// The names of an encrypted object's pieces.
pub const PIECES: &str = "pieces";
/// How large the parts of an object are.
pub const PART_SIZES: &str = "part-sizes";
/// The checksums of its parts.
pub const PART_SUMS: &str = "part-sums";

/// The word that says how something is encrypted; none where it is not. A user may have a word of that name.
pub fn encryption(words: &[(String, String)]) -> Option<&str> {
    let is_it = |(name, word): &&(String, String)| name == ENCRYPTION && (word.starts_with(OF_CLUSTER) || word.starts_with(OF_CUSTOMER));
    words.iter().find(is_it).map(|(_, word)| word.as_str())
}

/// How many bytes an object or a part has for its readers, of which so many lie there.
pub fn plain_bytes(stored: u64, words: &[(String, String)]) -> u64 {
    let told = encryption(words).and_then(|_| words.iter().find(|(name, _)| name == PLAIN_BYTES));
    told.and_then(|(_, bytes)| bytes.parse().ok()).unwrap_or(stored)
}

/// The ETag of an object with that checksum and those words, of the record that wrote it.
pub fn etag(checksum: u32, version: Version, words: &[(String, String)]) -> String {
    let said = words.iter().find(|(name, _)| name == ETAG).map(|(_, etag)| etag.clone());
    said.unwrap_or_else(|| format!("{checksum:08x}{:024x}-1", version.0))
}

impl ObjectRecord {
    /// How many bytes it has for its readers.
    pub fn plain_bytes(&self) -> u64 {
        plain_bytes(self.size, &self.user_metadata)
    }

    /// Its ETag, of the record that wrote it: what its writer said, or one that is no MD5.
    pub fn etag(&self, version: Version) -> String {
        etag(self.checksum, version, &self.user_metadata)
    }

    /// The fids that the record keeps alive.
    pub fn fids(&self) -> impl Iterator<Item = Fid> + '_ {
        let parts = match &self.content {
            Content::Inline(_) => &[][..],
            Content::Parts(parts) => parts,
        };
        parts.iter().map(|p| p.fid)
    }

    /// The value of the record's key: a format byte, then the record.
    pub fn to_value(&self) -> Vec<u8> {
        versioned(self)
    }

    /// The inverse of [`Self::to_value`].
    pub fn from_value(value: &[u8]) -> Result<Self, RowError> {
        from_versioned(value)
    }
}

/// A fid that a writer has announced before its first unit.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PendingRow {
    /// The writer's session; only its end, or its word, makes the fid dead.
    pub session: SessionId,
    /// Slots of the fid's group, so that whoever deletes knows how many there are.
    pub slots: u8,
}

/// A fid that nothing refers to and that is to be deleted from its devices.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeadRow {
    /// `at` of the record that made it dead: a GET that began before may run for a while.
    pub since: HaTime,
    /// Slots whose devices have not confirmed the deletion; empty means "all of the group".
    pub slots_left: Vec<u8>,
}

impl VersionRow {
    /// The value of the row.
    pub fn to_value(&self) -> Vec<u8> {
        versioned(self)
    }

    /// The inverse.
    pub fn from_value(value: &[u8]) -> Result<Self, RowError> {
        from_versioned(value)
    }
}

impl PendingRow {
    /// The value of the row.
    pub fn to_value(&self) -> Vec<u8> {
        versioned(self)
    }

    /// The inverse.
    pub fn from_value(value: &[u8]) -> Result<Self, RowError> {
        from_versioned(value)
    }
}

impl DeadRow {
    /// The value of the row.
    pub fn to_value(&self) -> Vec<u8> {
        versioned(self)
    }

    /// The inverse.
    pub fn from_value(value: &[u8]) -> Result<Self, RowError> {
        from_versioned(value)
    }
}

/// Why a row's value cannot be read.
#[derive(Debug, thiserror::Error, Clone, PartialEq, Eq)]
pub enum RowError {
    /// Written by a newer build.
    #[error("the row has format {0}; this build reads up to {FORMAT}: upgrade it")]
    Format(u8),
    /// Nothing there.
    #[error("the row is empty")]
    Empty,
    /// Does not decode.
    #[error(transparent)]
    Codec(#[from] crate::codec::CodecError),
}

pub(crate) fn versioned<T: Serialize>(row: &T) -> Vec<u8> {
    let mut value = vec![FORMAT];
    value.extend(crate::codec::encode(row));
    value
}

pub(crate) fn from_versioned<T: serde::de::DeserializeOwned>(value: &[u8]) -> Result<T, RowError> {
    match value.split_first() {
        None => Err(RowError::Empty),
        Some((&FORMAT, rest)) => Ok(crate::codec::decode(rest)?),
        Some((&other, _)) => Err(RowError::Format(other)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_word_of_the_users_with_the_name_of_the_systems_encrypts_nothing() {
        let words = |encryption: &str| vec![(ENCRYPTION.to_owned(), encryption.to_owned()), (PLAIN_BYTES.to_owned(), "5".to_owned())];
        for own in ["gpg", "cluster", "customers", ""] {
            assert_eq!((encryption(&words(own)), plain_bytes(9, &words(own))), (None, 9), "{own}");
        }
        for sealed in ["cluster x", "customer x"] {
            assert_eq!((encryption(&words(sealed)), plain_bytes(9, &words(sealed))), (Some(sealed), 5));
        }
        assert_eq!(plain_bytes(9, &words("gpg")[1..]), 9);
        let both = [words("gpg"), words("cluster x")].concat();
        assert_eq!((encryption(&both), plain_bytes(9, &both)), (Some("cluster x"), 5));
    }
}
