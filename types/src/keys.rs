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
//! | upload | `0x13 name 0x00 upload` (16 bytes) | the name | [`crate::upload::UploadRow`] |
//! | part of an upload | `0x14 name 0x00 upload number` (16 and 2 bytes) | the name | [`crate::upload::PartRow`] |
//! | retired | `0x15 name 0x00 fid` (22 bytes; the first of them) | the name | [`crate::upload::RetiredRow`] |

use crate::upload::{UPLOAD_ID_BYTES, UploadId};
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
    /// An upload in parts.
    pub const UPLOAD: u8 = 0x13;
    /// A part of an upload.
    pub const PART: u8 = 0x14;
    /// Many fids that nothing refers to any more, in one row.
    pub const RETIRED: u8 = 0x15;
}

fn keyed(kind: u8, rest: &[u8]) -> Vec<u8> {
    let mut key = Vec::with_capacity(1 + rest.len());
    key.push(kind);
    key.extend_from_slice(rest);
    key
}

/// What belongs to a name: the tail has a length of its kind, so that the name may hold any bytes.
fn of_name(kind: u8, name: &[u8], tail: &[u8]) -> Vec<u8> {
    let mut key = Vec::with_capacity(2 + name.len() + tail.len());
    key.push(kind);
    key.extend_from_slice(name);
    key.push(0);
    key.extend_from_slice(tail);
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
    of_name(kind::PENDING, name, &fid.to_bytes())
}

/// Key of a dead row.
pub fn dead(name: &[u8], fid: Fid) -> Vec<u8> {
    of_name(kind::DEAD, name, &fid.to_bytes())
}

/// Key of an upload.
pub fn upload(name: &[u8], upload: UploadId) -> Vec<u8> {
    of_name(kind::UPLOAD, name, &upload.0)
}

/// Key of a part of an upload: parts sort by their numbers.
pub fn part(name: &[u8], upload: UploadId, number: u16) -> Vec<u8> {
    let mut key = parts(name, upload);
    key.extend_from_slice(&number.to_be_bytes());
    key
}

/// What the keys of all parts of an upload begin with.
pub fn parts(name: &[u8], upload: UploadId) -> Vec<u8> {
    of_name(kind::PART, name, &upload.0)
}

/// Key of a retired row.
pub fn retired(name: &[u8], first: Fid) -> Vec<u8> {
    of_name(kind::RETIRED, name, &first.to_bytes())
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
    /// An upload.
    Upload(&'a [u8], UploadId),
    /// A part of an upload, by its number.
    Part(&'a [u8], UploadId, u16),
    /// A retired row.
    Retired(&'a [u8], Fid),
}

impl<'a> Key<'a> {
    /// Takes a key apart; `None` where it has no kind that we know, or not its form.
    pub fn parse(key: &'a [u8]) -> Option<Self> {
        let (&first, rest) = key.split_first()?;
        // The name, and the tail of that many bytes after the zero byte.
        let tail = |bytes: usize| {
            let at = rest.len().checked_sub(bytes + 1)?;
            (rest[at] == 0).then_some((&rest[..at], &rest[at + 1..]))
        };
        let with_fid = || tail(FID_BYTES).and_then(|(name, fid)| Some((name, Fid::from_bytes(fid)?)));
        match first {
            kind::USER => Some(Self::User(rest)),
            kind::OBJECT => Some(Self::Object(rest)),
            kind::PENDING => with_fid().map(|(name, fid)| Self::Pending(name, fid)),
            kind::DEAD => with_fid().map(|(name, fid)| Self::Dead(name, fid)),
            kind::RETIRED => with_fid().map(|(name, fid)| Self::Retired(name, fid)),
            kind::UPLOAD => {
                let (name, upload) = tail(UPLOAD_ID_BYTES)?;
                Some(Self::Upload(name, UploadId(upload.try_into().ok()?)))
            }
            kind::PART => {
                let (name, both) = tail(UPLOAD_ID_BYTES + 2)?;
                let (upload, number) = both.split_at(UPLOAD_ID_BYTES);
                Some(Self::Part(name, UploadId(upload.try_into().ok()?), u16::from_be_bytes(number.try_into().ok()?)))
            }
            _ => None,
        }
    }

    /// The part of the key that decides its group.
    pub fn routing(&self) -> &'a [u8] {
        match self {
            Self::User(key) => key,
            Self::Object(name)
            | Self::Pending(name, _)
            | Self::Dead(name, _)
            | Self::Upload(name, _)
            | Self::Part(name, ..)
            | Self::Retired(name, _) => name,
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
            assert_eq!(Key::parse(&retired(name, fid)), Some(Key::Retired(name, fid)));
            let id = UploadId([0; UPLOAD_ID_BYTES]);
            assert_eq!(Key::parse(&upload(name, id)), Some(Key::Upload(name, id)));
            assert_eq!(Key::parse(&part(name, id, 258)), Some(Key::Part(name, id, 258)));
            assert!(part(name, id, 9) < part(name, id, 10) && part(name, id, 255) < part(name, id, 256));
        }
        assert_eq!(Key::parse(b""), None);
        assert_eq!(Key::parse(&[kind::DEAD, 1, 2]), None);
        assert_eq!(Key::parse(&[0x77, 1]), None);
    }
}
