//! Policies by tables.

use super::*;

/// A request with some condition keys.
struct Known(&'static [(&'static str, &'static str)]);

impl Context for Known {
    fn values(&self, key: &str) -> Vec<String> {
        self.0.iter().filter(|(known, _)| *known == key).map(|(_, value)| (*value).to_owned()).collect()
    }
}

fn policy(statement: &str) -> Policy {
    Policy::parse(&format!(r#"{{"Version":"2012-10-17","Statement":[{statement}]}}"#)).expect("a policy")
}

fn verdict(policy: &Policy, who: Who<'_>, action: &str, resource: &str, known: &'static [(&'static str, &'static str)]) -> Verdict {
    policy.verdict(Asked { who, action, resource: &format!("arn:aws:s3:::{resource}") }, &Known(known))
}

/// Condition keys with their values.
type Given = &'static [(&'static str, &'static str)];

const ANN: Who<'static> = Who::Account("ann");

#[test]
fn a_statement_applies_to_its_principals_actions_and_resources() {
    let table = [
        (r#""Principal":"*","Action":"s3:GetObject","Resource":"arn:aws:s3:::b/*""#, Who::Anonymous, "s3:GetObject", "b/k", Verdict::Allow),
        (r#""Principal":"*","Action":"s3:GetObject","Resource":"arn:aws:s3:::b/*""#, ANN, "s3:PutObject", "b/k", Verdict::Silent),
        (r#""Principal":"*","Action":"s3:GetObject","Resource":"arn:aws:s3:::b/*""#, ANN, "s3:GetObject", "c/k", Verdict::Silent),
        (r#""Principal":{"AWS":"*"},"Action":"*","Resource":"*""#, Who::Anonymous, "s3:ListBucket", "b", Verdict::Allow),
        (r#""Principal":{"AWS":["arn:aws:iam:::user/ann"]},"Action":"s3:*","Resource":"*""#, ANN, "s3:GetObject", "b/k", Verdict::Allow),
        (r#""Principal":{"AWS":"arn:aws:iam::t:user/p/ann"},"Action":"s3:*","Resource":"*""#, ANN, "s3:GetObject", "b/k", Verdict::Allow),
        (r#""Principal":{"AWS":"arn:aws:iam::ann:root"},"Action":"s3:*","Resource":"*""#, ANN, "s3:GetObject", "b/k", Verdict::Allow),
        (r#""Principal":{"AWS":"ann"},"Action":"s3:getobj*","Resource":"*""#, ANN, "s3:GetObject", "b/k", Verdict::Allow),
        (r#""Principal":{"AWS":"bob"},"Action":"s3:*","Resource":"*""#, ANN, "s3:GetObject", "b/k", Verdict::Silent),
        (r#""Principal":{"AWS":"ann"},"Action":"s3:*","Resource":"*""#, Who::Anonymous, "s3:GetObject", "b/k", Verdict::Silent),
        (r#""NotPrincipal":{"AWS":"bob"},"Action":"s3:*","Resource":"*""#, ANN, "s3:GetObject", "b/k", Verdict::Allow),
        (r#""Principal":"*","NotAction":"s3:Delete*","Resource":"*""#, ANN, "s3:DeleteObject", "b/k", Verdict::Silent),
        (r#""Principal":"*","Action":"s3:*","NotResource":"arn:aws:s3:::b/secret/*""#, ANN, "s3:GetObject", "b/secret/k", Verdict::Silent),
        (
            r#""Principal":"*","Action":"s3:*","Resource":"arn:aws:s3:::b/home/${aws:username}/*""#,
            ANN,
            "s3:GetObject",
            "b/home/ann/k",
            Verdict::Allow,
        ),
        (
            r#""Principal":"*","Action":"s3:*","Resource":"arn:aws:s3:::b/home/${aws:username}/*""#,
            ANN,
            "s3:GetObject",
            "b/home/bob/k",
            Verdict::Silent,
        ),
    ];
    for (statement, who, action, resource, expected) in table {
        let policy = policy(&format!(r#"{{"Effect":"Allow",{statement}}}"#));
        assert_eq!(
            verdict(&policy, who, action, resource, &[("aws:username", "ann")]),
            expected,
            "{statement} {who:?} {action} {resource}"
        );
    }
}

#[test]
fn what_is_denied_is_denied_whatever_allows_it() {
    let both = policy(
        r#"{"Effect":"Allow","Principal":"*","Action":"s3:*","Resource":"*"},
           {"Effect":"Deny","Principal":"*","Action":"s3:PutObject","Resource":"arn:aws:s3:::b/*","Condition":{"Null":{"s3:x-amz-server-side-encryption":"true"}}}"#,
    );
    assert_eq!(verdict(&both, ANN, "s3:PutObject", "b/k", &[]), Verdict::Deny);
    assert_eq!(verdict(&both, ANN, "s3:PutObject", "b/k", &[("s3:x-amz-server-side-encryption", "AES256")]), Verdict::Allow);
    assert_eq!(verdict(&both, ANN, "s3:GetObject", "b/k", &[]), Verdict::Allow);
}

#[test]
fn conditions_hold_as_their_operators_say() {
    let table: &[(&str, Given, bool)] = &[
        (r#"{"StringEquals":{"s3:prefix":"a"}}"#, &[("s3:prefix", "a")], true),
        (r#"{"StringEquals":{"s3:prefix":["x","a"]}}"#, &[("s3:prefix", "a")], true),
        (r#"{"StringEquals":{"s3:prefix":"a"}}"#, &[("s3:prefix", "A")], false),
        (r#"{"StringEquals":{"s3:prefix":"a"}}"#, &[], false),
        (r#"{"StringEquals":{"S3:Prefix":"a"}}"#, &[("s3:prefix", "a")], true),
        (r#"{"StringEqualsIfExists":{"s3:prefix":"a"}}"#, &[], true),
        (r#"{"StringEqualsIfExists":{"s3:prefix":"a"}}"#, &[("s3:prefix", "b")], false),
        (r#"{"StringNotEquals":{"s3:prefix":"a"}}"#, &[], true),
        (r#"{"StringNotEquals":{"s3:prefix":["a","b"]}}"#, &[("s3:prefix", "b")], false),
        (r#"{"StringEqualsIgnoreCase":{"s3:prefix":"A"}}"#, &[("s3:prefix", "a")], true),
        (r#"{"StringLike":{"s3:prefix":"a*"}}"#, &[("s3:prefix", "abc")], true),
        (r#"{"StringNotLike":{"s3:prefix":"a*"}}"#, &[("s3:prefix", "abc")], false),
        (r#"{"NumericLessThanEquals":{"s3:max-keys":10}}"#, &[("s3:max-keys", "10")], true),
        (r#"{"NumericLessThan":{"s3:max-keys":"10"}}"#, &[("s3:max-keys", "10")], false),
        (r#"{"NumericGreaterThan":{"s3:max-keys":"10"}}"#, &[("s3:max-keys", "9")], false),
        (r#"{"NumericNotEquals":{"s3:max-keys":"10"}}"#, &[("s3:max-keys", "9")], true),
        (r#"{"Bool":{"aws:SecureTransport":true}}"#, &[("aws:securetransport", "true")], true),
        (r#"{"Bool":{"aws:SecureTransport":"false"}}"#, &[("aws:securetransport", "true")], false),
        (r#"{"IpAddress":{"aws:SourceIp":"10.0.0.0/8"}}"#, &[("aws:sourceip", "10.1.2.3")], true),
        (r#"{"IpAddress":{"aws:SourceIp":"10.0.0.0/8"}}"#, &[("aws:sourceip", "11.1.2.3")], false),
        (r#"{"IpAddress":{"aws:SourceIp":"0.0.0.0/0"}}"#, &[("aws:sourceip", "11.1.2.3")], true),
        (r#"{"NotIpAddress":{"aws:SourceIp":"10.0.0.1"}}"#, &[("aws:sourceip", "10.0.0.2")], true),
        (r#"{"IpAddress":{"aws:SourceIp":"fd00::/8"}}"#, &[("aws:sourceip", "fd12::1")], true),
        (r#"{"IpAddress":{"aws:SourceIp":"127.0.0.0/8"}}"#, &[("aws:sourceip", "::ffff:127.0.0.1")], true),
        (r#"{"DateGreaterThan":{"aws:CurrentTime":"2026-01-01T00:00:00Z"}}"#, &[("aws:currenttime", "2026-06-01T00:00:00Z")], true),
        (r#"{"DateLessThan":{"aws:CurrentTime":"2026-01-01"}}"#, &[("aws:currenttime", "2026-06-01T00:00:00Z")], false),
        (r#"{"Null":{"s3:prefix":"true"}}"#, &[], true),
        (r#"{"Null":{"s3:prefix":"false"}}"#, &[], false),
        (
            r#"{"ForAllValues:StringEquals":{"s3:RequestObjectTagKeys":["a","b"]}}"#,
            &[("s3:requestobjecttagkeys", "a"), ("s3:requestobjecttagkeys", "c")],
            false,
        ),
        (r#"{"ForAllValues:StringEquals":{"s3:RequestObjectTagKeys":["a","b"]}}"#, &[("s3:requestobjecttagkeys", "a")], true),
        (
            r#"{"ForAnyValue:StringEquals":{"s3:RequestObjectTagKeys":["a","b"]}}"#,
            &[("s3:requestobjecttagkeys", "a"), ("s3:requestobjecttagkeys", "c")],
            true,
        ),
        (r#"{"StringEquals":{"s3:ExistingObjectTag/security":"public"}}"#, &[("s3:existingobjecttag/security", "public")], true),
        (r#"{"StringEquals":{"a":"1"},"StringLike":{"b":"2*"}}"#, &[("a", "1"), ("b", "3")], false),
    ];
    for (condition, known, expected) in table {
        let policy = policy(&format!(r#"{{"Effect":"Allow","Principal":"*","Action":"*","Resource":"*","Condition":{condition}}}"#));
        assert_eq!(verdict(&policy, ANN, "s3:ListBucket", "b", known) == Verdict::Allow, *expected, "{condition} {known:?}");
    }
}

#[test]
fn what_is_not_understood_is_refused() {
    let good = r#""Effect":"Allow","Principal":"*","Action":"s3:*","Resource":"*""#;
    let table = [
        "",
        "[]",
        "{}",
        r#"{"Statement":[]}"#,
        r#"{"Version":"2020-01-01","Statement":{"Effect":"Allow","Principal":"*","Action":"s3:*","Resource":"*"}}"#,
        r#"{"Statement":{"Effect":"Perhaps","Principal":"*","Action":"s3:*","Resource":"*"}}"#,
        r#"{"Statement":{"Effect":"Allow","Action":"s3:*","Resource":"*"}}"#,
        r#"{"Statement":{"Effect":"Allow","Principal":"ann","Action":"s3:*","Resource":"*"}}"#,
        r#"{"Statement":{"Effect":"Allow","Principal":"*","Resource":"*"}}"#,
        r#"{"Statement":{"Effect":"Allow","Principal":"*","Action":"ec2:*","Resource":"*"}}"#,
        r#"{"Statement":{"Effect":"Allow","Principal":"*","Action":"s3:*"}}"#,
        r#"{"Statement":{"Effect":"Allow","Principal":"*","Action":"s3:*","Resource":"b"}}"#,
        r#"{"Statement":{"Effect":"Allow","Principal":"*","Action":"s3:*","Resource":"*","Conditions":{}}}"#,
    ];
    for text in table {
        assert!(Policy::parse(text).is_err(), "{text}");
    }
    for condition in [
        r#"{"Like":{"a":"b"}}"#,
        r#"{"IpAddress":{"aws:SourceIp":"10.0.0.0/33"}}"#,
        r#"{"NumericEquals":{"a":"x"}}"#,
        "[]",
        r#"{"Bool":{"a":"maybe"}}"#,
    ] {
        assert!(Policy::parse(&format!(r#"{{"Statement":{{{good},"Condition":{condition}}}}}"#)).is_err(), "{condition}");
    }
    assert!(Policy::parse(&format!(r#"{{"Id":"x","Statement":{{"Sid":"1",{good}}}}}"#)).is_ok());
}

#[test]
fn a_policy_is_public_where_everybody_is_allowed_something_without_a_limit() {
    let table = [
        (r#"{"Effect":"Allow","Principal":"*","Action":"s3:ListBucket","Resource":"*"}"#, true),
        (r#"{"Effect":"Allow","Principal":{"AWS":"*"},"Action":"s3:ListBucket","Resource":"*"}"#, true),
        (r#"{"Effect":"Deny","Principal":"*","Action":"s3:ListBucket","Resource":"*"}"#, false),
        (r#"{"Effect":"Allow","Principal":{"AWS":"arn:aws:iam::t:root"},"Action":"s3:*","Resource":"*"}"#, false),
        (
            r#"{"Effect":"Allow","Principal":"*","Action":"s3:*","Resource":"*","Condition":{"IpAddress":{"aws:SourceIp":"10.0.0.0/32"}}}"#,
            false,
        ),
        (
            r#"{"Effect":"Allow","Principal":"*","Action":"s3:*","Resource":"*","Condition":{"IpAddress":{"aws:SourceIp":"0.0.0.0/0"}}}"#,
            true,
        ),
        (r#"{"Effect":"Allow","Principal":"*","Action":"s3:*","Resource":"*","Condition":{"StringLike":{"s3:prefix":"a"}}}"#, true),
        // Whoever asks is himself; two halves are all; what has none of them fulfils it, too.
        (
            r#"{"Effect":"Allow","Principal":"*","Action":"s3:*","Resource":"*","Condition":{"StringEquals":{"aws:username":"${aws:username}"}}}"#,
            true,
        ),
        (
            r#"{"Effect":"Allow","Principal":"*","Action":"s3:*","Resource":"*","Condition":{"IpAddress":{"aws:SourceIp":["0.0.0.0/1","128.0.0.0/1"]}}}"#,
            true,
        ),
        (
            r#"{"Effect":"Allow","Principal":"*","Action":"s3:*","Resource":"*","Condition":{"ForAllValues:IpAddress":{"aws:SourceIp":"10.0.0.0/32"}}}"#,
            true,
        ),
    ];
    for (statement, expected) in table {
        assert_eq!(policy(statement).is_public(), expected, "{statement}");
    }
    for (resource, expected) in
        [("*", true), ("arn:aws:s3:::b", true), ("arn:aws:s3:::*/*", true), ("arn:aws:s3:::b/x*", true), ("arn:aws:s3:::c/*", false)]
    {
        let named = policy(&format!(r#"{{"Effect":"Allow","Principal":"*","Action":"*","Resource":"{resource}"}}"#));
        assert_eq!(named.is_about("b"), expected, "{resource}");
    }
    let tags = policy(
        r#"{"Effect":"Allow","Principal":"*","Action":"*","Resource":"*","Condition":{"StringEquals":{"s3:ExistingObjectTag/a":"b"}}}"#,
    );
    assert!(tags.asks_of("s3:existingobjecttag") && !tags.asks_of("s3:existing"));
}
