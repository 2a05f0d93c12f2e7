//! The originator: admits a client's transaction, decides it, gives it a place, and answers when its record is STABLE and applied.

use std::sync::Arc;

use types::ops::{self, OpsError};
use types::record::{Coordination, Outcome, Record, Row, RowKey, Write};
use types::wire::dtm::RECORD_BYTES_MAX;
use types::wire::request::Refusal;
use types::{HaTime, Seq};

use crate::dedupe::refuse;
use crate::effect::{Effect, Ticket};
use crate::event::{Execute, Instant};
use crate::replica::Replica;
use crate::role::{Primary, Role};

impl Replica {
    pub(crate) fn on_execute(&mut self, execute: Execute, now: Instant, effects: &mut Vec<Effect>) {
        let client = execute.client;
        if let Err(refusal) = self.may_originate(&execute, now) {
            return refuse(client, refusal, effects);
        }
        if self.is_duplicate(client, &execute.dtx, now, effects) {
            return;
        }
        if let Err(refusal) = self.admit(&execute, now) {
            return refuse(client, refusal, effects);
        }
        if self.is_throttled(now) {
            return refuse(client, Refusal::Busy("a member catches up".into()), effects);
        }
        let record = match self.decide(execute, now) {
            Ok(record) => Arc::new(record),
            Err(refusal) => return refuse(client, refusal, effects),
        };
        let Role::Primary(primary) = &mut self.role else { return };
        primary.callers.entry(record.seq).or_default().push(client);
        if !self.config.parts_when_stable() {
            self.send_parts_early(&record, effects);
        }
        self.originate(record, effects);
    }

    /// Gives a record its place in the log.
    pub(crate) fn originate(&mut self, record: Arc<Record>, effects: &mut Vec<Effect>) {
        let Role::Primary(primary) = &mut self.role else { return };
        primary.in_flight.insert(record.dtx, record.seq);
        primary.in_flight_bytes += record.bytes();
        for (number, write) in (0u32..).zip(&record.writes) {
            primary.overlay.insert(write.row().clone(), (record.seq, number));
        }
        self.append(vec![record], effects);
    }

    /// Whether this replica may take transactions of that view now.
    fn may_originate(&self, execute: &Execute, now: Instant) -> Result<(), Refusal> {
        let Role::Primary(primary) = &self.role else {
            // Its view may be on the way to being active here: then the client asks again, and needs no newer map.
            let named = self.placement.as_ref().is_some_and(|p| {
                p.number == self.promised && p.number == execute.view && p.primary == Some((self.me.device, self.me.boot))
            });
            return Err(if named { Refusal::Busy("the view is being taken up".into()) } else { self.wrong_view() });
        };
        if execute.view > self.promised {
            return Err(Refusal::Busy("the client knows a later view".into()));
        }
        if execute.view != self.promised {
            return Err(self.wrong_view());
        }
        if !primary.active || self.committed_applied < primary.base {
            return Err(Refusal::Busy("the group is not active yet".into()));
        }
        if self.lease_until(now).is_none() && self.config.answer_with_lease() {
            return Err(Refusal::Busy("no lease".into()));
        }
        Ok(())
    }

    /// The bounds of what is in flight and kept.
    fn admit(&self, execute: &Execute, now: Instant) -> Result<(), Refusal> {
        ops::validate_with(&execute.ops, &execute.parts)?;
        if execute.parts.iter().any(|(group, _)| *group == self.me.group) {
            return Err(OpsError::Parts.into());
        }
        if self.is_out_of_window(&execute.dtx, now) {
            return Err(Refusal::OutcomeUnknown);
        }
        let (unfinished, bytes) = self.crossings.unfinished_size();
        let full = unfinished >= self.config.unfinished_max || bytes >= self.config.unfinished_bytes_max;
        if full && !execute.parts.is_empty() {
            return Err(Refusal::Busy("too many transactions over several groups are not done".into()));
        }
        self.bounds(now)
    }

