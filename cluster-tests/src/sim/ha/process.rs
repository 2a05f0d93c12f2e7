//! A simulated node process: the shipped state as a subscriber has it, the shipped lease, and devices that fail and return blank. What DTM0
//! would do is reduced to its reports: active once it holds a lease, recovered once the primaries of its groups are.

use std::collections::BTreeMap;
use std::time::Duration;

use ha_state::lease::HeldLease;
use ha_state::state::{FilledSlot, is_live};
use ha_state::{Change, Command, Found, State};
use types::map::{Group, GroupView, Slots};
use types::state::{DeviceState, ProcessState};
use types::{Boot, DeviceId, GroupId, Incarnation, ViewNumber};

use super::daemon::DriftingClock;
use super::packet::{Happening, Reply, Request};
use super::settings::{HOSTS, Without, devices_of, node_of};
use crate::sim::heap::{MILLISECOND, Micros};
use crate::sim::life::Life;
use crate::sim::network::NodeNumber;

/// A daemon that has not answered for so long is left for another.
const PATIENCE: Micros = 400 * MILLISECOND;
/// A report is made again so often while the log does not have it.
const REPORT_AGAIN: Micros = 60 * MILLISECOND;

/// A device.
#[derive(Clone, Copy, Debug, Default)]
pub struct Disk {
    format: Option<Incarnation>,
    /// It does not work.
    pub broken: bool,
    /// It answers nothing, for now.
    pub hangs: bool,
    /// Its process has stopped using it, because it hung.
    given_up: bool,
    /// A blank one is in its place when the process starts again.
    pub replaced: bool,
}

/// The process.
pub struct Process {
    host: u32,
    /// Its clock.
    pub clock: DriftingClock,
    /// Whether it is up.
    pub life: Life<Happening>,
    /// What it has taken in.
    pub state: State,
    lease: HeldLease,
    /// Its boot, once it has one.
    pub boot: Option<Boot>,
    /// Its name for its registration.
    pub nonce: u64,
    /// Its devices.
    pub disks: BTreeMap<DeviceId, Disk>,
    /// The daemon that it asks.
    pub daemon: NodeNumber,
    answered: Micros,
    reported: Option<Micros>,
    without: Option<Without>,
    /// Until then nothing of the log gets to it: what takes it in stands still.
    pub hears_again: Micros,
    /// It stands still for so long as soon as it has sent the next renewal.
    pub stops_when_it_asks: Option<Micros>,
}

impl Process {
    /// One that was never started.
    pub fn new(host: u32, drift_ppm: i64, without: Option<Without>) -> Self {
        Self {
            host,
            clock: DriftingClock(drift_ppm),
            life: Life::default(),
            state: State::new(),
            lease: HeldLease::default(),
            boot: None,
            nonce: u64::from(host) << 32,
            disks: devices_of(host).into_iter().map(|id| (id, Disk::default())).collect(),
            daemon: HOSTS + host,
            answered: 0,
            reported: None,
            without,
            hears_again: 0,
            stops_when_it_asks: None,
        }
    }

    /// It starts with nothing but its devices.
    pub fn start(&mut self, now: Micros) {
        self.life.restart();
        self.state = State::new();
        self.daemon = HOSTS + self.host;
        for disk in self.disks.values_mut() {
            (disk.hangs, disk.given_up) = (false, false);
            if disk.replaced {
                *disk = Disk::default();
            }
        }
        self.register_anew(now);
    }

    fn register_anew(&mut self, now: Micros) {
        self.lease.clear();
        self.boot = None;
        self.disks.values_mut().for_each(|disk| disk.given_up = false);
        self.nonce += 1;
        self.answered = now;
        self.reported = None;
    }

    /// The request with which it gets or keeps its lease.
    pub fn renewal(&mut self, now: Micros) -> Request {
        if now >= self.answered + PATIENCE {
            self.daemon = HOSTS + (self.daemon + 1) % HOSTS;
            self.answered = now;
        }
        if self.boot.is_some() && self.has_woken() {
            self.register_anew(now);
        }
        let sent = u64::try_from(self.clock.at(now).as_micros()).unwrap_or(u64::MAX);
        match self.boot {
            Some(boot) => Request::Renew { boot, confirmed: self.state.index(), sent },
            None => Request::Register { start: self.life.start, nonce: self.nonce, devices: self.found() },
        }
    }

