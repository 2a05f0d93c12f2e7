//! Encryption of objects: with keys that customers bring with each request (SSE-C), and with those of the cluster (SSE-S3).
//!
//! Each object has a data key of its own, drawn when it is written, or when its upload begins. It lies in the record, encrypted under the
//! customer's key or the cluster's and bound to bucket and name: an envelope. The customer's key is kept nowhere, nor a sum of it: whether it
//! is the right one is seen by opening the envelope. How bytes are encrypted is [`segment`]'s business.

pub mod head;
mod incoming;
mod reading;
mod segment;

use client::{ClusterKey, ObjectInfo, ObjectReader, SealingKey};
use md5::{Digest, Md5};
use s3s::dto::ServerSideEncryption;
use s3s::{S3Error, S3ErrorCode, S3Result, s3_error};
use tokio::io::AsyncRead;
use types::object::{ENCRYPTION, OF_CLUSTER, OF_CUSTOMER, PLAIN_BYTES, encryption};
use types::records::{Bucket, BucketDocument};

pub use reading::{Reading, pieces_word};
pub use segment::{PieceName, stored_bytes};

use crate::Gateway;
use crate::body::{Received, Sums};
use crate::error::{self, Of};
use crate::metadata::{self, find};
use crate::object::put::refuse_if;
use incoming::Sealed;
use segment::{DataKey, PieceKey, SALT_BYTES};

/// The word of a part that holds its salt.
const SALT: &str = "salt";
/// The one algorithm.
const AES256: &str = "AES256";

/// A key that a customer brings. Shown nowhere.
pub struct Customer {
    key: SealingKey,
    /// Its MD5 in base64, which answers repeat.
    md5: String,
}

impl Customer {
    /// What three headers say.
    ///
    /// # Errors
    /// `InvalidArgument`, `InvalidEncryptionAlgorithmError`: they come all or not at all, and fit each other.
    pub fn of(algorithm: Option<&str>, key: Option<&str>, md5: Option<&str>) -> S3Result<Option<Self>> {
        let (algorithm, key, md5) = match (algorithm, key, md5) {
            (None, None, None) => return Ok(None),
            (Some(algorithm), Some(key), Some(md5)) => (algorithm, key, md5),
            (None, ..) => return Err(incomplete("a valid encryption algorithm")),
            _ => return Err(incomplete("an appropriate secret key")),
        };
        if algorithm != AES256 {
            let code = S3ErrorCode::Custom("InvalidEncryptionAlgorithmError".into());
            let mut error = S3Error::with_message(code, "The encryption request you specified is not valid. The valid value is AES256.");
            error.set_status_code(hyper::StatusCode::BAD_REQUEST);
            return Err(error);
        }
        let bytes: Option<[u8; client::KEY_BYTES]> = base64_simd::STANDARD.decode_to_vec(key).ok().and_then(|bytes| bytes.try_into().ok());
        let Some(bytes) = bytes else {
            return Err(s3_error!(InvalidArgument, "The secret key was invalid for the specified algorithm."));
        };
        if base64_simd::STANDARD.encode_to_string(Md5::digest(bytes)) != md5 {
            return Err(s3_error!(InvalidArgument, "The calculated MD5 hash of the key did not match the hash that was provided."));
        }
        Ok(Some(Self { key: SealingKey::new(&bytes), md5: md5.to_owned() }))
    }
}

fn incomplete(what: &str) -> S3Error {
    s3_error!(InvalidArgument, "Requests specifying Server Side Encryption with Customer provided keys must provide {what}.")
}

/// The key that a customer gives, of an input: the protocol's types have these fields, and nothing in common.
macro_rules! customer_given {
    ($input:ident) => {
        $crate::encryption::Customer::of(
            $input.sse_customer_algorithm.as_deref(),
            $input.sse_customer_key.as_deref(),
            $input.sse_customer_key_md5.as_deref(),
        )
    };
}
pub(crate) use customer_given;

/// That of the source of a copy.
macro_rules! source_customer_given {
    ($input:ident) => {
        $crate::encryption::Customer::of(
            $input.copy_source_sse_customer_algorithm.as_deref(),
            $input.copy_source_sse_customer_key.as_deref(),
            $input.copy_source_sse_customer_key_md5.as_deref(),
        )
    };
}
pub(crate) use source_customer_given;

/// What an answer says of encryption.
#[derive(Clone, Default)]
pub struct Told {
    /// That the cluster encrypts.
    pub by_server: Option<ServerSideEncryption>,
    /// With what the customer's key encrypts.
    pub algorithm: Option<String>,
    /// The MD5 of that key.
    pub key_md5: Option<String>,
}

/// How an object is encrypted: its data key, and the word of its record that holds that key.
pub struct Sealing {
    data_key: DataKey,
    word: String,
    /// The MD5 of the customer's key; of the cluster's there is none.
    customer_md5: Option<String>,
}

impl Sealing {
    /// What answers say of it.
    pub fn told(sealing: Option<&Self>) -> Told {
        match sealing {
            None => Told::default(),
            Some(Self { customer_md5: Some(md5), .. }) => {
                Told { by_server: None, algorithm: Some(AES256.to_owned()), key_md5: Some(md5.clone()) }
            }
            Some(_) => Told { by_server: Some(ServerSideEncryption::from_static(AES256)), ..Told::default() },
        }
    }

