//! Rebuilding: every device fills the slots that it was given with the units that belong into them, from the others of each stripe.
//!
//! ```text
//! a slot here lacks units (HA's state)  --list: a sound slot's units, in this view-->  what is missing here: gathered, rebuilt, written
//!    --all listed ones are here, or are nowhere whole-->  told to HA, until its log shows that it was heard
//! ```
//! Nothing is kept of how far it is: what is there is found there. So it goes on after any restart, of whomever, and under the next view of the
//! group. Most exposed groups come first. A fid that dies meanwhile does not come back: the device keeps a marker of each as long as it fills
//! a slot of the group. What a slot has left behind on a device that serves on is taken away there when the group has all its units.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use layout::stripe::Shape;
use net::{Operation, Request};
use storage::StorageError;
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use types::buf::IoBuf;
use types::checksum::unit_checksums;
use types::map::{Group, Slots};
use types::scrub::RebuildProgress;
use types::state::DeviceState;
use types::wire::request::{ListUnits, ListUnitsReply, ReadUnit, UnitInfo};
use types::{DeviceId, Epoch, Fid, GroupId, ViewNumber, codec};

use crate::pace::Pace;
use crate::points;
use crate::serve::{LocalDevice, Node};
use crate::stripes::{self, Missing, Short};
use crate::view::ClusterView;

/// How often it is looked whether there is anything to do, beside every change of the cluster.
const LOOK: Duration = Duration::from_secs(1);
/// Pause before a slot is tried again that could not be filled.
const AGAIN: Duration = Duration::from_secs(2);
/// From when a slot is known to lack units until it is begun: writes that were admitted under the view before have landed by then, or were given
/// up by their writers (a unit is late after a second, a lease lasts one more). Before that, what is nowhere may still come.
const WRITES_LAND: Duration = Duration::from_secs(3);
/// Units listed at once.
const PAGE: u32 = 256;
/// How long a page may take: its first waits for writes to end.
const PAGE_PATIENCE: Duration = Duration::from_secs(10);
/// Units of one device that are rebuilt at a time.
const AT_ONCE: usize = 4;
/// How long one unit may take.
const UNIT_MAX: Duration = Duration::from_secs(60);
/// The rate that is shown is of so long.
const WINDOW: Duration = Duration::from_secs(2);
/// Units taken away at once of what slots have left behind.
const LEFT_AT_ONCE: usize = 256;

/// How units are rebuilt.
#[derive(Clone, Copy, Debug)]
pub struct RebuildOptions {
    /// Bytes in a second on one device, at most; 0 is no bound.
    pub bytes_per_second_max: u64,
    /// While clients are at work on the device, a rest of so many times what a unit took.
    pub yields: u32,
}

impl Default for RebuildOptions {
    fn default() -> Self {
        Self { bytes_per_second_max: 0, yields: 1 }
    }
}

/// A slot of this device that lacks units.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Job {
    group: GroupId,
    number: ViewNumber,
    slot: u8,
    /// A device that has its units still.
    from: Option<DeviceId>,
}

/// What became of one unit.
enum Became {
    /// It is here now.
    Rebuilt(u64),
    /// It is not wanted any more, or not whole anywhere.
    Nothing {
        /// Whether there is less of its stripe than would be needed.
        lost: bool,
    },
    /// Not yet, in words.
    Later(String),
}

/// Fills the slots of the process's devices for ever.
pub async fn run(node: Arc<Node>, options: RebuildOptions) {
    let mut devices = JoinSet::new();
    for (id, local) in &node.devices {
        let rebuild = Rebuild { node: node.clone(), id: *id, local: local.clone(), options, units: Arc::new(Semaphore::new(AT_ONCE)) };
        devices.spawn(rebuild.run());
    }
    while devices.join_next().await.is_some() {}
}

