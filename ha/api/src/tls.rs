//! Mutual TLS of the control plane: everybody shows a certificate of the cluster's CA, and the certificate says what its holder is.
//!
//! A certificate names a [`Role`] rather than an address, so that addresses may change, and so that nobody but an HA daemon can pass for one. Both
//! sides read their files for each connection: what is replaced counts from the next one on, without a restart.

use std::future::Future;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use hyper_util::rt::TokioIo;
use serde::{Deserialize, Serialize};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio_rustls::rustls::client::verify_server_name;
use tokio_rustls::rustls::crypto::ring::default_provider;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use tokio_rustls::rustls::server::danger::ClientCertVerifier;
use tokio_rustls::rustls::server::{ParsedCertificate, WebPkiClientVerifier};
use tokio_rustls::rustls::version::TLS13;
use tokio_rustls::rustls::{ClientConfig, RootCertStore, ServerConfig};
use tokio_rustls::server::TlsStream;
use tokio_rustls::{TlsAcceptor, TlsConnector};
use tokio_stream::wrappers::ReceiverStream;
use tonic::transport::server::{TcpConnectInfo, TlsConnectInfo};
use tonic::transport::{Channel, Endpoint, Uri};

use crate::HaError;

/// Below which the names of all roles are: no host is called so.
pub const DOMAIN: &str = "redoubt.internal";
/// Connections that may be shaking hands at once; others wait to be taken.
const HANDSHAKES_MAX: usize = 256;
/// How long that may take: who says nothing holds nothing for longer.
const HANDSHAKE: Duration = Duration::from_secs(5);
/// Connections that wait to be served.
const WAITING_MAX: usize = 64;
/// Pause after an error of the port, as when the process has no more files.
const PORT_PAUSE: Duration = Duration::from_millis(50);
/// How often at most it is said that connections are refused: strangers come as often as they like.
const COMPLAINTS: Duration = Duration::from_secs(1);
/// How far ahead [`Tls::good_for`] looks, in seconds: ten years.
const HORIZON_S: u64 = 10 * 365 * 24 * 3600;
/// What is spoken inside.
const ALPN: &[u8] = b"h2";

/// What the holder of a certificate is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Role {
    /// An HA daemon.
    Ha,
    /// A storage process.
    Node,
    /// A native client.
    Client,
    /// Whoever administers the cluster.
    Operator,
}

impl Role {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Ha, Self::Node, Self::Client, Self::Operator];

    /// The role of that name.
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|role| role.word() == name)
    }

    /// Its name.
    pub fn word(self) -> &'static str {
        match self {
            Self::Ha => "ha",
            Self::Node => "node",
            Self::Client => "client",
            Self::Operator => "operator",
        }
    }

    /// How a certificate says it, as the name of a host that cannot be.
    pub fn name(self) -> String {
        format!("{}.{DOMAIN}", self.word())
    }
}

/// The files of one side, in PEM.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Tls {
    /// The certificates of the CA.
    pub ca: PathBuf,
    /// Its own certificate.
    pub certificate: PathBuf,
    /// Its private key.
    pub key: PathBuf,
}

impl Tls {
    /// The files as they are called in a directory: `ca.pem`, `certificate.pem`, `key.pem`.
    pub fn in_dir(dir: &Path) -> Self {
        Self { ca: dir.join("ca.pem"), certificate: dir.join("certificate.pem"), key: dir.join("key.pem") }
    }

    /// What is wrong with them, if so.
    pub fn check(&self) -> Result<(), String> {
        self.client().and_then(|_| self.server()).and_then(|_| self.good_for()).map(|_| ()).map_err(|error| format!("tls: {error}"))
    }

    /// For how long from now the others will take the certificate, as far as [`HORIZON_S`]; an error where they do not take it now.
    pub fn good_for(&self) -> io::Result<Duration> {
        let (roots, certificates, _) = self.read()?;
        let (own, others) = certificates.split_first().ok_or_else(|| self.unfit(&"there is no certificate in it"))?;
        let verifier = self.verifier(roots)?;
        let now = UnixTime::now().as_secs();
        let taken = |ahead: u64| {
            let then = UnixTime::since_unix_epoch(Duration::from_secs(now.saturating_add(ahead)));
            verifier.verify_client_cert(own, others, then)
        };
        taken(0).map_err(|error| io::Error::other(format!("{}: {error}", self.certificate.display())))?;
        // Certificates have one end, so halving finds it, whichever of the chain ends first.
        let (mut good, mut over) = (0, HORIZON_S);
        while over - good > 1 {
            let middle = good + (over - good) / 2;
            if taken(middle).is_ok() { good = middle } else { over = middle }
        }
        Ok(Duration::from_secs(good))
    }

    fn verifier(&self, roots: Arc<RootCertStore>) -> io::Result<Arc<dyn ClientCertVerifier>> {
        let verifier = WebPkiClientVerifier::builder_with_provider(roots, Arc::new(default_provider())).build();
        verifier.map_err(|error| io::Error::other(format!("{}: {error}", self.ca.display())))
    }

    fn read(&self) -> io::Result<(Arc<RootCertStore>, Vec<CertificateDer<'static>>, PrivateKeyDer<'static>)> {
        let certificates = |path: &Path| {
            let read = CertificateDer::pem_file_iter(path).and_then(Iterator::collect::<Result<Vec<_>, _>>);
            read.map_err(|error| io::Error::other(format!("{}: {error}", path.display())))
        };
        let mut roots = RootCertStore::empty();
        for certificate in certificates(&self.ca)? {
            roots.add(certificate).map_err(|error| io::Error::other(format!("{}: {error}", self.ca.display())))?;
        }
        let key = PrivateKeyDer::from_pem_file(&self.key).map_err(|error| io::Error::other(format!("{}: {error}", self.key.display())))?;
        Ok((Arc::new(roots), certificates(&self.certificate)?, key))
    }

