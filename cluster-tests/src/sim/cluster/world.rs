//! The world itself: who gets what, when; and the end of the run. Faults are drawn in [`super::faults`].

use ha_state::Change;
use rand::Rng;
use rand_chacha::ChaCha8Rng;

use super::client::{Came, Client};
use super::oracle::Oracle;
use super::packet::{Happening, Intent, Kind, Packet, Reply, Request};
use super::process::Process;
use super::settings::{CONVERGENCE, OPERATIONS_A_ROW, QUIET, Settings};
use crate::checkers::history::Operation;
use crate::sim::ha::daemon::Daemon;
use crate::sim::ha::raft::Raft;
use crate::sim::heap::{MILLISECOND, Micros};
use crate::sim::network::{Network, NodeNumber};
use crate::sim::run::{Clock, World};
use crate::sim::swarm::log_uniform;

const RENEWAL: Micros = 200 * MILLISECOND;
/// Clients ask for the map so often.
const REFRESH: Micros = 500 * MILLISECOND;
/// Whether all is well is asked so often.
const ASK_END: Micros = 250 * MILLISECOND;
/// Clients go on for so long after everything is healed.
const SERVICE: Micros = 1000 * MILLISECOND;
/// Most operations of a run without deletes.
const OPERATIONS_MAX: u64 = 3000;
/// Room for metadata that only the log, deletes and recovery may use.
pub const ROOM_RESERVE: u64 = 1024 * 1024;

pub(super) type Time<'a, 'b> = &'a mut Clock<'b, Happening>;

/// What happened in a run, in numbers: a run in which nothing happens proves nothing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize)]
pub struct Counts {
    /// Operations begun.
    pub operations: u64,
    /// Operations answered.
    pub answered: u64,
    /// Processes and daemons killed.
    pub kills: u64,
    /// Power cuts of a host, in the middle of something or not.
    pub power_cuts: u64,
    /// Devices that were given up by their drivers, or replaced by empty ones.
    pub lost_devices: u64,
    /// Turns of drivers.
    pub turns: u64,
    /// Leaders elected.
    pub elections: u64,
    /// Entries of HA's log.
    pub entries: u64,
    /// Leases and maps granted.
    pub grants: u64,
    /// Simulated microseconds.
    pub simulated: Micros,
}

/// A whole cluster.
pub struct ClusterWorld {
    pub(super) settings: Settings,
    pub(super) network: Network,
    pub(super) processes: Vec<Process>,
    pub(super) daemons: Vec<Daemon<Happening>>,
    pub(super) clients: Vec<Client>,
    pub(super) raft: Raft,
    pub(super) oracle: Oracle,
    pub(super) history: Vec<Operation>,
    pub(super) moment: u64,
    pub(super) healed: bool,
    pub(super) quiet: bool,
    pub(super) over: bool,
    /// What happened.
    pub counts: Counts,
}

impl World for ClusterWorld {
    type Event = Happening;

    fn handle(&mut self, event: Happening, clock: Time<'_, '_>) {
        self.moment += 10;
        self.counts.simulated = clock.now;
        match self.concerns(&event) {
            Some(node) => {
                if let Some(event) = self.admit(node, event) {
                    self.inner(node, event, clock);
                }
            }
            None => self.outer(event, clock),
        }
    }

    fn violation(&self) -> Option<String> {
        self.oracle.violation.clone()
    }

    fn is_over(&self) -> bool {
        self.over || self.oracle.violation.is_some()
    }
}

impl ClusterWorld {
    /// The host of a member of the network; clients have their own.
    pub(super) fn host_of(&self, number: NodeNumber) -> u32 {
        let Settings { nodes, voters, .. } = self.settings;
        match number {
            _ if number < nodes => number,
            _ if number < nodes + voters => number - nodes,
            _ => number - voters,
        }
    }

    pub(super) fn is_daemon(&self, number: NodeNumber) -> bool {
        (self.settings.nodes..self.settings.nodes + self.settings.voters).contains(&number)
    }

    fn first_client(&self) -> NodeNumber {
        self.settings.nodes + self.settings.voters
    }

    /// The process or daemon that an event is for, where it needs a live one.
    fn concerns(&self, event: &Happening) -> Option<NodeNumber> {
        match event {
            Happening::Turn { node, .. }
            | Happening::Deadline { node, .. }
            | Happening::Renewal { node, .. }
            | Happening::Poll { node, .. }
            | Happening::Beat { node, .. }
            | Happening::Written { node, .. }
            | Happening::Confirmed { node, .. }
            | Happening::Look { node, .. }
            | Happening::Election { node, .. }
            | Happening::SeeEnd { node, .. } => Some(*node),
            _ => None,
        }
    }

