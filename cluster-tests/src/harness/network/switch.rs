//! The switch: a thread a port that reads packets and delivers them to the port of their destination, and one for those that come later.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap};
use std::net::Ipv4Addr;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, RwLock};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use anyhow::Result;
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;

use super::link::{Counters, Counts, Link};

/// How often a quiet port looks whether it should end, in nanoseconds.
const LOOK_NS: i64 = 50_000_000;
/// Most packets that wait to be delivered later: more are lost, as in a router.
const LATE_MAX: usize = 20_000;
/// Longest queue before a narrow link.
const QUEUE: Duration = Duration::from_millis(200);
/// Shortest IPv4 packet.
const HEADER: usize = 20;

/// A rule that lies on a link.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Cut(u64);

type Way = (Ipv4Addr, Ipv4Addr);

/// Packets in the order of their time, and of their coming: when, number, port, bytes.
type Late = BinaryHeap<Reverse<(Instant, u64, usize, Vec<u8>)>>;

#[derive(Default)]
struct Shared {
    ports: Vec<OwnedFd>,
    places: HashMap<Ipv4Addr, usize>,
    laid: Mutex<Vec<(Cut, Way, Link)>>,
    /// The sum of what lies on each way; ways that are as they should be are not in it.
    rules: RwLock<HashMap<Way, Link>>,
    free_at: Mutex<HashMap<Way, Instant>>,
    late: Mutex<Late>,
    later: Condvar,
    counters: Counters,
    number: AtomicU64,
    stop: AtomicBool,
}

/// A switch that runs.
pub struct Switch {
    shared: Arc<Shared>,
    threads: Vec<JoinHandle<()>>,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().expect("nobody panics with a lock of the switch held")
}

impl Switch {
    /// Connects the ports with each other.
    pub fn start(ports: Vec<(Ipv4Addr, OwnedFd)>, mtu: usize, seed: u64) -> Result<Self> {
        let places = ports.iter().enumerate().map(|(place, (address, _))| (*address, place)).collect();
        let ports: Vec<OwnedFd> = ports.into_iter().map(|(_, port)| port).collect();
        let count = ports.len();
        let shared = Arc::new(Shared { ports, places, ..Shared::default() });
        let mut threads = Vec::new();
        for place in 0..count {
            let (shared, random) = (shared.clone(), ChaCha8Rng::seed_from_u64(seed ^ place as u64));
            threads.push(std::thread::Builder::new().name(format!("port-{place}")).spawn(move || shared.serve(place, mtu, random))?);
        }
        let late = shared.clone();
        threads.push(std::thread::Builder::new().name("late".into()).spawn(move || late.deliver_late())?);
        Ok(Self { shared, threads })
    }

    /// See [`super::Network::lay`].
    pub fn lay(&self, from: Ipv4Addr, to: Ipv4Addr, link: Link) -> Cut {
        let cut = Cut(self.shared.number.fetch_add(1, Ordering::Relaxed));
        let mut laid = lock(&self.shared.laid);
        laid.push((cut, (from, to), link));
        self.shared.sum_up(&laid);
        cut
    }

    /// See [`super::Network::lift`].
    pub fn lift(&self, cut: Cut) {
        let mut laid = lock(&self.shared.laid);
        laid.retain(|(other, ..)| *other != cut);
        self.shared.sum_up(&laid);
    }

    /// What happened so far.
    pub fn counts(&self) -> Counts {
        self.shared.counters.read()
    }

    /// Ends its threads.
    pub fn stop(&mut self) {
        self.shared.stop.store(true, Ordering::Relaxed);
        self.shared.later.notify_all();
        for thread in std::mem::take(&mut self.threads) {
            // One that panicked has said so.
            let _ = thread.join();
        }
    }
}

impl Shared {
    fn sum_up(&self, laid: &[(Cut, Way, Link)]) {
        let mut rules: HashMap<Way, Link> = HashMap::new();
        for (_, way, link) in laid {
            let sum = rules.entry(*way).or_default();
            *sum = sum.and(*link);
        }
        *self.rules.write().expect("nobody panics with a lock of the switch held") = rules;
    }

