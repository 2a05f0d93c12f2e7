//! The coordinating side: the active primary sends every part of what is unfinished until it is STABLE, then logs `Done` and answers.

use std::collections::BTreeSet;
use std::sync::Arc;

use types::object::Versioning;
use types::record::{Coordination, Outcome, Record};
use types::wire::dtm::Part;
use types::wire::request::Refusal;
use types::{DtxId, GroupId, Seq, SessionId};

use crate::dedupe::refuse;
use crate::effect::Effect;
use crate::event::{ClientId, Instant};
use crate::replica::Replica;
use crate::role::{Primary, Role};

/// The session of what no client asked for: HA gives this number to nobody.
const NOBODY: SessionId = SessionId(0);

/// What a primary knows of an unfinished transaction.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Crossing {
    /// Who waits for it.
    pub(crate) callers: Vec<ClientId>,
    /// Groups whose part is STABLE.
    stable: BTreeSet<GroupId>,
    /// `Done` is in the log.
    done: bool,
    /// When the parts that are not STABLE are sent again.
    again_at: Instant,
    wait_ms: u64,
}

impl Replica {
    /// A transaction over several groups is applied here, by the primary: its parts go out.
    pub(crate) fn begin_crossing(&mut self, seq: Seq, callers: Vec<ClientId>, now: Instant, effects: &mut Vec<Effect>) {
        let wait_ms = self.config.resend_ms;
        let Role::Primary(primary) = &mut self.role else { return };
        let again_at = now.after_ms(wait_ms);
        primary.crossings.insert(seq, Crossing { callers, stable: BTreeSet::new(), done: false, again_at, wait_ms });
        self.send_parts(seq, effects);
    }

    /// What is unfinished as this replica becomes primary.
    pub(crate) fn resume_crossings(&mut self, now: Instant, effects: &mut Vec<Effect>) {
        for seq in self.crossings.all_unfinished() {
            self.begin_crossing(seq, Vec::new(), now, effects);
        }
    }

    fn send_parts(&self, seq: Seq, effects: &mut Vec<Effect>) {
        let (Role::Primary(primary), Some(unfinished)) = (&self.role, self.crossings.unfinished(seq)) else { return };
        let Some(crossing) = primary.crossings.get(&seq) else { return };
        let low = self.crossings.low(self.applied);
        for (group, writes) in unfinished.parts.iter().filter(|(group, _)| !crossing.stable.contains(group)) {
            let part = Part { dtx: unfinished.dtx, coordinator: self.me.group, seq, low, writes: writes.clone() };
            effects.push(Effect::SendPart { group: *group, part });
        }
    }

    /// Sends the parts of a record that is in the log and no more: only the model does, to show why nobody must.
    pub(crate) fn send_parts_early(&self, record: &Record, effects: &mut Vec<Effect>) {
        let Coordination::Coordinator { parts } = &record.coordination else { return };
        let low = self.crossings.low(self.applied);
        for (group, writes) in parts {
            let part = Part { dtx: record.dtx, coordinator: self.me.group, seq: record.seq, low, writes: writes.clone() };
            effects.push(Effect::SendPart { group: *group, part });
        }
    }

    pub(crate) fn on_part_stable(&mut self, participant: GroupId, seq: Seq, effects: &mut Vec<Effect>) {
        let Role::Primary(primary) = &mut self.role else { return };
        let (Some(crossing), Some(unfinished)) = (primary.crossings.get_mut(&seq), self.crossings.unfinished(seq)) else { return };
        let is_news = unfinished.parts.iter().any(|(group, _)| *group == participant) && crossing.stable.insert(participant);
        if crossing.stable.len() == unfinished.parts.len() && !crossing.done {
            primary.crossed.insert(seq);
        }
        if is_news {
            self.send_oldest_again(participant, effects);
        }
    }

