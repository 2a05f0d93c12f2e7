//! What S3 knows of an object beside its bytes, as it lies in the object's record: the user's own words under `x-amz-meta-`, and headers
//! and sums under their own names. An object that was not written through S3 has none of it, and gets an ETag that is no MD5.

use client::ObjectInfo;
use s3s::dto::{Checksum, ChecksumType, ETag, Metadata, StorageClass, Timestamp, TimestampFormat};
use s3s::{S3Error, S3Result, s3_error};

pub use types::object::{ETAG, PART_SIZES, PART_SUMS};

use crate::access::ACL;
use crate::body::Sums;
use crate::checksum::{Algorithm, Kind};
use crate::tags::Tags;
use crate::upload::PARTS_MAX;

const USER: &str = "x-amz-meta-";
/// Of an object that was uploaded in parts: which upload it was.
pub const UPLOAD: &str = "upload";
/// The storage class that was asked for.
pub const STORAGE_CLASS: &str = "x-amz-storage-class";
/// What its checksum is made of.
pub const CHECKSUM_TYPE: &str = "checksum-type";
/// What an object without a type is.
pub const CONTENT_TYPE: &str = "binary/octet-stream";

/// Headers that come back as they were given.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Headers {
    /// `Content-Type`.
    pub content_type: Option<String>,
    /// `Cache-Control`.
    pub cache_control: Option<String>,
    /// `Content-Disposition`.
    pub content_disposition: Option<String>,
    /// `Content-Encoding`.
    pub content_encoding: Option<String>,
    /// `Content-Language`.
    pub content_language: Option<String>,
    /// `Expires`, as it was given.
    pub expires: Option<String>,
    /// `x-amz-website-redirect-location`.
    pub website_redirect_location: Option<String>,
    /// `x-amz-storage-class`, where it is not the usual one.
    pub storage_class: Option<String>,
    /// Its access control list, where it is not private to the bucket's owner.
    pub acl: Option<String>,
    /// Its tags.
    pub tags: Tags,
    /// The user's own words, without their prefix.
    pub user: Vec<(String, String)>,
}

impl Headers {
    /// The words that a record keeps of them.
    pub fn to_words(&self) -> Vec<(String, String)> {
        let own = self.named().into_iter().filter_map(|(name, value)| Some((name.to_owned(), value?.clone())));
        own.chain(self.tags.to_word()).chain(self.user.iter().map(|(key, value)| (format!("{USER}{key}"), value.clone()))).collect()
    }

