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
//! | version that is not the current object | `0x16 escaped name 0x00 0x01 place` (8 bytes) | the name | [`crate::object::VersionRow`] |
//! | event | `0x17 target 0x00 seq number name` (8 and 2 bytes) | the name | [`crate::event::EventRow`] |
//!
//! Versions are listed in the order of names, whatever bytes these have: a zero byte of a name is escaped as `0x00 0xff`. A place is 0 for a
//! delete marker that is current, 1 for the null version, and else what is left of the highest number, so that the newest comes first.

use std::borrow::Cow;

use serde::{Deserialize, Serialize};

use crate::upload::{UPLOAD_ID_BYTES, UploadId};
use crate::{FID_BYTES, Fid, Seq, VersionId};

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
    /// A version of an object that is not the current object.
    pub const VERSION: u8 = 0x16;
    /// Something that happened to an object and is to be told.
    pub const EVENT: u8 = 0x17;
}

/// Bytes of the place of a version.
const PLACE_BYTES: usize = 8;
/// What stands between an escaped name and a place.
const PLACE_FOLLOWS: [u8; 2] = [0x00, 0x01];

/// Where a version of a name lies that is not the current object.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Place {
    /// The delete marker that is current.
    Marker,
    /// One that is not current.
    Kept(VersionId),
}

impl Place {
    fn to_bytes(self) -> [u8; PLACE_BYTES] {
        match self {
            Self::Marker => 0,
            Self::Kept(VersionId::Null) => 1,
            Self::Kept(VersionId::At(seq)) => u64::MAX - seq.0,
        }
        .to_be_bytes()
    }

    fn from_bytes(bytes: [u8; PLACE_BYTES]) -> Self {
        match u64::from_be_bytes(bytes) {
            0 => Self::Marker,
            1 => Self::Kept(VersionId::Null),
            left => Self::Kept(VersionId::At(Seq(u64::MAX - left))),
        }
    }
}

fn keyed(kind: u8, rest: &[u8]) -> Vec<u8> {
    let mut key = Vec::with_capacity(1 + rest.len());
    key.push(kind);
    key.extend_from_slice(rest);
    key
}

/// Bytes of the place of an event: its record's seq, and its number in there.
const EVENT_PLACE_BYTES: usize = 8 + 2;

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

/// Key of a version that is not the current object.
pub fn version(name: &[u8], place: Place) -> Vec<u8> {
    let mut key = versions_of(name);
    key.extend_from_slice(&place.to_bytes());
    key
}

/// What the keys of such versions of one name begin with.
pub fn versions_of(name: &[u8]) -> Vec<u8> {
    let mut key = versions(name);
    key.extend_from_slice(&PLACE_FOLLOWS);
    key
}

/// What the keys of such versions of all names begin with that begin so.
pub fn versions(prefix: &[u8]) -> Vec<u8> {
    let mut key = Vec::with_capacity(1 + prefix.len() + PLACE_FOLLOWS.len() + PLACE_BYTES);
    key.push(kind::VERSION);
    for &byte in prefix {
        key.push(byte);
        if byte == 0 {
            key.push(0xff);
        }
    }
    key
}

/// The first key after those of all such versions of a name.
pub fn after_versions(name: &[u8]) -> Vec<u8> {
    let mut key = versions(name);
    key.extend_from_slice(&[PLACE_FOLLOWS[0], PLACE_FOLLOWS[1] + 1]);
    key
}

/// Key of an event for a target: they sort by their places in the log. The name of a target has no zero byte.
pub fn event(target: &str, seq: Seq, number: u16, name: &[u8]) -> Vec<u8> {
    let mut key = events(target);
    key.extend_from_slice(&seq.0.to_be_bytes());
    key.extend_from_slice(&number.to_be_bytes());
    key.extend_from_slice(name);
    key
}

/// What the keys of all events for a target begin with.
pub fn events(target: &str) -> Vec<u8> {
    of_name(kind::EVENT, target.as_bytes(), &[])
}

/// The first key after those of all events for a target.
pub fn after_events(target: &str) -> Vec<u8> {
    let mut key = keyed(kind::EVENT, target.as_bytes());
    key.push(1);
    key
}

