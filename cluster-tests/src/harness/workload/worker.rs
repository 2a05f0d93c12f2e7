//! One client of a load.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use client::{Client, Error};
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;

use super::names::{Names, Shared};
use super::{Step, kind};
use crate::checkers::history::{Action, Answer, Condition, Moment, Operation};
use crate::harness::scenario::{Verb, Workload};
use crate::process::clients::{delete, get, list, put_bytes};
use crate::process::{Holds, Kind, Ledger, Pattern};

/// Above this many times its own timeout an operation hangs: an object has several parts, each with the timeout of the client.
const HANG: u32 = 4;
/// And so much more, for what is no wait.
const HANG_MORE: Duration = Duration::from_secs(10);
/// Pause after an operation that failed at once, so that nobody spins.
const FAILED_PAUSE: Duration = Duration::from_millis(20);
/// Words of errors that are kept.
const ERRORS_MAX: usize = 1000;

/// A client with what it did and saw.
pub(super) struct Worker {
    client: Client,
    pub(super) entry: usize,
    number: u32,
    wish: Arc<Workload>,
    shared: Option<Arc<Shared>>,
    names: Names,
    began: Instant,
    random: ChaCha8Rng,
    pub(super) kind: Kind,
    pub(super) ledger: Ledger,
    pub(super) operations: BTreeMap<String, Vec<Operation>>,
    pub(super) steps: Vec<Step>,
    pub(super) errors: Vec<String>,
    pub(super) violations: Vec<String>,
}

/// What came of an operation, as far as the client knows.
type Ended = Result<(), Error>;

/// The value that a shared name is given: its number, and bytes that follow from it.
pub fn shared_value(value: u64, length: usize) -> Vec<u8> {
    let mut bytes = value.to_le_bytes().to_vec();
    bytes.extend_from_slice(&Pattern(value).bytes(length.saturating_sub(8)));
    bytes
}

/// The number of a value of a shared name; `None` where its bytes do not follow from it.
pub fn shared_number(bytes: &[u8]) -> Option<u64> {
    let value = u64::from_le_bytes(bytes.get(..8)?.try_into().ok()?);
    (shared_value(value, bytes.len()) == bytes).then_some(value)
}

impl Worker {
    pub(super) fn new(
        client: Client,
        entry: usize,
        number: u32,
        wish: Arc<Workload>,
        shared: Option<Arc<Shared>>,
        began: Instant,
        seed: u64,
    ) -> Self {
        Self {
            client,
            entry,
            number,
            names: Names::new(&wish),
            kind: kind(wish.on),
            wish,
            shared,
            began,
            random: ChaCha8Rng::seed_from_u64(seed),
            ledger: Ledger::default(),
            operations: BTreeMap::new(),
            steps: Vec::new(),
            errors: Vec::new(),
            violations: Vec::new(),
        }
    }

    /// Works until it is told to stop, or a promise is broken.
    pub(super) async fn run(mut self, stop: Arc<AtomicBool>) -> Self {
        let pace = self.wish.rate.map(|rate| Duration::from_secs_f64(1.0 / rate));
        let hang = self.wish.timeout.0 * HANG + HANG_MORE;
        let mut next = tokio::time::Instant::now();
        while !stop.load(Ordering::Relaxed) && self.violations.is_empty() {
            let verb = self.verb();
            let began = self.began.elapsed();
            let ended = tokio::time::timeout(hang, self.step(verb)).await;
            let took = self.began.elapsed() - began;
            let Ok(ended) = ended else {
                let what = format!("a {} of {:?} hangs: not over after {hang:?}", verb.word(), self.kind);
                self.violations.push(what);
                break;
            };
            self.note(verb, began, took, &ended);
            match pace {
                Some(pace) => {
                    next = (next + pace).max(tokio::time::Instant::now() - pace);
                    tokio::time::sleep_until(next).await;
                }
                None if ended.is_err() => tokio::time::sleep(FAILED_PAUSE).await,
                None => {}
            }
        }
        self
    }

    fn note(&mut self, verb: Verb, began: Duration, took: Duration, ended: &Ended) {
        let us = |time: Duration| u64::try_from(time.as_micros()).unwrap_or(u64::MAX);
        self.steps.push(Step {
            entry: self.entry,
            client: self.number,
            verb,
            began_us: us(began),
            took_us: us(took),
            is_ok: ended.is_ok(),
        });
        if let Err(error) = ended
            && self.errors.len() < ERRORS_MAX
        {
            self.errors.push(format!("{} at {:.3} s after {} ms: {error}", verb.word(), began.as_secs_f64(), took.as_millis()));
        }
    }

    fn verb(&mut self) -> Verb {
        let all: u32 = self.wish.mix.values().sum();
        let mut drawn = self.random.random_range(0..all);
        for (verb, parts) in &self.wish.mix {
            if drawn < *parts {
                return *verb;
            }
            drawn -= parts;
        }
        Verb::Get
    }

    fn length(&mut self) -> usize {
        let at = self.random.random_range(0..self.wish.sizes.len());
        usize::try_from(self.wish.sizes[at].0).unwrap_or(usize::MAX)
    }

    fn prefix(&self) -> String {
        format!("own-{}/{}/", self.entry, self.number)
    }

