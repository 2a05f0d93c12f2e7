//! Uploads by a form: what a browser sends with a policy that somebody has signed. The form is read up to its file, whoever signed for it is
//! found, the policy is held against it, and then it is a PUT like any other; the file streams.

pub(crate) mod policy;
pub(crate) mod read;

use std::collections::BTreeMap;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::SystemTime;

use bytes::Bytes;
use futures::{Stream, StreamExt};
use hyper::header::{CONTENT_TYPE, ETAG, HeaderName, HeaderValue, LOCATION};
use hyper::http::request::Parts;
use hyper::{HeaderMap, Method, StatusCode, Uri};
use ring::hmac;
use s3s::dto::{PutObjectInput, StreamingBlob, Tagging, Timestamp};
use s3s::stream::{ByteStream, RemainingLength};
use s3s::xml::{Deserialize, Deserializer};
use s3s::{HttpResponse, S3Error, S3Request, S3Result, StdError, s3_error};

use types::event::Cause;

use crate::Gateway;
use crate::access::{Act, Signer};
use crate::body::{Mismatch, SILENT_MAX};
use crate::figures::Named;
use crate::limits;
use crate::object::put;
use crate::serve::front;
use crate::session::TOKEN;
use crate::tags::Tags;
use policy::FormPolicy;
use read::{File, Form};

/// The fields of a form before its file, by their names in lower case; the first of a name counts.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Fields(BTreeMap<String, String>);

impl Fields {
    pub(crate) fn add(&mut self, name: &str, value: String) {
        self.0.entry(name.to_ascii_lowercase()).or_insert(value);
    }

    pub(crate) fn get(&self, name: &str) -> Option<&str> {
        self.0.get(name).map(String::as_str)
    }

    pub(crate) fn names(&self) -> impl Iterator<Item = &str> {
        self.0.keys().map(String::as_str)
    }
}

/// The bucket and the boundary of a form; `None` where a request is none.
pub fn is_form(request: &Parts) -> Option<(String, String)> {
    let content_type = request.headers.get(CONTENT_TYPE)?.to_str().ok()?;
    let boundary = read::boundary(content_type).filter(|_| request.method == Method::POST)?;
    let bucket = request.uri.path().trim_matches('/');
    (!bucket.is_empty() && !bucket.contains('/')).then(|| (bucket.to_owned(), boundary))
}

/// Takes a form.
///
/// # Errors
/// Those of forms, policies, signatures, access, and of a PUT.
pub async fn run(gateway: &Gateway, parts: Parts, body: s3s::Body, bucket: &str, boundary: &str) -> S3Result<HttpResponse> {
    if let Some(named) = parts.extensions.get::<Named>() {
        named.set("PostObject");
    }
    let source = StreamingBlob::from(body).map(|piece| piece.map_err(std::io::Error::other));
    let form =
        tokio::time::timeout(SILENT_MAX, read::read(Box::pin(source), boundary)).await.map_err(|_| Mismatch::Silent.to_error())??;
    let (signer, length) = signer(gateway, bucket, &form.fields).await?;
    limits::count_for(&parts.extensions, signer.as_ref().map(|signer| signer.account.as_str()))?;
    let key = form.fields.get("key").filter(|key| !key.is_empty()).map(|key| key.replace("${filename}", &form.file_name));
    let key = key.ok_or_else(|| {
        s3_error!(
            InvalidArgument,
            "Bucket POST must contain a field named 'key'.  If it is specified, please check the order of the fields."
        )
    })?;
    let fields = form.fields.clone();
    let input = input(form, bucket, &key, length)?;
    let headers = headers_of(&fields, input.tagging.as_deref());
    // What a form asks for and does not get is never passed over.
    let ignored = ["x-amz-object-lock-", "x-amz-grant-"];
    put::refuse_if(headers.keys().any(|name| ignored.iter().any(|one| name.as_str().starts_with(one))))?;
    let mut extensions = parts.extensions;
    front::check_fields(&headers, gateway.is_safe(&extensions))?;
    let caller = gateway.caller(signer, &headers, &parts.uri, &mut extensions);
    gateway.allow(&caller, Act::write(bucket, &key)).await?;
    gateway.allow_words(&caller, bucket, &key, &headers).await?;
    let mut put = S3Request {
        input,
        method: Method::PUT,
        uri: parts.uri,
        headers,
        extensions,
        credentials: None,
        region: None,
        service: None,
        trailing_headers: None,
    };
    put.extensions.insert(Cause::Form);
    let done = put::run(gateway, put).await?;
    let etag = done.e_tag.map(|etag| etag.value().to_owned()).unwrap_or_default();
    Ok(answer(&fields, bucket, &key, &etag))
}

