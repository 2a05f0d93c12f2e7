//! A simulated storage process: the product's own views, lease, service, drivers and devices, with a clock, disks and a network that are
//! simulated. What is not the product's is the order of its start, which `node/boot` does with tasks and this with events.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use ha_state::{Change, Command, Found, Registered, State, Verdict};
use node::driver::Hand;
use node::hearing;
use node::report::HowEnded;
use node::view::{Folder, Views};
use storage::sim::SimDisk;
use storage::{Device, Identity};
use types::state::{DeviceState, ProcessState};
use types::wire::request::{Execute, Read};
use types::{Boot, DeviceId, Incarnation};

use super::packet::{Happening, Packet, Reply, Request};
use super::serving::{Serving, Starting, Waiting, options, starting};
use super::settings::{CLUSTER, DEVICE_BYTES, Settings, node_of};
use crate::sim::ha::daemon::DriftingClock;
use crate::sim::heap::{MILLISECOND, Micros};
use crate::sim::life::Life;
use crate::sim::network::NodeNumber;

/// A process that no daemon answers for so long asks the next.
const PATIENCE: Micros = 400 * MILLISECOND;
/// A report is made again so often.
const REPORT_AGAIN: Micros = 60 * MILLISECOND;

/// A disk: empty, or with a device on it.
pub struct Disk {
    /// What is on it.
    pub sim: Option<SimDisk>,
    formats: u64,
    /// A fault was put on it that ends the device.
    pub spoilt: bool,
}

/// What a start of a process has until the process ends.
struct Up {
    hand: Arc<Hand>,
    views: Arc<Views>,
    folder: Option<Folder>,
    open: BTreeMap<DeviceId, Device>,
    registered: Option<Registered>,
    serving: Option<Serving>,
}

/// The process.
pub struct Process {
    host: u32,
    /// Its clock.
    pub clock: DriftingClock,
    /// Whether it is up.
    pub life: Life<Happening>,
    /// Its disks.
    pub disks: BTreeMap<DeviceId, Disk>,
    /// Its name for its present registration.
    pub nonce: u64,
    /// The daemon that it asks.
    pub daemon: NodeNumber,
    /// Drivers that want a turn.
    pub wanted: BTreeSet<DeviceId>,
    /// When each driver is free again.
    pub busy: BTreeMap<DeviceId, Micros>,
    /// When each driver is to be called.
    pub due: BTreeMap<DeviceId, Micros>,
    answered: Micros,
    reported: Option<Micros>,
    up: Option<Up>,
    base: Instant,
    seed: u64,
    config: Arc<dtm::Config>,
    daemons: std::ops::Range<NodeNumber>,
}

/// What a turn of a driver came to.
pub struct Turned {
    /// Whether something was written.
    pub wrote: bool,
    /// When the next is due at the latest, in true time.
    pub due: Option<Micros>,
    /// Why the driver has ended, if so.
    pub ended: Option<String>,
}

impl Process {
    /// One that was never started, with empty disks. All clocks of a run begin at `base`.
    pub fn new(host: u32, settings: &Settings, base: Instant) -> Self {
        let drift = settings.drift_ppm.get(host as usize).copied().unwrap_or(0);
        Self {
            host,
            clock: DriftingClock(drift),
            life: Life::default(),
            disks: settings.devices_of(host).map(|id| (id, Disk { sim: None, formats: 0, spoilt: false })).collect(),
            nonce: u64::from(host) << 32,
            daemon: settings.nodes + host % settings.voters,
            wanted: BTreeSet::new(),
            busy: BTreeMap::new(),
            due: BTreeMap::new(),
            answered: 0,
            reported: None,
            up: None,
            base,
            seed: settings.disk_seed,
            config: Arc::new(settings.machine()),
            daemons: settings.nodes..settings.nodes + settings.voters,
        }
    }

    /// Its boot, once it has one.
    pub fn boot(&self) -> Option<Boot> {
        Some(self.up.as_ref()?.registered.as_ref()?.boot)
    }

    /// What serves, if anything.
    pub fn serving(&self) -> Option<&Serving> {
        self.up.as_ref()?.serving.as_ref()
    }

