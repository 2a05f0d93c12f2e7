//! The world of several groups: each with its own processes, authority, clients and faults ([`super::dtm`]), and between them the parts of
//! transactions over several, which may be lost, doubled, late, out of order, or sent to who is not primary any more.
//!
//! Beside the invariants of each group: whoever is answered finds all parts in every replica that would serve a read, and in the end each
//! transaction is in all of its groups, once, or in none.

mod shown;

use std::path::Path;

use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use serde::{Deserialize, Serialize};
use types::record::{Coordination, Record, Write};
use types::wire::dtm::{Envelope, Message};
use types::{Boot, DeviceId, DtxId, GroupId, Incarnation, Seq};

use super::dtm::client::group_id;
use super::dtm::node::Crossing;
use super::dtm::packet::{Happening as InGroup, Packet};
use super::dtm::settings::{CONVERGENCE, Settings};
use super::dtm::world::{Counts, GroupWorld};
use super::dtm::{EVENTS_MAX, Report};
use super::heap::{MILLISECOND, Micros};
use super::network::{Network, NodeNumber};
use super::run::{self, Clock, World};
use super::shown::Recorded;
use super::swarm::log_uniform;

/// Groups of a run.
const GROUPS: u32 = 3;
/// Replicas of each.
const REPLICAS: u32 = 3;
/// Whether all has converged is asked so often.
const ASK_END: Micros = 250 * MILLISECOND;
/// Who sends from another group, in a group's own network.
const FOREIGN: NodeNumber = NodeNumber::MAX;
/// Of a hundred parts, those sent to any replica: a map may be old.
const ASTRAY_PERCENT: u32 = 5;

/// One thing that happens.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Happening {
    /// In one of the groups.
    In {
        /// Which.
        group: u32,
        /// What.
        what: InGroup,
    },
    /// Nothing goes from one group to another any more.
    Apart {
        /// From and to.
        groups: (u32, u32),
    },
    /// It does again.
    Together {
        /// From and to.
        groups: (u32, u32),
    },
    /// Everything is looked at.
    End,
}

/// Several groups.
pub struct CrossingWorld {
    settings: Vec<Settings>,
    groups: Vec<GroupWorld>,
    network: Network,
    over: bool,
    violation: Option<String>,
    /// Transactions over several groups that were answered.
    pub crossed: u64,
}

/// The configuration of each group that a seed draws.
pub fn draw(seed: u64) -> Vec<Settings> {
    let mut rng = ChaCha8Rng::seed_from_u64(seed ^ 0xc0_55ed);
    let faulty = log_uniform(&mut rng, 500 * MILLISECOND, 3000 * MILLISECOND);
    let of = |number: u64, rng: &mut ChaCha8Rng| Settings {
        groups: GROUPS,
        crossing_percent: rng.random_range(20..=100),
        replicas: REPLICAS,
        faulty,
        ..Settings::draw(seed * u64::from(GROUPS) + number)
    };
    (0..u64::from(GROUPS)).map(|number| of(number, &mut rng)).collect()
}

/// Runs a seed with the configuration that it draws.
pub fn run_seed(seed: u64) -> (Report, u64) {
    run_settings(seed, draw(seed), None)
}

/// Runs a seed with a configuration; gives how many transactions over several groups were answered, too.
pub fn run_settings(seed: u64, settings: Vec<Settings>, record_to: Option<&Path>) -> (Report, u64) {
    let mut rng = ChaCha8Rng::seed_from_u64(seed ^ 0x5eed_0fe8);
    let mut world = CrossingWorld::new(settings.clone());
    let first = world.first(&mut rng);
    let outcome = run::run_recorded(&mut world, first, &mut rng, EVENTS_MAX, settings, record_to);
    (Report { outcome, counts: world.counts() }, world.crossed)
}

impl Recorded for CrossingWorld {
    type Config = Vec<Settings>;
    const WORLD: &'static str = "crossing";

    fn of(config: &Vec<Settings>) -> Self {
        Self::new(config.clone())
    }

    fn without_chance(config: &Vec<Settings>) -> Vec<Settings> {
        config.iter().map(GroupWorld::without_chance).collect()
    }
}

impl World for CrossingWorld {
    type Event = Happening;

    fn handle(&mut self, event: Happening, clock: &mut Clock<'_, Happening>) {
        match event {
            // Asked of all at once.
            Happening::In { what: InGroup::End, .. } => {}
            Happening::In { group, what } => {
                if what == InGroup::Heal && group == 0 {
                    self.network.heal();
                }
                let world = &mut self.groups[group as usize];
                clock.within(|what| Happening::In { group, what }, |clock| world.handle(what, clock));
                self.send(group, clock);
                self.look_at_answers(group, clock.now);
            }
            Happening::Apart { groups: (from, to) } => self.network.cut(from, to),
            Happening::Together { groups: (from, to) } => self.network.mend(from, to),
            Happening::End => self.end(clock),
        }
    }

    fn violation(&self) -> Option<String> {
        let of_group = |(number, world): (usize, &GroupWorld)| world.violation().map(|what| format!("group {number}: {what}"));
        self.violation.clone().or_else(|| self.groups.iter().enumerate().find_map(of_group))
    }

    fn is_over(&self) -> bool {
        self.over || self.violation().is_some()
    }
}

impl CrossingWorld {
    fn new(settings: Vec<Settings>) -> Self {
        let groups = settings.iter().zip(0..).map(|(settings, number)| GroupWorld::of_several(settings.clone(), number)).collect();
        let network = Network::new(settings[0].swarm.network.clone());
        Self { settings, groups, network, over: false, violation: None, crossed: 0 }
    }

