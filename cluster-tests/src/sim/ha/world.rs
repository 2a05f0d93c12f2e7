//! The world itself: who gets what, when; faults; and, in `exam`, the end of the run.

use ha_state::term::NotRenewed;
use ha_state::{Change, Done, LossReason, Outcome};
use rand::Rng;
use rand_chacha::ChaCha8Rng;

use super::daemon::{Daemon, Waiting};
use super::exam::Stage;
use super::oracle::Oracle;
use super::packet::{Happening, Packet, Reply, Request};
use super::process::Process;
use super::raft::Raft;
use super::settings::{HOSTS, PLACERS, Settings, Without, node_of};
use crate::sim::heap::{MILLISECOND, Micros};
use crate::sim::network::{Network, NodeNumber};
use crate::sim::run::{Clock, World};

pub(super) const RENEWAL: Micros = 200 * MILLISECOND;
pub(super) const BEAT: Micros = 50 * MILLISECOND;
pub(super) const LOOK: Micros = 10 * MILLISECOND;
/// A daemon says again so often that the process beside it has ended, until the log has it.
const END_AGAIN: Micros = 30 * MILLISECOND;
/// Most entries of one answer.
const ENTRIES_MAX: u64 = 64;
/// A daemon without word of a leader for so long does not answer subscribers.
const OUT_OF_TOUCH: Micros = 2000 * MILLISECOND;

/// What happened in a run, in numbers: a run in which nothing happens proves nothing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Processes and daemons killed.
    pub kills: u64,
    /// Leaders elected.
    pub elections: u64,
    /// Entries of the log.
    pub entries: u64,
    /// Processes declared lost because their lease was over.
    pub expired: u64,
    /// Leases granted.
    pub grants: u64,
    /// Devices given up because they were away.
    pub given_up: u64,
    /// Simulated microseconds.
    pub simulated: Micros,
}

/// HA with everything around it.
pub struct HaWorld {
    pub(super) settings: Settings,
    pub(super) network: Network,
    pub(super) processes: Vec<Process>,
    pub(super) daemons: Vec<Daemon>,
    pub(super) raft: Raft,
    pub(super) oracle: Oracle,
    pub(super) healed: bool,
    pub(super) stage: Stage,
    /// What happened.
    pub counts: Counts,
}

type Time<'a, 'b> = &'a mut Clock<'b, Happening>;

impl World for HaWorld {
    type Event = Happening;

    fn handle(&mut self, event: Happening, clock: Time<'_, '_>) {
        self.counts.simulated = clock.now;
        match concerns(&event) {
            Some(node) => {
                if let Some(event) = self.admit(node, event) {
                    self.inner(node, event, clock);
                }
            }
            None => self.outer(event, clock),
        }
        self.oracle.look(&mut self.processes, clock.now);
    }

    fn violation(&self) -> Option<String> {
        self.oracle.violation.clone()
    }

    fn is_over(&self) -> bool {
        self.stage == Stage::Over || self.oracle.violation.is_some()
    }
}

