//! How long to go on and how long to pause: one deadline for an operation, growing pauses between its attempts.

use std::time::Duration;

use tokio::time::Instant;

use crate::Error;

/// First pause between two attempts, in milliseconds.
const PAUSE_FIRST_MS: u64 = 4;
/// Longest pause: short enough that a write goes on soon after a change of view.
const PAUSE_MAX_MS: u64 = 200;

/// The attempts of one operation: what it is, when it has to end, what went wrong last.
#[derive(Debug)]
pub(crate) struct Attempts {
    what: String,
    started: Instant,
    deadline: Instant,
    pause_ms: u64,
    reason: String,
}

impl Attempts {
    /// Attempts at `what` that end `within` this time from now.
    pub(crate) fn new(what: impl Into<String>, within: Duration) -> Self {
        let started = Instant::now();
        Self { what: what.into(), started, deadline: started + within, pause_ms: PAUSE_FIRST_MS, reason: "no answer".into() }
    }

    /// When the operation has to end.
    pub(crate) fn deadline(&self) -> Instant {
        self.deadline
    }

    /// When an attempt has to end that may take `most`.
    pub(crate) fn attempt_deadline(&self, most: Duration) -> Instant {
        self.deadline.min(Instant::now() + most)
    }

    /// Notes why the last attempt failed.
    pub(crate) fn failed(&mut self, reason: impl std::fmt::Display) {
        self.reason = reason.to_string();
        tracing::debug!(what = %self.what, reason = %self.reason, "an attempt failed");
    }

    /// Pauses before the next attempt; an error once there is no time for one.
    pub(crate) async fn pause(&mut self) -> Result<(), Error> {
        let jittered = self.pause_ms / 2 + rand::random_range(0..=self.pause_ms / 2);
        self.pause_ms = (self.pause_ms * 2).min(PAUSE_MAX_MS);
        let until = Instant::now() + Duration::from_millis(jittered);
        if until >= self.deadline {
            return Err(self.unavailable());
        }
        tokio::time::sleep_until(until).await;
        Ok(())
    }

    /// The error of an operation that ran out of time and changed nothing.
    pub(crate) fn unavailable(&self) -> Error {
        Error::Unavailable { what: self.what.clone(), reason: self.reason.clone(), waited: self.started.elapsed() }
    }

    /// The error of an operation that ran out of time and may have happened.
    pub(crate) fn unknown(&self) -> Error {
        Error::OutcomeUnknown { what: self.what.clone(), reason: self.reason.clone() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn attempts_end_by_their_deadline() {
        let start = Instant::now();
        let mut attempts = Attempts::new("get a", Duration::from_secs(3));
        attempts.failed("node-2 is away");
        let error = loop {
            if let Err(error) = attempts.pause().await {
                break error;
            }
        };
        assert!(start.elapsed() <= Duration::from_secs(3));
        assert!(error.is_retryable() && error.to_string().contains("node-2 is away"));
    }
}
