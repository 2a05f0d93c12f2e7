//! What is refused of a request's head, before the protocol looks at it: what S3 answers with words of its own, where the protocol's crate
//! has others or none.

use hyper::Method;
use hyper::header::{AUTHORIZATION, CONTENT_LENGTH, DATE, HeaderMap, HeaderName, HeaderValue, TRANSFER_ENCODING};
use hyper::http::request::Parts;
use s3s::dto::{Timestamp, TimestampFormat};
use s3s::{S3Error, S3ErrorCode, S3Result, s3_error};

use crate::checksum::Algorithm;
use crate::encryption;
use crate::object::put::md5_of;
use crate::{session, sts};

/// Longest life of a presigned address: a week.
const PRESIGNED_SECONDS_MAX: i64 = 604_800;
/// Most buckets in one answer.
const BUCKETS_MAX: u16 = 10_000;
/// What every request may hold that is let in.
const HELD_FREE_BYTES: u64 = 64 * 1024;
/// Beginnings of names of buckets that S3 keeps for itself.
const KEPT_BEGINNINGS: [&str; 3] = ["xn--", "sthree-", "amzn-s3-demo-"];
/// And their ends.
const KEPT_ENDS: [&str; 4] = ["-s3alias", "--ol-s3", ".mrap", "--x-s3"];
/// The date of a request, as Amazon writes it.
const AMZ_DATE: HeaderName = HeaderName::from_static("x-amz-date");

/// Refuses a request by its head. `is_safe` says whether nobody but the two ends can see it.
///
/// # Errors
/// As S3 has them.
pub fn check(head: &Parts, is_safe: bool) -> S3Result<()> {
    check_method(head)?;
    check_authorization(head)?;
    check_query(head)?;
    check_length(head)?;
    let is_deletion = head.method == Method::POST && asked(head, "delete").next().is_some();
    check_sums(&head.method, &head.headers, is_deletion)?;
    check_directives(&head.headers)?;
    encryption::head::check(&head.method, &head.headers, is_safe)
}

/// The same of a form: of its own head, as far as a form is asked so.
///
/// # Errors
/// As S3 has them.
pub fn check_form(head: &Parts) -> S3Result<()> {
    check_authorization(head)?;
    check_query(head)
}

/// And of the PUT that it is, by the headers that its fields are.
///
/// # Errors
/// As S3 has them.
pub fn check_fields(headers: &HeaderMap, is_safe: bool) -> S3Result<()> {
    check_sums(&Method::PUT, headers, false)?;
    encryption::head::check(&Method::PUT, headers, is_safe)
}

/// A date that HTTP has stands for Amazon's, where that is not there.
pub fn mend_date(headers: &mut HeaderMap) {
    if headers.contains_key(AMZ_DATE) {
        return;
    }
    // Some clients write the zone as a number.
    let date = headers.get(DATE).and_then(|date| date.to_str().ok()).map(|date| date.replace("-0000", "GMT").replace("+0000", "GMT"));
    let date = date.and_then(|date| Timestamp::parse(TimestampFormat::HttpDate, &date).ok());
    let mut text = Vec::new();
    if date.and_then(|date| date.format(TimestampFormat::DateTime, &mut text).ok()).is_none() {
        return;
    }
    // `2033-01-01T00:00:00.000Z` is `20330101T000000Z`.
    let digits: String = String::from_utf8_lossy(&text).chars().filter(|one| one.is_ascii_digit()).take(14).collect();
    if let Some((day, time)) = digits.split_at_checked(8)
        && let Ok(value) = HeaderValue::from_str(&format!("{day}T{time}Z"))
    {
        headers.insert(AMZ_DATE, value);
    }
}

/// Sees to it that nobody shows the values of headers that are secret, whoever shows the head.
pub fn hide_secrets(headers: &mut HeaderMap) {
    for (name, value) in headers.iter_mut() {
        if *name == AUTHORIZATION || *name == session::TOKEN || encryption::head::KEYS.contains(&name.as_str()) {
            value.set_sensitive(true);
        }
    }
}

fn text<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    headers.get(name).and_then(|value| value.to_str().ok())
}