    /// The word of the record.
    pub fn word(&self) -> (String, String) {
        (ENCRYPTION.to_owned(), self.word.clone())
    }

    /// A name for a part that is written now.
    pub fn part(number: u16) -> PieceName {
        PieceName { number, salt: client::random::<SALT_BYTES>() }
    }

    fn piece(&self, name: PieceName) -> PieceKey {
        self.data_key.piece(name)
    }
}

/// A body as it is to be stored.
pub fn incoming(received: Received, sealing: Option<(&Sealing, PieceName)>) -> Box<dyn AsyncRead + Unpin + Send> {
    match sealing {
        None => Box::new(received),
        Some((sealing, name)) => Box::new(Sealed::new(received, sealing.piece(name))),
    }
}

/// The words of a record that tell the sums of the bytes, and, where they are encrypted, how many they were. Of a customer's bytes the ETag
/// is no MD5.
pub fn words_of(sums: &Sums, sealing: Option<(&Sealing, PieceName)>) -> Vec<(String, String)> {
    let Some((sealing, name)) = sealing else { return metadata::sum_words(sums) };
    let etag = if sealing.customer_md5.is_some() { sealing.data_key.blinded(&sums.md5) } else { sums.md5 };
    let mut words = metadata::sum_words(&Sums { md5: etag, ..sums.clone() });
    words.push((PLAIN_BYTES.to_owned(), sums.bytes.to_string()));
    if name != PieceName::WHOLE {
        // An object has it from the beginning on.
        words.push(sealing.word());
        words.push((SALT.to_owned(), base64_simd::STANDARD.encode_to_string(name.salt)));
    }
    words
}

/// The name of a part that is there.
pub fn name_of_part(number: u16, words: &[(String, String)]) -> Option<PieceName> {
    let salt = base64_simd::STANDARD.decode_to_vec(find(words, SALT)?).ok()?;
    Some(PieceName { number, salt: salt.try_into().ok()? })
}

/// Whether words say that something is encrypted, by a customer's key or the cluster's.
fn is_of_customer(words: &[(String, String)]) -> Option<bool> {
    encryption(words).map(|word| word.starts_with(OF_CUSTOMER))
}

/// What the data key of an object is bound to.
fn bound_to(bucket: &Bucket, key: &str) -> String {
    format!("data key of {}/{key}", bucket.id)
}

/// What is encrypted, to say what is wrong.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum What {
    /// An object that is read.
    Object,
    /// An upload that gets a part.
    Upload,
}

/// How an object that is written now is encrypted: as the request says, or else as the bucket does.
///
/// # Errors
/// `InvalidArgument`, `NotImplemented`.
fn sealing(
    cluster: Option<&ClusterKey>,
    bucket: &Bucket,
    key: &str,
    by_server: Option<&ServerSideEncryption>,
    customer: Option<Customer>,
) -> S3Result<Option<Sealing>> {
    if by_server.is_some() && customer.is_some() {
        let words = "Server Side Encryption with Customer provided key is incompatible with the encryption method specified";
        return Err(S3Error::with_message(S3ErrorCode::InvalidArgument, words));
    }
    refuse_if(by_server.is_some_and(|named| named.as_str() != AES256))?;
    let (data_key, bound_to) = (DataKey::drawn(), bound_to(bucket, key));
    let word = |of: &str, sealed: Vec<u8>| format!("{of}{}", base64_simd::STANDARD.encode_to_string(sealed));
    if let Some(customer) = customer {
        let word = word(OF_CUSTOMER, customer.key.seal(&bound_to, data_key.bytes()));
        return Ok(Some(Sealing { data_key, word, customer_md5: Some(customer.md5) }));
    }
    if by_server.is_none() && bucket.document(BucketDocument::Encryption).is_none() {
        return Ok(None);
    }
    let word = word(OF_CLUSTER, cluster.ok_or_else(no_cluster_key)?.seal(&bound_to, data_key.bytes()));
    Ok(Some(Sealing { data_key, word, customer_md5: None }))
}

