//! Tags of objects: as a header or as XML gives them, checked as S3 does, and as the record keeps them.

use s3s::dto::Tag;
use s3s::{S3Error, S3ErrorCode, S3Result, s3_error};

/// The word of a record that holds them, in the form of the header.
pub const TAGS: &str = "x-amz-tagging";
/// Most tags of an object, as S3 has it.
pub const TAGS_MAX: usize = 10;
/// Most tags of a bucket, as S3 has it.
const BUCKET_TAGS_MAX: usize = 50;
/// Longest key of a tag, in characters.
const KEY_MAX: usize = 128;
/// Longest value of a tag, in characters.
const VALUE_MAX: usize = 256;

/// Tags, in their order.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tags(Vec<(String, String)>);

impl Tags {
    /// From a header: `key=value&key=value`, percent-encoded.
    ///
    /// # Errors
    /// As S3 has them: `InvalidArgument`, `BadRequest`, `InvalidTag`.
    pub fn from_header(header: &str) -> S3Result<Self> {
        let invalid = || {
            s3_error!(
                InvalidArgument,
                "The header 'x-amz-tagging' shall be encoded as UTF-8 then URLEncoded URL query parameters without tag name duplicates."
            )
        };
        let mut tags = Vec::new();
        for pair in header.split('&').filter(|pair| !pair.is_empty()) {
            let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
            tags.push((decoded(key).ok_or_else(invalid)?, decoded(value).ok_or_else(invalid)?));
        }
        Self(tags).checked(TAGS_MAX)
    }

    /// Those of a bucket, from XML.
    ///
    /// # Errors
    /// As [`Self::from_header`].
    pub fn of_bucket(tags: Vec<Tag>) -> S3Result<Self> {
        let tags = tags.into_iter().map(|tag| (tag.key.unwrap_or_default(), tag.value.unwrap_or_default()));
        Self(tags.collect()).checked(BUCKET_TAGS_MAX)
    }

    /// From XML.
    ///
    /// # Errors
    /// As [`Self::from_header`].
    pub fn from_xml(tags: Vec<Tag>) -> S3Result<Self> {
        let tags = tags.into_iter().map(|tag| (tag.key.unwrap_or_default(), tag.value.unwrap_or_default()));
        Self(tags.collect()).checked(TAGS_MAX)
    }

    /// As XML.
    pub fn to_xml(&self) -> Vec<Tag> {
        self.0.iter().map(|(key, value)| Tag { key: Some(key.clone()), value: Some(value.clone()) }).collect()
    }

    /// The word of a record; `None` where there are none.
    pub fn to_word(&self) -> Option<(String, String)> {
        let pairs: Vec<String> = self.0.iter().map(|(key, value)| format!("{}={}", encoded(key), encoded(value))).collect();
        (!pairs.is_empty()).then(|| (TAGS.to_owned(), pairs.join("&")))
    }

    /// Those of a record.
    pub fn of(words: &[(String, String)]) -> Self {
        let word = crate::metadata::find(words, TAGS).unwrap_or_default();
        Self::from_header(word).unwrap_or_default()
    }

    /// Whether all of these are among them.
    pub fn holds(&self, wanted: &[(String, String)]) -> bool {
        wanted.iter().all(|tag| self.0.contains(tag))
    }

    /// The value of one, whatever the case of its key: conditions of policies have none.
    pub fn value_of(&self, key: &str) -> Option<&str> {
        self.0.iter().find(|(known, _)| known.eq_ignore_ascii_case(key)).map(|(_, value)| value.as_str())
    }

    /// Their keys.
    pub fn keys(&self) -> Vec<String> {
        self.0.iter().map(|(key, _)| key.clone()).collect()
    }

    /// How many they are; `None` for none.
    pub fn count(&self) -> Option<i32> {
        i32::try_from(self.0.len()).ok().filter(|count| *count > 0)
    }