/// The values of a word of the query, however its name is written.
fn asked<'a>(head: &'a Parts, name: &'a str) -> impl Iterator<Item = &'a str> {
    let pairs = head.uri.query().unwrap_or_default().split('&');
    pairs.filter_map(move |pair| {
        let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
        (crate::tags::decoded(key).as_deref() == Some(name)).then_some(value)
    })
}

/// Bucket and key of a path, still encoded; both may be empty.
pub fn named(path: &str) -> (&str, &str) {
    path.trim_start_matches('/').split_once('/').unwrap_or((path.trim_start_matches('/'), ""))
}

fn check_method(head: &Parts) -> S3Result<()> {
    let (bucket, key) = named(head.uri.path());
    let is_kept = KEPT_BEGINNINGS.iter().any(|one| bucket.starts_with(one)) || KEPT_ENDS.iter().any(|one| bucket.ends_with(one));
    if key.is_empty() && head.method == Method::PUT && (is_kept || [".-", "-."].iter().any(|two| bucket.contains(two))) {
        return Err(s3_error!(InvalidBucketName, "The specified bucket is not valid."));
    }
    let is_known = [Method::GET, Method::HEAD, Method::PUT, Method::POST, Method::DELETE, Method::OPTIONS].contains(&head.method);
    // An object is posted to for a few purposes only.
    let is_post = head.method == Method::POST && !key.is_empty();
    // Buckets as a whole are only listed.
    let is_of_all = bucket.is_empty() && [Method::PUT, Method::DELETE].contains(&head.method);
    if is_known
        && !is_of_all
        && (!is_post || ["uploads", "uploadId", "restore", "select"].iter().any(|one| asked(head, one).next().is_some()))
    {
        return Ok(());
    }
    Err(s3_error!(MethodNotAllowed, "The specified method is not allowed against this resource."))
}

fn check_authorization(head: &Parts) -> S3Result<()> {
    let Some(value) = head.headers.get(AUTHORIZATION) else { return Ok(()) };
    let value = value.to_str().unwrap_or_default().trim();
    if value.is_empty() {
        return Err(s3_error!(AccessDenied, "Access Denied"));
    }
    let Some((kind, rest)) = value.split_once(' ') else { return Err(malformed("it is one word")) };
    if kind != "AWS4-HMAC-SHA256" {
        return Err(s3_error!(InvalidArgument, "Unsupported Authorization Type"));
    }
    for part in ["Credential", "SignedHeaders", "Signature"] {
        if !rest.split(',').any(|one| one.trim_start().strip_prefix(part).is_some_and(|value| value.starts_with('='))) {
            return Err(malformed(&format!("missing {part}")));
        }
    }
    let credential = rest.split(',').find_map(|one| one.trim().strip_prefix("Credential="));
    let scope: Vec<&str> = credential.unwrap_or_default().rsplit('/').collect();
    if scope.len() < 5 || scope.first() != Some(&"aws4_request") || scope.get(3).is_none_or(|day| day.len() != 8) {
        return Err(malformed("the Credential is mal-formed; expecting \"<YOUR-AKID>/YYYYMMDD/REGION/SERVICE/aws4_request\""));
    }
    let service = if sts::is_for(&head.method, &head.uri, &head.headers) { "sts" } else { "s3" };
    if scope.get(1) != Some(&service) {
        return Err(malformed(&format!("incorrect service. This endpoint belongs to \"{service}\"")));
    }
    if !is_day_of_digits(credential.unwrap_or_default()) {
        return Err(malformed("the Credential has no date"));
    }
    let mut dates = head.headers.get_all(AMZ_DATE).iter().peekable();
    if dates.peek().is_none() || !dates.all(|date| date.to_str().is_ok_and(is_date)) {
        return Err(s3_error!(AccessDenied, "AWS authentication requires a valid Date or x-amz-date header"));
    }
    Ok(())
}

