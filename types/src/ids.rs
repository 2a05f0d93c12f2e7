//! Ids are newtypes: a number of one kind cannot be taken for a number of another kind.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

macro_rules! id {
    ($(#[$doc:meta])* $name:ident, $inner:ty, $prefix:literal) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        pub struct $name(pub $inner);

        impl $name {
            /// The bare number.
            pub const fn get(self) -> $inner {
                self.0
            }

            /// The number after this one.
            #[must_use]
            pub const fn next(self) -> Self {
                Self(self.0 + 1)
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, concat!($prefix, "{}"), self.0)
            }
        }

        impl FromStr for $name {
            type Err = std::num::ParseIntError;

            fn from_str(s: &str) -> Result<Self, Self::Err> {
                s.strip_prefix($prefix).unwrap_or(s).parse().map(Self)
            }
        }
    };
}

id!(
    /// A node: one host. Numbered from 1.
    NodeId, u16, "node-");
id!(
    /// A disk group: the devices of a node that fail together. Unique in the cluster.
    DiskGroupId, u32, "dg-");
id!(
    /// A device: a directory on one disk. Unique in the cluster, for life.
    DeviceId, u32, "dev-");
id!(
    /// A pool of devices with one protection scheme.
    PoolId, u16, "pool-");
id!(
    /// A catalogue: an ordered map of keys (a bucket or a user index).
    CatalogueId, u64, "cat-");
id!(
    /// The index of the HA log entry that last changed configuration, states or placement.
    Epoch, u64, "e");
id!(
    /// The number of a group's view: the epoch that last changed the group.
    ViewNumber, u64, "v");
id!(
    /// The place of a record in the log of its placement group, dense, from 1. Zero is "before the first".
    Seq, u64, "#");
id!(
    /// HA's number for one start of a process.
    Boot, u64, "boot-");
id!(
    /// HA's number for one format of a device. Zero is "never formatted".
    Incarnation, u64, "inc-");
id!(
    /// A writer's session: a node process by its boot, or a native client by its ticket.
    SessionId, u64, "s");
id!(
    /// HA time in milliseconds: no wall clock, see `dtm.md`.
    HaTime, u64, "t");

/// The cluster's uuid. Devices, peers and clients of another cluster are refused.
#[derive(Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct ClusterId(pub u128);

impl fmt::Display for ClusterId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", self.0)
    }
}

impl fmt::Debug for ClusterId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ClusterId({self})")
    }
}

impl FromStr for ClusterId {
    type Err = std::num::ParseIntError;

    fn from_str(s: &str) -> Result<Self, Self::Err> {
        u128::from_str_radix(s, 16).map(Self)
    }
}

/// Which version of an object. It is its place in the log of the object's group, so that later ones are greater.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum VersionId {
    /// The one that was written while the bucket kept no versions; there is at most one of a name.
    Null,
    /// The one that this record of the log made.
    At(Seq),
}

impl fmt::Display for VersionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Null => f.write_str("null"),
            Self::At(seq) => write!(f, "{:016x}", seq.0),
        }
    }
}

impl FromStr for VersionId {
    type Err = String;

    fn from_str(s: &str) -> Result<Self, Self::Err> {
        let is_hex = s.len() == 16 && s.bytes().all(|digit| matches!(digit, b'0'..=b'9' | b'a'..=b'f'));
        match u64::from_str_radix(s, 16) {
            _ if s == "null" => Ok(Self::Null),
            Ok(seq) if is_hex => Ok(Self::At(Seq(seq))),
            _ => Err(format!("`{s}` is no version: they are `null` or 16 hexadecimal digits")),
        }
    }
}

/// A placement group: the unit of placement and, in a replicated pool, of replication.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct GroupId {
    /// The pool that the group belongs to.
    pub pool: PoolId,
    /// The group's number in its pool, from 0.
    pub index: u32,
}

impl fmt::Display for GroupId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.pool.0, self.index)
    }
}

impl FromStr for GroupId {
    type Err = String;

    fn from_str(s: &str) -> Result<Self, Self::Err> {
        let (pool, index) = s.split_once('.').ok_or_else(|| format!("`{s}` is not a group: say POOL.INDEX, as in 3.17"))?;
        let number = |part: &str| part.parse::<u32>().map_err(|e| format!("`{s}` is not a group: {e}"));
        let pool = u16::try_from(number(pool)?).map_err(|e| format!("`{s}` is not a group: {e}"))?;
        Ok(Self { pool: PoolId(pool), index: number(index)? })
    }
}

/// A chunk of an object: written once, at most [`crate::limits::FID_BYTES_MAX`] long. Its writer makes it without a round trip.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Fid {
    /// The erasure-coded group that holds the chunk.
    pub group: GroupId,
    /// The writer's session.
    pub session: SessionId,
    /// The writer's own counter, unique in its session.
    pub counter: u64,
}

/// Length in bytes of [`Fid::to_bytes`].
pub const FID_BYTES: usize = 22;

impl Fid {
    /// Big-endian, so that the byte order is the order of the fields.
    pub fn to_bytes(self) -> [u8; FID_BYTES] {
        let mut out = [0; FID_BYTES];
        out[0..2].copy_from_slice(&self.group.pool.0.to_be_bytes());
        out[2..6].copy_from_slice(&self.group.index.to_be_bytes());
        out[6..14].copy_from_slice(&self.session.0.to_be_bytes());
        out[14..22].copy_from_slice(&self.counter.to_be_bytes());
        out
    }

    /// The inverse of [`Fid::to_bytes`]; `None` where the length is wrong.
    pub fn from_bytes(bytes: &[u8]) -> Option<Self> {
        if bytes.len() != FID_BYTES {
            return None;
        }
        Some(Self {
            group: GroupId {
                pool: PoolId(u16::from_be_bytes(bytes[0..2].try_into().ok()?)),
                index: u32::from_be_bytes(bytes[2..6].try_into().ok()?),
            },
            session: SessionId(u64::from_be_bytes(bytes[6..14].try_into().ok()?)),
            counter: u64::from_be_bytes(bytes[14..22].try_into().ok()?),
        })
    }
}

impl fmt::Display for Fid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{:x}:{:x}", self.group, self.session.0, self.counter)
    }
}

/// A transaction, named by its client: the same id sent again is the same transaction.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct DtxId {
    /// The client's session.
    pub session: SessionId,
    /// The client's own counter, unique in its session.
    pub counter: u64,
    /// HA time at the client when it made the id.
    pub at: HaTime,
}

impl fmt::Display for DtxId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}@{}", self.session, self.counter, self.at.0)
    }
}

/// The version of a key: the place in the log of its group of the record that wrote it.
pub type Version = Seq;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fid_survives_its_byte_form_and_keeps_its_order() {
        let low = Fid { group: GroupId { pool: PoolId(1), index: 7 }, session: SessionId(9), counter: 255 };
        let high = Fid { counter: 256, ..low };
        assert_eq!(Fid::from_bytes(&low.to_bytes()), Some(low));
        assert!(low.to_bytes() < high.to_bytes());
        assert_eq!(Fid::from_bytes(&low.to_bytes()[1..]), None);
    }

    #[test]
    fn ids_parse_with_and_without_their_prefix() {
        assert_eq!("node-3".parse(), Ok(NodeId(3)));
        assert_eq!("3".parse(), Ok(NodeId(3)));
        assert_eq!("4.17".parse(), Ok(GroupId { pool: PoolId(4), index: 17 }));
    }
}