    /// Whether a device that hung answers again, and HA has it down as away: the process starts again to use it.
    fn has_woken(&self) -> bool {
        let is_away = |id: &DeviceId| self.state.map().devices.get(id).is_some_and(|known| known.state == DeviceState::Transient);
        self.disks.iter().any(|(id, disk)| disk.given_up && !disk.hangs && is_away(id))
    }

    /// A device that it has given up, and that is to be used again.
    pub fn misses(&self, state: &State) -> Option<DeviceId> {
        let failed = |id: &DeviceId| state.map().devices.get(id).is_some_and(|known| known.state == DeviceState::Failed);
        self.disks.iter().find(|(id, disk)| disk.given_up && !failed(id)).map(|(id, _)| *id)
    }

    fn found(&self) -> Vec<(DeviceId, Found)> {
        let found = |(id, disk): (&DeviceId, &Disk)| match disk.format {
            _ if disk.broken => (*id, Found::Unusable),
            None => (*id, Found::Blank),
            Some(incarnation) => (*id, Found::Formatted { uuid: u128::from(incarnation.0) << 32 | u128::from(id.0), incarnation }),
        };
        self.disks.iter().map(found).collect()
    }

    /// An answer has come; each entry that it takes in is shown to `each`.
    pub fn receive(&mut self, reply: Reply, now: Micros, mut each: impl FnMut(&State)) {
        self.answered = now;
        match reply {
            Reply::Registered { nonce, boot, formats } if nonce == self.nonce && self.boot.is_none() => {
                self.boot = Some(boot);
                for (id, incarnation) in formats {
                    if let Some(disk) = self.disks.get_mut(&id) {
                        disk.format = Some(incarnation);
                    }
                }
            }
            Reply::Granted { boot, sent, epoch } if self.boot == Some(boot) => {
                let from_answer = self.without == Some(Without::SentTime);
                let sent = if from_answer { self.clock.at(now) } else { Duration::from_micros(sent) };
                let epoch = if self.without == Some(Without::Epoch) { types::Epoch(0) } else { epoch };
                self.lease.granted(&super::TIMING, sent, epoch);
            }
            Reply::OldBoot { boot } if self.boot == Some(boot) => self.register_anew(now),
            Reply::Snapshot(_) | Reply::Entries(_) if now < self.hears_again => {}
            Reply::Snapshot(bytes) => {
                let state = State::decode(&bytes).expect("a daemon's snapshot");
                if state.index() > self.state.index() {
                    self.state = state;
                    each(&self.state);
                }
            }
            Reply::Entries(entries) => {
                for (index, bytes) in entries {
                    // What came late or twice is known; a gap cannot be filled by what is behind it.
                    if index != self.state.index() + 1 {
                        continue;
                    }
                    match bytes {
                        // What became of it stands in the state.
                        Some(bytes) => drop(self.state.apply(index, &Command::decode(&bytes).expect("an entry of the log"))),
                        None => self.state.pass(index),
                    }
                    each(&self.state);
                }
            }
            _ => {}
        }
        // It learns from the log that its boot is over.
        if let Some(boot) = self.boot
            && self.state.index() >= boot.0
            && self.state.live(boot).is_none()
        {
            self.register_anew(now);
        }
    }

    fn views(&self) -> impl Iterator<Item = (GroupId, &GroupView)> {
        self.state.map().groups.iter().filter_map(|(id, group)| match group {
            Group::Replicated(view) => Some((*id, view)),
            Group::Erasure(_) => None,
        })
    }

    /// Learners of a group that are there and not reported: as if each were filled at once.
    fn filled(&self, id: GroupId, view: &GroupView) -> Vec<(GroupId, ViewNumber, DeviceId, Incarnation)> {
        let due = |learner: &&DeviceId| !self.state.is_filled(id, **learner) && self.state.fitness(**learner).is_some();
        let of = |learner: &DeviceId| (id, view.number, *learner, self.state.map().devices[learner].incarnation);
        view.learners.iter().filter(due).map(of).collect()
    }

