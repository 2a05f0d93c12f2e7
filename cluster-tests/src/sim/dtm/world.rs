//! The world itself: who gets what, when; faults; and the end of the run.
//!
//! Numbers in the network: processes from 0, then the authority, then the clients.

mod draw;

use std::sync::Arc;

use rand::Rng;
use types::{DtxId, SessionId, ViewNumber};

use super::authority::Authority;
use super::client::{Came, Client, Done, Intent, group_id};
use super::node::{Crossing, Outbox, Process, Seen};
use super::oracle::Oracle;
use super::packet::{Happening, Packet};
use super::settings::{CONVERGENCE, OPERATIONS_A_ROW, RENEWAL, Settings};
use crate::checkers::one_history::OneHistory;
use crate::sim::heap::{MILLISECOND, Micros};
use crate::sim::network::{Network, NodeNumber};
use crate::sim::run::{Clock, World};

/// The authority looks at its clock so often.
const LOOK: Micros = 50 * MILLISECOND;
/// Whether all has converged is asked so often.
const ASK_END: Micros = 250 * MILLISECOND;
/// Clients go on for so long after everything is healed.
const SERVICE: Micros = 500 * MILLISECOND;
/// Most operations of a run without conditions.
const OPERATIONS_MAX: u64 = 4000;

/// What happened in a run, in numbers: a run in which nothing happens proves nothing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize)]
pub struct Counts {
    /// Operations begun.
    pub operations: u64,
    /// Operations answered.
    pub answered: u64,
    /// Processes killed.
    pub kills: u64,
    /// Devices that came back empty.
    pub wipes: u64,
    /// Full copies that began, and that were completed.
    pub copies: (u64, u64),
    /// Views.
    pub views: u64,
    /// Simulated microseconds.
    pub simulated: Micros,
}

impl Counts {
    /// Both together, over the same time.
    #[must_use]
    pub fn and(self, other: Self) -> Self {
        Self {
            operations: self.operations + other.operations,
            answered: self.answered + other.answered,
            kills: self.kills + other.kills,
            wipes: self.wipes + other.wipes,
            copies: (self.copies.0 + other.copies.0, self.copies.1 + other.copies.1),
            views: self.views + other.views,
            simulated: self.simulated.max(other.simulated),
        }
    }
}

/// One group with everything around it.
pub struct GroupWorld {
    /// Its number, where there are several.
    number: u32,
    settings: Settings,
    network: Network,
    pub(super) processes: Vec<Process>,
    pub(super) authority: Authority,
    pub(super) clients: Vec<Client>,
    history: Vec<Done>,
    oracle: Oracle,
    moment: u64,
    healed: bool,
    quiet: bool,
    over: bool,
    /// When each process's machine is called next.
    deadlines: Vec<Option<Micros>>,
    /// What is on its way to other groups.
    pub crossing: Vec<Crossing>,
    /// What was answered and nobody has looked at yet.
    pub answers: Vec<DtxId>,
    /// What happened.
    pub counts: Counts,
}

impl World for GroupWorld {
    type Event = Happening;

    fn handle(&mut self, event: Happening, clock: &mut Clock<'_, Happening>) {
        self.moment += 1;
        self.counts.simulated = clock.now;
        if let Some(node) = concerns(&event) {
            let process = &mut self.processes[node as usize];
            if let Some(event) = process.life.admit(event) {
                self.process_event(node, event, clock);
            }
        } else {
            self.outer_event(event, clock);
        }
    }

    fn violation(&self) -> Option<String> {
        self.oracle.violation.clone()
    }

    fn is_over(&self) -> bool {
        self.over || self.oracle.violation.is_some()
    }
}

/// The process that an event is for, where it needs a live one.
fn concerns(event: &Happening) -> Option<NodeNumber> {
    match event {
        Happening::Turn { node, .. }
        | Happening::Synced { node, .. }
        | Happening::Deadline { node, .. }
        | Happening::Renewal { node, .. } => Some(*node),
        _ => None,
    }
}

impl GroupWorld {
    /// A world in which nothing has happened.
    pub fn new(settings: Settings) -> Self {
        Self::of_several(settings, 0)
    }

    /// The same of one of several groups.
    pub fn of_several(settings: Settings, number: u32) -> Self {
        let config = Arc::new(settings.machine.clone());
        let drift = |n: u32| settings.drift_ppm.get(n as usize).copied().unwrap_or(0);
        let oracle = Oracle::new(settings.copies);
        let processes: Vec<Process> =
            (0..settings.replicas).map(|n| Process::new(group_id(number), n, drift(n), settings.pipelined, Arc::clone(&config))).collect();
        Self {
            network: Network::new(settings.swarm.network.clone()),
            authority: Authority::new(settings.replicas, drift(settings.replicas)),
            clients: (0..settings.clients).map(|c| client(&settings, number, c)).collect(),
            deadlines: vec![None; processes.len()],
            processes,
            number,
            settings,
            crossing: Vec::new(),
            answers: Vec::new(),
            history: Vec::new(),
            oracle,
            moment: 0,
            healed: false,
            quiet: false,
            over: false,
            counts: Counts::default(),
        }
    }

