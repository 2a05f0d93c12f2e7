//! The gateway's HTTP server: connections in number and in their first silence bounded; at the end those under way finish.

pub(crate) mod answer;
mod chunks;
pub(crate) mod front;
mod held;
mod rest;
mod tls;

use std::future::Future;
use std::net::SocketAddr;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

use futures::FutureExt;
use futures::future::BoxFuture;
use hyper::Request;
use hyper::body::{Body, Incoming};
use hyper::header::{AUTHORIZATION, CONNECTION, CONTENT_LENGTH, CONTENT_TYPE, EXPECT, HeaderValue};
use hyper::http::request::Parts;
use hyper::{HeaderMap, Method};
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::graceful::GracefulShutdown;
use s3s::access::S3Access;
use s3s::auth::S3Auth;
use s3s::service::{S3Service, S3ServiceBuilder};
use s3s::{HttpError, HttpResponse, S3, S3Error, S3Result, s3_error};
use tokio::net::TcpListener;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use self::answer::Asked;
use self::chunks::{Chunks, Kind};
use crate::Gateway;
use crate::access::facts::Peer;
use crate::bucket::cors::CrossOrigin;
use crate::form;
use crate::keys::Secrets;
use crate::limits::{self, Slot};
use crate::session::{self, Session};
use crate::sts::Sts;
use tls::Tls;

pub use chunks::SIGNED_BYTES_MAX;
pub use tls::TlsFiles;

/// Connections at once; further ones wait to be accepted.
const CONNECTIONS_MAX: usize = 2048;
/// How long the head of a request may take, and how long a connection may be idle.
const HEAD_MAX: Duration = Duration::from_secs(60);
/// How long requests under way may take to finish at the end.
const FINISH: Duration = Duration::from_secs(3);
/// Largest XML body of a request: a thousand names of 1 KiB with all around them.
const XML_BYTES_MAX: usize = 4 * 1024 * 1024;
/// Pause after a connection could not be accepted: there may be no descriptor left.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// Why the gateway does not serve.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// It cannot listen.
    #[error("the S3 gateway cannot listen at {address}: {error}; is another process there?")]
    Listen {
        /// Where.
        address: String,
        /// What the system said.
        error: std::io::Error,
    },
    /// Its certificate cannot be used; in words, which file and why.
    #[error("the S3 gateway cannot speak TLS: {0}")]
    Tls(String),
}

/// Serves S3 at `address` until `stop`, with TLS where there are files for it; tells where it listens.
///
/// # Errors
/// [`ServeError`], at once.
pub async fn serve(
    gateway: Gateway,
    address: &str,
    tls: Option<TlsFiles>,
    listening: impl FnOnce(SocketAddr),
    stop: impl Future<Output = ()>,
) -> Result<(), ServeError> {
    let failed = |error| ServeError::Listen { address: address.to_owned(), error };
    let tls = tls.map(Tls::new).transpose().map_err(ServeError::Tls)?.map(Arc::new);
    let listener = TcpListener::bind(address).await.map_err(failed)?;
    listening(listener.local_addr().map_err(failed)?);
    let service = service(gateway.clone(), None);
    let mut http = hyper::server::conn::http1::Builder::new();
    http.timer(TokioTimer::new()).header_read_timeout(HEAD_MAX);
    let (graceful, room) = (GracefulShutdown::new(), Arc::new(Semaphore::new(CONNECTIONS_MAX)));
    tokio::pin!(stop);
    loop {
        let permit = tokio::select! {
            () = &mut stop => break,
            permit = room.clone().acquire_owned() => permit.expect("it is never closed"),
        };
        let accepted = tokio::select! {
            () = &mut stop => break,
            accepted = listener.accept() => accepted,
        };
        let (stream, from) = match accepted {
            Ok(accepted) => accepted,
            Err(error) => {
                tracing::warn!(%error, "a connection could not be accepted");
                tokio::time::sleep(ACCEPT_PAUSE).await;
                continue;
            }
        };
        // Answers are small or written in large pieces: waiting for more to send has no use.
        let _best_effort = stream.set_nodelay(true);
        let peer = Peer { address: from.ip(), is_secure: tls.is_some() };
        let guarded = Guarded { service: service.clone(), gateway: gateway.clone(), peer };
        let Some(tls) = tls.clone() else {
            let connection = graceful.watch(http.serve_connection(TokioIo::new(stream), guarded));
            tokio::spawn(ended(connection, permit));
            continue;
        };
        let (http, watcher) = (http.clone(), graceful.watcher());
        tokio::spawn(async move {
            match tls.accept(stream).await {
                Ok(stream) => ended(watcher.watch(http.serve_connection(TokioIo::new(stream), guarded)), permit).await,
                Err(error) => tracing::debug!(%from, %error, "a connection is not encrypted"),
            }
        });
    }
    drop(listener);
    if tokio::time::timeout(FINISH, graceful.shutdown()).await.is_err() {
        tracing::warn!("requests were under way for too long and are cut off");
    }
    Ok(())
}

