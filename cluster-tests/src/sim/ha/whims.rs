//! What operators and chance do without need: elections, devices that break and return blank, members that change.

use ha_state::{Change, ClusterWish, DeviceWish, MemberChange, NodeWish, State, ViewChange};
use types::{DeviceId, GroupId};

use super::packet::{Happening, Whim};
use super::process::Disk;
use super::settings::{GROUPS, HOSTS, META, devices_of, node_of};
use super::world::HaWorld;
use crate::sim::run::Clock;

/// For how long what is away is waited for, as an operator may want it: for ever, or for as long as faults last.
const AWAY_MS: [u64; 4] = [0, 200, 1000, 3000];

impl HaWorld {
    /// Does it, where it can be done.
    pub(super) fn whim(&mut self, whim: Whim, choice: u32, clock: &mut Clock<'_, Happening>) {
        let id = GroupId { pool: META, index: choice % GROUPS };
        let choose = (choice / GROUPS) as usize;
        let change = match whim {
            Whim::Elect => {
                let node = HOSTS + choice % HOSTS;
                if self.daemon(node).life.is_up() {
                    self.elect(node, u64::from(choice / HOSTS % 4), clock);
                }
                return;
            }
            Whim::Leave => {
                let device = devices_of(choice % HOSTS)[choose % 2];
                let incarnation = self.oracle.state.map().devices.get(&device).map(|d| d.incarnation).unwrap_or_default();
                let wish = if self.oracle.state.leaving().contains(&device) { DeviceWish::Keep } else { DeviceWish::Replace };
                Some(Change::AskDevice { device, incarnation, wish })
            }
            Whim::Away => {
                let ms = AWAY_MS[choose % AWAY_MS.len()];
                Some(Change::AskCluster(if choice.is_multiple_of(2) { ClusterWish::NodeAway(ms) } else { ClusterWish::DeviceAway(ms) }))
            }
            Whim::Maintain => {
                let node = node_of(choice % HOSTS);
                let on = self.oracle.state.maintenance().contains_key(&node);
                Some(Change::AskNode { node, wish: if on { NodeWish::EndMaintenance } else { NodeWish::StartMaintenance } })
            }
            Whim::HangDevice => {
                let disks = &mut self.processes[(choice % HOSTS) as usize].disks;
                // Before groups are there, nothing needs a device, and they would wait for one that has failed.
                let has_groups = self.oracle.state.map().view(id).is_some();
                if let Some(disk) = disks.get_mut(&devices_of(choice % HOSTS)[choose % 2]).filter(|_| has_groups) {
                    disk.hangs = !disk.hangs;
                }
                return;
            }
            Whim::BreakDevice | Whim::BlankDevice => return self.spoil(whim, choice),
            Whim::Learn => view_change(&self.oracle.state, id, |members, _| {
                let others: Vec<_> = (0..HOSTS).flat_map(devices_of).filter(|d| !members.contains(d)).collect();
                Some(MemberChange::Learners(vec![others[choose % others.len()]]))
            }),
            Whim::Replace => view_change(&self.oracle.state, id, |members, learners| {
                Some(MemberChange::Replace { from: members[choose % members.len()], to: *learners.first()? })
            }),
            Whim::StepDown => view_change(&self.oracle.state, id, |_, _| Some(MemberChange::StepDown)),
        };
        if let (Some(change), Some(leader)) = (change, self.raft.leader()) {
            self.propose(leader, change, clock);
        }
    }

    /// A device of the bad host breaks, or is replaced. One at a time, and none before groups are on it: they would wait for it.
    fn spoil(&mut self, whim: Whim, choice: u32) {
        let has_groups = self.oracle.state.map().view(GroupId { pool: META, index: 0 }).is_some();
        let bad = self.settings.bad_host;
        let [one, other] = devices_of(bad);
        let (device, other) = if choice.is_multiple_of(2) { (one, other) } else { (other, one) };
        let disks = &mut self.processes[bad as usize].disks;
        let spoilt = |d: &Disk| d.broken || d.replaced;
        if !has_groups || disks.get(&other).is_some_and(spoilt) {
            return;
        }
        if let Some(disk) = disks.get_mut(&device) {
            match whim {
                Whim::BreakDevice => disk.broken = true,
                _ => disk.replaced = true,
            }
        }
    }
}

fn view_change(state: &State, group: GroupId, change: impl FnOnce(&[DeviceId], &[DeviceId]) -> Option<MemberChange>) -> Option<Change> {
    let view = state.map().view(group)?;
    Some(Change::ChangeViews(vec![ViewChange { group, from: view.number, change: change(&view.members, &view.learners)? }]))
}
