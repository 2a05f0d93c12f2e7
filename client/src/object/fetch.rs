//! Reads what a range needs of one stripe: its data units in parallel, and where one is missing, damaged, late or away, others, from which
//! it is rebuilt. Every chunk's checksum is verified here, whatever the device said.

use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures::future::BoxFuture;
use futures::stream::FuturesUnordered;
use futures::{FutureExt, StreamExt};
use layout::erasure::Code;
use layout::stripe::{Shape, StripeRange, hull};
use net::{Buf, Lend, Peer, Request};
use tokio::time::Instant;
use types::buf::IoBuf;
use types::checksum::first_bad_chunk;
use types::limits::CHUNK_BYTES;
use types::map::ClusterMap;
use types::state::ProcessState;
use types::wire::Operation;
use types::wire::request::{ReadUnit, ReadUnitReply, Refusal};
use types::{Fid, NodeId, codec};

use crate::inner::Inner;

/// How long one read of a unit may take.
const UNIT_LATE: Duration = Duration::from_secs(1);
/// A read that has not answered after this time is helped by reading other units. A multiple of a healthy read's time on a busy machine.
const HEDGE: Duration = Duration::from_millis(100);

/// Why a stripe could not be read in one attempt.
#[derive(Clone, Debug, Default)]
pub(crate) struct FetchFailure {
    /// The last thing that went wrong.
    pub(crate) reason: String,
    /// Units that were not there.
    pub(crate) absent: usize,
    /// Units that were damaged.
    pub(crate) corrupt: usize,
    /// Units whose devices did not answer or could not serve.
    pub(crate) away: usize,
}

/// Which stripe of which chunk of an object, and what of it.
#[derive(Clone)]
pub(crate) struct StripeRequest {
    pub(crate) fid: Fid,
    pub(crate) shape: Shape,
    pub(crate) range: StripeRange,
}

/// Verified bytes of a unit.
struct Piece {
    range: Range<u32>,
    buf: Buf,
}

impl AsRef<[u8]> for Piece {
    fn as_ref(&self) -> &[u8] {
        self.buf.bytes()
    }
}

/// Why one unit could not be read.
enum Miss {
    Absent(String),
    Corrupt(String),
    Away(String),
}

/// What is known of one slot.
#[derive(Default)]
struct Slot {
    /// The widest piece that came.
    piece: Option<Piece>,
    /// Asked for all columns.
    asked: bool,
    /// Failed, late or away: not counted on.
    doubtful: bool,
}

/// One stripe being read.
struct Fetch<'a> {
    inner: &'a Inner,
    map: Arc<ClusterMap>,
    request: &'a StripeRequest,
    /// What is read of all units once one has to be rebuilt.
    columns: Range<u32>,
    slots: Vec<Slot>,
    failure: FetchFailure,
}

type Reads<'a> = FuturesUnordered<BoxFuture<'a, (u8, Result<Piece, Miss>)>>;

/// The wanted bytes of one stripe, in order, in as many runs as it has units.
pub(crate) async fn fetch_stripe(inner: &Inner, request: &StripeRequest) -> Result<Vec<Bytes>, FetchFailure> {
    let mut fetch = Fetch {
        inner,
        map: inner.map.latest(),
        request,
        columns: hull(request.range.units.iter().map(|unit| unit.read.clone())),
        slots: (0..request.shape.width()).map(|_| Slot::default()).collect(),
        failure: FetchFailure::default(),
    };
    fetch.run().await
}

impl<'a> Fetch<'a> {
    async fn run(&mut self) -> Result<Vec<Bytes>, FetchFailure> {
        let mut reads = Reads::new();
        for slot in 0..self.request.shape.width() {
            self.slots[usize::from(slot)].doubtful = self.is_away(slot);
        }
        for unit in &self.request.range.units {
            let slot = &mut self.slots[usize::from(unit.slot)];
            if !slot.doubtful {
                slot.asked = unit.read == self.columns;
                reads.push(self.read(unit.slot, unit.read.clone()));
            }
        }
        let hedge = tokio::time::sleep(HEDGE);
        tokio::pin!(hedge);
        let mut hedged = false;
        loop {
            if let Some(runs) = self.complete()? {
                return Ok(runs);
            }
            if self.request.range.units.iter().any(|unit| self.slots[usize::from(unit.slot)].doubtful) {
                self.ask_others(&mut reads);
            }
            tokio::select! {
                Some((slot, ended)) = reads.next() => self.take(slot, ended),
                () = &mut hedge, if !hedged => {
                    hedged = true;
                    self.slots.iter_mut().filter(|slot| slot.piece.is_none()).for_each(|slot| slot.doubtful = true);
                }
                else => return Err(std::mem::take(&mut self.failure)),
            }
        }
    }

