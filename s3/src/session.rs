//! Sessions: keys that end by themselves, and may do less than the account that they come from.
//!
//! All that is known of a session is in its token, which only gateways can read: it is encrypted under the cluster's key and bound to the name of
//! its key. So every gateway checks it by itself, and nothing is kept. It holds as long as it said and the key that it came from is there with the
//! same secret: what is disabled, deleted or replaced ends its sessions with it. Form: `docs/formats/session-token.md`.

use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use client::ClusterKey;
use hyper::http::request::Parts;
use ring::hmac;
use s3s::auth::SecretKey;
use s3s::{S3Result, s3_error};
use serde::{Deserialize, Serialize};
use types::codec::{decode, encode};

use crate::Gateway;
use crate::policy::Policy;

/// Version of the form of a token, its first byte.
const TOKEN_VERSION: u8 = 1;
/// Bytes of a secret, before they are written in base64.
const SECRET_BYTES: usize = 30;
/// Letters of a key's name.
const NAME_LETTERS: &[u8; 32] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZ234567";
/// Bytes of what tells one secret from another.
const MARK_BYTES: usize = 16;
/// The header with a token.
pub const TOKEN: &str = "x-amz-security-token";

/// What a token says.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Token {
    /// The account that acts.
    account: String,
    /// The key that asked for it.
    from: String,
    /// Tells the secret of that key from any other.
    mark: [u8; MARK_BYTES],
    /// The session's own secret.
    secret: String,
    /// From when on it holds, in seconds since 1970.
    issued_s: u64,
    /// When it ends.
    expires_s: u64,
    /// `ROLE/SESSION`, as whoever asked named them; empty where nobody did.
    role: String,
    /// What it may do at most; all that the account may where there is none.
    policy: Option<String>,
}

/// A session that was checked. Its secret is shown nowhere.
#[derive(Clone)]
pub struct Session {
    /// The name of its key.
    pub access_key: String,
    /// The account that acts.
    pub account: String,
    /// `ROLE/SESSION`, as whoever asked named them.
    pub role: Option<String>,
    /// What it may do at most.
    pub policy: Option<Policy>,
    /// From when on it holds.
    pub issued: SystemTime,
    /// Its secret.
    pub secret: SecretKey,
}

impl std::fmt::Debug for Session {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Session").field("access_key", &self.access_key).field("account", &self.account).finish_non_exhaustive()
    }
}

/// What is asked of a new session.
#[derive(Clone, Debug, Default)]
pub struct Wanted {
    /// How long it holds.
    pub lasts: Duration,
    /// `ROLE/SESSION`; empty where they have no names.
    pub role: String,
    /// What it may do at most: a policy that was parsed.
    pub policy: Option<String>,
}

/// A new session, as it is told once.
pub struct Issued {
    /// The name of its key.
    pub access_key: String,
    /// Its secret.
    pub secret: String,
    /// Its token.
    pub token: String,
    /// When it ends.
    pub expires: SystemTime,
}

/// What a token is encrypted as.
fn sealed_as(access_key: &str) -> String {
    format!("session of {access_key}")
}

fn mark_of(secret: &str) -> [u8; MARK_BYTES] {
    let tag = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, secret.as_bytes()), b"redoubt sessions of a key");
    tag.as_ref()[..MARK_BYTES].try_into().expect("it is longer")
}

fn seconds(time: SystemTime) -> u64 {
    time.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs()
}

impl Token {
    fn seal(&self, key: &ClusterKey, access_key: &str) -> String {
        let bytes = [&[TOKEN_VERSION][..], &encode(self)].concat();
        base64_simd::STANDARD.encode_to_string(key.seal(&sealed_as(access_key), &bytes))
    }

    /// The token of that key; `None` where it is none, or of another one.
    fn open(key: &ClusterKey, access_key: &str, text: &str) -> Option<Self> {
        let sealed = base64_simd::STANDARD.decode_to_vec(text).ok()?;
        let bytes = key.open(&sealed_as(access_key), &sealed)?;
        let (version, rest) = bytes.split_first()?;
        (*version == TOKEN_VERSION).then(|| decode(rest).ok())?
    }