    /// The bounds of what is in flight and kept, of whatever.
    pub(crate) fn bounds(&self, now: Instant) -> Result<(), Refusal> {
        let Role::Primary(primary) = &self.role else { return Err(self.wrong_view()) };
        let full =
            primary.in_flight.len() >= self.config.in_flight_records_max || primary.in_flight_bytes >= self.config.in_flight_bytes_max;
        if full {
            return Err(Refusal::Busy("too many transactions in flight".into()));
        }
        if self.has_too_many_results(now) {
            return Err(Refusal::Busy("too many results in the duplicates' window".into()));
        }
        if self.log.bytes() >= self.config.log_bytes_max {
            return Err(Refusal::Busy("the log is full: a member is away".into()));
        }
        Ok(())
    }

    /// Whether the results of one window are as many as may be kept. None of them may go before its time: a copy of its transaction would be
    /// executed again. Those that the next record would drop do not count: without it nothing would ever be dropped.
    fn has_too_many_results(&self, now: Instant) -> bool {
        let at = self.ha_time(now).max(self.log.last_at());
        let kept = self.results.len() >= self.config.results_max || self.results.bytes() >= self.config.results_bytes_max;
        kept && !self.results.would_drop(at, self.config.window_ms)
    }

    /// The record: outcome and place are decided here, once for all replicas.
    fn decide(&self, execute: Execute, now: Instant) -> Result<Record, Refusal> {
        let Role::Primary(primary) = &self.role else { return Err(self.wrong_view()) };
        let seq = self.log.last().next();
        let at = self.ha_time(now).max(self.log.last_at()).max(HaTime(0));
        let lookup = |row: &RowKey| self.row(primary, &execute.rows, row);
        let (writes, outcome) = ops::decide(&execute.ops, seq, at, &lookup)?;
        let coordination = match &outcome {
            Outcome::Done { .. } if !execute.parts.is_empty() => Coordination::Coordinator { parts: execute.parts },
            _ => Coordination::Local,
        };
        let record = Record { seq, view: self.promised, at, dtx: execute.dtx, writes, outcome, coordination };
        let previous = if let Outcome::Done { previous, .. } = &record.outcome { previous.len() } else { 0 };
        let bytes = record.bytes() + 10 * previous;
        if bytes > RECORD_BYTES_MAX { Err(OpsError::Bytes(bytes).into()) } else { Ok(record) }
    }

    /// A row as it is after every record in the log.
    fn row(&self, primary: &Primary, device: &[(RowKey, Row)], row: &RowKey) -> Option<Row> {
        if let Some((seq, number)) = primary.overlay.get(row)
            && let Some(record) = self.log.get(*seq)
        {
            return match record.writes.get(*number as usize) {
                Some(Write::Put { value, .. }) => Some(Row { version: *seq, value: value.clone() }),
                _ => None,
            };
        }
        device.iter().find(|(key, _)| key == row).map(|(_, row)| row.clone())
    }

    /// Records have been handed out for applying: whoever waits for them is answered once that is committed.
    pub(crate) fn answer_applied(&mut self, records: &[Arc<Record>], ticket: Ticket, now: Instant, effects: &mut Vec<Effect>) {
        for record in records {
            let Role::Primary(primary) = &mut self.role else { return };
            if primary.in_flight.remove(&record.dtx).is_some() {
                primary.in_flight_bytes = primary.in_flight_bytes.saturating_sub(record.bytes());
            }
            let mut callers = primary.callers.remove(&record.seq).unwrap_or_default();
            match record.coordination {
                // Unless its `Done` is among these records, too.
                Coordination::Coordinator { .. } if self.crossings.unfinished(record.seq).is_some() => {
                    let waits = if self.config.answer_when_parts_stable() { std::mem::take(&mut callers) } else { Vec::new() };
                    self.begin_crossing(record.seq, waits, now, effects);
                }
                Coordination::Done { seq } => drop(primary.crossings.remove(&seq)),
                _ => {}
            }
            for client in callers {
                self.answer(client, Ok(record.outcome.clone()), Some(ticket), now, effects);
            }
        }
    }

    /// The rows on the device show everything up to `applied`.
    pub(crate) fn rows_show(&mut self, applied: Seq) {
        let shown = self.committed_applied;
        self.committed_applied = shown.max(applied);
        let Role::Primary(primary) = &mut self.role else { return };
        for seq in shown.0 + 1..=self.committed_applied.0 {
            let Some(record) = self.log.get(Seq(seq)) else { continue };
            for write in &record.writes {
                if primary.overlay.get(write.row()).is_some_and(|(by, _)| by.0 == seq) {
                    primary.overlay.remove(write.row());
                }
            }
        }
    }

