//! One client of a load: draws what to do, does it, and knows what it must find.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use client::{Client, Condition, Error, ListRequest, PutOptions, ScanRequest};
use rand::rngs::StdRng;
use rand::{Rng, RngCore, SeedableRng};

use super::plan::{Choice, On, Verb, Workload};

/// Most errors that are kept in words.
const ERRORS_MAX: usize = 20;

/// What clients came to.
#[derive(Default)]
pub struct Done {
    /// Of each verb, how long operations took that ended well.
    pub took_ms: BTreeMap<Verb, Vec<f64>>,
    /// Bytes of them.
    pub bytes: BTreeMap<Verb, u64>,
    /// Operations that ended with a clear error.
    pub failed: u64,
    /// Reads that were compared.
    pub checked: u64,
    /// What was found and never written.
    pub wrong: Vec<String>,
    /// Some of the errors.
    pub errors: Vec<String>,
}

impl Done {
    /// Adds what another came to.
    pub fn add(&mut self, other: Self) {
        for (verb, took) in other.took_ms {
            self.took_ms.entry(verb).or_default().extend(took);
        }
        for (verb, bytes) in other.bytes {
            *self.bytes.entry(verb).or_default() += bytes;
        }
        self.failed += other.failed;
        self.checked += other.checked;
        self.wrong.extend(other.wrong);
        self.errors.extend(other.errors.into_iter().take(ERRORS_MAX.saturating_sub(self.errors.len())));
    }
}

/// What a name holds: which of the client's puts, and how many bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Written {
    stamp: u64,
    bytes: u64,
}

/// The client.
pub struct Worker {
    client: Client,
    workload: Arc<Workload>,
    seed: u64,
    number: u64,
    random: StdRng,
    stamps: u64,
    turn: u64,
    /// What each name may hold: more than one thing where an operation had no answer.
    may_hold: BTreeMap<u64, Vec<Option<Written>>>,
    done: Done,
}

impl Worker {
    /// The client of that number.
    pub fn new(client: Client, workload: Arc<Workload>, seed: u64, number: u64) -> Self {
        let random = StdRng::seed_from_u64(seed ^ number << 24);
        Self { client, workload, seed, number, random, stamps: 0, turn: 0, may_hold: BTreeMap::new(), done: Done::default() }
    }

    /// Works until time or number is over.
    pub async fn run(mut self, until: Option<Instant>, operations: Option<u64>) -> Done {
        let (began, mut count) = (Instant::now(), 0u64);
        while until.is_none_or(|until| Instant::now() < until) && operations.is_none_or(|most| count < most) {
            if let Some(rate) = self.workload.rate {
                let due = began + Duration::from_secs_f64(count as f64 / rate);
                tokio::time::sleep_until(due.into()).await;
            }
            count += 1;
            let (verb, name) = (self.verb(), self.next_name());
            let one = Instant::now();
            match self.operation(verb, name).await {
                Ok(bytes) => {
                    self.done.took_ms.entry(verb).or_default().push(one.elapsed().as_secs_f64() * 1e3);
                    *self.done.bytes.entry(verb).or_default() += bytes;
                }
                Err(error) => self.note(format!("{} of {}: {error}", verb.word(), self.name(name))),
            }
        }
        if !self.workload.keep {
            self.clean().await;
        }
        self.done
    }

    fn note(&mut self, error: String) {
        self.done.failed += 1;
        if self.done.errors.len() < ERRORS_MAX {
            self.done.errors.push(error);
        }
    }

    fn verb(&mut self) -> Verb {
        let all: u32 = self.workload.mix.values().sum();
        let mut at = self.random.random_range(0..all.max(1));
        for (verb, parts) in &self.workload.mix {
            if at < *parts {
                return *verb;
            }
            at -= parts;
        }
        Verb::Get
    }

    fn next_name(&mut self) -> u64 {
        let names = self.workload.names;
        match self.workload.choice {
            Choice::Uniform => self.random.random_range(0..names),
            // As good as Zipf's law with exponent 1: the logarithm of the rank is even.
            Choice::Zipf => ((names as f64).powf(self.random.random::<f64>()) as u64).saturating_sub(1).min(names - 1),
            Choice::InOrder => {
                self.turn += 1;
                (self.turn - 1) % names
            }
        }
    }

    fn prefix(&self) -> String {
        format!("mix/{:016x}/{:04}/", self.seed, self.number)
    }

    fn name(&self, name: u64) -> String {
        format!("{}{name:07}", self.prefix())
    }

    /// What a put wrote: made again from its stamp, so that nobody has to keep it.
    fn content(&self, written: Written) -> Vec<u8> {
        let mut bytes = vec![0; usize::try_from(written.bytes).unwrap_or(usize::MAX)];
        StdRng::seed_from_u64(self.seed ^ self.number << 24 ^ written.stamp.rotate_left(40)).fill_bytes(&mut bytes);
        bytes
    }

    async fn operation(&mut self, verb: Verb, name: u64) -> Result<u64, Error> {
        match verb {
            Verb::Put => self.put(name).await,
            Verb::Get => self.get(name).await,
            Verb::Delete => self.delete(name).await,
            Verb::Scan => self.scan().await,
        }
    }

