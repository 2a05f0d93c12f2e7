//! Tells a target of an event: one POST by HTTP or HTTPS, within a bound of time. What is not answered with 2xx was not told.
//!
//! Only addresses that an operator named are called, and no redirection is followed.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use client::{ClusterKey, token_of};
use hyper::header::{AUTHORIZATION, CONNECTION, CONTENT_LENGTH, CONTENT_TYPE, HOST, HeaderValue, USER_AGENT};
use hyper::{Request, Uri};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::crypto::ring::default_provider;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, ServerName};
use tokio_rustls::rustls::{ClientConfig, RootCertStore};
use types::records::Target;

/// How long a target may take to answer, its name's resolution and the handshake included.
const ANSWER: Duration = Duration::from_secs(10);
/// Where systems keep the certificates that they trust; `SSL_CERT_FILE` goes before them.
const ROOTS: [&str; 3] = ["/etc/ssl/certs/ca-certificates.crt", "/etc/pki/tls/certs/ca-bundle.crt", "/etc/ssl/cert.pem"];
/// What it calls itself.
const AGENT: HeaderValue = HeaderValue::from_static("Redoubt");

/// Tells targets.
#[derive(Clone, Debug, Default)]
pub struct Webhooks {
    key_file: Option<PathBuf>,
    region: String,
}

impl Webhooks {
    /// With the file of the key under which the tokens of targets are encrypted, for events of that region.
    pub fn new(key_file: Option<PathBuf>, region: impl Into<String>) -> Self {
        Self { key_file, region: region.into() }
    }

    /// The region that events name.
    pub fn region(&self) -> &str {
        &self.region
    }

    /// Tells a target; an error, in words, where it was not told for sure.
    ///
    /// # Errors
    /// Anything but an answer of 2xx in time.
    pub async fn tell(&self, name: &str, target: &Target, text: Vec<u8>) -> Result<(), String> {
        let token = self.token(name, target)?;
        let telling = post(&target.url, token.as_deref(), text);
        tokio::time::timeout(ANSWER, telling).await.unwrap_or_else(|_| Err(format!("no answer within {} s", ANSWER.as_secs())))
    }

    fn token(&self, name: &str, target: &Target) -> Result<Option<String>, String> {
        let Some(sealed) = &target.sealed_token else { return Ok(None) };
        let key = self.key_file.as_deref().map(ClusterKey::load).transpose().map_err(|error| error.to_string())?;
        let token = key.and_then(|key| key.open(&token_of(name), sealed)).and_then(|bytes| String::from_utf8(bytes).ok());
        token.map(Some).ok_or_else(|| "its token cannot be read: is it the same cluster key at every node?".to_owned())
    }
}

async fn post(url: &str, token: Option<&str>, text: Vec<u8>) -> Result<(), String> {
    let uri: Uri = url.parse().map_err(|_| "its address is none".to_owned())?;
    let authority = uri.authority().ok_or("its address names no host")?.clone();
    let host = authority.host().trim_start_matches('[').trim_end_matches(']').to_owned();
    let is_secure = match uri.scheme_str() {
        Some("http") => false,
        Some("https") => true,
        _ => return Err("its address is neither of HTTP nor of HTTPS".into()),
    };
    let port = authority.port_u16().unwrap_or(if is_secure { 443 } else { 80 });
    let path = uri.path_and_query().map_or("/", |path| path.as_str());
    let mut request = Request::post(path)
        .header(HOST, authority.as_str())
        .header(USER_AGENT, AGENT)
        .header(CONTENT_TYPE, "application/json")
        .header(CONTENT_LENGTH, text.len())
        .header(CONNECTION, "close");
    if let Some(token) = token {
        // One that says its scheme is shown as it is, as MinIO does it.
        let shown = if token.contains(' ') { token.to_owned() } else { format!("Bearer {token}") };
        let mut shown = HeaderValue::from_str(&shown).map_err(|_| "its token cannot be a header".to_owned())?;
        shown.set_sensitive(true);
        request = request.header(AUTHORIZATION, shown);
    }
    let request = request.body(s3s::Body::from(text)).map_err(|error| error.to_string())?;
    let stream = TcpStream::connect((host.as_str(), port)).await.map_err(|error| error.to_string())?;
    // One small request: waiting for more to send has no use.
    let _best_effort = stream.set_nodelay(true);
    let status = if is_secure {
        let server = ServerName::try_from(host).map_err(|error| error.to_string())?;
        // It waits for the disk for a moment only, and seldom.
        let stream = TlsConnector::from(trusting()?).connect(server, stream).await.map_err(|error| error.to_string())?;
        exchange(stream, request).await?
    } else {
        exchange(stream, request).await?
    };
    if status.is_success() { Ok(()) } else { Err(format!("it answered {status}")) }
}