/// Whoever signed for a form, and how long its file may be. Who has not signed is nobody.
async fn signer(gateway: &Gateway, bucket: &str, fields: &Fields) -> S3Result<(Option<Signer>, Option<(u64, u64)>)> {
    let missing = |field: &str| {
        let words = format!("Bucket POST must contain a field named '{field}'.  If it is specified, please check the order of the fields.");
        S3Error::with_message(s3s::S3ErrorCode::InvalidArgument, words)
    };
    let is_signed = ["x-amz-signature", "signature", "x-amz-credential", "awsaccesskeyid"].iter().any(|field| fields.get(field).is_some());
    let Some(policy) = fields.get("policy") else {
        return if is_signed { Err(missing("policy")) } else { Ok((None, None)) };
    };
    let field = |name: &str| fields.get(name).ok_or_else(|| missing(name));
    let mismatch = || {
        s3_error!(
            SignatureDoesNotMatch,
            "The request signature we calculated does not match the signature you provided. Check your key and signing method."
        )
    };
    let is_new = fields.get("x-amz-signature").is_some() || fields.get("x-amz-credential").is_some();
    let scope: Vec<&str> = if is_new { field("x-amz-credential")?.rsplitn(5, '/').collect() } else { vec![field("awsaccesskeyid")?] };
    let access_key = *scope.last().expect("a text has a last part");
    let session = match fields.get(TOKEN).filter(|token| !token.is_empty()) {
        Some(token) => Some(gateway.session_of(access_key, token).await?),
        None => None,
    };
    if is_new {
        let signature = field("x-amz-signature")?;
        if field("x-amz-algorithm")? != "AWS4-HMAC-SHA256" {
            return Err(s3_error!(InvalidArgument, "X-Amz-Algorithm only supports \"AWS4-HMAC-SHA256\""));
        }
        let [request @ "aws4_request", service @ "s3", region, date, _] = scope[..] else {
            return Err(s3_error!(InvalidArgument, "Invalid credential"));
        };
        let secret = gateway.secret_of_signer(access_key, session.as_deref()).await?;
        let start = format!("AWS4{}", secret.expose()).into_bytes();
        let key = [date, region, service, request].iter().fold(start, |key, word| sign(hmac::HMAC_SHA256, &key, word.as_bytes()));
        verify(hmac::HMAC_SHA256, &key, policy, crate::metadata::unhex(signature)).ok_or_else(mismatch)?;
    } else {
        let signature = base64_simd::STANDARD.decode_to_vec(field("signature")?).ok();
        let secret = gateway.secret_of_signer(access_key, session.as_deref()).await?;
        verify(hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY, secret.expose().as_bytes(), policy, signature).ok_or_else(mismatch)?;
    }
    let invalid = || s3_error!(InvalidPolicyDocument, "Invalid Policy: Invalid Base64 encoding.");
    let text = base64_simd::STANDARD.decode_to_vec(policy).ok().and_then(|bytes| String::from_utf8(bytes).ok()).ok_or_else(invalid)?;
    let policy = FormPolicy::parse(&text)?;
    if fields.get("key").is_some_and(|key| !key.is_empty()) {
        policy.check(&Timestamp::from(SystemTime::now()), bucket, fields)?;
    }
    let signer = gateway.signer_of(&*gateway.records().await?, access_key, session)?;
    Ok((Some(signer), policy.length))
}

fn sign(algorithm: hmac::Algorithm, key: &[u8], text: &[u8]) -> Vec<u8> {
    hmac::sign(&hmac::Key::new(algorithm, key), text).as_ref().to_vec()
}

/// Whether that is the signature of a text, in a time that does not tell how much of it is right.
fn verify(algorithm: hmac::Algorithm, key: &[u8], text: &str, signature: Option<Vec<u8>>) -> Option<()> {
    hmac::verify(&hmac::Key::new(algorithm, key), text.as_bytes(), &signature?).ok()
}

/// What of the fields is a header where an object is PUT, as it is written: policies see no other words than those.
pub(crate) fn headers_of(fields: &Fields, tagging: Option<&str>) -> HeaderMap {
    let known = ["cache-control", "content-type", "content-disposition", "content-encoding", "expires"];
    let is_header = |name: &str| known.contains(&name) || name.starts_with("x-amz-");
    let pair = |(name, value): (&String, &String)| {
        let name = if name == "acl" { "x-amz-acl" } else { name };
        let is_it = is_header(name)
            && !value.is_empty()
            && !matches!(name, "x-amz-tagging" | "x-amz-signature" | "x-amz-credential" | "x-amz-algorithm" | "x-amz-date" | TOKEN);
        is_it.then(|| Some((HeaderName::from_bytes(name.as_bytes()).ok()?, HeaderValue::from_str(value).ok()?)))?
    };
    let mut headers: HeaderMap = fields.0.iter().filter_map(pair).collect();
    headers.extend(tagging.and_then(|tags| Some((HeaderName::from_static("x-amz-tagging"), HeaderValue::from_str(tags).ok()?))));
    headers
}