    /// The entry of HA's log that it has.
    pub fn index(&self) -> u64 {
        self.up.as_ref().map_or(0, |up| up.views.now().index)
    }

    fn moment(&self, now: Micros) -> Duration {
        self.clock.at(now)
    }

    /// True time at which its clock shows a moment, or a little later.
    fn true_time(&self, moment: Instant) -> Micros {
        let local = moment.saturating_duration_since(self.base).as_micros();
        (local * 1_000_000 / (1_000_000 + i128::from(self.clock.0)) as u128) as Micros + 2
    }

    /// Its clock shows the time from now on.
    pub fn tick(&self, now: Micros) {
        if let Some(up) = &self.up {
            up.hand.set(self.moment(now));
        }
    }

    /// It starts.
    pub fn start(&mut self, now: Micros) {
        self.life.restart();
        self.live(now);
    }

    /// A life of it begins: it opens its devices and knows nothing.
    fn live(&mut self, now: Micros) {
        self.up = None;
        self.nonce += 1;
        (self.answered, self.reported) = (now, None);
        self.wanted.clear();
        self.busy.clear();
        self.due.clear();
        let views: Arc<Views> = Arc::default();
        let hand = Arc::new(Hand::at(self.base));
        hand.set(self.moment(now));
        let open = self.disks.iter().filter_map(|(id, disk)| Some((*id, disk.sim.as_ref()?.open(&options(*id, &views)).ok()?)));
        let open = open.collect();
        self.up = Some(Up { hand, views, folder: None, open, registered: None, serving: None });
    }

    /// It dies.
    pub fn kill(&mut self) {
        self.life.kill();
        self.up = None;
        self.wanted.clear();
    }

    fn found(&self) -> Vec<(DeviceId, Found)> {
        let open = self.up.as_ref().map(|up| &up.open);
        let found = |(id, disk): (&DeviceId, &Disk)| match (&disk.sim, open.and_then(|open| open.get(id))) {
            (None, _) => (*id, Found::Blank),
            (Some(_), Some(device)) => (*id, Found::Formatted { uuid: device.identity().uuid, incarnation: device.identity().incarnation }),
            (Some(_), None) => (*id, Found::Unusable),
        };
        self.disks.iter().map(found).collect()
    }

    /// What it says to HA from time to time.
    pub fn renewal(&mut self, now: Micros) -> Request {
        if now >= self.answered + PATIENCE {
            self.daemon = if self.daemon + 1 < self.daemons.end { self.daemon + 1 } else { self.daemons.start };
            self.answered = now;
        }
        let sent = u64::try_from(self.moment(now).as_micros()).unwrap_or(u64::MAX);
        match (self.boot(), self.serving()) {
            (Some(boot), serving) => {
                let taken_in = serving.map_or(0, |serving| serving.node.fences.all_taken_in());
                Request::Renew { boot, confirmed: self.index().min(taken_in), sent }
            }
            (None, _) => Request::Register { start: self.life.start, nonce: self.nonce, devices: self.found() },
        }
    }

    /// HA has answered. An error is one that cannot be.
    pub fn receive(&mut self, reply: Reply, now: Micros) -> Result<(), String> {
        self.answered = now;
        let boot = self.boot();
        let Some(up) = &mut self.up else { return Ok(()) };
        match reply {
            Reply::Registered { nonce, registered } if nonce == self.nonce && boot.is_none() => up.registered = Some(registered),
            Reply::Granted { boot: of, sent, epoch, ha_time } if boot == Some(of) => {
                if let Some(serving) = &up.serving {
                    serving.node.lease.granted(self.base + Duration::from_micros(sent), epoch);
                    serving.node.lease.set_time(ha_time, up.hand.shows());
                    serving.ring();
                }
            }
            Reply::OldBoot { boot: of } if boot == Some(of) => self.live(now),
            Reply::Snapshot(bytes) => {
                let state = State::decode(&bytes).map_err(|error| error.to_string())?;
                if up.folder.is_none() {
                    up.folder = Some(Folder::new(node_of(self.host), state));
                    self.news(now)?;
                }
            }
            Reply::Entries(entries) => {
                let Some(folder) = &mut up.folder else { return Ok(()) };
                for (index, bytes) in entries {
                    // What came late or twice is known; a gap cannot be filled by what is behind it.
                    if index == folder.view().index + 1 {
                        let command = bytes.map(|bytes| Command::decode(&bytes)).transpose().map_err(|error| error.to_string())?;
                        folder.apply(index, command.as_ref());
                    }
                }
                self.news(now)?;
            }
            _ => {}
        }
        self.settle(now)
    }