    /// Notes what a name may hold after an operation: that alone where it has ended well, also that where nobody knows; nothing else where
    /// nothing was changed.
    fn settle(&mut self, name: u64, now: Option<Written>, result: &Result<(), Error>) {
        let may_hold = self.may_hold.entry(name).or_insert_with(|| vec![None]);
        match result {
            Ok(()) => *may_hold = vec![now],
            Err(Error::OutcomeUnknown { .. }) => may_hold.push(now),
            Err(_) => {}
        }
    }

    async fn put(&mut self, name: u64) -> Result<u64, Error> {
        self.stamps += 1;
        let bytes = self.workload.sizes[self.random.random_range(0..self.workload.sizes.len())].0;
        let written = Written { stamp: self.stamps, bytes };
        let (content, key) = (self.content(written), self.name(name));
        let (client, place) = (&self.client, &self.workload.name);
        let result = match self.workload.on {
            On::Objects => client.put(place, key.as_bytes(), content.as_slice(), Some(bytes), &PutOptions::default()).await.map(drop),
            On::Rows => client.index_put(place, key.as_bytes(), &content, Condition::Always).await.map(drop),
        };
        self.settle(name, Some(written), &result);
        result.map(|()| bytes)
    }

    async fn delete(&mut self, name: u64) -> Result<u64, Error> {
        let key = self.name(name);
        let (client, place) = (&self.client, &self.workload.name);
        let result = match self.workload.on {
            On::Objects => client.delete(place, key.as_bytes(), Condition::Always).await.map(|_| ()),
            On::Rows => client.index_delete(place, key.as_bytes(), Condition::Always).await,
        };
        let result = match result {
            Err(Error::NotFound(_)) => Ok(()),
            other => other,
        };
        self.settle(name, None, &result);
        result.map(|()| 0)
    }

    async fn get(&mut self, name: u64) -> Result<u64, Error> {
        let key = self.name(name);
        let (client, place) = (&self.client, &self.workload.name);
        let found = match self.workload.on {
            On::Objects => match client.get(place, key.as_bytes(), None).await {
                Ok(mut reader) => Some(reader.bytes().await?),
                Err(Error::NotFound(_)) => None,
                Err(error) => return Err(error),
            },
            On::Rows => client.index_get(place, key.as_bytes()).await?.map(|entry| entry.value),
        };
        let bytes = found.as_ref().map_or(0, |found| found.len() as u64);
        if self.workload.verify {
            self.compare(name, found.as_deref());
        }
        Ok(bytes)
    }

    fn compare(&mut self, name: u64, found: Option<&[u8]>) {
        self.done.checked += 1;
        let may_hold = self.may_hold.get(&name).cloned().unwrap_or_else(|| vec![None]);
        let is = |may: &Option<Written>| match (may, found) {
            (None, None) => true,
            (Some(written), Some(found)) => written.bytes == found.len() as u64 && self.content(*written) == found,
            _ => false,
        };
        if !may_hold.iter().any(is) {
            let found = found.map(<[u8]>::len);
            self.done.wrong.push(format!("{} holds {found:?} bytes, and may hold only {may_hold:?}", self.name(name)));
        }
    }

    async fn scan(&mut self) -> Result<u64, Error> {
        let names = self.names().await?;
        if self.workload.verify {
            self.done.checked += 1;
            for (name, may_hold) in &self.may_hold {
                let listed = names.binary_search(&self.name(*name).into_bytes()).is_ok();
                if may_hold.iter().all(|may| may.is_some() != listed) {
                    self.done.wrong.push(format!("a listing shows {} {listed}, which may hold only {may_hold:?}", self.name(*name)));
                }
            }
        }
        Ok(names.iter().map(|name| name.len() as u64).sum())
    }

    /// All names of this client that are listed, in order.
    async fn names(&self) -> Result<Vec<Vec<u8>>, Error> {
        let prefix = self.prefix().into_bytes();
        let (client, place) = (&self.client, &self.workload.name);
        let mut names = Vec::new();
        match self.workload.on {
            On::Objects => {
                let mut request = ListRequest { prefix, ..ListRequest::default() };
                loop {
                    let page = client.list(place, &request).await?;
                    names.extend(page.objects.into_iter().map(|object| object.name));
                    match page.next {
                        Some(next) => request.after = Some(next),
                        None => return Ok(names),
                    }
                }
            }
            On::Rows => {
                let mut request = ScanRequest { prefix, keys_only: true, ..ScanRequest::default() };
                loop {
                    let page = client.index_scan(place, &request).await?;
                    names.extend(page.entries.into_iter().map(|entry| entry.key));
                    match page.next {
                        Some(next) => request.from = next,
                        None => return Ok(names),
                    }
                }
            }
        }
    }

    /// Removes what it has written; what fails is told among the errors.
    async fn clean(&mut self) {
        let there: Vec<u64> = self.may_hold.iter().filter(|(_, may)| may.iter().any(Option::is_some)).map(|(name, _)| *name).collect();
        for name in there {
            if let Err(error) = self.delete(name).await {
                self.note(format!("removing {}: {error}", self.name(name)));
            }
        }
    }
}
