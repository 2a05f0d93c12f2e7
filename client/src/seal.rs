//! Small secrets under the cluster's key: AES-256-GCM, each with a nonce of its own, bound to what it is the secret of.
//!
//! The key is 32 bytes in a file of the configuration, as 64 hexadecimal digits; HA keeps what was encrypted under it and never sees it.

use std::path::Path;

use ring::aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use ring::rand::{SecureRandom, SystemRandom};

use crate::Error;

/// Length of the key in bytes.
const KEY_BYTES: usize = 32;

/// The cluster's key. Shown nowhere.
#[derive(Clone)]
pub struct ClusterKey(LessSafeKey);

impl std::fmt::Debug for ClusterKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ClusterKey").finish_non_exhaustive()
    }
}

impl ClusterKey {
    /// The key of a file.
    pub fn load(path: &Path) -> Result<Self, Error> {
        let text = std::fs::read_to_string(path).map_err(|e| Error::io(path.display().to_string(), e))?;
        Self::parse(text.trim()).ok_or_else(|| Error::Invalid(format!("{}: a key is 64 hexadecimal digits", path.display())))
    }

    /// The text of a new key, for its file.
    pub fn drawn() -> String {
        random::<KEY_BYTES>().iter().map(|byte| format!("{byte:02x}")).collect()
    }

    fn parse(text: &str) -> Option<Self> {
        let digits = text.as_bytes();
        if digits.len() != 2 * KEY_BYTES || !digits.iter().all(u8::is_ascii_hexdigit) {
            return None;
        }
        let byte = |at: usize| u8::from_str_radix(&text[at..at + 2], 16).ok();
        let bytes: Vec<u8> = (0..digits.len()).step_by(2).map(byte).collect::<Option<_>>()?;
        Self::of(&bytes)
    }

    fn of(bytes: &[u8]) -> Option<Self> {
        UnboundKey::new(&AES_256_GCM, bytes).ok().map(|key| Self(LessSafeKey::new(key)))
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
