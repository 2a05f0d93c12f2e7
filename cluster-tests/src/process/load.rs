//! Clients under way while something breaks: each worker has names of its own, checks everything that it reads against what was
//! acknowledged, and notes how long every step took.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use client::{Client, Error};
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use tokio::task::JoinHandle;

use super::clients::{delete, get, put};
use super::{Clients, Holds, Kind, Ledger};

/// Names of one worker.
const NAMES: u32 = 24;
/// What a step may take before it counts as hanging: a PUT has a few parts with the client's deadline each.
const HANG: Duration = Duration::from_secs(60);

/// What a step does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verb {
    /// Writes a name.
    Put,
    /// Reads a name and compares.
    Get,
    /// Deletes a name.
    Delete,
}

/// Workers of one kind.
#[derive(Clone, Debug)]
pub struct Crew {
    /// On what.
    pub kind: Kind,
    /// How many.
    pub workers: u32,
    /// How often each verb, in parts: put, get, delete.
    pub mix: [u32; 3],
    /// Lengths to choose from.
    pub lengths: &'static [usize],
    /// Pause between two steps.
    pub pause: Duration,
    /// Names that are there already, to be read by all of them; nothing else is then touched.
    pub fixed: Option<Arc<Ledger>>,
}

/// One step that ended.
#[derive(Clone, Copy, Debug)]
pub struct Step {
    /// On what.
    pub kind: Kind,
    /// What.
    pub verb: Verb,
    /// When it began.
    pub began: Instant,
    /// How long it took.
    pub took: Duration,
    /// Whether it succeeded.
    pub is_ok: bool,
}

/// What came of a load.
#[derive(Debug, Default)]
pub struct Worked {
    /// What objects may be there.
    pub objects: Ledger,
    /// What keys may be there.
    pub keys: Ledger,
    /// Every step.
    pub steps: Vec<Step>,
    /// Steps that ended with an error, in words. Wrong bytes are not among them: they end the load.
    pub errors: Vec<String>,
}

impl Worked {
    /// The longest step of that kind that ended after that moment.
    pub fn longest(&self, kind: Kind, verb: Verb, after: Instant) -> Option<Step> {
        let is_it = |step: &&Step| step.kind == kind && step.verb == verb && step.began + step.took >= after;
        self.steps.iter().filter(is_it).max_by_key(|step| step.took).copied()
    }

    /// How many steps of that verb succeeded.
    pub fn count(&self, verb: Verb) -> usize {
        self.steps.iter().filter(|step| step.verb == verb && step.is_ok).count()
    }

    /// The names of that kind.
    pub fn ledger(&self, kind: Kind) -> &Ledger {
        match kind {
            Kind::Object => &self.objects,
            Kind::Key => &self.keys,
        }
    }

    fn take(&mut self, kind: Kind, worker: Worker) {
        match kind {
            Kind::Object => self.objects.merge(worker.ledger),
            Kind::Key => self.keys.merge(worker.ledger),
        }
        self.steps.extend(worker.steps);
        self.errors.extend(worker.errors);
    }
}

/// A load under way.
pub struct Load {
    stop: Arc<AtomicBool>,
    workers: Vec<JoinHandle<Result<Worker>>>,
}

impl Load {
    /// Sets the crews to work; their choices follow from the seed.
    pub fn begin(clients: &Clients, seed: u64, crews: &[Crew]) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let mut workers = Vec::new();
        for crew in crews {
            for _ in 0..crew.workers {
                let number = workers.len() as u64;
                let worker = Worker {
                    client: clients.client().clone(),
                    crew: crew.clone(),
                    prefix: format!("{seed:x}-{number:02}"),
                    random: ChaCha8Rng::seed_from_u64(seed ^ (number << 48)),
                    ledger: Ledger::default(),
                    steps: Vec::new(),
                    errors: Vec::new(),
                };
                workers.push(clients.spawn(worker.run(stop.clone())));
            }
        }
        Self { stop, workers }
    }

    /// Ends it, and gives what came of it; wrong bytes or a step that hung are an error.
    pub fn end(mut self, clients: &Clients) -> Result<Worked> {
        self.stop.store(true, Ordering::Relaxed);
        let mut worked = Worked::default();
        for worker in std::mem::take(&mut self.workers) {
            let worker = clients.wait(worker).context("a worker does not panic")??;
            worked.take(worker.crew.kind, worker);
        }
        Ok(worked)
    }
}

impl Drop for Load {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        self.workers.iter().for_each(JoinHandle::abort);
    }
}

struct Worker {
    client: Client,
    crew: Crew,
    prefix: String,
    random: ChaCha8Rng,
    ledger: Ledger,
    steps: Vec<Step>,
    errors: Vec<String>,
}

