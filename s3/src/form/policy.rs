//! The policy of a form: until when it may be sent, and what its fields may say. Pure. Source: AWS, "Creating an HTML form (using AWS signature
//! version 4)".

use s3s::dto::{Timestamp, TimestampFormat};
use s3s::{S3Error, S3Result, s3_error};
use serde_json::Value;

use super::Fields;

/// A policy.
#[derive(Clone, Debug, PartialEq)]
pub struct FormPolicy {
    expiration: Timestamp,
    conditions: Vec<Condition>,
    /// How long the file may be.
    pub length: Option<(u64, u64)>,
}

/// What a field has to say.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Condition {
    field: String,
    is_prefix: bool,
    value: String,
}

fn invalid(words: &str) -> S3Error {
    S3Error::with_message(s3s::S3ErrorCode::InvalidPolicyDocument, format!("Invalid Policy: {words}"))
}

impl FormPolicy {
    /// The policy of a JSON text.
    ///
    /// # Errors
    /// `InvalidPolicyDocument`.
    pub fn parse(text: &str) -> S3Result<Self> {
        let value: Value = serde_json::from_str(text).map_err(|_| invalid("Invalid JSON."))?;
        let fields = value.as_object().ok_or_else(|| invalid("Invalid JSON."))?;
        let expiration = fields.get("expiration").and_then(Value::as_str).ok_or_else(|| invalid("Policy missing expiration."))?;
        let expiration = Timestamp::parse(TimestampFormat::DateTime, expiration).map_err(|_| invalid("Invalid 'expiration' value"))?;
        let listed = fields.get("conditions").and_then(Value::as_array).ok_or_else(|| invalid("Policy missing conditions."))?;
        if listed.is_empty() {
            return Err(invalid("Policy has no conditions."));
        }
        let mut policy = Self { expiration, conditions: Vec::new(), length: None };
        listed.iter().try_for_each(|condition| policy.take(condition))?;
        Ok(policy)
    }

    fn take(&mut self, condition: &Value) -> S3Result<()> {
        let wrong = || invalid("Invalid condition.");
        if let Value::Object(pairs) = condition {
            for (field, value) in pairs {
                let value = value.as_str().ok_or_else(wrong)?.to_owned();
                self.conditions.push(Condition { field: field.to_ascii_lowercase(), is_prefix: false, value });
            }
            return Ok(());
        }
        let [operator, first, second] = condition.as_array().map(Vec::as_slice).ok_or_else(wrong)? else { return Err(wrong()) };
        let operator = operator.as_str().ok_or_else(wrong)?.to_ascii_lowercase();
        if operator == "content-length-range" {
            let number = |value: &Value| value.as_u64().or_else(|| value.as_str()?.parse().ok());
            let (least, most) = number(first).zip(number(second)).ok_or_else(wrong)?;
            // Each of several has to hold.
            let (before_least, before_most) = self.length.unwrap_or((0, u64::MAX));
            self.length = Some((least.max(before_least), most.min(before_most)));
            return Ok(());
        }
        let is_prefix = match operator.as_str() {
            "eq" => false,
            "starts-with" => true,
            _ => return Err(wrong()),
        };
        let field = first.as_str().and_then(|field| field.strip_prefix('$')).ok_or_else(wrong)?.to_ascii_lowercase();
        let value = second.as_str().ok_or_else(wrong)?.to_owned();
        self.conditions.push(Condition { field, is_prefix, value });
        Ok(())
    }

    /// Whether a form may be sent: now, to that bucket, with what its fields say.
    ///
    /// # Errors
    /// `AccessDenied`.
    pub fn check(&self, now: &Timestamp, bucket: &str, fields: &Fields) -> S3Result<()> {
        let refused = |words: String| Err(S3Error::with_message(s3s::S3ErrorCode::AccessDenied, words));
        if self.expiration <= *now {
            return Err(s3_error!(AccessDenied, "Invalid according to Policy: Policy expired."));
        }
        for condition in &self.conditions {
            let said = if condition.field == "bucket" { Some(bucket) } else { fields.get(&condition.field) };
            if !condition.holds(said.unwrap_or_default()) {
                let Condition { field, is_prefix, value } = condition;
                let operator = if *is_prefix { "starts-with" } else { "eq" };
                let words = format!("Invalid according to Policy: Policy Condition failed: [\"{operator}\", \"${field}\", \"{value}\"]");
                return refused(words);
            }
        }
        let is_named = |field: &str| self.conditions.iter().any(|condition| condition.field == field);
        let is_free = |field: &str| matches!(field, "x-amz-signature" | "signature" | "awsaccesskeyid" | "policy" | "file" | "submit");
        let names = fields.names().filter(|field| *field != "bucket").chain(std::iter::once("bucket"));
        for field in names.filter(|field| !is_free(field) && !field.starts_with("x-ignore-")) {
            if !is_named(field) {
                return refused(format!("Invalid according to Policy: Extra input fields: {field}"));
            }
        }
        Ok(())
    }
}