#[derive(Clone)]
struct Rebuild {
    node: Arc<Node>,
    id: DeviceId,
    local: LocalDevice,
    options: RebuildOptions,
    units: Arc<Semaphore>,
}

impl Rebuild {
    async fn run(self) {
        let mut views = self.node.views.subscribe();
        let (mut later, mut attempt): (BTreeMap<GroupId, Instant>, usize) = (BTreeMap::new(), 0);
        let mut seen: BTreeMap<Job, Instant> = BTreeMap::new();
        let mut looked = Epoch(0);
        loop {
            if self.local.store.failure().is_some() {
                return;
            }
            let view = self.node.views.now();
            let now = Instant::now();
            later.retain(|_, until| *until > now);
            let jobs = jobs(&view, self.id);
            seen.retain(|job, _| jobs.contains(job));
            jobs.iter().for_each(|job| _ = seen.entry(*job).or_insert(now));
            let may_begin = |job: &Job| seen.get(job).is_some_and(|since| since.elapsed() >= WRITES_LAND);
            let job = jobs.iter().copied().find(|job| !later.contains_key(&job.group) && !self.is_told(job) && may_begin(job));
            if let Some(job) = job.filter(|_| !view.repair_paused) {
                attempt += 1;
                match self.fill(&view, job, attempt).await {
                    Ok(()) => {
                        drop(points::SLOT_BEFORE_REPORT.pass_in_task().await);
                        self.node.reports.slot_filled(job.group, job.slot, job.number, self.id);
                    }
                    Err(why) => {
                        tracing::debug!(device = %self.id, group = %job.group, slot = job.slot, why, "a slot is not filled yet");
                        later.insert(job.group, Instant::now() + AGAIN);
                    }
                }
                continue;
            }
            self.change(|progress| progress.bytes_per_second = 0);
            if view.map.epoch != looked {
                looked = view.map.epoch;
                self.leave_behind().await;
            }
            // A closed channel means that the process ends, and this task with it.
            let _ = tokio::time::timeout(LOOK, views.changed()).await;
        }
    }

    /// Whether HA is being told already.
    fn is_told(&self, job: &Job) -> bool {
        self.node.reports.with(|pending| pending.slots.get(&(job.group, job.slot)) == Some(&(job.number, self.id)))
    }

    fn change(&self, change: impl FnOnce(&mut RebuildProgress)) {
        change(&mut self.local.rebuild.lock().expect("nobody panics with the lock"));
    }

    /// Brings every unit of a slot here; an error where some cannot be had yet.
    async fn fill(&self, view: &Arc<ClusterView>, job: Job, attempt: usize) -> Result<(), String> {
        let sources = sources(view, &job);
        let source = *sources.get(attempt % sources.len().max(1)).ok_or("no other slot of its group can say what belongs into it")?;
        let (mut after, mut waiting, mut last) = (None, 0, String::new());
        let (mut window, mut in_window) = (Instant::now(), 0);
        self.change(|progress| (progress.waiting, progress.lost) = (0, 0));
        loop {
            let page = self.page(view, &job, source, after).await?;
            let Some(unit) = page.last() else { break };
            after = Some((unit.fid, unit.unit));
            let mut under_way = JoinSet::new();
            for unit in page {
                let (me, view) = (self.clone(), view.clone());
                let permit = self.units.clone().acquire_owned().await.map_err(|error| error.to_string())?;
                under_way.spawn(async move {
                    let done = tokio::time::timeout(UNIT_MAX, me.unit(&view, &job, &unit)).await;
                    drop(permit);
                    done.unwrap_or_else(|_| Became::Later(format!("it was not done after {} s", UNIT_MAX.as_secs())))
                });
            }
            while let Some(became) = under_way.join_next().await {
                match became.map_err(|error| error.to_string())? {
                    Became::Rebuilt(bytes) => {
                        in_window += bytes;
                        self.change(|progress| {
                            (progress.units, progress.bytes) = (progress.units + u64::from(bytes > 0), progress.bytes + bytes)
                        });
                    }
                    Became::Nothing { lost } => self.change(|progress| progress.lost += u64::from(lost)),
                    Became::Later(why) => (waiting, last) = (waiting + 1, why),
                }
            }
            if window.elapsed() >= WINDOW {
                let rate = (in_window as f64 / window.elapsed().as_secs_f64()) as u64;
                self.change(|progress| progress.bytes_per_second = rate);
                (window, in_window) = (Instant::now(), 0);
            }
            let newest = self.node.views.now();
            if newest.repair_paused || !jobs(&newest, self.id).contains(&job) {
                return Err("its group has changed, or repair is paused".into());
            }
        }
        self.change(|progress| progress.waiting = waiting);
        if waiting > 0 { Err(format!("{waiting} units cannot be rebuilt now: {last}")) } else { Ok(()) }
    }

