//! The cluster map, cached: given at once, fetched anew when somebody knows better or when it is old.

use std::sync::{Arc, RwLock};
use std::time::Duration;

use tokio::sync::Mutex;
use tokio::time::Instant;
use types::Epoch;
use types::map::ClusterMap;

use crate::control::{Control, ControlError};

/// A map older than this is fetched anew in the background when it is used: a node that came back is noticed.
const MAP_AGE_MAX: Duration = Duration::from_secs(2);

/// The latest map that this client knows.
pub(crate) struct MapCache {
    control: Arc<dyn Control>,
    latest: RwLock<Fetched>,
    /// One fetch at a time; whoever waited for one that began after his question takes its result.
    fetching: Mutex<()>,
}

#[derive(Clone)]
struct Fetched {
    map: Arc<ClusterMap>,
    asked: Instant,
}

impl MapCache {
    /// A cache with its first map.
    pub(crate) async fn fetch(control: Arc<dyn Control>) -> Result<Self, ControlError> {
        let asked = Instant::now();
        let map = Arc::new(control.map(Epoch(0)).await?);
        Ok(Self { control, latest: RwLock::new(Fetched { map, asked }), fetching: Mutex::new(()) })
    }

    /// The latest known map.
    pub(crate) fn latest(&self) -> Arc<ClusterMap> {
        self.read().map
    }

    /// Whether the map is so old that it should be fetched anew.
    pub(crate) fn is_old(&self) -> bool {
        self.read().asked.elapsed() > MAP_AGE_MAX
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
        let mut latest = self.latest.write().expect("nobody panics with this lock held");
        if map.index >= latest.map.index {
            *latest = Fetched { map, asked };
        }
        Ok(latest.map.clone())
    }

    fn read(&self) -> Fetched {
        self.latest.read().expect("nobody panics with this lock held").clone()
    }
}