/// Sends one request and gives the status of its answer.
async fn exchange(
    stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    request: Request<s3s::Body>,
) -> Result<hyper::StatusCode, String> {
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.map_err(|error| error.to_string())?;
    let answering = sender.send_request(request);
    tokio::pin!(answering);
    let mut connection = std::pin::pin!(connection);
    let answer = tokio::select! {
        answer = &mut answering => answer,
        ended = &mut connection => match ended {
            // The answer may have come with the end.
            Ok(()) => answering.await,
            Err(error) => Err(error),
        },
    };
    answer.map(|answer| answer.status()).map_err(|error| error.to_string())
}

/// Whom HTTPS trusts: whom the system does.
fn trusting() -> Result<Arc<ClientConfig>, String> {
    let named = std::env::var_os("SSL_CERT_FILE").map(PathBuf::from);
    let file = named.into_iter().chain(ROOTS.map(PathBuf::from)).find(|file| file.exists());
    let file = file.ok_or("this system has no file of certificates that it trusts: set SSL_CERT_FILE")?;
    let certificates = CertificateDer::pem_file_iter(&file).map_err(|error| format!("{}: {error}", file.display()))?;
    let mut roots = RootCertStore::empty();
    roots.add_parsable_certificates(certificates.filter_map(Result::ok));
    let builder = ClientConfig::builder_with_provider(Arc::new(default_provider())).with_safe_default_protocol_versions();
    Ok(Arc::new(builder.map_err(|error| error.to_string())?.with_root_certificates(roots).with_no_client_auth()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpListener;

    /// A server that answers one request so, and gives what it was sent.
    async fn server(answer: &'static str) -> (String, tokio::task::JoinHandle<String>) {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let url = format!("http://{}/hook?x=1", listener.local_addr().expect("an address"));
        let task = tokio::spawn(async move {
            let (mut stream, _) = listener.accept().await.expect("a connection");
            let mut read = Vec::new();
            while !read.ends_with(b"{}") {
                let mut bytes = [0; 1024];
                let count = stream.read(&mut bytes).await.expect("a request");
                if count == 0 {
                    break;
                }
                read.extend_from_slice(&bytes[..count]);
            }
            stream.write_all(answer.as_bytes()).await.expect("it is taken");
            String::from_utf8(read).expect("text")
        });
        (url, task)
    }

    #[tokio::test]
    async fn an_event_is_posted_with_the_token_and_counts_as_told_only_where_that_is_answered() {
        let folder = tempfile::tempdir().expect("a folder");
        let file = folder.path().join("key");
        std::fs::write(&file, ClusterKey::drawn()).expect("it is written");
        let key = ClusterKey::load(&file).expect("a key");
        let webhooks = Webhooks::new(Some(file), "r");
        let (url, request) = server("HTTP/1.1 204 No Content\r\n\r\n").await;
        let target = Target { url, sealed_token: Some(key.seal(&token_of("t"), b"secret")) };
        webhooks.tell("t", &target, b"{}".to_vec()).await.expect("told");
        let request = request.await.expect("it ended").to_ascii_lowercase();
        assert!(request.starts_with("post /hook?x=1 http/1.1\r\n") && request.contains("authorization: bearer secret\r\n"), "{request}");
        assert!(request.contains("content-type: application/json\r\n") && request.ends_with("\r\n\r\n{}"), "{request}");
        for (answer, told) in [
            ("HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok", true),
            ("HTTP/1.1 503 Busy\r\ncontent-length: 0\r\n\r\n", false),
            ("HTTP/1.1 302 Found\r\nlocation: http://169.254.169.254/\r\ncontent-length: 0\r\n\r\n", false),
            ("nonsense", false),
            ("", false),
        ] {
            let (url, _request) = server(answer).await;
            let told_so = webhooks.tell("t", &Target { url, sealed_token: None }, b"{}".to_vec()).await;
            assert_eq!(told_so.is_ok(), told, "{answer}: {told_so:?}");
        }
    }

    #[tokio::test]
    async fn whoever_cannot_be_told_is_an_error_in_words() {
        let webhooks = Webhooks::new(None, "r");
        let tell = |url: &str, sealed_token| {
            let (webhooks, target) = (webhooks.clone(), Target { url: url.into(), sealed_token });
            async move { webhooks.tell("t", &target, b"{}".to_vec()).await.expect_err("nobody is there") }
        };
        assert!(tell("ftp://127.0.0.1/", None).await.contains("HTTP"));
        assert!(tell("/path", None).await.contains("host"));
        assert!(tell("http://127.0.0.1:1/", Some(vec![1])).await.contains("token"));
        assert!(tell("http://127.0.0.1:1/", None).await.contains("refused"));
    }

    #[tokio::test(start_paused = true)]
    async fn a_target_that_says_nothing_has_its_time() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
        let url = format!("http://{}/", listener.local_addr().expect("an address"));
        let told = Webhooks::new(None, "r").tell("t", &Target { url, sealed_token: None }, b"{}".to_vec()).await;
        assert_eq!(told, Err("no answer within 10 s".to_owned()));
    }
}
