//! The cluster map, cached: given at once, fetched anew when somebody knows better or when it is old.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tokio::sync::{Mutex, watch};
use tokio::time::Instant;
use types::Epoch;
use types::map::ClusterMap;

use crate::control::{Control, ControlError};

/// A map older than this is fetched anew in the background when it is used: a node that came back is noticed.
const MAP_AGE_MAX: Duration = Duration::from_secs(2);

/// The latest map that this client knows.
pub(crate) struct MapCache {
    control: Arc<dyn Control>,
    latest: watch::Sender<Fetched>,
    /// One fetch at a time; whoever waited for one that began after his question takes its result.
    fetching: Mutex<()>,
    /// Whether somebody fetches an old map anew behind the back of all others.
    renewing: AtomicBool,
}

/// A map, and when it was asked for.
#[derive(Clone)]
pub(crate) struct Fetched {
    pub(crate) map: Arc<ClusterMap>,
    asked: Instant,
}

impl MapCache {
    /// A cache with its first map.
    pub(crate) async fn fetch(control: Arc<dyn Control>) -> Result<Self, ControlError> {
        let asked = Instant::now();
        let map = Arc::new(control.map(Epoch(0)).await?);
        let latest = watch::Sender::new(Fetched { map, asked });
        Ok(Self { control, latest, fetching: Mutex::new(()), renewing: AtomicBool::new(false) })
    }

    /// The latest known map.
    pub(crate) fn latest(&self) -> Arc<ClusterMap> {
        self.read().map
    }

    /// The maps from now on.
    pub(crate) fn watch(&self) -> watch::Receiver<Fetched> {
        self.latest.subscribe()
    }

    /// Whether the map is so old that the caller has to renew it: only one is told so at a time.
    pub(crate) fn begin_renewal(&self) -> bool {
        self.latest.borrow().asked.elapsed() > MAP_AGE_MAX && !self.renewing.swap(true, Ordering::Relaxed)
    }

    /// Whoever was told to has renewed it, or could not.
    pub(crate) fn end_renewal(&self) {
        self.renewing.store(false, Ordering::Relaxed);
    }

    /// A map of `epoch` at least that was asked for after `since`, unless a newer epoch is known already.
    pub(crate) async fn refresh(&self, epoch: Epoch, since: Instant) -> Result<Arc<ClusterMap>, ControlError> {
        let _one_at_a_time = self.fetching.lock().await;
        let known = self.read();
        if known.map.epoch >= epoch && (known.asked > since || (epoch > Epoch(0) && known.map.epoch > epoch)) {
            return Ok(known.map);
        }
        let asked = Instant::now();
        let map = Arc::new(self.control.map(epoch).await?);
        self.latest.send_if_modified(|latest| {
            let is_newer = map.index > latest.map.index;
            if map.index >= latest.map.index {
                *latest = Fetched { map, asked };
            }
            is_newer
        });
        Ok(self.read().map)
    }

    fn read(&self) -> Fetched {
        self.latest.borrow().clone()
    }
}