/// Fields that are kept with an object and told as headers by every GET have to be headers.
const KEPT: [&str; 7] = [
    "cache-control",
    "content-disposition",
    "content-encoding",
    "content-language",
    "content-type",
    "expires",
    "x-amz-website-redirect-location",
];

fn check_kept(fields: &Fields) -> S3Result<()> {
    let is_wrong = |(name, value): &(&String, &String)| match name.strip_prefix("x-amz-meta-") {
        Some(_) => HeaderName::from_bytes(name.as_bytes()).is_err(),
        None => KEPT.contains(&name.as_str()) && HeaderValue::from_bytes(value.as_bytes()).is_err(),
    };
    match fields.0.iter().find(is_wrong) {
        Some((name, _)) => Err(s3_error!(InvalidArgument, "The field {name:?} cannot be a header of the object.")),
        None => Ok(()),
    }
}

/// The PUT that a form is.
fn input(form: Form, bucket: &str, key: &str, length: Option<(u64, u64)>) -> S3Result<PutObjectInput> {
    let Form { fields, file, .. } = form;
    check_kept(&fields)?;
    let get = |name: &str| fields.get(name).filter(|value| !value.is_empty()).map(str::to_owned);
    let words = fields.0.iter().filter_map(|(name, value)| Some((name.strip_prefix("x-amz-meta-")?.to_owned(), value.clone())));
    let words: s3s::dto::Metadata = words.collect();
    let tagging = get("tagging").map(|xml| tags_of(&xml)).transpose()?;
    Ok(PutObjectInput {
        bucket: bucket.to_owned(),
        key: key.to_owned(),
        acl: get("acl").or_else(|| get("x-amz-acl")).map(Into::into),
        body: Some(StreamingBlob::new(Bounded { file, seen: 0, length })),
        cache_control: get("cache-control"),
        content_type: get("content-type"),
        content_disposition: get("content-disposition"),
        content_encoding: get("content-encoding"),
        content_language: get("content-language"),
        content_md5: get("content-md5"),
        checksum_algorithm: get("x-amz-checksum-algorithm").map(Into::into),
        checksum_crc32: get("x-amz-checksum-crc32"),
        checksum_crc32c: get("x-amz-checksum-crc32c"),
        checksum_crc64nvme: get("x-amz-checksum-crc64nvme"),
        checksum_sha1: get("x-amz-checksum-sha1"),
        checksum_sha256: get("x-amz-checksum-sha256"),
        expires: get("expires").and_then(|text| Timestamp::parse(s3s::dto::TimestampFormat::HttpDate, &text).ok()),
        metadata: (!words.is_empty()).then_some(words),
        server_side_encryption: get("x-amz-server-side-encryption").map(Into::into),
        sse_customer_algorithm: get("x-amz-server-side-encryption-customer-algorithm"),
        sse_customer_key: get("x-amz-server-side-encryption-customer-key"),
        sse_customer_key_md5: get("x-amz-server-side-encryption-customer-key-md5"),
        storage_class: get("x-amz-storage-class").map(Into::into),
        tagging: tagging.and_then(|tags| tags.to_word()).map(|(_, header)| header),
        website_redirect_location: get("x-amz-website-redirect-location"),
        ..PutObjectInput::default()
    })
}

pub(crate) fn tags_of(xml: &str) -> S3Result<Tags> {
    let malformed =
        |_| s3_error!(MalformedXML, "The XML you provided was not well-formed or did not validate against our published schema");
    let tagging = Tagging::deserialize(&mut Deserializer::new(xml.as_bytes())).map_err(malformed)?;
    Tags::from_xml(tagging.tag_set)
}

/// The file, held against the length that the policy gives it.
struct Bounded {
    file: File,
    seen: u64,
    length: Option<(u64, u64)>,
}

impl Stream for Bounded {
    type Item = Result<Bytes, StdError>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let next = Pin::new(&mut self.file).poll_next(cx);
        let (least, most) = self.length.unwrap_or((0, put::PUT_BYTES_MAX));
        match next {
            Poll::Ready(Some(Ok(bytes))) => {
                self.seen += bytes.len() as u64;
                Poll::Ready(Some(if self.seen > most { Err(Mismatch::TooLarge.into()) } else { Ok(bytes) }))
            }
            Poll::Ready(None) if self.seen < least => {
                self.length = None;
                Poll::Ready(Some(Err(Mismatch::TooSmall.into())))
            }
            Poll::Ready(Some(Err(error))) => Poll::Ready(Some(Err(error.into()))),
            Poll::Ready(None) => Poll::Ready(None),
            Poll::Pending => Poll::Pending,
        }
    }
}

