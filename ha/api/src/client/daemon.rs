//! One daemon as a client knows it: its connection, and whether it is under suspicion.

use std::sync::Mutex;
use std::time::{Duration, Instant};

use tonic::metadata::{Ascii, MetadataValue};
use tonic::service::Interceptor;
use tonic::service::interceptor::InterceptedService;
use tonic::transport::{Channel, Endpoint};
use tonic::{Request, Status};

use super::ClientOptions;
use crate::config::check_address;
use crate::pb::ha_client::HaClient as Stub;
use crate::tls::channel;
use crate::{CLUSTER_KEY, HaError, MESSAGE_BYTES_MAX};

/// How long a connection may take to come about.
const CONNECT: Duration = Duration::from_millis(500);
/// Keep-alive of connections: a daemon that hangs is noticed though nothing is asked of it.
const KEEP_ALIVE: Duration = Duration::from_millis(1000);

/// Puts the cluster's name into every request.
#[derive(Clone, Debug)]
pub(crate) struct NameCluster(Option<MetadataValue<Ascii>>);

impl Interceptor for NameCluster {
    fn call(&mut self, mut request: Request<()>) -> Result<Request<()>, Status> {
        if let Some(cluster) = &self.0 {
            request.metadata_mut().insert(CLUSTER_KEY, cluster.clone());
        }
        Ok(request)
    }
}

pub(crate) type Service = Stub<InterceptedService<Channel, NameCluster>>;

/// One daemon, as a client knows it.
#[derive(Debug)]
pub(super) struct Daemon {
    pub(super) address: String,
    pub(super) service: Service,
    /// Until when it comes last.
    suspect: Mutex<Option<Instant>>,
}

impl Daemon {
    /// The daemon at that address; connects with the first call.
    pub(super) fn new(address: &str, options: &ClientOptions) -> Result<Self, HaError> {
        check_address("HA", address).map_err(HaError::Refused)?;
        let keep_alive = KEEP_ALIVE.mul_f64(options.factor);
        let endpoint = Endpoint::from_shared(format!("http://{address}"))
            .map_err(|e| HaError::Refused(format!("`{address}`: {e}")))?
            .connect_timeout(CONNECT.mul_f64(options.factor))
            .tcp_nodelay(true)
            .http2_keep_alive_interval(keep_alive)
            .keep_alive_timeout(keep_alive)
            .keep_alive_while_idle(true);
        let cluster = options.cluster.map(|c| c.to_string().parse().expect("hexadecimal digits are ASCII"));
        let service = Stub::with_interceptor(channel(&endpoint, address, options.tls.as_ref()), NameCluster(cluster))
            .max_decoding_message_size(MESSAGE_BYTES_MAX)
            .max_encoding_message_size(MESSAGE_BYTES_MAX);
        Ok(Self { address: address.into(), service, suspect: Mutex::new(None) })
    }

    /// It comes last until then.
    pub(super) fn suspect(&self, until: Option<Instant>) {
        *self.suspect.lock().expect("nobody panics with the lock") = until;
    }

    /// Whether it comes last.
    pub(super) fn is_suspect(&self, now: Instant) -> bool {
        self.suspect.lock().expect("nobody panics with the lock").is_some_and(|until| now < until)
    }
}