    /// Whether it has not ended yet.
    fn check(&self, now: SystemTime) -> S3Result<()> {
        if seconds(now) < self.expires_s { Ok(()) } else { Err(s3_error!(ExpiredToken, "The provided token has expired.")) }
    }
}

/// The key and the token of a request that is signed in its headers or its query; `None` where it has no token, or is not signed.
pub fn named(head: &Parts) -> Option<(String, String)> {
    let asked = |name: &str| {
        let mut pairs = head.uri.query().unwrap_or_default().split('&').filter_map(|pair| pair.split_once('='));
        pairs.find(|(key, _)| *key == name).and_then(|(_, value)| crate::tags::decoded(value))
    };
    let header = |name: &str| head.headers.get(name).and_then(|value| value.to_str().ok()).map(str::to_owned);
    let is_presigned = asked("X-Amz-Signature").is_some();
    let credential = if is_presigned {
        asked("X-Amz-Credential")?
    } else {
        let words = header("authorization")?;
        words.split([',', ' ']).find_map(|part| part.trim().strip_prefix("Credential="))?.to_owned()
    };
    let token = asked("X-Amz-Security-Token").filter(|_| is_presigned).or_else(|| header(TOKEN)).filter(|token| !token.is_empty())?;
    let access_key = credential.rsplitn(5, '/').nth(4)?.to_owned();
    Some((access_key, token))
}

impl Gateway {
    /// The session of a key and a token, if it holds.
    ///
    /// # Errors
    /// `InvalidToken`, `ExpiredToken`; `InvalidAccessKeyId` where what it came from is not there any more.
    pub(crate) async fn session_of(&self, access_key: &str, token: &str) -> S3Result<Arc<Session>> {
        let invalid = || s3_error!(InvalidToken, "The provided token is malformed or otherwise invalid.");
        let token = self.keys.cluster_key().and_then(|key| Token::open(key, access_key, token)).ok_or_else(invalid)?;
        token.check(SystemTime::now())?;
        let unknown = || s3_error!(InvalidAccessKeyId, "The AWS Access Key Id you provided does not exist in our records.");
        let is_same = mark_of(&self.secret_of(&token.from).await?) == token.mark;
        if !is_same || self.account_of(&*self.records().await?, &token.from)? != token.account {
            return Err(unknown());
        }
        // It was parsed before the token was made.
        let policy = token.policy.as_deref().map(Policy::parse_of_session).transpose().map_err(|_| invalid())?;
        Ok(Arc::new(Session {
            access_key: access_key.to_owned(),
            account: token.account,
            role: Some(token.role).filter(|role| !role.is_empty()),
            policy,
            issued: UNIX_EPOCH + Duration::from_secs(token.issued_s),
            secret: SecretKey::from(token.secret),
        }))
    }

