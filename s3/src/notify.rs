//! Notifications of a bucket: which events are told to whom. Pure. The events themselves are rows that `node` writes with each change and
//! tells ([`Webhooks`]); their text is [`message`].

use std::collections::{BTreeMap, BTreeSet};

use s3s::dto::{Event, FilterRuleName, NotificationConfiguration, NotificationConfigurationFilter, QueueConfiguration};
use s3s::{S3Error, S3ErrorCode, S3Result};
use types::event::{Happening, Wish, is_target_name};
use types::records::{Bucket, BucketDocument, Target};

use crate::records::document;

pub mod message;
mod webhook;

pub use webhook::Webhooks;

/// Most rules of a bucket, as S3 has it.
const RULES_MAX: usize = 100;
/// Longest name of a rule, in characters.
const ID_MAX: usize = 255;
/// Longest prefix or suffix, in bytes, as names of objects have it.
const FILTER_BYTES_MAX: usize = 1024;
/// What events of S3 begin with.
const SERVICE: &str = "s3:";

/// Whom a bucket's events are told to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Notifications {
    /// The bucket's name.
    pub bucket: String,
    rules: Vec<Rule>,
}

/// One rule.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Rule {
    id: String,
    target: String,
    happenings: BTreeSet<Happening>,
    prefix: String,
    suffix: String,
}

impl Notifications {
    /// Of a bucket, as far as its targets are there; `None` where nobody is told anything.
    pub fn of(name: &str, bucket: &Bucket, targets: &BTreeMap<String, Target>) -> Option<Self> {
        let configured = document::<NotificationConfiguration>(bucket, BucketDocument::Notification).ok().flatten()?;
        let rules = configured.queue_configurations.iter().flatten().filter_map(|queue| Rule::of(queue).ok());
        let rules: Vec<Rule> = rules.filter(|rule| targets.contains_key(&rule.target)).collect();
        (!rules.is_empty()).then(|| Self { bucket: name.to_owned(), rules })
    }

    /// Who wants to be told that this happened to an object of that name; each target once.
    pub fn wishes(&self, happening: Happening, name: &[u8]) -> Vec<Wish> {
        let mut wishes: Vec<Wish> = Vec::new();
        for rule in self.rules.iter().filter(|rule| rule.fits(happening, name)) {
            if wishes.iter().all(|wish| wish.target != rule.target) {
                wishes.push(Wish { target: rule.target.clone(), rule: rule.id.clone() });
            }
        }
        wishes
    }
}

impl Rule {
    /// What a configuration says; an error where that makes no sense.
    fn of(queue: &QueueConfiguration) -> S3Result<Self> {
        let target = target_of(&queue.queue_arn).ok_or_else(unknown_target)?.to_owned();
        let mut happenings = BTreeSet::new();
        for event in &queue.events {
            happenings.extend(happenings_of(event)?);
        }
        let (prefix, suffix) = affixes(queue.filter.as_ref())?;
        Ok(Self { id: queue.id.clone().unwrap_or_default(), target, happenings, prefix, suffix })
    }

    fn fits(&self, happening: Happening, name: &[u8]) -> bool {
        self.happenings.contains(&happening) && name.starts_with(self.prefix.as_bytes()) && name.ends_with(self.suffix.as_bytes())
    }

    /// Whether there can be something that both are about.
    fn overlaps(&self, other: &Self) -> bool {
        let either = |a: &str, b: &str, begins: fn(&str, &str) -> bool| begins(a, b) || begins(b, a);
        !self.happenings.is_disjoint(&other.happenings)
            && either(&self.prefix, &other.prefix, |a, b| a.starts_with(b))
            && either(&self.suffix, &other.suffix, |a, b| a.ends_with(b))
    }
}

/// The target that an ARN names: `arn:redoubt:sqs::NAME:webhook`, or as MinIO has it.
pub fn target_of(arn: &str) -> Option<&str> {
    let parts: Vec<&str> = arn.split(':').collect();
    match parts[..] {
        ["arn", "redoubt" | "minio", "sqs", _region, name, "webhook"] if is_target_name(name) => Some(name),
        _ => None,
    }
}

/// The ARN of a target.
pub fn arn_of(target: &str) -> String {
    format!("arn:redoubt:sqs::{target}:webhook")
}

