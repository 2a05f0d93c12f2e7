//! HA made anew from what one daemon has of it, because a majority of the daemons that voted is lost for good.
//!
//! What the lost ones had agreed on beyond that state is not known and does not count: numbers go on far beyond any that they can have given, so
//! that no boot, view or format of theirs is taken for one of ours, every process has to register again, and every group gets a new view.

use types::map::Group;
use types::{Boot, HaTime, NodeId, ViewNumber};

use super::{State, is_live};
use crate::command::LossReason;
use crate::event::Subject;
use crate::outcome::Refused;

/// How far the log's numbers go on: more than any cluster ever agrees on.
pub const ANEW_ENTRIES: u64 = 1 << 32;

impl State {
    /// The same cluster as of entry `index`, decided on by the daemon of `by` alone.
    pub fn made_anew(&mut self, index: u64, at: HaTime, wall_ms: u64, by: NodeId) -> Result<(), Refused> {
        if self.topology.is_none() {
            return Err(Refused::NotCreated);
        }
        if !self.map.nodes.contains_key(&by) {
            return Err(Refused::NoNode(by));
        }
        let last = self.map.index;
        if index <= last {
            return Err(Refused::Replayed { index, last });
        }
        self.map.index = index;
        self.map.ha_time = self.map.ha_time.max(at);
        self.wall_ms = self.wall_ms.max(wall_ms);
        self.move_epoch();
        let name = self.map.nodes[&by].name.clone();
        let words = format!("an operator asked for it: from what {name} had up to entry {last}");
        self.note(Subject::Cluster, "HA was made anew", &words);
        for node in self.map.nodes.values_mut() {
            node.voter = node.id == by;
        }
        let live: Vec<(NodeId, Boot)> = self.map.nodes.values().filter(|node| is_live(node)).map(|node| (node.id, node.boot)).collect();
        for (node, boot) in live {
            self.process_lost(node, boot, LossReason::LeaseExpired)?;
        }
        let replicated: Vec<_> = self.map.groups.iter().filter(|(_, of)| matches!(of, Group::Replicated(_))).map(|(id, _)| *id).collect();
        for id in replicated {
            if let Some(extra) = self.groups.get_mut(&id) {
                extra.stepping_down = None;
            }
            self.issue(id, None);
        }
        for group in self.map.groups.values_mut() {
            if let Group::Erasure(slots) = group {
                slots.number = ViewNumber(index);
            }
        }
        Ok(())
    }

    /// Wall clock of the leader when it decided the last entry, in milliseconds since 1970.
    pub fn wall_ms(&self) -> u64 {
        self.wall_ms
    }
}
