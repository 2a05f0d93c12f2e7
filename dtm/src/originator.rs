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
        let record = match self.admit(&execute, now).and_then(|()| self.decide(execute, now)) {
            Ok(record) => Arc::new(record),
            Err(refusal) => return refuse(client, refusal, effects),
        };
        let Role::Primary(primary) = &mut self.role else { return };
        primary.in_flight.insert(record.dtx, record.seq);
        primary.in_flight_bytes += record.bytes();
        primary.callers.entry(record.seq).or_default().push(client);
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
        ops::validate(&execute.ops)?;
        if self.is_out_of_window(&execute.dtx, now) {
            return Err(Refusal::OutcomeUnknown);
        }
        let Role::Primary(primary) = &self.role else { return Err(self.wrong_view()) };
        let full =
            primary.in_flight.len() >= self.config.in_flight_records_max || primary.in_flight_bytes >= self.config.in_flight_bytes_max;
        if full {
            return Err(Refusal::Busy("too many transactions in flight".into()));
        }
        if self.results.len() >= self.config.results_max {
            return Err(Refusal::Busy("too many results in the duplicates' window".into()));
        }
        if self.log.bytes() >= self.config.log_bytes_max {
            return Err(Refusal::Busy("the log is full: a member is away".into()));
        }
        Ok(())
    }

    /// The record: outcome and place are decided here, once for all replicas.
    fn decide(&self, execute: Execute, now: Instant) -> Result<Record, Refusal> {
        let Role::Primary(primary) = &self.role else { return Err(self.wrong_view()) };
        let seq = self.log.last().next();
        let at = self.ha_time(now).max(self.log.last_at()).max(HaTime(0));
        let lookup = |row: &RowKey| self.row(primary, &execute.rows, row);
        let (writes, outcome) = ops::decide(&execute.ops, seq, at, &lookup)?;
        let coordination = Coordination::Local;
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
            for client in primary.callers.remove(&record.seq).unwrap_or_default() {
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
            let refusal = self.wrong_view();
            for client in primary.callers.into_values().flatten() {
                refuse(client, refusal.clone(), effects);
            }
            for held in primary.held {
                refuse(held.client, refusal.clone(), effects);
            }
        }
    }
}
