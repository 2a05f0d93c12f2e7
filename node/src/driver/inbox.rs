//! What waits for a driver: client requests, messages of peers, and a bell for everything else.
//!
//! Both lanes are bounded. A full client lane refuses (the client is told `Busy`); a full peer lane drops (the protocol sends again). The
//! bell is not a queue: it says "look", and what is to be looked at (the newest map, the lease) is kept elsewhere.

use std::collections::VecDeque;
use std::sync::{Condvar, Mutex, MutexGuard};
use std::time::Instant;

/// Client requests that may wait for one driver: well above what one batch takes, well below a second of work.
pub const CLIENT_REQUESTS_MAX: usize = 4096;
/// Bytes of peers' messages that may wait for one driver.
pub const PEER_BYTES_MAX: usize = 32 * 1024 * 1024;
/// Client requests that one batch takes: what is answered by one sync.
pub const BATCH_REQUESTS_MAX: usize = 512;
/// Messages of peers that one batch takes.
pub const BATCH_MESSAGES_MAX: usize = 1024;

/// The queue of one driver. `C` is a client's request, `P` a message of a peer.
#[derive(Debug)]
pub struct Inbox<C, P> {
    state: Mutex<State<C, P>>,
    bell: Condvar,
}

#[derive(Debug)]
struct State<C, P> {
    clients: VecDeque<C>,
    peers: VecDeque<(P, usize)>,
    peer_bytes: usize,
    rung: bool,
    stopped: bool,
    /// The driver waits for something, and was not woken yet.
    waits: bool,
    /// Since when the driver is at work at its last batch.
    busy_since: Option<Instant>,
}

/// One batch for the driver.
#[derive(Debug)]
pub struct Batch<C, P> {
    /// Requests of clients, in the order of their arrival.
    pub clients: Vec<C>,
    /// Messages of peers, in the order of their arrival.
    pub peers: Vec<P>,
    /// The driver is to end.
    pub stopped: bool,
}

impl<C, P> Default for Inbox<C, P> {
    fn default() -> Self {
        let state = State {
            clients: VecDeque::new(),
            peers: VecDeque::new(),
            peer_bytes: 0,
            rung: false,
            stopped: false,
            waits: false,
            busy_since: None,
        };
        Self { state: Mutex::new(state), bell: Condvar::new() }
    }
}

impl<C, P> Inbox<C, P> {
    /// Queues a client's request, or gives it back where the lane is full or the driver has ended.
    pub fn offer_client(&self, request: C) -> Result<(), C> {
        let mut state = self.state.lock().expect("nobody panics with the lock");
        if state.stopped || state.clients.len() >= CLIENT_REQUESTS_MAX {
            return Err(request);
        }
        state.clients.push_back(request);
        self.wake(state);
        Ok(())
    }

    /// Queues a peer's message of about that size, or drops it where the lane is full; whether it was queued.
    pub fn offer_peer(&self, message: P, bytes: usize) -> bool {
        let mut state = self.state.lock().expect("nobody panics with the lock");
        if state.stopped || (state.peer_bytes + bytes > PEER_BYTES_MAX && !state.peers.is_empty()) {
            return false;
        }
        state.peer_bytes += bytes;
        state.peers.push_back((message, bytes));
        self.wake(state);
        true
    }

    /// Wakes the driver where it waits; one at work looks again by itself.
    fn wake(&self, mut state: MutexGuard<'_, State<C, P>>) {
        let waits = std::mem::take(&mut state.waits);
        drop(state);
        if waits {
            self.bell.notify_one();
        }
    }

    /// Has the driver look around.
    pub fn ring(&self) {
        let mut state = self.state.lock().expect("nobody panics with the lock");
        state.rung = true;
        self.wake(state);
    }

    /// Whether there is something for the driver to do.
    pub fn has_waiting(&self) -> bool {
        let state = self.state.lock().expect("nobody panics with the lock");
        state.rung || state.stopped || !state.clients.is_empty() || !state.peers.is_empty()
    }

    /// Has the driver end after what it has begun.
    pub fn stop(&self) {
        self.state.lock().expect("nobody panics with the lock").stopped = true;
        self.bell.notify_all();
    }

    /// Since when the driver is at work at the last batch that it took; `None` where it waits for the next.
    pub fn busy_since(&self) -> Option<Instant> {
        self.state.lock().expect("nobody panics with the lock").busy_since
    }