/// Holds the connection's permit until it ends.
async fn ended(connection: impl Future<Output = Result<(), hyper::Error>>, permit: OwnedSemaphorePermit) {
    if let Err(error) = connection.await {
        tracing::debug!(%error, "a connection ended");
    }
    drop(permit);
}

/// The service, behind what it must not be asked, and what it knows nothing of.
#[derive(Clone)]
struct Guarded {
    service: S3Service,
    gateway: Gateway,
    peer: Peer,
}

impl hyper::service::Service<Request<Incoming>> for Guarded {
    type Response = HttpResponse;
    type Error = HttpError;
    type Future = BoxFuture<'static, Result<HttpResponse, HttpError>>;

    fn call(&self, request: Request<Incoming>) -> Self::Future {
        // In a task of its own: what a caller that went away after its last byte has asked for is done, and not left half done. One that goes
        // before that is known by its body.
        let run = tokio::spawn(self.clone().run(request));
        Box::pin(async move { run.await.unwrap_or_else(|error| Err(HttpError::new(Box::new(error)))) })
    }
}

impl Guarded {
    async fn run(self, request: Request<Incoming>) -> Result<HttpResponse, HttpError> {
        let (mut head, body) = request.into_parts();
        front::mend_date(&mut head.headers);
        front::hide_secrets(&mut head.headers);
        head.extensions.insert(self.peer);
        let asking = self.gateway.figures.begin(announced_bytes(&head.headers));
        head.extensions.insert(asking.named());
        let asked = Asked::of(&head);
        let is_awaited = head.headers.contains_key(EXPECT);
        // Nothing comes that could be waited for, so no `100 Continue` goes out: boto3 takes what follows on such a connection for another answer.
        let is_awaited_in_vain = is_awaited && body.is_end_stream();
        let (body, back) = rest::lend(body);
        let slot = match self.enter(&mut head) {
            Ok(slot) => slot,
            Err(error) => {
                let mut answer = asked.complete(written(error)?);
                if is_awaited_in_vain || !back.read_out(is_awaited).await {
                    answer.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
                }
                return Ok(held::counted(answer, asking));
            }
        };
        let body = match Kind::of(&head.headers) {
            None => s3s::Body::http_body_unsync(body),
            Some(kind) => s3s::Body::http_body_unsync(Chunks::new(body, kind, slot.clone())),
        };
        // What panics for one caller is an error for that one: it has no lock and no state of others.
        let made = match AssertUnwindSafe(self.answer(head, body)).catch_unwind().await {
            Ok(Ok(made)) => made,
            Ok(Err(Refused::Answered(error))) => written(error)?,
            Ok(Err(Refused::Broken(error))) => return Err(error),
            Err(_) => {
                tracing::error!(path = asked.path(), "a request has met a defect of the gateway");
                written(s3_error!(InternalError, "We encountered an internal error. Please try again."))?
            }
        };
        let made = match asked.meant(&made) {
            Some(error) => written(error)?,
            None => made,
        };
        let mut answer = asked.complete(made);
        let is_error = answer.status().is_client_error() || answer.status().is_server_error();
        if is_error {
            // What is left of its body is read piece by piece, and kept by nobody.
            slot.hold(0);
        }
        if is_awaited_in_vain || (is_error && !back.read_out(is_awaited).await) {
            answer.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
        }
        Ok(held::until_sent(answer, slot, asking))
    }
}

/// How long a request says that its body is.
fn announced_bytes(headers: &HeaderMap) -> u64 {
    headers.get(CONTENT_LENGTH).and_then(|length| length.to_str().ok()?.parse().ok()).unwrap_or(0)
}

fn written(error: S3Error) -> Result<HttpResponse, HttpError> {
    error.to_http_response().map_err(|error| HttpError::new(Box::new(error)))
}

/// Why there is no answer yet.
enum Refused {
    /// This is it.
    Answered(S3Error),
    /// There will be none.
    Broken(HttpError),
}

impl Guarded {
    /// Takes a place for a request, with room for what is read of it whole.
    fn enter(&self, head: &mut Parts) -> Result<Arc<Slot>, S3Error> {
        let slot = self.gateway.limits.enter()?;
        if !slot.hold(front::held_bytes(head)) {
            return Err(limits::slow_down());
        }
        head.extensions.insert(slot.clone());
        Ok(slot)
    }