impl Worker {
    async fn run(mut self, stop: Arc<AtomicBool>) -> Result<Self> {
        while !stop.load(Ordering::Relaxed) {
            let (verb, name) = self.choose();
            let began = Instant::now();
            let ended = tokio::time::timeout(HANG, self.step(verb, &name)).await;
            let ended = ended.with_context(|| format!("{verb:?} of {:?} {name} hangs: not over after {HANG:?}", self.crew.kind))??;
            self.steps.push(Step { kind: self.crew.kind, verb, began, took: began.elapsed(), is_ok: ended.is_ok() });
            if let Err(error) = ended {
                self.errors.push(format!("{verb:?} of {:?} {name}: {error}", self.crew.kind));
            }
            tokio::time::sleep(self.crew.pause).await;
        }
        Ok(self)
    }

    fn choose(&mut self) -> (Verb, String) {
        if let Some(fixed) = &self.crew.fixed {
            let names: Vec<&str> = fixed.names().collect();
            return (Verb::Get, names[self.random.random_range(0..names.len())].to_string());
        }
        let name = format!("{}/{}", self.prefix, self.random.random_range(0..NAMES));
        let [put, get, delete] = self.crew.mix;
        let drawn = self.random.random_range(0..put + get + delete);
        let verb = match drawn {
            d if d < put => Verb::Put,
            d if d < put + get => Verb::Get,
            _ => Verb::Delete,
        };
        (verb, name)
    }

    /// One step: the outer error is a broken promise, the inner one what a client has to live with.
    async fn step(&mut self, verb: Verb, name: &str) -> Result<Result<(), Error>> {
        let kind = self.crew.kind;
        match verb {
            Verb::Put => {
                let seed = self.random.random();
                let length = self.crew.lengths[self.random.random_range(0..self.crew.lengths.len())];
                let ended = put(&self.client, kind, name, seed, length).await;
                self.changed(name, Holds::Bytes { seed, length }, ended.map(|()| true))
            }
            Verb::Delete => {
                let ended = delete(&self.client, kind, name).await;
                self.changed(name, Holds::Nothing, ended)
            }
            Verb::Get => {
                let found = match get(&self.client, kind, name).await {
                    Ok(found) => found,
                    Err(error) => return Ok(Err(error)),
                };
                let ledger = self.crew.fixed.as_deref().unwrap_or(&self.ledger);
                if !ledger.allows(name, found.as_deref()) {
                    let length = found.map(|bytes| bytes.len());
                    bail!("{kind:?} {name} gave {length:?} bytes, and may hold only {:?}", ledger.may_hold(name));
                }
                Ok(Ok(()))
            }
        }
    }

    /// Notes a change. A delete that found nothing is right only where there may have been nothing.
    fn changed(&mut self, name: &str, holds: Holds, ended: Result<bool, Error>) -> Result<Result<(), Error>> {
        match ended {
            Ok(was_there) => {
                if !was_there && !self.ledger.allows(name, None) {
                    bail!("a delete of {name} found nothing, and it has to hold one of {:?}", self.ledger.may_hold(name));
                }
                self.ledger.acknowledged(name, holds);
                Ok(Ok(()))
            }
            Err(error) => {
                // `Unavailable` promises that nothing was changed.
                if !error.is_retryable() {
                    self.ledger.in_doubt(name, holds);
                }
                Ok(Err(error))
            }
        }
    }
}

impl Clients {
    /// Reads every name of both ledgers, and lists: all that was acknowledged is there bit for bit, and nothing that was deleted.
    pub fn verify(&self, worked: &Worked) -> Result<()> {
        for kind in [Kind::Object, Kind::Key] {
            let ledger = worked.ledger(kind);
            for name in ledger.names() {
                let found = self.wait(get(self.client(), kind, name)).with_context(|| name.to_string())?;
                if !ledger.allows(name, found.as_deref()) {
                    let length = found.map(|bytes| bytes.len());
                    bail!("{kind:?} {name} holds {length:?} bytes, and may hold only {:?}", ledger.may_hold(name));
                }
            }
            let listed = self.list(kind)?;
            if let Some(missing) = ledger.present().iter().find(|name| listed.binary_search(name).is_err()) {
                bail!("{kind:?} {missing} is there and not listed");
            }
            if let Some(back) = ledger.absent().iter().find(|name| listed.binary_search(name).is_ok()) {
                bail!("{kind:?} {back} is deleted and listed");
            }
        }
        Ok(())
    }

    /// Writes `count` names, from one byte to a few MiB, for others to read.
    pub fn fill(&self, kind: Kind, prefix: &str, lengths: &[usize], count: u64) -> Result<Ledger> {
        let mut ledger = Ledger::default();
        for (seed, length) in (1..=count).zip(lengths.iter().cycle().copied()) {
            let name = format!("{prefix}/{seed}");
            self.wait(put(self.client(), kind, &name, seed, length)).with_context(|| name.clone())?;
            ledger.acknowledged(&name, Holds::Bytes { seed, length });
        }
        Ok(ledger)
    }

    /// Deletes every name of a kind that a listing shows.
    pub fn delete_all(&self, kind: Kind) -> Result<usize> {
        let names = self.list(kind)?;
        for name in &names {
            self.wait(delete(self.client(), kind, name)).with_context(|| name.clone())?;
        }
        Ok(names.len())
    }
}