    /// A page of what another device has of the group.
    async fn page(&self, view: &ClusterView, job: &Job, source: DeviceId, after: Option<(Fid, u32)>) -> Result<Vec<UnitInfo>, String> {
        let list = ListUnits { device: source, group: job.group, view: job.number, after, limit: PAGE };
        if self.node.devices.contains_key(&source) {
            let listed = tokio::time::timeout(PAGE_PATIENCE, self.node.list_units(&list)).await;
            return listed.map_err(|_| format!("{source} does not list its units"))?.map_err(|refusal| refusal.to_string());
        }
        let transport = self.node.transport.get().ok_or("the fabric is not up")?;
        let peer = stripes::peer_of(view, source).ok_or("its node is away")?;
        let request = Request::new(Operation::ListUnits, codec::encode(&list));
        let reply = transport.call(&peer, request, tokio::time::Instant::now() + PAGE_PATIENCE).await.map_err(|error| error.to_string())?;
        let listed: ListUnitsReply = codec::decode(&reply.head).map_err(|error| error.to_string())?;
        listed.map_err(|refusal| refusal.to_string())
    }

    /// The unit of this slot in the stripe of another slot's.
    async fn unit(&self, view: &ClusterView, job: &Job, listed: &UnitInfo) -> Became {
        let Ok(shape) = Shape::new(listed.data, listed.parity, listed.unit_bytes) else {
            return Became::Later(format!("unit {} of {} is of no shape that there is", listed.unit, listed.fid));
        };
        let stripe = listed.unit / u32::from(shape.width());
        let info = UnitInfo { unit: shape.unit_number(stripe, job.slot), ..listed.clone() };
        match self.local.store.unit(info.fid, info.unit) {
            Ok(Some(_)) => return Became::Rebuilt(0),
            Ok(None) => {}
            Err(error) => return Became::Later(self.node.reports.storage(self.id, &error).to_string()),
        }
        let (began, begun) = (Instant::now(), self.local.clients.begun());
        let bytes = match self.bytes(view, job, &info).await {
            Ok(bytes) => bytes,
            Err(Short::Now(why)) => return Became::Later(why),
            // What was deleted meanwhile is nowhere either, and nobody misses it.
            Err(Short::ForGood) => return Became::Nothing { lost: self.is_listed(view, listed).await },
        };
        let became = self.write(info, &bytes).await;
        let pace = Pace { bytes_per_second_max: self.options.bytes_per_second_max / AT_ONCE as u64, yields: self.options.yields };
        pace.after(bytes.len() as u64, began.elapsed(), &self.local.clients, begun).await;
        became
    }