    fn admit(&mut self, node: NodeNumber, event: Happening) -> Option<Happening> {
        if self.is_daemon(node) { self.daemon(node).life.admit(event) } else { self.processes[node as usize].life.admit(event) }
    }

    pub(super) fn inner(&mut self, node: NodeNumber, event: Happening, clock: Time<'_, '_>) {
        if self.is_daemon(node) {
            return match event {
                Happening::Deliver { from, packet, .. } => self.daemon_receives(node, from, packet, clock),
                event => self.in_daemon(node, event, clock),
            };
        }
        self.processes[node as usize].tick(clock.now);
        let start_now = self.processes[node as usize].life.start;
        match event {
            Happening::Deliver { from, packet, .. } => self.process_receives(node, from, packet, clock),
            Happening::Turn { start, device, takes, .. } if start == start_now => match self.processes[node as usize].free_at(device) {
                at if at > clock.now => clock.at(at, Happening::Turn { node, start, device, takes }),
                _ => self.turn(node, device, takes, clock),
            },
            Happening::Deadline { start, device, takes, .. } if start == start_now => {
                let process = &mut self.processes[node as usize];
                match process.free_at(device) {
                    at if at > clock.now => clock.at(at, Happening::Deadline { node, start, device, takes }),
                    _ if process.due.get(&device).is_some_and(|due| *due <= clock.now) => {
                        process.due.remove(&device);
                        self.turn(node, device, takes, clock);
                    }
                    _ => {}
                }
            }
            Happening::Renewal { start, .. } if start == start_now => {
                let process = &mut self.processes[node as usize];
                let request = process.renewal(clock.now);
                let via = process.daemon;
                self.send(node, via, Packet::Ask { from: node, via, request }, clock);
                clock.after(RENEWAL, Happening::Renewal { node, start });
            }
            Happening::Poll { start, .. } if start == start_now => {
                let process = &mut self.processes[node as usize];
                let (via, after, reports) = (process.daemon, process.index(), process.reports(clock.now));
                self.send(node, via, Packet::Follow { after }, clock);
                for change in reports {
                    if let Change::DeviceFailed { device, ended: false, reason, .. } = &change {
                        self.oracle.fail(format!("amnesia: {device} is reported, and no disk lied: {reason}"));
                    }
                    self.send(node, via, Packet::Ask { from: node, via, request: Request::Report(change) }, clock);
                }
                clock.after(self.settings.follow, Happening::Poll { node, start });
            }
            _ => {}
        }
        self.wake(node, clock);
    }

    /// Drivers for which something waits get their turns.
    fn wake(&mut self, node: NodeNumber, clock: Time<'_, '_>) {
        let process = &mut self.processes[node as usize];
        let start = process.life.start;
        for device in process.turns_due() {
            let at = process.free_at(device).max(clock.now) + clock.rng.random_range(1..=30);
            let takes = clock.rng.random_range(self.settings.swarm.sync_min..=self.settings.swarm.sync_max);
            clock.at(at, Happening::Turn { node, start, device, takes });
        }
    }

    fn turn(&mut self, node: NodeNumber, device: types::DeviceId, takes: Micros, clock: Time<'_, '_>) {
        let process = &mut self.processes[node as usize];
        let start = process.life.start;
        let Some(turned) = process.turn(device) else { return };
        self.counts.turns += 1;
        let over = clock.now + if turned.wrote { takes } else { 10 };
        process.busy.insert(device, over);
        let known = process.due.get(&device).copied();
        if let Some(at) = turned.due.map(|due| due.max(over + 1))
            && known.is_none_or(|known| at < known || known < clock.now)
        {
            process.due.insert(device, at);
            let takes = clock.rng.random_range(self.settings.swarm.sync_min..=self.settings.swarm.sync_max);
            clock.at(at, Happening::Deadline { node, start, device, takes });
        }
        let off = process.disks[&device].sim.as_ref().is_some_and(storage::sim::SimDisk::is_off);
        // What it has sent and answered meanwhile leaves when it is over. What was sent before the power went in the turn has left too; what
        // those who wait are told by a driver that ends has not.
        let answers = if off { Vec::new() } else { process.take_answers() };
        let sent: Vec<_> = process.take_sent().into_iter().chain(answers).collect();
        for (to, packet) in sent {
            self.send_at(over, node, to, packet, clock);
        }
        match turned.ended {
            _ if off => self.power_is_off(node, clock),
            Some(why) => {
                self.counts.lost_devices += 1;
                if !self.processes[node as usize].disks[&device].spoilt {
                    self.oracle.fail(format!("device: {device} has ended, and nothing was wrong with it: {why}"));
                }
            }
            None => self.oracle.look(device, &self.processes[node as usize]),
        }
    }

