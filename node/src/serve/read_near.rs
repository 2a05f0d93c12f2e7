//! `ReadPoint` and `ReadNear`: a linearizable read that most of the group's members can serve.
//!
//! The client asks the primary up to where the log has to be applied, then any member for the rows. The primary says what its rows show; it
//! has the right to as for a read of its own. Whatever anybody was answered before is in that. The member says rows only if they show as much
//! before they are read, and do so still after: what it had was not taken away meanwhile. Its lease says that it is not long given up.

use std::sync::Arc;
use std::time::Instant;

use net::Incoming;
use types::limits::DTX_OPS_MAX;
use types::wire::request::{ReadNear, ReadPoint, Refusal};

use super::read::rows;
use super::{Gate, Node, answer, behind, decoded, not_active, refuse};

/// Says the point, or gives the request back where this process is behind its sender.
pub fn point_now(node: &Node, incoming: Incoming) -> Result<(), Incoming> {
    let Some((ReadPoint { group, view }, incoming)) = decoded::<ReadPoint>(incoming) else { return Ok(()) };
    match node.gate(group, view) {
        Gate::Behind => return Err(incoming),
        Gate::Refuse(refusal) => refuse(incoming, refusal),
        Gate::Pass(device) => {
            let point = node.permits.shown(device, group);
            let point = point.filter(|_| node.may_show(device, group, view)).ok_or_else(not_active);
            answer(incoming, &point);
        }
    }
    Ok(())
}

/// The same after HA's log has been taken in up to the sender's view.
pub async fn point_after_catching_up(node: Arc<Node>, incoming: Incoming) {
    let Some((point, incoming)) = decoded::<ReadPoint>(incoming) else { return };
    node.catch_up(point.view.0).await;
    if let Err(incoming) = point_now(&node, incoming) {
        refuse(incoming, behind(point.view.0));
    }
}

/// Answers, or gives the request back where the device would have to be waited for.
pub fn try_now(node: &Node, incoming: Incoming) -> Result<(), Incoming> {
    let Some((read, incoming)) = decoded::<ReadNear>(incoming) else { return Ok(()) };
    now(node, &read, incoming, false)
}

fn now(node: &Node, read: &ReadNear, incoming: Incoming, may_wait: bool) -> Result<(), Incoming> {
    let ReadNear { group, device, point, .. } = *read;
    if read.rows.len() > DTX_OPS_MAX {
        refuse(incoming, Refusal::Invalid(format!("a read has at most {DTX_OPS_MAX} rows, this one has {}", read.rows.len())));
        return Ok(());
    }
    let not_yet = || Refusal::Busy("the member has not applied so much yet, or has no lease".into());
    let found = match node.permits.while_shown(device, group, point, || rows(node, device, group, &read.rows, may_wait)) {
        Some(Ok(None)) => return Err(incoming),
        Some(Ok(Some(rows))) => Ok(rows),
        Some(Err(refusal)) => Err(refusal),
        None => Err(not_yet()),
    };
    let has_lease = node.lease.holds(Instant::now(), node.fences.taken_in(device));
    let reply = if has_lease { found } else { Err(not_yet()) };
    answer(incoming, &reply);
    Ok(())
}

/// The same on a thread that may wait for the device.
pub async fn in_its_time(node: Arc<Node>, incoming: Incoming) {
    let Some((read, incoming)) = decoded::<ReadNear>(incoming) else { return };
    let Some(local) = node.devices.get(&read.device) else { return refuse(incoming, not_active()) };
    let Ok(permit) = local.reads.clone().acquire_owned().await else { return refuse(incoming, not_active()) };
    let reading = tokio::task::spawn_blocking(move || {
        // Held until it is read, whether anybody waits for that or not.
        let _permit = permit;
        if let Err(incoming) = now(&node, &read, incoming, true) {
            refuse(incoming, not_active());
        }
    });
    if let Err(error) = reading.await {
        tracing::error!(%error, "a read was given up");
    }
}
