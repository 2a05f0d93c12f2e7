//! The words of a version's record that are set after it was written: tags, its list of access, its lock. Its bytes and its time stay as they are.

use client::{Condition, Error, ObjectInfo};
use hyper::http::Extensions;
use s3s::{S3Result, s3_error};

use crate::Gateway;
use crate::error::{self, Of};
use crate::metadata;
use crate::version;

/// How often it is tried to set words of an object that is written all the time.
const TRIES_MAX: u32 = 10;
/// The words of a record.
pub type Words = Vec<(String, String)>;

/// Which version of which object.
#[derive(Clone, Copy)]
pub struct Named<'a> {
    /// The name of the bucket.
    pub bucket: &'a str,
    /// The object.
    pub key: &'a str,
    /// Its version, as it was named; else what is current.
    pub version: Option<&'a str>,
}

/// What of an input names a version: the protocol's types have these fields, and nothing in common.
macro_rules! named {
    ($input:ident) => {
        $crate::object::words::Named { bucket: &$input.bucket, key: &$input.key, version: $input.version_id.as_deref() }
    };
}
pub(crate) use named;

/// What is kept of a version, and how it is called.
pub async fn stat(gateway: &Gateway, extensions: &Extensions, named: Named<'_>) -> S3Result<(ObjectInfo, Option<String>)> {
    let versioning = gateway.bucket(named.bucket).await?.versioning();
    let wanted = version::wanted(named.version)?;
    let info = match gateway.client.stat_version(named.bucket, named.key.as_bytes(), wanted).await {
        Ok(info) => info,
        Err(failure) => return Err(gateway.missing(extensions, named.bucket, version::missing(wanted, failure)).await?),
    };
    let shown = version::shown(versioning, info.id);
    Ok((info, shown))
}

/// Changes the words of a version, by what `change` makes of those that it has; how that version is called.
///
/// # Errors
/// Those of looking and of `change`; `OperationAborted` where it is changed by others all the time.
pub async fn change(
    gateway: &Gateway,
    extensions: &Extensions,
    named: Named<'_>,
    change: impl Fn(&[(String, String)]) -> S3Result<Words> + Sync,
) -> S3Result<Option<String>> {
    for _ in 0..TRIES_MAX {
        let (info, shown) = stat(gateway, extensions, named).await?;
        let mut words = change(&info.user_metadata)?;
        if metadata::word(&info, metadata::ETAG).is_none() {
            // An ETag that was made of the version stays what it was.
            words.push((metadata::ETAG.to_owned(), metadata::etag(&info).value().to_owned()));
        }
        let condition = Condition::Version(info.version);
        match gateway.client.describe_version(named.bucket, named.key.as_bytes(), Some(info.id), words, condition).await {
            Err(Error::Condition { .. }) => {}
            other => return other.map(|()| shown).map_err(|e| error::of(Of::Object, e)),
        }
    }
    Err(s3_error!(
        OperationAborted,
        "A conflicting conditional operation is currently in progress against this resource. Please try again."
    ))
}

/// Sets a word of a version, or takes it away.
///
/// # Errors
/// As [`change`].
pub async fn set(
    gateway: &Gateway,
    extensions: &Extensions,
    named: Named<'_>,
    name: &str,
    word: Option<(String, String)>,
) -> S3Result<Option<String>> {
    let with = |words: &[(String, String)]| Ok(words.iter().filter(|(known, _)| known != name).cloned().chain(word.clone()).collect());
    change(gateway, extensions, named, with).await
}