    fn process_receives(&mut self, node: NodeNumber, from: NodeNumber, packet: Packet, clock: Time<'_, '_>) {
        let boot = self.processes[node as usize].boot();
        let process = &mut self.processes[node as usize];
        let result = match packet {
            Packet::Answer { to, reply } if to == node => process.receive(reply, clock.now),
            Packet::Dtm { boot, to, head } => process.take_head(from, boot, to, &head),
            Packet::Execute { call, execute } => {
                let refused = process.execute(from, call, execute);
                let answers: Vec<_> = refused.map(|packet| (from, packet)).into_iter().chain(process.take_answers()).collect();
                for (to, packet) in answers {
                    self.send(node, to, packet, clock);
                }
                Ok(())
            }
            Packet::Read { call, read } => {
                let reply = process.read(call, &read);
                self.send(node, from, reply, clock);
                Ok(())
            }
            _ => Ok(()),
        };
        let process = &self.processes[node as usize];
        if process.boot() != boot {
            process.disks.keys().for_each(|device| self.oracle.forget(*device));
        }
        if let Err(error) = result {
            self.oracle.fail(format!("a process breaks: node {node}: {error}"));
        }
    }

    pub(super) fn send(&mut self, from: NodeNumber, to: NodeNumber, packet: Packet, clock: Time<'_, '_>) {
        self.send_at(clock.now, from, to, packet, clock);
    }

    fn send_at(&mut self, at: Micros, from: NodeNumber, to: NodeNumber, packet: Packet, clock: Time<'_, '_>) {
        let (a, b) = (self.host_of(from), self.host_of(to));
        let arrivals = if a == b { vec![at + clock.rng.random_range(20..=200)] } else { self.network.route(at, a, b, clock.rng) };
        for at in arrivals {
            clock.at(at, Happening::Deliver { from, to, packet: packet.clone() });
        }
    }

    fn outer(&mut self, event: Happening, clock: Time<'_, '_>) {
        match event {
            Happening::Deliver { from, to, packet } => {
                if self.network.is_cut(self.host_of(from), self.host_of(to)) {
                    return;
                }
                if to >= self.first_client() {
                    return self.client_receives(to - self.first_client(), packet, clock);
                }
                if let Some(event) = self.admit(to, Happening::Deliver { from, to, packet }) {
                    self.inner(to, event, clock);
                }
            }
            Happening::Begin { client, intent } => self.begin(client, intent, clock),
            Happening::Impatient { client, call } => self.impatient(client, call, clock),
            Happening::Refresh { client } => {
                self.ask_for_map(client, clock);
                clock.after(REFRESH, Happening::Refresh { client });
            }
            Happening::Quiet => self.quiet = true,
            Happening::End => self.end(clock),
            fault => self.fault(fault, clock),
        }
    }

    fn ask_for_map(&mut self, number: u32, clock: Time<'_, '_>) {
        let (daemons, first) = (self.settings.voters, self.settings.nodes);
        let client = &mut self.clients[number as usize];
        // It asks one after the other: the one that it asked last may be cut off.
        client.daemon = first + (client.daemon - first + 1) % daemons;
        let (from, via, session) = (client.number, client.daemon, client.session);
        self.send(from, via, Packet::Ask { from, via, request: Request::Map { session } }, clock);
    }

    fn begin(&mut self, number: u32, intent: Intent, clock: Time<'_, '_>) {
        let most = if self.settings.deletes { OPERATIONS_A_ROW * self.settings.rows } else { OPERATIONS_MAX };
        let client = &mut self.clients[number as usize];
        if self.quiet || client.is_waiting() || self.counts.operations >= most {
            return;
        }
        self.counts.operations += 1;
        client.begin(intent, self.counts.operations, clock.now, self.moment, &mut self.history);
        let from = client.number;
        let (message, waits) = (client.message(), client.waits_for());
        if let Some((call, again)) = waits {
            clock.after(again, Happening::Impatient { client: number, call });
        }
        if let Some((to, packet)) = message {
            self.send(from, to, packet, clock);
        }
    }