    fn counts(&self) -> Counts {
        self.groups.iter().fold(Counts::default(), |sum, group| sum.and(group.counts))
    }

    fn first(&mut self, rng: &mut ChaCha8Rng) -> Vec<(Micros, Happening)> {
        let mut first = Vec::new();
        for (number, group) in (0..).zip(&mut self.groups) {
            first.extend(group.first(rng).into_iter().map(|(at, what)| (at, Happening::In { group: number, what })));
        }
        let faulty = self.settings[0].faulty;
        for _ in 0..rng.random_range(0..6) {
            let groups = (rng.random_range(0..GROUPS), rng.random_range(0..GROUPS));
            let at = rng.random_range(0..faulty);
            first.push((at, Happening::Apart { groups }));
            first.push((at + rng.random_range(1..=faulty), Happening::Together { groups }));
        }
        first.push((faulty + 3 * ASK_END, Happening::End));
        first
    }

    /// Sends on what one group has for others.
    fn send(&mut self, group: u32, clock: &mut Clock<'_, Happening>) {
        for crossing in std::mem::take(&mut self.groups[group as usize].crossing) {
            let envelope = match crossing {
                Crossing::Answer(envelope) => envelope,
                Crossing::Part { from, group: to, part } => {
                    let there = &self.groups[to.index as usize];
                    let Some((primary, view)) = there.primary() else { continue };
                    let astray = clock.rng.random_range(0..100) < ASTRAY_PERCENT;
                    let node = if astray { clock.rng.random_range(0..self.settings[to.index as usize].replicas) } else { primary };
                    let message = Message::Part { view, part };
                    Envelope { group: to, from, to: DeviceId(node + 1), boot: Boot(0), incarnation: Incarnation(0), message }
                }
            };
            let (to, node) = (envelope.group.index, envelope.to.0 - 1);
            for at in self.network.route(clock.now, group, to, clock.rng) {
                let what = InGroup::Deliver { from: FOREIGN, to: node, packet: Packet::Replica(envelope.clone()) };
                clock.at(at, Happening::In { group: to, what });
            }
        }
    }

    fn look_at_answers(&mut self, group: u32, now: Micros) {
        for dtx in std::mem::take(&mut self.groups[group as usize].answers) {
            if let Err(error) = self.look_at_answer(group, dtx, now) {
                self.violation.get_or_insert(error);
            }
        }
    }

    /// Whoever is answered finds all of it, wherever he reads.
    fn look_at_answer(&mut self, group: u32, dtx: DtxId, now: Micros) -> Result<(), String> {
        let history = self.groups[group as usize].applied();
        let Some(record) = history.place_of(&dtx).and_then(|seq| history.at(seq)) else { return Ok(()) };
        let Coordination::Coordinator { parts } = &record.coordination else { return Ok(()) };
        for (to, writes) in parts {
            let there = &self.groups[to.index as usize];
            let place = self.place_of_part(group_id(group), record, *to, writes)?;
            let Some(place) = place else { return Err(format!("atomicity: {dtx} was answered, and its part in {to} is not applied")) };
            if let Some(blind) = there.processes().iter().find(|p| p.serves(now).is_some_and(|applied| applied < place)) {
                return Err(format!("stale read: {dtx} was answered, and {} of {to} may serve reads without its part", blind.device()));
            }
        }
        self.crossed += 1;
        Ok(())
    }

    /// Where a part was applied, if it was; an error where it is not what it should be.
    fn place_of_part(&self, coordinator: GroupId, record: &Record, to: GroupId, writes: &[Write]) -> Result<Option<Seq>, String> {
        let history = self.groups[to.index as usize].applied();
        let Some(found) = history.place_of(&record.dtx).and_then(|seq| history.at(seq)) else { return Ok(None) };
        match &found.coordination {
            Coordination::Part { coordinator: of, seq, .. } if *of == coordinator && *seq == record.seq && found.writes == writes => {
                Ok(Some(found.seq))
            }
            other => Err(format!("atomicity: {} of {coordinator} is {other:?} in {to}", record.dtx)),
        }
    }

    fn end(&mut self, clock: &mut Clock<'_, Happening>) {
        if self.groups.iter().all(GroupWorld::is_settled) {
            self.over = true;
            self.groups.iter_mut().for_each(GroupWorld::finish);
            self.violation = self.violation.take().or_else(|| self.atomic().err());
        } else if clock.now > self.settings[0].faulty + CONVERGENCE {
            self.groups.iter_mut().filter(|group| !group.is_settled()).for_each(GroupWorld::give_up);
        } else {
            clock.after(ASK_END, Happening::End);
        }
    }

    /// Whether each transaction is in all of its groups, and each part has its transaction.
    fn atomic(&self) -> Result<(), String> {
        for (number, group) in (0..).map(group_id).zip(&self.groups) {
            for record in group.applied().records() {
                match &record.coordination {
                    Coordination::Coordinator { parts } => {
                        for (to, writes) in parts {
                            if self.place_of_part(number, record, *to, writes)?.is_none() {
                                return Err(format!("atomicity: {} is in {number} and not in {to}", record.dtx));
                            }
                        }
                    }
                    Coordination::Part { coordinator, seq, .. } => {
                        let there = self.groups[coordinator.index as usize].applied().at(*seq);
                        if there.is_none_or(|whole| whole.dtx != record.dtx) {
                            return Err(format!("atomicity: {number} has a part of {}, which is not in {coordinator}", record.dtx));
                        }
                    }
                    Coordination::Local | Coordination::Done { .. } => {}
                }
            }
        }
        Ok(())
    }
}
