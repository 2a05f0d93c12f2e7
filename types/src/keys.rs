//! Kinds of keys in a catalogue, and their byte forms. Persisted: kinds are numbered for life.
//!
//! Everything of one object routes by the object's name, so that it lies in one group and one transaction changes all of it.
//!
//! | kind | byte form | routing part | value |
//! |---|---|---|---|
//! | user | `0x01 key` | the key | the user's bytes |
//! | object record | `0x10 name` | the name | [`crate::object::ObjectRecord`] |
//! | pending | `0x11 name 0x00 fid` (22 bytes) | the name | [`crate::object::PendingRow`] |
//! | dead | `0x12 name 0x00 fid` (22 bytes) | the name | [`crate::object::DeadRow`] |

use crate::{FID_BYTES, Fid};

/// The first byte of a key.
pub mod kind {
    /// A user's own key in an index.
    pub const USER: u8 = 0x01;
    /// The record of an object.
    pub const OBJECT: u8 = 0x10;
    /// A fid that is being written.
    pub const PENDING: u8 = 0x11;
    /// A fid that nothing refers to any more.
    pub const DEAD: u8 = 0x12;
}

fn keyed(kind: u8, rest: &[u8]) -> Vec<u8> {
    let mut key = Vec::with_capacity(1 + rest.len());
    key.push(kind);
    key.extend_from_slice(rest);
    key
}

fn with_fid(kind: u8, name: &[u8], fid: Fid) -> Vec<u8> {
    let mut key = Vec::with_capacity(2 + name.len() + FID_BYTES);
    key.push(kind);
    key.extend_from_slice(name);
    key.push(0);
    key.extend_from_slice(&fid.to_bytes());
    key
}

/// Key of a user's own row.
pub fn user(key: &[u8]) -> Vec<u8> {
    keyed(kind::USER, key)
}

/// Key of an object's record.
pub fn object(name: &[u8]) -> Vec<u8> {
    keyed(kind::OBJECT, name)
}

/// Key of a pending row.
pub fn pending(name: &[u8], fid: Fid) -> Vec<u8> {
    with_fid(kind::PENDING, name, fid)
}

/// Key of a dead row.
pub fn dead(name: &[u8], fid: Fid) -> Vec<u8> {
    with_fid(kind::DEAD, name, fid)
}

/// A key taken apart.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Key<'a> {
    /// A user's own row.
    User(&'a [u8]),
    /// An object's record.
    Object(&'a [u8]),
    /// A pending row.
    Pending(&'a [u8], Fid),
    /// A dead row.
    Dead(&'a [u8], Fid),
}

impl<'a> Key<'a> {
    /// Takes a key apart; `None` where it has no kind that we know, or not its form.
    pub fn parse(key: &'a [u8]) -> Option<Self> {
        let (&first, rest) = key.split_first()?;
        let split = |rest: &'a [u8]| {
            let at = rest.len().checked_sub(FID_BYTES + 1)?;
            let fid = Fid::from_bytes(&rest[at + 1..])?;
            (rest[at] == 0).then_some((&rest[..at], fid))
        };
        match first {
            kind::USER => Some(Self::User(rest)),
            kind::OBJECT => Some(Self::Object(rest)),
            kind::PENDING => split(rest).map(|(name, fid)| Self::Pending(name, fid)),
            kind::DEAD => split(rest).map(|(name, fid)| Self::Dead(name, fid)),
            _ => None,
        }
    }

    /// The part of the key that decides its group.
    pub fn routing(&self) -> &'a [u8] {
        match self {
            Self::User(key) => key,
            Self::Object(name) | Self::Pending(name, _) | Self::Dead(name, _) => name,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{GroupId, PoolId, SessionId};

    #[test]
    fn keys_come_apart_as_they_were_put_together() {
        let fid = Fid { group: GroupId { pool: PoolId(1), index: 0 }, session: SessionId(5), counter: 0 };
        for name in [&b""[..], b"a", b"with\0zero", &[0xff; 30]] {
            assert_eq!(Key::parse(&user(name)), Some(Key::User(name)));
            assert_eq!(Key::parse(&object(name)), Some(Key::Object(name)));
            assert_eq!(Key::parse(&pending(name, fid)), Some(Key::Pending(name, fid)));
            assert_eq!(Key::parse(&dead(name, fid)), Some(Key::Dead(name, fid)));
        }
        assert_eq!(Key::parse(b""), None);
        assert_eq!(Key::parse(&[kind::DEAD, 1, 2]), None);
        assert_eq!(Key::parse(&[0x77, 1]), None);
    }
}
