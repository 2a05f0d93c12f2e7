//! The rules of a bucket as they are followed: what they say of one object, version, delete marker or upload.

use s3s::dto::{BucketLifecycleConfiguration, ExpirationStatus, LifecycleRule};
use types::records::{Bucket, BucketDocument};

use crate::condition::{at_ms, ms_of};
use crate::metadata::http_date;
use crate::records::document;
use crate::tags::Tags;

/// Milliseconds of a day.
pub const DAY_MS: u64 = 24 * 60 * 60 * 1000;

/// The rules of a bucket that are in force.
#[derive(Clone, Debug, Default)]
pub struct Lifecycle {
    rules: Vec<Rule>,
    /// How long a day is, in milliseconds.
    day_ms: u64,
}

/// One of them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Rule {
    id: String,
    prefix: Vec<u8>,
    tags: Vec<(String, String)>,
    greater_than: Option<u64>,
    less_than: Option<u64>,
    expiry: Option<Expiry>,
    /// Whether a delete marker goes that stands for nothing any more.
    markers: bool,
    noncurrent_days: Option<u64>,
    newer_kept: u64,
    abort_days: Option<u64>,
}

/// When an object goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Expiry {
    /// So many days after it was written.
    Days(u64),
    /// At this wall clock.
    At(u64),
}

impl Lifecycle {
    /// Those of a bucket; `None` where none is in force. A day has that many milliseconds.
    pub fn of(bucket: &Bucket, day_ms: u64) -> Option<Self> {
        // What cannot be read is in the log already.
        let configuration = document::<BucketLifecycleConfiguration>(bucket, BucketDocument::Lifecycle).ok().flatten()?;
        let is_enabled = |rule: &&LifecycleRule| rule.status.as_str() == ExpirationStatus::ENABLED;
        let rules: Vec<Rule> = configuration.rules.iter().filter(is_enabled).map(Rule::of).collect();
        (!rules.is_empty()).then_some(Self { rules, day_ms })
    }

    /// When the current object of that name goes, and by which rule.
    pub fn expiry(&self, name: &[u8], size: u64, words: &[(String, String)], modified_ms: u64) -> Option<(u64, &str)> {
        let of = |rule: &Rule| match rule.expiry? {
            Expiry::Days(days) => Some(self.after(modified_ms, days)),
            Expiry::At(at_ms) => Some(at_ms),
        };
        let matching = self.rules.iter().filter(|rule| rule.holds(name, Some((size, words))));
        matching.filter_map(|rule| Some((of(rule)?, rule.id.as_str()))).min_by_key(|(at_ms, _)| *at_ms)
    }

    /// The same in the form of the header `x-amz-expiration`.
    pub fn header(&self, name: &[u8], size: u64, words: &[(String, String)], modified_ms: u64) -> Option<String> {
        let (expiry_ms, id) = self.expiry(name, size, words, modified_ms)?;
        Some(format!("expiry-date=\"{}\", rule-id=\"{id}\"", http_date(&at_ms(expiry_ms))?))
    }

    /// Whether a version goes now that was replaced then, and of whose name so many newer ones are not current either.
    pub fn noncurrent_goes(&self, name: &[u8], size: u64, words: &[(String, String)], replaced_ms: u64, newer: u64, now_ms: u64) -> bool {
        let goes =
            |rule: &Rule| rule.noncurrent_days.is_some_and(|days| newer >= rule.newer_kept && self.after(replaced_ms, days) <= now_ms);
        self.rules.iter().any(|rule| goes(rule) && rule.holds(name, Some((size, words))))
    }

    /// Whether a noncurrent delete marker goes now.
    pub fn noncurrent_marker_goes(&self, name: &[u8], replaced_ms: u64, newer: u64, now_ms: u64) -> bool {
        let goes =
            |rule: &Rule| rule.noncurrent_days.is_some_and(|days| newer >= rule.newer_kept && self.after(replaced_ms, days) <= now_ms);
        self.rules.iter().any(|rule| goes(rule) && rule.holds(name, None))
    }

    /// Whether a delete marker goes now that is the only version of its name.
    pub fn marker_goes(&self, name: &[u8], modified_ms: u64, now_ms: u64) -> bool {
        let goes = |rule: &Rule| match rule.expiry {
            _ if rule.markers => true,
            Some(Expiry::Days(days)) => self.after(modified_ms, days) <= now_ms,
            Some(Expiry::At(at_ms)) => at_ms <= now_ms,
            None => false,
        };
        self.rules.iter().any(|rule| goes(rule) && rule.holds(name, None))
    }

    /// Whether an upload that began then is given up now.
    pub fn upload_goes(&self, name: &[u8], began_ms: u64, now_ms: u64) -> bool {
        let goes = |rule: &Rule| rule.abort_days.is_some_and(|days| self.after(began_ms, days) <= now_ms);
        self.rules.iter().any(|rule| goes(rule) && rule.holds(name, None))
    }

    /// So many days later: at the next midnight, as S3 has it, unless days are shorter than real ones.
    fn after(&self, ms: u64, days: u64) -> u64 {
        let at_ms = ms.saturating_add(days.saturating_mul(self.day_ms));
        if self.day_ms == DAY_MS { at_ms.div_ceil(DAY_MS).saturating_mul(DAY_MS) } else { at_ms }
    }
}

