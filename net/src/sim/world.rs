//! The state of a simulated network: who is where, which ways are cut, which links stand, and the one source of chance.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use tokio::sync::Notify;
use tokio::time::Instant;
use types::wire::hello::LinkRole;

use super::link::Link;
use super::{SimNode, SimOptions};
use crate::NetError;

/// Caller, its instance, callee, role: a caller has one link of each role to an address.
pub(super) type LinkKey = (String, u64, String, LinkRole);

/// What all endpoints of a network share.
pub(super) struct World {
    pub(super) options: SimOptions,
    inner: Mutex<Inner>,
    /// Told of every cut and every healing.
    pub(super) changed: Notify,
}

struct Inner {
    chance: ChaCha8Rng,
    nodes: BTreeMap<String, Arc<SimNode>>,
    cuts: BTreeMap<(String, String), Instant>,
    links: BTreeMap<(String, u64, String, bool), Arc<Link>>,
    /// Until when no new attempt at an address is made, by caller and callee.
    failed: BTreeMap<(String, String), (Instant, String)>,
}

fn ordered(key: &LinkKey) -> (String, u64, String, bool) {
    (key.0.clone(), key.1, key.2.clone(), key.3 == LinkRole::Bulk)
}

impl World {
    pub(super) fn new(seed: u64, options: SimOptions) -> Self {
        let inner = Inner {
            chance: ChaCha8Rng::seed_from_u64(seed),
            nodes: BTreeMap::new(),
            cuts: BTreeMap::new(),
            links: BTreeMap::new(),
            failed: BTreeMap::new(),
        };
        Self { options, inner: Mutex::new(inner), changed: Notify::new() }
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn draw(&self) -> u64 {
        self.lock().chance.random()
    }

    /// How long a message travels, or that it breaks its link.
    pub(super) fn draw_latency(&self) -> Option<Duration> {
        let SimOptions { latency_min, latency_max, late_per_mille, late_by, break_per_million, .. } = self.options;
        let mut inner = self.lock();
        let span = latency_max.saturating_sub(latency_min).as_nanos() as u64;
        let latency = latency_min + Duration::from_nanos(inner.chance.random_range(0..=span));
        let late = inner.chance.random_range(0..1000) < late_per_mille;
        let broken = inner.chance.random_range(0..1_000_000) < break_per_million;
        if broken { None } else { Some(if late { latency + late_by } else { latency }) }
    }

    pub(super) fn enter(&self, node: &Arc<SimNode>) -> Result<(), NetError> {
        let mut inner = self.lock();
        if inner.nodes.contains_key(&node.address) {
            return Err(NetError::Config(format!("{} is taken", node.address)));
        }
        inner.nodes.insert(node.address.clone(), node.clone());
        Ok(())
    }

    /// Takes away whoever is at an address, or only `who`, with all links.
    pub(super) fn leave(&self, address: &str, who: Option<&Arc<SimNode>>) {
        let gone = {
            let mut inner = self.lock();
            match inner.nodes.get(address) {
                Some(node) if who.is_none_or(|who| Arc::ptr_eq(node, who)) => inner.nodes.remove(address),
                _ => None,
            }
        };
        if let Some(gone) = gone {
            self.end_links(|link| link.concerns(&gone), "the other side closed it");
        }
    }

    pub(super) fn node(&self, address: &str) -> Option<Arc<SimNode>> {
        self.lock().nodes.get(address).cloned()
    }

    pub(super) fn is_alive(&self, node: &Arc<SimNode>) -> bool {
        self.lock().nodes.get(&node.address).is_some_and(|other| Arc::ptr_eq(other, node))
    }

    pub(super) fn cut(&self, from: &str, to: &str) {
        self.lock().cuts.entry((from.to_owned(), to.to_owned())).or_insert_with(Instant::now);
        self.changed.notify_waiters();
    }

    pub(super) fn heal(&self, from: &str, to: &str) {
        self.lock().cuts.remove(&(from.to_owned(), to.to_owned()));
        self.changed.notify_waiters();
    }

    pub(super) fn heal_all(&self) {
        self.lock().cuts.clear();
        self.changed.notify_waiters();
    }

    /// Since when that way is cut.
    pub(super) fn cut_since(&self, from: &str, to: &str) -> Option<Instant> {
        self.lock().cuts.get(&(from.to_owned(), to.to_owned())).copied()
    }

    pub(super) fn link(&self, key: &LinkKey) -> Option<Arc<Link>> {
        self.lock().links.get(&ordered(key)).cloned()
    }

    pub(super) fn add_link(&self, key: &LinkKey, link: &Arc<Link>) {
        self.lock().links.insert(ordered(key), link.clone());
    }

    pub(super) fn remove_link(&self, key: &LinkKey, link: &Link) {
        let mut inner = self.lock();
        if inner.links.get(&ordered(key)).is_some_and(|other| std::ptr::eq(Arc::as_ptr(other), link)) {
            inner.links.remove(&ordered(key));
        }
    }

    /// Ends all links that match.
    pub(super) fn end_links(&self, matches: impl Fn(&Link) -> bool, reason: &str) {
        let ending: Vec<_> = self.lock().links.values().filter(|link| matches(link)).cloned().collect();
        for link in ending {
            link.end(reason);
        }
    }

    pub(super) fn note_failure(&self, caller: &str, callee: &str, reason: &str) {
        let until = Instant::now() + self.options.timing.reconnect_pause;
        self.lock().failed.insert((caller.to_owned(), callee.to_owned()), (until, reason.to_owned()));
    }

    /// Why no attempt is made now.
    pub(super) fn recent_failure(&self, caller: &str, callee: &str) -> Option<String> {
        let mut inner = self.lock();
        let key = (caller.to_owned(), callee.to_owned());
        match inner.failed.get(&key) {
            Some((until, reason)) if *until > Instant::now() => Some(reason.clone()),
            Some(_) => {
                inner.failed.remove(&key);
                None
            }
            None => None,
        }
    }
}
