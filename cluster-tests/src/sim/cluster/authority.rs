//! HA in the world of a whole cluster: the shipped state, director, term and leases on simulated daemons, over a small model of Raft's log,
//! as in the world of HA alone ([`crate::sim::ha`]).

use ha_state::term::{NotRenewed, Term};
use ha_state::{Change, Command, Done, LossReason, Outcome};
use rand::Rng;
use types::map::CatalogueKind;

use super::packet::{Happening, Packet, Reply, Request};
use super::settings::{META, PLACERS, node_of};
use super::world::{ClusterWorld, Time};
use crate::sim::ha::daemon::{Daemon, Waiting};
use crate::sim::heap::{MILLISECOND, Micros};
use crate::sim::network::NodeNumber;

const BEAT: Micros = 50 * MILLISECOND;
const LOOK: Micros = 10 * MILLISECOND;
/// A daemon says again so often that the process beside it has ended, until the log has it.
const END_AGAIN: Micros = 30 * MILLISECOND;
/// Most entries of one answer.
const ENTRIES_MAX: u64 = 64;
/// A daemon without word of a leader for so long does not answer subscribers.
const OUT_OF_TOUCH: Micros = 2000 * MILLISECOND;

impl ClusterWorld {
    pub(super) fn daemon(&mut self, node: NodeNumber) -> &mut Daemon<Happening> {
        &mut self.daemons[(node - self.settings.nodes) as usize]
    }

    fn daemon_numbers(&self) -> std::ops::Range<NodeNumber> {
        self.settings.nodes..self.settings.nodes + self.settings.voters
    }

    /// A quorum of daemons that a daemon can talk with both ways stands behind it.
    fn has_quorum(&self, node: NodeNumber) -> bool {
        let host = self.host_of(node);
        let answers = |other: NodeNumber| {
            let cut = other != host && (self.network.is_cut(host, other) || self.network.is_cut(other, host));
            !cut && self.daemons[other as usize].life.is_up()
        };
        (0..self.settings.voters).filter(|other| answers(*other)).count() as u32 > self.settings.voters / 2
    }

    /// Something happens in a daemon that lives.
    pub(super) fn in_daemon(&mut self, node: NodeNumber, event: Happening, clock: Time<'_, '_>) {
        match event {
            Happening::Beat { term, .. } if self.daemon(node).leads(term) => {
                self.write(node, term, clock);
                self.append_all(node, term, clock);
                clock.after(BEAT, Happening::Beat { node, term });
            }
            Happening::Written { term, upto, .. } if self.daemon(node).leads(term) => self.written(node, term, upto, clock),
            Happening::Confirmed { term, read, from, via, request, .. } if self.daemon(node).leads(term) => {
                let early = self.daemon(node).state.index() < read;
                if early {
                    clock.after(MILLISECOND, Happening::Confirmed { node, term, read, from, via, request });
                } else {
                    self.grant(node, from, via, &request, clock);
                }
            }
            Happening::Look { term, .. } if self.daemon(node).leads(term) => self.look_what_to_propose(node, term, clock),
            Happening::Election { start, silence, survive, .. } if start == self.daemon(node).life.start => {
                if clock.now >= self.daemon(node).heard + silence {
                    self.elect(node, survive, clock);
                }
                self.schedule_election(node, start, clock);
            }
            Happening::SeeEnd { start, boot, .. } if start == self.daemon(node).life.start && self.daemon(node).is_live(boot) => {
                let change = Change::ProcessLost { node: node_of(self.host_of(node)), boot, reason: LossReason::Ended };
                self.ask(node, node, node, Request::Report(change), clock);
                clock.after(END_AGAIN, Happening::SeeEnd { node, start, boot });
            }
            _ => {}
        }
    }

    fn look_what_to_propose(&mut self, node: NodeNumber, term: u64, clock: Time<'_, '_>) {
        let commands = self.daemon(node).look(clock.now, PLACERS);
        let mut upto = 0;
        for command in commands {
            upto = self.raft.append(term, command).unwrap_or(u64::MAX);
        }
        if upto > 0 {
            self.daemon(node).note_proposed(upto, clock.now);
            self.write(node, term, clock);
        }
        let map = self.daemon(node).state.map();
        if map.catalogues.is_empty() && map.pools.get(&META).is_some_and(|pool| pool.groups > 0) {
            let change = Change::CreateCatalogue { name: "rows".into(), kind: CatalogueKind::Index, pool: Some(META), width: 0 };
            self.propose(node, change, clock);
        }
        clock.after(LOOK, Happening::Look { node, term });
    }