    fn named(&self) -> [(&'static str, Option<&String>); 9] {
        [
            ("content-type", self.content_type.as_ref()),
            ("cache-control", self.cache_control.as_ref()),
            ("content-disposition", self.content_disposition.as_ref()),
            ("content-encoding", self.content_encoding.as_ref()),
            ("content-language", self.content_language.as_ref()),
            ("expires", self.expires.as_ref()),
            ("x-amz-website-redirect-location", self.website_redirect_location.as_ref()),
            (STORAGE_CLASS, self.storage_class.as_ref()),
            (ACL, self.acl.as_ref()),
        ]
    }

    /// The inverse of [`Self::to_words`]; words of others are passed over.
    pub fn of(info: &ObjectInfo) -> Self {
        let find = |name: &str| word(info, name).map(str::to_owned);
        let user = info.user_metadata.iter().filter_map(|(key, value)| Some((key.strip_prefix(USER)?.to_owned(), value.clone())));
        Self {
            content_type: find("content-type"),
            cache_control: find("cache-control"),
            content_disposition: find("content-disposition"),
            content_encoding: find("content-encoding"),
            content_language: find("content-language"),
            expires: find("expires"),
            website_redirect_location: find("x-amz-website-redirect-location"),
            storage_class: find(STORAGE_CLASS),
            acl: find(ACL),
            tags: Tags::of(&info.user_metadata),
            user: user.collect(),
        }
    }

    /// The user's own words in the form of the protocol.
    pub fn user_map(&self) -> Option<Metadata> {
        (!self.user.is_empty()).then(|| self.user.iter().cloned().collect())
    }

    /// `Expires` in the form of the protocol.
    pub fn expires(&self) -> Option<Timestamp> {
        Timestamp::parse(TimestampFormat::HttpDate, self.expires.as_deref()?).ok()
    }
}

/// The headers that a PUT or a COPY gives, taken out of its input: the protocol's types have these fields, and nothing in common.
macro_rules! headers_given {
    ($input:ident) => {
        $crate::metadata::Headers {
            content_type: $input.content_type.take(),
            cache_control: $input.cache_control.take(),
            content_disposition: $input.content_disposition.take(),
            content_encoding: $crate::metadata::lasting_encoding($input.content_encoding.take()),
            content_language: $input.content_language.take(),
            expires: $input.expires.take().as_ref().and_then($crate::metadata::http_date),
            website_redirect_location: $input.website_redirect_location.take(),
            storage_class: $crate::metadata::storage_class($input.storage_class.take())?,
            acl: None,
            tags: $input.tagging.take().as_deref().map($crate::tags::Tags::from_header).transpose()?.unwrap_or_default(),
            user: $crate::metadata::user_words($input.metadata.take()),
        }
    };
}
pub(crate) use headers_given;

/// The storage class that a caller names; `None` for the usual one. All are stored alike.
///
/// # Errors
/// `InvalidStorageClass` where S3 has none of that name.
pub fn storage_class(named: Option<StorageClass>) -> S3Result<Option<String>> {
    let Some(named) = named else { return Ok(None) };
    let known = [
        StorageClass::STANDARD,
        StorageClass::REDUCED_REDUNDANCY,
        StorageClass::STANDARD_IA,
        StorageClass::ONEZONE_IA,
        StorageClass::INTELLIGENT_TIERING,
        StorageClass::GLACIER,
        StorageClass::GLACIER_IR,
        StorageClass::DEEP_ARCHIVE,
    ];
    if !known.contains(&named.as_str()) {
        return Err(s3_error!(InvalidStorageClass, "The storage class you specified is not valid"));
    }
    Ok((named.as_str() != StorageClass::STANDARD).then(|| named.as_str().to_owned()))
}

/// What is said of XML that is none of S3's.
pub fn malformed() -> S3Error {
    s3_error!(MalformedXML, "The XML you provided was not well-formed or did not validate against our published schema")
}

/// A time as HTTP says it.
pub fn http_date(time: &Timestamp) -> Option<String> {
    let mut text = Vec::new();
    time.format(TimestampFormat::HttpDate, &mut text).ok()?;
    String::from_utf8(text).ok()
}

/// The encodings that stay with an object: that of a body in chunks ends with the body.
pub fn lasting_encoding(given: Option<String>) -> Option<String> {
    let given = given?;
    if !given.contains("aws-chunked") {
        return Some(given);
    }
    let lasting: Vec<&str> = given.split(',').map(str::trim).filter(|one| !one.is_empty() && *one != "aws-chunked").collect();
    (!lasting.is_empty()).then(|| lasting.join(","))
}

/// The user's own words, in an order that is always the same.
pub fn user_words(metadata: Option<Metadata>) -> Vec<(String, String)> {
    let mut words: Vec<(String, String)> = metadata.into_iter().flatten().collect();
    words.sort();
    words
}

/// The words of a record that tell the sums of its bytes.
pub fn sum_words(sums: &Sums) -> Vec<(String, String)> {
    let checksums = Algorithm::ALL.into_iter().filter_map(|one| Some((one.header(), one.of(&sums.checksums)?.clone())));
    std::iter::once((ETAG.to_owned(), hex(&sums.md5))).chain(checksums).collect()
}

/// The checksums that were kept of an object.
pub fn checksums(info: &ObjectInfo) -> Checksum {
    checksums_of(&info.user_metadata)
}

/// The checksums among words.
pub fn checksums_of(words: &[(String, String)]) -> Checksum {
    let mut sums = Checksum::default();
    for one in Algorithm::ALL {
        one.put(&mut sums, find(words, &one.header()).map(str::to_owned));
    }
    sums
}

/// What the checksum of an object is made of: its bytes, unless its record says otherwise.
pub fn checksum_type(info: &ObjectInfo) -> ChecksumType {
    let kind = word(info, CHECKSUM_TYPE).and_then(Kind::parse).unwrap_or(Kind::FullObject);
    ChecksumType::from_static(kind.name())
}

/// The ETag of an object: the MD5 of its bytes, or, where nobody computed that, a word that is another one with every PUT and that nobody
/// takes for an MD5.
pub fn etag(info: &ObjectInfo) -> ETag {
    ETag::Strong(types::object::etag(info.checksum, info.version, &info.user_metadata))
}

/// A word of an object's record.
pub fn word<'a>(info: &'a ObjectInfo, name: &str) -> Option<&'a str> {
    find(&info.user_metadata, name)
}

