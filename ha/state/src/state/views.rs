//! Views of groups: who is primary, and what a change of it waits for.
//!
//! A view's number is the epoch that issued it, so numbers only grow. Safety rests on these rules, all of them here:
//! - a primary is named with its boot, and only where the one before surely serves no more: it ended, its lease is over (the proposer of
//!   the command answers for that), or it was first told to step down by a view without a primary;
//! - ONLINE members come first; a RECOVERING one is taken only where no ONLINE member is left, a blank or failed one never;
//! - `old` is the member set of the last view *recorded* active, and only the present view can be recorded;
//! - members change only while the present ones are recorded active.

use std::collections::BTreeMap;

use types::map::{Group, GroupView, Primary, Slots};
use types::state::{DeviceState, ProcessState};
use types::{Boot, DeviceId, GroupId, NodeId, ViewNumber};

use super::{State, is_live};
use crate::command::{MemberChange, ViewChange};
use crate::event::Subject;
use crate::outcome::{Done, Outcome, Refused};

/// How fit a member is to be primary; lower is better.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Fitness {
    /// It has everything.
    Online,
    /// It may have everything: only where no ONLINE member is left.
    Recovering,
}

impl State {
    /// Whether a device may be primary of a group that it is a member of.
    pub fn fitness(&self, device: DeviceId) -> Option<Fitness> {
        let d = self.map.devices.get(&device)?;
        let node = self.map.nodes.get(&d.node)?;
        let blank = self.devices.get(&device).is_none_or(|extra| extra.blank);
        match (node.state, d.state) {
            _ if blank => None,
            (ProcessState::Online, DeviceState::Online | DeviceState::Rebalancing) => Some(Fitness::Online),
            (ProcessState::Online | ProcessState::Recovering, s) if s.is_writable() => Some(Fitness::Recovering),
            _ => None,
        }
    }

    fn boot_of(&self, device: DeviceId) -> Option<Boot> {
        let node = self.map.nodes.get(&self.map.devices.get(&device)?.node)?;
        is_live(node).then_some(node.boot)
    }

    /// Whether the named primary is the present start of a live process, with its device in use.
    pub fn primary_is_live(&self, primary: &Primary) -> bool {
        self.boot_of(primary.device) == Some(primary.boot) && self.map.devices[&primary.device].state.is_writable()
    }

    /// How many primaries each node has.
    pub fn primaries(&self) -> BTreeMap<NodeId, usize> {
        let mut count = BTreeMap::new();
        for group in self.map.groups.values() {
            if let Group::Replicated(GroupView { primary: Some(primary), .. }) = group
                && let Some(device) = self.map.devices.get(&primary.device)
            {
                *count.entry(device.node).or_insert(0) += 1;
            }
        }
        count
    }

    /// The best primary among `members`: by fitness, then one that nothing speaks against, then the node with the fewest primaries, then the
    /// order of the members.
    fn choose(&self, members: &[DeviceId], load: &mut BTreeMap<NodeId, usize>) -> Option<Primary> {
        let rank = |device: &DeviceId| {
            let node = self.map.devices.get(device)?.node;
            Some((self.fitness(*device)?, self.is_resting(*device), load.get(&node).copied().unwrap_or(0)))
        };
        let mut best: Option<((Fitness, bool, usize), DeviceId)> = None;
        for member in members {
            if let Some(r) = rank(member)
                && best.is_none_or(|(b, _)| r < b)
            {
                best = Some((r, *member));
            }
        }
        let (_, device) = best?;
        let boot = self.boot_of(device)?;
        *load.entry(self.map.devices[&device].node).or_insert(0) += 1;
        Some(Primary { device, boot })
    }

    /// Issues a view of the entry in hand: new number, `old` as recorded, the primary given.
    pub(super) fn issue(&mut self, id: GroupId, primary: Option<Primary>) {
        let number = ViewNumber(self.map.index);
        let Some(extra) = self.groups.get_mut(&id) else { return };
        if let Some(Group::Replicated(view)) = self.map.groups.get_mut(&id) {
            view.number = number;
            view.old.clone_from(&extra.active_members);
            view.primary = primary;
            if primary.is_some() {
                extra.stepping_down = None;
            }
        }
    }

    fn views(&self) -> impl Iterator<Item = (GroupId, &GroupView)> {
        self.map.groups.iter().filter_map(|(id, group)| match group {
            Group::Replicated(view) => Some((*id, view)),
            Group::Erasure(_) => None,
        })
    }

    /// Primaries of a lost boot go to others.
    pub(super) fn reissue_for_loss(&mut self, boot: Boot) {
        let over = |primary: Option<Primary>| primary.is_some_and(|p| p.boot == boot);
        let lost: Vec<GroupId> = self
            .views()
            .filter(|(id, view)| over(view.primary) || over(self.groups.get(id).and_then(|g| g.stepping_down)))
            .map(|(id, _)| id)
            .collect();
        self.appoint_all(&lost, "its process is lost");
    }

    /// A primary on a failed device goes to another member: at once where the device is not used any more, else by stepping down.
    pub(super) fn reissue_for_device(&mut self, device: DeviceId, ended: bool) {
        let on_it = |p: Option<Primary>| p.is_some_and(|p| p.device == device);
        let lost: Vec<(GroupId, Option<Primary>)> = self
            .views()
            .map(|(id, view)| (id, view.primary.or_else(|| self.groups.get(&id).and_then(|g| g.stepping_down))))
            .filter(|(_, primary)| on_it(*primary))
            .collect();
        if ended {
            let lost: Vec<GroupId> = lost.into_iter().map(|(id, _)| id).collect();
            return self.appoint_all(&lost, "its device failed");
        }
        for (id, primary) in lost {
            if self.map.view(id).is_some_and(|v| v.primary.is_some()) {
                self.step_down(id, primary);
            }
        }
    }

