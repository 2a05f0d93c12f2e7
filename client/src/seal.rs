//! Small secrets under a key: AES-256-GCM, each with a nonce of its own, bound to what it is the secret of.
//!
//! The cluster's key is 32 bytes in a file of the configuration, as 64 hexadecimal digits; HA keeps what was encrypted under it and never sees it.
//! The file may have several, a line each: the first one encrypts, all of them decrypt, and what was encrypted names its key. So a key is
//! replaced without anything being written anew.

use std::path::Path;

use ring::aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use ring::hmac;
use ring::rand::{SecureRandom, SystemRandom};

use crate::Error;

/// Length of a key in bytes.
pub const KEY_BYTES: usize = 32;
/// Length of a key's name in what was encrypted under it.
const KEY_ID_BYTES: usize = 4;

/// A key for small secrets. Shown nowhere.
#[derive(Clone)]
pub struct SealingKey(LessSafeKey);

impl SealingKey {
    /// Of these bytes.
    pub fn new(bytes: &[u8; KEY_BYTES]) -> Self {
        Self(LessSafeKey::new(UnboundKey::new(&AES_256_GCM, bytes).expect("a key has this length")))
    }

    /// Encrypts a secret of `what`: nonce, then bytes and tag.
    pub fn seal(&self, what: &str, secret: &[u8]) -> Vec<u8> {
        let nonce = random::<NONCE_LEN>();
        let mut sealed = secret.to_vec();
        let aad = Aad::from(what.as_bytes());
        self.0.seal_in_place_append_tag(Nonce::assume_unique_for_key(nonce), aad, &mut sealed).expect("a secret is far below the limit");
        [&nonce[..], &sealed].concat()
    }

    /// The secret again; `None` where it was not encrypted under this key, or not for that.
    pub fn open(&self, what: &str, sealed: &[u8]) -> Option<Vec<u8>> {
        let (nonce, rest) = sealed.split_at_checked(NONCE_LEN)?;
        let nonce = Nonce::try_assume_unique_for_key(nonce).ok()?;
        let mut bytes = rest.to_vec();
        let length = self.0.open_in_place(nonce, Aad::from(what.as_bytes()), &mut bytes).ok()?.len();
        bytes.truncate(length);
        Some(bytes)
    }
}

/// The cluster's key, and those that it was before. Shown nowhere.
#[derive(Clone)]
pub struct ClusterKey(Vec<([u8; KEY_ID_BYTES], SealingKey)>);

impl std::fmt::Debug for ClusterKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ClusterKey").finish_non_exhaustive()
    }
}

impl ClusterKey {
    /// The keys of a file.
    pub fn load(path: &Path) -> Result<Self, Error> {
        let text = std::fs::read_to_string(path).map_err(|e| Error::io(path.display().to_string(), e))?;
        Self::parse(&text).ok_or_else(|| Error::Invalid(format!("{}: a line for each key, which is 64 hexadecimal digits", path.display())))
    }

    /// The text of a new key, for its file.
    pub fn drawn() -> String {
        random::<KEY_BYTES>().iter().map(|byte| format!("{byte:02x}")).collect()
    }

    /// The keys of a file's text.
    pub fn parse(text: &str) -> Option<Self> {
        let lines = text.lines().map(str::trim).filter(|line| !line.is_empty());
        let keys: Vec<_> = lines.map(|line| key_of(line).map(|bytes| (id_of(&bytes), SealingKey::new(&bytes)))).collect::<Option<_>>()?;
        (!keys.is_empty()).then_some(Self(keys))
    }

    /// Encrypts a secret of `what`: the name of the key, nonce, then bytes and tag.
    pub fn seal(&self, what: &str, secret: &[u8]) -> Vec<u8> {
        let (id, key) = self.0.first().expect("there is a first key");
        [&id[..], &key.seal(what, secret)].concat()
    }

