//! What a target is told: JSON in the form of Amazon's event messages (version 2.1), and beside it the two fields that receivers of MinIO's
//! webhooks look at.

use s3s::dto::TimestampFormat;
use serde_json::{Value, json};
use types::Seq;
use types::event::EventRow;

use crate::condition::at_exact_ms;

/// The text of an event. `seq` and `number` are its place in the log of its object's group: a later event of one object has a higher one.
pub fn text(row: &EventRow, seq: Seq, number: u16, name: &[u8], region: &str, owner: &str) -> Vec<u8> {
    let EventRow { happening, bucket, rule, at_ms, size, etag, version } = row;
    let mut time = Vec::new();
    // A time of a record can always be written.
    let written = at_exact_ms(*at_ms).format(TimestampFormat::DateTime, &mut time);
    let time = written.map(|()| String::from_utf8_lossy(&time).into_owned()).unwrap_or_default();
    let mut object = json!({"key": encoded(name), "sequencer": format!("{:016X}{number:04X}", seq.0)});
    let mut tell = |field: &str, value: Option<Value>| {
        if let Some(value) = value {
            object[field] = value;
        }
    };
    tell("size", size.map(Value::from));
    tell("eTag", etag.clone().map(Value::from));
    tell("versionId", version.map(|id| Value::from(id.to_string())));
    let record = json!({
        "eventVersion": "2.1",
        "eventSource": "redoubt:s3",
        "awsRegion": region,
        "eventTime": time,
        "eventName": happening.name(),
        "s3": {
            "s3SchemaVersion": "1.0",
            "configurationId": rule,
            "bucket": {"name": bucket, "ownerIdentity": {"principalId": owner}, "arn": format!("arn:aws:s3:::{bucket}")},
            "object": object,
        },
    });
    let key = format!("{bucket}/{}", String::from_utf8_lossy(name));
    json!({"EventName": format!("s3:{}", happening.name()), "Key": key, "Records": [record]}).to_string().into_bytes()
}

/// A key as forms write it, with its slashes: a space is a plus sign.
fn encoded(name: &[u8]) -> String {
    let mut text = String::with_capacity(name.len());
    for &byte in name {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'*' | b'/' => text.push(char::from(byte)),
            b' ' => text.push('+'),
            other => text.push_str(&format!("%{other:02X}")),
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use types::VersionId;
    use types::event::Happening;

    fn told(row: &EventRow, name: &[u8]) -> Value {
        serde_json::from_slice(&text(row, Seq(258), 1, name, "us-east-1", "ann")).expect("JSON")
    }

    fn row(happening: Happening) -> EventRow {
        let (size, etag, version) = (Some(5), Some("tag".into()), Some(VersionId::Null));
        EventRow { happening, bucket: "photos".into(), rule: "r".into(), at_ms: 1_700_000_000_123, size, etag, version }
    }

    #[test]
    fn a_message_has_the_fields_of_amazons() {
        let told = told(&row(Happening::Completed), "in/a b+ä.jpg".as_bytes());
        let record = &told["Records"][0];
        assert_eq!(record["eventVersion"], "2.1");
        assert_eq!(record["eventTime"], "2023-11-14T22:13:20.123Z");
        assert_eq!(record["eventName"], "ObjectCreated:CompleteMultipartUpload");
        assert_eq!((&record["s3"]["bucket"]["name"], &record["s3"]["configurationId"]), (&json!("photos"), &json!("r")));
        let object =
            json!({"key": "in/a+b%2B%C3%A4.jpg", "size": 5, "eTag": "tag", "versionId": "null", "sequencer": "00000000000001020001"});
        assert_eq!(record["s3"]["object"], object);
        assert_eq!((&told["EventName"], &told["Key"]), (&json!("s3:ObjectCreated:CompleteMultipartUpload"), &json!("photos/in/a b+ä.jpg")));
    }

    #[test]
    fn what_is_not_known_of_an_object_is_left_out() {
        let told = told(&EventRow { size: None, etag: None, version: None, ..row(Happening::Deleted) }, b"k");
        assert_eq!(told["Records"][0]["s3"]["object"], json!({"key": "k", "sequencer": "00000000000001020001"}));
    }
}
