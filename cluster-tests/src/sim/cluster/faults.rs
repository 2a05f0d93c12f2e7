//! The faults of a run, all of them drawn before it begins, and what each does.

use rand::Rng;
use rand_chacha::ChaCha8Rng;
use storage::sim::Faults;
use types::DeviceId;

use super::packet::Happening;
use super::settings::{DiskFault, QUIET, Settings};
use super::world::{ClusterWorld, ROOM_RESERVE, Time};
use crate::sim::heap::{MILLISECOND, Micros};
use crate::sim::network::NodeNumber;
use crate::sim::swarm::{FaultKind, log_uniform};

/// The longest that a daemon takes to see that the process beside it has ended.
const SEEN_MAX: Micros = 100 * MILLISECOND;
/// How long a device that is to be replaced is away.
const AWAY: Micros = 200 * MILLISECOND;

/// Draws all of them.
pub fn draw(settings: &Settings, rng: &mut ChaCha8Rng, out: &mut Vec<(Micros, Happening)>) {
    for (kind, interval) in settings.swarm.faults.clone() {
        let mut at = QUIET + rng.random_range(0..=2 * interval);
        while at < settings.faulty {
            one(settings, kind, at, rng, out);
            at += rng.random_range(1..=2 * interval);
        }
    }
    for (kind, interval) in settings.disks.clone() {
        let mut at = QUIET + rng.random_range(0..=2 * interval);
        while at < settings.faulty {
            of_disk(settings, kind, at, rng, out);
            at += rng.random_range(1..=2 * interval);
        }
    }
}

fn one(settings: &Settings, kind: FaultKind, at: Micros, rng: &mut ChaCha8Rng, out: &mut Vec<(Micros, Happening)>) {
    let until = at + log_uniform(rng, 10 * MILLISECOND, settings.swarm.duration_max.max(20 * MILLISECOND));
    let (nodes, members) = (settings.nodes, settings.nodes + settings.voters);
    let node = rng.random_range(0..members);
    let host = if node < nodes { node } else { node - nodes };
    let mut cut = |pairs: Vec<(NodeNumber, NodeNumber)>| {
        out.push((at, Happening::Cut { pairs: pairs.clone() }));
        out.push((until, Happening::Mend { pairs }));
    };
    match kind {
        FaultKind::Kill => {
            out.push((at, Happening::Kill { node, seen: rng.random_range(MILLISECOND..=SEEN_MAX) }));
            out.push((until, Happening::Start { node }));
        }
        FaultKind::PowerCut => {
            for host in 0..nodes {
                out.push((at, Happening::PowerCut { host, after: None }));
            }
            for node in 0..members {
                out.push((rng.random_range(at..=until) + 1, Happening::Start { node }));
            }
        }
        FaultKind::Pause => {
            out.push((at, Happening::Pause { node }));
            out.push((until, Happening::Resume { node }));
        }
        FaultKind::Partition => {
            let sides: Vec<bool> = (0..nodes).map(|_| rng.random_bool(0.5)).collect();
            let all = || (0..nodes).flat_map(|a| (0..nodes).map(move |b| (a, b)));
            cut(all().filter(|(a, b)| sides[*a as usize] != sides[*b as usize]).collect());
        }
        FaultKind::PairCut | FaultKind::OneWayCut => {
            let other = (host + rng.random_range(1..nodes)) % nodes;
            let both = kind == FaultKind::PairCut;
            cut([(host, other), (other, host)].into_iter().take(1 + usize::from(both)).collect());
        }
        FaultKind::ViewChange | FaultKind::Wipe => {}
    }
}