    fn checked(self, most: usize) -> S3Result<Self> {
        if self.0.len() > most {
            let mut error = S3Error::with_message(
                bad_request(),
                format!("{} tags cannot be greater than {most}", if most == TAGS_MAX { "Object" } else { "Bucket" }),
            );
            error.set_status_code(hyper::StatusCode::BAD_REQUEST);
            return Err(error);
        }
        for (at, (key, value)) in self.0.iter().enumerate() {
            if key.is_empty() || key.chars().count() > KEY_MAX || !key.chars().all(is_allowed) {
                return Err(s3_error!(InvalidTag, "The TagKey you have provided is invalid"));
            }
            if value.chars().count() > VALUE_MAX || !value.chars().all(is_allowed) {
                return Err(s3_error!(InvalidTag, "The TagValue you have provided is invalid"));
            }
            if key.starts_with("aws:") {
                return Err(s3_error!(InvalidTag, "System tags cannot be added/updated by requester"));
            }
            if self.0[..at].iter().any(|(known, _)| known == key) {
                return Err(s3_error!(InvalidTag, "Cannot provide multiple Tags with the same key"));
            }
        }
        Ok(self)
    }
}

/// A code of S3's that `s3s` has no name for.
fn bad_request() -> S3ErrorCode {
    S3ErrorCode::Custom("BadRequest".into())
}

/// What S3 lets a tag be made of.
fn is_allowed(character: char) -> bool {
    character.is_alphanumeric() || character.is_whitespace() || "+-=._:/@".contains(character)
}

/// Text as it stands in a query.
pub fn encoded(text: &str) -> String {
    let byte = |byte: u8| match byte {
        b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'_' | b'.' => char::from(byte).to_string(),
        byte => format!("%{byte:02X}"),
    };
    text.bytes().map(byte).collect()
}

/// Text of a query: `+` is a space.
pub fn decoded(text: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((&first, others)) = rest.split_first() {
        rest = others;
        bytes.push(match first {
            b'+' => b' ',
            b'%' => {
                let (digits, others) = rest.split_at_checked(2)?;
                rest = others;
                *crate::metadata::unhex(std::str::from_utf8(digits).ok()?)?.first()?
            }
            other => other,
        });
    }
    String::from_utf8(bytes).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn code(header: &str) -> Option<S3ErrorCode> {
        Tags::from_header(header).err().map(|error| error.code().clone())
    }

    #[test]
    fn tags_survive_their_word() {
        let tags = Tags::from_header("a=1&b%20c=%C3%A9+d&e").expect("they are good");
        assert_eq!(tags.0, [("a".into(), "1".into()), ("b c".into(), "é d".into()), ("e".into(), String::new())]);
        assert_eq!(Tags::of(&[tags.to_word().expect("has some")]), tags);
        assert_eq!(Tags::from_xml(tags.to_xml()).ok(), Some(tags.clone()));
        assert_eq!((tags.count(), Tags::default().count(), Tags::default().to_word()), (Some(3), None, None));
    }

    #[test]
    fn what_s3_refuses_is_refused() {
        let many = |count: usize| (0..count).map(|number| format!("k{number}=v")).collect::<Vec<_>>().join("&");
        assert_eq!(code(&many(10)), None);
        assert_eq!(code(&many(11)), Some(bad_request()));
        assert_eq!(code("a=1&a=2"), Some(S3ErrorCode::InvalidTag));
        assert_eq!(code("aws:x=1"), Some(S3ErrorCode::InvalidTag));
        assert_eq!(code(&format!("{}=1", "k".repeat(129))), Some(S3ErrorCode::InvalidTag));
        assert_eq!(code(&format!("k={}", "v".repeat(257))), Some(S3ErrorCode::InvalidTag));
        assert_eq!(code(&format!("{}={}", "k".repeat(128), "v".repeat(256))), None);
        assert_eq!(code("k=%zz"), Some(S3ErrorCode::InvalidArgument));
    }
}
