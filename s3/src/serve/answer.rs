//! What every answer has, whoever made it: an id, the server's name; and an error says in its body what was asked for, and in words what it is.

use std::sync::atomic::{AtomicU64, Ordering};

use hyper::header::{CONTENT_LENGTH, CONTENT_RANGE, HeaderValue, SERVER};
use hyper::http::request::Parts;
use hyper::{Method, StatusCode};
use s3s::{HttpResponse, S3Error, S3ErrorCode, s3_error};

use super::front::named;
use crate::sts;

/// The name of the server in answers.
const NAME: HeaderValue = HeaderValue::from_static("Redoubt");
/// Requests of this process.
static NUMBER: AtomicU64 = AtomicU64::new(0);

/// What a request was about, for the answer to it.
pub struct Asked {
    id: String,
    method: Method,
    path: String,
    /// What it says of its body: a hash, where that is to be looked at.
    content: Option<String>,
    /// Its answer has an ETag that is not quoted, as that of no other request.
    is_attributes: bool,
    /// It is for STS, whose answers have another form.
    is_sts: bool,
}

impl Asked {
    /// Of a request's head.
    pub fn of(head: &Parts) -> Self {
        // Unlike those of other processes, and of this one before it was started again.
        let started = u64::from(std::process::id()) << 32;
        let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let id = format!("{:016X}", (started ^ since.as_micros() as u64).wrapping_mul(0x9E37_79B9_7F4A_7C15).wrapping_add(number));
        let is_attributes = head.method == Method::GET
            && head.uri.query().unwrap_or_default().split('&').any(|pair| pair == "attributes" || pair == "attributes=");
        let is_sts = sts::is_for(&head.method, &head.uri, &head.headers);
        let content = head.headers.get("x-amz-content-sha256").and_then(|content| content.to_str().ok()).map(str::to_owned);
        Self { id, method: head.method.clone(), path: head.uri.path().to_owned(), content, is_attributes, is_sts }
    }

    /// The path that was asked for.
    pub fn path(&self) -> &str {
        &self.path
    }

    /// The error that is meant where the protocol's crate says `InternalError` and nothing else: the body of a setting could not be read to its
    /// end, or is not what was said of it. Errors of our own have words.
    pub fn meant(&self, answer: &HttpResponse) -> Option<S3Error> {
        if answer.status() != StatusCode::INTERNAL_SERVER_ERROR || ![Method::PUT, Method::POST].contains(&self.method) {
            return None;
        }
        let body = answer.body().bytes().and_then(|bytes| String::from_utf8(bytes.to_vec()).ok())?;
        if between(&body, "Code") != Some("InternalError") || body.contains("<Message>") {
            return None;
        }
        if self.content.as_ref().is_none_or(|content| content.len() != 64) {
            return Some(s3_error!(IncompleteBody));
        }
        let words = "The provided 'x-amz-content-sha256' header does not match what was computed.";
        let mut error = S3Error::with_message(S3ErrorCode::Custom("XAmzContentSHA256Mismatch".into()), words);
        error.set_status_code(StatusCode::BAD_REQUEST);
        Some(error)
    }

    /// Completes the answer.
    pub fn complete(&self, mut answer: HttpResponse) -> HttpResponse {
        let status = answer.status();
        if self.method == Method::HEAD && status == StatusCode::OK && answer.headers().contains_key(CONTENT_RANGE) {
            *answer.status_mut() = StatusCode::PARTIAL_CONTENT;
        }
        if self.is_sts {
            self.complete_sts(&mut answer);
        } else if status.is_client_error() || status.is_server_error() {
            rewrite(&mut answer, |body| self.explained(body));
        } else if self.is_attributes {
            rewrite(&mut answer, without_quotes);
        }
        let headers = answer.headers_mut();
        headers.entry(SERVER).or_insert(NAME);
        if let Ok(id) = HeaderValue::from_str(&self.id) {
            headers.insert("x-amz-request-id", id.clone());
            headers.insert("x-amz-id-2", id);
        }
        answer
    }

