//! `DeleteUnits`: all units of dead fids on one device, after it has taken in HA's log up to the sender's epoch.

use std::sync::Arc;

use net::Incoming;
use types::limits::DTX_OPS_MAX;
use types::wire::request::{DeleteUnits, Refusal};

use super::{CATCH_UP_WAIT, Node, answer, behind, decoded};
use crate::points;

/// Serves one request.
pub async fn run(node: Arc<Node>, incoming: Incoming) {
    let Some((delete, incoming)) = decoded::<DeleteUnits>(incoming) else { return };
    let reply = serve(&node, &delete).await;
    answer(incoming, &reply);
}

async fn serve(node: &Node, delete: &DeleteUnits) -> Result<(), Refusal> {
    let device = node.device(delete.device)?;
    if delete.fids.len() > DTX_OPS_MAX {
        return Err(Refusal::Invalid(format!("at most {DTX_OPS_MAX} fids are deleted at once, not {}", delete.fids.len())));
    }
    if !node.fences.reach(delete.device, delete.epoch, CATCH_UP_WAIT).await {
        return Err(behind(delete.epoch.0));
    }
    device.store.delete_fids(&delete.fids).await.map_err(|error| node.reports.storage(delete.device, &error))?;
    points::UNITS_DELETED.pass_in_task().await.map_err(|injected| Refusal::Busy(injected.to_string()))
}
