//! The invariants of HA, as they can be seen by one who sees all: the log, every subscriber, and every process's lease at true time.

use std::collections::{BTreeMap, BTreeSet};

use ha_state::state::DEVICE_AWAY_MS;
use ha_state::{Change, ClusterWish, Command, Done, MemberChange, NodeWish, Outcome, State};
use types::map::Group;
use types::state::DeviceState;
use types::{Boot, DeviceId, GroupId, HaTime, Incarnation, NodeId};

use super::process::Process;
use super::raft::Raft;
use crate::sim::heap::Micros;
use crate::sim::trace::TraceHash;

/// Subscribers are compared with the log at every so manieth entry: the history is in the state, so what once differs goes on to.
const COMPARED: u64 = 4;

/// What the oracle remembers.
#[derive(Default)]
pub struct Oracle {
    /// The state as of the last entry that is kept for good.
    pub state: State,
    /// Hash of the state as of each entry.
    hashes: BTreeMap<u64, u64>,
    boots: BTreeSet<Boot>,
    incarnations: BTreeSet<(DeviceId, Incarnation)>,
    /// Members as HA was last told that they are active.
    recorded: BTreeMap<GroupId, Vec<DeviceId>>,
    /// Slots that have all their units: on which device, in which format of it.
    whole: BTreeMap<(GroupId, usize), (DeviceId, Incarnation)>,
    /// Devices that are away, each with the HA time since when.
    away: BTreeMap<DeviceId, HaTime>,
    /// Nodes in maintenance, as operators said.
    maintenance: BTreeSet<NodeId>,
    /// For how long devices and nodes that are away are waited for, as operators said.
    borne: (u64, u64),
    /// Devices that were given up because they were away for too long.
    pub given_up: u64,
    /// When each boot was declared lost.
    pub lost: BTreeMap<Boot, Micros>,
    /// Members were changed as an operator asks for it, or an operator asked for something else, since this was last set back.
    pub asked_for: bool,
    /// The first thing that went wrong.
    pub violation: Option<String>,
}

/// Whether a change of a view is one that an operator asks for, not one that HA decides by itself.
fn is_asked_for(change: &MemberChange) -> bool {
    matches!(change, MemberChange::Learners(_) | MemberChange::Replace { .. })
}

fn hash(state: &State) -> u64 {
    let mut hash = TraceHash::default();
    hash.add(&state.encode());
    hash.value()
}

impl Oracle {
    /// Notes that something is wrong.
    pub fn fail(&mut self, what: String) {
        self.violation.get_or_insert(what);
    }

    /// A subscriber has come to that state.
    pub fn same(&mut self, who: &str, state: &State) {
        if state.index().is_multiple_of(COMPARED) && self.hashes.get(&state.index()) != Some(&hash(state)) {
            self.fail(format!("{who} has another state at {} than the log gives", state.index()));
        }
    }

    /// More of the log is kept for good.
    pub fn advance(&mut self, raft: &Raft, processes: &mut [Process], now: Micros) {
        for index in self.state.index() + 1..=raft.committed() {
            match raft.entry(index).1 {
                Some(command) => {
                    let before = self.state.clone();
                    let outcome = self.state.apply(index, command);
                    self.asked_for |= match &command.change {
                        Change::ChangeViews(changes) => changes.iter().any(|c| is_asked_for(&c.change)),
                        Change::AskNode { .. } | Change::AskCluster(_) => true,
                        _ => false,
                    };
                    if let Err(what) = self.step(&before, command, &outcome, processes, now) {
                        self.fail(format!("entry {index}, {:?}: {what}", command.change));
                    }
                }
                None => self.state.pass(index),
            }
            if index.is_multiple_of(COMPARED) {
                self.hashes.insert(index, hash(&self.state));
            }
        }
    }

    /// A device that hangs is not given up for good where a group needs what is on it.
    fn spared(&self, before: &State, hung: DeviceId) -> Result<(), String> {
        let of = |state: &State| state.map().devices.get(&hung).map(|d| d.state);
        let given_up = of(before) != of(&self.state) && of(&self.state) == Some(DeviceState::Failed);
        let is_whole = |state: &State, id: &DeviceId| {
            state.map().devices[id].state != DeviceState::Failed && state.device(*id).is_some_and(|extra| !extra.blank)
        };
        for (id, group) in self.state.map().groups.iter().filter(|_| given_up) {
            let Group::Replicated(view) = group else { continue };
            let count = |state: &State| view.members.iter().filter(|m| is_whole(state, m)).count();
            let (had, has) = (count(before), count(&self.state));
            if has < had && has < view.quorum() {
                return Err(format!("{hung} is given up, and group {id} is left with {has} members that have everything"));
            }
        }
        Ok(())
    }