    fn take(&mut self, slot: u8, ended: Result<Piece, Miss>) {
        let slot = &mut self.slots[usize::from(slot)];
        match ended {
            Ok(piece) => {
                slot.doubtful = false;
                if slot.piece.as_ref().is_none_or(|had| had.range.len() <= piece.range.len()) {
                    slot.piece = Some(piece);
                }
            }
            Err(miss) => {
                slot.doubtful = true;
                let (count, reason) = match miss {
                    Miss::Absent(reason) => (&mut self.failure.absent, reason),
                    Miss::Corrupt(reason) => (&mut self.failure.corrupt, reason),
                    Miss::Away(reason) => (&mut self.failure.away, reason),
                };
                *count += 1;
                tracing::debug!(fid = %self.request.fid, %reason, "a unit is missing");
                self.failure.reason = reason;
            }
        }
    }

    /// Asks for all columns of as many units as are needed to have N of them that nobody doubts; doubtful ones last.
    fn ask_others(&mut self, reads: &mut Reads<'a>) {
        let needed = usize::from(self.request.shape.data());
        for doubtful in [false, true] {
            for number in 0..self.request.shape.width() {
                let counted = self.slots.iter().filter(|slot| !slot.doubtful && (slot.asked || self.has_columns(slot))).count();
                if counted >= needed {
                    return;
                }
                let slot = &self.slots[usize::from(number)];
                if slot.doubtful == doubtful && !slot.asked && !self.has_columns(slot) {
                    self.slots[usize::from(number)].asked = true;
                    reads.push(self.read(number, self.columns.clone()));
                }
            }
        }
    }

    fn has_columns(&self, slot: &Slot) -> bool {
        slot.piece.as_ref().is_some_and(|piece| piece.range == self.columns)
    }

    /// The wanted bytes, if they are all there or can be rebuilt.
    fn complete(&mut self) -> Result<Option<Vec<Bytes>>, FetchFailure> {
        let missing: Vec<usize> = self
            .request
            .range
            .units
            .iter()
            .filter(|unit| {
                let piece = &self.slots[usize::from(unit.slot)].piece;
                piece.as_ref().is_none_or(|piece| piece.range.start > unit.wanted.start || piece.range.end < unit.wanted.end)
            })
            .map(|unit| usize::from(unit.slot))
            .collect();
        let mut rebuilt = Vec::new();
        if !missing.is_empty() {
            match self.rebuild(&missing)? {
                Some(units) => rebuilt = units,
                None => return Ok(None),
            }
        }
        let mut runs = Vec::with_capacity(self.request.range.units.len());
        for unit in &self.request.range.units {
            let at = usize::from(unit.slot);
            let (start, bytes) = match missing.iter().position(|slot| *slot == at) {
                Some(number) => (self.columns.start, Bytes::from(std::mem::take(&mut rebuilt[number]))),
                None => {
                    let piece = self.slots[at].piece.take().expect("what is not missing is there");
                    (piece.range.start, Bytes::from_owner(piece))
                }
            };
            runs.push(bytes.slice((unit.wanted.start - start) as usize..(unit.wanted.end - start) as usize));
        }
        Ok(Some(runs))
    }

    /// The columns of the missing units, if N others have theirs.
    fn rebuild(&self, missing: &[usize]) -> Result<Option<Vec<Vec<u8>>>, FetchFailure> {
        let shape = self.request.shape;
        let present: Vec<(usize, &[u8])> = (0..)
            .zip(&self.slots)
            .filter(|(_, slot)| self.has_columns(slot))
            .filter_map(|(number, slot)| Some((number, slot.piece.as_ref()?.as_ref())))
            .collect();
        if present.len() < usize::from(shape.data()) {
            return Ok(None);
        }
        let failed = |reason: String| FetchFailure { reason, ..self.failure.clone() };
        let code = Code::new(usize::from(shape.data()), usize::from(shape.parity())).map_err(|e| failed(e.to_string()))?;
        let mut rebuilt = vec![vec![0; self.columns.len()]; missing.len()];
        let mut wanted: Vec<(usize, &mut [u8])> = missing.iter().copied().zip(rebuilt.iter_mut().map(Vec::as_mut_slice)).collect();
        code.reconstruct(&present, &mut wanted).map_err(|e| failed(e.to_string()))?;
        Ok(Some(rebuilt))
    }

