//! The gateway's HTTP server: connections in number and in their first silence bounded; at the end those under way finish.

use std::future::Future;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::graceful::GracefulShutdown;
use s3s::service::{S3Service, S3ServiceBuilder};
use tokio::net::TcpListener;
use tokio::sync::Semaphore;

use crate::{Gateway, Keys};

/// Connections at once; further ones wait to be accepted.
const CONNECTIONS_MAX: usize = 1024;
/// How long the head of a request may take, and how long a connection may be idle.
const HEAD_MAX: Duration = Duration::from_secs(60);
/// How long requests under way may take to finish at the end.
const FINISH: Duration = Duration::from_secs(10);
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
}

/// Serves S3 at `address` until `stop`; tells where it listens.
///
/// # Errors
/// [`ServeError::Listen`], at once.
pub async fn serve(
    gateway: Gateway,
    keys: Keys,
    address: &str,
    listening: impl FnOnce(SocketAddr),
    stop: impl Future<Output = ()>,
) -> Result<(), ServeError> {
    let failed = |error| ServeError::Listen { address: address.to_owned(), error };
    let listener = TcpListener::bind(address).await.map_err(failed)?;
    listening(listener.local_addr().map_err(failed)?);
    let service = service(gateway, keys);
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
        let stream = match accepted {
            Ok((stream, _)) => stream,
            Err(error) => {
                tracing::warn!(%error, "a connection could not be accepted");
                tokio::time::sleep(ACCEPT_PAUSE).await;
                continue;
            }
        };
        // Answers are small or written in large pieces: waiting for more to send has no use.
        let _best_effort = stream.set_nodelay(true);
        let connection = graceful.watch(http.serve_connection(TokioIo::new(stream), service.clone()));
        tokio::spawn(async move {
            if let Err(error) = connection.await {
                tracing::debug!(%error, "a connection ended");
            }
            drop(permit);
        });
    }
    drop(listener);
    if tokio::time::timeout(FINISH, graceful.shutdown()).await.is_err() {
        tracing::warn!("requests were under way for too long and are cut off");
    }
    Ok(())
}

fn service(gateway: Gateway, keys: Keys) -> S3Service {
    let mut config = s3s::config::S3Config::default();
    config.xml_max_body_size = XML_BYTES_MAX;
    let mut builder = S3ServiceBuilder::new(gateway);
    builder.set_auth(keys);
    builder.set_config(Arc::new(s3s::config::StaticConfigProvider::new(Arc::new(config))));
    builder.build()
}