    /// The answer of the protocol, or to what it knows nothing of: pages of other origins, and forms.
    async fn answer(&self, head: Parts, body: s3s::Body) -> Result<HttpResponse, Refused> {
        if head.method == Method::OPTIONS {
            let CrossOrigin::Preflight(told) = self.gateway.cross_origin(&head).await.map_err(Refused::Answered)? else {
                return Err(Refused::Answered(s3_error!(MethodNotAllowed, "The specified method is not allowed against this resource.")));
            };
            let mut response = HttpResponse::new(s3s::Body::empty());
            response.headers_mut().extend(told);
            return Ok(response);
        }
        let told = match self.gateway.cross_origin(&head).await.map_err(Refused::Answered)? {
            CrossOrigin::Told(told) => told,
            _ => HeaderMap::new(),
        };
        let form = form::is_form(&head);
        let made = match refusal(&head).map_or_else(
            || if form.is_some() { front::check_form(&head) } else { front::check(&head, self.gateway.is_safe(&head.extensions)) },
            Err,
        ) {
            Err(error) => Err(error),
            Ok(()) => match form {
                Some((bucket, boundary)) => Box::pin(form::run(&self.gateway, head, body, &bucket, &boundary)).await,
                None => self.protocol(head, body).await.map_err(Refused::Broken)?,
            },
        };
        let mut made = match made {
            Ok(made) => made,
            Err(error) => written(error).map_err(Refused::Broken)?,
        };
        made.headers_mut().extend(told);
        Ok(made)
    }
}

impl Guarded {
    /// The answer of the protocol.
    async fn protocol(&self, mut head: Parts, body: s3s::Body) -> Result<S3Result<HttpResponse>, HttpError> {
        let session = match session::named(&head) {
            None => None,
            Some((access_key, token)) => match self.gateway.session_of(&access_key, &token).await {
                Ok(session) => Some(session),
                Err(error) => return Ok(Err(error)),
            },
        };
        let service = match session {
            None => self.service.clone(),
            // Nobody else's requests may be signed with its secret.
            Some(session) => {
                head.extensions.insert(session.clone());
                service(self.gateway.clone(), Some(session))
            }
        };
        service.call(Request::from_parts(head, body)).await.map(Ok)
    }
}

/// What is refused before anything of it is read: forms that go to no bucket, and signatures of version 2, which cover neither the body nor,
/// in a header, the time.
pub(crate) fn refusal(head: &Parts) -> Option<S3Error> {
    let header = |name| head.headers.get(name).map(|value| String::from_utf8_lossy(value.as_bytes()).trim().to_ascii_lowercase());
    if header(CONTENT_TYPE).is_some_and(|kind| kind.starts_with("multipart/form-data")) && form::is_form(head).is_none() {
        return Some(s3_error!(MethodNotAllowed, "The specified method is not allowed against this resource."));
    }
    let query = head.uri.query().unwrap_or_default();
    let is_old_word = |name: &str| matches!(crate::tags::decoded(name).as_deref(), Some("Signature" | "AWSAccessKeyId"));
    let is_old = header(AUTHORIZATION).is_some_and(|words| words.starts_with("aws "))
        || query.split('&').any(|pair| is_old_word(pair.split('=').next().unwrap_or_default()));
    is_old
        .then(|| s3_error!(InvalidRequest, "The authorization mechanism you have provided is not supported. Please use AWS4-HMAC-SHA256."))
}

fn service(gateway: Gateway, session: Option<Arc<Session>>) -> S3Service {
    let mut builder = protocol(gateway.clone(), Secrets { gateway: gateway.clone(), session });
    builder.set_route(Sts(gateway));
    builder.build()
}

/// The protocol, with its bounds, before what serves it.
pub(crate) fn protocol<G: S3 + S3Access + Clone>(serves: G, secrets: impl S3Auth) -> S3ServiceBuilder {
    let mut config = s3s::config::S3Config::default();
    config.xml_max_body_size = XML_BYTES_MAX;
    let mut builder = S3ServiceBuilder::new(serves.clone());
    builder.set_auth(secrets);
    builder.set_access(serves);
    builder.set_config(Arc::new(s3s::config::StaticConfigProvider::new(Arc::new(config))));
    builder
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(uri: &str, headers: &[(&str, &str)]) -> bool {
        let mut request = Request::builder().uri(uri);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        refusal(&request.body(()).expect("a request").into_parts().0).is_some()
    }

    #[test]
    fn forms_and_old_signatures_are_refused_before_anything_is_read() {
        assert!(refused("/b", &[("content-type", "Multipart/Form-Data; boundary=x")]), "no POST");
        assert!(refused("/b/k", &[("authorization", "AWS key:signature")]));
        assert!(refused("/b/k?AWSAccessKeyId=k&Expires=1&Signature=s", &[]));
        assert!(refused("/b/k?Expires=1&%53ignature=s", &[]), "however it is written");
        assert!(!refused("/b/k?X-Amz-Signature=s&prefix=Signature", &[("authorization", "AWS4-HMAC-SHA256 Credential=k")]));
        assert!(!refused("/b/k", &[("content-type", "text/plain")]));
    }
}
