//! Measures the transport beside what it stands on, in one run between two processes: raw libfabric on the same provider, raw TCP, and memory copy.
//!
//! [`server`] runs in one process and [`run`] in the other. The server listens at three ports: the transport at `address`, raw libfabric at the
//! port after it, raw TCP at the one after that. *Echo* sends data there and back as a message; *pull* has the server fetch it, *push* has the
//! server deliver it. All sides sleep while there is nothing to do; nobody spins. To be called in runtimes of one thread: then every side has
//! one thread, raw libfabric's too.

mod raw;
mod raw_server;
mod tcp;
mod transport;

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use super::{Drive, Endpoint, EndpointConfig};
use crate::{Identity, NetError, Peer};
use types::{Boot, ClusterId, NodeId};

/// The cluster that both processes say they belong to.
const CLUSTER: ClusterId = ClusterId(u128::from_be_bytes(*b"redoubt-bench-00"));
/// How long one figure is measured in one round.
const MEASURE: Duration = Duration::from_millis(150);
/// Rounds: in each, all that is compared has its turn, so that a moment of the machine is not taken for a property of one of them.
const ROUNDS: usize = 4;
/// Most operations of one figure in one round.
const OPERATIONS_MAX: usize = 100_000;
/// Most operations under way.
pub const WINDOW_MAX: usize = 64;
/// Largest size.
pub const SIZE_MAX: usize = crate::buf::BUF_BYTES_MAX;
/// Most bytes under way at once; larger combinations of size and window are left out.
const UNDER_WAY_BYTES_MAX: usize = 64 * 1024 * 1024;
/// Largest size that is echoed as a message.
const ECHO_BYTES_MAX: usize = types::limits::MESSAGE_HEAD_BYTES_MAX;

/// What is done with the data.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pattern {
    /// A message there, the same back.
    Echo,
    /// The server reads it, one-sided where the transport can.
    Pull,
    /// The server writes it, one-sided where the transport can.
    Push,
    /// Copied in memory, by one thread.
    Copy,
}

/// Over what.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Via {
    /// This crate.
    Transport,
    /// libfabric's endpoints, with one thread on either side.
    Libfabric,
    /// TCP sockets, a connection and two threads for each operation under way.
    Tcp,
    /// `memcpy`.
    Memory,
}

/// One figure.
#[derive(Clone, Debug, PartialEq)]
pub struct Row {
    /// What was done.
    pub pattern: Pattern,
    /// Over what.
    pub via: Via,
    /// Bytes of one operation.
    pub bytes: usize,
    /// Operations under way at once.
    pub window: usize,
    /// Operations that were measured.
    pub operations: usize,
    /// How long they took together.
    pub seconds: f64,
    /// Median of one.
    pub p50_us: f64,
    /// 99 of 100 were faster.
    pub p99_us: f64,
    /// CPU seconds of both processes.
    pub cpu_seconds: f64,
}

impl Row {
    /// Operations per second.
    pub fn rate(&self) -> f64 {
        self.operations as f64 / self.seconds
    }

    /// Data per second, one way.
    pub fn gib_per_second(&self) -> f64 {
        self.rate() * self.bytes as f64 / f64::from(1 << 30)
    }

    /// CPU seconds of both processes for one GiB, one way.
    pub fn cpu_seconds_per_gib(&self) -> f64 {
        self.cpu_seconds / (self.operations as f64 * self.bytes as f64 / f64::from(1 << 30))
    }

    /// CPU microseconds of both processes for one operation.
    pub fn cpu_us(&self) -> f64 {
        self.cpu_seconds * 1e6 / self.operations as f64
    }
}

/// Serves measurements at three ports from `address` on (`IP:port`, not 0) until the future is dropped.
pub async fn server(address: &str, provider: &str) -> Result<(), NetError> {
    let [own, raw, tcp] = addresses(address)?;
    let (service, pool) = transport::service();
    let identity = Identity { cluster: CLUSTER, node: NodeId(1), boot: Boot(1) };
    let config =
        EndpointConfig { provider: provider.to_owned(), drive: here(), ..EndpointConfig::node(identity, own.to_string(), service) };
    let endpoint = Endpoint::start(config)?;
    transport::serve_with(&pool, &endpoint);
    let _raw = raw_server::start(raw, provider)?;
    tcp::serve(tcp).await
}

/// Measures every size with every window against a [`server`] at `address`; tells each figure as it is made.
pub async fn run(
    address: &str,
    provider: &str,
    sizes: &[usize],
    windows: &[usize],
    tell: impl FnMut(&Row) + Send,
) -> Result<Vec<Row>, NetError> {
    run_for(address, provider, sizes, windows, MEASURE, tell).await
}

