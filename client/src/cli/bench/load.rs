//! A closed loop: so many clients, each with one operation under way, until time or number is over.

use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use super::Length;
use super::server_cpu::ServerCpu;
use crate::cli::exit::Failure;

/// What a load came to.
#[derive(Clone, Debug, Default)]
pub struct Load {
    /// Operations that succeeded.
    pub operations: u64,
    /// From the first begin to the last end.
    pub seconds: f64,
    /// Of each operation, in milliseconds, sorted.
    pub latencies_ms: Vec<f64>,
    /// CPU seconds of the cluster's processes; `None` where they are not of this machine.
    pub server_cpu_seconds: Option<f64>,
    /// CPU seconds of this process.
    pub client_cpu_seconds: f64,
}

impl Load {
    /// The latency that this share of the operations did not exceed.
    pub fn percentile(&self, share: f64) -> f64 {
        let last = self.latencies_ms.len().saturating_sub(1);
        self.latencies_ms.get((last as f64 * share).round() as usize).copied().unwrap_or(0.0)
    }

    /// Operations a second.
    pub fn rate(&self) -> f64 {
        self.operations as f64 / self.seconds.max(1e-9)
    }

    /// CPU microseconds of the servers for one operation.
    pub fn server_cpu_us(&self) -> Option<f64> {
        Some(self.server_cpu_seconds? * 1e6 / self.operations.max(1) as f64)
    }
}

/// Runs `operation(number)` in a closed loop; the first error ends it.
pub async fn run<F, Fut>(length: &Length, cpu: &ServerCpu, operation: F) -> Result<Load, Failure>
where
    F: Fn(u64) -> Fut + Send + Sync + 'static,
    Fut: Future<Output = Result<(), Failure>> + Send,
{
    let operation = Arc::new(operation);
    let (next, over) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicBool::new(false)));
    let most = length.operations.unwrap_or(u64::MAX);
    let (servers, own, began) = (cpu.seconds(), ServerCpu::own().seconds(), Instant::now());
    let until = if length.operations.is_some() { None } else { Some(began + Duration::from_secs_f64(length.seconds)) };
    let clients: Vec<_> = (0..length.clients)
        .map(|_| {
            let (operation, next, over) = (operation.clone(), next.clone(), over.clone());
            tokio::spawn(async move {
                let mut latencies = Vec::new();
                while !over.load(Ordering::Relaxed) && until.is_none_or(|until| Instant::now() < until) {
                    let number = next.fetch_add(1, Ordering::Relaxed);
                    if number >= most {
                        break;
                    }
                    let one = Instant::now();
                    let done = operation(number).await;
                    over.fetch_or(done.is_err(), Ordering::Relaxed);
                    done?;
                    latencies.push(one.elapsed().as_secs_f64() * 1e3);
                }
                Ok::<_, Failure>(latencies)
            })
        })
        .collect();
    let (mut latencies_ms, mut failure) = (Vec::new(), None);
    for client in clients {
        // All of them are over before it is: nothing goes on behind the back of who asked for it.
        match client.await.map_err(|e| Failure::other(format!("a client of the bench ended: {e}"))) {
            Ok(Ok(latencies)) => latencies_ms.extend(latencies),
            Ok(Err(error)) | Err(error) => drop(failure.get_or_insert(error)),
        }
    }
    if let Some(failure) = failure {
        return Err(failure);
    }
    latencies_ms.sort_by(f64::total_cmp);
    let difference = |before: Option<f64>, after: Option<f64>| Some(after? - before?);
    Ok(Load {
        operations: latencies_ms.len() as u64,
        seconds: began.elapsed().as_secs_f64(),
        latencies_ms,
        server_cpu_seconds: difference(servers, cpu.seconds()),
        client_cpu_seconds: difference(own, ServerCpu::own().seconds()).unwrap_or(0.0),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_load_does_as_many_operations_as_asked_for() {
        let length = Length { clients: 3, seconds: 1.0, operations: Some(10) };
        let load = run(&length, &ServerCpu::own(), |_| async { Ok(()) }).await.expect("runs");
        assert_eq!((load.operations, load.latencies_ms.len()), (10, 10));
        assert!(load.percentile(0.5) <= load.percentile(1.0));
    }
}
