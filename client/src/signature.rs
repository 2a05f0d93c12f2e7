//! Signatures of S3's requests, as a caller makes them: version 4, in headers. For benches and tests; who serves S3 checks signatures by code of its
//! own. Source: AWS, "Authenticating Requests: Using the Authorization Header (AWS Signature Version 4)".

use chrono::{DateTime, Utc};
use ring::{digest, hmac};

/// What stands for the hash of a body that is not signed.
pub const UNSIGNED: &str = "UNSIGNED-PAYLOAD";
/// The headers that are signed.
const SIGNED: &str = "host;x-amz-content-sha256;x-amz-date";

/// A key that signs. Its secret is shown nowhere.
#[derive(Clone)]
pub struct Signer {
    access_key: String,
    secret_key: String,
    region: String,
}

/// What is signed of a request.
#[derive(Clone, Copy, Debug)]
pub struct ToSign<'a> {
    /// Its method.
    pub method: &'a str,
    /// Its path, as it is sent.
    pub path: &'a str,
    /// Its query, as it is sent, without the question mark.
    pub query: &'a str,
    /// Whom it is sent to.
    pub host: &'a str,
    /// Its body in words: [`UNSIGNED`], [`sha256`] of it, or another of S3's.
    pub content: &'a str,
}

/// A signature, and the headers that carry it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Signed {
    /// `authorization`.
    pub authorization: String,
    /// `x-amz-date`.
    pub date: String,
    /// The signature alone: what those of chunks begin with.
    pub signature: String,
}

impl std::fmt::Debug for Signer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Signer").field("access_key", &self.access_key).finish_non_exhaustive()
    }
}

impl Signer {
    /// A key of a region.
    pub fn new(access_key: &str, secret_key: &str, region: &str) -> Self {
        Self { access_key: access_key.into(), secret_key: secret_key.into(), region: region.into() }
    }

    /// The signature of a request that is sent at that wall clock.
    pub fn sign(&self, at_s: u64, request: ToSign<'_>) -> Signed {
        let ToSign { method, path, query, host, content } = request;
        let date = date(at_s);
        let mut pairs: Vec<&str> = query.split('&').filter(|pair| !pair.is_empty()).collect();
        pairs.sort_unstable();
        let query: Vec<String> =
            pairs.iter().map(|pair| if pair.contains('=') { (*pair).to_owned() } else { format!("{pair}=") }).collect();
        let query = query.join("&");
        let canonical =
            format!("{method}\n{path}\n{query}\nhost:{host}\nx-amz-content-sha256:{content}\nx-amz-date:{date}\n\n{SIGNED}\n{content}");
        let signature =
            self.signature(&date, &format!("AWS4-HMAC-SHA256\n{date}\n{}\n{}", self.scope(&date), sha256(canonical.as_bytes())));
        let (key, scope) = (&self.access_key, self.scope(&date));
        let authorization = format!("AWS4-HMAC-SHA256 Credential={key}/{scope}, SignedHeaders={SIGNED}, Signature={signature}");
        Signed { authorization, date, signature }
    }

    /// The signature of a chunk behind the one with that signature.
    pub fn sign_chunk(&self, date: &str, before: &str, chunk: &[u8]) -> String {
        let (scope, empty, hash) = (self.scope(date), sha256(b""), sha256(chunk));
        self.signature(date, &format!("AWS4-HMAC-SHA256-PAYLOAD\n{date}\n{scope}\n{before}\n{empty}\n{hash}"))
    }

    /// The signature of what trails a body: lines of `name:value`, each with its end.
    pub fn sign_trailer(&self, date: &str, before: &str, lines: &str) -> String {
        let (scope, hash) = (self.scope(date), sha256(lines.as_bytes()));
        self.signature(date, &format!("AWS4-HMAC-SHA256-TRAILER\n{date}\n{scope}\n{before}\n{hash}"))
    }

    fn scope(&self, date: &str) -> String {
        format!("{}/{}/s3/aws4_request", date.get(..8).unwrap_or_default(), self.region)
    }

    fn signature(&self, date: &str, text: &str) -> String {
        let keyed = |key: &[u8], text: &str| hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, key), text.as_bytes());
        let mut key = keyed(format!("AWS4{}", self.secret_key).as_bytes(), date.get(..8).unwrap_or_default());
        for word in [&self.region, "s3", "aws4_request"] {
            key = keyed(key.as_ref(), word);
        }
        hex(keyed(key.as_ref(), text).as_ref())
    }
}

/// The hash of a body, as signatures have it.
pub fn sha256(bytes: &[u8]) -> String {
    hex(digest::digest(&digest::SHA256, bytes).as_ref())
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn date(at_s: u64) -> String {
    let at = i64::try_from(at_s).ok().and_then(|at_s| DateTime::<Utc>::from_timestamp(at_s, 0)).unwrap_or_default();
    at.format("%Y%m%dT%H%M%SZ").to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_is_signed_as_amazon_does_it() {
        // The example of the source, with the headers that are signed here; checked with botocore.
        let signer = Signer::new("AKIAIOSFODNN7EXAMPLE", "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY", "us-east-1");
        let empty = sha256(b"");
        let request =
            ToSign { method: "GET", path: "/", query: "prefix=J&max-keys=2", host: "examplebucket.s3.amazonaws.com", content: &empty };
        let signed = signer.sign(1_369_353_600, request);
        assert_eq!(signed.date, "20130524T000000Z");
        assert_eq!(signed.signature, "34b48302e7b5fa45bde8084f4b7868a86f0a534bc59db6670ed5711ef69dc6f7");
    }

    #[test]
    fn chunks_are_signed_as_amazon_does_it() {
        let signer = Signer::new("AKIAIOSFODNN7EXAMPLE", "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY", "us-east-1");
        let seed = "4f232c4386841ef735655705268965c44a0e4690baa4adea153f7db9fa80a0a9";
        let first = signer.sign_chunk("20130524T000000Z", seed, &[b'a'; 65_536]);
        assert_eq!(first, "ad80c730a21e5b8d04586a2213dd63b9a0e99e0e2307b0ade35a65485a288648");
        let second = signer.sign_chunk("20130524T000000Z", &first, &[b'a'; 1024]);
        assert_eq!(second, "0055627c9e194cb4542bae2aa5492e3c1575bbb81b612b7d234b86a503ef5497");
    }
}
