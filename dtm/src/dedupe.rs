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
            && let Some((seq, outcome)) = self.results.get(dtx)
        {
            let reply = Ok(outcome.clone());
            if self.waits_for_parts(client, seq, effects) {
                return true;
            }
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
            let refusal = self.in_doubt("too many copies of one call wait");
            refuse(client, refusal, effects);
        }
        true
    }

    /// Whether a transaction is known here, executed or in flight: it is answered, not executed again.
    pub fn knows(&self, dtx: &DtxId) -> bool {
        self.results.get(dtx).is_some() || matches!(&self.role, Role::Primary(primary) if primary.in_flight.contains_key(dtx))
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
            (None, _) => refuse(client, self.in_doubt("no lease"), effects),
        }
    }
}

/// Tells a client no; a refusal asserts nothing, and waits for nothing.
pub(crate) fn refuse(client: ClientId, refusal: Refusal, effects: &mut Vec<Effect>) {
    effects.push(Effect::Complete { client, reply: Err(refusal), after: None, before: None });
}

#[cfg(test)]
mod tests {
    use types::ops::Condition;
    use types::record::Outcome;
    use types::{Epoch, Seq};

    use super::*;
    use crate::event::{Event, Lease};
    use crate::testing::{B, lease, persist, persistent, primary, put, said, step};

    fn answered(effects: &[Effect]) -> Vec<(u64, ExecuteReply)> {
        let of = |e: &Effect| match e {
            Effect::Complete { client, reply, .. } => Some((client.0, reply.clone())),
            _ => None,
        };
        effects.iter().filter_map(of).collect()
    }

    fn again(event: Event, client: u64) -> Event {
        let Event::Execute(mut execute) = event else { unreachable!() };
        execute.client = ClientId(client);
        Event::Execute(execute)
    }

    #[test]
    fn a_copy_of_what_is_in_flight_waits_with_it_and_one_of_what_is_done_is_told_the_same() {
        let mut replica = primary();
        let call = put(21, 7, Condition::Absent);
        step(&mut replica, call.clone());
        assert_eq!(step(&mut replica, again(call.clone(), 31)), []);
        step(&mut replica, said(B, persistent(10, 1)));
        let reply = Ok(Outcome::Done { version: Seq(1), previous: vec![None], versioning: types::object::Versioning::Off });
        assert_eq!(answered(&persist(&mut replica)), [(21, reply.clone()), (31, reply.clone())]);
        assert_eq!(answered(&step(&mut replica, again(call, 41))), [(41, reply)]);
        assert_eq!(replica.log_range().1, Seq(1));
    }

    #[test]
    fn what_could_have_been_forgotten_is_refused() {
        let mut replica = primary();
        let Event::Execute(mut execute) = put(21, 7, Condition::Absent) else { unreachable!() };
        let half = replica.config.window_ms / 2;
        execute.dtx.at = HaTime(5000 + half + 1);
        let effects = step(&mut replica, Event::Execute(execute.clone()));
        assert_eq!(answered(&effects), [(21, Err(Refusal::OutcomeUnknown))]);
        execute.dtx.at = HaTime(5000 + half);
        assert_eq!(answered(&step(&mut replica, Event::Execute(execute))), []);
    }

    #[test]
    fn without_a_lease_nobody_is_answered_until_there_is_one() {
        let mut replica = primary();
        step(&mut replica, put(21, 7, Condition::Absent));
        step(&mut replica, said(B, persistent(10, 1)));
        let over = Lease { until: Instant(1000), epoch: Epoch(10), ha_time: HaTime(5000) };
        step(&mut replica, Event::Lease(over));
        assert_eq!(answered(&persist(&mut replica)), []);
        assert!(matches!(&answered(&step(&mut replica, put(22, 8, Condition::Always)))[..], [(22, Err(Refusal::Busy(_)))]));
        let ahead = Lease { until: Instant(2000), epoch: Epoch(11), ha_time: HaTime(5000) };
        assert_eq!(step(&mut replica, Event::Lease(ahead)), [], "HA's log is not taken in up to there");
        assert_eq!(answered(&step(&mut replica, lease())).len(), 1);
    }
}
