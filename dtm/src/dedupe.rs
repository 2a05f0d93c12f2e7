//! Duplicates: an `Execute` that comes twice, late, or after its answer was lost, happens once.
//!
//! A name is looked up in the results of what was applied and in the records in flight; a hit is answered when it is STABLE. What is not
//! found and too old to be found is refused: nobody can tell any more whether it happened.

use types::wire::request::{ExecuteReply, Refusal};
use types::{DtxId, HaTime};

use crate::effect::{Effect, Ticket};
use crate::event::{ClientId, Instant};
use crate::replica::Replica;
use crate::role::{Held, Role};

impl Replica {
    /// Answers, or has wait, a call whose transaction is known; whether it is.
    pub(crate) fn is_duplicate(&mut self, client: ClientId, dtx: &DtxId, now: Instant, effects: &mut Vec<Effect>) -> bool {
        if self.config.dedupe_results()
            && let Some((_, outcome)) = self.results.get(dtx)
        {
            let reply = Ok(outcome.clone());
            self.answer(client, reply, Some(self.issued), now, effects);
            return true;
        }
        let (callers_max, waits) = (self.config.callers_max, self.config.dedupe_waits());
        let Role::Primary(primary) = &mut self.role else { return false };
        let Some(seq) = primary.in_flight.get(dtx).copied().filter(|_| self.config.dedupe_log()) else { return false };
        if !waits && let Some(record) = self.log.get(seq) {
            let reply = Ok(record.outcome.clone());
            self.answer(client, reply, None, now, effects);
            return true;
        }
        let callers = primary.callers.entry(seq).or_default();
        if callers.len() < callers_max {
            callers.push(client);
        } else {
            refuse(client, Refusal::Busy("too many copies of one call wait".into()), effects);
        }
        true
    }

    /// Whether a transaction that is not found might have been forgotten.
    pub(crate) fn is_out_of_window(&self, dtx: &DtxId, now: Instant) -> bool {
        let HaTime(present) = self.ha_time(now).max(self.log.last_at());
        dtx.at.0.abs_diff(present) > self.config.window_ms / 2 && self.config.half_window()
    }

    /// Answers a client, with a lease; without one the answer waits for it.
    pub(crate) fn answer(&mut self, client: ClientId, reply: ExecuteReply, after: Option<Ticket>, now: Instant, effects: &mut Vec<Effect>) {
        let after = after.filter(|t| *t > self.committed);
        let until = if self.config.answer_with_lease() { self.lease_until(now) } else { Some(Instant(u64::MAX)) };
        match (until, &mut self.role) {
            (Some(until), _) => effects.push(Effect::Complete { client, reply, after, before: Some(until) }),
            (None, Role::Primary(primary)) if primary.held.len() < self.config.held_max => {
                primary.held.push_back(Held { client, reply, after });
            }
            (None, _) => refuse(client, Refusal::Busy("no lease".into()), effects),
        }
    }
}

/// Tells a client no; a refusal asserts nothing, and waits for nothing.
pub(crate) fn refuse(client: ClientId, refusal: Refusal, effects: &mut Vec<Effect>) {
    effects.push(Effect::Complete { client, reply: Err(refusal), after: None, before: None });
}
