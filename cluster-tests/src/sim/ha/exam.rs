//! The end of a run, after everything was healed: all must be well within a bound and stay so; then one process is killed and one is frozen,
//! and HA must see that within its bounds.

use ha_state::director::SubstituteRequest;
use ha_state::state::Fate;
use types::map::Group;
use types::state::{DeviceState, ProcessState};
use types::{Boot, DeviceId, GroupId};

use super::packet::Happening;
use super::settings::{CONVERGENCE, GROUPS, HOSTS, META, node_of, substitute};
use super::world::HaWorld;
use crate::sim::heap::{MILLISECOND, Micros, SECOND};
use crate::sim::run::Clock;

/// Whether a stage is over is asked so often.
const ASK: Micros = 20 * MILLISECOND;
/// All are left alone for so long, and nobody may be taken for lost.
const CALM: Micros = 2 * SECOND;
/// What was asked for before the faults ended, and cannot be told from what HA decides by itself, is over by then.
const LATE: Micros = SECOND;
/// From the end of a process to the entry that says so: 100 ms to see it, the rest to agree.
const KILL_SEEN: Micros = 100 * MILLISECOND + 50 * MILLISECOND;
/// From a process's standstill to the entry that says so.
const FREEZE_SEEN: Micros = 1300 * MILLISECOND;

/// Where the end of the run is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
    /// All become well, until then at most.
    Heals(Micros),
    /// All are well, and stay so until then, in that epoch.
    Calm(Micros, types::Epoch),
    /// That boot was killed, and is declared lost until then.
    Killed(Boot, Micros),
    /// Its process is back, all become well, until then at most.
    Returns(Micros),
    /// That boot stands still, and is declared lost until then.
    Frozen(Boot, Micros),
    /// It goes on, all become well, until then at most.
    Thaws(Micros),
    /// Nothing more to see.
    Over,
}

impl HaWorld {
    /// Looks whether the present stage is over, and begins the next.
    pub(super) fn examine(&mut self, clock: &mut Clock<'_, Happening>) {
        let now = clock.now;
        let (killed, frozen) = self.settings.exam;
        let well = self.ailment(now);
        let next = match (self.stage, &well) {
            (Stage::Heals(_), None) if now >= self.settings.faulty + LATE => {
                self.oracle.asked_for = false;
                Stage::Calm(now + CALM, self.oracle.state.epoch())
            }
            // What was asked for before may still come: the calm begins after it.
            (Stage::Calm(..), _) if self.oracle.asked_for => Stage::Heals(now + CONVERGENCE),
            (Stage::Calm(_, epoch), _) if self.oracle.state.epoch() != epoch => {
                let state = &self.oracle.state;
                let last = state.events().next_back().map(|event| format!("{} {}: {}", event.subject, event.what, event.cause));
                let what = format!("a quiet cluster moved from {epoch} to {}: {}", state.epoch(), last.unwrap_or_default());
                self.oracle.fail(what);
                Stage::Over
            }
            (Stage::Calm(until, _), _) if now >= until => {
                let boot = self.processes[killed as usize].boot.unwrap_or_default();
                let seen = 1 + now % super::faults::SEEN_MAX;
                self.kill(killed, seen, clock);
                Stage::Killed(boot, now + KILL_SEEN)
            }
            (Stage::Killed(boot, _), _) if self.oracle.lost.contains_key(&boot) => {
                self.start(killed, clock);
                Stage::Returns(now + CONVERGENCE)
            }
            (Stage::Returns(_), None) => {
                self.pause(frozen);
                Stage::Frozen(self.processes[frozen as usize].boot.unwrap_or_default(), now + FREEZE_SEEN)
            }
            (Stage::Frozen(boot, _), _) if self.oracle.lost.contains_key(&boot) => {
                self.resume(frozen, clock);
                Stage::Thaws(now + CONVERGENCE)
            }
            (Stage::Thaws(_), None) => Stage::Over,
            (stage, _) => stage,
        };
        if let Stage::Heals(until) | Stage::Killed(_, until) | Stage::Returns(until) | Stage::Frozen(_, until) | Stage::Thaws(until) = next
            && now > until
        {
            self.oracle.fail(format!("progress: {next:?} took too long: {}", well.unwrap_or_default()));
        }
        self.stage = next;
        clock.after(ASK, Happening::End);
    }

