//! The transport's own figures.

use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use bytes::Bytes;
use tokio::task::JoinSet;
use types::wire::Operation;

use super::{Measured, Pattern, Plan, own_cpu_seconds};
use crate::fabric::Endpoint;
use crate::{BufPool, Incoming, Lend, NetError, Peer, Request, Service, Transport};

/// How long one operation may take.
const PATIENCE: Duration = Duration::from_secs(30);

/// Where the service finds its buffers once its endpoint runs.
pub(super) type PoolSlot = Arc<OnceLock<BufPool>>;

struct BenchService {
    pool: PoolSlot,
}

/// The service, and where its pool is to be put.
pub(super) fn service() -> (Arc<dyn Service>, PoolSlot) {
    let pool = PoolSlot::default();
    (Arc::new(BenchService { pool: pool.clone() }), pool)
}

/// Gives the service its buffers.
pub(super) fn serve_with(slot: &PoolSlot, endpoint: &Endpoint) {
    slot.get_or_init(|| endpoint.pool().clone());
}

impl Service for BenchService {
    fn serve(&self, incoming: Incoming) {
        match (incoming.operation, self.pool.get()) {
            (Operation::Echo, _) => {
                let head = incoming.head.clone();
                incoming.reply(head);
            }
            (Operation::Usage, _) => incoming.reply(own_cpu_seconds().to_le_bytes().to_vec()),
            (Operation::Sink | Operation::Source, Some(pool)) => {
                tokio::spawn(move_data(incoming, pool.clone()));
            }
            _ => incoming.fail("not served by a bench"),
        }
    }
}

async fn move_data(mut incoming: Incoming, pool: BufPool) {
    let Some((length, room)) = incoming.lend() else { return incoming.fail("nothing was lent") };
    let moved = match pool.take(length).await {
        Ok(buf) if room => incoming.push(buf, length).await,
        Ok(buf) => incoming.pull(buf).await,
        Err(error) => Err(error),
    };
    match moved {
        Ok(_) => incoming.reply(Bytes::new()),
        Err(error) => incoming.fail(&error.to_string()),
    }
}

/// CPU seconds of the server's process.
pub(super) async fn cpu_of(endpoint: &Endpoint, peer: &Peer) -> Result<f64, NetError> {
    let reply = endpoint.call(peer, Request::new(Operation::Usage, Bytes::new()), tokio::time::Instant::now() + PATIENCE).await?;
    let bytes = reply.head.get(..8).and_then(|bytes| bytes.try_into().ok());
    Ok(f64::from_le_bytes(bytes.unwrap_or_default()))
}

/// Makes one figure.
pub(super) async fn measure(endpoint: &Arc<Endpoint>, peer: &Peer, plan: Plan) -> Result<Measured, NetError> {
    // Both links stand before the clock runs.
    let data = Bytes::from(vec![7u8; plan.bytes]);
    one(endpoint, peer, plan, &data, &mut None).await?;
    let began = Instant::now();
    let mut tasks = JoinSet::new();
    for _ in 0..plan.window {
        let (endpoint, peer, data) = (endpoint.clone(), peer.clone(), data.clone());
        tasks.spawn(async move {
            let mut times = Vec::new();
            let mut buf = None;
            while plan.goes_on(began, times.len() * plan.window) {
                let start = Instant::now();
                one(&endpoint, &peer, plan, &data, &mut buf).await?;
                times.push(start.elapsed());
            }
            Ok::<_, NetError>(times)
        });
    }
    let mut times = Vec::new();
    while let Some(task) = tasks.join_next().await {
        times.extend(task.map_err(|_| NetError::Closed)??);
    }
    Ok((times, began.elapsed()))
}

/// One operation; the buffer is used again.
async fn one(endpoint: &Endpoint, peer: &Peer, plan: Plan, data: &Bytes, buf: &mut Option<crate::Buf>) -> Result<(), NetError> {
    let deadline = tokio::time::Instant::now() + PATIENCE;
    if plan.pattern == Pattern::Echo {
        return endpoint.call(peer, Request::new(Operation::Echo, data.clone()), deadline).await.map(drop);
    }
    let lent = match buf.take() {
        Some(buf) => buf,
        None => endpoint.pool().take(plan.bytes).await?,
    };
    let request = match plan.pattern {
        Pattern::Pull => Request::lending(Operation::Sink, Bytes::new(), Lend::Give(lent)),
        _ => Request::lending(Operation::Source, Bytes::new(), Lend::Room(lent)),
    };
    *buf = endpoint.call(peer, request, deadline).await?.lent;
    Ok(())
}
