//! Listings of a bucket, in both forms. The token is the last name of the page.

use client::{ListPage, ListRequest, ObjectInfo};
use s3s::dto::{
    ChecksumAlgorithm, CommonPrefix, EncodingType, ListObjectsInput, ListObjectsOutput, ListObjectsV2Input, ListObjectsV2Output, Object,
    ObjectStorageClass,
};
use s3s::{S3Request, S3Result, s3_error};

use crate::Gateway;
use crate::access::Owners;
use crate::checksum::Algorithm;
use crate::condition;
use crate::error::{self, Of};
use crate::metadata;

/// Most entries of a page, as S3 has it.
const PAGE_MAX: i32 = 1000;

/// How names are written in an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Names {
    /// As they are.
    Plain,
    /// Percent-encoded, so that XML can hold any name.
    Url,
}

impl Names {
    /// What was asked for.
    pub fn of(encoding: Option<&EncodingType>) -> S3Result<Self> {
        match encoding.map(EncodingType::as_str) {
            None => Ok(Self::Plain),
            Some(EncodingType::URL) => Ok(Self::Url),
            Some(_) => Err(s3_error!(InvalidArgument, "Invalid Encoding Method specified in Request")),
        }
    }

    /// A name in the answer.
    pub fn write(self, name: &[u8]) -> String {
        match self {
            Self::Plain => String::from_utf8_lossy(name).into_owned(),
            Self::Url => url_encoded(name),
        }
    }
}

/// Percent-encoded, but for what need not be and the slash.
fn url_encoded(name: &[u8]) -> String {
    let mut text = String::with_capacity(name.len());
    for &byte in name {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'~' | b'*' | b'/' => text.push(char::from(byte)),
            byte => text.push_str(&format!("%{byte:02X}")),
        }
    }
    text
}

/// How many entries a page may have.
pub fn page_limit(wanted: Option<i32>) -> S3Result<i32> {
    match wanted.unwrap_or(PAGE_MAX) {
        negative if negative < 0 => Err(s3_error!(InvalidArgument, "Argument maxKeys must be an integer between 0 and 2147483647")),
        limit => Ok(limit.min(PAGE_MAX)),
    }
}

/// What both forms ask for.
struct Wanted<'a> {
    bucket: &'a str,
    prefix: &'a str,
    delimiter: Option<&'a str>,
    after: Option<Vec<u8>>,
    max_keys: Option<i32>,
}

/// A page, and how many entries it may have.
struct Page {
    found: ListPage,
    limit: i32,
}

impl Wanted<'_> {
    async fn page(self, gateway: &Gateway) -> S3Result<Page> {
        gateway.check_bucket(self.bucket).await?;
        let limit = page_limit(self.max_keys)?;
        if limit == 0 {
            return Ok(Page { found: ListPage::default(), limit });
        }
        let delimiter = self.delimiter.filter(|delimiter| !delimiter.is_empty()).map(|delimiter| delimiter.as_bytes().to_vec());
        let request =
            ListRequest { prefix: self.prefix.as_bytes().to_vec(), after: self.after, delimiter, limit: limit.unsigned_abs() as usize };
        let found = gateway.client.list(self.bucket, &request).await.map_err(|e| error::of(Of::Bucket, e))?;
        Ok(Page { found, limit })
    }
}

impl Page {
    fn contents(&self, names: Names, owners: Option<&Owners>) -> Vec<Object> {
        let algorithms = |info: &ObjectInfo| Algorithm::all_of(&metadata::checksums(info));
        let named = |one: &Algorithm| ChecksumAlgorithm::from(one.name().to_ascii_uppercase());
        let object = |info: &ObjectInfo| Object {
            checksum_algorithm: Some(algorithms(info).iter().map(named).collect()).filter(|all: &Vec<_>| !all.is_empty()),
            checksum_type: (!algorithms(info).is_empty()).then(|| metadata::checksum_type(info)),
            key: Some(names.write(&info.name)),
            e_tag: Some(metadata::etag(info)),
            last_modified: Some(condition::modified(info)),
            size: Some(i64::try_from(info.size).unwrap_or(i64::MAX)),
            storage_class: Some(match metadata::word(info, metadata::STORAGE_CLASS) {
                Some(class) => ObjectStorageClass::from(class.to_owned()),
                None => ObjectStorageClass::from_static(ObjectStorageClass::STANDARD),
            }),
            owner: owners.map(|owners| owners.of(&info.user_metadata)),
            ..Object::default()
        };
        self.found.objects.iter().map(object).collect()
    }