    /// It has taken more of HA's log in.
    fn news(&mut self, now: Micros) -> Result<(), String> {
        let Some(up) = &mut self.up else { return Ok(()) };
        let Some(folder) = &up.folder else { return Ok(()) };
        up.views.publish(folder.view());
        up.serving.iter().for_each(Serving::ring);
        let view = up.views.now();
        if let Some(registered) = &up.registered
            && view.index >= registered.boot.0
            && let Some(node) = view.map.nodes.get(&node_of(self.host))
            && (node.boot != registered.boot || !matches!(node.state, ProcessState::Recovering | ProcessState::Online))
        {
            // HA gave this start up: a new one begins.
            self.live(now);
        }
        Ok(())
    }

    /// Begins to serve, once it is registered and knows what HA knew then.
    fn settle(&mut self, now: Micros) -> Result<(), String> {
        let Some(up) = &mut self.up else { return Ok(()) };
        let Some(registered) = up.registered.clone().filter(|r| up.serving.is_none() && up.views.now().index >= r.epoch.0) else {
            return Ok(());
        };
        let mut in_use: BTreeMap<DeviceId, (Device, Incarnation)> = BTreeMap::new();
        for (id, disk) in &mut self.disks {
            match registered.devices.get(id) {
                Some(Verdict::Use(incarnation)) => {
                    in_use.extend(up.open.remove(id).map(|device| (*id, (device, *incarnation))));
                }
                Some(Verdict::Format(incarnation)) => {
                    up.open.remove(id);
                    disk.formats += 1;
                    let uuid = u128::from(id.0) << 64 | u128::from(disk.formats) << 32 | u128::from(incarnation.0);
                    let identity = Identity { uuid, cluster: CLUSTER, device: *id, incarnation: *incarnation, bytes: DEVICE_BYTES };
                    let sim = SimDisk::new(identity, self.seed ^ u64::from(id.0) << 40 ^ disk.formats);
                    let device = sim.open(&options(*id, &up.views)).map_err(|error| format!("a new device does not open: {error}"))?;
                    disk.sim = Some(sim);
                    in_use.insert(*id, (device, *incarnation));
                }
                Some(Verdict::Refuse(_)) | None => drop(up.open.remove(id)),
            }
        }
        let place = Starting { host: self.host, registered: &registered, config: &self.config, base: self.base };
        up.serving = Some(place.serve(up.hand.clone(), up.views.clone(), in_use)?);
        let devices: Vec<DeviceId> = up.serving.iter().flat_map(|serving| serving.drivers.keys().copied()).collect();
        self.busy.extend(devices.into_iter().map(|device| (device, now)));
        Ok(())
    }

    /// When a driver is free again.
    pub fn free_at(&self, device: DeviceId) -> Micros {
        self.busy.get(&device).copied().unwrap_or(0)
    }

    /// A client asks for something.
    pub fn execute(&self, client: NodeNumber, call: u64, execute: Execute) -> Option<Packet> {
        let Some(serving) = self.serving() else { return Some(Packet::Executed { call, reply: Err(starting()) }) };
        serving.node.execute(execute, Box::new(Waiting { client, call, answers: serving.answers.clone() }));
        None
    }

    /// A client reads something.
    pub fn read(&self, call: u64, read: &Read) -> Packet {
        let reply = self.serving().map_or_else(|| Err(starting()), |serving| serving.node.read(read));
        Packet::ReadDone { call, reply }
    }

    /// A head of envelopes comes from a process that said who it is.
    pub fn take_head(&self, from: u32, from_boot: Boot, to: Option<Boot>, head: &[u8]) -> Result<(), String> {
        let Some(serving) = self.serving() else { return Ok(()) };
        if to.is_some_and(|to| to != serving.node.boot) {
            return Ok(());
        }
        serving.node.take_head(node_of(from), from_boot, head).map_err(|error| format!("a head cannot be read: {error}"))
    }