/// How what is there is encrypted, by its words; the key that the request brings has to be the right one.
///
/// # Errors
/// `InvalidRequest`, `AccessDenied`.
fn sealed(
    cluster: Option<&ClusterKey>,
    bucket: &Bucket,
    key: &str,
    words: &[(String, String)],
    customer: Option<&Customer>,
    what: What,
) -> S3Result<Option<Sealing>> {
    let Some(word) = encryption(words) else {
        return if customer.is_some() { Err(needless_key(what)) } else { Ok(None) };
    };
    let bound_to = bound_to(bucket, key);
    let envelope = |of: &str| word.strip_prefix(of).and_then(|sealed| base64_simd::STANDARD.decode_to_vec(sealed).ok());
    let of = |data_key, customer_md5| Some(Sealing { data_key, word: word.to_owned(), customer_md5 });
    match (is_of_customer(words), customer) {
        (Some(true), Some(customer)) => {
            let opened = envelope(OF_CUSTOMER).and_then(|sealed| customer.key.open(&bound_to, &sealed));
            let data_key = opened.as_deref().and_then(DataKey::of).ok_or_else(|| wrong_key(what))?;
            Ok(of(data_key, Some(customer.md5.clone())))
        }
        (Some(true), None) => Err(no_key(what)),
        (_, Some(_)) => Err(needless_key(what)),
        (_, None) => {
            let opened = envelope(OF_CLUSTER).and_then(|sealed| cluster?.open(&bound_to, &sealed));
            let data_key = opened.as_deref().and_then(DataKey::of).ok_or_else(|| {
                tracing::error!(bucket = %bucket.id, key, "an object cannot be decrypted: are the cluster's keys the same at every node?");
                s3_error!(InternalError, "We encountered an internal error. Please try again.")
            })?;
            Ok(of(data_key, None))
        }
    }
}

impl Gateway {
    /// How an object that is written now is encrypted: as the request says, or else as the bucket does.
    ///
    /// # Errors
    /// `InvalidArgument`, `NotImplemented`.
    pub(crate) fn sealing(
        &self,
        bucket: &Bucket,
        key: &str,
        by_server: Option<&ServerSideEncryption>,
        customer: Option<Customer>,
    ) -> S3Result<Option<Sealing>> {
        sealing(self.keys.cluster_key(), bucket, key, by_server, customer)
    }

    /// How an upload that is there is encrypted; who sends a part of it brings the key that it began with.
    ///
    /// # Errors
    /// `InvalidRequest`.
    pub(crate) fn sealing_of_upload(
        &self,
        bucket: &Bucket,
        key: &str,
        words: &[(String, String)],
        customer: Option<&Customer>,
    ) -> S3Result<Option<Sealing>> {
        sealed(self.keys.cluster_key(), bucket, key, words, customer, What::Upload)
    }

    /// An object that was opened, to be read as it was written; and what is told of its encryption.
    ///
    /// # Errors
    /// `InvalidRequest`, `AccessDenied` where the key is not the right one.
    pub(crate) fn reading(
        &self,
        bucket: &Bucket,
        key: &str,
        reader: ObjectReader,
        customer: Option<&Customer>,
    ) -> S3Result<(Reading, Told)> {
        let sealing = sealed(self.keys.cluster_key(), bucket, key, &reader.info().user_metadata, customer, What::Object)?;
        let told = Sealing::told(sealing.as_ref());
        let reading = match sealing {
            None => Reading::plain(reader).map_err(|e| error::of(Of::Object, e))?,
            Some(sealing) => Reading::encrypted(reader, sealing.data_key).map_err(|e| error::of(Of::Object, e))?,
        };
        Ok((reading, told))
    }

    /// What is told of the encryption of an object that is not read.
    ///
    /// # Errors
    /// As [`Self::reading`].
    pub(crate) fn told(&self, bucket: &Bucket, key: &str, info: &ObjectInfo, customer: Option<&Customer>) -> S3Result<Told> {
        let sealing = sealed(self.keys.cluster_key(), bucket, key, &info.user_metadata, customer, What::Object)?;
        Ok(Sealing::told(sealing.as_ref()))
    }

    /// Refuses to encrypt where there is no key for it.
    ///
    /// # Errors
    /// `NotImplemented`.
    pub(crate) fn check_cluster_key(&self) -> S3Result<()> {
        self.keys.cluster_key().map(drop).ok_or_else(no_cluster_key)
    }
}

fn no_cluster_key() -> S3Error {
    s3_error!(NotImplemented, "The gateway has no key to encrypt with: its configuration names no key_file")
}

/// What is told of the encryption of an upload whose key nobody asks for.
pub fn told_of_server(words: &[(String, String)]) -> Option<ServerSideEncryption> {
    (is_of_customer(words) == Some(false)).then(|| ServerSideEncryption::from_static(AES256))
}

fn no_key(what: What) -> S3Error {
    match what {
        What::Object => s3_error!(
            InvalidRequest,
            "The object was stored using a form of Server Side Encryption. The correct parameters must be provided to retrieve the object."
        ),
        What::Upload => s3_error!(
            InvalidRequest,
            "The multipart upload initiate requested encryption. Subsequent part requests must include the appropriate encryption parameters."
        ),
    }
}

fn needless_key(what: What) -> S3Error {
    match what {
        What::Object => s3_error!(InvalidRequest, "The encryption parameters are not applicable to this object."),
        What::Upload => s3_error!(
            InvalidRequest,
            "The multipart upload initiate did not request encryption. Please resend the request without sending encryption parameters."
        ),
    }
}

fn wrong_key(what: What) -> S3Error {
    match what {
        // The status is not AWS's: see decision 28.
        What::Object => {
            let mut error = s3_error!(AccessDenied, "Access Denied");
            error.set_status_code(hyper::StatusCode::BAD_REQUEST);
            error
        }
        What::Upload => s3_error!(InvalidRequest, "The provided encryption parameters did not match the ones used originally."),
    }
}

#[cfg(test)]
mod tests;
