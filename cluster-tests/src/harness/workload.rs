//! The load of a run: clients as the scenario's entries say, each with a stream of choices of its own, and what they did and saw.
//!
//! Names of one client alone are compared with its ledger at every read. Names that clients share give a history for the checkers of
//! linearizability: every value is another one and says which.

mod names;
mod worker;

pub use names::Shared;
pub use worker::shared_number;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use client::ReadFrom;
use serde::{Deserialize, Serialize};
use tokio::task::JoinHandle;

use super::deploy::Deployment;
use super::scenario::{On, Read, Scenario, Verb};
use crate::checkers::history::Operation;
use crate::process::{Clients, Kind, Ledger};
use worker::Worker;

/// One operation that ended.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub struct Step {
    /// Of which entry of the workload.
    pub entry: usize,
    /// Of which of its clients.
    pub client: u32,
    /// What.
    pub verb: Verb,
    /// When it began, in microseconds from the begin of the load.
    pub began_us: u64,
    /// How long it took.
    pub took_us: u64,
    /// Whether it succeeded.
    pub is_ok: bool,
}

/// A name that clients share, with all that they did to it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct SharedName {
    /// Of which entry of the workload.
    pub entry: usize,
    /// The name.
    pub name: String,
}

/// What came of a load.
#[derive(Debug, Default)]
pub struct Worked {
    /// What objects may be there.
    pub objects: Ledger,
    /// What rows may be there.
    pub rows: Ledger,
    /// Histories of shared names.
    pub histories: BTreeMap<SharedName, Vec<Operation>>,
    /// Every operation.
    pub steps: Vec<Step>,
    /// What failed with a clear error, in words, with the entry.
    pub errors: Vec<(usize, String)>,
    /// Promises that were seen broken.
    pub violations: Vec<String>,
}

impl Worked {
    /// The names of that kind that have one client each.
    pub fn ledger(&self, kind: Kind) -> &Ledger {
        match kind {
            Kind::Object => &self.objects,
            Kind::Key => &self.rows,
        }
    }

    fn take(&mut self, worker: Worker) {
        match worker.kind {
            Kind::Object => self.objects.merge(worker.ledger),
            Kind::Key => self.rows.merge(worker.ledger),
        }
        for (name, operations) in worker.operations {
            self.histories.entry(SharedName { entry: worker.entry, name }).or_default().extend(operations);
        }
        self.steps.extend(worker.steps);
        let entry = worker.entry;
        self.errors.extend(worker.errors.into_iter().map(|error| (entry, error)));
        self.violations.extend(worker.violations);
    }
}

/// A load under way.
pub struct Load {
    stop: Arc<AtomicBool>,
    clients: Vec<Clients>,
    workers: Vec<(usize, JoinHandle<Worker>)>,
    /// When it began.
    pub began: Instant,
}

impl Load {
    /// Connects a client for each entry and sets its workers to work.
    pub fn begin(scenario: &Scenario, deployment: &Deployment, seed: u64) -> Result<Self> {
        let stop = Arc::new(AtomicBool::new(false));
        let mut clients = Vec::new();
        for entry in &scenario.workload {
            let read = match entry.value.read {
                Read::Primary => ReadFrom::Primary,
                Read::Nearest => ReadFrom::Nearest,
            };
            clients.push(deployment.clients_reading(read, Some(&entry.value.from), entry.value.timeout.0)?);
        }
        let began = Instant::now();
        let mut workers = Vec::new();
        for (number, entry) in scenario.workload.iter().enumerate() {
            let wish = Arc::new(entry.value.clone());
            let shared = wish.shared.then(|| Arc::new(Shared::new(number, &wish)));
            for client in 0..wish.clients {
                let place = (number as u64) << 16 | u64::from(client);
                let worker = Worker::new(
                    clients[number].client().clone(),
                    number,
                    client,
                    wish.clone(),
                    shared.clone(),
                    began,
                    seed ^ (place << 32),
                );
                workers.push((number, clients[number].spawn(worker.run(stop.clone()))));
            }
        }
        Ok(Self { stop, clients, workers, began })
    }

    /// Ends it: what is under way may end, in its own time.
    pub fn end(mut self) -> Result<Worked> {
        self.stop.store(true, Ordering::Relaxed);
        let mut worked = Worked::default();
        for (number, worker) in std::mem::take(&mut self.workers) {
            worked.take(self.clients[number].wait(worker).context("a worker does not panic")?);
        }
        for clients in &self.clients {
            clients.close();
        }
        Ok(worked)
    }
}

impl Drop for Load {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        self.workers.iter().for_each(|(_, worker)| worker.abort());
    }
}

/// What an entry is on.
pub fn kind(on: On) -> Kind {
    match on {
        On::Objects => Kind::Object,
        On::Rows => Kind::Key,
    }
}

/// The longest time that any client of an entry was without a success, from the begin of the load to its end.
///
/// An operation that was under way at the end counts up to the moment when it ended.
pub fn longest_gap(steps: &[Step], entry: usize, clients: u32, until: Duration) -> Duration {
    let until = u64::try_from(until.as_micros()).unwrap_or(u64::MAX);
    let mut last: Vec<u64> = vec![0; clients as usize];
    let mut longest = 0;
    for step in steps.iter().filter(|step| step.entry == entry && step.is_ok) {
        let ended = step.began_us + step.took_us;
        longest = longest.max(ended - last[step.client as usize].min(ended));
        last[step.client as usize] = ended;
    }
    for last in last {
        longest = longest.max(until.saturating_sub(last));
    }
    Duration::from_micros(longest)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_longest_gap_is_between_successes_of_one_client_and_counts_to_the_end() {
        let step = |client, began_us, took_us, is_ok| Step { entry: 0, client, verb: Verb::Put, began_us, took_us, is_ok };
        let steps = [step(0, 0, 10, true), step(1, 0, 20, true), step(0, 10, 500, false), step(0, 510, 10, true), step(1, 400, 10, true)];
        assert_eq!(longest_gap(&steps, 0, 2, Duration::from_micros(530)), Duration::from_micros(510));
        assert_eq!(longest_gap(&steps, 0, 2, Duration::from_micros(2000)), Duration::from_micros(1590));
        assert_eq!(longest_gap(&[], 0, 1, Duration::from_micros(70)), Duration::from_micros(70), "no success at all");
    }
}