/// Whether that is `20330101T123456Z`. The protocol's crate takes it for granted that its digits are digits.
fn is_date(text: &str) -> bool {
    let fits = |(at, byte): (usize, &u8)| match at {
        8 => *byte == b'T',
        15 => *byte == b'Z',
        _ => byte.is_ascii_digit(),
    };
    text.len() == 16 && text.as_bytes().iter().enumerate().all(fits)
}

/// Whether what stands for the day of a credential has digits only, where it is as long as one; as above.
fn is_day_of_digits(credential: &str) -> bool {
    credential.split('/').nth(1).is_none_or(|day| day.len() != 8 || day.bytes().all(|byte| byte.is_ascii_digit()))
}

fn malformed(why: &str) -> S3Error {
    s3_error!(AuthorizationHeaderMalformed, "The authorization header is malformed; {why}.")
}

/// Words of a PUT that are taken from headers alone: in a query, which some who presign put them into, they would be passed over.
const HEADERS_ONLY: [&str; 7] = [
    "x-amz-server-side-encryption",
    "x-amz-object-lock-",
    "x-amz-acl",
    "x-amz-grant-",
    "x-amz-tagging",
    "x-amz-meta-",
    "x-amz-copy-source",
];

fn check_query(head: &Parts) -> S3Result<()> {
    // What is signed for another service opens nothing here, and the other one that is here takes no addresses.
    let is_for_sts = sts::is_for(&head.method, &head.uri, &head.headers);
    let is_of_s3 = |credential: &str| !is_for_sts && credential.rsplit('/').nth(1) == Some("s3");
    for value in asked(head, "X-Amz-Expires") {
        let wrong = match value.parse::<i64>() {
            Err(_) => "X-Amz-Expires should be a number",
            Ok(seconds) if seconds < 0 => "X-Amz-Expires must be non-negative",
            Ok(seconds) if seconds > PRESIGNED_SECONDS_MAX => "X-Amz-Expires must be less than a week (in seconds) that is 604800",
            Ok(_) => continue,
        };
        // Clients and their tests expect that it is forbidden, whatever else AWS answers.
        let mut error = S3Error::with_message(S3ErrorCode::AuthorizationQueryParametersError, wrong);
        error.set_status_code(hyper::StatusCode::FORBIDDEN);
        return Err(error);
    }
    for pair in head.uri.query().unwrap_or_default().split('&') {
        let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
        let value = crate::tags::decoded(value);
        let is_credential = crate::tags::decoded(name).as_deref() == Some("X-Amz-Credential");
        if is_credential && !value.as_deref().is_some_and(is_of_s3) {
            let words = "Error parsing the X-Amz-Credential parameter; incorrect service. This endpoint belongs to \"s3\".";
            return Err(S3Error::with_message(S3ErrorCode::AuthorizationQueryParametersError, words));
        }
        let is_wrong = match crate::tags::decoded(name).as_deref() {
            Some("X-Amz-Date") => value.is_none_or(|date| !is_date(&date)),
            Some("X-Amz-Credential") => value.is_none_or(|credential| !is_day_of_digits(&credential)),
            _ => false,
        };
        if is_wrong {
            return Err(s3_error!(
                AuthorizationQueryParametersError,
                "X-Amz-Date must be in the ISO8601 Long Format \"yyyyMMdd'T'HHmmss'Z'\""
            ));
        }
    }
    // They hold in a header: whoever is told that all went well thinks that it is encrypted, or locked.
    let begins = |name: &str| HEADERS_ONLY.iter().any(|word| name.to_ascii_lowercase().starts_with(word));
    let names = head.uri.query().unwrap_or_default().split('&').map(|pair| pair.split('=').next().unwrap_or_default());
    if names.filter_map(crate::tags::decoded).any(|name| begins(&name)) {
        return Err(s3_error!(
            NotImplemented,
            "Encryption, locks, lists of access, tags and metadata are asked for in headers that are signed, not in the query"
        ));
    }
    let is_page = |text: &str| text.parse::<u16>().is_ok_and(|buckets| (1..=BUCKETS_MAX).contains(&buckets));
    if named(head.uri.path()).0.is_empty() && asked(head, "max-buckets").any(|text| !is_page(text)) {
        return Err(s3_error!(InvalidArgument, "Argument max-buckets must be an integer between 1 and 10000"));
    }
    // Which of an object's there are is known later.
    if asked(head, "partNumber")
        .any(|number| number.parse::<u16>().map_or(true, |number| !(1..=crate::upload::PARTS_MAX).contains(&number)))
    {
        return Err(s3_error!(InvalidArgument, "Part number must be an integer between 1 and 10000, inclusive"));
    }
    Ok(())
}

