//! Repair in place: a unit that a reader found damaged is rebuilt from others of its stripe and written anew on its device.
//!
//! Whoever serves asks; one task does it, one unit after the other. What is rebuilt has to have the checksums of the unit's record, and a
//! delete wins over it ([`storage::Device::rewrite_unit`]). Nothing is kept of what could not be repaired: its next reader asks again.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, Instant};

use layout::erasure::Code;
use layout::stripe::Shape;
use net::{Buf, Lend, Operation, Peer, Request};
use tokio::sync::Notify;
use types::buf::IoBuf;
use types::checksum::first_bad_chunk;
use types::wire::request::{ReadUnit, ReadUnitReply, UnitInfo};
use types::{DeviceId, Fid, codec};

use crate::serve::Node;
use crate::view::ClusterView;

/// Units that may wait, or are remembered: others are asked for again by their next reader.
const UNITS_MAX: usize = 1024;
/// A unit is tried once in this time, however often it is read.
const AGAIN: Duration = Duration::from_secs(5);
/// How long a buffer or one read of another unit may take.
const PATIENCE: Duration = Duration::from_secs(2);
/// How long one repair may take: a device that hangs must not hold up those of the others.
const REPAIR_MAX: Duration = Duration::from_secs(60);

/// A unit that is damaged.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct BadUnit {
    /// Where.
    pub device: DeviceId,
    /// Of which chunk of an object.
    pub fid: Fid,
    /// Which.
    pub unit: u32,
}

/// Units that wait for their repair.
#[derive(Debug, Default)]
pub struct Repairs {
    inner: Mutex<Inner>,
    bell: Notify,
}

#[derive(Debug, Default)]
struct Inner {
    waiting: BTreeSet<BadUnit>,
    tried: BTreeMap<BadUnit, Instant>,
}

impl Repairs {
    /// Asks for the repair of a unit; whether it waits for it now.
    pub fn ask(&self, bad: BadUnit, now: Instant) -> bool {
        let mut inner = self.inner();
        inner.tried.retain(|_, at| now.saturating_duration_since(*at) < AGAIN);
        if inner.tried.contains_key(&bad) || inner.tried.len() + inner.waiting.len() >= UNITS_MAX {
            return false;
        }
        inner.waiting.insert(bad);
        drop(inner);
        self.bell.notify_one();
        true
    }

    async fn next(&self) -> BadUnit {
        loop {
            if let Some(bad) = self.take(Instant::now()) {
                return bad;
            }
            self.bell.notified().await;
        }
    }

    fn take(&self, now: Instant) -> Option<BadUnit> {
        let mut inner = self.inner();
        let bad = inner.waiting.pop_first()?;
        inner.tried.insert(bad, now);
        Some(bad)
    }

    /// It is as it was; should it be damaged again, it is repaired again.
    fn done(&self, bad: &BadUnit) {
        self.inner().tried.remove(bad);
    }

    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().expect("nobody panics with the lock")
    }
}

/// Repairs for ever.
pub async fn run(node: Arc<Node>) {
    loop {
        let bad = node.repairs.next().await;
        let BadUnit { device, fid, unit } = bad;
        let repaired = tokio::time::timeout(REPAIR_MAX, repair(&node, bad)).await;
        match repaired.unwrap_or_else(|_| Err(format!("it was not done after {} s", REPAIR_MAX.as_secs()))) {
            Ok(()) => {
                node.repairs.done(&bad);
                node.reports.mended(device, fid, unit);
                tracing::info!(%device, %fid, unit, "a damaged unit is written anew");
            }
            Err(error) => tracing::warn!(%device, %fid, unit, error, "a damaged unit is not repaired"),
        }
    }
}

/// Rebuilds one unit and writes it anew; one that is gone needs nothing.
async fn repair(node: &Node, bad: BadUnit) -> Result<(), String> {
    let BadUnit { device, fid, unit } = bad;
    let local = node.devices.get(&device).ok_or("its device is not in use here")?;
    let Some(info) = local.store.unit(fid, unit).map_err(|error| error.to_string())? else { return Ok(()) };
    let pieces = pieces(node, device, &info).await?;
    let transport = node.transport.get().ok_or("the fabric is not up")?;
    let mut buf = take(transport.pool(), info.length as usize).await?;
    rebuild(&info, &pieces, &mut buf.bytes_mut()[..info.length as usize])?;
    local.store.rewrite_unit(fid, unit, buf).await.map_err(|error| error.to_string())?;
    Ok(())
}

fn rebuild(info: &UnitInfo, pieces: &[(usize, Vec<u8>)], into: &mut [u8]) -> Result<(), String> {
    let code = Code::new(usize::from(info.data), usize::from(info.parity)).map_err(|error| error.to_string())?;
    let present: Vec<(usize, &[u8])> = pieces.iter().map(|(slot, bytes)| (*slot, bytes.as_slice())).collect();
    code.reconstruct(&present, &mut [(info.slot(), into)]).map_err(|error| error.to_string())
}

/// N other units of the stripe.
async fn pieces(node: &Node, device: DeviceId, info: &UnitInfo) -> Result<Vec<(usize, Vec<u8>)>, String> {
    let shape = Shape::new(info.data, info.parity, info.unit_bytes).map_err(|error| error.to_string())?;
    let view = node.views.now();
    let slots = view.map.slots(info.fid.group).ok_or("its group is no more")?;
    if slots.slots.get(info.slot()).copied().flatten() != Some(device) {
        return Err("its slot is on another device by now".into());
    }
    let stripe = info.unit / u32::from(shape.width());
    let (mut pieces, mut missing) = (Vec::new(), String::new());
    for slot in (0..shape.width()).filter(|slot| usize::from(*slot) != info.slot()) {
        let Some(from) = slots.slots.get(usize::from(slot)).copied().flatten() else { continue };
        let wanted = ReadUnit { device: from, fid: info.fid, unit: shape.unit_number(stripe, slot), offset: 0, length: info.length };
        match piece(node, &view, &wanted).await {
            Ok(bytes) => pieces.push((usize::from(slot), bytes)),
            Err(error) => missing = error,
        }
        if pieces.len() == usize::from(shape.data()) {
            return Ok(pieces);
        }
    }
    Err(format!("{} of {} other units are there: {missing}", pieces.len(), shape.data()))
}

