//! Repair in place: a unit that a reader found damaged is rebuilt from others of its stripe and written anew on its device.
//!
//! Whoever serves asks; one task does it, one unit after the other. What is rebuilt has to have the checksums of the unit's record, and a
//! delete wins over it ([`storage::Device::rewrite_unit`]). Nothing is kept of what could not be repaired: its next reader asks again.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, Instant};

use tokio::sync::Notify;
use types::buf::IoBuf;
use types::wire::request::UnitInfo;
use types::{DeviceId, Fid};

use crate::serve::Node;
use crate::stripes::{self, Short};

/// Units that may wait, or are remembered: others are asked for again by their next reader.
const UNITS_MAX: usize = 1024;
/// A unit is tried once in this time, however often it is read.
const AGAIN: Duration = Duration::from_secs(5);
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

    /// Whether a unit waits for its repair.
    pub fn wants(&self, device: DeviceId, fid: Fid, unit: u32) -> bool {
        self.inner().waiting.contains(&BadUnit { device, fid, unit })
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
    let mut buf = stripes::take(transport.pool(), info.length as usize).await?;
    stripes::rebuild(&info, &pieces, &mut buf.bytes_mut()[..info.length as usize])?;
    local.store.rewrite_unit(fid, unit, buf).await.map_err(|error| error.to_string())?;
    Ok(())
}

/// N other units of the stripe.
async fn pieces(node: &Node, device: DeviceId, info: &UnitInfo) -> Result<stripes::Pieces, String> {
    let view = node.views.now();
    let slots = view.map.slots(info.fid.group).ok_or("its group is no more")?;
    if slots.slots.get(info.slot()).copied().flatten() != Some(device) {
        return Err("its slot is on another device by now".into());
    }
    stripes::gather(node, &view, info).await.map_err(|short| match short {
        Short::Now(why) => why,
        Short::ForGood => "too few other units of its stripe are anywhere".into(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use types::{GroupId, PoolId, SessionId};

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
}