    fn impatient(&mut self, number: u32, call: u64, clock: Time<'_, '_>) {
        let healed = self.healed;
        let client = &mut self.clients[number as usize];
        let Some((waits_for, again)) = client.waits_for() else { return };
        if waits_for != call {
            return;
        }
        if !client.impatient(call, clock.now, !healed) {
            return self.next(number, clock);
        }
        let (from, message) = (client.number, client.message());
        clock.after(again, Happening::Impatient { client: number, call });
        self.ask_for_map(number, clock);
        if let Some((to, packet)) = message {
            self.send(from, to, packet, clock);
        }
    }

    /// A client thinks of something new.
    fn next(&mut self, number: u32, clock: Time<'_, '_>) {
        let intent = self.intent(clock.rng);
        let pause = clock.rng.random_range(0..=2 * self.settings.think);
        clock.after(pause, Happening::Begin { client: number, intent });
    }

    fn intent(&self, rng: &mut ChaCha8Rng) -> Intent {
        let read = rng.random_range(0..100) < self.settings.reads_percent;
        let kind = match rng.random_range(0..4) {
            _ if read => Kind::Read,
            0 if self.settings.deletes => Kind::Delete,
            _ => Kind::Put,
        };
        Intent {
            row: rng.random_range(0..self.settings.rows),
            kind,
            patience: log_uniform(rng, 50 * MILLISECOND, 4000 * MILLISECOND),
            again: log_uniform(rng, 10 * MILLISECOND, 300 * MILLISECOND),
        }
    }

    fn client_receives(&mut self, number: u32, packet: Packet, clock: Time<'_, '_>) {
        let client = &mut self.clients[number as usize];
        if let Packet::Answer { reply: Reply::Map(map, at), .. } = packet {
            return client.learn(map, at);
        }
        match client.receive(&packet, self.moment, &mut self.history) {
            Came::Nothing => {}
            Came::Again => self.ask_for_map(number, clock),
            Came::Over => {
                self.counts.answered += 1;
                self.next(number, clock);
            }
            Came::Broken(what) => self.oracle.fail(what),
        }
    }

    fn end(&mut self, clock: Time<'_, '_>) {
        let waiting = self.clients.iter().filter(|c| c.is_waiting()).count();
        let leader = self.daemons.iter().filter(|daemon| daemon.term.is_some()).max_by_key(|daemon| daemon.known.0);
        let Some(map) = leader.map(|daemon| daemon.state.map().clone()) else {
            return self.again("HA has no leader".into(), clock);
        };
        let ailment = Oracle::ailment(&map, &self.processes);
        match ailment.or_else(|| (waiting > 0).then(|| format!("{waiting} clients wait"))) {
            Some(what) => self.again(what, clock),
            None => {
                self.over = true;
                let (rows, moment) = (self.settings.rows, self.moment);
                self.oracle.finish(&map, &self.processes, rows, moment, &mut self.history);
            }
        }
    }

    fn again(&mut self, ailment: String, clock: Time<'_, '_>) {
        if clock.now > self.settings.faulty + CONVERGENCE {
            return self.oracle.fail(format!("progress: not well {} s after healing: {ailment}", CONVERGENCE / 1_000_000));
        }
        clock.after(ASK_END, Happening::End);
    }

    /// What happens to begin with: starts, clients, every fault of the run.
    pub fn first(&mut self, rng: &mut ChaCha8Rng) -> Vec<(Micros, Happening)> {
        let members = 0..self.settings.nodes + self.settings.voters;
        let mut first: Vec<(Micros, Happening)> = members.map(|node| (0, Happening::Start { node })).collect();
        for client in 0..self.settings.clients {
            first.push((QUIET / 2, Happening::Refresh { client }));
            first.push((QUIET * 2 / 3, Happening::Begin { client, intent: self.intent(rng) }));
        }
        super::faults::draw(&self.settings, rng, &mut first);
        let healed = self.settings.faulty;
        first.push((healed, Happening::Heal));
        first.push((healed + SERVICE, Happening::Quiet));
        first.push((healed + SERVICE + ASK_END, Happening::End));
        first
    }
}
