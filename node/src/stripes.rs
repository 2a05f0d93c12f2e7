//! Units of a stripe are gathered from their devices, to rebuild one of them.

use layout::erasure::Code;
use layout::stripe::Shape;
use net::{Buf, BufPool, Lend, Operation, Peer, Request};
use std::time::Duration;
use storage::StorageError;
use types::DeviceId;
use types::buf::IoBuf;
use types::checksum::first_bad_chunk;
use types::codec;
use types::state::DeviceState;
use types::wire::request::{ReadUnit, ReadUnitReply, Refusal, UnitInfo};

use crate::serve::Node;
use crate::view::ClusterView;

/// How long a buffer or one read of another unit may take.
pub const PATIENCE: Duration = Duration::from_secs(2);

/// Why a unit is not to be had.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Missing {
    /// Its device does not have it.
    Absent,
    /// Not now, in words.
    NotNow(String),
}

/// Why a unit cannot be rebuilt.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Short {
    /// Too few others of its stripe are there now; more may be later.
    Now(String),
    /// Too few others of its stripe are anywhere.
    ForGood,
}

/// Units of one stripe by their slots.
pub type Pieces = Vec<(usize, Vec<u8>)>;

/// N other units of the stripe of a unit, whole and verified; units that lack in `unfilled` slots are not asked for.
pub async fn gather(node: &Node, view: &ClusterView, info: &UnitInfo) -> Result<Pieces, Short> {
    let now = |why: String| Short::Now(why);
    let shape = Shape::new(info.data, info.parity, info.unit_bytes).map_err(|error| now(error.to_string()))?;
    let slots = view.map.slots(info.fid.group).ok_or_else(|| now("its group is no more".into()))?;
    let stripe = info.unit / u32::from(shape.width());
    let (mut pieces, mut in_doubt, mut why) = (Pieces::new(), 0, String::new());
    for slot in (0..shape.width()).filter(|slot| usize::from(*slot) != info.slot()) {
        let Some(from) = slots.slots.get(usize::from(slot)).copied().flatten() else { continue };
        let wanted = ReadUnit { device: from, fid: info.fid, unit: shape.unit_number(stripe, slot), offset: 0, length: info.length };
        let mut got = read(node, view, &wanted).await;
        // Who had a slot has its units until it is filled.
        let source = view.unfilled.get(&info.fid.group).and_then(|lacking| lacking.get(&slot)).copied().flatten();
        if let (Err(Missing::Absent), Some(device)) = (&got, source) {
            got = read(node, view, &ReadUnit { device, ..wanted }).await;
        }
        match got {
            Ok(bytes) => pieces.push((usize::from(slot), bytes)),
            Err(Missing::Absent) => {}
            Err(Missing::NotNow(error)) => {
                in_doubt += 1;
                why = error;
            }
        }
        if pieces.len() == usize::from(shape.data()) {
            return Ok(pieces);
        }
    }
    if pieces.len() + in_doubt < usize::from(shape.data()) {
        return Err(Short::ForGood);
    }
    Err(now(format!("{} of {} other units are there: {why}", pieces.len(), shape.data())))
}

/// Rebuilds a unit from N others of its stripe.
pub fn rebuild(info: &UnitInfo, pieces: &Pieces, into: &mut [u8]) -> Result<(), String> {
    let code = Code::new(usize::from(info.data), usize::from(info.parity)).map_err(|error| error.to_string())?;
    let present: Vec<(usize, &[u8])> = pieces.iter().map(|(slot, bytes)| (*slot, bytes.as_slice())).collect();
    code.reconstruct(&present, &mut [(info.slot(), into)]).map_err(|error| error.to_string())
}

/// A unit, whole and verified, from wherever it is.
pub async fn read(node: &Node, view: &ClusterView, wanted: &ReadUnit) -> Result<Vec<u8>, Missing> {
    let not_now = |error: String| Missing::NotNow(error);
    match view.map.devices.get(&wanted.device).map(|device| device.state) {
        None | Some(DeviceState::Failed) => return Err(Missing::Absent),
        Some(state) if !state.is_writable() => return Err(not_now(format!("{} is {state}", wanted.device))),
        Some(_) => {}
    }
    let transport = node.transport.get().ok_or_else(|| not_now("the fabric is not up".into()))?;
    let length = wanted.length as usize;
    let buf = take(transport.pool(), length).await.map_err(not_now)?;
    let (buf, checksums) = match node.devices.get(&wanted.device) {
        Some(local) => local.store.read_unit(wanted.fid, wanted.unit, 0, wanted.length, buf).await.map_err(|error| match error {
            StorageError::NoUnit { .. } => Missing::Absent,
            error => not_now(node.unit_failed(wanted, &error).to_string()),
        })?,
        None => ask(node, view, wanted, buf).await?,
    };
    let bytes = buf.bytes().get(..length).ok_or_else(|| not_now("less came than was asked for".into()))?;
    match first_bad_chunk(wanted.fid, wanted.unit, 0, bytes, &checksums) {
        None => Ok(bytes.to_vec()),
        Some(chunk) => Err(not_now(format!("unit {} arrived with chunk {chunk} damaged", wanted.unit))),
    }
}

/// Who serves a device now.
pub fn peer_of(view: &ClusterView, device: DeviceId) -> Option<Peer> {
    let of = view.map.node_of(device).filter(|of| of.boot.0 != 0)?;
    Some(Peer::node(of.fabric_address.clone(), of.id, Some(of.boot)))
}

/// Another process's unit.
async fn ask(node: &Node, view: &ClusterView, wanted: &ReadUnit, buf: Buf) -> Result<(Buf, Vec<u32>), Missing> {
    let not_now = |error: String| Missing::NotNow(error);
    let transport = node.transport.get().ok_or_else(|| not_now("the fabric is not up".into()))?;
    let peer = peer_of(view, wanted.device).ok_or_else(|| not_now("its node is away".into()))?;
    let request = Request::lending(Operation::ReadUnit, codec::encode(wanted), Lend::Room(buf));
    let reply = transport.call(&peer, request, tokio::time::Instant::now() + PATIENCE).await.map_err(|error| not_now(error.to_string()))?;
    let answer: ReadUnitReply = codec::decode(&reply.head).map_err(|error| not_now(error.to_string()))?;
    let checksums = answer.map_err(|refusal| match refusal {
        Refusal::NoUnit { .. } => Missing::Absent,
        refusal => not_now(refusal.to_string()),
    })?;
    let buf =
        reply.lent.filter(|_| reply.pushed == wanted.length as usize).ok_or_else(|| not_now("less came than was asked for".into()))?;
    Ok((buf, checksums))
}

/// A buffer, if one becomes free in time.
pub async fn take(pool: &BufPool, length: usize) -> Result<Buf, String> {
    let taken = tokio::time::timeout(PATIENCE, pool.take(length)).await;
    taken.map_err(|_| "no buffer became free".to_owned())?.map_err(|error| error.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;
    use types::{CatalogueId, Fid, GroupId, PoolId, SessionId};

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
        let fid = Fid { group: GroupId { pool: PoolId(1), index: 0 }, session: SessionId(1), counter: 1 };
        // The second stripe's units are 6 to 11.
        let info = UnitInfo { fid, unit: 7, data: 4, parity: 2, unit_bytes: 65536, length: 4096, catalogue, routing: 0 };
        let mut rebuilt = vec![0; 4096];
        rebuild(&info, &pieces, &mut rebuilt).expect("rebuilds");
        assert!(rebuilt == data[1]);
        assert!(rebuild(&info, &pieces[1..].to_vec(), &mut rebuilt).is_err(), "three are too few");
    }
}