    /// What is given up for being away was so, all the time that an operator wants it waited for; nobody works on its node; and whoever needs
    /// what is on it keeps it.
    fn was_away(&mut self, before: &State, id: DeviceId) -> Result<(), String> {
        self.given_up += 1;
        let node = before.map().devices[&id].node;
        let is_live = before.live(before.map().nodes[&node].boot).is_some();
        let borne = if is_live { self.borne.0 } else { self.borne.1 };
        let since = self.away.get(&id).ok_or_else(|| format!("{id} is given up, and was not away"))?;
        let passed = self.state.ha_time().0.saturating_sub(since.0);
        if borne == 0 || passed < borne || self.maintenance.contains(&node) {
            return Err(format!("{id} is given up after {passed} ms, {borne} are borne, in maintenance are {:?}", self.maintenance));
        }
        for (group, of) in &self.state.map().groups {
            let Group::Erasure(slots) = of else { continue };
            let slot = slots.slots.iter().position(|device| *device == Some(id));
            let had = slot.is_some_and(|slot| !before.is_unfilled(*group, slot));
            let (left, needed) = (self.state.sound_slots(*group), self.state.data_units(*group));
            if had && left < needed {
                return Err(format!("{id} is given up, and group {group} is left with {left} slots that have their units"));
            }
        }
        self.spared(before, id)
    }

    fn step(&mut self, before: &State, command: &Command, outcome: &Outcome, all: &mut [Process], now: Micros) -> Result<(), String> {
        self.identities(before, outcome)?;
        for (node, n) in &before.map().nodes {
            if before.live(n.boot).is_some() && self.state.live(n.boot).is_none() {
                self.lost.entry(n.boot).or_insert(now);
            }
            self.ends(*node, n.boot)?;
        }
        if let ha_state::Change::Active { groups, .. } = &command.change
            && outcome.is_ok()
        {
            for (id, number) in groups {
                if let Some(view) = before.map().view(*id).filter(|v| v.number == *number && v.active != *number)
                    && self.state.map().view(*id).is_some_and(|v| v.active == *number)
                {
                    self.recorded.insert(*id, view.members.clone());
                }
            }
        }
        match &command.change {
            Change::DeviceHangs { device, .. } => self.spared(before, *device)?,
            Change::GiveUp { device, .. } if *outcome == Ok(Done::Changed) => self.was_away(before, *device)?,
            Change::AskNode { node, wish: NodeWish::StartMaintenance } if outcome.is_ok() => drop(self.maintenance.insert(*node)),
            Change::AskNode { node, wish: NodeWish::EndMaintenance } if outcome.is_ok() => drop(self.maintenance.remove(node)),
            Change::AskCluster(ClusterWish::DeviceAway(ms)) => self.borne.0 = *ms,
            Change::AskCluster(ClusterWish::NodeAway(ms)) => self.borne.1 = *ms,
            Change::Bootstrap(_) if outcome.is_ok() => self.borne = (DEVICE_AWAY_MS, 0),
            _ => {}
        }
        for (id, device) in &self.state.map().devices {
            if device.state == DeviceState::Transient {
                self.away.entry(*id).or_insert(self.state.ha_time());
            } else {
                self.away.remove(id);
            }
        }
        for (id, group) in &self.state.map().groups {
            if let Group::Replicated(_) = group {
                self.view(before, *id, all, now)?;
            }
        }
        self.slots(before, command, outcome)
    }

    /// HA takes no slot for one that has its units which has not, and moves none where fewer than N would be left that have.
    fn slots(&mut self, before: &State, command: &Command, outcome: &Outcome) -> Result<(), String> {
        if let (Change::SlotsFilled { slots, .. }, Ok(_)) = (&command.change, outcome) {
            for (group, number, slot, device, incarnation) in slots {
                let present =
                    before.map().slots(*group).filter(|s| s.number == *number && s.slots.get(usize::from(*slot)) == Some(&Some(*device)));
                if present.is_some() && before.map().devices.get(device).is_some_and(|d| d.incarnation == *incarnation) {
                    self.whole.insert((*group, usize::from(*slot)), (*device, *incarnation));
                }
            }
        }
        for (id, group) in &self.state.map().groups {
            let Group::Erasure(slots) = group else { continue };
            for (slot, device) in slots.slots.iter().enumerate() {
                let Some(device) = device else { continue };
                let is = (*device, self.state.map().devices[device].incarnation);
                if before.map().slots(*id).is_none() {
                    self.whole.insert((*id, slot), is);
                }
                if !self.state.is_unfilled(*id, slot) && self.whole.get(&(*id, slot)) != Some(&is) {
                    return Err(format!("slot {slot} of group {id} is taken for whole on {device}, and has not its units"));
                }
            }
            let (had, has, needed) = (self.whole_slots(before, *id), self.whole_slots(&self.state, *id), self.state.data_units(*id));
            if matches!(command.change, Change::SetPlacement(_)) && has < had && has < needed {
                return Err(format!("group {id} is left with {has} slots that have their units"));
            }
        }
        Ok(())
    }