    /// From where it was, or from others of its stripe.
    async fn bytes(&self, view: &ClusterView, job: &Job, info: &UnitInfo) -> Result<Vec<u8>, Short> {
        let mut away = None;
        if let Some(device) = job.from {
            let wanted = ReadUnit { device, fid: info.fid, unit: info.unit, offset: 0, length: info.length };
            match stripes::read(&self.node, view, &wanted).await {
                Ok(bytes) => return Ok(bytes),
                Err(Missing::Absent) => {}
                Err(Missing::NotNow(why)) => away = Some(why),
            }
        }
        // Whoever does not answer now may have the last copy: nothing is given up before it has said that it has none.
        let gathered = stripes::gather(&self.node, view, info).await;
        let pieces = gathered.map_err(|short| away.map_or(short, Short::Now))?;
        let mut bytes = vec![0; info.length as usize];
        stripes::rebuild(info, &pieces, &mut bytes).map_err(Short::Now)?;
        Ok(bytes)
    }

    async fn write(&self, info: UnitInfo, bytes: &[u8]) -> Became {
        if let Err(injected) = points::REBUILD_GATHERED.pass_in_task().await {
            return Became::Later(injected.to_string());
        }
        let checksums = unit_checksums(info.fid, info.unit, bytes);
        let mut buf = match self.node.buffer(&self.local, bytes.len()).await {
            Ok(buf) => buf,
            Err(refusal) => return Became::Later(refusal.to_string()),
        };
        buf.bytes_mut()[..bytes.len()].copy_from_slice(bytes);
        match self.local.store.restore_unit(info, checksums, buf).await {
            Ok(_buf) => {
                drop(points::REBUILD_WRITTEN.pass_in_task().await);
                Became::Rebuilt(bytes.len() as u64)
            }
            Err(StorageError::Fenced(_)) => Became::Nothing { lost: false },
            Err(error) => Became::Later(self.node.reports.storage(self.id, &error).to_string()),
        }
    }

    /// Whether a unit that was listed is there still; in doubt it is not lost.
    async fn is_listed(&self, view: &ClusterView, listed: &UnitInfo) -> bool {
        let Some(slots) = view.map.slots(listed.fid.group) else { return false };
        let Some(device) = slots.slots.get(listed.slot()).copied().flatten() else { return false };
        let wanted = ReadUnit { device, fid: listed.fid, unit: listed.unit, offset: 0, length: listed.length };
        let is_there = stripes::read(&self.node, view, &wanted).await.is_ok();
        if is_there {
            let (fid, unit) = (listed.fid, listed.unit);
            tracing::warn!(device = %self.id, %fid, unit, "too little of a stripe is anywhere to rebuild a unit: a write that failed, or lost data");
        }
        is_there
    }

    /// Takes away what this device has of groups that have all their units elsewhere.
    async fn leave_behind(&self) {
        let store = self.local.store.clone();
        let Ok(Ok(groups)) = tokio::task::spawn_blocking(move || store.unit_groups()).await else { return };
        for group in groups {
            while self.is_left(group) {
                // What was admitted before the slot went is over first: it is taken away with the rest.
                self.local.clients.landed().await;
                let store = self.local.store.clone();
                let listing = tokio::task::spawn_blocking(move || store.units(group, None, LEFT_AT_ONCE));
                let Ok(Ok(page)) = listing.await else { return };
                let mut fids: Vec<Fid> = page.iter().map(|unit| unit.fid).collect();
                fids.dedup();
                // What is listed is of before: should the slot come back now, what is written then has other fids.
                if fids.is_empty() || !self.is_left(group) {
                    break;
                }
                if let Err(error) = self.local.store.forget_fids(&fids).await {
                    self.node.reports.storage(self.id, &error);
                    return;
                }
                tracing::debug!(device = %self.id, %group, units = page.len(), "units that have moved are taken away");
            }
        }
    }

    fn is_left(&self, group: GroupId) -> bool {
        let view = self.node.views.now();
        let serves = view.map.devices.get(&self.id).is_some_and(|device| device.state.is_writable());
        let slots = view.map.slots(group);
        serves && !view.unfilled.contains_key(&group) && slots.is_some_and(|slots| !slots.slots.contains(&Some(self.id)))
    }
}