    fn process_event(&mut self, node: NodeNumber, event: Happening, clock: &mut Clock<'_, Happening>) {
        let (now, mut out) = (clock.now, Outbox::default());
        let process = &mut self.processes[node as usize];
        let same = |start: u64| start == process.life.start;
        match event {
            Happening::Deliver { from, packet: Packet::Lost { boot }, .. } => {
                if process.boot() == Some(boot) && from == self.settings.replicas {
                    return self.kill(node, 1000, true, clock);
                }
            }
            Happening::Deliver { from, packet, .. } => process.receive(from, packet, now, &mut out),
            Happening::Turn { start, .. } if same(start) => process.turn(now, &mut out),
            Happening::Synced { start, ticket, .. } if same(start) => process.synced(ticket, now, &mut out),
            Happening::Deadline { start, .. } if same(start) => {
                if self.deadlines[node as usize].is_some_and(|at| at <= now) {
                    self.deadlines[node as usize] = None;
                    process.tick(&mut out);
                }
            }
            Happening::Renewal { start, .. } if same(start) => {
                let authority = self.settings.replicas;
                out.packets.extend(process.renewal(now).into_iter().map(|packet| (authority, packet)));
                clock.after(RENEWAL, Happening::Renewal { node, start });
            }
            _ => return,
        }
        self.carry(node, out, clock);
    }

    /// Carries out what a process wants.
    fn carry(&mut self, node: NodeNumber, out: Outbox, clock: &mut Clock<'_, Happening>) {
        let start = self.processes[node as usize].life.start;
        for (to, packet) in out.packets {
            self.send(node, to, packet, clock);
        }
        if out.turn {
            let delay = clock.rng.random_range(1..=30);
            clock.after(delay, Happening::Turn { node, start });
        }
        for ticket in out.syncs {
            let delay = clock.rng.random_range(self.settings.swarm.sync_min..=self.settings.swarm.sync_max);
            clock.after(delay, Happening::Synced { node, start, ticket });
        }
        let known = &mut self.deadlines[node as usize];
        if let Some(at) = out.deadline
            && known.is_none_or(|known| at < known || known < clock.now)
        {
            *known = Some(at);
            clock.at(at, Happening::Deadline { node, start });
        }
        self.crossing.extend(out.crossing);
        let answer = |seen: &Seen| if let Seen::Answered(dtx, Ok(_)) = seen { Some(*dtx) } else { None };
        self.answers.extend(out.seen.iter().filter_map(answer));
        self.counts.answered += out.seen.iter().filter(|s| matches!(s, Seen::Answered(_, Ok(_)))).count() as u64;
        self.counts.copies.0 += out.seen.iter().filter(|s| matches!(s, Seen::CopyBegun)).count() as u64;
        self.counts.copies.1 += out.seen.iter().filter(|s| matches!(s, Seen::Filled(applied) if applied.0 > 0)).count() as u64;
        self.oracle.look(node as usize, out.seen, &self.processes);
    }

    fn send(&mut self, from: NodeNumber, to: NodeNumber, packet: Packet, clock: &mut Clock<'_, Happening>) {
        for at in self.network.route(clock.now, from, to, clock.rng) {
            clock.at(at, Happening::Deliver { from, to, packet: packet.clone() });
        }
    }

    fn outer_event(&mut self, event: Happening, clock: &mut Clock<'_, Happening>) {
        match event {
            Happening::Deliver { from, to, packet } => self.deliver(from, to, packet, clock),
            Happening::Look => {
                self.authority_does(clock, |authority, now| authority.look(now));
                clock.after(LOOK, Happening::Look);
            }
            Happening::Begin { client, intent } => self.begin(client, intent, clock),
            Happening::Impatient { client, call } => self.impatient(client, call, clock),
            Happening::Kill { node, kept_per_mille, seen } if !self.healed && !self.processes[node as usize].life.is_down() => {
                self.kill(node, kept_per_mille, seen, clock);
            }
            Happening::Wipe { node } if !self.healed => self.wipe(node, clock),
            Happening::Start { node } => self.start(node, clock),
            Happening::Pause { node } if !self.healed => self.processes[node as usize].life.pause(),
            Happening::Resume { node } => self.resume(node, clock),
            Happening::Cut { pairs } if !self.healed => pairs.iter().for_each(|(from, to)| self.network.cut(*from, *to)),
            Happening::Mend { pairs } => pairs.iter().for_each(|(from, to)| self.network.mend(*from, *to)),
            Happening::MoveView { steps } if !self.healed => self.authority_does(clock, |a, now| a.move_view(steps, now)),
            Happening::Heal => self.heal(clock),
            Happening::Quiet => self.quiet = true,
            Happening::End => self.end(clock),
            _ => {}
        }
    }