    async fn step(&mut self, verb: Verb) -> Ended {
        let number = self.names.choose(&mut self.random);
        if let Some(shared) = self.shared.clone() {
            return self.shared_step(verb, shared.take(number)).await;
        }
        let name = format!("{}{number}", self.prefix());
        match verb {
            Verb::Put => {
                let (seed, length) = (self.random.random(), self.length());
                let put = put_bytes(&self.client, self.kind, &name, &Pattern(seed).bytes(length)).await;
                self.changed(&name, Holds::Bytes { seed, length }, put.map(|()| true))
            }
            Verb::Delete => {
                let deleted = delete(&self.client, self.kind, &name).await;
                self.changed(&name, Holds::Nothing, deleted)
            }
            Verb::Get => {
                let found = get(&self.client, self.kind, &name).await?;
                if !self.ledger.allows(&name, found.as_deref()) {
                    let length = found.map(|bytes| bytes.len());
                    let may = self.ledger.may_hold(&name);
                    self.violations.push(format!("{:?} {name} gave {length:?} bytes, and may hold only {may:?}", self.kind));
                }
                Ok(())
            }
            Verb::Scan => self.scan().await,
        }
    }

    /// Notes a change. A delete that found nothing is right only where there may have been nothing.
    fn changed(&mut self, name: &str, holds: Holds, ended: Result<bool, Error>) -> Ended {
        match ended {
            Ok(was_there) => {
                if !was_there && !self.ledger.allows(name, None) {
                    let may = self.ledger.may_hold(name);
                    self.violations.push(format!("a delete of {name} found nothing, and it has to hold one of {may:?}"));
                }
                self.ledger.acknowledged(name, holds);
                Ok(())
            }
            Err(error) => {
                // `Unavailable` and `Full` promise that nothing was changed.
                if !error.is_retryable() && !matches!(error, Error::Full(_)) {
                    self.ledger.in_doubt(name, holds);
                }
                Err(error)
            }
        }
    }

    /// All names of this client, as a listing shows them, against its ledger.
    async fn scan(&mut self) -> Ended {
        let prefix = self.prefix();
        let listed = match list(&self.client, self.kind, &prefix).await {
            Ok(listed) => listed,
            Err(error) => match error.downcast::<Error>() {
                Ok(error) => return Err(error),
                Err(wrong) => {
                    self.violations.push(format!("a listing of {prefix}: {wrong:#}"));
                    return Ok(());
                }
            },
        };
        if let Some(missing) = self.ledger.present().iter().find(|name| listed.binary_search(name).is_err()) {
            self.violations.push(format!("{missing} is there and not listed"));
        }
        if let Some(back) = self.ledger.absent().iter().find(|name| listed.binary_search(name).is_ok()) {
            self.violations.push(format!("{back} is deleted and listed"));
        }
        Ok(())
    }

    async fn shared_step(&mut self, verb: Verb, name: String) -> Ended {
        let moment = |began: Instant| Moment::try_from(began.elapsed().as_nanos()).unwrap_or(Moment::MAX);
        let call = moment(self.began);
        let (action, answer, ended) = match verb {
            Verb::Put => {
                // Unique, and never 0.
                let value = self.random.random::<u64>() | 1;
                let bytes = shared_value(value, self.length());
                let ended = put_bytes(&self.client, self.kind, &name, &bytes).await;
                (Action::Put(value, Condition::Always), answer(&ended, Answer::Done(None)), ended)
            }
            Verb::Delete => match delete(&self.client, self.kind, &name).await {
                Ok(true) => (Action::Delete(Condition::Present), Answer::Done(None), Ok(())),
                Ok(false) => (Action::Delete(Condition::Present), Answer::Refused(Some(None)), Ok(())),
                Err(error) => {
                    let ended = Err(error);
                    (Action::Delete(Condition::Present), answer(&ended, Answer::Unknown), ended)
                }
            },
            Verb::Get | Verb::Scan => match get(&self.client, self.kind, &name).await {
                Ok(found) => (Action::Read, self.read(&name, found.as_deref()), Ok(())),
                Err(error) => (Action::Read, Answer::Unknown, Err(error)),
            },
        };
        let ret = if answer == Answer::Unknown { Moment::MAX } else { moment(self.began) };
        let operation = Operation { client: self.number, row: 0, call, ret, action, answer };
        self.operations.entry(name).or_default().push(operation);
        ended
    }

    fn read(&mut self, name: &str, found: Option<&[u8]>) -> Answer {
        let Some(bytes) = found else { return Answer::Read(None) };
        match shared_number(bytes) {
            Some(value) => Answer::Read(Some(value)),
            None => {
                self.violations.push(format!("{:?} {name} gave {} bytes that nobody wrote", self.kind, bytes.len()));
                Answer::Unknown
            }
        }
    }
}

/// What a history says of a change.
fn answer(ended: &Ended, done: Answer) -> Answer {
    match ended {
        Ok(()) => done,
        Err(error) if error.is_retryable() || matches!(error, Error::Full(_)) => Answer::Never,
        Err(_) => Answer::Unknown,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_shared_value_names_itself_and_a_wrong_byte_is_seen() {
        for length in [8, 9, 5000] {
            let mut bytes = shared_value(77, length);
            assert_eq!((bytes.len(), shared_number(&bytes)), (length, Some(77)));
            if length > 8 {
                bytes[length - 1] ^= 1;
                assert_eq!(shared_number(&bytes), None);
            }
        }
        assert_eq!(shared_number(&[1, 2]), None);
    }
}
