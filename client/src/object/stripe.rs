//! Sends one stripe: cuts it into units, encodes the parity, and writes all units in parallel. All of them durable, or it failed.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures::StreamExt;
use futures::stream::FuturesUnordered;
use layout::erasure::Code;
use layout::stripe::Shape;
use net::{Buf, Lend, NetError, Peer, Request};
use tokio::time::Instant;
use types::buf::IoBuf;
use types::checksum::unit_checksums;
use types::wire::Operation;
use types::wire::request::{Refusal, UnitInfo, UnitReply, WriteUnit};
use types::{CatalogueId, DeviceId, Epoch, Fid, NodeId, ViewNumber, codec};

use crate::inner::Inner;

/// A unit that is not durable after this time is late: the write goes on elsewhere.
const UNIT_LATE: Duration = Duration::from_secs(1);

/// Where the units of one fid go.
pub(crate) struct Lane {
    pub(crate) fid: Fid,
    pub(crate) view: ViewNumber,
    pub(crate) shape: Shape,
    pub(crate) code: Code,
    /// A device a slot, and who is in front of it.
    pub(crate) slots: Vec<(DeviceId, NodeId, Peer)>,
    pub(crate) catalogue: CatalogueId,
    pub(crate) routing: u64,
}

/// Why a stripe is not durable.
#[derive(Debug, Clone)]
pub(crate) struct StripeFailure {
    pub(crate) reason: String,
    /// A map of this epoch at least knows more.
    pub(crate) epoch: Epoch,
    /// The writer's session is over.
    pub(crate) fenced: bool,
    /// A device has no room.
    pub(crate) full: bool,
}

impl StripeFailure {
    pub(crate) fn new(reason: impl Into<String>) -> Self {
        Self { reason: reason.into(), epoch: Epoch(0), fenced: false, full: false }
    }
}

/// Writes all units of one stripe that holds `data`.
pub(crate) async fn write_stripe(inner: &Inner, lane: &Arc<Lane>, stripe: u32, data: &[Bytes]) -> Result<(), StripeFailure> {
    let length: usize = data.iter().map(Bytes::len).sum();
    let unit_length = lane.shape.unit_length(length as u64);
    let units = units_of(inner, lane, unit_length as usize, data).await?;
    let deadline = Instant::now() + UNIT_LATE;
    let mut writes: FuturesUnordered<_> =
        (0u8..).zip(units).map(|(slot, unit)| write_unit(inner, lane, stripe, slot, unit, deadline)).collect();
    while let Some(written) = writes.next().await {
        // The others are dropped with this function: the transport takes care of their buffers.
        written?;
    }
    Ok(())
}

/// The units, data first, in buffers that may be lent.
async fn units_of(inner: &Inner, lane: &Lane, unit_length: usize, data: &[Bytes]) -> Result<Vec<Buf>, StripeFailure> {
    let width = usize::from(lane.shape.width());
    let mut units = Vec::with_capacity(width);
    for _ in 0..width {
        let taken = tokio::time::timeout(UNIT_LATE, inner.transport.pool().take(unit_length)).await;
        units.push(taken.map_err(|_| StripeFailure::new("no buffer became free"))?.map_err(|e| StripeFailure::new(e.to_string()))?);
    }
    let (data_units, parity_units) = units.split_at_mut(usize::from(lane.shape.data()));
    spread(data, data_units);
    let sources: Vec<&[u8]> = data_units.iter().map(|unit| unit.bytes()).collect();
    let mut targets: Vec<&mut [u8]> = parity_units.iter_mut().map(|unit| unit.bytes_mut()).collect();
    lane.code.encode(&sources, &mut targets).map_err(|e| StripeFailure::new(e.to_string()))?;
    Ok(units)
}

/// Copies the runs into the units, one after the other, and fills what is left with zeros.
fn spread<B: IoBuf>(data: &[Bytes], units: &mut [B]) {
    let mut runs = data.iter();
    let mut run: &[u8] = &[];
    for unit in units {
        let mut room = unit.bytes_mut();
        while !room.is_empty() {
            if run.is_empty() {
                match runs.next() {
                    Some(next) => run = next,
                    None => {
                        room.fill(0);
                        break;
                    }
                }
            }
            let count = room.len().min(run.len());
            let (here, rest) = room.split_at_mut(count);
            here.copy_from_slice(&run[..count]);
            (room, run) = (rest, &run[count..]);
        }
    }
}

async fn write_unit(inner: &Inner, lane: &Lane, stripe: u32, slot: u8, unit: Buf, deadline: Instant) -> Result<(), StripeFailure> {
    let number = lane.shape.unit_number(stripe, slot);
    let (device, node, peer) = &lane.slots[usize::from(slot)];
    let message = WriteUnit {
        device: *device,
        view: lane.view,
        unit: UnitInfo {
            fid: lane.fid,
            unit: number,
            data: lane.shape.data(),
            parity: lane.shape.parity(),
            unit_bytes: lane.shape.unit_bytes(),
            length: unit.len() as u32,
            catalogue: lane.catalogue,
            routing: lane.routing,
        },
        checksums: unit_checksums(lane.fid, number, unit.bytes()),
    };
    let request = Request::lending(Operation::WriteUnit, codec::encode(&message), Lend::Give(unit));
    let reply = inner.transport.call(peer, request, deadline).await;
    let failure = match reply {
        Ok(reply) => match codec::decode::<UnitReply>(&reply.head) {
            Ok(Ok(())) => return Ok(()),
            Ok(Err(refusal)) => refused(&refusal),
            Err(error) => StripeFailure::new(error.to_string()),
        },
        Err(error) => {
            if !matches!(error, NetError::Busy(_)) {
                inner.suspects.suspect(*node);
            }
            StripeFailure::new(error.to_string())
        }
    };
    Err(StripeFailure { reason: format!("unit {number} of {} to {device} on {node}: {}", lane.fid, failure.reason), ..failure })
}

fn refused(refusal: &Refusal) -> StripeFailure {
    let epoch = if let Refusal::WrongView { epoch, .. } = refusal { *epoch } else { Epoch(0) };
    StripeFailure {
        reason: refusal.to_string(),
        epoch,
        fenced: matches!(refusal, Refusal::Fenced(_)),
        full: matches!(refusal, Refusal::Full(_)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Plain(Vec<u8>);

    impl IoBuf for Plain {
        fn bytes(&self) -> &[u8] {
            &self.0
        }

        fn bytes_mut(&mut self) -> &mut [u8] {
            &mut self.0
        }
    }

    #[test]
    fn runs_fill_units_in_order_and_zeros_the_rest() {
        let data: Vec<u8> = (1..=10).collect();
        let runs = [Bytes::copy_from_slice(&data[..3]), Bytes::new(), Bytes::copy_from_slice(&data[3..])];
        let mut units: Vec<Plain> = (0..3).map(|_| Plain(vec![0xee; 4])).collect();
        spread(&runs, &mut units);
        let all: Vec<u8> = units.iter().flat_map(|unit| unit.0.iter().copied()).collect();
        assert_eq!(all, [1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 0, 0]);
    }
}
