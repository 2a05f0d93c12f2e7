//! Processes: registration, loss, recovery. Devices and views change with their process, in the same command.
//!
//! ```text
//! UNKNOWN --register--> RECOVERING --recovered--> ONLINE --lost--> TRANSIENT --register--> RECOVERING
//! ```
//! A process that registers while its last boot is live passes through TRANSIENT within the command: the old boot is over.

use std::collections::BTreeMap;

use types::map::Group;
use types::state::{DeviceState, ProcessState};
use types::{Boot, DeviceId, Epoch, GroupId, HaTime, Incarnation, NodeId, SessionId};

use super::{Session, State, is_live};
use crate::command::{Found, LossReason};
use crate::event::Subject;
use crate::outcome::{Done, Outcome, Refused, Registered, Verdict};

impl State {
    pub(super) fn register(&mut self, node: NodeId, pid: u32, nonce: u64, found: &[(DeviceId, Found)]) -> Outcome {
        let Some(present) = self.map.nodes.get(&node) else { return Err(Refused::NoNode(node)) };
        let (old_boot, was_live) = (present.boot, is_live(present));
        if was_live && self.processes.get(&node).is_some_and(|p| p.nonce == nonce) {
            return Ok(Done::Registered(self.registered(node)));
        }
        if let Some((stranger, _)) = found.iter().find(|(id, _)| self.map.devices.get(id).is_none_or(|d| d.node != node)) {
            return Err(Refused::NoDevice(*stranger));
        }
        // No disk is changed under a process that lives: what is blank here is another directory, and another process by mistake. One that
        // has ended and is not known to have is seen soon; then the same registration is good.
        let living = self.processes.get(&node).filter(|p| was_live && p.pid != pid);
        if let Some(living) = living
            && let Some((device, _)) = found.iter().find(|(id, found)| *found == Found::Blank && self.is_in_use(*id))
        {
            return Err(Refused::Usurped { node, pid: living.pid, device: *device });
        }
        self.move_epoch();
        if was_live {
            self.sessions.remove(&SessionId(old_boot.0));
            self.note(Subject::Process(node), "ended", &format!("{old_boot} is over: it registers again"));
        }
        let boot = Boot(self.map.index);
        let epoch = self.map.epoch;
        self.set_process(node, ProcessState::Recovering, &format!("registered as {boot}"));
        if let Some(n) = self.map.nodes.get_mut(&node) {
            n.boot = boot;
        }
        if let Some(p) = self.processes.get_mut(&node) {
            (p.pid, p.nonce, p.announced) = (pid, nonce, epoch);
        }
        self.counted_from.remove(&node);
        self.sessions.insert(SessionId(boot.0), Session::of_process(node, self.map.ha_time));
        let found: BTreeMap<DeviceId, Found> = found.iter().copied().collect();
        let mut renewed = Vec::new();
        for device in self.devices_of(node) {
            if self.register_device(device, found.get(&device).copied()) {
                renewed.push(device);
            }
        }
        self.reissue_for_return(node, old_boot, &renewed);
        self.is_back(node);
        Ok(Done::Registered(self.registered(node)))
    }

    /// The answer to a registration; the same whenever it is asked for in one boot.
    fn registered(&self, node: NodeId) -> Registered {
        let (boot, epoch) = (self.map.nodes[&node].boot, self.processes[&node].announced);
        let verdict = |id: DeviceId| {
            let device = &self.map.devices[&id];
            match device.state {
                DeviceState::Failed | DeviceState::Transient | DeviceState::Unknown => Verdict::Refuse(device.reason.clone()),
                _ if device.incarnation == Incarnation(boot.0) => Verdict::Format(device.incarnation),
                _ => Verdict::Use(device.incarnation),
            }
        };
        let devices = self.devices_of(node).into_iter().map(|id| (id, verdict(id))).collect();
        Registered { boot, epoch, ha_time: self.map.ha_time, devices }
    }