    /// What is not well, in words.
    fn ailment(&mut self, now: Micros) -> Option<String> {
        let state = &self.oracle.state;
        for host in 0..HOSTS {
            let known = &state.map().nodes[&node_of(host)];
            let process = &self.processes[host as usize];
            if known.state != ProcessState::Online || process.boot != Some(known.boot) {
                return Some(format!("node {host} is {}, {} to HA and {:?} to itself", known.state, known.boot, process.boot));
            }
            if let Some(device) = process.misses(state) {
                return Some(format!("{device} was given up, and is not used again yet"));
            }
            let (process, daemon) = (process.state.index(), self.daemons[host as usize].state.index());
            if process.min(daemon) < state.index() {
                return Some(format!("host {host} has {process} and {daemon} of {}", state.index()));
            }
        }
        let not = state.not_for_more();
        for index in 0..GROUPS {
            let id = GroupId { pool: META, index };
            let Some(view) = state.map().view(id) else { return Some(format!("no group {id}")) };
            let best = view.members.iter().filter_map(|m| state.fitness(*m)).min();
            let first = view.members.first().filter(|m| state.fitness(**m) == best && !state.is_avoided(**m));
            let better = |m: &DeviceId| state.fitness(*m) == best && !state.is_avoided(*m);
            let leaves = |primary| state.is_resting(primary) && view.members.iter().any(better);
            let is_right = |p: DeviceId| state.fitness(p) == best && first.is_none_or(|m| *m == p) && !leaves(p);
            let right = view.primary.is_some_and(|p| is_right(p.device));
            if !right || view.active != view.number {
                return Some(format!("group {id}: {view:?}"));
            }
            // One that is away is waited for, for longer than a run takes.
            let is_away = |id: &DeviceId| self.settings.away && state.map().devices[id].state == DeviceState::Transient;
            // A rebalance waits for whoever is missing, and what its learners have copied is of use when it goes on.
            let waits = state.rebalance().is_some() && state.map().devices.values().any(|d| d.state == DeviceState::Transient);
            if !waits && !view.learners.iter().all(is_away) {
                return Some(format!("group {id} has a learner: {view:?}"));
            }
            let to_go = view.members.iter().find(|m| state.is_going(**m));
            let place = |out: &DeviceId| substitute(state.map(), &SubstituteRequest { group: id, out: *out, not: &not });
            if let Some(to) = to_go.filter(|_| view.learners.is_empty()).and_then(place) {
                return Some(format!("group {id} has a member to be replaced, and {to} could: {view:?}"));
            }
            let primary = view.primary.map(|p| p.boot);
            let serving: Vec<_> = self.processes.iter_mut().filter_map(|p| p.serves(now).contains(&id).then_some(p.boot)).collect();
            if serving != [primary] {
                return Some(format!("group {id}: {serving:?} serve, {primary:?} should"));
            }
        }
        self.slots_ailment().or_else(|| self.away_ailment())
    }

    /// A device that is about to be given up.
    fn away_ailment(&self) -> Option<String> {
        let (state, not) = (&self.oracle.state, self.oracle.state.not_for_more());
        let soon = state.ha_time().0 + CONVERGENCE / MILLISECOND;
        let place = |group, out| substitute(state.map(), &SubstituteRequest { group, out, not: &not });
        let goes = |id: &&DeviceId| {
            let mut groups = state.map().groups.iter().filter(|(_, group)| group.devices().contains(id));
            matches!(state.fate(**id), Some(Fate::Fails(at)) if at.0 <= soon) && groups.all(|(group, _)| place(*group, **id).is_some())
        };
        state.map().devices.keys().find(goes).map(|id| format!("{id} is about to be given up"))
    }

    /// A slot that lacks units and could have them, or is to move and could.
    fn slots_ailment(&self) -> Option<String> {
        let (state, not) = (&self.oracle.state, self.oracle.state.not_for_more());
        for (id, lacking) in state.unfilled() {
            let slots = state.map().slots(*id)?;
            let on = |slot: &u8| slots.slots.get(usize::from(*slot)).copied().flatten();
            let serves = |device: &DeviceId| state.map().devices[device].state.is_writable();
            if state.sound_slots(*id) >= state.data_units(*id) && lacking.keys().filter_map(on).any(|device| serves(&device)) {
                return Some(format!("slots of group {id} lack units: {lacking:?}"));
            }
        }
        for (id, group) in &state.map().groups {
            let Group::Erasure(slots) = group else { continue };
            let failed = |d: &DeviceId| state.map().devices[d].state == DeviceState::Failed;
            // One that serves gives its slot away only where the others are enough.
            let spare = state.sound_slots(*id) > state.data_units(*id);
            let goes = |d: &&DeviceId| failed(d) || (spare && state.is_going(**d));
            let place = |out: &DeviceId| substitute(state.map(), &SubstituteRequest { group: *id, out: *out, not: &not });
            let to = slots.slots.iter().flatten().filter(goes).find_map(place);
            if let Some(to) = to.filter(|_| !state.unfilled().contains_key(id)) {
                return Some(format!("group {id} has a slot on a device that is to go, and {to} could take it"));
            }
        }
        None
    }
}
