//! Faults that are aimed. Each brings about, step by step, the situation in which one rule of leases is all that stands between two
//! primaries of one group: faults that are drawn blindly come to most of these once in thousands of runs, if at all.
//!
//! Whatever a scene does is an ordinary event of the run, so it stands in the recording. It draws nothing: `choice` was drawn for it.

use ha_state::{Change, MemberChange, ViewChange};
use serde::{Deserialize, Serialize};
use types::GroupId;

use super::packet::Happening;
use super::settings::{GROUPS, HOSTS, META};
use super::world::HaWorld;
use crate::sim::heap::{MILLISECOND, Micros};
use crate::sim::network::NodeNumber;
use crate::sim::run::Clock;

/// A situation that a rule is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Scene {
    /// HA's leader is cut off from the majority with the process beside it, which goes on asking it for its lease: only a quorum's word tells
    /// the leader that it is none any more.
    LeaderCutOff,
    /// A primary is told to give up, and its process takes nothing of the log in while its lease is renewed: only the epoch of a grant tells
    /// it that it may not use it.
    Unheard,
    /// The same, and another daemon is elected at once: only its wait of one lease covers what its predecessor granted.
    UnheardAndElected,
    /// A process is started twice while the daemon that has its first registration stands still: only the end of its connection keeps that
    /// registration from ending what came after it.
    StartedTwice,
    /// A process stands still with a renewal on its way, for longer than a lease: only the time of sending tells it that the grant is old.
    Asked,
}

/// All of them.
pub const SCENES: [Scene; 5] = [Scene::LeaderCutOff, Scene::Unheard, Scene::UnheardAndElected, Scene::StartedTwice, Scene::Asked];
/// The longest that a scene takes: faults of its run last longer.
pub const LASTS: Micros = 3000 * MILLISECOND;

type Time<'a, 'b> = &'a mut Clock<'b, Happening>;

impl HaWorld {
    /// Plays it, where what it is about is there.
    pub(super) fn scene(&mut self, scene: Scene, choice: u32, clock: Time<'_, '_>) {
        let host = choice % HOSTS;
        match scene {
            Scene::LeaderCutOff => self.cut_leader_off(choice, clock),
            Scene::Unheard => self.unheard(choice, false, clock),
            Scene::UnheardAndElected => self.unheard(choice, true, clock),
            Scene::StartedTwice => {
                let first = u64::from(choice % 40) * MILLISECOND;
                self.pause(HOSTS + host);
                clock.after(MILLISECOND, Happening::Kill { node: host, seen: MILLISECOND });
                clock.after(10 * MILLISECOND, Happening::Start { node: host });
                clock.after(20 * MILLISECOND + first, Happening::Kill { node: host, seen: MILLISECOND });
                clock.after(30 * MILLISECOND + first, Happening::Start { node: host });
                clock.after(LASTS / 3 + between(choice, LASTS / 3), Happening::Resume { node: HOSTS + host });
            }
            Scene::Asked => self.processes[host as usize].stops_when_it_asks = Some(LASTS / 4 + between(choice, LASTS / 4)),
        }
    }

    fn cut_leader_off(&mut self, choice: u32, clock: Time<'_, '_>) {
        let Some(leader) = self.raft.leader() else { return };
        let host = leader % HOSTS;
        let pairs: Vec<(NodeNumber, NodeNumber)> =
            (0..HOSTS).filter(|other| *other != host).flat_map(|other| [(host, other), (other, host)]).collect();
        pairs.iter().for_each(|(a, b)| self.network.cut(*a, *b));
        clock.after(LASTS / 2 + between(choice, LASTS / 2), Happening::Mend { pairs });
    }

    fn unheard(&mut self, choice: u32, elect: bool, clock: Time<'_, '_>) {
        let group = GroupId { pool: META, index: choice % GROUPS };
        let state = &self.oracle.state;
        let (Some(leader), Some(view)) = (self.raft.leader(), state.map().view(group)) else { return };
        let Some(primary) = view.primary else { return };
        let Some(process) = self.processes.iter_mut().find(|process| process.boot == Some(primary.boot)) else { return };
        process.hears_again = clock.now + LASTS / 2 + between(choice, LASTS / 2);
        let change = Change::ChangeViews(vec![ViewChange { group, from: view.number, change: MemberChange::StepDown }]);
        self.propose(leader, change, clock);
        if elect {
            let next = HOSTS + (leader + 1) % HOSTS;
            clock.after(100 * MILLISECOND, Happening::Do { whim: super::packet::Whim::Elect, choice: next % HOSTS });
        }
    }
}

/// A time below `below`, by a number that was drawn.
fn between(choice: u32, below: Micros) -> Micros {
    u64::from(choice).wrapping_mul(7919 * MILLISECOND) % below
}