/// The slots of a device that lack units, most exposed groups first.
fn jobs(view: &ClusterView, device: DeviceId) -> Vec<Job> {
    let mut jobs: Vec<(usize, Job)> = Vec::new();
    for (group, lacking) in view.unfilled.iter() {
        let Some(Group::Erasure(Slots { number, slots })) = view.map.groups.get(group) else { continue };
        let readable = |id: &DeviceId| view.map.devices.get(id).is_some_and(|d| d.state.is_readable());
        let sound = (0u8..).zip(slots).filter(|(slot, id)| !lacking.contains_key(slot) && id.as_ref().is_some_and(readable)).count();
        let here = lacking.iter().find(|(slot, _)| slots.get(usize::from(**slot)) == Some(&Some(device)));
        jobs.extend(here.map(|(slot, from)| (sound, Job { group: *group, number: *number, slot: *slot, from: *from })));
    }
    jobs.sort_unstable();
    jobs.into_iter().map(|(_, job)| job).collect()
}

/// Devices that know what belongs into a slot: those that serve a slot with all its units.
fn sources(view: &ClusterView, job: &Job) -> Vec<DeviceId> {
    let Some(slots) = view.map.slots(job.group) else { return Vec::new() };
    let lacking = view.unfilled.get(&job.group);
    let has_all =
        |(slot, device): (u8, &Option<DeviceId>)| device.filter(|_| slot != job.slot && !lacking.is_some_and(|l| l.contains_key(&slot)));
    let serves = |id: &DeviceId| view.map.devices.get(id).is_some_and(|d| d.state.is_writable() && d.state != DeviceState::Failed);
    (0u8..).zip(&slots.slots).filter_map(has_all).filter(serves).collect()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use types::map::{ClusterMap, Device};
    use types::{DiskGroupId, Incarnation, NodeId, PoolId};

    use super::*;

    fn group(index: u32) -> GroupId {
        GroupId { pool: PoolId(2), index }
    }

    /// Two groups of six slots each; the second lacks one more.
    fn view() -> ClusterView {
        let device = |id: u32| Device {
            id: DeviceId(id),
            node: NodeId(1),
            disk_group: DiskGroupId(id),
            state: if id == 9 { DeviceState::Transient } else { DeviceState::Online },
            incarnation: Incarnation(1),
            registered: Epoch(1),
            bytes: 1,
            reason: String::new(),
        };
        let slots =
            |devices: [u32; 6]| Group::Erasure(Slots { number: ViewNumber(7), slots: devices.map(|id| Some(DeviceId(id))).to_vec() });
        let map = ClusterMap {
            devices: (1..=9).map(|id| (DeviceId(id), device(id))).collect(),
            groups: BTreeMap::from([(group(0), slots([1, 2, 3, 4, 5, 6])), (group(1), slots([6, 1, 9, 3, 4, 5]))]),
            ..ClusterMap::default()
        };
        let unfilled = BTreeMap::from([(group(0), BTreeMap::from([(0, Some(DeviceId(8)))])), (group(1), BTreeMap::from([(1, None)]))]);
        ClusterView { index: 7, map: Arc::new(map), unfilled: Arc::new(unfilled), ..ClusterView::default() }
    }

    #[test]
    fn the_most_exposed_group_comes_first_and_only_slots_of_the_device_do() {
        let jobs = jobs(&view(), DeviceId(1));
        assert_eq!(jobs.iter().map(|job| (job.group, job.slot)).collect::<Vec<_>>(), [(group(1), 1), (group(0), 0)]);
        assert_eq!(jobs[1].from, Some(DeviceId(8)));
        assert!(super::jobs(&view(), DeviceId(2)).is_empty());
    }

    #[test]
    fn a_slot_that_lacks_units_itself_or_whose_device_is_away_is_no_source() {
        let view = view();
        let job = jobs(&view, DeviceId(1))[0];
        assert_eq!(sources(&view, &job), [6, 3, 4, 5].map(DeviceId));
    }
}