fn of_disk(settings: &Settings, kind: DiskFault, at: Micros, rng: &mut ChaCha8Rng, out: &mut Vec<(Micros, Happening)>) {
    let until = at + log_uniform(rng, 50 * MILLISECOND, 2000 * MILLISECOND);
    let bad = DeviceId(settings.bad + 1);
    let host = settings.bad / settings.devices;
    match kind {
        DiskFault::PowerCut => {
            let host = rng.random_range(0..settings.nodes);
            out.push((at, Happening::PowerCut { host, after: Some(rng.random_range(0..12)) }));
            out.push((until, Happening::PowerCut { host, after: None }));
            for node in [host].into_iter().chain((host < settings.voters).then_some(settings.nodes + host)) {
                out.push((until + rng.random_range(1..=50 * MILLISECOND), Happening::Start { node }));
            }
        }
        DiskFault::WriteError | DiskFault::SyncError => {
            out.push((at, Happening::Break { device: bad, writes: kind == DiskFault::WriteError }));
        }
        DiskFault::Blank => {
            out.push((at, Happening::Kill { node: host, seen: MILLISECOND }));
            out.push((at + 1, Happening::Blank { device: bad }));
            out.push((at + AWAY, Happening::Start { node: host }));
        }
        DiskFault::Full => {
            let device = DeviceId(rng.random_range(1..=settings.nodes * settings.devices));
            let bytes = [ROOM_RESERVE - 1, ROOM_RESERVE / 2, ROOM_RESERVE / 4][rng.random_range(0..3)];
            out.push((at, Happening::Room { device, bytes }));
            out.push((until, Happening::Room { device, bytes: u64::MAX }));
        }
    }
}

impl ClusterWorld {
    /// Something from outside happens.
    pub(super) fn fault(&mut self, event: Happening, clock: Time<'_, '_>) {
        match event {
            Happening::Kill { node, seen } if !self.healed => self.kill(node, seen, clock),
            Happening::PowerCut { host, after: Some(after) } if !self.healed => {
                self.counts.power_cuts += 1;
                self.processes[host as usize]
                    .disks
                    .values()
                    .filter_map(|disk| disk.sim.as_ref())
                    .for_each(|sim| sim.cut_power_after(after));
            }
            Happening::PowerCut { host, after: None } if !self.healed => {
                self.counts.power_cuts += 1;
                self.power_is_off(host, clock);
            }
            Happening::Break { device, writes } if !self.healed && self.may_lose(device) => self.break_device(device, writes),
            Happening::Blank { device } if !self.healed && self.may_lose(device) => self.blank(device),
            Happening::Room { device, bytes } => {
                let host = (device.0 - 1) / self.settings.devices;
                let disk = &self.processes[host as usize].disks[&device];
                if let Some(sim) = disk.sim.as_ref().filter(|_| !disk.spoilt) {
                    sim.set_faults(Faults { meta_free_bytes: if self.healed { u64::MAX } else { bytes }, ..Faults::default() });
                }
            }
            Happening::Start { node } => self.start(node, clock),
            Happening::Pause { node } if !self.healed => self.pause(node),
            Happening::Resume { node } => self.resume(node, clock),
            Happening::Cut { pairs } if !self.healed => pairs.iter().for_each(|(a, b)| self.network.cut(*a, *b)),
            Happening::Mend { pairs } => pairs.iter().for_each(|(a, b)| self.network.mend(*a, *b)),
            Happening::Heal => self.heal(clock),
            _ => {}
        }
    }

    /// Whether a device may be lost: there are groups, and one device at most was lost so far.
    fn may_lose(&self, device: DeviceId) -> bool {
        let leader = self.daemons.iter().filter(|daemon| daemon.term.is_some()).max_by_key(|daemon| daemon.known.0);
        let Some(map) = leader.map(|daemon| daemon.state.map()) else { return false };
        // All groups have all that they need, so that one device is not one too many.
        let whole =
            map.groups.keys().filter_map(|group| map.view(*group)).all(|view| view.active == view.number && view.learners.is_empty());
        let others = self.processes.iter().flat_map(|p| &p.disks).filter(|(id, disk)| **id != device && disk.spoilt).count();
        let online = map.devices.values().all(|d| d.state == types::state::DeviceState::Online);
        whole && others == 0 && online && !map.groups.is_empty()
    }