    /// The driver is at work still, and not at the same thing as before.
    pub fn goes_on(&self) {
        let mut state = self.state.lock().expect("nobody panics with the lock");
        if state.busy_since.is_some() {
            state.busy_since = Some(Instant::now());
        }
    }

    /// The driver has ended: it is at work at nothing.
    pub fn rests(&self) {
        self.state.lock().expect("nobody panics with the lock").busy_since = None;
    }

    /// Nothing is taken or queued any more: the driver has ended, or will never come back. Gives the requests that waited.
    pub fn abandon(&self) -> Vec<C> {
        self.stop();
        let mut state = self.state.lock().expect("nobody panics with the lock");
        state.peers.clear();
        state.peer_bytes = 0;
        state.clients.drain(..).collect()
    }

    /// Takes what is ready; waits until something is, or until `deadline`.
    pub fn drain(&self, deadline: Option<Instant>) -> Batch<C, P> {
        let mut state = self.state.lock().expect("nobody panics with the lock");
        state.busy_since = None;
        while state.clients.is_empty() && state.peers.is_empty() && !state.rung && !state.stopped {
            state.waits = true;
            state = match deadline {
                None => self.bell.wait(state).expect("nobody panics with the lock"),
                Some(at) => {
                    let left = at.saturating_duration_since(Instant::now());
                    if left.is_zero() {
                        break;
                    }
                    self.bell.wait_timeout(state, left).expect("nobody panics with the lock").0
                }
            };
        }
        state.waits = false;
        state.rung = false;
        state.busy_since = (!state.stopped).then(Instant::now);
        let requests = state.clients.len().min(BATCH_REQUESTS_MAX);
        let messages = state.peers.len().min(BATCH_MESSAGES_MAX);
        let clients = state.clients.drain(..requests).collect();
        let taken: Vec<(P, usize)> = state.peers.drain(..messages).collect();
        state.peer_bytes -= taken.iter().map(|(_, bytes)| bytes).sum::<usize>();
        Batch { clients, peers: taken.into_iter().map(|(message, _)| message).collect(), stopped: state.stopped }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;
    use std::time::Duration;

    #[test]
    fn a_full_client_lane_gives_the_request_back() {
        let inbox: Inbox<usize, ()> = Inbox::default();
        for i in 0..CLIENT_REQUESTS_MAX {
            assert_eq!(inbox.offer_client(i), Ok(()));
        }
        assert_eq!(inbox.offer_client(7), Err(7));
        assert_eq!(inbox.drain(None).clients.len(), BATCH_REQUESTS_MAX);
        assert_eq!(inbox.offer_client(7), Ok(()));
    }

    #[test]
    fn a_full_peer_lane_drops_and_a_large_message_still_passes_an_empty_one() {
        let inbox: Inbox<(), u8> = Inbox::default();
        assert!(inbox.offer_peer(1, PEER_BYTES_MAX + 1));
        assert!(!inbox.offer_peer(2, 1));
        assert_eq!(inbox.drain(None).peers, [1]);
        assert!(inbox.offer_peer(2, 1));
    }

    #[test]
    fn the_bell_and_the_stop_wake_a_waiting_driver() {
        let inbox: Arc<Inbox<(), ()>> = Arc::default();
        let ringer = inbox.clone();
        let thread = std::thread::spawn(move || ringer.ring());
        assert!(!inbox.drain(None).stopped);
        thread.join().expect("the ringer ends");
        inbox.stop();
        assert!(inbox.drain(None).stopped);
        assert_eq!(inbox.offer_client(()), Err(()));
    }

    #[test]
    fn a_driver_is_busy_from_one_batch_to_the_next() {
        let inbox: Inbox<u8, u8> = Inbox::default();
        assert_eq!(inbox.busy_since(), None);
        inbox.offer_client(1).expect("there is room");
        inbox.drain(None);
        assert!(inbox.busy_since().is_some());
        inbox.offer_client(2).expect("there is room");
        assert!(inbox.offer_peer(3, 1));
        assert_eq!(inbox.abandon(), [2]);
        let batch = inbox.drain(None);
        assert!(batch.stopped && batch.peers.is_empty() && inbox.busy_since().is_none());
    }

    #[test]
    fn a_deadline_ends_the_wait() {
        let inbox: Inbox<(), ()> = Inbox::default();
        let batch = inbox.drain(Some(Instant::now() + Duration::from_millis(1)));
        assert!(batch.clients.is_empty() && batch.peers.is_empty() && !batch.stopped);
    }
}