    /// Slots of its devices that lack units, where enough others have theirs: as if each were filled at once.
    fn filled_slots(&self) -> Vec<FilledSlot> {
        let works = |device: &DeviceId| self.disks.get(device).is_some_and(|d| !d.broken && !d.hangs && !d.given_up);
        let mut filled = Vec::new();
        for (group, lacking) in self.state.unfilled() {
            let Some(Slots { number, slots }) = self.state.map().slots(*group) else { continue };
            if self.state.sound_slots(*group) < self.state.data_units(*group) {
                continue;
            }
            for slot in lacking.keys() {
                if let Some(device) = slots.get(usize::from(*slot)).copied().flatten().filter(works)
                    && self.state.map().devices[&device].state.is_writable()
                {
                    filled.push((*group, *number, *slot, device, self.state.map().devices[&device].incarnation));
                }
            }
        }
        filled
    }

    fn is_own(&self, view: &GroupView) -> bool {
        let works = |device: &DeviceId| self.disks.get(device).is_some_and(|d| !d.broken && !d.hangs && !d.given_up);
        view.primary.is_some_and(|p| Some(p.boot) == self.boot && works(&p.device))
    }

    /// Whether it may serve at that time.
    pub fn holds(&mut self, now: Micros) -> bool {
        self.boot.is_some() && self.life.is_up() && self.lease.holds(self.clock.at(now), self.state.epoch())
    }

    /// The groups that it serves as primary, as far as it knows.
    pub fn serves(&mut self, now: Micros) -> Vec<GroupId> {
        if !self.holds(now) {
            return Vec::new();
        }
        self.views().filter(|(_, view)| self.is_own(view)).map(|(id, _)| id).collect()
    }

    /// What it reports, where that is due.
    pub fn reports(&mut self, now: Micros) -> Vec<Change> {
        let (Some(boot), true) = (self.boot, self.holds(now)) else { return Vec::new() };
        let Some(node) = self.state.map().nodes.get(&node_of(self.host)).filter(|n| n.boot == boot && is_live(n)) else {
            return Vec::new();
        };
        if self.reported.is_some_and(|at| now < at + REPORT_AGAIN) {
            return Vec::new();
        }
        let mut changes = Vec::new();
        for (id, disk) in self.disks.iter_mut().filter(|(_, d)| d.hangs || d.given_up) {
            disk.given_up = true;
            let device = &self.state.map().devices[id];
            if device.state.is_writable() {
                changes.push(Change::DeviceHangs { device: *id, incarnation: device.incarnation, reason: "it hangs".into() });
            }
        }
        for (id, _) in self.disks.iter().filter(|(_, d)| d.broken) {
            let device = &self.state.map().devices[id];
            if device.state.is_writable() && device.state != DeviceState::Failed {
                let reason = "EIO".to_string();
                changes.push(Change::DeviceFailed { device: *id, incarnation: device.incarnation, ended: true, reason });
            }
        }
        let active: Vec<(GroupId, ViewNumber)> =
            self.views().filter(|(_, v)| self.is_own(v) && v.active != v.number).map(|(id, v)| (id, v.number)).collect();
        if !active.is_empty() {
            changes.push(Change::Active { boot, groups: active });
        }
        let filled: Vec<_> =
            self.views().filter(|(_, v)| self.is_own(v) && v.active == v.number).flat_map(|(id, v)| self.filled(id, v)).collect();
        if !filled.is_empty() {
            changes.push(Change::Filled { boot, groups: filled });
        }
        let slots = self.filled_slots();
        if !slots.is_empty() {
            changes.push(Change::SlotsFilled { boot, slots });
        }
        let is_ended = |id: &GroupId| self.state.map().view(*id).is_some_and(|v| self.is_own(v) || v.active == v.number);
        if node.state == ProcessState::Recovering && self.state.groups_to_recover(node.id).iter().all(is_ended) {
            let epoch = self.state.process(node.id).map(|p| p.announced).unwrap_or_default();
            changes.push(Change::Recovered { boot, epoch });
        }
        if !changes.is_empty() {
            self.reported = Some(now);
        }
        changes
    }
}