    pub(super) fn process_lost(&mut self, node: NodeId, boot: Boot, reason: LossReason) -> Outcome {
        let Some(present) = self.map.nodes.get(&node) else { return Err(Refused::NoNode(node)) };
        if present.boot != boot {
            return Err(Refused::OldBoot { boot });
        }
        if !is_live(present) {
            return Ok(Done::AlreadySo);
        }
        self.move_epoch();
        let cause = match reason {
            LossReason::Ended => "its process ended",
            LossReason::LeaseExpired => "its lease is over",
            LossReason::Stopped => "it was stopped",
        };
        self.sessions.remove(&SessionId(boot.0));
        self.set_process(node, ProcessState::Transient, cause);
        for device in self.devices_of(node) {
            if self.map.devices[&device].state != DeviceState::Failed && self.map.devices[&device].state != DeviceState::Unknown {
                self.set_device(device, DeviceState::Transient, cause);
            }
        }
        self.reissue_for_loss(boot);
        Ok(Done::Changed)
    }

    pub(super) fn recovered(&mut self, boot: Boot, epoch: Epoch) -> Outcome {
        let Some(node) = self.live(boot) else { return Err(Refused::OldBoot { boot }) };
        let announced = self.processes[&node].announced;
        if announced != epoch {
            return Err(Refused::OtherEpoch { boot, announced, named: epoch });
        }
        if self.map.nodes[&node].state == ProcessState::Online {
            return Ok(Done::AlreadySo);
        }
        self.move_epoch();
        self.set_process(node, ProcessState::Online, "recovered");
        for device in self.devices_of(node) {
            if self.map.devices[&device].state == DeviceState::Recovering {
                if self.units_missing.contains(&device) {
                    self.set_device(device, DeviceState::Rebalancing, "recovered, and its units of before come back");
                } else {
                    self.set_device(device, DeviceState::Online, "recovered");
                }
                if let Some(extra) = self.devices.get_mut(&device) {
                    extra.blank = false;
                }
            }
        }
        Ok(Done::Changed)
    }

    /// The replicated groups whose `End` a process needs before it reports `Recovered`: those with a device of the node that takes part,
    /// and with a primary or one about to be appointed. A group without either has nobody left to wait for, but where the device lacks what the
    /// group has: it is filled when another member is back, and is no primary before.
    pub fn groups_to_recover(&self, node: NodeId) -> Vec<GroupId> {
        let takes_part = |id: &DeviceId| self.map.devices.get(id).is_some_and(|d| d.node == node && d.state.is_writable());
        let waits = |(id, group): (&GroupId, &Group)| match group {
            Group::Replicated(view) => {
                let appointed = view.primary.is_some() || self.groups.get(id).is_some_and(|g| g.stepping_down.is_some());
                let waits = |member: &DeviceId| takes_part(member) && (appointed || !self.is_whole(*member));
                view.members.iter().any(waits).then_some(*id)
            }
            Group::Erasure(_) => None,
        };
        self.map.groups.iter().filter_map(waits).collect()
    }

    fn is_in_use(&self, id: DeviceId) -> bool {
        let uses = DeviceState::is_writable;
        self.map.devices.get(&id).is_some_and(|device| device.incarnation.0 != 0 && uses(device.state))
    }

    pub(super) fn devices_of(&self, node: NodeId) -> Vec<DeviceId> {
        self.map.devices.values().filter(|d| d.node == node).map(|d| d.id).collect()
    }

    fn set_process(&mut self, node: NodeId, state: ProcessState, cause: &str) {
        let Some(n) = self.map.nodes.get_mut(&node) else { return };
        let what = format!("{} -> {state}", n.state);
        n.state = state;
        let now: HaTime = self.map.ha_time;
        if let Some(p) = self.processes.get_mut(&node) {
            p.since = now;
            p.reason = crate::event::cut(cause);
        }
        self.note(Subject::Process(node), &what, cause);
    }
}