/// Whether a request brings the bytes of an object, or of a part of one.
fn is_of_object(head: &Parts) -> bool {
    let is_setting = ["acl", "tagging", "retention", "legal-hold"].iter().any(|one| asked(head, one).next().is_some());
    head.method == Method::PUT && !named(head.uri.path()).1.is_empty() && !is_setting
}

/// How much of a request is read into memory whole before anything is done, where that is much: what is no object, up to its largest size.
pub fn held_bytes(head: &Parts) -> u64 {
    if is_of_object(head) || crate::form::is_form(head).is_some() {
        return 0;
    }
    let is_chunked = head.headers.contains_key(TRANSFER_ENCODING);
    let length = text(&head.headers, CONTENT_LENGTH.as_str()).and_then(|length| length.parse().ok());
    let bytes = length.unwrap_or(if is_chunked { u64::MAX } else { 0 }).min(super::XML_BYTES_MAX as u64);
    if bytes > HELD_FREE_BYTES { bytes } else { 0 }
}

/// The body of an object has a length that is known before.
fn check_length(head: &Parts) -> S3Result<()> {
    let headers = &head.headers;
    let is_body = is_of_object(head) && !headers.contains_key("x-amz-copy-source");
    let is_told = headers.contains_key(CONTENT_LENGTH) || headers.contains_key(TRANSFER_ENCODING);
    if is_body && !is_told {
        return Err(s3_error!(MissingContentLength, "You must provide the Content-Length HTTP header."));
    }
    let largest = crate::object::put::PUT_BYTES_MAX;
    let length = text(headers, "x-amz-decoded-content-length").or_else(|| text(headers, CONTENT_LENGTH.as_str()));
    if is_body && length.and_then(|length| length.parse::<u64>().ok()).is_some_and(|length| length > largest) {
        return Err(s3_error!(EntityTooLarge, "Your proposed upload exceeds the maximum allowed size"));
    }
    Ok(())
}

/// What is said of the body can be, whatever the body is.
fn check_sums(method: &Method, headers: &HeaderMap, is_deletion: bool) -> S3Result<()> {
    if let Some(value) = headers.get("content-md5") {
        md5_of(value.to_str().unwrap_or_default().trim())?;
    }
    let mut given = 0;
    for one in Algorithm::ALL {
        let Some(value) = headers.get(one.header()) else { continue };
        given += 1;
        let value = value.to_str().unwrap_or_default();
        // That of an object of parts says how many they are.
        let sum = if method == Method::POST { value.split('-').next().unwrap_or_default() } else { value };
        if base64_simd::STANDARD.decode_to_vec(sum).map_or(true, |bytes| bytes.len() != one.bytes()) {
            let name = one.header();
            return Err(s3_error!(InvalidRequest, "Value for {name} header is invalid."));
        }
    }
    if given > 1 {
        return Err(s3_error!(InvalidRequest, "Expecting a single x-amz-checksum- header. Multiple checksum Types are not allowed."));
    }
    if let Some(name) = text(headers, "x-amz-sdk-checksum-algorithm") {
        let known = Algorithm::parse(name).is_ok();
        if !known {
            return Err(s3_error!(InvalidRequest, "Value for x-amz-sdk-checksum-algorithm header is invalid."));
        }
    }
    let is_summed = given > 0 || headers.contains_key("content-md5") || headers.contains_key("x-amz-trailer");
    if is_deletion && !is_summed {
        return Err(s3_error!(InvalidRequest, "Missing required header for this request: Content-MD5 OR x-amz-checksum-*"));
    }
    Ok(())
}