/// Another unit, whole and verified.
async fn piece(node: &Node, view: &ClusterView, wanted: &ReadUnit) -> Result<Vec<u8>, String> {
    let transport = node.transport.get().ok_or("the fabric is not up")?;
    let length = wanted.length as usize;
    let buf = take(transport.pool(), length).await?;
    let (buf, checksums) = match node.devices.get(&wanted.device) {
        Some(local) => {
            let read = local.store.read_unit(wanted.fid, wanted.unit, 0, wanted.length, buf).await;
            read.map_err(|error| node.unit_failed(wanted, &error).to_string())?
        }
        None => ask(node, view, wanted, buf).await?,
    };
    let bytes = buf.bytes().get(..length).ok_or("less came than was asked for")?;
    match first_bad_chunk(wanted.fid, wanted.unit, 0, bytes, &checksums) {
        None => Ok(bytes.to_vec()),
        Some(chunk) => Err(format!("unit {} arrived with chunk {chunk} damaged", wanted.unit)),
    }
}

/// Another process's unit.
async fn ask(node: &Node, view: &ClusterView, wanted: &ReadUnit, buf: Buf) -> Result<(Buf, Vec<u32>), String> {
    let transport = node.transport.get().ok_or("the fabric is not up")?;
    let of = view.map.node_of(wanted.device).filter(|of| of.boot.0 != 0).ok_or("its node is away")?;
    let peer = Peer::node(of.fabric_address.clone(), of.id, Some(of.boot));
    let request = Request::lending(Operation::ReadUnit, codec::encode(wanted), Lend::Room(buf));
    let reply = transport.call(&peer, request, tokio::time::Instant::now() + PATIENCE).await.map_err(|error| error.to_string())?;
    let answer: ReadUnitReply = codec::decode(&reply.head).map_err(|error| error.to_string())?;
    let checksums = answer.map_err(|refusal| refusal.to_string())?;
    let buf = reply.lent.filter(|_| reply.pushed == wanted.length as usize).ok_or("less came than was asked for")?;
    Ok((buf, checksums))
}

async fn take(pool: &net::BufPool, length: usize) -> Result<Buf, String> {
    let taken = tokio::time::timeout(PATIENCE, pool.take(length)).await;
    taken.map_err(|_| "no buffer became free".to_owned())?.map_err(|error| error.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;
    use types::{CatalogueId, GroupId, PoolId, SessionId};

    fn bad(unit: u32) -> BadUnit {
        let fid = Fid { group: GroupId { pool: PoolId(1), index: 0 }, session: SessionId(1), counter: 1 };
        BadUnit { device: DeviceId(1), fid, unit }
    }

    #[test]
    fn a_unit_is_tried_once_however_often_it_is_read_and_again_when_it_is_damaged_again() {
        let (repairs, now) = (Repairs::default(), Instant::now());
        assert!(repairs.ask(bad(1), now) && repairs.ask(bad(1), now));
        assert_eq!((repairs.take(now), repairs.take(now)), (Some(bad(1)), None));
        assert!(!repairs.ask(bad(1), now), "it is being repaired, or could not be");
        assert!(repairs.ask(bad(1), now + AGAIN));
        assert_eq!(repairs.take(now + AGAIN), Some(bad(1)));
        repairs.done(&bad(1));
        assert!(repairs.ask(bad(1), now + AGAIN));
    }

    #[test]
    fn no_more_wait_than_are_bounded() {
        let (repairs, now) = (Repairs::default(), Instant::now());
        let taken = (0..2 * UNITS_MAX as u32).filter(|unit| repairs.ask(bad(*unit), now)).count();
        assert_eq!(taken, UNITS_MAX);
    }

    #[test]
    fn a_unit_is_rebuilt_from_others_of_its_stripe() {
        let data: Vec<Vec<u8>> = (1..=4).map(|n: u8| vec![n.wrapping_mul(37); 4096]).collect();
        let mut parity = vec![vec![0; 4096]; 2];
        let code = Code::new(4, 2).expect("a code");
        let (from, mut into): (Vec<&[u8]>, Vec<&mut [u8]>) =
            (data.iter().map(Vec::as_slice).collect(), parity.iter_mut().map(Vec::as_mut_slice).collect());
        code.encode(&from, &mut into).expect("encodes");
        let pieces: Vec<(usize, Vec<u8>)> =
            [(0, &data[0]), (2, &data[2]), (4, &parity[0]), (5, &parity[1])].map(|(n, b)| (n, b.clone())).into();
        let catalogue = CatalogueId(1);
        // The second stripe's units are 6 to 11.
        let info = UnitInfo { fid: bad(7).fid, unit: 7, data: 4, parity: 2, unit_bytes: 65536, length: 4096, catalogue, routing: 0 };
        let mut rebuilt = vec![0; 4096];
        rebuild(&info, &pieces, &mut rebuilt).expect("rebuilds");
        assert!(rebuilt == data[1]);
        assert!(rebuild(&info, &pieces[1..], &mut rebuilt).is_err(), "three are too few");
    }
}
