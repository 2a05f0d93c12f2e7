//! Temporary credentials, as Amazon's STS gives them: `POST /` with a form, signed for `sts`.
//!
//! There are no roles beside accounts: whoever asks assumes itself, for a time and perhaps with a policy that takes something away. The names of
//! role and session are told again, and say nothing else (`docs/decisions/0033-…`). Source: AWS, "Security Token Service API Reference".

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use hyper::header::{CONTENT_TYPE, HeaderValue};
use hyper::http::Extensions;
use hyper::{HeaderMap, Method, StatusCode, Uri};
use s3s::dto::{Timestamp, TimestampFormat};
use s3s::route::S3Route;
use s3s::{Body, S3Error, S3ErrorCode, S3Request, S3Response, S3Result, s3_error};

use crate::Gateway;
use crate::limits;
use crate::policy::Policy;
use crate::session::{Issued, Session, Wanted};

/// The version of the protocol.
const VERSION: &str = "2011-06-15";
/// Where its XML is at home.
pub const NAMESPACE: &str = "https://sts.amazonaws.com/doc/2011-06-15/";
/// What stands in an answer where the id of the request goes.
pub const REQUEST_ID: &str = "<RequestId/>";
/// Largest form: a policy with all around it, encoded.
const FORM_BYTES_MAX: usize = 8192;
/// Longest policy of a session, in characters.
const POLICY_MAX: usize = 2048;
/// Shortest life of a session.
const LASTS_MIN_S: u64 = 900;
/// Longest life of one that was assumed, and of one that was only asked for.
const ASSUMED_MAX_S: u64 = 43_200;
const SESSION_MAX_S: u64 = 129_600;
/// How long one lives if nobody says it.
const ASSUMED_S: u64 = 3600;
const SESSION_S: u64 = 43_200;

/// Whether a request is for STS: no bucket is posted to.
pub fn is_for(method: &Method, uri: &Uri, headers: &HeaderMap) -> bool {
    let kind = headers.get(CONTENT_TYPE).and_then(|kind| kind.to_str().ok()).unwrap_or_default();
    let kind = kind.split(';').next().unwrap_or_default().trim();
    method == Method::POST && uri.path() == "/" && kind.eq_ignore_ascii_case("application/x-www-form-urlencoded")
}

/// The route of STS beside the operations of S3.
#[derive(Clone)]
pub struct Sts(pub Gateway);

/// What a form says, by its names.
type Form = BTreeMap<String, String>;

fn failed(code: &'static str, status: StatusCode, words: impl Into<String>) -> S3Error {
    let mut error = S3Error::with_message(S3ErrorCode::Custom(code.into()), words.into());
    error.set_status_code(status);
    error
}

fn invalid(words: impl Into<String>) -> S3Error {
    failed("ValidationError", StatusCode::BAD_REQUEST, words)
}

fn form_of(query: &str, body: &[u8]) -> S3Result<Form> {
    let malformed = || failed("MalformedQueryString", StatusCode::BAD_REQUEST, "The query string contains a syntax error.");
    let body = std::str::from_utf8(body).map_err(|_| malformed())?;
    let mut form = Form::new();
    for pair in query.split('&').chain(body.trim_end().split('&')).filter(|pair| !pair.is_empty()) {
        let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
        let both = crate::tags::decoded(name).zip(crate::tags::decoded(value));
        let (name, value) = both.ok_or_else(malformed)?;
        if form.insert(name, value).is_some() {
            return Err(malformed());
        }
    }
    Ok(form)
}

/// What is not known might have been meant to take something away: it is refused.
fn check_names(form: &Form, known: &[&str]) -> S3Result<()> {
    match form.keys().find(|name| !["Action", "Version"].contains(&name.as_str()) && !known.contains(&name.as_str())) {
        Some(name) => Err(invalid(format!("The parameter {name} is not supported"))),
        None => Ok(()),
    }
}