    fn prefixes(&self, names: Names) -> Vec<CommonPrefix> {
        self.found.prefixes.iter().map(|prefix| CommonPrefix { prefix: Some(names.write(prefix)) }).collect()
    }

    fn entries(&self) -> i32 {
        i32::try_from(self.found.objects.len() + self.found.prefixes.len()).unwrap_or(i32::MAX)
    }
}

/// The first form.
pub async fn v1(gateway: &Gateway, req: S3Request<ListObjectsInput>) -> S3Result<ListObjectsOutput> {
    let input = req.input;
    let names = Names::of(input.encoding_type.as_ref())?;
    let prefix = input.prefix.clone().unwrap_or_default();
    let after = input.marker.clone().filter(|marker| !marker.is_empty()).map(String::into_bytes);
    let wanted = Wanted { bucket: &input.bucket, prefix: &prefix, delimiter: input.delimiter.as_deref(), after, max_keys: input.max_keys };
    let page = wanted.page(gateway).await?;
    let owners = gateway.owners(&input.bucket).await?;
    let next = page.found.next.as_deref().map(|next| names.write(next));
    Ok(ListObjectsOutput {
        contents: Some(page.contents(names, Some(&owners))),
        common_prefixes: Some(page.prefixes(names)),
        is_truncated: Some(next.is_some()),
        // Without a delimiter the last key says it, but nobody minds being told.
        next_marker: next,
        marker: Some(names.write(input.marker.unwrap_or_default().as_bytes())),
        max_keys: Some(page.limit),
        prefix: Some(names.write(prefix.as_bytes())),
        delimiter: input.delimiter.filter(|delimiter| !delimiter.is_empty()).map(|delimiter| names.write(delimiter.as_bytes())),
        encoding_type: input.encoding_type,
        name: Some(input.bucket),
        ..ListObjectsOutput::default()
    })
}

/// The second form.
pub async fn v2(gateway: &Gateway, req: S3Request<ListObjectsV2Input>) -> S3Result<ListObjectsV2Output> {
    let input = req.input;
    let names = Names::of(input.encoding_type.as_ref())?;
    let prefix = input.prefix.clone().unwrap_or_default();
    let after = match input.continuation_token.as_ref().filter(|token| !token.is_empty()) {
        Some(token) => {
            let bad = || s3_error!(InvalidArgument, "The continuation token provided is incorrect");
            Some(metadata::unhex(token).filter(|after| !after.is_empty()).ok_or_else(bad)?)
        }
        None => input.start_after.clone().filter(|after| !after.is_empty()).map(String::into_bytes),
    };
    let wanted = Wanted { bucket: &input.bucket, prefix: &prefix, delimiter: input.delimiter.as_deref(), after, max_keys: input.max_keys };
    let page = wanted.page(gateway).await?;
    let owners = if input.fetch_owner == Some(true) { Some(gateway.owners(&input.bucket).await?) } else { None };
    let next = page.found.next.as_deref().map(metadata::hex);
    Ok(ListObjectsV2Output {
        contents: Some(page.contents(names, owners.as_ref())),
        common_prefixes: Some(page.prefixes(names)),
        is_truncated: Some(next.is_some()),
        next_continuation_token: next,
        continuation_token: input.continuation_token,
        key_count: Some(page.entries()),
        max_keys: Some(page.limit),
        prefix: Some(names.write(prefix.as_bytes())),
        start_after: input.start_after.map(|after| names.write(after.as_bytes())),
        delimiter: input.delimiter.filter(|delimiter| !delimiter.is_empty()).map(|delimiter| names.write(delimiter.as_bytes())),
        encoding_type: input.encoding_type,
        name: Some(input.bucket),
        ..ListObjectsV2Output::default()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_encoded_so_that_xml_can_hold_them() {
        assert_eq!(url_encoded("a b/c+d%é\u{1}".as_bytes()), "a%20b/c%2Bd%25%C3%A9%01");
        assert_eq!(url_encoded(&[0xff]), "%FF");
    }
}
