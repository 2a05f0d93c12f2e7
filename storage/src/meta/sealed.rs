//! The byte forms of keys and values. Every value has a format byte in front and a CRC32C of key and value behind, so that neither can
//! be taken for another's. Keys are big-endian, so that their order is that of the fields. See `docs/formats/device.md`.

use types::checksum::crc32c_of;
use types::limits::NAME_BYTES_MAX;
use types::record::RowKey;
use types::{CatalogueId, FID_BYTES, Fid, GroupId, PoolId, Seq, SessionId};

use super::store::Family;
use crate::StorageError;

/// The format of values that this software writes and reads.
pub const VALUE_FORMAT: u8 = 1;
/// Bytes of a group in a key.
pub const GROUP_BYTES: usize = 6;
/// Longest key: a row's, with the name and the fid of a pending or dead row.
pub const KEY_BYTES_MAX: usize = GROUP_BYTES + 8 + NAME_BYTES_MAX + FID_BYTES + 64;
const CHECKSUM_BYTES: usize = 4;
const DEAD: u8 = b'd';
const VIEW: u8 = b'v';
const NOTE: u8 = b'n';

/// A value with its format and its checksum.
pub fn seal(family: Family, key: &[u8], body: &[&[u8]]) -> Vec<u8> {
    let mut value = Vec::with_capacity(1 + body.iter().map(|part| part.len()).sum::<usize>() + CHECKSUM_BYTES);
    value.push(VALUE_FORMAT);
    for part in body {
        value.extend_from_slice(part);
    }
    let sum = crc32c_of(&[&[family as u8], key, &value]);
    value.extend_from_slice(&sum.to_le_bytes());
    value
}

/// What is between format and checksum, if both are right.
pub fn unseal<'a>(family: Family, key: &[u8], value: &'a [u8]) -> Result<&'a [u8], StorageError> {
    let damaged = |why: &str| StorageError::Damaged(format!("{} {}: {why}", family.name(), hex(key)));
    let at = value.len().checked_sub(CHECKSUM_BYTES).filter(|at| *at >= 1).ok_or_else(|| damaged("too short"))?;
    let (sealed, sum) = value.split_at(at);
    if crc32c_of(&[&[family as u8], key, sealed]).to_le_bytes() != sum {
        return Err(damaged("its checksum is wrong"));
    }
    if sealed[0] != VALUE_FORMAT {
        return Err(damaged(&format!("its format is {}", sealed[0])));
    }
    Ok(&sealed[1..])
}

/// Keys as people read them.
pub fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write;
    bytes.iter().fold(String::new(), |mut out, byte| {
        write!(out, "{byte:02x}").expect("a string takes everything");
        out
    })
}

/// A key after all that begin with `prefix`.
pub fn after(prefix: &[u8]) -> Vec<u8> {
    let mut end = prefix.to_vec();
    while end.pop_if(|byte| *byte == 0xff).is_some() {}
    match end.last_mut() {
        Some(last) => *last += 1,
        // Nothing but 0xff: beyond the longest key that there can be.
        None => end = vec![0xff; KEY_BYTES_MAX + 1],
    }
    end
}

/// Prefix of everything of a group.
pub fn group(group: GroupId) -> [u8; GROUP_BYTES] {
    let mut key = [0; GROUP_BYTES];
    key[..2].copy_from_slice(&group.pool.0.to_be_bytes());
    key[2..].copy_from_slice(&group.index.to_be_bytes());
    key
}

/// The group that a key begins with.
pub fn group_of(key: &[u8]) -> Option<GroupId> {
    let pool = u16::from_be_bytes(key.get(..2)?.try_into().ok()?);
    let index = u32::from_be_bytes(key.get(2..GROUP_BYTES)?.try_into().ok()?);
    Some(GroupId { pool: PoolId(pool), index })
}

/// Key of a unit's record.
pub fn unit(fid: Fid, unit: u32) -> Vec<u8> {
    [&fid.to_bytes()[..], &unit.to_be_bytes()].concat()
}

/// Prefix of the rows of a catalogue in a group.
pub fn catalogue(of: GroupId, catalogue: CatalogueId) -> Vec<u8> {
    [&group(of)[..], &catalogue.0.to_be_bytes()].concat()
}

/// Key of a row.
pub fn row(of: GroupId, row: &RowKey) -> Vec<u8> {
    let mut key = catalogue(of, row.catalogue);
    key.extend_from_slice(&row.key);
    key
}

/// Key of a record of a log.
pub fn log(of: GroupId, seq: Seq) -> Vec<u8> {
    [&group(of)[..], &seq.0.to_be_bytes()].concat()
}

/// The seq of a record's key.
pub fn seq_of(key: &[u8]) -> Option<Seq> {
    Some(Seq(u64::from_be_bytes(key.get(GROUP_BYTES..)?.try_into().ok()?)))
}

/// Prefix of the markers of a session's dead fids.
pub fn dead_session(session: SessionId) -> Vec<u8> {
    [&[DEAD][..], &session.0.to_be_bytes()].concat()
}

/// Prefix of the markers of all dead fids.
pub fn dead_all() -> [u8; 1] {
    [DEAD]
}

/// The session of a marker's key.
pub fn session_of_dead(key: &[u8]) -> Option<SessionId> {
    let (session, _) = key.strip_prefix(&[DEAD])?.split_first_chunk()?;
    Some(SessionId(u64::from_be_bytes(*session)))
}

/// The group of a marker's key: a fid begins with it.
pub fn group_of_dead(key: &[u8]) -> Option<GroupId> {
    let (_, fid) = key.strip_prefix(&[DEAD])?.split_first_chunk::<8>()?;
    group_of(fid)
}

/// Key of the marker of a dead fid.
pub fn dead(fid: Fid) -> Vec<u8> {
    [&dead_session(fid.session)[..], &fid.to_bytes()].concat()
}

/// Prefix of the views of the device's groups.
pub fn views() -> [u8; 1] {
    [VIEW]
}

/// Key of what the device keeps for its process under a name.
pub fn note(name: &[u8]) -> Vec<u8> {
    [&[NOTE], name].concat()
}

/// Key of the view of a group.
pub fn view(of: GroupId) -> Vec<u8> {
    [&[VIEW][..], &group(of)].concat()
}