fn lasts(form: &Form, usual_s: u64, max_s: u64) -> S3Result<Duration> {
    let Some(text) = form.get("DurationSeconds") else { return Ok(Duration::from_secs(usual_s)) };
    let wrong = |bound: String| {
        invalid(format!(
            "1 validation error detected: Value '{text}' at 'durationSeconds' failed to satisfy constraint: Member must have value {bound}"
        ))
    };
    match text.parse::<u64>() {
        Ok(seconds) if seconds > max_s => Err(wrong(format!("less than or equal to {max_s}"))),
        Ok(seconds) if seconds >= LASTS_MIN_S => Ok(Duration::from_secs(seconds)),
        _ => Err(wrong(format!("greater than or equal to {LASTS_MIN_S}"))),
    }
}

/// `ROLE/SESSION`, as a form names them.
fn role_of(form: &Form, account: &str) -> S3Result<String> {
    let role = match form.get("RoleArn") {
        None => account,
        Some(arn) if (20..=2048).contains(&arn.len()) && arn.starts_with("arn:") => arn.rsplit(['/', ':']).next().unwrap_or_default(),
        Some(arn) => return Err(invalid(format!("{arn} is invalid"))),
    };
    let session = form.get("RoleSessionName").map_or(account, String::as_str);
    let is_name = |text: &str| text.bytes().all(|b| b.is_ascii_alphanumeric() || b"_+=,.@-".contains(&b));
    if !(1..=64).contains(&role.len()) || !is_name(role) {
        return Err(invalid(format!("1 validation error detected: Value '{role}' of 'roleArn' is no name of a role")));
    }
    if !(2..=64).contains(&session.len()) || !is_name(session) {
        let words = "failed to satisfy constraint: Member must satisfy regular expression pattern: [\\w+=,.@-]{2,64}";
        return Err(invalid(format!("1 validation error detected: Value '{session}' at 'roleSessionName' {words}")));
    }
    Ok(format!("{role}/{session}"))
}

fn policy_of(form: &Form) -> S3Result<Option<String>> {
    let Some(text) = form.get("Policy") else { return Ok(None) };
    if text.is_empty() || text.chars().count() > POLICY_MAX {
        let words = format!("1 validation error detected: 'policy' has 1 to {POLICY_MAX} characters");
        return Err(invalid(words));
    }
    let malformed = |why: crate::policy::Malformed| failed("MalformedPolicyDocument", StatusCode::BAD_REQUEST, why.to_string());
    Policy::parse_of_session(text).map_err(malformed)?;
    Ok(Some(text.clone()))
}

/// What AWS calls whoever acts.
fn arn_of(account: &str, role: Option<&str>) -> String {
    match role {
        Some(role) => format!("arn:aws:sts::{account}:assumed-role/{role}"),
        None => format!("arn:aws:iam::{account}:user/{account}"),
    }
}

fn credentials(issued: &Issued) -> String {
    let mut expires = Vec::new();
    // A time that cannot be written has no place in a calendar.
    let _written = Timestamp::from(issued.expires).format(TimestampFormat::DateTime, &mut expires);
    let (key, secret, token, expires) = (&issued.access_key, &issued.secret, &issued.token, String::from_utf8_lossy(&expires));
    format!(
        "<Credentials><AccessKeyId>{key}</AccessKeyId><SecretAccessKey>{secret}</SecretAccessKey>\
         <SessionToken>{token}</SessionToken><Expiration>{expires}</Expiration></Credentials>"
    )
}

fn answer(action: &str, result: &str) -> S3Response<Body> {
    let xml = format!(
        "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<{action}Response xmlns=\"{NAMESPACE}\"><{action}Result>{result}</{action}Result>\
         <ResponseMetadata>{REQUEST_ID}</ResponseMetadata></{action}Response>"
    );
    let mut response = S3Response::new(Body::from(xml));
    response.headers.insert(CONTENT_TYPE, HeaderValue::from_static("text/xml"));
    response
}