    /// Ends whatever this replica was doing in its view. Whoever waits is sent to the new primary, with the same name.
    pub(crate) fn demote(&mut self, effects: &mut Vec<Effect>) {
        if let Role::Primary(primary) = std::mem::take(&mut self.role) {
            // Only what is STABLE is sure to be there for ever: a later view may replace the rest.
            for heard in self.heard.values_mut() {
                heard.upto = heard.upto.min(self.stable);
            }
            let refusal = self.in_doubt("the view has ended");
            let of_crossings = primary.crossings.into_values().flat_map(|crossing| crossing.callers);
            for client in primary.callers.into_values().flatten().chain(of_crossings) {
                refuse(client, refusal.clone(), effects);
            }
            for held in primary.held {
                refuse(held.client, refusal.clone(), effects);
            }
            let copies = primary.peers.into_iter().filter(|(_, progress)| progress.copy.is_some());
            effects.extend(copies.map(|(target, _)| Effect::CloseCopy { target }));
        }
    }
}

#[cfg(test)]
mod tests {
    use types::ops::Condition;
    use types::wire::dtm::Message;
    use types::{Epoch, ViewNumber};

    use super::*;
    use crate::event::{ClientId, Event};
    use crate::testing::{B, C, ME, V, at, dtx, fresh, persist, persistent, primary, put, redo, row, said, sends, step, view};

    fn told(client: u64, refusal: Refusal) -> Effect {
        Effect::Complete { client: ClientId(client), reply: Err(refusal), after: None, before: None }
    }

    fn decided(seq: u64, number: u64, key: u8, outcome: Outcome) -> Arc<Record> {
        let writes = match outcome {
            Outcome::Done { .. } => vec![Write::Put { row: row(key), value: vec![key] }],
            Outcome::Refused { .. } => Vec::new(),
        };
        let coordination = Coordination::Local;
        Arc::new(Record { seq: Seq(seq), view: V, at: HaTime(5000), dtx: dtx(number), writes, outcome, coordination })
    }

    fn done(seq: u64, previous: Option<u64>) -> Outcome {
        Outcome::Done { version: Seq(seq), previous: vec![previous.map(Seq)], versioning: types::object::Versioning::Off }
    }

    #[test]
    fn results_are_bounded_by_bytes_until_the_next_record_drops_some() {
        let mut replica = primary();
        replica.config = Arc::new(crate::Config { results_bytes_max: 1, ..crate::testing::config() });
        step(&mut replica, put(21, 7, Condition::Always));
        step(&mut replica, said(B, persistent(10, 1)));
        persist(&mut replica);
        assert_eq!(replica.results.len(), 1);
        let full = || Refusal::Busy("too many results in the duplicates' window".into());
        assert_eq!(step(&mut replica, put(22, 8, Condition::Always)), [told(22, full())]);
        // Its copy is answered, not executed: what is kept is kept for the whole window.
        let Event::Execute(mut copy) = put(21, 7, Condition::Always) else { unreachable!() };
        copy.client = ClientId(31);
        let effects = step(&mut replica, Event::Execute(copy.clone()));
        assert!(matches!(effects[..], [Effect::Complete { client: ClientId(31), reply: Ok(_), .. }]), "{effects:?}");
        // One window later the next record drops it, and is taken; the copy's outcome is unknown by then.
        let Event::Lease(lease) = crate::testing::lease() else { unreachable!() };
        let later = HaTime(lease.ha_time.0 + replica.config.window_ms + 1);
        step(&mut replica, Event::Lease(crate::event::Lease { ha_time: later, ..lease }));
        let Event::Execute(mut next) = put(23, 9, Condition::Always) else { unreachable!() };
        next.dtx.at = later;
        let effects = step(&mut replica, Event::Execute(next));
        assert!(matches!(effects[..], [Effect::Append { .. }, ..]), "{effects:?}");
        step(&mut replica, said(B, persistent(10, 2)));
        persist(&mut replica);
        assert_eq!(replica.results.len(), 1, "its own");
        assert_eq!(step(&mut replica, Event::Execute(copy)), [told(31, Refusal::OutcomeUnknown)]);
    }

