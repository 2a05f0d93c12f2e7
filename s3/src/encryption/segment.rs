//! The cipher of objects: bytes in segments, each encrypted and authenticated by itself, so that a range is read without the rest.
//!
//! AES-256-GCM over segments of the STREAM construction (Hoang, Reyhanitabar, Rogaway, Vizár: "Online Authenticated-Encryption and its
//! Nonce-Reuse Misuse-Resistance", 2015): the nonce is the segment's number and whether it is the last one, so that segments that were swapped,
//! left out or cut off are errors. What was written in one go is a piece: all of an object, or a part of an upload. Each has a key of its own, made of
//! the object's data key, its number and its salt; so no nonce comes twice under a key, however often a part is uploaded again.

use ring::aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use ring::hmac;

/// Bytes that a tag takes.
pub const TAG_BYTES: usize = 16;
/// Bytes of a full segment as it lies: what one checksum of a device covers.
pub const STORED_BYTES: usize = types::limits::CHUNK_BYTES;
/// Bytes of an object in a full segment.
pub const SEGMENT_BYTES: usize = STORED_BYTES - TAG_BYTES;
/// Bytes of a piece's salt.
pub const SALT_BYTES: usize = 8;

/// What makes a piece's key another one than that of the same piece written before.
pub type Salt = [u8; SALT_BYTES];

/// Which piece of an object.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PieceName {
    /// The number of the part; 0 of an object that was put at once.
    pub number: u16,
    /// Its salt; none where the data key was made for this piece alone.
    pub salt: Salt,
}

impl PieceName {
    /// All of an object.
    pub const WHOLE: Self = Self { number: 0, salt: [0; SALT_BYTES] };
}

/// Segments of a piece of so many bytes: one at least, so that nothing is authenticated, too.
pub fn segments(bytes: u64) -> u64 {
    bytes.div_ceil(SEGMENT_BYTES as u64).max(1)
}

/// Bytes that a piece of so many bytes takes.
pub fn stored_bytes(bytes: u64) -> u64 {
    bytes + segments(bytes) * TAG_BYTES as u64
}

/// The key of an object, drawn for it. Shown nowhere.
#[derive(Clone)]
pub struct DataKey([u8; client::KEY_BYTES]);

impl DataKey {
    /// A new one.
    pub fn drawn() -> Self {
        Self(client::random())
    }

    /// Of these bytes.
    pub fn of(bytes: &[u8]) -> Option<Self> {
        bytes.try_into().ok().map(Self)
    }

    /// Its bytes, to be encrypted under another key.
    pub fn bytes(&self) -> &[u8] {
        &self.0
    }

    /// The key of a piece.
    pub fn piece(&self, name: PieceName) -> PieceKey {
        let key = self.derived(b"redoubt key of a piece", &[&name.number.to_be_bytes()[..], &name.salt].concat());
        PieceKey(LessSafeKey::new(UnboundKey::new(&AES_256_GCM, key.as_ref()).expect("a hash has the length of a key")))
    }

    /// What stands for a sum of the object's bytes, and tells nobody without the key whether it has guessed them.
    pub fn blinded(&self, sum: &[u8; 16]) -> [u8; 16] {
        self.derived(b"redoubt name of bytes", sum).as_ref()[..16].try_into().expect("a hash is longer")
    }

    fn derived(&self, purpose: &[u8], of: &[u8]) -> hmac::Tag {
        hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, &self.0), &[purpose, of].concat())
    }
}

/// The key of a piece.
pub struct PieceKey(LessSafeKey);

impl PieceKey {
    /// Encrypts a segment, and puts its tag behind it.
    pub fn seal(&self, segment: u64, is_last: bool, bytes: &mut Vec<u8>) {
        self.0.seal_in_place_append_tag(nonce(segment, is_last), Aad::empty(), bytes).expect("a segment is far below the limit");
    }

    /// Decrypts a segment in its place; says how many bytes it is without its tag. `None` where it is not that segment of that piece.
    pub fn open(&self, segment: u64, is_last: bool, bytes: &mut [u8]) -> Option<usize> {
        self.0.open_in_place(nonce(segment, is_last), Aad::empty(), bytes).ok().map(|plain| plain.len())
    }
}

fn nonce(segment: u64, is_last: bool) -> Nonce {
    let mut bytes = [0; NONCE_LEN];
    bytes[0] = u8::from(is_last);
    bytes[NONCE_LEN - 8..].copy_from_slice(&segment.to_be_bytes());
    Nonce::assume_unique_for_key(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_segment_is_what_it_was_under_its_own_name_only() {
        let data_key = DataKey::drawn();
        let name = PieceName { number: 3, salt: [1; SALT_BYTES] };
        let mut sealed = b"bytes".to_vec();
        data_key.piece(name).seal(7, false, &mut sealed);
        assert_eq!(sealed.len(), 5 + TAG_BYTES);
        let open = |key: &DataKey, name, segment, is_last| {
            let mut bytes = sealed.clone();
            key.piece(name).open(segment, is_last, &mut bytes).map(|length| bytes[..length].to_vec())
        };
        assert_eq!(open(&data_key, name, 7, false).as_deref(), Some(&b"bytes"[..]));
        assert_eq!(open(&data_key, name, 7, true), None, "it is not the last");
        assert_eq!(open(&data_key, name, 8, false), None, "it is another segment");
        assert_eq!(open(&data_key, PieceName { number: 4, ..name }, 7, false), None, "it is another part");
        assert_eq!(open(&data_key, PieceName { salt: [2; SALT_BYTES], ..name }, 7, false), None, "it was uploaded again");
        assert_eq!(open(&DataKey::drawn(), name, 7, false), None, "it is another object");
        for at in 0..sealed.len() {
            let mut bad = sealed.clone();
            bad[at] ^= 1;
            assert_eq!(data_key.piece(name).open(7, false, &mut bad), None, "byte {at}");
        }
    }

    #[test]
    fn what_a_piece_takes_follows_from_its_bytes() {
        assert_eq!((segments(0), stored_bytes(0)), (1, 16));
        let full = SEGMENT_BYTES as u64;
        assert_eq!((stored_bytes(full), stored_bytes(full + 1)), (65_536, 65_536 + 17));
        assert_eq!((segments(2 * full), stored_bytes(2 * full)), (2, 131_072));
    }
}