    fn deliver(&mut self, from: NodeNumber, to: NodeNumber, packet: Packet, clock: &mut Clock<'_, Happening>) {
        if self.network.is_cut(from, to) {
            return;
        }
        let authority = self.settings.replicas;
        if to < authority {
            let event = Happening::Deliver { from, to, packet };
            if let Some(event) = self.processes[to as usize].life.admit(event) {
                self.process_event(to, event, clock);
            }
        } else if to == authority {
            if matches!(packet, Packet::NeedsCopy { .. }) && !self.spares_one() {
                // A device was lost, of which it does not know yet: with this one there would be too many.
                return;
            }
            let registers = matches!(packet, Packet::Register { .. });
            let before = self.authority.epoch();
            let mut replies = Vec::new();
            self.authority_does(clock, |authority, now| replies = authority.receive(from, &packet, now));
            if registers && self.authority.epoch() > before {
                // The epoch that announces it is the first of those that this raised.
                self.oracle.announce(before.next());
            }
            for reply in replies {
                self.send(authority, from, reply, clock);
            }
        } else {
            self.deliver_to_client(to - authority - 1, packet, clock);
        }
    }

    /// Lets the authority do something, and tells everybody if that changed anything.
    fn authority_does(&mut self, clock: &mut Clock<'_, Happening>, what: impl FnOnce(&mut Authority, Micros)) {
        let before = self.authority.epoch();
        what(&mut self.authority, clock.now);
        if self.authority.epoch() > before {
            let placement = self.authority.placement();
            self.counts.views = self.counts.views.max(placement.number.0);
            let authority = self.settings.replicas;
            for to in (0..authority).chain(self.clients.iter().map(|c| c.number).collect::<Vec<_>>()) {
                self.send(authority, to, Packet::Placement(Box::new(placement.clone())), clock);
            }
        }
    }

    fn begin(&mut self, number: u32, intent: Intent, clock: &mut Clock<'_, Happening>) {
        let most = if self.settings.conditional_percent > 0 { OPERATIONS_A_ROW * self.settings.rows } else { OPERATIONS_MAX };
        let client = &mut self.clients[number as usize];
        if self.quiet || client.is_waiting() || self.counts.operations >= most {
            return;
        }
        self.counts.operations += 1;
        let value = self.counts.operations;
        let (to, packet) = client.begin(intent, value, clock.now, self.moment, &mut self.history);
        let from = client.number;
        if let Some((call, again)) = client.waits_for() {
            clock.after(again, Happening::Impatient { client: number, call });
        }
        self.send(from, to, packet, clock);
    }

    fn impatient(&mut self, number: u32, call: u64, clock: &mut Clock<'_, Happening>) {
        let healed = self.healed;
        let client = &mut self.clients[number as usize];
        let Some((waits_for, again)) = client.waits_for() else { return };
        if waits_for != call {
            return;
        }
        let from = client.number;
        match client.impatient(call, clock.now, !healed) {
            Some((to, packet)) => {
                let authority = self.settings.replicas;
                clock.after(again, Happening::Impatient { client: number, call });
                self.send(from, authority, Packet::Map, clock);
                self.send(from, to, packet, clock);
            }
            None => self.next(number, clock),
        }
    }

    /// A client thinks of something new.
    fn next(&mut self, number: u32, clock: &mut Clock<'_, Happening>) {
        let intent = self.intent(clock.rng);
        let pause = clock.rng.random_range(0..=2 * self.settings.think);
        clock.after(pause, Happening::Begin { client: number, intent });
    }

    fn deliver_to_client(&mut self, number: u32, packet: Packet, clock: &mut Clock<'_, Happening>) {
        let client = &mut self.clients[number as usize];
        if let Packet::Placement(placement) = &packet {
            return client.learn(placement);
        }
        match client.receive(&packet, self.moment, &mut self.history) {
            Came::Nothing => {}
            Came::Again => {
                let (from, authority) = (client.number, self.settings.replicas);
                self.send(from, authority, Packet::Map, clock);
            }
            Came::Over => self.next(number, clock),
            Came::Next(to, packet) => {
                let from = client.number;
                self.send(from, to, packet, clock);
            }
            Came::Broken(what) => self.oracle.fail(what),
        }
    }