impl Sts {
    async fn assume(&self, from: &str, account: &str, form: &Form) -> S3Result<S3Response<Body>> {
        check_names(form, &["RoleArn", "RoleSessionName", "DurationSeconds", "Policy"])?;
        let (role, policy) = (role_of(form, account)?, policy_of(form)?);
        let packed = policy.as_ref().map(|text| (text.chars().count() * 100).div_ceil(POLICY_MAX));
        let wanted = Wanted { lasts: lasts(form, ASSUMED_S, ASSUMED_MAX_S)?, role: role.clone(), policy };
        let issued = self.0.new_session(from, wanted).await?;
        let (arn, id) = (arn_of(account, Some(&role)), role.replacen('/', ":", 1));
        let packed = packed.map(|percent| format!("<PackedPolicySize>{percent}</PackedPolicySize>")).unwrap_or_default();
        let user = format!("<AssumedRoleUser><AssumedRoleId>{id}</AssumedRoleId><Arn>{arn}</Arn></AssumedRoleUser>");
        Ok(answer("AssumeRole", &format!("{user}{}{packed}", credentials(&issued))))
    }

    async fn session(&self, from: &str, form: &Form) -> S3Result<S3Response<Body>> {
        check_names(form, &["DurationSeconds"])?;
        let wanted = Wanted { lasts: lasts(form, SESSION_S, SESSION_MAX_S)?, ..Wanted::default() };
        Ok(answer("GetSessionToken", &credentials(&self.0.new_session(from, wanted).await?)))
    }
}

fn identity(account: &str, role: Option<&str>) -> S3Response<Body> {
    let id = role.map_or(account.to_owned(), |role| role.replacen('/', ":", 1));
    let arn = arn_of(account, role);
    answer("GetCallerIdentity", &format!("<Arn>{arn}</Arn><UserId>{id}</UserId><Account>{account}</Account>"))
}

#[async_trait::async_trait]
impl S3Route for Sts {
    fn is_match(&self, method: &Method, uri: &Uri, headers: &HeaderMap, _: &mut Extensions) -> bool {
        is_for(method, uri, headers)
    }

    async fn check_access(&self, req: &mut S3Request<Body>) -> S3Result<()> {
        if req.credentials.is_some() {
            return Ok(());
        }
        Err(failed("MissingAuthenticationToken", StatusCode::FORBIDDEN, "Request is missing Authentication Token"))
    }

