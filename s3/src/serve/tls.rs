//! TLS of the gateway: a certificate and its key from files of the configuration, read again when they change, without a restart.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use tokio::net::TcpStream;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::rustls::crypto::ring::default_provider;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio_rustls::server::TlsStream;

/// How long a connection may take until it is encrypted: who says nothing holds nothing for longer.
const HANDSHAKE: Duration = Duration::from_secs(10);

/// The files, in PEM.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TlsFiles {
    /// The certificate, and those between it and its root.
    pub certificate: PathBuf,
    /// Its private key.
    pub key: PathBuf,
}

/// What tells whether a file is still the one that was read.
type Stamp = Option<(SystemTime, u64)>;

/// The files as they were read.
struct Read {
    stamps: [Stamp; 2],
    config: Arc<ServerConfig>,
}

/// Makes connections that are encrypted of those that are not.
pub struct Tls {
    files: TlsFiles,
    read: Mutex<Read>,
}

impl Tls {
    /// With what the files hold now.
    ///
    /// # Errors
    /// In words, which file cannot be used and why.
    pub fn new(files: TlsFiles) -> Result<Self, String> {
        let read = Mutex::new(Read { stamps: files.stamps(), config: files.config()? });
        Ok(Self { files, read })
    }

    /// Encrypts a connection.
    ///
    /// # Errors
    /// What went wrong; nobody but the other end can do anything about it.
    pub async fn accept(&self, stream: TcpStream) -> std::io::Result<TlsStream<TcpStream>> {
        let accepting = TlsAcceptor::from(self.config()).accept(stream);
        tokio::time::timeout(HANDSHAKE, accepting).await.unwrap_or_else(|_| Err(std::io::ErrorKind::TimedOut.into()))
    }

    /// What the files hold; where they cannot be used, what they held before: they may be written at this moment.
    fn config(&self) -> Arc<ServerConfig> {
        let mut read = self.read.lock().unwrap_or_else(PoisonError::into_inner);
        let stamps = self.files.stamps();
        if stamps != read.stamps {
            match self.files.config() {
                Ok(config) => {
                    tracing::info!(certificate = %self.files.certificate.display(), "the certificate was replaced");
                    *read = Read { stamps, config };
                }
                Err(error) => {
                    tracing::warn!(error, "the certificate that is there cannot be used; the one before goes on");
                    read.stamps = stamps;
                }
            }
        }
        read.config.clone()
    }
}

impl TlsFiles {
    fn stamps(&self) -> [Stamp; 2] {
        let stamp = |path: &Path| {
            let metadata = std::fs::metadata(path).ok()?;
            Some((metadata.modified().ok()?, metadata.len()))
        };
        [stamp(&self.certificate), stamp(&self.key)]
    }

    fn config(&self) -> Result<Arc<ServerConfig>, String> {
        let certificates = CertificateDer::pem_file_iter(&self.certificate).and_then(Iterator::collect::<Result<Vec<_>, _>>);
        let certificates = certificates.map_err(|error| format!("{}: {error}", self.certificate.display()))?;
        let key = PrivateKeyDer::from_pem_file(&self.key).map_err(|error| format!("{}: {error}", self.key.display()))?;
        let builder = ServerConfig::builder_with_provider(Arc::new(default_provider())).with_safe_default_protocol_versions();
        let builder = builder.map_err(|error| error.to_string())?.with_no_client_auth();
        let unfit = |error| format!("{} with {}: {error}", self.certificate.display(), self.key.display());
        let mut config = builder.with_single_cert(certificates, key).map_err(unfit)?;
        config.alpn_protocols.push(b"http/1.1".to_vec());
        Ok(Arc::new(config))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpListener;
    use tokio_rustls::TlsConnector;
    use tokio_rustls::rustls::pki_types::ServerName;
    use tokio_rustls::rustls::{ClientConfig, RootCertStore};

    /// Writes a certificate of its own into the files, and gives it to who trusts it.
    fn write(files: &TlsFiles) -> CertificateDer<'static> {
        let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).expect("a certificate");
        std::fs::write(&files.key, made.signing_key.serialize_pem()).expect("written");
        std::fs::write(&files.certificate, made.cert.pem()).expect("written");
        made.cert.der().clone()
    }

    /// Says a word over a connection that is encrypted under a certificate that is trusted.
    async fn says(tls: &Tls, trusted: &CertificateDer<'static>) -> std::io::Result<Vec<u8>> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let address = listener.local_addr()?;
        let mut roots = RootCertStore::empty();
        roots.add(trusted.clone()).map_err(std::io::Error::other)?;
        let config = ClientConfig::builder_with_provider(Arc::new(default_provider())).with_safe_default_protocol_versions();
        let config = config.map_err(std::io::Error::other)?.with_root_certificates(roots).with_no_client_auth();
        let client = async move {
            let name = ServerName::try_from("localhost").map_err(std::io::Error::other)?;
            let mut stream = TlsConnector::from(Arc::new(config)).connect(name, TcpStream::connect(address).await?).await?;
            stream.write_all(b"word").await?;
            stream.shutdown().await
        };
        let server = async {
            let mut heard = Vec::new();
            let mut stream = tls.accept(listener.accept().await?.0).await?;
            stream.read_to_end(&mut heard).await.map(|_| heard)
        };
        let (said, heard) = tokio::join!(client, server);
        said.and(heard)
    }

    #[tokio::test]
    async fn a_certificate_that_is_replaced_is_the_one_of_the_next_connection() {
        let dir = tempfile::tempdir().expect("a directory");
        let files = TlsFiles { certificate: dir.path().join("c.pem"), key: dir.path().join("k.pem") };
        assert!(Tls::new(files.clone()).is_err_and(|why| why.contains("c.pem")), "there is none yet");
        let first = write(&files);
        let tls = Tls::new(files.clone()).expect("they can be used");
        assert_eq!(says(&tls, &first).await.expect("trusted"), b"word");
        let second = write(&files);
        assert!(says(&tls, &first).await.is_err(), "it is another one");
        assert_eq!(says(&tls, &second).await.expect("trusted"), b"word");
        std::fs::write(&files.key, "half a key").expect("written");
        assert_eq!(says(&tls, &second).await.expect("trusted"), b"word", "what cannot be used changes nothing");
    }

    #[tokio::test(start_paused = true)]
    async fn who_says_nothing_is_given_up() {
        let dir = tempfile::tempdir().expect("a directory");
        let files = TlsFiles { certificate: dir.path().join("c.pem"), key: dir.path().join("k.pem") };
        write(&files);
        let tls = Tls::new(files).expect("they can be used");
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("listens");
        let silent = TcpStream::connect(listener.local_addr().expect("an address")).await.expect("connects");
        let accepted = tls.accept(listener.accept().await.expect("accepts").0).await;
        assert_eq!(accepted.err().map(|error| error.kind()), Some(std::io::ErrorKind::TimedOut));
        drop(silent);
    }
}
