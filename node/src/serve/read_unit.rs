//! `ReadUnit`: a range of a unit, verified on the device and pushed to its reader.

use std::sync::Arc;

use net::Incoming;
use types::limits::{CHUNK_BYTES, UNIT_BYTES_MAX};
use types::wire::request::{ReadUnit, Refusal};

use super::{Node, SharedBuf, answer, decoded};

/// Serves one request.
pub async fn run(node: Arc<Node>, incoming: Incoming) {
    let Some((read, mut incoming)) = decoded::<ReadUnit>(incoming) else { return };
    let reply = serve(node, read, &mut incoming).await;
    answer(incoming, &reply);
}

async fn serve(node: Arc<Node>, read: ReadUnit, incoming: &mut Incoming) -> Result<Vec<u32>, Refusal> {
    let device = node.device(read.device)?;
    let _at_work = device.clients.begin();
    let (offset, length) = (read.offset as usize, read.length as usize);
    if length == 0 || length > UNIT_BYTES_MAX || !offset.is_multiple_of(CHUNK_BYTES) {
        return Err(Refusal::Invalid(format!("a range of {length} bytes at {offset} cannot be read from a unit")));
    }
    match incoming.lend() {
        Some((room, true)) if room >= length => {}
        _ => return Err(Refusal::Invalid(format!("no room for {length} bytes was lent"))),
    }
    let lost = |error: net::NetError| Refusal::Busy(error.to_string());
    let buf = node.buffer(device, length).await?;
    // What the device says is heard even where nobody waits for it any more.
    let reading = tokio::spawn(from_device(node, read, buf));
    let (buf, checksums) = reading.await.unwrap_or_else(|error| Err(Refusal::Busy(error.to_string())))?;
    let SharedBuf { buf, share } = buf;
    incoming.push(buf, length).await.map_err(lost)?;
    drop(share);
    Ok(checksums)
}

async fn from_device(node: Arc<Node>, read: ReadUnit, buf: SharedBuf) -> Result<(SharedBuf, Vec<u32>), Refusal> {
    let ReadUnit { device, fid, unit, offset, length } = read;
    let done = node.device(device)?.store.read_unit(fid, unit, offset, length, buf).await;
    done.map_err(|error| node.unit_failed(&read, &error))
}