    /// Gives an answer of STS its form, and its errors the names that they have there.
    fn complete_sts(&self, answer: &mut HttpResponse) {
        let id = format!("<RequestId>{}</RequestId>", self.id);
        if answer.status().is_success() {
            return rewrite(answer, |body| Some(body.replacen(sts::REQUEST_ID, &id, 1)));
        }
        let mut is_token = false;
        let at_fault = if answer.status().is_server_error() { "Receiver" } else { "Sender" };
        rewrite(answer, |body| {
            let code = between(body, "Code")?;
            let words =
                between(body, "Message").filter(|_| code != "SignatureDoesNotMatch").or_else(|| usual_message(code)).unwrap_or_default();
            is_token = matches!(code, "InvalidAccessKeyId" | "InvalidToken" | "ExpiredToken");
            let (code, words) = match code {
                "InvalidAccessKeyId" | "InvalidToken" => ("InvalidClientTokenId", "The security token included in the request is invalid."),
                "ExpiredToken" => (code, "The security token included in the request is expired"),
                _ => (code, words),
            };
            let error = format!("<Error><Type>{at_fault}</Type><Code>{code}</Code><Message>{words}</Message></Error>");
            Some(format!("<ErrorResponse xmlns=\"{}\">{error}{id}</ErrorResponse>", sts::NAMESPACE))
        });
        if is_token {
            *answer.status_mut() = StatusCode::FORBIDDEN;
        }
    }

    /// The body of an error with all that S3 says in it; `None` where it is no such body.
    fn explained(&self, body: &str) -> Option<String> {
        let (start, inner) = body.split_once("<Error>")?;
        let inner = inner.trim_end().strip_suffix("</Error>")?;
        let code = between(inner, "Code")?;
        let usual = usual_message(code);
        let message = match between(inner, "Message") {
            // The protocol's crate says it in words of its own.
            Some(_) if matches!(code, "AccessDenied") && inner.contains("Signature is required") => usual,
            Some(_) if matches!(code, "RequestTimeTooSkewed" | "SignatureDoesNotMatch") => usual,
            Some(_) => None,
            None => usual,
        };
        let mut told = format!("{start}<Error>");
        match message {
            None => told.push_str(inner),
            Some(words) => {
                told.push_str(&format!("<Code>{code}</Code><Message>{words}</Message>"));
                let rest = inner.rsplit_once("</Message>").or_else(|| inner.split_once("</Code>"));
                told.push_str(rest.map_or("", |(_, rest)| rest));
            }
        }
        let (bucket, key) = named(&self.path);
        let about = match code {
            "NoSuchKey" | "NoSuchVersion" | "NoSuchUpload" => ("Key", key),
            "NoSuchBucket" | "BucketNotEmpty" | "BucketAlreadyExists" | "BucketAlreadyOwnedByYou" | "InvalidBucketName" => {
                ("BucketName", bucket)
            }
            _ => ("Resource", self.path.as_str()),
        };
        let (name, value) = (about.0, escaped(&decoded(about.1)));
        let id = &self.id;
        told.push_str(&format!("<{name}>{value}</{name}><RequestId>{id}</RequestId><HostId>{id}</HostId></Error>"));
        Some(told)
    }
}

/// Puts another body in place of one that is there as a whole.
fn rewrite(answer: &mut HttpResponse, with: impl FnOnce(&str) -> Option<String>) {
    let body = answer.body().bytes().and_then(|bytes| String::from_utf8(bytes.to_vec()).ok());
    let Some(told) = body.and_then(|body| with(&body)) else { return };
    if answer.headers().contains_key(CONTENT_LENGTH) {
        answer.headers_mut().insert(CONTENT_LENGTH, HeaderValue::from(told.len()));
    }
    *answer.body_mut() = s3s::Body::from(told);
}

