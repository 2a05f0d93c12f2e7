//! One part of an object being written: its fid, its pending row, and how much of it is durable.
//!
//! The pending row is written while the first stripe is received; no unit is sent before it is STABLE.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use futures::FutureExt;
use futures::future::{BoxFuture, Shared};
use layout::erasure::Code;
use layout::stripe::Shape;
use tokio::time::Instant;
use types::object::{Part, PendingRow};
use types::ops::{Condition, Op};
use types::record::{Outcome, RowKey};
use types::{Epoch, Fid, PoolId, keys};

use super::record::Target;
use super::stripe::Lane;
use crate::Error;
use crate::inner::Inner;
use crate::place::{Place, place, pools};
use crate::retry::Attempts;
use crate::session::Session;

/// A part that is being written.
pub(crate) struct OpenPart {
    pub(crate) lane: Arc<Lane>,
    /// First byte of the part in the object.
    pub(crate) offset: u64,
    /// Bytes cut into stripes so far.
    pub(crate) sent: u64,
    /// Bytes from the first on that are durable.
    pub(crate) durable: u64,
    /// A stripe failed: nothing more goes into it.
    pub(crate) is_closed: bool,
    /// Resolves once the pending row is STABLE.
    pub(crate) pending: Announced,
    /// It stays open for as long as this is written: what is pending of a closed one is swept.
    _session: Arc<Session>,
}

/// The end of an announcement, for all who wait for it.
pub(crate) type Announced = Shared<BoxFuture<'static, Result<(), Error>>>;

impl OpenPart {
    /// Opens a part at `offset`: in the policy's first pool that can take it, those that `failed` last; within what is left of `attempts`.
    pub(crate) async fn open(
        inner: &Arc<Inner>,
        target: &Target,
        pool: Option<&str>,
        unit_bytes: u32,
        offset: u64,
        failed: &[PoolId],
        attempts: &mut Attempts,
    ) -> Result<Self, Error> {
        let what = format!("write object {}", target.shown());
        let session = inner.session(attempts).await?;
        let mut map = inner.fresh_map();
        let place = loop {
            let spread = inner.spread.fetch_add(1, Ordering::Relaxed);
            if let Some(place) = place(&map, &inner.suspects, &pools(&map, pool)?, failed, spread) {
                break place;
            }
            let began = Instant::now();
            attempts.failed("no pool has a group whose devices are all ONLINE");
            attempts.pause().await?;
            inner.learn(Epoch(0), began, attempts.deadline()).await;
            map = inner.map.latest();
        };
        let fid = session.fid(place.group);
        let lane = Arc::new(lane(inner, target, fid, &place, unit_bytes)?);
        let row = RowKey { catalogue: target.bucket.0.id, key: keys::pending(&target.name, fid) };
        let value = PendingRow { session: session.id(), slots: lane.shape.width() }.to_value();
        let announced = tokio::spawn(announce(inner.clone(), what, target.clone(), Op::Put { row, value, condition: Condition::Always }));
        let pending = announced
            .map(|joined| joined.unwrap_or_else(|e| Err(Error::Refused(format!("the announcement of a fid ended: {e}")))))
            .boxed()
            .shared();
        Ok(Self { lane, offset, sent: 0, durable: 0, is_closed: false, pending, _session: session })
    }

    /// Whether it takes no other stripe.
    pub(crate) fn is_full(&self) -> bool {
        self.is_closed || self.sent >= self.lane.shape.fid_bytes()
    }

    /// The part as the record names it: what is durable of it.
    pub(crate) fn to_part(&self) -> Part {
        let shape = self.lane.shape;
        Part {
            offset: self.offset,
            length: self.durable,
            fid: self.lane.fid,
            data: shape.data(),
            parity: shape.parity(),
            unit_bytes: shape.unit_bytes(),
        }
    }
}

fn lane(inner: &Inner, target: &Target, fid: Fid, place: &Place, unit_bytes: u32) -> Result<Lane, Error> {
    let refused = |e: &dyn std::fmt::Display| Error::Refused(format!("group {}: {e}", place.group));
    let map = inner.map.latest();
    let slots = place
        .devices
        .iter()
        .map(|device| Inner::peer_of(&map, *device).map(|(node, peer)| (*device, node, peer)))
        .collect::<Option<Vec<_>>>()
        .ok_or_else(|| refused(&"a device is in no node"))?;
    Ok(Lane {
        fid,
        view: place.view,
        shape: Shape::new(place.data, place.parity, unit_bytes).map_err(|e| refused(&e))?,
        code: Code::new(usize::from(place.data), usize::from(place.parity)).map_err(|e| refused(&e))?,
        slots,
        catalogue: target.bucket.0.id,
        routing: types::routing::routing_hash(&target.name),
    })
}

/// Makes the pending row STABLE.
async fn announce(inner: Arc<Inner>, what: String, target: Target, op: Op) -> Result<(), Error> {
    match inner.execute(&what, Inner::group_of(&target.bucket, &target.name), vec![op]).await? {
        Outcome::Done { .. } => Ok(()),
        Outcome::Refused { .. } => Err(Error::Refused(format!("{what}: the fid could not be announced"))),
    }
}
