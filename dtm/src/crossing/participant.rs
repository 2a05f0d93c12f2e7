//! A group that has a part: its active primary executes it once, whatever comes again or late, and says so when it is STABLE and applied.

use std::sync::Arc;

use types::object::Versioning;
use types::record::{Coordination, Outcome, Record};
use types::wire::dtm::{Message, Part};
use types::{DeviceId, GroupId, Seq};

use crate::effect::Effect;
use crate::event::Instant;
use crate::replica::{From, Replica};
use crate::role::Role;

/// Parts of one group's transactions that are kept at most: more are let wait until that group says that some are done.
const EXECUTED_MAX: usize = 64 * 1024;

impl Replica {
    /// A part has come. What cannot be done with it now comes again.
    pub(crate) fn on_part(&mut self, from: From, part: Part, now: Instant, effects: &mut Vec<Effect>) {
        let Role::Primary(primary) = &mut self.role else { return };
        if !primary.active || self.committed_applied < primary.base {
            return;
        }
        let name = (part.coordinator, part.seq);
        if let Some(here) = self.crossings.executed(part.coordinator, part.seq, self.config.parts_done_below_low()) {
            if here > self.committed_applied {
                primary.parts.insert(name, (here, from.device));
            } else {
                self.say_part(name, from.device, effects);
            }
            return;
        }
        if let Some((_, whom)) = primary.parts.get_mut(&name) {
            *whom = from.device;
            return;
        }
        let too_old = self.is_out_of_window(&part.dtx, now) && !self.config.parts_exempt();
        if too_old || self.bounds(now).is_err() || self.crossings.executed_of(part.coordinator) >= EXECUTED_MAX {
            return;
        }
        let here = self.execute_part(part, now, effects);
        if let Role::Primary(primary) = &mut self.role {
            primary.parts.insert(name, (here, from.device));
        }
        if !self.config.part_said_when_stable() {
            self.say_part(name, from.device, effects);
        }
    }

    fn execute_part(&mut self, part: Part, now: Instant, effects: &mut Vec<Effect>) -> Seq {
        let Part { dtx, coordinator, seq, low, writes } = part;
        let here = self.log.last().next();
        let record = Arc::new(Record {
            seq: here,
            view: self.promised,
            at: self.ha_time(now).max(self.log.last_at()),
            dtx,
            writes,
            outcome: Outcome::Done { version: here, previous: Vec::new(), versioning: Versioning::Off },
            coordination: Coordination::Part { coordinator, seq, low },
        });
        self.originate(record, effects);
        here
    }

    /// Says of every part that is STABLE and applied that it is. Nothing waits for a sync: what is STABLE is so for ever.
    pub(crate) fn say_parts(&mut self, effects: &mut Vec<Effect>) {
        let shown = self.committed_applied;
        let Role::Primary(primary) = &mut self.role else { return };
        if primary.parts.is_empty() || std::mem::replace(&mut primary.parts_shown, shown) == shown {
            return;
        }
        let ready: Vec<_> = primary.parts.iter().filter(|(_, (here, _))| *here <= shown).map(|(name, (_, whom))| (*name, *whom)).collect();
        for (name, whom) in ready {
            if let Role::Primary(primary) = &mut self.role {
                primary.parts.remove(&name);
            }
            self.say_part(name, whom, effects);
        }
    }

    fn say_part(&self, (coordinator, seq): (GroupId, Seq), whom: DeviceId, effects: &mut Vec<Effect>) {
        let message = Message::PartStable { view: self.promised, participant: self.me.group, seq };
        self.send_to_group(coordinator, whom, message, effects);
    }
}
