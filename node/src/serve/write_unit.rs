//! `WriteUnit`: a unit of an object, pulled from its writer and durable on the device before the answer.
//!
//! Refused are: a view that the device knows to be over, a slot that is another device's, a closed session, a dead fid (the device knows
//! those), bytes that do not have the checksums that the writer made of them (the device looks, once, before it takes them).

use std::sync::Arc;

use net::Incoming;
use service::points::Injected;
use storage::StorageError;
use types::limits::{BLOCK_BYTES, CHUNK_BYTES, UNIT_BYTES_MAX};
use types::wire::request::{Refusal, WriteUnit};

use super::{CATCH_UP_WAIT, LocalDevice, Node, SharedBuf, answer, behind, decoded, epoch_of};
use crate::points;
use crate::view::SessionState;

/// Serves one request.
pub async fn run(node: Arc<Node>, incoming: Incoming) {
    let Some((write, mut incoming)) = decoded::<WriteUnit>(incoming) else { return };
    let reply = serve(node, write, &mut incoming).await;
    answer(incoming, &reply);
}

async fn serve(node: Arc<Node>, write: WriteUnit, incoming: &mut Incoming) -> Result<(), Refusal> {
    let device = node.device(write.device)?;
    let at_work = device.clients.begin();
    check_form(&write, incoming)?;
    catch_up(&node, &write).await?;
    check_fences(&node, &write)?;
    let buf = pull(&node, device, &write, incoming).await?;
    // The pull took its time: what was over by then is refused now. Who waits for the end of what was admitted under a view waits for it too.
    check_fences(&node, &write)?;
    // What the device says is heard even where nobody waits for it any more.
    let store = tokio::spawn(async move {
        let stored = store(node, write, buf).await;
        drop(at_work);
        stored
    });
    store.await.unwrap_or_else(|error| Err(Refusal::Busy(error.to_string())))
}

fn check_form(write: &WriteUnit, incoming: &Incoming) -> Result<(), Refusal> {
    let length = write.unit.length as usize;
    let invalid = |why: &str| Err(Refusal::Invalid(format!("unit {} of {}: {why}", write.unit.unit, write.unit.fid)));
    if length == 0 || length > UNIT_BYTES_MAX || !length.is_multiple_of(BLOCK_BYTES) {
        return invalid(&format!("{length} bytes are not 1 to {} whole blocks", UNIT_BYTES_MAX / BLOCK_BYTES));
    }
    if write.checksums.len() != length.div_ceil(CHUNK_BYTES) {
        return invalid(&format!("{} checksums for {length} bytes", write.checksums.len()));
    }
    match incoming.lend() {
        Some((lent, false)) if lent >= length => Ok(()),
        _ => invalid("its data was not lent"),
    }
}

async fn catch_up(node: &Node, write: &WriteUnit) -> Result<(), Refusal> {
    if !node.fences.reach(write.device, epoch_of(write.view), CATCH_UP_WAIT).await {
        return Err(behind(write.view.0));
    }
    let session = write.unit.fid.session;
    if node.views.now().session(session) == SessionState::Ahead && !node.catch_up(session.0).await {
        return Err(behind(session.0));
    }
    Ok(())
}

fn check_fences(node: &Node, write: &WriteUnit) -> Result<(), Refusal> {
    let (group, session) = (write.unit.fid.group, write.unit.fid.session);
    let view = node.views.now();
    let Some(slots) = view.map.slots(group) else {
        return Err(Refusal::Invalid(format!("group {group} is not an erasure-coded group of this cluster")));
    };
    let current = node.fences.view(write.device, group).max(slots.number);
    if write.view != current {
        return Err(Refusal::WrongView { current, epoch: view.map.epoch });
    }
    let width = usize::from(write.unit.data) + usize::from(write.unit.parity);
    if width != slots.slots.len() {
        return Err(Refusal::Invalid(format!("group {group} has {} slots, not {width}", slots.slots.len())));
    }
    if slots.slots.get(write.unit.slot()).copied().flatten() != Some(write.device) {
        return Err(Refusal::Invalid(format!("slot {} of group {group} is not on {}", write.unit.slot(), write.device)));
    }
    match view.session(session) {
        SessionState::Open => Ok(()),
        SessionState::Closed => Err(Refusal::Fenced(session)),
        SessionState::Ahead => Err(behind(session.0)),
    }
}

async fn pull(node: &Node, device: &LocalDevice, write: &WriteUnit, incoming: &mut Incoming) -> Result<SharedBuf, Refusal> {
    let SharedBuf { buf, share } = node.buffer(device, write.unit.length as usize).await?;
    let buf = incoming.pull(buf).await.map_err(|error| Refusal::Busy(error.to_string()))?;
    Ok(SharedBuf { buf, share })
}

fn busy(injected: Injected) -> Refusal {
    Refusal::Busy(injected.to_string())
}

async fn store(node: Arc<Node>, write: WriteUnit, buf: SharedBuf) -> Result<(), Refusal> {
    let WriteUnit { device: id, unit, checksums, .. } = write;
    points::UNIT_BEFORE_WRITE.pass_in_task().await.map_err(busy)?;
    match node.device(id)?.store.write_unit(unit, checksums, buf).await {
        Ok(_buf) => points::UNIT_DURABLE.pass_in_task().await.map_err(busy),
        Err(error) => {
            if let StorageError::BadChecksum { fid, unit, chunk } = &error {
                tracing::warn!(%fid, unit, chunk, "a unit was damaged on its way");
            }
            Err(node.reports.storage(id, &error))
        }
    }
}
