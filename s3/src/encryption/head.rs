//! What a request says of encryption, checked as far as a head can be: the words of a customer's key come all or not at all, so that nothing
//! is kept in the clear of which somebody thinks that it is encrypted; and they come over connections that are encrypted.

use hyper::Method;
use hyper::header::HeaderMap;
use s3s::{S3Result, s3_error};

use super::Customer;

/// Beginnings of the words of a customer's key: of what is asked for, and of the source of a copy.
const CUSTOMER: [&str; 2] = ["x-amz-server-side-encryption-customer", "x-amz-copy-source-server-side-encryption-customer"];
/// The words that hold such a key: nobody who looks at heads later has to see them.
pub const KEYS: [&str; 2] = ["x-amz-server-side-encryption-customer-key", "x-amz-copy-source-server-side-encryption-customer-key"];
/// What asks the server to encrypt.
const OF_SERVER: &str = "x-amz-server-side-encryption";
/// What the server can be asked to encrypt with.
const METHODS: [&str; 3] = ["AES256", "aws:kms", "aws:kms:dsse"];

/// Refuses words that cannot be. `is_safe` says whether others than the two ends could see them.
///
/// # Errors
/// `InvalidArgument`, `InvalidRequest`, `InvalidEncryptionAlgorithmError`.
pub fn check(method: &Method, headers: &HeaderMap, is_safe: bool) -> S3Result<()> {
    let text = |name: &str| headers.get(name).map(|value| value.to_str().unwrap_or_default());
    let named = text(OF_SERVER);
    if named.is_some_and(|named| !METHODS.contains(&named)) {
        return Err(s3_error!(InvalidArgument, "The encryption method specified is not supported"));
    }
    if named.is_some() && (method == Method::GET || method == Method::HEAD) {
        return Err(s3_error!(InvalidArgument, "x-amz-server-side-encryption header is not supported for this operation."));
    }
    if named.is_none_or(|named| named == "AES256") && headers.contains_key("x-amz-server-side-encryption-aws-kms-key-id") {
        let words = "The encryption method specified does not support keys of a key management service";
        return Err(s3_error!(InvalidArgument, "{words}"));
    }
    for beginning in CUSTOMER {
        let [algorithm, key, md5] = ["algorithm", "key", "key-md5"].map(|end| text(&format!("{beginning}-{end}")));
        let customer = Customer::of(algorithm, key, md5)?;
        if customer.is_some() && !is_safe {
            return Err(s3_error!(
                InvalidRequest,
                "Requests specifying Server Side Encryption with Customer provided keys must be made over a secure connection."
            ));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use hyper::header::{HeaderName, HeaderValue};

    const KEY: &str = "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=";
    /// Its MD5.
    const MD5: &str = "cLyPS3KoaSFGi/joRB3OUQ==";

    fn code(method: &Method, headers: &[(&'static str, &'static str)], is_safe: bool) -> Option<String> {
        let pairs = headers.iter().map(|(name, value)| (HeaderName::from_static(name), HeaderValue::from_static(value)));
        check(method, &pairs.collect(), is_safe).err().map(|error| error.code().as_str().to_owned())
    }

    #[test]
    fn the_server_is_asked_for_what_it_could_do_and_where_something_is_written() {
        let put = |headers| code(&Method::PUT, headers, true);
        assert_eq!(put(&[("x-amz-server-side-encryption", "AES256")]), None);
        let invalid = Some("InvalidArgument");
        assert_eq!(put(&[("x-amz-server-side-encryption", "rot13")]).as_deref(), invalid);
        assert_eq!(put(&[("x-amz-copy-source-server-side-encryption-customer-key", KEY)]).as_deref(), invalid);
        assert_eq!(put(&[("x-amz-server-side-encryption-aws-kms-key-id", "k")]).as_deref(), invalid);
        assert_eq!(code(&Method::HEAD, &[("x-amz-server-side-encryption", "AES256")], true).as_deref(), invalid);
    }

    #[test]
    fn keys_of_customers_come_over_connections_that_nobody_sees_into() {
        let headers = [
            ("x-amz-server-side-encryption-customer-algorithm", "AES256"),
            ("x-amz-server-side-encryption-customer-key", KEY),
            ("x-amz-server-side-encryption-customer-key-md5", MD5),
        ];
        assert_eq!(code(&Method::GET, &headers, true), None);
        assert_eq!(code(&Method::GET, &headers, false).as_deref(), Some("InvalidRequest"));
    }
}