    fn client(&self) -> io::Result<ClientConfig> {
        let (roots, certificates, key) = self.read()?;
        let builder = ClientConfig::builder_with_provider(Arc::new(default_provider())).with_protocol_versions(&[&TLS13]);
        let builder = builder.map_err(io::Error::other)?.with_root_certificates(roots);
        let mut config = builder.with_client_auth_cert(certificates, key).map_err(|error| self.unfit(&error))?;
        config.alpn_protocols.push(ALPN.to_vec());
        Ok(config)
    }

    fn server(&self) -> io::Result<ServerConfig> {
        let (roots, certificates, key) = self.read()?;
        let verifier = self.verifier(roots)?;
        let builder = ServerConfig::builder_with_provider(Arc::new(default_provider())).with_protocol_versions(&[&TLS13]);
        let builder = builder.map_err(io::Error::other)?.with_client_cert_verifier(verifier);
        let mut config = builder.with_single_cert(certificates, key).map_err(|error| self.unfit(&error))?;
        config.alpn_protocols.push(ALPN.to_vec());
        Ok(config)
    }

    fn unfit(&self, error: &dyn std::fmt::Display) -> io::Error {
        io::Error::other(format!("{} with {}: {error}", self.certificate.display(), self.key.display()))
    }

    async fn connect(&self, address: &str) -> io::Result<tokio_rustls::client::TlsStream<TcpStream>> {
        let config = Arc::new(self.client()?);
        let stream = TcpStream::connect(address).await?;
        stream.set_nodelay(true)?;
        // Whoever answers there has to be an HA daemon.
        let name = ServerName::try_from(Role::Ha.name()).map_err(io::Error::other)?;
        TlsConnector::from(config).connect(name, stream).await
    }
}

/// A channel to the HA daemon at that address; it connects when it is used, and again where it was cut.
pub fn channel(endpoint: &Endpoint, address: &str, tls: Option<&Tls>) -> Channel {
    let Some(tls) = tls else { return endpoint.connect_lazy() };
    let (tls, address) = (tls.clone(), address.to_string());
    endpoint.connect_with_connector_lazy(tower::service_fn(move |_: Uri| {
        let (tls, address) = (tls.clone(), address.clone());
        async move { tls.connect(&address).await.map(TokioIo::new) }
    }))
}

/// The connections of a port whose holders have shown a certificate of the CA. They end with the receiver.
pub fn incoming(listener: TcpListener, tls: Tls) -> (ReceiverStream<io::Result<TlsStream<TcpStream>>>, impl Future<Output = ()> + Send) {
    let (ready, connections) = mpsc::channel(WAITING_MAX);
    let accepting = async move {
        let mut handshakes: JoinSet<Option<String>> = JoinSet::new();
        let (mut complained, mut silent) = (None::<Instant>, 0u64);
        loop {
            tokio::select! {
                () = ready.closed() => return,
                Some(ended) = handshakes.join_next() => {
                    let Ok(Some(complaint)) = ended else { continue };
                    if complained.is_some_and(|at| at.elapsed() < COMPLAINTS) {
                        silent += 1;
                        continue;
                    }
                    tracing::warn!(others = silent, "a connection is refused: {complaint}");
                    (complained, silent) = (Some(Instant::now()), 0);
                }
                accepted = listener.accept(), if handshakes.len() < HANDSHAKES_MAX => match accepted {
                    Ok((stream, from)) => {
                        let (tls, ready) = (tls.clone(), ready.clone());
                        handshakes.spawn(async move {
                            match tokio::time::timeout(HANDSHAKE, accept(&tls, stream)).await {
                                // Without a receiver nobody serves any more.
                                Ok(Ok(stream)) => drop(ready.send(Ok(stream)).await),
                                Ok(Err(error)) => return Some(format!("{from}: {error}")),
                                Err(_) => return Some(format!("{from} says nothing")),
                            }
                            None
                        });
                    }
                    Err(error) => {
                        tracing::warn!(%error, "the port");
                        tokio::time::sleep(PORT_PAUSE).await;
                    }
                },
            }
        }
    };
    (ReceiverStream::new(connections), accepting)
}

async fn accept(tls: &Tls, stream: TcpStream) -> io::Result<TlsStream<TcpStream>> {
    stream.set_nodelay(true)?;
    TlsAcceptor::from(Arc::new(tls.server()?)).accept(stream).await
}

/// Whether who makes a request may make it, by the certificate that its connection has shown. Everybody may where there is no TLS.
pub fn permit(extensions: &tonic::Extensions, roles: &[Role]) -> Result<(), HaError> {
    let Some(connection) = extensions.get::<TlsConnectInfo<TcpConnectInfo>>() else { return Ok(()) };
    let shown = connection.peer_certs();
    let certificate = shown.as_ref().and_then(|shown| ParsedCertificate::try_from(shown.first()?).ok());
    let is = |role: &Role| {
        let name = ServerName::try_from(role.name());
        certificate.as_ref().zip(name.ok()).is_some_and(|(certificate, name)| verify_server_name(certificate, &name).is_ok())
    };
    if roles.iter().any(is) {
        return Ok(());
    }
    let words: Vec<&str> = roles.iter().map(|role| role.word()).collect();
    Err(HaError::Refused(format!("this takes a certificate for {}", words.join(" or "))))
}
