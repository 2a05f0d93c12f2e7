//! `ListUnits`: which units of a group are on a device, for whoever fills another slot of it.
//!
//! The first page of a view comes only when the device refuses writes below that view and those that it had admitted are over: what is not
//! listed then was never acknowledged in an earlier view.

use std::sync::Arc;

use net::Incoming;
use types::limits::SCAN_KEYS_MAX;
use types::wire::request::{ListUnits, Refusal, UnitInfo};

use super::{CATCH_UP_WAIT, Node, answer, behind, decoded, epoch_of};

/// Serves one request.
pub async fn run(node: Arc<Node>, incoming: Incoming) {
    let Some((list, incoming)) = decoded::<ListUnits>(incoming) else { return };
    let reply = node.list_units(&list).await;
    answer(incoming, &reply);
}

impl Node {
    /// A page of the units of a group on a device of this process.
    pub(crate) async fn list_units(&self, list: &ListUnits) -> Result<Vec<UnitInfo>, Refusal> {
        let device = self.device(list.device)?;
        let limit = list.limit as usize;
        if limit == 0 || limit > SCAN_KEYS_MAX {
            return Err(Refusal::Invalid(format!("1 to {SCAN_KEYS_MAX} units are listed at once, not {limit}")));
        }
        if !self.fences.reach(list.device, epoch_of(list.view), CATCH_UP_WAIT).await {
            return Err(behind(list.view.0));
        }
        let view = self.views.now();
        let current = view.map.slots(list.group).map(|slots| slots.number).unwrap_or_default();
        if current != list.view {
            return Err(Refusal::WrongView { current, epoch: view.map.epoch });
        }
        if list.after.is_none() {
            device.clients.landed().await;
        }
        let (store, group, after) = (device.store.clone(), list.group, list.after);
        let listed = tokio::task::spawn_blocking(move || store.units(group, after, limit)).await;
        let listed = listed.map_err(|error| Refusal::Busy(error.to_string()))?;
        listed.map_err(|error| self.reports.storage(list.device, &error))
    }
}
