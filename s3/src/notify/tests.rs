//! Rules of notifications.

use super::*;
use crate::records::document_of;
use s3s::dto::{FilterRule, S3KeyFilter};

fn targets() -> BTreeMap<String, Target> {
    ["a", "b"].map(|name| (name.to_owned(), Target { url: "http://x/".into(), sealed_token: None })).into()
}

fn queue(arn: &str, events: &[&str], filter: &[(&str, &str)]) -> QueueConfiguration {
    let rule = |(name, value): &(&str, &str)| FilterRule {
        name: Some(FilterRuleName::from((*name).to_owned())),
        value: Some((*value).to_owned()),
    };
    let key = S3KeyFilter { filter_rules: Some(filter.iter().map(rule).collect()) };
    QueueConfiguration {
        events: events.iter().map(|event| Event::from((*event).to_owned())).collect(),
        filter: (!filter.is_empty()).then_some(NotificationConfigurationFilter { key: Some(key) }),
        id: None,
        queue_arn: arn.to_owned(),
    }
}

fn configured(queues: Vec<QueueConfiguration>) -> S3Result<NotificationConfiguration> {
    checked(NotificationConfiguration { queue_configurations: Some(queues), ..Default::default() }, &targets())
}

fn of(queues: Vec<QueueConfiguration>) -> Notifications {
    let documents = [(BucketDocument::Notification, document_of(&configured(queues).expect("it can be kept")))].into();
    let bucket = Bucket { id: types::CatalogueId(1), owner: String::new(), created_ms: 0, seal: None, documents };
    Notifications::of("photos", &bucket, &targets()).expect("somebody is told")
}

fn words(queues: Vec<QueueConfiguration>) -> String {
    let error = configured(queues).expect_err("it is refused");
    assert_eq!(error.code(), &S3ErrorCode::InvalidArgument);
    error.message().unwrap_or_default().to_owned()
}

#[test]
fn a_target_is_told_once_of_what_its_rules_are_about() {
    let all = queue("arn:minio:sqs:us-east-1:a:webhook", &["s3:ObjectCreated:*"], &[("Prefix", "in/"), ("Suffix", ".jpg")]);
    let some = queue("arn:redoubt:sqs::b:webhook", &["s3:ObjectCreated:Copy", "s3:ObjectRemoved:*"], &[]);
    let more = queue("arn:redoubt:sqs::a:webhook", &["s3:LifecycleExpiration:Delete"], &[]);
    let rules = of(vec![all, some, more]);
    let told = |happening, name: &str| -> Vec<(String, String)> {
        rules.wishes(happening, name.as_bytes()).into_iter().map(|wish| (wish.target, wish.rule)).collect()
    };
    let wish = |target: &str, rule: &str| (target.to_owned(), rule.to_owned());
    assert_eq!(told(Happening::Copy, "in/1.jpg"), [wish("a", "rule-0"), wish("b", "rule-1")]);
    assert_eq!(told(Happening::Completed, "in/1.jpg"), [wish("a", "rule-0")]);
    assert_eq!((told(Happening::Put, "in/1.png").len(), told(Happening::Put, "out/1.jpg").len()), (0, 0));
    assert_eq!(told(Happening::Marked, "x"), [wish("b", "rule-1")]);
    assert_eq!((told(Happening::Expired, "x"), told(Happening::ExpiredMarked, "x")), (vec![wish("a", "rule-2")], vec![]));
}

#[test]
fn nobody_is_told_by_rules_whose_target_is_gone() {
    let document = document_of(&configured(vec![queue(&arn_of("a"), &["s3:ObjectRemoved:*"], &[])]).expect("kept"));
    let documents = [(BucketDocument::Notification, document)].into();
    let bucket = Bucket { id: types::CatalogueId(1), owner: String::new(), created_ms: 0, seal: None, documents };
    assert!(Notifications::of("b", &bucket, &targets()).is_some());
    assert_eq!(Notifications::of("b", &bucket, &BTreeMap::new()), None);
}

#[test]
fn what_cannot_be_kept_is_refused_in_words() {
    let put = &["s3:ObjectCreated:Put"][..];
    for arn in ["arn:redoubt:sqs::c:webhook", "arn:aws:sqs:r:1:a", "http://a/", "arn:redoubt:sqs::a:amqp", "arn:redoubt:sqs:::webhook", ""]
    {
        assert!(words(vec![queue(arn, put, &[])]).starts_with("Unable to validate"), "{arn}");
    }
    for event in ["s3:ObjectCreated", "ObjectCreated:*", "s3:*", "s3:Object*", "s3:Replication:*", "s3:ReducedRedundancyLostObject", ""] {
        assert!(words(vec![queue(&arn_of("a"), &[event], &[])]).contains("is not supported"), "{event}");
    }
    assert!(words(vec![queue(&arn_of("a"), put, &[("infix", "x")])]).contains("prefix or suffix"));
    assert!(words(vec![queue(&arn_of("a"), put, &[("prefix", "x"), ("PREFIX", "y")])]).contains("more than one prefix"));
    assert!(words(vec![queue(&arn_of("a"), put, &[("prefix", &"x".repeat(1025))])]).contains("1024"));
    let named = |id: &str, target: &str| QueueConfiguration { id: Some(id.into()), ..queue(&arn_of(target), put, &[]) };
    assert!(words(vec![named("x", "a"), named("x", "b")]).contains("IDs"));
    assert!(words(vec![queue(&arn_of("a"), put, &[]); 101]).contains("100"));
    let topic = NotificationConfiguration { topic_configurations: Some(vec![Default::default()]), ..Default::default() };
    assert!(checked(topic, &targets()).is_err());
}

#[test]
fn rules_of_one_target_may_not_be_about_the_same() {
    let with = |filter: &[(&str, &str)], target: &str, event: &str| queue(&arn_of(target), &[event], filter);
    let (put, any) = ("s3:ObjectCreated:Put", "s3:ObjectCreated:*");
    assert!(words(vec![with(&[], "a", put), with(&[("prefix", "x")], "a", any)]).starts_with("Configurations overlap"));
    assert!(words(vec![with(&[("prefix", "x")], "a", put), with(&[("suffix", "y")], "a", put)]).starts_with("Configurations overlap"));
    for apart in [
        vec![with(&[], "a", put), with(&[], "b", put)],
        vec![with(&[], "a", put), with(&[], "a", "s3:ObjectCreated:Post")],
        vec![with(&[("prefix", "x/")], "a", put), with(&[("prefix", "y/")], "a", put)],
        vec![with(&[("suffix", ".jpg")], "a", put), with(&[("suffix", ".png")], "a", put)],
    ] {
        assert!(configured(apart).is_ok());
    }
}
