//! `redoubt bench --file FILE`: a load that a file describes, and what it reads is compared with what it wrote.
//!
//! ```yaml
//! seconds: 10                    # or `operations`, of each workload
//! seed: 7                        # decides what is drawn; another one each time where it is left out
//! workloads:                     # at the same time
//!   - on: objects                # or rows
//!     name: bench-mix            # the bucket or index; made if need be
//!     clients: 8
//!     mix: {put: 4, get: 4, delete: 1, scan: 1}    # in parts
//!     names: 100                 # of each client
//!     choice: zipf               # or uniform, in-order
//!     sizes: [4KiB, 64KiB, 1MiB] # drawn evenly
//!     rate: 20                   # operations a second of each client; as fast as it goes where left out
//!     verify: true
//!     keep: false                # what was written stays
//! ```
//!
//! Each client has names of its own, so it knows what it must find: its last put, bit for bit, nothing after a delete, and where an operation
//! had no answer, either. A difference is printed, and the command fails with the code of damage.

mod plan;
mod worker;

use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

use client::{CatalogueKind, Client};
use serde_json::{Value, json};

use self::plan::{On, Plan, Workload};
use self::worker::{Done, Worker};
use super::load::Load;
use super::report::{self, Figure};
use super::server_cpu::ServerCpu;
use crate::cli::connect::with_client;
use crate::cli::exit::{Exit, Failure};
use crate::cli::{Common, output};

/// Most differences that are printed.
const WRONG_MAX: usize = 20;

/// What one workload came to.
struct Measured {
    name: String,
    figures: Vec<Figure>,
    failed: u64,
    checked: u64,
    wrong: Vec<String>,
    errors: Vec<String>,
}

/// Runs the load.
pub async fn run(common: &Common, file: &Path) -> Result<(), Failure> {
    let plan = plan::read(file)?;
    let cpu = ServerCpu::of(common);
    let measured = with_client(common, |client| async move { measure(&client, plan, cpu).await }).await?;
    let wrong: u64 = measured.iter().map(|one| one.wrong.len() as u64).sum();
    let list: Vec<Value> = measured.iter().map(Measured::json).collect();
    output::value(common.output, &json!({"durable": true, "workloads": list, "wrong": wrong}), || {
        measured.iter().map(Measured::words).collect::<Vec<_>>().join("\n")
    })?;
    match measured.iter().flat_map(|one| &one.wrong).next() {
        Some(first) => Err(Failure { exit: Exit::Corrupt, message: format!("{wrong} reads gave what was not written: {first}") }),
        None => Ok(()),
    }
}

async fn measure(client: &Client, plan: Plan, cpu: ServerCpu) -> Result<Vec<Measured>, Failure> {
    for workload in &plan.workloads {
        client.ensure(kind(workload.on), &workload.name).await?;
    }
    let (until, seed) = (plan.until(Instant::now()), plan.seed.unwrap_or_else(rand::random));
    output::note(format!("seed {seed}"));
    let (servers, began) = (cpu.seconds(), Instant::now());
    let mut running = Vec::new();
    for (number, workload) in (0u64..).zip(&plan.workloads) {
        let workload = Arc::new(workload.clone());
        let operations = plan.operations.map(|all| all.div_ceil(workload.clients as u64));
        let workers: Vec<_> = (0..workload.clients as u64)
            .map(|one| tokio::spawn(Worker::new(client.clone(), workload.clone(), seed ^ number << 48, one).run(until, operations)))
            .collect();
        running.push((workload, workers));
    }
    let mut measured = Vec::new();
    for (workload, workers) in running {
        let mut done = Done::default();
        for worker in workers {
            done.add(worker.await.map_err(|error| Failure::other(format!("a client of the load ended: {error}")))?);
        }
        measured.push((workload, done));
    }
    let seconds = began.elapsed().as_secs_f64();
    // The processes serve all workloads: only where there is one can their time be told apart.
    let spent = if measured.len() == 1 { servers.and_then(|before| Some(cpu.seconds()? - before)) } else { None };
    Ok(measured.into_iter().map(|(workload, done)| summary(&workload, done, seconds, spent)).collect())
}

fn kind(on: On) -> CatalogueKind {
    match on {
        On::Objects => CatalogueKind::Bucket,
        On::Rows => CatalogueKind::Index,
    }
}

fn summary(workload: &Workload, done: Done, seconds: f64, server_cpu_seconds: Option<f64>) -> Measured {
    let all: u64 = done.took_ms.values().map(|took| took.len() as u64).sum();
    let mut figures = Vec::new();
    for (verb, mut latencies_ms) in done.took_ms {
        latencies_ms.sort_by(f64::total_cmp);
        let operations = latencies_ms.len() as u64;
        let share = operations as f64 / all.max(1) as f64;
        let bytes = done.bytes.get(&verb).copied().unwrap_or(0) / operations.max(1);
        let server_cpu_seconds = server_cpu_seconds.map(|spent| spent * share);
        let load = Load { operations, seconds, latencies_ms, server_cpu_seconds, client_cpu_seconds: 0.0 };
        figures.push(Figure { what: verb.word().into(), clients: workload.clients, bytes, load });
    }
    let wrong = done.wrong.into_iter().take(WRONG_MAX).collect();
    Measured { name: workload.name.clone(), figures, failed: done.failed, checked: done.checked, wrong, errors: done.errors }
}

impl Measured {
    fn json(&self) -> Value {
        let figures: Vec<Value> = self.figures.iter().map(Figure::json).collect();
        json!({"name": self.name, "figures": figures, "failed": self.failed, "verified": self.checked, "wrong": self.wrong, "errors": self.errors})
    }

    fn words(&self) -> String {
        let mut lines = vec![format!("{}:", self.name), report::table(&self.figures)];
        lines.push(format!(
            "{} failed with a clear error, {} reads were compared, {} differed",
            self.failed,
            self.checked,
            self.wrong.len()
        ));
        lines.extend(self.wrong.iter().map(|wrong| format!("WRONG: {wrong}")));
        lines.extend(self.errors.iter().take(1).map(|error| format!("one of the errors: {error}")));
        lines.join("\n")
    }
}
