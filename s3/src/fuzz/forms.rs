//! Forms, and the policies of forms.

use bytes::Bytes;
use futures::{FutureExt, StreamExt};
use s3s::dto::Timestamp;

use crate::form::policy::FormPolicy;
use crate::form::read::{self, Form};
use crate::form::{Fields, answer, headers_of, tags_of};

/// What is read of a form whose bytes come so many at a time: its fields, the name and bytes of its file; or the code of the error.
fn read_by(input: &[u8], step: usize) -> Result<(Fields, String, Option<Vec<u8>>), String> {
    let pieces: Vec<_> = input.chunks(step).map(|piece| Ok(Bytes::copy_from_slice(piece))).collect();
    let reading = read::read(Box::pin(futures::stream::iter(pieces)), "xx").now_or_never().expect("all is there");
    let Form { fields, file_name, file } = reading.map_err(|error| error.code().as_str().to_owned())?;
    let file: Vec<_> = file.collect::<Vec<_>>().now_or_never().expect("all is there");
    // A file that does not end is told as an error at its end.
    let bytes = file.into_iter().collect::<Result<Vec<_>, _>>().ok().map(|pieces| pieces.concat());
    Ok((fields, file_name, bytes))
}

/// A form with the boundary `xx`: it is the same however its bytes come.
pub fn form(input: &[u8]) -> String {
    let _boundary = read::boundary(&String::from_utf8_lossy(&input[..input.len().min(200)]));
    let whole = read_by(input, input.len().max(1));
    let read = read_by(input, 1 + input.len() % 13);
    match (whole, read) {
        (Ok(whole), Ok(read)) => {
            assert_eq!(whole, read);
            let (fields, name, file) = whole;
            let tags = fields.get("tagging").map(|xml| tags_of(xml).is_ok());
            let headers = headers_of(&fields, fields.get("x-amz-tagging")).len();
            let answered = answer(&fields, "bucket", &name, "etag").status();
            format!("form {} {headers} {tags:?} {answered} {}", fields.names().count().min(9), file.is_some())
        }
        // Where it is too long, how much is there at once decides where that is seen, and so what is seen first.
        (whole, read) => {
            assert_eq!(whole.is_ok(), read.is_ok(), "{whole:?} {read:?}");
            whole.err().unwrap_or_default()
        }
    }
}

/// The policy of a form, held against fields.
pub fn policy(input: &[u8]) -> String {
    let text = String::from_utf8_lossy(input);
    let policy = match FormPolicy::parse(&text) {
        Ok(policy) => policy,
        Err(error) => return error.message().unwrap_or_default().to_owned(),
    };
    let mut fields = Fields::default();
    for (name, value) in [("key", "user/a"), ("acl", "private"), ("content-type", "a/b,a/c"), ("x-amz-meta-a", "b")] {
        fields.add(name, value.to_owned());
    }
    let held = policy.check(&Timestamp::from(std::time::UNIX_EPOCH), "bucket", &fields);
    format!("policy {} {:?}", held.is_ok(), policy.length.map(|(least, most)| least <= most))
}