/// What an event of a configuration stands for. One of AWS that never happens here is no error where it is one of a kind that does.
fn happenings_of(event: &Event) -> S3Result<Vec<Happening>> {
    let text = event.as_ref();
    let unsupported = || invalid(format!("The event '{text}' is not supported for notifications"));
    let name = text.strip_prefix(SERVICE).ok_or_else(unsupported)?;
    let found: Vec<Happening> = match name.strip_suffix('*') {
        Some(kind) if kind.ends_with(':') => Happening::ALL.into_iter().filter(|happening| happening.name().starts_with(kind)).collect(),
        _ => Happening::ALL.into_iter().filter(|happening| happening.name() == name).collect(),
    };
    if found.is_empty() { Err(unsupported()) } else { Ok(found) }
}

/// Prefix and suffix of a filter.
fn affixes(filter: Option<&NotificationConfigurationFilter>) -> S3Result<(String, String)> {
    let (mut prefix, mut suffix) = (None, None);
    let rules = filter.and_then(|filter| filter.key.as_ref()).and_then(|key| key.filter_rules.as_ref());
    for rule in rules.into_iter().flatten() {
        let name = rule.name.as_ref().map(|name| name.as_str().to_ascii_lowercase()).unwrap_or_default();
        let place = match name.as_str() {
            FilterRuleName::PREFIX => &mut prefix,
            FilterRuleName::SUFFIX => &mut suffix,
            _ => return Err(invalid("filter rule name must be either prefix or suffix")),
        };
        let value = rule.value.clone().unwrap_or_default();
        if value.len() > FILTER_BYTES_MAX {
            return Err(invalid("filter rule value cannot exceed 1024 characters"));
        }
        if place.replace(value).is_some() {
            return Err(invalid(format!("Cannot specify more than one {name} rule in a filter.")));
        }
    }
    Ok((prefix.unwrap_or_default(), suffix.unwrap_or_default()))
}

fn invalid(words: impl Into<std::borrow::Cow<'static, str>>) -> S3Error {
    S3Error::with_message(S3ErrorCode::InvalidArgument, words)
}

fn unknown_target() -> S3Error {
    invalid("Unable to validate the following destination configurations")
}

/// Whether a configuration can be kept, with a name for each rule that has none. Targets are those that an operator made, and no others.
///
/// # Errors
/// `InvalidArgument`, with what is wrong.
pub fn checked(mut wanted: NotificationConfiguration, targets: &BTreeMap<String, Target>) -> S3Result<NotificationConfiguration> {
    let is_some = |count: Option<usize>| count.is_some_and(|count| count > 0);
    if is_some(wanted.topic_configurations.as_ref().map(Vec::len))
        || is_some(wanted.lambda_function_configurations.as_ref().map(Vec::len))
        || wanted.event_bridge_configuration.is_some()
    {
        return Err(unknown_target());
    }
    let queues = wanted.queue_configurations.get_or_insert_default();
    if queues.len() > RULES_MAX {
        return Err(invalid("The number of notification configurations exceeds the limit of 100."));
    }
    let mut names = BTreeSet::new();
    for id in queues.iter().filter_map(|queue| queue.id.as_ref()).filter(|id| !id.is_empty()) {
        if id.chars().count() > ID_MAX || !names.insert(id.clone()) {
            return Err(invalid("Configuration IDs have at most 255 characters, and each is another one."));
        }
    }
    let mut rules: Vec<Rule> = Vec::new();
    for (number, queue) in queues.iter_mut().enumerate() {
        if queue.id.as_deref().is_none_or(str::is_empty) {
            let made = |attempt: usize| if attempt == 0 { format!("rule-{number}") } else { format!("rule-{number}-{attempt}") };
            queue.id = (0..).map(made).find(|id| names.insert(id.clone()));
        }
        let rule = Rule::of(queue)?;
        if !targets.contains_key(&rule.target) {
            return Err(unknown_target());
        }
        // Two targets may be told of the same.
        if rules.iter().any(|other| other.target == rule.target && other.overlaps(&rule)) {
            let words = "Configurations overlap. Configurations on the same bucket cannot share a common event type.";
            return Err(invalid(words));
        }
        rules.push(rule);
    }
    Ok(wanted)
}

#[cfg(test)]
mod tests;