    /// The secret again; `None` where it was not encrypted under one of these keys, or not for that.
    pub fn open(&self, what: &str, sealed: &[u8]) -> Option<Vec<u8>> {
        let (named, rest) = sealed.split_at_checked(KEY_ID_BYTES)?;
        self.0.iter().filter(|(id, _)| id == named).find_map(|(_, key)| key.open(what, rest))
    }
}

fn key_of(text: &str) -> Option<[u8; KEY_BYTES]> {
    let digits = text.as_bytes();
    if digits.len() != 2 * KEY_BYTES || !digits.iter().all(u8::is_ascii_hexdigit) {
        return None;
    }
    let byte = |at: usize| u8::from_str_radix(&text[at..at + 2], 16).ok();
    (0..digits.len()).step_by(2).map(byte).collect::<Option<Vec<u8>>>()?.try_into().ok()
}

/// The name of a key, which tells nothing of it.
fn id_of(bytes: &[u8; KEY_BYTES]) -> [u8; KEY_ID_BYTES] {
    let tag = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, bytes), b"redoubt name of a key");
    tag.as_ref()[..KEY_ID_BYTES].try_into().expect("it is longer")
}

/// What the token of a target of events is encrypted as.
pub fn token_of(target: &str) -> String {
    format!("token of target {target}")
}

/// What the secret of an access key is encrypted as.
pub fn secret_of(access_key: &str) -> String {
    format!("secret of {access_key}")
}

/// Bytes that nobody can guess.
///
/// # Panics
/// Where the system has none: nothing that needs them may go on.
pub fn random<const N: usize>() -> [u8; N] {
    let mut bytes = [0; N];
    SystemRandom::new().fill(&mut bytes).expect("the system gives random bytes");
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_comes_back_under_its_key_and_its_name_only() {
        let key = ClusterKey::parse(&ClusterKey::drawn()).expect("a key");
        let sealed = key.seal("key AK", b"secret");
        assert_eq!(key.open("key AK", &sealed).as_deref(), Some(&b"secret"[..]));
        assert_eq!(key.open("key BK", &sealed), None);
        assert_eq!(ClusterKey::parse(&ClusterKey::drawn()).expect("another").open("key AK", &sealed), None);
        assert_ne!(sealed, key.seal("key AK", b"secret"), "a nonce of its own");
        for at in 0..sealed.len() {
            let mut bad = sealed.clone();
            bad[at] ^= 1;
            assert_eq!(key.open("key AK", &bad), None, "byte {at}");
            assert_eq!(key.open("key AK", &sealed[..at]), None, "cut at {at}");
        }
    }

    #[test]
    fn a_key_is_replaced_and_what_it_encrypted_stays_readable() {
        let (old, new) = (ClusterKey::drawn(), ClusterKey::drawn());
        let before = ClusterKey::parse(&old).expect("a key").seal("x", b"secret");
        let after = ClusterKey::parse(&format!("{new}\n\n{old}\n")).expect("two keys");
        assert_eq!(after.open("x", &before).as_deref(), Some(&b"secret"[..]));
        let sealed = after.seal("x", b"secret");
        assert_eq!(ClusterKey::parse(&old).expect("a key").open("x", &sealed), None, "the first one encrypts");
        assert_eq!(ClusterKey::parse(&new).expect("a key").open("x", &sealed).as_deref(), Some(&b"secret"[..]));
        assert!(ClusterKey::parse("\n").is_none() && ClusterKey::parse(&format!("{new}\nold\n")).is_none());
    }

    #[test]
    fn a_file_without_a_key_is_refused() {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("key");
        assert!(ClusterKey::load(&path).is_err());
        std::fs::write(&path, "00").expect("written");
        assert!(matches!(ClusterKey::load(&path), Err(Error::Invalid(_))));
        std::fs::write(&path, ClusterKey::drawn() + "\n").expect("written");
        assert!(ClusterKey::load(&path).is_ok());
    }
}