impl ByteStream for Bounded {
    fn remaining_length(&self) -> RemainingLength {
        RemainingLength::unknown()
    }
}

/// What a browser is answered: where the form leads on, or how it wants to be.
pub(crate) fn answer(fields: &Fields, bucket: &str, key: &str, etag: &str) -> HttpResponse {
    let encoded = |text: &str| crate::tags::encoded(text);
    let location = format!("/{}/{}", encoded(bucket), encoded(key).replace("%2F", "/"));
    let wanted = fields.get("success_action_status").unwrap_or_default();
    let (status, body) = match wanted {
        "200" => (StatusCode::OK, String::new()),
        "201" => {
            let text = |text: &str| text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;");
            let xml = format!(
                "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<PostResponse><Location>{}</Location><Bucket>{}</Bucket><Key>{}</Key><ETag>\"{etag}\"</ETag></PostResponse>",
                text(&location),
                text(bucket),
                text(key),
            );
            (StatusCode::CREATED, xml)
        }
        _ => (StatusCode::NO_CONTENT, String::new()),
    };
    let redirect = fields.get("success_action_redirect").or_else(|| fields.get("redirect")).filter(|target| is_address(target));
    let mut response = HttpResponse::new(if body.is_empty() { s3s::Body::empty() } else { s3s::Body::from(body) });
    *response.status_mut() = status;
    let mut tell = |name: HeaderName, value: String| {
        if let Ok(value) = HeaderValue::from_str(&value) {
            response.headers_mut().insert(name, value);
        }
    };
    tell(ETAG, format!("\"{etag}\""));
    match redirect {
        Some(target) => {
            let joint = if target.contains('?') { '&' } else { '?' };
            tell(LOCATION, format!("{target}{joint}bucket={}&key={}&etag=%22{etag}%22", encoded(bucket), encoded(key)));
            *response.body_mut() = s3s::Body::empty();
            *response.status_mut() = StatusCode::SEE_OTHER;
        }
        None => {
            tell(LOCATION, location);
            if status == StatusCode::CREATED {
                tell(CONTENT_TYPE, "application/xml".to_owned());
            }
        }
    }
    response
}

fn is_address(text: &str) -> bool {
    text.parse::<Uri>().is_ok_and(|uri| matches!(uri.scheme_str(), Some("http" | "https")))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fields(all: &[(&str, &str)]) -> Fields {
        let mut fields = Fields::default();
        all.iter().for_each(|(name, value)| fields.add(name, (*value).to_owned()));
        fields
    }

    #[test]
    fn what_every_get_would_have_to_tell_can_be_told() {
        let is_good = |name: &str, value: &str| check_kept(&fields(&[(name, value)])).is_ok();
        assert!(is_good("Content-Disposition", "attachment; filename=\"a\u{e9}.txt\"") && is_good("x-amz-meta-a", "b\nc"));
        assert!(!is_good("Content-Disposition", "attachment; filename=\"a\nb\""));
        assert!(!is_good("x-amz-meta-a b", "c") && !is_good("Content-Type", "text/\u{7}"));
    }

    #[test]
    fn policies_of_buckets_see_the_words_that_are_written() {
        let given = fields(&[
            ("ACL", "public-read"),
            ("Content-Type", "text/x"),
            ("Content-Encoding", ""),
            ("x-amz-meta-a", "b"),
            ("x-amz-tagging", "kept=no"),
            ("tagging", "<xml/>"),
            ("x-amz-signature", "s"),
            ("policy", "p"),
        ]);
        let headers = headers_of(&given, Some("kept=yes"));
        let mut told: Vec<_> = headers.iter().map(|(name, value)| (name.as_str(), value.to_str().unwrap_or_default())).collect();
        told.sort_unstable();
        let written = [("content-type", "text/x"), ("x-amz-acl", "public-read"), ("x-amz-meta-a", "b"), ("x-amz-tagging", "kept=yes")];
        assert_eq!(told, written);
    }

    #[test]
    fn a_form_is_answered_as_it_asks_for_and_leads_nowhere_but_to_an_address() {
        let of = |all: &[(&str, &str)]| {
            let answer = answer(&fields(all), "b", "a k", "e");
            let location = answer.headers().get(LOCATION).and_then(|value| value.to_str().ok()).unwrap_or_default().to_owned();
            (answer.status().as_u16(), location)
        };
        assert_eq!(of(&[]), (204, "/b/a%20k".into()));
        assert_eq!(of(&[("success_action_status", "201")]).0, 201);
        let led = of(&[("success_action_redirect", "http://h/x?y=1")]);
        assert_eq!(led, (303, "http://h/x?y=1&bucket=b&key=a%20k&etag=%22e%22".into()));
        assert_eq!(of(&[("success_action_redirect", "javascript:alert(1)")]), (204, "/b/a%20k".into()));
    }
}
