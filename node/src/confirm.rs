//! Tells HA at once that news of the global records was taken in: whoever changes one waits for that. The lease's renewal says it too, later.

use std::sync::Arc;
use std::time::Duration;

use ha_api::HaClient;
use types::Boot;

use crate::fences::Fences;
use crate::view::Views;

/// How often it is looked whether the devices have taken the news in.
const LOOK: Duration = Duration::from_millis(2);
/// How often: what takes longer is left to the lease's renewal.
const LOOKS_MAX: u32 = 50;

/// Who tells.
pub struct Confirming {
    /// HA.
    pub ha: HaClient,
    /// This start of the process.
    pub boot: Boot,
    /// What the process knows of HA's log.
    pub views: Arc<Views>,
    /// How far the devices have taken it in.
    pub fences: Arc<Fences>,
}

impl Confirming {
    /// Tells until it is dropped.
    pub async fn run(self) {
        let mut newest = self.views.subscribe();
        let mut told = newest.borrow_and_update().records.clone();
        while newest.changed().await.is_ok() {
            let view = newest.borrow_and_update().clone();
            if Arc::ptr_eq(&view.records, &told) {
                continue;
            }
            told = view.records.clone();
            for _ in 0..LOOKS_MAX {
                if self.fences.all_taken_in() >= view.index {
                    if let Err(error) = self.ha.confirm(Some(self.boot), view.index).await {
                        tracing::debug!(%error, "HA was not told that news were taken in");
                    }
                    break;
                }
                tokio::time::sleep(LOOK).await;
            }
        }
    }
}