    fn kill(&mut self, node: NodeNumber, kept_per_mille: u64, seen: bool, clock: &mut Clock<'_, Happening>) {
        self.counts.kills += 1;
        let process = &mut self.processes[node as usize];
        let start = process.life.start;
        process.kill(kept_per_mille);
        self.deadlines[node as usize] = None;
        if seen {
            self.authority_does(clock, |authority, now| authority.died(node, start, now));
        }
        // Somebody always starts it again, some time; a fault that names a moment may be earlier.
        clock.after(100 * MILLISECOND, Happening::Start { node });
    }

    /// Whether f+1 devices are whole without one of them: those that were lost, that are filled anew, and that no log is kept for, are not.
    fn spares_one(&self) -> bool {
        let is_partial = |p: &&Process| p.is_blank() || p.is_refilled() || self.authority.is_partial(p.number);
        self.processes.iter().filter(is_partial).count() < (self.processes.len() - 1) / 2
    }

    /// A device is lost: never so many at once that what is STABLE could be.
    fn wipe(&mut self, node: NodeNumber, clock: &mut Clock<'_, Happening>) {
        if !self.spares_one() {
            return;
        }
        if !self.processes[node as usize].life.is_down() {
            self.kill(node, 0, false, clock);
        }
        self.counts.wipes += 1;
        self.processes[node as usize].wipe();
    }

    fn start(&mut self, node: NodeNumber, clock: &mut Clock<'_, Happening>) {
        let process = &mut self.processes[node as usize];
        if process.life.is_down() {
            process.life.restart();
            let start = process.life.start;
            clock.after(0, Happening::Renewal { node, start });
        }
    }

    fn resume(&mut self, node: NodeNumber, clock: &mut Clock<'_, Happening>) {
        for event in self.processes[node as usize].life.resume() {
            if let Some(event) = self.processes[node as usize].life.admit(event) {
                self.process_event(node, event, clock);
            }
        }
    }

    fn heal(&mut self, clock: &mut Clock<'_, Happening>) {
        self.healed = true;
        self.network.heal();
        for node in 0..self.settings.replicas {
            self.resume(node, clock);
            self.start(node, clock);
        }
    }

    fn end(&mut self, clock: &mut Clock<'_, Happening>) {
        if self.is_settled() {
            self.finish();
        } else if clock.now > self.settings.faulty + CONVERGENCE {
            self.give_up();
        } else {
            clock.after(ASK_END, Happening::End);
        }
    }

    /// Whether nobody waits for anything, and all replicas are the same.
    pub fn is_settled(&self) -> bool {
        let unfinished = self.processes.iter().filter_map(|p| p.replica.as_ref()).any(|replica| replica.unfinished() > 0);
        let waiting = self.clients.iter().any(Client::is_waiting);
        !waiting && !unfinished && self.authority.is_well() && Oracle::is_converged(&self.processes)
    }

    /// It is settled: looks at what can only be said at the end.
    pub fn finish(&mut self) {
        self.over = true;
        if let Err(error) = self.oracle.finish(&self.history, &self.processes) {
            self.oracle.fail(error);
        }
    }

    /// It does not come to rest.
    pub fn give_up(&mut self) {
        let waiting = self.clients.iter().filter(|c| c.is_waiting()).count();
        let states: Vec<String> = self.processes.iter().map(|p| format!("{:?}", p.replica.as_ref().map(summary))).collect();
        self.oracle.fail(format!(
            "progress: not converged {} s after healing; {waiting} clients wait; authority {:?}; replicas {states:?}",
            CONVERGENCE / 1_000_000,
            self.authority
        ));
    }

    /// What was ever applied in it.
    pub fn applied(&self) -> &OneHistory {
        &self.oracle.history
    }

    /// The primary of its present view, and that.
    pub fn primary(&self) -> Option<(NodeNumber, ViewNumber)> {
        let placement = self.authority.placement();
        placement.primary.map(|(device, _)| (device.0 - 1, placement.number))
    }

    /// Its processes.
    pub fn processes(&self) -> &[Process] {
        &self.processes
    }
}

fn client(settings: &Settings, group: u32, number: u32) -> Client {
    let in_network = settings.replicas + 1 + number;
    Client::new(in_network, settings.replicas, SessionId(u64::from(group) * 1000 + u64::from(in_network)))
}

/// A replica in a few words.
pub(super) fn summary(replica: &dtm::Replica) -> String {
    format!(
        "promised {} normal {:?} log {:?} stable {} applied {} active {} ended {:?} unfinished {}",
        replica.promised(),
        replica.normal(),
        replica.log_range(),
        replica.stable(),
        replica.applied(),
        replica.is_active(),
        replica.ended(),
        replica.unfinished()
    )
}