/// The attributes of an object, with an ETag that is not quoted.
fn without_quotes(body: &str) -> Option<String> {
    let etag = between(body, "ETag")?;
    let bare = etag.strip_prefix("&quot;").and_then(|rest| rest.strip_suffix("&quot;"));
    let bare = bare.or_else(|| etag.strip_prefix('"').and_then(|rest| rest.strip_suffix('"')))?;
    Some(body.replacen(&format!("<ETag>{etag}</ETag>"), &format!("<ETag>{bare}</ETag>"), 1))
}

/// The text of an element.
fn between<'a>(xml: &'a str, name: &str) -> Option<&'a str> {
    let rest = xml.split_once(&format!("<{name}>"))?.1;
    Some(rest.split_once(&format!("</{name}>"))?.0)
}

fn decoded(text: &str) -> String {
    let (mut bytes, mut rest) = (Vec::with_capacity(text.len()), text.as_bytes());
    while let Some((&first, others)) = rest.split_first() {
        let hex = (first == b'%').then(|| others.get(..2)).flatten().and_then(|two| std::str::from_utf8(two).ok());
        match hex.and_then(|two| u8::from_str_radix(two, 16).ok()) {
            Some(byte) => {
                bytes.push(byte);
                rest = &others[2..];
            }
            None => {
                bytes.push(first);
                rest = others;
            }
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

/// Text as XML can hold it; what XML has no way to write becomes a question mark.
fn escaped(text: &str) -> String {
    let mut written = String::with_capacity(text.len());
    for one in text.chars() {
        match one {
            '&' => written.push_str("&amp;"),
            '<' => written.push_str("&lt;"),
            '>' => written.push_str("&gt;"),
            '"' => written.push_str("&quot;"),
            '\t' | '\n' | '\r' => written.push_str(&format!("&#{};", u32::from(one))),
            one if u32::from(one) < 0x20 || matches!(one, '\u{fffe}' | '\u{ffff}') => written.push('?'),
            one => written.push(one),
        }
    }
    written
}

/// What S3 says of an error whose maker said nothing.
fn usual_message(code: &str) -> Option<&'static str> {
    Some(match code {
        "AccessDenied" => "Access Denied",
        "IncompleteBody" => "You did not provide the number of bytes specified by the Content-Length HTTP header.",
        "InternalError" => "We encountered an internal error. Please try again.",
        "InvalidBucketName" => "The specified bucket is not valid.",
        "InvalidRange" => "The requested range is not satisfiable",
        "InvalidURI" => "Couldn't parse the specified URI.",
        "KeyTooLongError" => "Your key is too long",
        "MalformedXML" => "The XML you provided was not well-formed or did not validate against our published schema",
        "MethodNotAllowed" => "The specified method is not allowed against this resource.",
        "MissingContentLength" => "You must provide the Content-Length HTTP header.",
        "NoSuchBucket" => "The specified bucket does not exist",
        "NoSuchKey" => "The specified key does not exist.",
        "NotImplemented" => "A header you provided implies functionality that is not implemented",
        "RequestTimeTooSkewed" => "The difference between the request time and the current time is too large.",
        "SignatureDoesNotMatch" => {
            "The request signature we calculated does not match the signature you provided. Check your key and signing method."
        }
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use hyper::Request;

    fn asked(path: &str) -> Asked {
        let (head, ()) = Request::builder().uri(path).body(()).expect("a request").into_parts();
        Asked::of(&head)
    }

    #[test]
    fn an_error_names_what_was_asked_for_and_its_request() {
        let asked = asked("/b/a%20%3Cb%3E");
        let told = asked.explained("<?xml?><Error><Code>NoSuchKey</Code><Message>none</Message></Error>").expect("an error");
        let id = &asked.id;
        assert_eq!(
            told,
            format!(
                "<?xml?><Error><Code>NoSuchKey</Code><Message>none</Message><Key>a &lt;b&gt;</Key><RequestId>{id}</RequestId>\
                 <HostId>{id}</HostId></Error>"
            )
        );
        assert_eq!(asked.explained("<ListBucketResult></ListBucketResult>"), None);
    }

    #[test]
    fn an_error_without_words_gets_the_usual_ones() {
        let told = |body: &str| asked("/b").explained(body).and_then(|told| between(&told, "Message").map(str::to_owned));
        assert_eq!(
            told("<Error><Code>AccessDenied</Code><Message>Signature is required</Message></Error>").as_deref(),
            Some("Access Denied")
        );
        assert_eq!(
            told("<Error><Code>AccessDenied</Code><Message>Request has expired</Message></Error>").as_deref(),
            Some("Request has expired")
        );
        assert_eq!(told("<Error><Code>KeyTooLongError</Code></Error>").as_deref(), Some("Your key is too long"));
        assert_eq!(told("<Error><Code>Odd</Code></Error>"), None);
    }

    #[test]
    fn the_etag_of_attributes_is_not_quoted() {
        let bare = without_quotes("<A><ETag>&quot;ab-1&quot;</ETag><S>1</S></A>");
        assert_eq!(bare.as_deref(), Some("<A><ETag>ab-1</ETag><S>1</S></A>"));
        assert_eq!((without_quotes("<A><ETag>ab</ETag></A>"), without_quotes("<A></A>")), (None, None));
    }

    #[test]
    fn an_error_of_sts_has_the_form_and_the_name_that_it_has_there() {
        let kind = "application/x-www-form-urlencoded";
        let (head, ()) = Request::post("/").header("content-type", kind).body(()).expect("a request").into_parts();
        let asked = Asked::of(&head);
        let told = |code: &str, status: u16| {
            let mut answer = HttpResponse::new(s3s::Body::from(format!("<?xml?><Error><Code>{code}</Code><Message>m</Message></Error>")));
            *answer.status_mut() = StatusCode::from_u16(status).expect("a status");
            let answer = asked.complete(answer);
            let body = answer.body().bytes().and_then(|bytes| String::from_utf8(bytes.to_vec()).ok()).unwrap_or_default();
            assert!(body.contains(&format!("<RequestId>{}</RequestId>", asked.id)), "{body}");
            (
                between(&body, "Type").unwrap_or_default().to_owned(),
                between(&body, "Code").unwrap_or_default().to_owned(),
                answer.status().as_u16(),
            )
        };
        assert_eq!(told("InvalidAccessKeyId", 403), ("Sender".into(), "InvalidClientTokenId".into(), 403));
        assert_eq!(told("ExpiredToken", 400), ("Sender".into(), "ExpiredToken".into(), 403));
        assert_eq!(told("ValidationError", 400), ("Sender".into(), "ValidationError".into(), 400));
        assert_eq!(told("ServiceUnavailable", 503), ("Receiver".into(), "ServiceUnavailable".into(), 503));
    }

    #[test]
    fn a_body_that_could_not_be_read_is_no_error_of_the_servers() {
        let code = |method: &str, hash: &str, body: &'static str| {
            let (head, ()) =
                Request::builder().method(method).uri("/b").header("x-amz-content-sha256", hash).body(()).expect("good").into_parts();
            let mut answer = HttpResponse::new(s3s::Body::from(body.to_owned()));
            *answer.status_mut() = StatusCode::INTERNAL_SERVER_ERROR;
            Asked::of(&head).meant(&answer).map(|error| error.code().as_str().to_owned())
        };
        let (bare, hash) = ("<Error><Code>InternalError</Code></Error>", "0".repeat(64));
        assert_eq!(code("PUT", &hash, bare).as_deref(), Some("XAmzContentSHA256Mismatch"));
        assert_eq!(code("POST", "UNSIGNED-PAYLOAD", bare).as_deref(), Some("IncompleteBody"));
        assert_eq!(code("GET", &hash, bare), None);
        assert_eq!(code("PUT", &hash, "<Error><Code>InternalError</Code><Message>We</Message></Error>"), None);
    }

    #[test]
    fn ids_of_requests_differ() {
        assert_ne!(asked("/").id, asked("/").id);
    }
}