    fn append_all(&mut self, node: NodeNumber, term: u64, clock: Time<'_, '_>) {
        let committed = self.daemon(node).state.index();
        for to in self.daemon_numbers().filter(|to| *to != node) {
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
        if self.apply(node, self.raft.committed(), clock) {
            self.append_all(node, term, clock);
        }
    }

    /// A daemon applies what it knows to be kept for good; whether that was anything.
    fn apply(&mut self, node: NodeNumber, upto: u64, clock: Time<'_, '_>) -> bool {
        let daemon = &mut self.daemons[(node - self.settings.nodes) as usize];
        let before = daemon.state.index();
        let mut outcomes: Vec<(u64, Option<Outcome>)> = Vec::new();
        let oracle = &mut self.oracle;
        daemon.apply(&self.raft, upto, |index, state, outcome| {
            oracle.same_state(node, state);
            outcomes.push((index, outcome));
        });
        let moved = daemon.state.index() > before;
        let mut answers = Vec::new();
        for (index, outcome) in outcomes {
            if let (Some(waiting), Some(Ok(Done::Registered(registered)))) = (daemon.waiting.remove(&index), outcome) {
                let reply = Reply::Registered { nonce: waiting.nonce, registered };
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
        self.daemon(node).lead(term, node, clock.now, true);
        self.write(node, term, clock);
        self.append_all(node, term, clock);
        clock.after(BEAT, Happening::Beat { node, term });
        clock.after(LOOK, Happening::Look { node, term });
    }

    pub(super) fn schedule_election(&mut self, node: NodeNumber, start: u64, clock: Time<'_, '_>) {
        let silence = clock.rng.random_range(150..=300) * MILLISECOND;
        let survive = clock.rng.random_range(0..=3);
        clock.after(silence, Happening::Election { node, start, silence, survive });
    }

    fn answer(&mut self, node: NodeNumber, via: NodeNumber, to: NodeNumber, reply: Reply, clock: Time<'_, '_>) {
        let next = if via == node { to } else { via };
        self.send(node, next, Packet::Answer { to, reply }, clock);
    }

    /// A message reaches a daemon.
    pub(super) fn daemon_receives(&mut self, node: NodeNumber, from: NodeNumber, packet: Packet, clock: Time<'_, '_>) {
        match packet {
            Packet::Answer { to, reply } => self.send(node, to, Packet::Answer { to, reply }, clock),
            Packet::Ask { from, via, request } => self.ask(node, from, via, request, clock),
            Packet::Follow { after } => {
                let daemon = self.daemon(node);
                if clock.now > daemon.heard + OUT_OF_TOUCH && daemon.term.is_none() {
                    return;
                }
                let applied = daemon.state.index();
                let reply = if after == 0 && applied > 0 {
                    Reply::Snapshot(daemon.state.encode())
                } else {
                    let entry = |index| (index, self.raft.entry(index).1.map(Command::encode));
                    Reply::Entries((after + 1..=applied.min(after + ENTRIES_MAX)).map(entry).collect())
                };
                self.answer(node, node, from, reply, clock);
            }
            Packet::Append { term, committed } => {
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
        let Some(term) = self.daemon(node).term.as_ref().map(Term::number) else {
            let leader = self.daemon(node).known.1.filter(|leader| *leader != node && via == node);
            if let Some(leader) = leader {
                self.send(node, leader, Packet::Ask { from, via, request }, clock);
            }
            return;
        };
        match request {
            Request::Renew { .. } | Request::Map { .. } => {
                // A quorum is asked whether it still leads; its word takes its time.
                if let Some(read) = self.raft.read_index(term).filter(|_| self.has_quorum(node)) {
                    let back = clock.rng.random_range(100..=2000);
                    clock.after(back, Happening::Confirmed { node, term, read, from, via, request });
                }
            }
            Request::Register { start, nonce, devices } => {
                // A registration goes with the connection of the process that made it.
                let process = &self.processes[from as usize];
                if process.life.start != start || process.nonce != nonce || process.life.is_down() {
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

    fn propose(&mut self, node: NodeNumber, change: Change, clock: Time<'_, '_>) -> Option<u64> {
        let now = clock.now;
        let (term, command) = self.daemon(node).command(change, now)?;
        let index = self.raft.append(term, command)?;
        self.write(node, term, clock);
        Some(index)
    }

    fn grant(&mut self, node: NodeNumber, from: NodeNumber, via: NodeNumber, request: &Request, clock: Time<'_, '_>) {
        let Daemon { clock: own, state, term, .. } = self.daemon(node);
        let Some(term) = term else { return };
        let now = own.at(clock.now);
        let ha_time = term.ha_time(state, now);
        let reply = match request {
            Request::Renew { boot, confirmed, sent } => match term.renew(state, node_of(from), *boot, *confirmed, now) {
                Ok(epoch) => Reply::Granted { boot: *boot, sent: *sent, epoch, ha_time },
                Err(NotRenewed::OldBoot) => Reply::OldBoot { boot: *boot },
                Err(NotRenewed::Condemned) => return,
            },
            Request::Map { session } => {
                term.renew_session(state, *session, now);
                Reply::Map(Box::new(state.map().clone()), ha_time)
            }
            _ => return,
        };
        self.counts.grants += 1;
        self.answer(node, via, from, reply, clock);
    }
}