impl Condition {
    fn holds(&self, said: &str) -> bool {
        if !self.is_prefix {
            return said == self.value;
        }
        // Several types may be given; each has to begin so.
        if self.field == "content-type" {
            return said.split(',').all(|one| one.starts_with(&self.value));
        }
        said.starts_with(&self.value)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::{Duration, UNIX_EPOCH};

    const UNTIL: &str = r#""expiration":"2026-01-01T00:00:00Z""#;

    fn before() -> Timestamp {
        Timestamp::from(UNIX_EPOCH + Duration::from_secs(1_700_000_000))
    }

    fn fields(all: &[(&str, &str)]) -> Fields {
        let mut fields = Fields::default();
        all.iter().for_each(|(name, value)| fields.add(name, (*value).to_owned()));
        fields
    }

    #[test]
    fn a_policy_that_is_none_is_refused() {
        let table = [
            "no json".to_owned(),
            "{}".to_owned(),
            format!("{{{UNTIL}}}"),
            r#"{"conditions":[{"bucket":"b"}]}"#.to_owned(),
            r#"{"expiration":"soon","conditions":[{"bucket":"b"}]}"#.to_owned(),
            format!(r#"{{{UNTIL},"conditions":[]}}"#),
            format!(r#"{{{UNTIL},"CONDITIONS":[{{"bucket":"b"}}]}}"#),
            format!(r#"{{{UNTIL},"conditions":[["content-length-range",0]]}}"#),
            format!(r#"{{{UNTIL},"conditions":[["content-length-range",-1,0]]}}"#),
            format!(r#"{{{UNTIL},"conditions":[["ends-with","$key","x"]]}}"#),
        ];
        for text in table {
            assert!(FormPolicy::parse(&text).is_err(), "{text}");
        }
    }

    #[test]
    fn fields_say_what_the_policy_says() {
        let basic = r#"{"bucket":"b"},["starts-with","$key","foo"]"#;
        let table = [
            (basic.to_owned(), vec![("key", "foo.txt")], true),
            (basic.to_owned(), vec![("key", "bar.txt")], false),
            (r#"{"bucket":"other"},["starts-with","$key",""]"#.to_owned(), vec![("key", "k")], false),
            (r#"["starts-with","$key",""]"#.to_owned(), vec![("key", "k")], false),
            (basic.to_owned(), vec![("key", "foo"), ("acl", "private")], false),
            (basic.to_owned(), vec![("key", "foo"), ("x-ignore-a", "b")], true),
            (format!(r#"{basic},{{"aCl":"private"}}"#), vec![("key", "foo"), ("ACL", "private")], true),
            (format!(r#"{basic},["Eq","$x-amz-meta-a","b"]"#), vec![("key", "foo"), ("x-amz-meta-a", "b")], true),
            (format!(r#"{basic},["eq","$x-amz-meta-a","b"]"#), vec![("key", "foo")], false),
        ];
        for (conditions, given, expected) in table {
            let policy = FormPolicy::parse(&format!("{{{UNTIL},\"conditions\":[{conditions}]}}")).expect("a policy");
            assert_eq!(policy.check(&before(), "b", &fields(&given)).is_ok(), expected, "{conditions} {given:?}");
        }
    }

    #[test]
    fn a_policy_ends_and_bounds_the_length() {
        let policy =
            FormPolicy::parse(&format!(r#"{{{UNTIL},"conditions":[{{"bucket":"b"}},["content-length-range",1,"20"]]}}"#)).expect("good");
        assert_eq!(policy.length, Some((1, 20)));
        let both = r#"["content-length-range",1,20],["content-length-range",5,30]"#;
        let both = FormPolicy::parse(&format!(r#"{{{UNTIL},"conditions":[{both}]}}"#)).expect("good");
        assert_eq!(both.length, Some((5, 20)), "each of several has to hold");
        assert!(policy.check(&before(), "b", &fields(&[])).is_ok());
        let late = Timestamp::from(UNIX_EPOCH + Duration::from_secs(1_800_000_000));
        assert!(policy.check(&late, "b", &fields(&[])).is_err());
    }
}