    /// A group that has done a part has room for another: the oldest of those that it has let wait goes again now, or each would take a wait of
    /// its own.
    fn send_oldest_again(&self, participant: GroupId, effects: &mut Vec<Effect>) {
        let Role::Primary(primary) = &self.role else { return };
        let has_waited = |crossing: &Crossing| !crossing.done && crossing.wait_ms > self.config.resend_ms;
        let waits = primary.crossings.iter().filter(|(_, crossing)| has_waited(crossing) && !crossing.stable.contains(&participant));
        let mut parts = waits.filter_map(|(seq, _)| {
            let unfinished = self.crossings.unfinished(*seq)?;
            let (_, writes) = unfinished.parts.iter().find(|(group, _)| *group == participant)?;
            let low = self.crossings.low(self.applied);
            Some(Part { dtx: unfinished.dtx, coordinator: self.me.group, seq: *seq, low, writes: writes.clone() })
        });
        effects.extend(parts.next().map(|part| Effect::SendPart { group: participant, part }));
    }

    /// Logs `Done` for what has all its parts STABLE, and answers whoever waits.
    pub(crate) fn finish_crossings(&mut self, now: Instant, effects: &mut Vec<Effect>) {
        loop {
            let Role::Primary(primary) = &mut self.role else { return };
            if !primary.active || self.committed_applied < primary.base {
                // A `Done` may be in the log that is not applied yet.
                return;
            }
            let Some(seq) = primary.crossed.pop_first() else { return };
            let (Some(crossing), Some(unfinished)) = (primary.crossings.get_mut(&seq), self.crossings.unfinished(seq)) else { continue };
            crossing.done = true;
            let callers = std::mem::take(&mut crossing.callers);
            let reply = self.results.get(&unfinished.dtx).map(|(_, outcome)| outcome.clone()).ok_or(Refusal::OutcomeUnknown);
            for client in callers {
                self.answer(client, reply.clone(), Some(self.issued), now, effects);
            }
            let (here, at) = (self.log.last().next(), self.ha_time(now).max(self.log.last_at()));
            let record = Record {
                seq: here,
                view: self.promised,
                at,
                dtx: DtxId { session: NOBODY, counter: seq.0, at },
                writes: Vec::new(),
                outcome: Outcome::Done { version: here, previous: Vec::new(), versioning: Versioning::Off },
                coordination: Coordination::Done { seq },
            };
            self.append(vec![Arc::new(record)], effects);
        }
    }

    /// Has a call wait for the parts of what it asks again, if there are any to wait for; whether it does.
    pub(crate) fn waits_for_parts(&mut self, client: ClientId, seq: Seq, effects: &mut Vec<Effect>) -> bool {
        let callers_max = self.config.callers_max;
        let waits = self.config.answer_when_parts_stable();
        let Role::Primary(primary) = &mut self.role else { return false };
        let Some(crossing) = primary.crossings.get_mut(&seq).filter(|crossing| !crossing.done && waits) else { return false };
        if crossing.callers.len() < callers_max {
            crossing.callers.push(client);
        } else {
            let refusal = self.in_doubt("too many copies of one call wait");
            refuse(client, refusal, effects);
        }
        true
    }

    /// Sends parts again whose time has come.
    pub(crate) fn crossings_tick(&mut self, now: Instant, effects: &mut Vec<Effect>) {
        let max_ms = self.config.resend_max_ms;
        let Role::Primary(primary) = &mut self.role else { return };
        let mut due = Vec::new();
        for (seq, crossing) in primary.crossings.iter_mut().filter(|(_, crossing)| !crossing.done && crossing.again_at <= now) {
            crossing.wait_ms = (crossing.wait_ms * 2).min(max_ms);
            crossing.again_at = now.after_ms(crossing.wait_ms);
            due.push(*seq);
        }
        for seq in due {
            self.send_parts(seq, effects);
        }
    }
}

impl Primary {
    /// When parts are to be sent again.
    pub(crate) fn crossings_deadline(&self) -> Option<Instant> {
        self.crossings.values().filter(|crossing| !crossing.done).map(|crossing| crossing.again_at).min()
    }
}