/// One of several words.
pub fn find<'a>(words: &'a [(String, String)], name: &str) -> Option<&'a str> {
    words.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str())
}

/// How large the parts of an object are: runs of a size, and how many there are of it. No more parts than an upload has, and not more bytes than
/// can be counted.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PartSizes(Vec<(u64, u64)>);

impl PartSizes {
    /// Of these sizes.
    pub fn of(sizes: impl Iterator<Item = u64>) -> Self {
        let mut runs: Vec<(u64, u64)> = Vec::new();
        for size in sizes {
            match runs.last_mut() {
                Some((known, count)) if *known == size => *count += 1,
                _ => runs.push((size, 1)),
            }
        }
        Self(runs)
    }

    /// Those of an object that was uploaded in parts.
    pub fn read(info: &ObjectInfo) -> Option<Self> {
        let run = |run: &str| match run.split_once('*') {
            Some((size, count)) => Some((size.parse().ok()?, count.parse().ok()?)),
            None => Some((run.parse().ok()?, 1)),
        };
        let runs: Vec<(u64, u64)> = word(info, PART_SIZES)?.split(',').map(run).collect::<Option<_>>()?;
        // Whoever can write the metadata can write anything: what cannot be is no object of parts.
        let parts = runs.iter().try_fold(0u64, |sum, (_, count)| sum.checked_add(*count))?;
        let bytes = runs.iter().try_fold(0u64, |sum, (size, count)| sum.checked_add(size.checked_mul(*count)?));
        (parts <= u64::from(PARTS_MAX) && bytes.is_some()).then_some(Self(runs))
    }

    /// The word that a record keeps: `8388608*24,77`.
    pub fn to_word(&self) -> String {
        let run = |(size, count): &(u64, u64)| if *count == 1 { size.to_string() } else { format!("{size}*{count}") };
        self.0.iter().map(run).collect::<Vec<_>>().join(",")
    }

    /// How many they are.
    pub fn count(&self) -> u64 {
        self.0.iter().map(|(_, count)| count).sum()
    }

    /// The sizes, in order.
    pub fn iter(&self) -> impl Iterator<Item = u64> + '_ {
        self.0.iter().flat_map(|(size, count)| (0..*count).map(|_| *size))
    }

    /// First byte and length of a part, by its place from 1 on.
    pub fn part(&self, place: u64) -> Option<(u64, u64)> {
        let (mut first, mut before) = (0, 0);
        for (size, count) in &self.0 {
            if (before + 1..=before + count).contains(&place) {
                return Some((first + (place - before - 1) * size, *size));
            }
            (first, before) = (first + size * count, before + count);
        }
        None
    }
}

