//! What a gateway has answered, for the page of metrics of its process: how often, with what status, how fast, and how many bytes. Bounded: an
//! entry for each operation of the protocol, and in it one for each status that it was answered with.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use hyper::StatusCode;

/// Steps of times.
const STEPS: usize = 16;
/// The first step, in microseconds; each further one is twice as long. The last has no end.
const STEP_MICROS: u64 = 500;
/// What was refused before it was known what it is, and what is no operation of the protocol.
const OTHER: &str = "Other";

/// What was answered.
#[derive(Debug, Default)]
pub struct Figures(Mutex<BTreeMap<String, OfOperation>>);

/// What was answered of one operation.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct OfOperation {
    /// How often, by status.
    pub answers: BTreeMap<u16, u64>,
    /// Bytes of bodies that were announced.
    pub bytes_in: u64,
    /// Bytes of bodies that were sent.
    pub bytes_out: u64,
    /// From the head of the request to the end of the answer, together.
    pub time: Duration,
    /// How many took how long.
    pub steps: [u64; STEPS],
}

impl OfOperation {
    /// How many were no longer than the end of each step, in seconds, and longer than that of the one before; the last has no end.
    pub fn times(&self) -> impl Iterator<Item = (Option<f64>, u64)> + '_ {
        let end = |step: usize| (step < STEPS - 1).then(|| (STEP_MICROS << step) as f64 / 1e6);
        self.steps.iter().enumerate().map(move |(step, count)| (end(step), *count))
    }
}

impl Figures {
    /// What was answered so far, by operation.
    pub fn all(&self) -> BTreeMap<String, OfOperation> {
        self.now().clone()
    }

    fn now(&self) -> MutexGuard<'_, BTreeMap<String, OfOperation>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A request has come.
    pub(crate) fn begin(self: &Arc<Self>, bytes_in: u64) -> Asking {
        Asking { figures: self.clone(), operation: Named::default(), began: Instant::now(), bytes_in, bytes_out: 0, status: None }
    }
}

/// The name of the operation of a request, once it is known. Lies in its extensions.
#[derive(Clone, Debug, Default)]
pub struct Named(Arc<OnceLock<String>>);

impl Named {
    /// It is this one.
    pub fn set(&self, operation: &str) {
        // A form is a PUT within.
        let _known_already = self.0.set(operation.to_owned());
    }
}

/// A request, counted when it is over. One whose caller went away before there was an answer is not.
#[derive(Debug)]
pub struct Asking {
    figures: Arc<Figures>,
    operation: Named,
    began: Instant,
    bytes_in: u64,
    bytes_out: u64,
    status: Option<StatusCode>,
}

impl Asking {
    /// Where its name is to be said.
    pub fn named(&self) -> Named {
        self.operation.clone()
    }

    /// It is answered so.
    pub fn answered(&mut self, status: StatusCode) {
        self.status = Some(status);
    }

    /// So much more was sent.
    pub fn sent(&mut self, bytes: usize) {
        self.bytes_out += bytes as u64;
    }
}

impl Drop for Asking {
    fn drop(&mut self) {
        let Some(status) = self.status else { return };
        let (took, operation) = (self.began.elapsed(), self.operation.0.get().map_or(OTHER, String::as_str));
        let micros = u64::try_from(took.as_micros()).unwrap_or(u64::MAX);
        let step = (0..STEPS - 1).find(|step| micros <= STEP_MICROS << step).unwrap_or(STEPS - 1);
        let mut now = self.figures.now();
        if !now.contains_key(operation) {
            now.insert(operation.to_owned(), OfOperation::default());
        }
        let Some(of) = now.get_mut(operation) else { return };
        *of.answers.entry(status.as_u16()).or_default() += 1;
        of.bytes_in += self.bytes_in;
        of.bytes_out += self.bytes_out;
        of.time += took;
        of.steps[step] += 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_counts_once_under_its_operation_and_an_answer_that_was_none_does_not() {
        let figures = Arc::new(Figures::default());
        drop(figures.begin(7));
        let mut asking = figures.begin(7);
        asking.named().set("GetObject");
        asking.named().set("PutObject");
        asking.answered(StatusCode::OK);
        asking.sent(3);
        asking.sent(2);
        drop(asking);
        figures.begin(1).answered(StatusCode::SERVICE_UNAVAILABLE);
        let all = figures.all();
        assert_eq!(all.keys().map(String::as_str).collect::<Vec<_>>(), ["GetObject", OTHER]);
        let get = &all["GetObject"];
        assert_eq!((&get.answers, get.bytes_in, get.bytes_out), (&[(200, 1)].into(), 7, 5));
        assert_eq!((get.times().map(|(_, count)| count).sum::<u64>(), get.times().last().expect("steps").0), (1, None));
        assert_eq!(all[OTHER].answers, [(503, 1)].into());
    }
}