/// The process or daemon that an event is for, where it needs a live one.
fn concerns(event: &Happening) -> Option<NodeNumber> {
    match event {
        Happening::Renewal { node, .. }
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

impl HaWorld {
    fn admit(&mut self, node: NodeNumber, event: Happening) -> Option<Happening> {
        match self.daemons.get_mut(node.wrapping_sub(HOSTS) as usize) {
            Some(daemon) => daemon.life.admit(event),
            None => self.processes[node as usize].life.admit(event),
        }
    }

    pub(super) fn daemon(&mut self, node: NodeNumber) -> &mut Daemon {
        &mut self.daemons[(node - HOSTS) as usize]
    }

    /// A quorum of daemons that a daemon can talk with both ways stands behind it.
    fn has_quorum(&self, node: NodeNumber) -> bool {
        let host = node % HOSTS;
        let answers = |other: NodeNumber| {
            let cut = other != host && (self.network.is_cut(host, other) || self.network.is_cut(other, host));
            !cut && self.daemons[other as usize].life.is_up()
        };
        (0..HOSTS).filter(|other| answers(*other)).count() as u32 > HOSTS / 2
    }

    fn inner(&mut self, node: NodeNumber, event: Happening, clock: Time<'_, '_>) {
        match event {
            Happening::Deliver { from, packet, .. } => self.receive(node, from, packet, clock),
            Happening::Renewal { start, .. } if start == self.processes[node as usize].life.start => {
                let process = &mut self.processes[node as usize];
                let request = process.renewal(clock.now);
                let (via, stop) = (process.daemon, process.stops_when_it_asks.take_if(|_| matches!(request, Request::Renew { .. })));
                if let Some(stop) = stop {
                    clock.after(0, Happening::Pause { node });
                    clock.after(stop, Happening::Resume { node });
                }
                self.send(node, via, Packet::Ask { from: node, via, request }, clock);
                clock.after(RENEWAL, Happening::Renewal { node, start });
            }
            Happening::Poll { start, .. } if start == self.processes[node as usize].life.start => self.poll(node, start, clock),
            Happening::Beat { term, .. } if self.daemon(node).leads(term) => self.beat(node, term, clock),
            Happening::Written { term, upto, .. } if self.daemon(node).leads(term) => self.written(node, term, upto, clock),
            Happening::Confirmed { term, read, from, via, request, .. } if self.daemon(node).leads(term) => {
                let early = self.daemon(node).state.index() < read;
                if early {
                    clock.after(MILLISECOND, Happening::Confirmed { node, term, read, from, via, request });
                } else {
                    self.grant(node, from, via, &request, clock);
                }
            }
            Happening::Look { term, .. } if self.daemon(node).leads(term) => {
                let commands = self.daemon(node).look(clock.now, PLACERS);
                let expired = |c: &&ha_state::Command| matches!(c.change, Change::ProcessLost { reason: LossReason::LeaseExpired, .. });
                self.counts.expired += commands.iter().filter(expired).count() as u64;
                let mut upto = 0;
                for command in commands {
                    upto = self.raft.append(term, command).unwrap_or(u64::MAX);
                }
                if upto > 0 {
                    self.daemon(node).note_proposed(upto, clock.now);
                    self.write(node, term, clock);
                }
                clock.after(LOOK, Happening::Look { node, term });
            }
            Happening::Election { start, silence, survive, .. } if start == self.daemon(node).life.start => {
                if clock.now >= self.daemon(node).heard + silence {
                    self.elect(node, survive, clock);
                }
                self.schedule_election(node, start, clock);
            }
            Happening::SeeEnd { start, boot, .. } if start == self.daemon(node).life.start && self.daemon(node).is_live(boot) => {
                let change = Change::ProcessLost { node: node_of(node % HOSTS), boot, reason: LossReason::Ended };
                self.ask(node, node, node, Request::Report(change), clock);
                clock.after(END_AGAIN, Happening::SeeEnd { node, start, boot });
            }
            _ => {}
        }
    }

    fn poll(&mut self, node: NodeNumber, start: u64, clock: Time<'_, '_>) {
        let process = &mut self.processes[node as usize];
        let (via, after) = (process.daemon, process.state.index());
        let reports = process.reports(clock.now);
        self.send(node, via, Packet::Follow { after }, clock);
        for change in reports {
            self.send(node, via, Packet::Ask { from: node, via, request: Request::Report(change) }, clock);
        }
        clock.after(self.settings.follow, Happening::Poll { node, start });
    }

    /// A quorum that answers has all that was appended.
    fn beat(&mut self, node: NodeNumber, term: u64, clock: Time<'_, '_>) {
        self.write(node, term, clock);
        self.append_all(node, term, clock);
        clock.after(BEAT, Happening::Beat { node, term });
    }

    fn append_all(&mut self, node: NodeNumber, term: u64, clock: Time<'_, '_>) {
        let committed = self.daemon(node).state.index();
        for to in (HOSTS..2 * HOSTS).filter(|to| *to != node) {
            self.send(node, to, Packet::Append { term, committed }, clock);
        }
    }

    fn write(&mut self, node: NodeNumber, term: u64, clock: Time<'_, '_>) {
        let slow = if clock.rng.random_bool(0.05) && !self.healed { 60 } else { 4 };
        let delay = clock.rng.random_range(300..=slow * MILLISECOND);
        clock.after(delay, Happening::Written { node, term, upto: self.raft.last() });
    }

    fn written(&mut self, node: NodeNumber, term: u64, upto: u64, clock: Time<'_, '_>) {
        if self.raft.term() != term || !self.has_quorum(node) {
            return;
        }
        let now = clock.now;
        let daemon = self.daemon(node);
        daemon.acked = Some(daemon.clock.at(now));
        self.raft.commit(term, upto);
        self.counts.entries = self.raft.committed();
        self.oracle.advance(&self.raft, &mut self.processes, now);
        self.counts.given_up = self.oracle.given_up;
        if self.apply(node, self.raft.committed(), clock) {
            self.append_all(node, term, clock);
        }
    }

    /// A daemon applies what it knows to be kept for good; whether that was anything.
    fn apply(&mut self, node: NodeNumber, upto: u64, clock: Time<'_, '_>) -> bool {
        let daemon = &mut self.daemons[(node - HOSTS) as usize];
        let before = daemon.state.index();
        let mut outcomes: Vec<(u64, Option<Outcome>)> = Vec::new();
        let oracle = &mut self.oracle;
        daemon.apply(&self.raft, upto, |index, state, outcome| {
            oracle.same("a daemon", state);
            outcomes.push((index, outcome));
        });
        let moved = daemon.state.index() > before;
        let mut answers = Vec::new();
        for (index, outcome) in outcomes {
            if let (Some(waiting), Some(Ok(Done::Registered(registered)))) = (daemon.waiting.remove(&index), outcome) {
                let formats = registered.devices.iter().filter_map(|(id, verdict)| match verdict {
                    ha_state::Verdict::Format(incarnation) => Some((*id, *incarnation)),
                    _ => None,
                });
                let reply = Reply::Registered { nonce: waiting.nonce, boot: registered.boot, formats: formats.collect() };
                answers.push((waiting, reply));
            }
        }
        for (waiting, reply) in answers {
            self.answer(node, waiting.via, waiting.from, reply, clock);
        }
        moved
    }

    pub(super) fn elect(&mut self, node: NodeNumber, survive: u64, clock: Time<'_, '_>) {
        let present = self.raft.term();
        let leads = self.raft.leader() == Some(node) && self.daemon(node).leads(present);
        if leads || !self.has_quorum(node) {
            return;
        }
        self.counts.elections += 1;
        let term = self.raft.elect(node, survive);
        let wait = self.settings.without != Some(Without::ElectionWait);
        self.daemon(node).lead(term, node, clock.now, wait);
        self.beat(node, term, clock);
        clock.after(LOOK, Happening::Look { node, term });
    }

    pub(super) fn schedule_election(&mut self, node: NodeNumber, start: u64, clock: Time<'_, '_>) {
        let silence = clock.rng.random_range(150..=300) * MILLISECOND;
        let survive = clock.rng.random_range(0..=3);
        clock.after(silence, Happening::Election { node, start, silence, survive });
    }

    fn send(&mut self, from: NodeNumber, to: NodeNumber, packet: Packet, clock: Time<'_, '_>) {
        let (a, b) = (from % HOSTS, to % HOSTS);
        let arrivals =
            if a == b { vec![clock.now + clock.rng.random_range(20..=200)] } else { self.network.route(clock.now, a, b, clock.rng) };
        for at in arrivals {
            clock.at(at, Happening::Deliver { from, to, packet: packet.clone() });
        }
    }

    fn answer(&mut self, node: NodeNumber, via: NodeNumber, to: NodeNumber, reply: Reply, clock: Time<'_, '_>) {
        let next = if via == node { to } else { via };
        self.send(node, next, Packet::Answer { to, reply }, clock);
    }

    fn receive(&mut self, node: NodeNumber, from: NodeNumber, packet: Packet, clock: Time<'_, '_>) {
        match packet {
            Packet::Answer { to, reply } if to == node && node < HOSTS => {
                let oracle = &mut self.oracle;
                self.processes[node as usize].receive(reply, clock.now, |state| oracle.same("a process", state));
            }
            Packet::Answer { to, reply } if node >= HOSTS => self.send(node, to, Packet::Answer { to, reply }, clock),
            Packet::Ask { from, via, request } if node >= HOSTS => self.ask(node, from, via, request, clock),
            Packet::Follow { after } if node >= HOSTS => {
                let daemon = self.daemon(node);
                if clock.now > daemon.heard + OUT_OF_TOUCH && daemon.term.is_none() {
                    return;
                }
                let applied = daemon.state.index();
                let reply = if after == 0 && applied > 0 {
                    Reply::Snapshot(daemon.state.encode())
                } else {
                    let entry = |index| (index, self.raft.entry(index).1.map(ha_state::Command::encode));
                    Reply::Entries((after + 1..=applied.min(after + ENTRIES_MAX)).map(entry).collect())
                };
                self.answer(node, node, from, reply, clock);
            }
            Packet::Append { term, committed } if node >= HOSTS => {
                let daemon = self.daemon(node);
                if term < daemon.known.0 || daemon.leads(term) {
                    return;
                }
                daemon.heard = clock.now;
                if term > daemon.known.0 || daemon.known.1 != Some(from) {
                    daemon.follow(term, Some(from));
                }
                self.apply(node, committed, clock);
            }
            _ => {}
        }
    }

    /// A request reaches a daemon: the leader takes it, another one passes it on.
    fn ask(&mut self, node: NodeNumber, from: NodeNumber, via: NodeNumber, request: Request, clock: Time<'_, '_>) {
        let Some(term) = self.daemon(node).term.as_ref().map(ha_state::term::Term::number) else {
            let leader = self.daemon(node).known.1.filter(|leader| *leader != node && via == node);
            if let Some(leader) = leader {
                self.send(node, leader, Packet::Ask { from, via, request }, clock);
            }
            return;
        };
        match request {
            Request::Renew { .. } => {
                let (there, back) = (clock.rng.random_range(50..=1000), clock.rng.random_range(50..=1000));
                clock.after(there, Happening::Confirm { node, term, from, via, request, back });
            }
            Request::Register { start, nonce, devices } => {
                // A registration goes with the connection of the process that made it.
                let process = &self.processes[from as usize];
                let own = process.life.start == start && process.nonce == nonce && !process.life.is_down();
                if !own && self.settings.without != Some(Without::OwnRegistration) {
                    return;
                }
                let change = Change::RegisterProcess { node: node_of(from), pid: start as u32, nonce, devices };
                if let Some(index) = self.propose(node, change, clock) {
                    self.daemon(node).waiting.insert(index, Waiting { from, via, nonce });
                }
            }
            Request::Report(change) => drop(self.propose(node, change, clock)),
        }
    }

    pub(super) fn propose(&mut self, node: NodeNumber, change: Change, clock: Time<'_, '_>) -> Option<u64> {
        let now = clock.now;
        let (term, command) = self.daemon(node).command(change, now)?;
        let index = self.raft.append(term, command)?;
        self.write(node, term, clock);
        Some(index)
    }

    fn grant(&mut self, node: NodeNumber, from: NodeNumber, via: NodeNumber, request: &Request, clock: Time<'_, '_>) {
        let &Request::Renew { boot, confirmed, sent } = request else { return };
        let Daemon { clock: own, state, term, .. } = self.daemon(node);
        let Some(term) = term else { return };
        let reply = match term.renew(state, node_of(from), boot, confirmed, own.at(clock.now)) {
            Ok(epoch) => Reply::Granted { boot, sent, epoch },
            Err(NotRenewed::OldBoot) => Reply::OldBoot { boot },
            Err(NotRenewed::Condemned) => return,
        };
        self.counts.grants += 1;
        self.answer(node, via, from, reply, clock);
    }

    fn outer(&mut self, event: Happening, clock: Time<'_, '_>) {
        match event {
            Happening::Deliver { from, to, packet } => {
                if !self.network.is_cut(from % HOSTS, to % HOSTS)
                    && let Some(Happening::Deliver { packet, .. }) = self.admit(to, Happening::Deliver { from, to, packet })
                {
                    self.receive(to, from, packet, clock);
                }
            }
            Happening::Confirm { node, term, from, via, request, back } => {
                let skips = self.settings.without == Some(Without::Quorum);
                let read = self.raft.read_index(term).filter(|_| self.has_quorum(node)).or(skips.then_some(0));
                if let Some(read) = read {
                    clock.after(back, Happening::Confirmed { node, term, read, from, via, request });
                }
            }
            Happening::Kill { node, seen } if !self.healed => self.kill(node, seen, clock),
            Happening::Start { node } => self.start(node, clock),
            Happening::Pause { node } if !self.healed => self.pause(node),
            Happening::Resume { node } => self.resume(node, clock),
            Happening::Cut { pairs } if !self.healed => pairs.iter().for_each(|(a, b)| self.network.cut(*a, *b)),
            Happening::Mend { pairs } => pairs.iter().for_each(|(a, b)| self.network.mend(*a, *b)),
            Happening::Play { scene, choice } if !self.healed => self.scene(scene, choice, clock),
            Happening::Do { whim, choice } if !self.healed => self.whim(whim, choice, clock),
            Happening::Heal => {
                self.healed = true;
                self.network.heal();
                for process in &mut self.processes {
                    (process.hears_again, process.stops_when_it_asks) = (0, None);
                    process.disks.values_mut().for_each(|disk| disk.hangs = false);
                }
                for node in 0..2 * HOSTS {
                    self.resume(node, clock);
                    self.start(node, clock);
                }
            }
            Happening::End => self.examine(clock),
            _ => {}
        }
    }

    pub(super) fn kill(&mut self, node: NodeNumber, seen: Micros, clock: Time<'_, '_>) {
        self.counts.kills += 1;
        if node >= HOSTS {
            let daemon = self.daemon(node);
            daemon.term = None;
            return daemon.life.kill();
        }
        let process = &mut self.processes[node as usize];
        let boot = process.boot.filter(|_| !process.life.is_down());
        process.life.kill();
        let start = self.daemon(HOSTS + node).life.start;
        if let Some(boot) = boot {
            clock.after(seen, Happening::SeeEnd { node: HOSTS + node, start, boot });
        }
    }

    pub(super) fn start(&mut self, node: NodeNumber, clock: Time<'_, '_>) {
        if node >= HOSTS && self.daemon(node).life.is_down() {
            self.daemon(node).start(clock.now);
            let start = self.daemon(node).life.start;
            self.schedule_election(node, start, clock);
        } else if node < HOSTS && self.processes[node as usize].life.is_down() {
            let process = &mut self.processes[node as usize];
            process.start(clock.now);
            let start = process.life.start;
            clock.after(MILLISECOND, Happening::Renewal { node, start });
            clock.after(MILLISECOND, Happening::Poll { node, start });
        }
    }

    pub(super) fn pause(&mut self, node: NodeNumber) {
        if node >= HOSTS {
            self.daemon(node).life.pause();
        } else {
            self.processes[node as usize].life.pause();
        }
    }

    pub(super) fn resume(&mut self, node: NodeNumber, clock: Time<'_, '_>) {
        let waiting = if node >= HOSTS { self.daemon(node).life.resume() } else { self.processes[node as usize].life.resume() };
        for event in waiting {
            // Before it looks at anything else it may serve as what it was: that is what a lease is for.
            self.oracle.look(&mut self.processes, clock.now);
            match event {
                Happening::Deliver { from, packet, .. } => self.receive(node, from, packet, clock),
                event => self.inner(node, event, clock),
            }
        }
    }

    /// What happens to begin with: starts, and every fault of the run.
    pub fn first(&self, rng: &mut ChaCha8Rng) -> Vec<(Micros, Happening)> {
        super::faults::first(&self.settings, rng)
    }
}