/// Bytes in hexadecimal digits.
pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// The inverse of [`hex`].
pub fn unhex(text: &str) -> Option<Vec<u8>> {
    let digits = text.as_bytes();
    if !digits.len().is_multiple_of(2) || !digits.iter().all(u8::is_ascii_hexdigit) {
        return None;
    }
    (0..digits.len()).step_by(2).map(|at| u8::from_str_radix(&text[at..at + 2], 16).ok()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use types::Seq;

    fn info(words: Vec<(String, String)>) -> ObjectInfo {
        ObjectInfo {
            name: b"n".to_vec(),
            size: 1,
            checksum: 0xabcd,
            version: Seq(7),
            id: types::VersionId::Null,
            modified_ms: 0,
            parts: vec![],
            user_metadata: words,
        }
    }

    #[test]
    fn headers_come_back_as_they_were_given() {
        let headers = Headers {
            content_type: Some("text/plain".into()),
            cache_control: Some("no-cache".into()),
            user: vec![("a".into(), "1".into()), ("b".into(), String::new())],
            ..Headers::default()
        };
        assert_eq!(Headers::of(&info(headers.to_words())), headers);
        assert_eq!(Headers::of(&info(vec![("unknown".into(), "x".into())])), Headers::default());
    }

    #[test]
    fn the_encoding_of_chunks_ends_with_the_body() {
        let lasting = |given: &str| lasting_encoding(Some(given.to_owned()));
        assert_eq!((lasting("gzip"), lasting("aws-chunked")), (Some("gzip".into()), None));
        assert_eq!((lasting("gzip, aws-chunked"), lasting("aws-chunked,gzip")), (Some("gzip".into()), Some("gzip".into())));
    }

    #[test]
    fn a_storage_class_is_kept_where_it_is_not_the_usual_one() {
        let kept = |name: &'static str| storage_class(Some(StorageClass::from_static(name))).map_err(|error| error.code().clone());
        assert_eq!(kept("STANDARD"), Ok(None));
        assert_eq!(kept("GLACIER_IR"), Ok(Some("GLACIER_IR".into())));
        assert_eq!(kept("COLD"), Err(s3s::S3ErrorCode::InvalidStorageClass));
    }

    #[test]
    fn an_etag_is_the_md5_or_looks_like_none() {
        let sums = Sums { bytes: 1, md5: [0xab; 16], checksums: Checksum::default() };
        assert_eq!(etag(&info(sum_words(&sums))), ETag::Strong("ab".repeat(16)));
        let made = etag(&info(vec![]));
        assert!(made.value().ends_with("-1"), "{made:?}");
    }

    #[test]
    fn part_sizes_survive_their_word_and_say_where_a_part_lies() {
        let sizes = PartSizes::of([8, 8, 8, 5, 6, 6].into_iter());
        assert_eq!(sizes.to_word(), "8*3,5,6*2");
        let read = PartSizes::read(&info(vec![(PART_SIZES.into(), sizes.to_word())]));
        assert_eq!(read, Some(sizes.clone()));
        assert_eq!(sizes.count(), 6);
        assert_eq!(
            (1..=7).map(|place| sizes.part(place)).collect::<Vec<_>>(),
            [Some((0, 8)), Some((8, 8)), Some((16, 8)), Some((24, 5)), Some((29, 6)), Some((35, 6)), None]
        );
        assert_eq!(sizes.part(0), None);
        for wrong in ["8*x", "18446744073709551615*2", "0*18446744073709551615", "9*4,18446744073709551600"] {
            assert_eq!(PartSizes::read(&info(vec![(PART_SIZES.into(), wrong.into())])), None, "{wrong}");
        }
    }

    #[test]
    fn hexadecimal_digits_go_both_ways() {
        assert_eq!(unhex(&hex(b"\x00\xffk")).as_deref(), Some(&b"\x00\xffk"[..]));
        assert_eq!(unhex("0"), None);
        assert_eq!(unhex("+1"), None);
        assert_eq!(unhex("é1"), None);
    }
}