    fn break_device(&mut self, device: DeviceId, writes: bool) {
        let host = (device.0 - 1) / self.settings.devices;
        let Some(disk) = self.processes[host as usize].disks.get_mut(&device) else { return };
        if let Some(sim) = disk.sim.as_ref().filter(|_| !disk.spoilt) {
            let (failing_meta_writes, failing_meta_syncs) = if writes { (1000, 0) } else { (0, 1000) };
            sim.set_faults(Faults { failing_meta_writes, failing_meta_syncs, ..Faults::default() });
            disk.spoilt = true;
        }
    }

    fn blank(&mut self, device: DeviceId) {
        let host = (device.0 - 1) / self.settings.devices;
        let process = &mut self.processes[host as usize];
        let down = process.life.is_down();
        let Some(disk) = process.disks.get_mut(&device) else { return };
        if down && !disk.spoilt && disk.sim.is_some() {
            disk.sim = None;
            disk.spoilt = true;
            self.counts.lost_devices += 1;
        }
    }

    fn kill(&mut self, node: NodeNumber, seen: Micros, clock: Time<'_, '_>) {
        if self.is_daemon(node) {
            let daemon = self.daemon(node);
            if !daemon.life.is_down() {
                daemon.term = None;
                daemon.life.kill();
                self.counts.kills += 1;
            }
            return;
        }
        let process = &mut self.processes[node as usize];
        if process.life.is_down() {
            return;
        }
        self.counts.kills += 1;
        let boot = process.boot();
        process.kill();
        process.disks.keys().for_each(|device| self.oracle.forget(*device));
        if let Some(boot) = boot.filter(|_| node < self.settings.voters) {
            let daemon = self.settings.nodes + node;
            let start = self.daemon(daemon).life.start;
            clock.after(seen, Happening::SeeEnd { node: daemon, start, boot });
        }
    }

    /// A host has no power any more: what its disks have not synced is lost, or torn, or there.
    pub(super) fn power_is_off(&mut self, host: u32, clock: Time<'_, '_>) {
        let process = &self.processes[host as usize];
        process.disks.values().filter_map(|disk| disk.sim.as_ref()).filter(|sim| !sim.is_off()).for_each(|sim| sim.cut_power());
        if host < self.settings.voters {
            self.kill(self.settings.nodes + host, MILLISECOND, clock);
        }
        self.kill(host, MILLISECOND, clock);
        // Somebody always switches it on again, some time; a fault that names a moment may be earlier.
        for node in [host].into_iter().chain((host < self.settings.voters).then_some(self.settings.nodes + host)) {
            clock.after(1000 * MILLISECOND, Happening::Start { node });
        }
    }

    fn start(&mut self, node: NodeNumber, clock: Time<'_, '_>) {
        if self.is_daemon(node) {
            if self.daemon(node).life.is_down() {
                self.daemon(node).start(clock.now);
                let start = self.daemon(node).life.start;
                self.schedule_election(node, start, clock);
            }
            return;
        }
        let process = &mut self.processes[node as usize];
        if process.life.is_down() {
            process.start(clock.now);
            let start = process.life.start;
            clock.after(MILLISECOND, Happening::Renewal { node, start });
            clock.after(MILLISECOND, Happening::Poll { node, start });
        }
    }

    fn pause(&mut self, node: NodeNumber) {
        if self.is_daemon(node) { self.daemon(node).life.pause() } else { self.processes[node as usize].life.pause() }
    }

    fn resume(&mut self, node: NodeNumber, clock: Time<'_, '_>) {
        let waiting = if self.is_daemon(node) { self.daemon(node).life.resume() } else { self.processes[node as usize].life.resume() };
        for event in waiting {
            self.inner(node, event, clock);
        }
    }

    fn heal(&mut self, clock: Time<'_, '_>) {
        self.healed = true;
        self.network.heal();
        for disk in self.processes.iter().flat_map(|process| process.disks.values()).filter(|disk| !disk.spoilt) {
            disk.sim.iter().for_each(|sim| sim.set_faults(Faults::default()));
        }
        for node in 0..self.settings.nodes + self.settings.voters {
            self.resume(node, clock);
            self.start(node, clock);
        }
    }
}
