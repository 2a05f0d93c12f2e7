//! `Read`: rows of one group, at its primary, linearizable.
//!
//! The rows are read from the applied state of the device, without the driver and without waiting for a sync; on the transport's thread
//! only what is in memory. Whether they may be shown is
//! asked *after* they were read: as long as this replica is active in the sender's view and the lease holds at that moment, nobody else has
//! answered anything later than what was read.

use std::sync::Arc;

use net::Incoming;
use types::limits::{DTX_OPS_MAX, MESSAGE_HEAD_BYTES_MAX};
use types::record::{Row, RowKey};
use types::wire::request::{Read, Refusal};
use types::{DeviceId, GroupId};

use super::{Gate, Node, admit, answer, behind, decoded, not_active, refuse};

/// Rows that are read on the transport's thread; more of them are a task's.
const ROWS_AT_ONCE_MAX: usize = 16;
/// Reads of one device that may wait for it at once: each takes a thread.
pub const READS_MAX: usize = 16;
/// Room in the answer's head for what is not values and keys.
const HEAD_ROOM_BYTES: usize = 64 * 1024;

/// Answers, or gives the request back where this process is behind its sender or it takes its time.
pub fn try_now(node: &Node, incoming: Incoming) -> Result<(), Incoming> {
    let Some((read, incoming)) = decoded::<Read>(incoming) else { return Ok(()) };
    if read.rows.len() > ROWS_AT_ONCE_MAX { Err(incoming) } else { now(node, &read, incoming) }
}

/// Gives the request back where its sender knows more, or where it would have to wait for the device.
fn now(node: &Node, read: &Read, incoming: Incoming) -> Result<(), Incoming> {
    match node.gate(read.group, read.view) {
        Gate::Behind => return Err(incoming),
        Gate::Refuse(refusal) => refuse(incoming, refusal),
        Gate::Pass(device) => {
            let rows = match rows(node, device, read.group, &read.rows, false) {
                Ok(None) => return Err(incoming),
                Ok(Some(rows)) => Ok(rows),
                Err(refusal) => Err(refusal),
            };
            let reply = if node.may_show(device, read.group, read.view) { rows } else { Err(not_active()) };
            answer(incoming, &reply);
        }
    }
    Ok(())
}

/// The same after HA's log has been taken in up to the sender's view, on a thread that may wait for the device.
pub async fn in_its_time(node: Arc<Node>, incoming: Incoming) {
    let Some((read, incoming)) = decoded::<Read>(incoming) else { return };
    node.catch_up(read.view.0).await;
    let device = match node.gate(read.group, read.view) {
        Gate::Pass(device) => device,
        Gate::Behind => return refuse(incoming, behind(read.view.0)),
        Gate::Refuse(refusal) => return refuse(incoming, refusal),
    };
    let Ok(permit) = node.devices[&device].reads.clone().acquire_owned().await else { return refuse(incoming, not_active()) };
    let reading = tokio::task::spawn_blocking(move || {
        // Held until it is read, whether anybody waits for that or not.
        let _permit = permit;
        answer(incoming, &node.read(&read));
    });
    if let Err(error) = reading.await {
        tracing::error!(%error, "a read was given up");
    }
}

impl Node {
    /// The rows of a read at their primary. To be called from a thread that may wait for the device.
    pub fn read(&self, read: &Read) -> Result<Vec<Option<Row>>, Refusal> {
        match self.gate(read.group, read.view) {
            Gate::Behind => Err(behind(read.view.0)),
            Gate::Refuse(refusal) => Err(refusal),
            Gate::Pass(_) if read.rows.len() > DTX_OPS_MAX => {
                Err(Refusal::Invalid(format!("a read has at most {DTX_OPS_MAX} rows, this one has {}", read.rows.len())))
            }
            Gate::Pass(device) => {
                let rows = rows(self, device, read.group, &read.rows, true);
                // Asked after they were read.
                if self.may_show(device, read.group, read.view) { rows.map(Option::unwrap_or_default) } else { Err(not_active()) }
            }
        }
    }
}

/// The rows; `None` where the device would have to be waited for.
pub(super) fn rows(
    node: &Node,
    device: DeviceId,
    group: GroupId,
    keys: &[RowKey],
    may_wait: bool,
) -> Result<Option<Vec<Option<Row>>>, Refusal> {
    let store = &node.device(device)?.store;
    let view = node.views.now();
    let mut rows = Vec::with_capacity(keys.len());
    let mut bytes = 0;
    for key in keys {
        admit::admit_catalogue(key.catalogue, &view)?;
        let row = if may_wait { store.meta().row(group, key).map(Some) } else { store.meta().row_now(group, key) };
        let Some(row) = row.map_err(|error| node.reports.storage(device, &error))? else { return Ok(None) };
        bytes += row.as_ref().map_or(0, |row| row.value.len());
        if bytes > MESSAGE_HEAD_BYTES_MAX - HEAD_ROOM_BYTES {
            return Err(Refusal::Invalid(format!(
                "the rows take more than one answer can carry ({MESSAGE_HEAD_BYTES_MAX} bytes): read fewer"
            )));
        }
        rows.push(row);
    }
    Ok(Some(rows))
}