    /// Reads one port until the end.
    fn serve(&self, place: usize, mtu: usize, mut random: ChaCha8Rng) {
        let port = self.ports[place].as_fd();
        let mut packet = vec![0; mtu + HEADER];
        while !self.stop.load(Ordering::Relaxed) {
            match rustix::io::read(port, &mut packet) {
                Ok(length) => self.forward(&mut packet[..length], &mut random),
                Err(Errno::AGAIN) => {
                    let mut wanted = [PollFd::new(&port, PollFlags::IN)];
                    // A signal or a timeout is a reason to look again.
                    let _ = poll(&mut wanted, Some(&Timespec { tv_sec: 0, tv_nsec: LOOK_NS }));
                }
                Err(Errno::INTR) => {}
                // The device is gone with its namespace.
                Err(_) => return,
            }
        }
    }

    fn forward(&self, packet: &mut [u8], random: &mut ChaCha8Rng) {
        // Only IPv4 goes here; what else the kernel sends (router solicitations of IPv6) has no destination.
        if packet.len() < HEADER || packet[0] >> 4 != 4 {
            return;
        }
        let address = |at: usize| Ipv4Addr::new(packet[at], packet[at + 1], packet[at + 2], packet[at + 3]);
        let way = (address(12), address(16));
        let Some(place) = self.places.get(&way.1).copied() else { return };
        let rule = self.rules.read().expect("nobody panics with a lock of the switch held").get(&way).copied();
        let Some(rule) = rule else { return self.deliver(place, packet) };
        let fate = rule.fate(random);
        let counters = &self.counters;
        let Some(queued) = self.queue(way, rule.bandwidth, packet.len()).filter(|_| fate.copies > 0) else {
            counters.lost.fetch_add(1, Ordering::Relaxed);
            return;
        };
        if fate.is_spoilt {
            let at = random.random_range(HEADER..packet.len().max(HEADER + 1)).min(packet.len() - 1);
            packet[at] ^= 1 << random.random_range(0..8);
            counters.spoilt.fetch_add(1, Ordering::Relaxed);
        }
        counters.doubled.fetch_add(u64::from(fate.copies - 1), Ordering::Relaxed);
        for _ in 0..fate.copies {
            let later = queued + fate.later;
            if later.is_zero() { self.deliver(place, packet) } else { self.deliver_later(place, packet, later) }
        }
    }

    /// How long a packet waits before a narrow link; `None` where the queue is full.
    fn queue(&self, way: Way, bandwidth: u64, length: usize) -> Option<Duration> {
        if bandwidth == 0 {
            return Some(Duration::ZERO);
        }
        let now = Instant::now();
        let mut free_at = lock(&self.free_at);
        let free = free_at.entry(way).or_insert(now);
        let wait = free.saturating_duration_since(now);
        if wait > QUEUE {
            return None;
        }
        let takes = Duration::from_secs_f64(length as f64 / bandwidth as f64);
        *free = now + wait + takes;
        Some(wait + takes)
    }

    fn deliver(&self, place: usize, packet: &[u8]) {
        // A host whose queue is full loses packets, as a real one does.
        let delivered = rustix::io::write(&self.ports[place], packet).is_ok();
        let counter = if delivered { &self.counters.delivered } else { &self.counters.lost };
        counter.fetch_add(1, Ordering::Relaxed);
        if delivered {
            self.counters.bytes.fetch_add(packet.len() as u64, Ordering::Relaxed);
        }
    }

    fn deliver_later(&self, place: usize, packet: &[u8], later: Duration) {
        let mut late = lock(&self.late);
        if late.len() >= LATE_MAX {
            self.counters.lost.fetch_add(1, Ordering::Relaxed);
            return;
        }
        let number = self.number.fetch_add(1, Ordering::Relaxed);
        late.push(Reverse((Instant::now() + later, number, place, packet.to_vec())));
        self.counters.delayed.fetch_add(1, Ordering::Relaxed);
        self.later.notify_one();
    }

    fn deliver_late(&self) {
        let mut late = lock(&self.late);
        while !self.stop.load(Ordering::Relaxed) {
            let now = Instant::now();
            let wait = match late.peek() {
                Some(Reverse((due, ..))) if *due <= now => {
                    let Some(Reverse((_, _, place, packet))) = late.pop() else { continue };
                    drop(late);
                    self.deliver(place, &packet);
                    late = lock(&self.late);
                    continue;
                }
                Some(Reverse((due, ..))) => *due - now,
                None => Duration::from_millis(100),
            };
            late = self.later.wait_timeout(late, wait).expect("nobody panics with a lock of the switch held").0;
        }
    }
}