impl Rule {
    fn of(rule: &LifecycleRule) -> Self {
        let filter = rule.filter.as_ref();
        let and = filter.and_then(|filter| filter.and.as_ref());
        let prefix = rule.prefix.as_ref().or_else(|| filter?.prefix.as_ref()).filter(|prefix| !prefix.is_empty());
        let prefix = prefix.or_else(|| and?.prefix.as_ref()).cloned().unwrap_or_default();
        let tags = and.iter().flat_map(|and| and.tags.iter().flatten()).chain(filter.and_then(|filter| filter.tag.as_ref()));
        let size = |size: Option<i64>| size.and_then(|size| u64::try_from(size).ok());
        let days = |days: Option<i32>| days.and_then(|days| u64::try_from(days).ok());
        let expiration = rule.expiration.as_ref();
        let at = || expiration?.date.as_ref().map(|date| Expiry::At(ms_of(date)));
        let noncurrent = rule.noncurrent_version_expiration.as_ref();
        Self {
            id: rule.id.clone().unwrap_or_default(),
            prefix: prefix.into_bytes(),
            tags: tags.map(|tag| (tag.key.clone().unwrap_or_default(), tag.value.clone().unwrap_or_default())).collect(),
            greater_than: size(filter.and_then(|filter| filter.object_size_greater_than).or_else(|| and?.object_size_greater_than)),
            less_than: size(filter.and_then(|filter| filter.object_size_less_than).or_else(|| and?.object_size_less_than)),
            expiry: days(expiration.and_then(|expiration| expiration.days)).map(Expiry::Days).or_else(at),
            markers: expiration.and_then(|expiration| expiration.expired_object_delete_marker) == Some(true),
            noncurrent_days: days(noncurrent.and_then(|noncurrent| noncurrent.noncurrent_days)),
            newer_kept: days(noncurrent.and_then(|noncurrent| noncurrent.newer_noncurrent_versions)).unwrap_or(0),
            abort_days: days(rule.abort_incomplete_multipart_upload.as_ref().and_then(|abort| abort.days_after_initiation)),
        }
    }

    /// Whether it is about this: by its name, and, of an object, by its size and tags. What is no object has neither.
    fn holds(&self, name: &[u8], object: Option<(u64, &[(String, String)])>) -> bool {
        if !name.starts_with(&self.prefix) {
            return false;
        }
        let Some((size, words)) = object else {
            return self.tags.is_empty() && self.greater_than.is_none() && self.less_than.is_none();
        };
        self.greater_than.is_none_or(|bound| size > bound)
            && self.less_than.is_none_or(|bound| size < bound)
            && (self.tags.is_empty() || Tags::of(words).holds(&self.tags))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lifecycle(rule: Rule, day_ms: u64) -> Lifecycle {
        Lifecycle { rules: vec![rule], day_ms }
    }

    #[test]
    fn an_object_goes_at_the_midnight_after_its_days_and_by_the_earliest_rule() {
        let rule = |id: &str, days| Rule { id: id.into(), expiry: Some(Expiry::Days(days)), ..Rule::default() };
        let both = Lifecycle { rules: vec![rule("late", 3), rule("soon", 1)], day_ms: DAY_MS };
        assert_eq!(both.expiry(b"n", 0, &[], 5), Some((2 * DAY_MS, "soon")));
        assert_eq!(both.expiry(b"n", 0, &[], 0), Some((DAY_MS, "soon")));
        let header = both.header(b"n", 0, &[], 5);
        assert_eq!(header.as_deref(), Some("expiry-date=\"Sat, 03 Jan 1970 00:00:00 GMT\", rule-id=\"soon\""));
        let short = lifecycle(rule("short", 2), 10);
        assert_eq!(short.expiry(b"n", 0, &[], 7), Some((27, "short")));
    }

    #[test]
    fn a_rule_is_about_what_its_filter_names() {
        let tags = vec![("k".to_owned(), "v".to_owned())];
        let words = [(crate::tags::TAGS.to_owned(), "k=v&x=y".to_owned())];
        let (greater_than, less_than) = (Some(10), Some(20));
        let rule = Rule { prefix: b"logs/".to_vec(), tags, greater_than, less_than, expiry: Some(Expiry::At(9)), ..Rule::default() };
        let of = lifecycle(rule, DAY_MS);
        let goes = |name: &[u8], size, words: &[(String, String)]| of.expiry(name, size, words, 0).is_some();
        assert!(goes(b"logs/a", 11, &words) && goes(b"logs/a", 19, &words));
        assert!(!goes(b"log", 11, &words) && !goes(b"logs/a", 10, &words) && !goes(b"logs/a", 20, &words) && !goes(b"logs/a", 11, &[]));
        assert!(!of.marker_goes(b"logs/a", 0, 99), "a delete marker has no tags");
    }

    #[test]
    fn versions_markers_and_uploads_go_by_their_own_rules() {
        let rule = Rule { noncurrent_days: Some(2), newer_kept: 1, abort_days: Some(1), markers: true, ..Rule::default() };
        let of = lifecycle(rule, 10);
        assert!(of.noncurrent_goes(b"n", 0, &[], 5, 1, 25) && !of.noncurrent_goes(b"n", 0, &[], 5, 1, 24));
        assert!(!of.noncurrent_goes(b"n", 0, &[], 5, 0, 99), "so many newer ones stay");
        assert!(of.noncurrent_marker_goes(b"n", 5, 1, 25));
        assert!(of.marker_goes(b"n", 0, 0) && of.upload_goes(b"n", 3, 13) && !of.upload_goes(b"n", 3, 12));
        assert_eq!(of.expiry(b"n", 0, &[], 0), None);
    }
}