    /// A new session of whoever has that key.
    ///
    /// # Errors
    /// `InvalidAccessKeyId`; `NotImplemented` where there is no cluster's key.
    pub(crate) async fn new_session(&self, from: &str, wanted: Wanted) -> S3Result<Issued> {
        let Some(key) = self.keys.cluster_key() else {
            return Err(s3_error!(NotImplemented, "There are no temporary credentials: the configuration names no key_file"));
        };
        let account = self.account_of(&*self.records().await?, from)?;
        let mark = mark_of(&self.secret_of(from).await?);
        let letters = client::random::<16>().map(|byte| char::from(NAME_LETTERS[usize::from(byte) % NAME_LETTERS.len()]));
        let access_key: String = "ASIA".chars().chain(letters).collect();
        let secret = base64_simd::STANDARD.encode_to_string(client::random::<SECRET_BYTES>());
        let issued = SystemTime::now();
        let expires = issued + wanted.lasts;
        let token = Token {
            account,
            from: from.to_owned(),
            mark,
            secret: secret.clone(),
            issued_s: seconds(issued),
            expires_s: seconds(expires),
            role: wanted.role,
            policy: wanted.policy,
        };
        let token = token.seal(key, &access_key);
        Ok(Issued { access_key, secret, token, expires: UNIX_EPOCH + Duration::from_secs(seconds(expires)) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use hyper::Request;

    fn token() -> Token {
        Token {
            account: "ann".into(),
            from: "AK".into(),
            mark: mark_of("secret"),
            secret: "session's".into(),
            issued_s: 1_900_000_000,
            expires_s: 1_900_003_600,
            role: "r/s".into(),
            policy: Some("{}".into()),
        }
    }

    #[test]
    fn a_token_is_read_under_the_clusters_key_and_with_its_own_name_only() {
        let key = ClusterKey::parse(&ClusterKey::drawn()).expect("a key");
        let text = token().seal(&key, "ASIA1");
        assert!(Token::open(&key, "ASIA1", &text) == Some(token()));
        assert!(Token::open(&key, "ASIA2", &text).is_none(), "of another key");
        let other = ClusterKey::parse(&ClusterKey::drawn()).expect("a key");
        assert!(Token::open(&other, "ASIA1", &text).is_none() && Token::open(&key, "ASIA1", "no token").is_none());
        // What the cluster's key has encrypted for anything else is no token.
        let secret = base64_simd::STANDARD.encode_to_string(key.seal(&client::secret_of("ASIA1"), b"secret"));
        assert!(Token::open(&key, "ASIA1", &secret).is_none());
        for at in (0..text.len()).step_by(7) {
            let mut bad = text.clone().into_bytes();
            bad[at] = if bad[at] == b'A' { b'B' } else { b'A' };
            assert!(Token::open(&key, "ASIA1", &String::from_utf8(bad).expect("letters")).is_none(), "letter {at}");
        }
        assert_ne!(mark_of("secret"), mark_of("Secret"));
    }

    #[test]
    fn a_token_ends_when_it_said() {
        let at = |second: u64| token().check(UNIX_EPOCH + Duration::from_secs(second));
        assert!(at(1_900_003_599).is_ok());
        assert_eq!(at(1_900_003_600).expect_err("it has ended").code(), &s3s::S3ErrorCode::ExpiredToken);
    }

    #[test]
    fn the_bytes_of_a_token_are_those_of_its_version() {
        let golden = "03616e6e02414be62fd35a06dc7a27f77661e956366eaa0973657373696f6e2773fc00b33f71fc10c13f7103722f7301027b7d";
        let bytes = encode(&token());
        assert_eq!(crate::metadata::hex(&bytes), golden, "another form is another version");
    }

    #[test]
    fn a_token_lies_beside_the_signature_that_it_is_for() {
        let named = |uri: &str, headers: &[(&str, &str)]| {
            let mut request = Request::builder().uri(uri);
            for (name, value) in headers {
                request = request.header(*name, *value);
            }
            named(&request.body(()).expect("a request").into_parts().0)
        };
        let authorization = ("authorization", "AWS4-HMAC-SHA256 Credential=AS/20260101/r/s3/aws4_request, SignedHeaders=host, Signature=s");
        let pair = |token: &str| Some(("AS".to_owned(), token.to_owned()));
        assert_eq!(named("/b", &[authorization, (TOKEN, "t+/=")]), pair("t+/="));
        assert_eq!(
            (named("/b", &[authorization]), named("/b", &[(TOKEN, "t")]), named("/b", &[authorization, (TOKEN, "")])),
            (None, None, None)
        );
        let signed = "/b?X-Amz-Credential=AS%2F20260101%2Fr%2Fs3%2Faws4_request&X-Amz-Signature=s";
        assert_eq!(named(&format!("{signed}&X-Amz-Security-Token=t%2B%2F%3D"), &[]), pair("t+/="));
        assert_eq!(named(signed, &[(TOKEN, "t")]), pair("t"));
        assert_eq!(named(signed, &[]), None);
    }
}