    /// Drivers for which something waits and that have no turn yet.
    pub fn turns_due(&mut self) -> Vec<DeviceId> {
        let Some(serving) = self.up.as_ref().and_then(|up| up.serving.as_ref()) else { return Vec::new() };
        let waits = |device: &&DeviceId| serving.node.devices[*device].inbox.has_waiting() && !self.wanted.contains(*device);
        let due: Vec<DeviceId> = serving.drivers.keys().filter(waits).copied().collect();
        self.wanted.extend(&due);
        due
    }

    /// A driver takes a turn.
    pub fn turn(&mut self, device: DeviceId) -> Option<Turned> {
        self.wanted.remove(&device);
        let steps = |disks: &BTreeMap<DeviceId, Disk>| disks[&device].sim.as_ref().map_or(0, SimDisk::steps);
        let before = steps(&self.disks);
        let serving = self.up.as_mut()?.serving.as_mut()?;
        let result = serving.drivers.get_mut(&device)?.step();
        let wrote = steps(&self.disks) != before;
        match result {
            Ok(due) => Some(Turned { wrote, due: due.map(|due| self.true_time(due)), ended: None }),
            Err(error) => {
                let ended = Some(error.to_string());
                if let Some(driver) = serving.drivers.remove(&device) {
                    driver.end(Err(error));
                }
                Some(Turned { wrote, due: None, ended })
            }
        }
    }

    /// What it has sent since the last time.
    pub fn take_sent(&self) -> Vec<(NodeNumber, Packet)> {
        let Some(serving) = self.serving() else { return Vec::new() };
        serving.wire.take(serving.node.boot)
    }

    /// What it has answered since the last time.
    pub fn take_answers(&self) -> Vec<(NodeNumber, Packet)> {
        let Some(serving) = self.serving() else { return Vec::new() };
        let mut answers = std::mem::take(&mut *serving.answers.lock().expect("nobody panics with the lock"));
        // A driver that ends tells them in the order of a hash map.
        answers.sort_by_key(|(client, call, _)| (*client, *call));
        answers.into_iter().map(|(client, call, reply)| (client, Packet::Executed { call, reply })).collect()
    }

    /// What it has to tell HA, as `node/hearing` decides it.
    pub fn reports(&mut self, now: Micros) -> Vec<Change> {
        if self.reported.is_some_and(|at| now < at + REPORT_AGAIN) {
            return Vec::new();
        }
        let Some(serving) = self.up.as_ref().and_then(|up| up.serving.as_ref()) else { return Vec::new() };
        let (view, boot) = (serving.node.views.now(), serving.node.boot);
        let mut changes = Vec::new();
        serving.node.reports.with(|pending| {
            let active = hearing::active(pending, &view);
            if !active.is_empty() {
                changes.push(Change::Active { boot, groups: active });
            }
            if let Some(announced) = view.recovering.iter().find(|a| a.boot == boot)
                && hearing::has_all(pending, &view, announced.epoch)
            {
                changes.push(Change::Recovered { boot, epoch: announced.epoch });
            }
            let filled = hearing::filled(pending, &view);
            if !filled.is_empty() {
                changes.push(Change::Filled { boot, groups: filled });
            }
            let heard = |device: &DeviceId, incarnation| {
                view.map.devices.get(device).is_none_or(|known| known.state == DeviceState::Failed || known.incarnation != incarnation)
            };
            pending.failed.retain(|device, end| !heard(device, end.incarnation.unwrap_or_default()));
            for (device, end) in &pending.failed {
                let incarnation = end.incarnation.or_else(|| serving.incarnations.get(device).copied()).unwrap_or_default();
                let ended = end.how == HowEnded::Broke;
                changes.push(Change::DeviceFailed { device: *device, incarnation, ended, reason: end.reason.clone() });
            }
            for (device, (incarnation, reason)) in std::mem::take(&mut pending.lagging) {
                changes.push(Change::DeviceLags { device, incarnation, reason });
            }
            pending.errors.clear();
        });
        if !changes.is_empty() {
            self.reported = Some(now);
        }
        changes
    }
}