    #[test]
    fn a_transaction_is_logged_sent_at_once_and_answered_when_stable_applied_and_committed() {
        let mut replica = primary();
        let first = decided(1, 21, 7, done(1, None));
        let ticket = Ticket(2);
        let effects = step(&mut replica, put(21, 7, Condition::Absent));
        assert_eq!(effects, [Effect::Append { ticket, records: vec![first.clone()] }]);
        let message = redo(10, 0, at(0, 0), vec![first.clone()], 0);
        assert_eq!(step(&mut replica, Event::Flush), [sends(B, None, message.clone()), sends(C, None, message)]);
        assert_eq!(step(&mut replica, said(B, persistent(10, 1))), [], "the primary's own copy is not durable");
        let effects = persist(&mut replica);
        let answer =
            Effect::Complete { client: ClientId(21), reply: Ok(done(1, None)), after: Some(Ticket(3)), before: Some(Instant(2000)) };
        let apply = Effect::Apply { ticket: Ticket(3), records: vec![first], dropped: (Seq(1), Seq(0)) };
        assert_eq!(effects, [answer, apply, Effect::SaveState { ticket: Ticket(3), state: replica.state(), sync: false }]);
        assert_eq!(replica.in_flight(), (0, 0));
    }

    #[test]
    fn conditions_see_the_records_in_flight_and_a_refusal_is_logged_too() {
        let mut replica = primary();
        step(&mut replica, put(21, 7, Condition::Absent));
        let effects = step(&mut replica, put(22, 7, Condition::Absent));
        let refused = decided(2, 22, 7, Outcome::Refused { op: 0, current: Some(Seq(1)) });
        assert_eq!(effects, [Effect::Append { ticket: Ticket(3), records: vec![refused] }]);
        let effects = step(&mut replica, put(23, 7, Condition::Version(Seq(1))));
        assert_eq!(effects, [Effect::Append { ticket: Ticket(4), records: vec![decided(3, 23, 7, done(3, Some(1)))] }]);
    }

    #[test]
    fn the_overlay_goes_when_the_rows_show_it() {
        let mut replica = primary();
        step(&mut replica, put(21, 7, Condition::Always));
        step(&mut replica, said(B, persistent(10, 1)));
        persist(&mut replica);
        let overlay = |r: &Replica| matches!(&r.role, Role::Primary(p) if !p.overlay.is_empty());
        assert!(overlay(&replica), "applied, not committed");
        let upto = replica.issued;
        step(&mut replica, Event::Committed(upto));
        assert!(!overlay(&replica));
    }

    #[test]
    fn only_the_active_primary_of_the_clients_view_takes_a_transaction() {
        let mut replica = fresh();
        step(&mut replica, view(10, B));
        let wrong = Refusal::WrongView { current: V, epoch: Epoch(10) };
        assert_eq!(step(&mut replica, put(21, 7, Condition::Always)), [told(21, wrong)]);
        let mut replica = fresh();
        step(&mut replica, view(10, ME));
        assert!(matches!(&step(&mut replica, put(21, 7, Condition::Always))[..], [Effect::Complete { reply: Err(Refusal::Busy(_)), .. }]));
    }

    #[test]
    fn a_primary_that_is_replaced_sends_its_callers_on() {
        let mut replica = primary();
        step(&mut replica, put(21, 7, Condition::Always));
        let effects = step(&mut replica, said(B, Message::Peer { view: ViewNumber(12) }));
        assert_eq!(effects[0], told(21, Refusal::InDoubt { reason: "the view has ended".into(), epoch: Epoch(10) }));
        assert!(!replica.is_primary() && replica.log_range().1 == Seq(1), "its record is there still, and a later view may take it over");
    }

    #[test]
    fn what_is_in_flight_is_bounded() {
        let mut replica = primary();
        let config = crate::Config { in_flight_records_max: 1, ..crate::testing::config() };
        replica.config = Arc::new(config);
        step(&mut replica, put(21, 7, Condition::Always));
        let effects = step(&mut replica, put(22, 8, Condition::Always));
        assert_eq!(effects, [told(22, Refusal::Busy("too many transactions in flight".into()))]);
    }
}