    /// Whether the slot's device is better asked last.
    fn is_away(&self, slot: u8) -> bool {
        let device = self.map.slots(self.request.fid.group).and_then(|slots| slots.slots.get(usize::from(slot)).copied().flatten());
        let Some(device) = device.and_then(|id| self.map.devices.get(&id)) else { return true };
        let node_is_good = self.map.nodes.get(&device.node).is_some_and(|node| node.state == ProcessState::Online);
        !device.state.is_readable() || !node_is_good || self.inner.suspects.is_suspected(device.node)
    }

    fn read(&self, slot: u8, range: Range<u32>) -> BoxFuture<'a, (u8, Result<Piece, Miss>)> {
        let (inner, request, map) = (self.inner, self.request, self.map.clone());
        async move { (slot, read_unit(inner, &map, request, slot, range).await) }.boxed()
    }
}

/// One unit's bytes, verified.
async fn read_unit(inner: &Inner, map: &ClusterMap, request: &StripeRequest, slot: u8, range: Range<u32>) -> Result<Piece, Miss> {
    let fid = request.fid;
    let unit = request.shape.unit_number(request.range.stripe, slot);
    let device = map.slots(fid.group).and_then(|slots| slots.slots.get(usize::from(slot)).copied().flatten());
    let device = device.ok_or_else(|| Miss::Away(format!("slot {slot} of group {} has no device", fid.group)))?;
    let (node, peer) = Inner::peer_of(map, device).ok_or_else(|| Miss::Away(format!("{device} is in no node")))?;
    let message = ReadUnit { device, fid, unit, offset: range.start, length: range.len() as u32 };
    let (answer, buf) = ask(inner, node, &peer, &message, range.len()).await?;
    let place = || format!("unit {unit} of {fid} on {device}");
    let checksums = match answer {
        Ok(checksums) => checksums,
        Err(refusal @ Refusal::NoUnit { .. }) => return Err(Miss::Absent(refusal.to_string())),
        Err(refusal @ Refusal::Corrupt { .. }) => return Err(Miss::Corrupt(refusal.to_string())),
        Err(refusal) => return Err(Miss::Away(format!("{}: {refusal}", place()))),
    };
    match first_bad_chunk(fid, unit, range.start / CHUNK_BYTES as u32, buf.bytes(), &checksums) {
        None => Ok(Piece { range, buf }),
        Some(chunk) => Err(Miss::Corrupt(format!("{} arrived with chunk {chunk} damaged", place()))),
    }
}

/// One request with room lent, and its answer.
async fn ask(
    inner: &Inner,
    node: NodeId,
    peer: &Peer,
    message: &ReadUnit,
    length: usize,
) -> Result<(Result<Vec<u32>, Refusal>, Buf), Miss> {
    let deadline = Instant::now() + UNIT_LATE;
    let away = |reason: &dyn std::fmt::Display| Miss::Away(format!("unit {} of {} from {node}: {reason}", message.unit, message.fid));
    let buf = tokio::time::timeout_at(deadline, inner.transport.pool().take(length)).await;
    let buf = buf.map_err(|_| away(&"no buffer became free"))?.map_err(|e| away(&e))?;
    let lending = Request::lending(Operation::ReadUnit, codec::encode(message), Lend::Room(buf));
    let reply = inner.transport.call(peer, lending, deadline).await.map_err(|error| {
        if !matches!(error, net::NetError::Busy(_)) {
            inner.suspects.suspect(node);
        }
        away(&error)
    })?;
    let answer: ReadUnitReply = codec::decode(&reply.head).map_err(|e| away(&e))?;
    let buf = reply.lent.ok_or_else(|| away(&"the room did not come back"))?;
    if answer.is_ok() && reply.pushed != length {
        return Err(away(&format!("{} bytes came for {length}", reply.pushed)));
    }
    Ok((answer, buf))
}