    fn whole_slots(&self, state: &State, group: GroupId) -> usize {
        let Some(slots) = state.map().slots(group) else { return 0 };
        let is_whole = |(slot, device): (usize, &Option<DeviceId>)| {
            let known = device.and_then(|id| state.map().devices.get(&id)).filter(|d| d.state != DeviceState::Failed);
            known.is_some_and(|d| self.whole.get(&(group, slot)) == Some(&(d.id, d.incarnation)))
        };
        slots.slots.iter().enumerate().filter(|(slot, device)| is_whole((*slot, device))).count()
    }

    /// Boots and incarnations are new when they are given.
    fn identities(&mut self, before: &State, outcome: &Outcome) -> Result<(), String> {
        for (id, n) in &self.state.map().nodes {
            let old = before.map().nodes.get(id).map(|n| n.boot).unwrap_or_default();
            if n.boot != old && !self.boots.insert(n.boot) {
                return Err(format!("{} was given twice", n.boot));
            }
        }
        for (id, d) in &self.state.map().devices {
            let old = before.map().devices.get(id).map(|d| d.incarnation).unwrap_or_default();
            if d.incarnation != old && (d.incarnation < old || !self.incarnations.insert((*id, d.incarnation))) {
                return Err(format!("{id} was given {} twice or after {old}", d.incarnation));
            }
        }
        match outcome {
            Ok(Done::Registered(r)) if !self.boots.contains(&r.boot) => Err(format!("{} was never given", r.boot)),
            _ => Ok(()),
        }
    }

    /// A boot that is over stays so.
    fn ends(&self, node: NodeId, boot: Boot) -> Result<(), String> {
        if self.lost.contains_key(&boot) && self.state.live(boot).is_some() {
            return Err(format!("{boot} of {node} was lost and is live again"));
        }
        Ok(())
    }

    fn view(&self, before: &State, id: GroupId, all: &mut [Process], now: Micros) -> Result<(), String> {
        let Some(is) = self.state.map().view(id) else { return Ok(()) };
        let recorded = self.recorded.get(&id);
        let Some(was) = before.map().view(id) else { return Ok(()) };
        if was == is {
            return Ok(());
        }
        if is.number == was.number {
            let same = (&was.primary, &was.members, &was.old, &was.learners) == (&is.primary, &is.members, &is.old, &is.learners);
            return if same { Ok(()) } else { Err(format!("group {id}: one view, two contents")) };
        }
        if is.number < was.number {
            return Err(format!("group {id}: views go back"));
        }
        if recorded.is_some_and(|r| *r != is.old) {
            return Err(format!("group {id}: `old` is {:?}, recorded active were {recorded:?}", is.old));
        }
        if was.members != is.members && recorded != Some(&was.members) {
            return Err(format!("group {id}: members change, and those before were never recorded active"));
        }
        let Some(primary) = is.primary else { return Ok(()) };
        if !is.members.contains(&primary.device) || self.state.live(primary.boot).is_none() {
            return Err(format!("group {id}: its primary is no member, or does not live"));
        }
        if self.state.device(primary.device).is_none_or(|d| d.blank) {
            return Err(format!("group {id}: its primary is blank"));
        }
        for process in all {
            if process.boot != Some(primary.boot) && process.serves(now).contains(&id) {
                return Err(format!("group {id}: {} is named primary while {:?} serves", primary.boot, process.boot));
            }
        }
        Ok(())
    }

    /// Nobody serves what another serves, and nobody that HA has declared lost serves at all.
    pub fn look(&mut self, processes: &mut [Process], now: Micros) {
        let mut serving: BTreeMap<GroupId, Boot> = BTreeMap::new();
        for process in processes {
            let Some(boot) = process.boot else { continue };
            if !process.holds(now) {
                continue;
            }
            if self.state.live(boot).is_none() {
                return self.fail(format!("{boot} was declared lost and holds a lease"));
            }
            for group in process.serves(now) {
                if let Some(other) = serving.insert(group, boot) {
                    return self.fail(format!("{other} and {boot} both serve group {group}"));
                }
            }
        }
    }
}