fn check_directives(headers: &HeaderMap) -> S3Result<()> {
    for (name, wrong) in
        [("x-amz-metadata-directive", "Unknown metadata directive."), ("x-amz-tagging-directive", "Unknown tagging directive.")]
    {
        if text(headers, name).is_some_and(|value| value != "COPY" && value != "REPLACE") {
            return Err(S3Error::with_message(S3ErrorCode::InvalidArgument, wrong));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use hyper::Request;

    fn code(method: &str, uri: &str, headers: &[(&str, &str)]) -> Option<String> {
        let mut request = Request::builder().method(method).uri(uri);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let (head, ()) = request.body(()).expect("a request").into_parts();
        check(&head, false).err().map(|error| error.code().as_str().to_owned())
    }

    fn is(code: Option<String>, wanted: &str) -> bool {
        code.as_deref() == Some(wanted)
    }

    #[test]
    fn methods_that_s3_does_not_have_are_not_allowed() {
        assert!(is(code("PATCH", "/b/k", &[]), "MethodNotAllowed"));
        assert!(is(code("POST", "/b/k", &[]), "MethodNotAllowed"));
        assert!(is(code("PUT", "/", &[]), "MethodNotAllowed") && is(code("DELETE", "/", &[]), "MethodNotAllowed"));
        assert!(is(code("PUT", "/xn--b", &[]), "InvalidBucketName") && is(code("PUT", "/b-s3alias", &[]), "InvalidBucketName"));
        assert!(is(code("PUT", "/a.-b", &[]), "InvalidBucketName") && is(code("PUT", "/a-.b", &[]), "InvalidBucketName"));
        assert_eq!((code("GET", "/b/k", &[]), code("POST", "/b/k?uploads", &[]), code("POST", "/b?x", &[])), (None, None, None));
    }

    #[test]
    fn an_authorization_is_one_of_version_4_with_all_of_its_parts() {
        let with = |value: &str| code("GET", "/b", &[("authorization", value), ("x-amz-date", "20260101T000000Z")]);
        let scope = "k/e/y/20260101/us-east-1/s3/aws4_request";
        assert_eq!(with(&format!("AWS4-HMAC-SHA256 Credential={scope}, SignedHeaders=host, Signature=s")), None);
        assert_eq!(with(&format!("AWS4-HMAC-SHA256 Credential={scope},SignedHeaders=host,Signature=s")), None);
        assert!(is(with(""), "AccessDenied"));
        let of_sts = format!("AWS4-HMAC-SHA256 Credential={}, SignedHeaders=host, Signature=s", scope.replace("s3/", "sts/"));
        assert!(is(with(&of_sts), "AuthorizationHeaderMalformed"));
        let posted =
            [("authorization", of_sts.as_str()), ("x-amz-date", "20260101T000000Z"), ("content-type", "application/x-www-form-urlencoded")];
        assert_eq!(code("POST", "/", &posted), None);
        assert!(is(with("Bearer x"), "InvalidArgument"));
        assert!(is(with("AWS4-HMAC-SHA256 nothing"), "AuthorizationHeaderMalformed"));
        assert!(is(with("AWS4-HMAC-SHA256 Credential=a/b, SignedHeaders=host, Signature=s"), "AuthorizationHeaderMalformed"));
        let undated = format!("AWS4-HMAC-SHA256 Credential={scope}, SignedHeaders=host, Signature=s");
        assert!(is(code("GET", "/b", &[("authorization", &undated)]), "AccessDenied"));
    }

    #[test]
    fn dates_of_signatures_have_digits() {
        let with = |scope: &str, date: &str| {
            let value = format!("AWS4-HMAC-SHA256 Credential={scope}/us-east-1/s3/aws4_request, SignedHeaders=host, Signature=s");
            code("GET", "/b", &[("authorization", &value), ("x-amz-date", date)])
        };
        assert_eq!(with("k/20260101", "20260101T000000Z"), None);
        assert!(is(with("k/2026010(", "20260101T000000Z"), "AuthorizationHeaderMalformed"));
        assert!(is(with("k/abcdefgh/20260101", "20260101T000000Z"), "AuthorizationHeaderMalformed"));
        for date in ["20260101T00(000Z", "20260101T000000", "20260101 000000Z"] {
            assert!(is(with("k/20260101", date), "AccessDenied"), "{date}");
        }
        for query in [
            "X-Amz-Date=20330101T00(000Z",
            "X-Amz-D%61te=2033%30101T00/000Z",
            "X-Amz-Date=%zz330101T00000Z",
            "X-Amz-Credential=k%2Fabcdefgh%2Fr",
        ] {
            assert!(is(code("GET", &format!("/b/k?{query}"), &[]), "AuthorizationQueryParametersError"), "{query}");
        }
    }

    #[test]
    fn a_date_of_http_stands_for_amazons() {
        let mut headers = HeaderMap::new();
        headers.insert(DATE, HeaderValue::from_static("Sat, 01 Jan 2033 12:34:56 GMT"));
        mend_date(&mut headers);
        assert_eq!(text(&headers, "x-amz-date"), Some("20330101T123456Z"));
        let mut headers = HeaderMap::from_iter([(DATE, HeaderValue::from_static("Sat, 01 Jan 2033 12:34:56 -0000"))]);
        mend_date(&mut headers);
        assert_eq!(text(&headers, "x-amz-date"), Some("20330101T123456Z"));
        let mut headers = HeaderMap::from_iter([(DATE, HeaderValue::from_static("yesterday"))]);
        mend_date(&mut headers);
        assert_eq!(text(&headers, "x-amz-date"), None);
    }

    #[test]
    fn a_presigned_address_lives_for_a_week_at_most() {
        assert_eq!(code("GET", "/b/k?X-Amz-Expires=604800", &[]), None);
        for bad in ["604801", "-1", "x", ""] {
            assert!(is(code("GET", &format!("/b/k?X-Amz-Expires={bad}"), &[]), "AuthorizationQueryParametersError"), "{bad}");
        }
    }

    #[test]
    fn who_asks_for_encryption_or_a_lock_in_the_query_is_not_told_that_all_went_well() {
        for asked in [
            "x-amz-server-side-encryption=AES256",
            "X-Amz-Server-Side-Encryption-Customer-Key=x",
            "x%2Damz-server-side-encryption=a",
            "x-amz-object-lock-mode=GOVERNANCE",
            "X-Amz-Object-Lock-Legal-Hold=ON",
            "x-amz-acl=private",
            "x-amz-grant-read=id%3Dx",
            "x-amz-tagging=a%3Db",
            "x-amz-meta-a=b",
            "x-amz-copy-source=b%2Fk",
        ] {
            let uri = format!("/b/k?X-Amz-Expires=5&{asked}");
            assert!(is(code("PUT", &uri, &[("content-length", "1")]), "NotImplemented"), "{asked}");
        }
        assert_eq!(code("PUT", "/b/k?x-amz-sdk-checksum-algorithm=CRC32&x-amz-user-agent=a", &[("content-length", "1")]), None);
        assert_eq!(code("PUT", "/b/k?x-id=PutObject", &[("content-length", "1"), ("x-amz-server-side-encryption", "AES256")]), None);
    }

    #[test]
    fn secrets_of_a_head_are_shown_to_nobody() {
        let [of_object, of_source] = encryption::head::KEYS;
        let mut request = Request::builder().uri("/b/k").header("host", "seen");
        for name in [AUTHORIZATION.as_str(), of_object, of_source, "x-amz-security-token"] {
            request = request.header(name, "hidden");
        }
        let (mut head, ()) = request.body(()).expect("a request").into_parts();
        assert!(format!("{head:?}").contains("hidden"));
        hide_secrets(&mut head.headers);
        let shown = format!("{:?}", Request::from_parts(head.clone(), ()));
        assert!(shown.contains("seen") && !shown.contains("hidden"), "{shown}");
        assert_eq!(text(&head.headers, of_object), Some("hidden"), "who asks for it gets it");
    }

    #[test]
    fn the_body_of_an_object_has_a_length() {
        assert!(is(code("PUT", "/b/k", &[]), "MissingContentLength"));
        assert_eq!(code("PUT", "/b", &[]), None);
        assert_eq!(code("PUT", "/b/k?acl", &[]), None);
        assert_eq!(code("PUT", "/b/k", &[("content-length", "0")]), None);
        assert_eq!(code("PUT", "/b/k", &[("transfer-encoding", "chunked")]), None);
        assert_eq!(code("PUT", "/b/k", &[("x-amz-copy-source", "b/x")]), None);
        assert!(is(code("PUT", "/b/k", &[("content-length", "5368709121")]), "EntityTooLarge"));
    }

    #[test]
    fn what_is_read_whole_is_known_before() {
        let held = |method: &str, uri: &str, headers: &[(&str, &str)]| {
            let mut request = Request::builder().method(method).uri(uri);
            for (name, value) in headers {
                request = request.header(*name, *value);
            }
            held_bytes(&request.body(()).expect("a request").into_parts().0)
        };
        let large = [("content-length", "1000000")];
        assert_eq!((held("PUT", "/b/k", &large), held("PUT", "/b/k?partNumber=1&uploadId=u", &large)), (0, 0));
        assert_eq!((held("POST", "/b?delete", &large), held("PUT", "/b/k?tagging", &large)), (1_000_000, 1_000_000));
        assert_eq!((held("POST", "/b?%64elete", &large), held("PUT", "/b/k?%61cl", &large)), (1_000_000, 1_000_000));
        assert_eq!((held("PUT", "/b?policy", &[("content-length", "1000")]), held("GET", "/b", &[])), (0, 0));
        let most = crate::serve::XML_BYTES_MAX as u64;
        assert_eq!(held("POST", "/b?delete", &[("transfer-encoding", "chunked")]), most);
        assert_eq!(held("POST", "/b?delete", &[("content-length", "99999999999")]), most, "more is refused");
    }

    #[test]
    fn sums_that_cannot_be_are_refused() {
        let put = |name: &str, value: &str| code("PUT", "/b/k", &[("content-length", "1"), (name, value)]);
        assert_eq!(put("content-md5", "XrY7u+Ae7tCTyyK7j1rNww=="), None);
        assert!(is(put("content-md5", ""), "InvalidDigest"));
        assert!(is(put("content-md5", "YWJyYWNhZGFicmE="), "InvalidDigest"));
        assert_eq!(put("x-amz-checksum-crc32", "AAAAAA=="), None);
        assert!(is(put("x-amz-checksum-crc32", "AAAA"), "InvalidRequest"));
        assert!(is(put("x-amz-sdk-checksum-algorithm", "MD4"), "InvalidRequest"));
        let two = [("content-length", "1"), ("x-amz-checksum-crc32", "AAAAAA=="), ("x-amz-checksum-crc32c", "AAAAAA==")];
        assert!(is(code("PUT", "/b/k", &two), "InvalidRequest"));
        assert_eq!(code("POST", "/b/k?uploadId=1", &[("x-amz-checksum-crc32", "AAAAAA==-3")]), None);
        assert!(is(code("POST", "/b?delete", &[]), "InvalidRequest"));
    }

    #[test]
    fn a_page_of_buckets_has_a_size() {
        assert_eq!((code("GET", "/?max-buckets=10000", &[]), code("GET", "/b?max-buckets=0", &[])), (None, None));
        for bad in ["0", "10001", "-1", "x", ""] {
            assert!(is(code("GET", &format!("/?max-buckets={bad}"), &[]), "InvalidArgument"), "{bad}");
        }
    }

    #[test]
    fn numbers_of_parts_and_directives_are_known_ones() {
        assert_eq!(code("GET", "/b/k?partNumber=10000", &[]), None);
        for bad in ["0", "10001", "-1", "x"] {
            assert!(is(code("GET", &format!("/b/k?partNumber={bad}"), &[]), "InvalidArgument"), "{bad}");
        }
        let copy = |name: &str| code("PUT", "/b/k", &[("x-amz-copy-source", "b/x"), (name, "KEEP")]);
        assert!(is(copy("x-amz-metadata-directive"), "InvalidArgument"));
        assert!(is(copy("x-amz-tagging-directive"), "InvalidArgument"));
    }
}
