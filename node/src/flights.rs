//! What is under way at a device for clients: counted from its admission to its end, so that whoever has to can wait for the end of all that
//! was admitted before, and whoever works behind clients can see that they are at work.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, MutexGuard};

use tokio::sync::Notify;

/// What is under way.
#[derive(Debug, Default)]
pub struct Flights {
    inner: Mutex<Inner>,
    landed: Notify,
}

#[derive(Debug, Default)]
struct Inner {
    next: u64,
    under_way: BTreeSet<u64>,
}

/// One of them, until it is dropped.
#[derive(Debug)]
pub struct Flight {
    of: Arc<Flights>,
    number: u64,
}

impl Flights {
    /// Something begins. What is asked after this sees what was so before it began.
    pub fn begin(self: &Arc<Self>) -> Flight {
        let mut inner = self.inner();
        let number = inner.next;
        inner.next += 1;
        inner.under_way.insert(number);
        Flight { of: self.clone(), number }
    }

    /// Whether anything is under way.
    pub fn any(&self) -> bool {
        !self.inner().under_way.is_empty()
    }

    /// How many have begun so far.
    pub fn begun(&self) -> u64 {
        self.inner().next
    }

    /// Waits for the end of all that had begun when this was called.
    pub async fn landed(&self) {
        let upto = self.inner().next;
        loop {
            let landed = self.landed.notified();
            tokio::pin!(landed);
            // From here on no end is missed.
            landed.as_mut().enable();
            if self.inner().under_way.first().is_none_or(|first| *first >= upto) {
                return;
            }
            landed.await;
        }
    }

    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().expect("nobody panics with the lock")
    }
}

impl Drop for Flight {
    fn drop(&mut self) {
        self.of.inner().under_way.remove(&self.number);
        self.of.landed.notify_waiters();
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[tokio::test]
    async fn the_end_of_what_began_before_is_waited_for_and_of_nothing_else() {
        let flights = Arc::new(Flights::default());
        flights.landed().await;
        let (first, second) = (flights.begin(), flights.begin());
        let waiting = flights.landed();
        tokio::pin!(waiting);
        assert!(tokio::time::timeout(Duration::from_millis(5), &mut waiting).await.is_err());
        let third = flights.begin();
        drop(second);
        assert!(tokio::time::timeout(Duration::from_millis(5), &mut waiting).await.is_err());
        drop(first);
        tokio::time::timeout(Duration::from_secs(5), &mut waiting).await.expect("the third is not waited for");
        assert!(flights.any() && flights.begun() == 3);
        drop(third);
        assert!(!flights.any());
    }
}