    /// A process returns: every replicated group that has a member in it gets a view of this entry, so that the `End` of its recovery comes
    /// from a primary that has seen its return. Primaries that live keep their place.
    pub(super) fn reissue_for_return(&mut self, node: NodeId, old_boot: Boot, renewed: &[DeviceId]) {
        let number = ViewNumber(self.map.index);
        let mut vacant = Vec::new();
        for id in self.groups_on(node) {
            // What was on a device that comes back blank is gone: writes of before are fenced off.
            let lost_units = |slots: &Slots| slots.slots.iter().flatten().any(|d| renewed.contains(d));
            match self.map.groups.get_mut(&id) {
                Some(Group::Erasure(slots)) if lost_units(slots) => slots.number = number,
                Some(Group::Replicated(view)) => {
                    let primary = view.primary;
                    let stepping_down = self.groups.get(&id).and_then(|g| g.stepping_down);
                    // Its device may have failed: what counts is that its process may not know yet.
                    let waits = stepping_down.is_some_and(|p| p.boot != old_boot && self.live(p.boot).is_some());
                    if primary.is_some_and(|p| self.primary_is_live(&p)) {
                        self.issue(id, primary);
                    } else if waits {
                        self.issue(id, None);
                    } else {
                        vacant.push(id);
                    }
                }
                _ => {}
            }
        }
        self.appoint_all(&vacant, "a member returns");
    }

    /// New views with the best primaries there are, for groups whose last primary surely serves no more.
    fn appoint_all(&mut self, groups: &[GroupId], cause: &str) {
        for id in groups {
            if let Some(Group::Replicated(view)) = self.map.groups.get_mut(id) {
                view.primary = None;
            }
            if let Some(extra) = self.groups.get_mut(id) {
                extra.stepping_down = None;
            }
        }
        let mut load = self.primaries();
        let mut without = 0;
        for id in groups {
            let Some(view) = self.map.view(*id) else { continue };
            let primary = self.choose(&view.members.clone(), &mut load);
            without += usize::from(primary.is_none());
            self.issue(*id, primary);
        }
        if !groups.is_empty() {
            let what = format!("{} groups change their primary, {without} have none", groups.len());
            self.note(Subject::Cluster, &what, cause);
        }
    }

    pub(super) fn step_down(&mut self, id: GroupId, primary: Option<Primary>) {
        self.issue(id, None);
        if let Some(extra) = self.groups.get_mut(&id) {
            extra.stepping_down = primary;
        }
    }

    pub(super) fn change_views(&mut self, changes: &[ViewChange]) -> Outcome {
        let mut done = 0;
        for change in changes {
            if self.map.view(change.group).is_some_and(|v| v.number == change.from) && self.change_view(change) {
                done += 1;
            }
        }
        if done == 0 {
            return if changes.is_empty() { Ok(Done::AlreadySo) } else { Err(Refused::Superseded) };
        }
        self.move_epoch();
        self.note(Subject::Cluster, &format!("{done} groups change their view"), "the primaries are balanced or the members change");
        Ok(Done::Changed)
    }

    fn change_view(&mut self, change: &ViewChange) -> bool {
        let id = change.group;
        let Some(view) = self.map.view(id).cloned() else { return false };
        match &change.change {
            MemberChange::StepDown => {
                if view.primary.is_none() {
                    return false;
                }
                self.step_down(id, view.primary);
                true
            }
            MemberChange::Appoint(device) => {
                let fit = view.members.contains(device).then(|| self.fitness(*device)).flatten();
                let better = view.members.iter().filter_map(|m| self.fitness(*m)).min();
                let (Some(boot), None, true) = (self.boot_of(*device), view.primary, fit.is_some() && fit == better) else { return false };
                self.issue(id, Some(Primary { device: *device, boot }));
                true
            }
            MemberChange::Learners(learners) => self.set_learners(id, learners),
            MemberChange::Replace { from, to } => self.replace_member(id, *from, *to),
        }
    }

    pub(super) fn record_active(&mut self, boot: Boot, groups: &[(GroupId, ViewNumber)]) -> Outcome {
        let (mut recorded, mut already) = (0, 0);
        for (id, number) in groups {
            let (Some(Group::Replicated(view)), Some(extra)) = (self.map.groups.get_mut(id), self.groups.get_mut(id)) else { continue };
            if view.number != *number || view.primary.is_none_or(|p| p.boot != boot) {
                continue;
            }
            if view.active == *number {
                already += 1;
                continue;
            }
            view.active = *number;
            extra.active_members.clone_from(&view.members);
            recorded += 1;
        }
        match (recorded, already) {
            (0, 0) if !groups.is_empty() => Err(Refused::Superseded),
            (0, _) => Ok(Done::AlreadySo),
            _ => Ok(Done::Changed),
        }
    }
}

impl State {
    /// The first of the fittest members, in their order: the primaries of new groups are where the placement wants them.
    pub(super) fn choose_first(&self, members: &[DeviceId], load: &mut BTreeMap<NodeId, usize>) -> Option<Primary> {
        let best = members.iter().filter_map(|m| self.fitness(*m)).min()?;
        let first = members.iter().find(|m| self.fitness(**m) == Some(best))?;
        self.choose(&[*first], load)
    }
}
