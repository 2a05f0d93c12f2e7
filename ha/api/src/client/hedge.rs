//! Several daemons asked for one thing: the next one where those before it have not answered soon, so that one that hangs, or that is cut
//! off from the others, costs a moment and not an attempt.
//!
//! For what may be done twice. Every daemon is asked once in a round, so a round is bounded, and rounds go on until the call's deadline.

use std::future::Future;
use std::time::Duration;

use tokio::task::JoinSet;
use tokio::time::{Instant, sleep_until, timeout};
use tonic::{Response, Status};

use super::{ATTEMPT, ATTEMPT_MIN, Daemon, HaClient, ROUND_PAUSE, SUSPECT, Service};
use crate::HaError;

/// How long an answer that may be old is held back for a better one: a daemon that is in touch with the others has answered by then.
const BETTER: Duration = Duration::from_millis(300);

/// What an answer is worth.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Worth {
    /// It may be old; the greater is the better.
    Perhaps(u64),
    /// There is none better.
    Best,
}

/// What a round came to so far.
struct Round<T> {
    best: Option<(Worth, T)>,
    error: HaError,
}

impl HaClient {
    /// The best answer of the daemons, with `delay` before the next one is asked too.
    pub(super) async fn hedged<T, Fut>(
        &self,
        delay: Duration,
        request: impl Fn(Service) -> Fut,
        worth: impl Fn(&T) -> Worth,
    ) -> Result<T, HaError>
    where
        T: Send + 'static,
        Fut: Future<Output = Result<Response<T>, Status>> + Send + 'static,
    {
        let factor = self.inner.options.factor;
        let end = Instant::now() + self.inner.options.deadline.mul_f64(factor);
        loop {
            let error = match self.round(delay.mul_f64(factor), end, &request, &worth).await {
                Ok(answer) => return Ok(answer),
                Err(error) if !error.is_retryable() => return Err(error),
                Err(error) => error,
            };
            let left = end.saturating_duration_since(Instant::now());
            if left < ATTEMPT_MIN.mul_f64(factor) {
                return Err(error);
            }
            tokio::time::sleep(ROUND_PAUSE.mul_f64(factor).min(left)).await;
        }
    }

    /// Asks every daemon once, and no longer than until `end`.
    async fn round<T, Fut>(
        &self,
        delay: Duration,
        end: Instant,
        request: &impl Fn(Service) -> Fut,
        worth: &impl Fn(&T) -> Worth,
    ) -> Result<T, HaError>
    where
        T: Send + 'static,
        Fut: Future<Output = Result<Response<T>, Status>> + Send + 'static,
    {
        let mut waiting = self.in_order();
        let mut asked = JoinSet::new();
        let mut round = Round { best: None, error: HaError::Unavailable(format!("no daemon of {} answers", self.addresses().join(", "))) };
        let (mut next, mut until) = (Instant::now(), end);
        loop {
            tokio::select! {
                biased;
                Some(answered) = asked.join_next() => {
                    let (number, answer) = answered.expect("a call neither panics nor is aborted");
                    let came = self.came(&self.inner.daemons[number], answer, worth, &mut round)?;
                    match came {
                        Some(Worth::Best) => break,
                        Some(Worth::Perhaps(_)) => until = until.min(Instant::now() + BETTER.mul_f64(self.inner.options.factor)),
                        None => {}
                    }
                    // What it said was not enough: the next one need not wait for its turn.
                    next = Instant::now();
                }
                () = sleep_until(next), if !waiting.is_empty() => {
                    let daemon = waiting.pop().expect("there is one");
                    self.begin(&mut asked, daemon, end, request);
                    next = Instant::now() + delay;
                }
                () = sleep_until(until) => break,
            }
            if waiting.is_empty() && asked.is_empty() {
                break;
            }
        }
        round.best.map(|(_, answer)| answer).ok_or(round.error)
    }

    fn begin<T, Fut>(
        &self,
        asked: &mut JoinSet<(usize, Result<T, HaError>)>,
        daemon: &Daemon,
        end: Instant,
        request: &impl Fn(Service) -> Fut,
    ) where
        T: Send + 'static,
        Fut: Future<Output = Result<Response<T>, Status>> + Send + 'static,
    {
        let number = self.inner.daemons.iter().position(|one| std::ptr::eq(one, daemon)).expect("it is one of ours");
        let left = end.saturating_duration_since(Instant::now()).min(ATTEMPT.mul_f64(self.inner.options.factor));
        let (address, call) = (daemon.address.clone(), request(daemon.service.clone()));
        asked.spawn(async move {
            let answer = match timeout(left, call).await {
                Ok(answer) => answer.map(Response::into_inner).map_err(HaError::from),
                Err(_) => Err(HaError::Unknown(format!("{address} within {left:?}"))),
            };
            (number, answer)
        });
    }

    /// Takes in what a daemon said; an error where no other one need be asked.
    fn came<T>(
        &self,
        daemon: &Daemon,
        answer: Result<T, HaError>,
        worth: &impl Fn(&T) -> Worth,
        round: &mut Round<T>,
    ) -> Result<Option<Worth>, HaError> {
        let suspect = || daemon.suspect(Some(std::time::Instant::now() + SUSPECT.mul_f64(self.inner.options.factor)));
        match answer {
            Ok(answer) => {
                let found = worth(&answer);
                if found == Worth::Best {
                    daemon.suspect(None)
                } else {
                    suspect()
                }
                if round.best.as_ref().is_none_or(|(best, _)| *best < found) {
                    round.best = Some((found, answer));
                }
                Ok(Some(found))
            }
            Err(error) if error.is_retryable() => {
                suspect();
                round.error = error;
                Ok(None)
            }
            Err(error) => Err(error),
        }
    }
}
