//! What a request says of encryption, checked as far as a head can be: the words of a customer's key come all or not at all, so that nothing
//! is kept in the clear of which somebody thinks that it is encrypted.

use hyper::header::HeaderMap;
use md5::{Digest, Md5};
use s3s::{S3Error, S3ErrorCode, S3Result, s3_error};

/// Beginnings of the words of a customer's key: of what is asked for, and of the source of a copy.
const CUSTOMER: [&str; 2] = ["x-amz-server-side-encryption-customer", "x-amz-copy-source-server-side-encryption-customer"];
/// What the server can be asked to encrypt with.
const OF_SERVER: [&str; 3] = ["AES256", "aws:kms", "aws:kms:dsse"];
/// Bytes of a key.
const KEY_BYTES: usize = 32;

/// Refuses words that cannot be.
///
/// # Errors
/// `InvalidArgument`, `InvalidEncryptionAlgorithmError`.
pub fn check(headers: &HeaderMap) -> S3Result<()> {
    let text = |name: &str| headers.get(name).map(|value| value.to_str().unwrap_or_default());
    if text("x-amz-server-side-encryption").is_some_and(|named| !OF_SERVER.contains(&named)) {
        return Err(s3_error!(InvalidArgument, "The encryption method specified is not supported"));
    }
    for beginning in CUSTOMER {
        let [algorithm, key, md5] = ["algorithm", "key", "key-md5"].map(|end| text(&format!("{beginning}-{end}")));
        check_customer(algorithm, key, md5)?;
    }
    Ok(())
}

fn check_customer(algorithm: Option<&str>, key: Option<&str>, md5: Option<&str>) -> S3Result<()> {
    let (algorithm, key, md5) = match (algorithm, key, md5) {
        (None, None, None) => return Ok(()),
        (Some(algorithm), Some(key), Some(md5)) => (algorithm, key, md5),
        (None, ..) => return Err(invalid("a valid encryption algorithm")),
        _ => return Err(invalid("an appropriate secret key")),
    };
    if algorithm != "AES256" {
        let code = S3ErrorCode::Custom("InvalidEncryptionAlgorithmError".into());
        let mut error = S3Error::with_message(code, "The encryption request you specified is not valid. The valid value is AES256.");
        error.set_status_code(hyper::StatusCode::BAD_REQUEST);
        return Err(error);
    }
    let bytes = base64_simd::STANDARD.decode_to_vec(key).ok().filter(|bytes| bytes.len() == KEY_BYTES);
    let Some(bytes) = bytes else {
        return Err(s3_error!(InvalidArgument, "The secret key was invalid for the specified algorithm."));
    };
    if base64_simd::STANDARD.encode_to_string(Md5::digest(bytes)) != md5 {
        return Err(s3_error!(InvalidArgument, "The calculated MD5 hash of the key did not match the hash that was provided."));
    }
    Ok(())
}

fn invalid(what: &str) -> S3Error {
    s3_error!(InvalidArgument, "Requests specifying Server Side Encryption with Customer provided keys must provide {what}.")
}

#[cfg(test)]
mod tests {
    use super::*;
    use hyper::header::{HeaderName, HeaderValue};

    const KEY: &str = "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=";
    const OTHER: &str = "AAAAAAAAAAAAAAAAAAAAAA==";

    fn code(headers: &[(&'static str, &'static str)]) -> Option<String> {
        let pairs = headers.iter().map(|(name, value)| (HeaderName::from_static(name), HeaderValue::from_static(value)));
        check(&pairs.collect()).err().map(|error| error.code().as_str().to_owned())
    }

    #[test]
    fn the_words_of_a_key_come_all_or_not_at_all() {
        let md5 = base64_simd::STANDARD.encode_to_string(Md5::digest([0; KEY_BYTES]));
        let of = |algorithm, key, md5| check_customer(algorithm, key, md5).err().map(|error| error.code().as_str().to_owned());
        let invalid = Some("InvalidArgument".to_owned());
        assert_eq!(of(None, None, None), None);
        assert_eq!(of(Some("AES256"), Some(KEY), Some(&md5)), None);
        assert_eq!(of(Some("AES256"), Some(KEY), Some(OTHER)), invalid);
        assert_eq!((of(None, Some(KEY), Some(&md5)), of(Some("AES256"), None, Some(&md5))), (invalid.clone(), invalid.clone()));
        assert_eq!((of(Some("AES256"), Some(KEY), None), of(Some("AES256"), Some("c2hvcnQ="), Some(&md5))), (invalid.clone(), invalid));
        assert_eq!(of(Some("AES1"), Some(KEY), Some(&md5)).as_deref(), Some("InvalidEncryptionAlgorithmError"));
    }

    #[test]
    fn the_server_is_asked_for_what_it_could_do() {
        assert_eq!(code(&[("x-amz-server-side-encryption", "AES256")]), None);
        assert_eq!(code(&[("x-amz-server-side-encryption", "rot13")]).as_deref(), Some("InvalidArgument"));
        assert_eq!(code(&[("x-amz-copy-source-server-side-encryption-customer-key", KEY)]).as_deref(), Some("InvalidArgument"));
    }
}