/// The inverse of the escaping of a name.
fn unescaped(escaped: &[u8]) -> Option<Cow<'_, [u8]>> {
    if !escaped.contains(&0) {
        return Some(Cow::Borrowed(escaped));
    }
    let mut name = Vec::with_capacity(escaped.len());
    let mut rest = escaped.iter();
    while let Some(&byte) = rest.next() {
        if byte == 0 && rest.next() != Some(&0xff) {
            return None;
        }
        name.push(byte);
    }
    Some(Cow::Owned(name))
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
    /// A version that is not the current object.
    Version(Cow<'a, [u8]>, Place),
    /// An event: its target, its record's seq, its number in there, and the object's name.
    Event(&'a str, Seq, u16, &'a [u8]),
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
            kind::VERSION => {
                let at = rest.len().checked_sub(PLACE_BYTES)?;
                let place = Place::from_bytes(rest[at..].try_into().ok()?);
                Some(Self::Version(unescaped(rest[..at].strip_suffix(&PLACE_FOLLOWS)?)?, place))
            }
            kind::EVENT => {
                let at = rest.iter().position(|byte| *byte == 0)?;
                let (place, name) = rest[at + 1..].split_at_checked(EVENT_PLACE_BYTES)?;
                let (seq, number) = place.split_at(8);
                let (seq, number) = (u64::from_be_bytes(seq.try_into().ok()?), u16::from_be_bytes(number.try_into().ok()?));
                Some(Self::Event(std::str::from_utf8(&rest[..at]).ok()?, Seq(seq), number, name))
            }
            _ => None,
        }
    }

    /// The part of the key that decides its group.
    pub fn routing(&self) -> &[u8] {
        match self {
            Self::User(key) => key,
            Self::Object(name)
            | Self::Pending(name, _)
            | Self::Dead(name, _)
            | Self::Upload(name, _)
            | Self::Part(name, ..)
            | Self::Retired(name, _)
            | Self::Event(.., name) => name,
            Self::Version(name, _) => name,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{GroupId, PoolId, SessionId};

    #[test]
    fn events_sort_by_target_then_by_their_places_in_the_log() {
        let all = [("a", 1, 0, &b"z"[..]), ("a", 1, 1, b"b\0"), ("a", 258, 0, b""), ("a.b", 1, 0, b"a"), ("ab", 0, 9, b"\0")];
        let keys = all.map(|(target, seq, number, name)| event(target, Seq(seq), number, name));
        assert!(keys.is_sorted_by(|a, b| a < b), "{keys:?}");
        for (key, (target, seq, number, name)) in keys.iter().zip(all) {
            assert_eq!(Key::parse(key), Some(Key::Event(target, Seq(seq), number, name)));
            assert_eq!(Key::parse(key).map(|key| key.routing().to_vec()).as_deref(), Some(name));
            assert!(key.starts_with(&events(target)) && *key < after_events(target));
        }
        assert!(keys[2] < after_events("a") && after_events("a") < keys[3]);
        assert_eq!(Key::parse(&keys[0][..keys[0].len() - 2]), None);
    }

    #[test]
    fn versions_sort_by_name_then_from_the_newest_on_whatever_bytes_a_name_has() {
        let at = |seq| Place::Kept(VersionId::At(Seq(seq)));
        let places = [Place::Marker, Place::Kept(VersionId::Null), at(9), at(8)];
        let names = [&b""[..], b"\0", b"\0\0", b"\0a", b"a", b"a\0", b"a\0\x01", b"a\0b", b"a\x01", b"ab"];
        let keys: Vec<Vec<u8>> = names.iter().flat_map(|name| places.map(|place| version(name, place))).collect();
        assert!(keys.is_sorted(), "{keys:?}");
        for (number, name) in names.iter().enumerate() {
            for place in places {
                let key = version(name, place);
                assert_eq!(Key::parse(&key), Some(Key::Version((*name).into(), place)));
                assert!(key < after_versions(name) && names.get(number + 1).is_none_or(|next| after_versions(name) < version(next, place)));
            }
            for other in names {
                assert_eq!(version(other, at(3)).starts_with(&versions(name)), other.starts_with(name), "{name:?} {other:?}");
            }
        }
        assert_eq!(Key::parse(&[&[kind::VERSION, b'a', 0, 2][..], &[0; 8]].concat()), None);
    }

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