    async fn call(&self, mut req: S3Request<Body>) -> S3Result<S3Response<Body>> {
        let from = req.credentials.map(|credentials| credentials.access_key).ok_or_else(crate::access::denied)?;
        let session = req.extensions.get::<Arc<Session>>().filter(|session| session.access_key == from);
        let account = match session {
            Some(session) => session.account.clone(),
            None => self.0.account_of(&*self.0.records().await?, &from)?,
        };
        limits::count_for(&req.extensions, Some(&account))?;
        let too_large = |_| failed("RequestEntityTooLarge", StatusCode::PAYLOAD_TOO_LARGE, "The form is too large");
        let body = req.input.store_all_limited(FORM_BYTES_MAX).await.map_err(too_large)?;
        let form = form_of(req.uri.query().unwrap_or_default(), &body)?;
        let (action, version) = (form.get("Action").map(String::as_str), form.get("Version").map(String::as_str));
        if session.is_some() && matches!(action, Some("AssumeRole" | "GetSessionToken")) {
            let action = action.unwrap_or_default();
            return Err(s3_error!(AccessDenied, "Cannot call {action} with session credentials"));
        }
        tracing::debug!(action, access_key = from, "asked of STS");
        match action {
            Some("AssumeRole") if version == Some(VERSION) => self.assume(&from, &account, &form).await,
            Some("GetSessionToken") if version == Some(VERSION) => self.session(&from, &form).await,
            Some("GetCallerIdentity") if version == Some(VERSION) => {
                Ok(identity(&account, session.and_then(|session| session.role.as_deref())))
            }
            Some(action) => {
                let version = version.unwrap_or_default();
                let words = format!("Could not find operation {action} for version {version}");
                Err(failed("InvalidAction", StatusCode::BAD_REQUEST, words))
            }
            None => Err(failed("MissingAction", StatusCode::BAD_REQUEST, "The request is missing an action.")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn form(text: &str) -> Form {
        form_of("", text.as_bytes()).unwrap_or_default()
    }

    fn code<T>(result: S3Result<T>) -> Option<String> {
        result.err().map(|error| error.code().as_str().to_owned())
    }

    #[test]
    fn only_a_form_that_is_posted_to_no_bucket_is_for_sts() {
        let is = |method: Method, path: &'static str, kind: &'static str| {
            let headers = HeaderMap::from_iter([(CONTENT_TYPE, HeaderValue::from_static(kind))]);
            is_for(&method, &Uri::from_static(path), &headers)
        };
        assert!(is(Method::POST, "/", "application/x-www-form-urlencoded; charset=utf-8"));
        assert!(is(Method::POST, "/?Action=AssumeRole", "application/x-www-form-urlencoded"));
        assert!(!is(Method::POST, "/b", "application/x-www-form-urlencoded"));
        assert!(!is(Method::GET, "/", "application/x-www-form-urlencoded"));
        assert!(!is(Method::POST, "/", "multipart/form-data; boundary=x"));
    }

    #[test]
    fn a_form_is_read_or_refused() {
        assert_eq!(form("Action=A&Policy=%7B+%7D").get("Policy").map(String::as_str), Some("{ }"));
        for bad in ["A=1&A=2", "A=%4", "A=%ff"] {
            assert_eq!(code(form_of("", bad.as_bytes())).as_deref(), Some("MalformedQueryString"), "{bad}");
        }
        assert_eq!(code(form_of("Action=A", b"Action=A")).as_deref(), Some("MalformedQueryString"), "in both places");
        assert_eq!(code(check_names(&form("Action=A&PolicyArns.member.1.arn=a"), &["Policy"])).as_deref(), Some("ValidationError"));
        assert_eq!(code(check_names(&form("Action=A&Version=1&Policy=p"), &["Policy"])), None);
    }

    #[test]
    fn a_session_lasts_between_its_bounds() {
        let of = |text: &str| lasts(&form(text), ASSUMED_S, ASSUMED_MAX_S);
        assert_eq!(of("").ok(), Some(Duration::from_secs(3600)));
        assert_eq!(of("DurationSeconds=900").ok(), Some(Duration::from_secs(900)));
        assert_eq!(of("DurationSeconds=43200").ok(), Some(Duration::from_secs(43_200)));
        for bad in ["899", "43201", "-1", "x", ""] {
            assert_eq!(code(of(&format!("DurationSeconds={bad}"))).as_deref(), Some("ValidationError"), "{bad}");
        }
    }

    #[test]
    fn names_of_roles_and_sessions_are_told_as_they_were_given() {
        let of = |text: &str| role_of(&form(text), "ann");
        assert_eq!(of("").ok().as_deref(), Some("ann/ann"));
        assert_eq!(of("RoleArn=arn:aws:iam:::role/path/any&RoleSessionName=s.1").ok().as_deref(), Some("any/s.1"));
        for bad in ["RoleArn=any", "RoleSessionName=s", "RoleSessionName=a%20b", "RoleArn=arn:aws:iam::1:role/%3Cx%3E"] {
            assert_eq!(code(of(bad)).as_deref(), Some("ValidationError"), "{bad}");
        }
    }

    #[test]
    fn the_policy_of_a_session_names_nobody() {
        let of = |text: &str| policy_of(&Form::from([("Policy".to_owned(), text.to_owned())]));
        let good = r#"{"Version":"2012-10-17","Statement":{"Effect":"Allow","Action":"s3:GetObject","Resource":"*"}}"#;
        assert_eq!(of(good).ok().flatten().as_deref(), Some(good));
        let named = good.replace(r#""Effect""#, r#""Principal":"*","Effect""#);
        for bad in [named.as_str(), "{}", "x", "{"] {
            assert_eq!(code(of(bad)).as_deref(), Some("MalformedPolicyDocument"), "{bad}");
        }
        assert_eq!(code(of(&" ".repeat(POLICY_MAX + 1))).as_deref(), Some("ValidationError"));
    }
}