async fn run_for(
    address: &str,
    provider: &str,
    sizes: &[usize],
    windows: &[usize],
    measure: Duration,
    mut tell: impl FnMut(&Row) + Send,
) -> Result<Vec<Row>, NetError> {
    let [own, raw, tcp] = addresses(address)?;
    if let Some(size) = sizes.iter().find(|size| **size == 0 || **size > SIZE_MAX) {
        return Err(NetError::Config(format!("{size} bytes are not between 1 and {SIZE_MAX}")));
    }
    if let Some(window) = windows.iter().find(|window| **window == 0 || **window > WINDOW_MAX) {
        return Err(NetError::Config(format!("a window of {window} is not between 1 and {WINDOW_MAX}")));
    }
    let config = EndpointConfig { provider: provider.to_owned(), drive: here(), ..EndpointConfig::client(Identity::client(CLUSTER)) };
    let endpoint = Endpoint::start(config)?;
    let peer = Peer::at(own.to_string());
    let mut rows = Vec::new();
    let mut note = |row: Row| {
        tell(&row);
        rows.push(row);
    };
    for &bytes in sizes {
        note(copy(bytes, measure));
        for &window in windows {
            for pattern in [Pattern::Echo, Pattern::Pull, Pattern::Push] {
                if (pattern == Pattern::Echo && bytes > ECHO_BYTES_MAX) || bytes * window > UNDER_WAY_BYTES_MAX {
                    continue;
                }
                let plan = Plan { pattern, bytes, window, measure };
                let mut figures = [Via::Transport, Via::Libfabric, Via::Tcp].map(|via| (via, Vec::new(), Duration::ZERO, 0.0));
                for _round in 0..ROUNDS {
                    for (via, all, whole, seconds) in &mut figures {
                        let before = cpu(&endpoint, &peer).await?;
                        let (times, took) = match via {
                            Via::Transport => transport::measure(&endpoint, &peer, plan).await?,
                            Via::Libfabric => blocking(raw::measure, raw, plan, provider).await?,
                            _ => blocking(tcp::measure, tcp, plan, provider).await?,
                        };
                        *seconds += cpu(&endpoint, &peer).await? - before;
                        *whole += took;
                        all.extend(times);
                    }
                }
                for (via, times, took, seconds) in figures {
                    note(plan.row(via, times, took, seconds));
                }
            }
        }
    }
    Ok(rows)
}

/// Both sides run in the runtime that they are called in.
fn here() -> Drive {
    Drive::Runtime(tokio::runtime::Handle::current())
}

/// One figure to be made.
#[derive(Clone, Copy)]
struct Plan {
    pattern: Pattern,
    bytes: usize,
    window: usize,
    measure: Duration,
}

impl Plan {
    /// Whether to go on after so many operations.
    fn goes_on(&self, began: Instant, done: usize) -> bool {
        done < self.window * 4 || (done < OPERATIONS_MAX && began.elapsed() < self.measure)
    }

    fn row(self, via: Via, mut times: Vec<Duration>, took: Duration, cpu_seconds: f64) -> Row {
        times.sort_unstable();
        let at = |share: f64| times.get((times.len() as f64 * share) as usize).map_or(0.0, |time| time.as_secs_f64() * 1e6);
        Row {
            pattern: self.pattern,
            via,
            bytes: self.bytes,
            window: self.window,
            operations: times.len(),
            seconds: took.as_secs_f64(),
            p50_us: at(0.5),
            p99_us: at(0.99),
            cpu_seconds,
        }
    }
}

type Measured = (Vec<Duration>, Duration);

async fn blocking(
    measure: fn(SocketAddr, Plan, &str) -> Result<Measured, NetError>,
    address: SocketAddr,
    plan: Plan,
    provider: &str,
) -> Result<Measured, NetError> {
    let provider = provider.to_owned();
    tokio::task::spawn_blocking(move || measure(address, plan, &provider)).await.map_err(|_| NetError::Closed)?
}

/// CPU seconds of both processes.
async fn cpu(endpoint: &Endpoint, peer: &Peer) -> Result<f64, NetError> {
    Ok(own_cpu_seconds() + transport::cpu_of(endpoint, peer).await?)
}

fn own_cpu_seconds() -> f64 {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ProcessCPUTime);
    time.tv_sec as f64 + time.tv_nsec as f64 / 1e9
}

fn copy(bytes: usize, measure: Duration) -> Row {
    let plan = Plan { pattern: Pattern::Copy, bytes, window: 1, measure };
    let from = vec![1u8; bytes];
    let mut to = vec![0u8; bytes];
    let (began, cpu) = (Instant::now(), own_cpu_seconds());
    let mut times = Vec::new();
    while plan.goes_on(began, times.len()) {
        let one = Instant::now();
        to.copy_from_slice(std::hint::black_box(&from));
        std::hint::black_box(&mut to);
        times.push(one.elapsed());
    }
    plan.row(Via::Memory, times, began.elapsed(), own_cpu_seconds() - cpu)
}

fn addresses(address: &str) -> Result<[SocketAddr; 3], NetError> {
    let own: SocketAddr = address.parse().map_err(|e| NetError::Config(format!("`{address}` is not IP:port: {e}")))?;
    let port = |plus: u16| match own.port().checked_add(plus) {
        Some(port) if own.port() != 0 => Ok(SocketAddr::new(own.ip(), port)),
        _ => Err(NetError::Config(format!("`{address}`: three ports in a row are needed"))),
    };
    Ok([port(0)?, port(1)?, port(2)?])
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn every_pattern_is_measured_over_everything() {
        let port = service::ports::free_in_a_row(3).unwrap();
        let address = format!("127.0.0.1:{port}");
        let served = tokio::spawn({
            let address = address.clone();
            async move { server(&address, "tcp").await }
        });
        let deadline = Instant::now() + Duration::from_secs(10);
        let rows = loop {
            match run_for(&address, "tcp", &[64, 100_000], &[1, 4], Duration::from_millis(5), |_| {}).await {
                Ok(rows) => break rows,
                Err(error) => assert!(!served.is_finished() && Instant::now() < deadline, "{error}"),
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        };
        served.abort();
        assert_eq!(rows.len(), 2 * (1 + 2 * 3 * 3));
        assert!(rows.iter().all(|row| row.operations > 0 && row.p99_us >= row.p50_us));
    }
}
