//! The invariants of DTM0 as far as they can be seen from outside the machine: on the disks, in the answers, in what was applied.

use std::collections::BTreeMap;

use dtm::Report;
use types::record::{Outcome, RowKey, Write};
use types::wire::request::ExecuteReply;
use types::{DeviceId, DtxId, Epoch, Seq, Version};

use super::client::{Done, value_of_bytes};
use super::device::Device;
use super::node::{Process, Seen};
use crate::checkers::durability::{Answered, Holding};
use crate::checkers::history::{Action, Answer, Operation, Value, by_row};
use crate::checkers::one_history::OneHistory;
use crate::checkers::{replicas_equal, wgl, zone};

/// What the oracle remembers.
#[derive(Clone, Debug, Default)]
pub struct Oracle {
    /// What was applied.
    pub history: OneHistory,
    /// What was answered.
    pub answered: Answered,
    /// The greatest seq that any replica called STABLE.
    stable: Seq,
    /// The greatest seq that was answered.
    answered_upto: Seq,
    /// Whether replicas may need a full copy.
    copies: bool,
    /// For each announcement of RECOVERING, what had been answered then.
    announced: BTreeMap<Epoch, Seq>,
    /// The first thing that went wrong.
    pub violation: Option<String>,
}

impl Oracle {
    /// Nothing has happened; `copies` says whether replicas may need a full copy.
    pub fn new(copies: bool) -> Self {
        Self { copies, ..Self::default() }
    }

    /// Notes that something is wrong.
    pub fn fail(&mut self, what: String) {
        self.violation.get_or_insert(what);
    }

    /// Something announced a process RECOVERING.
    pub fn announce(&mut self, epoch: Epoch) {
        self.announced.insert(epoch, self.answered_upto);
    }

    /// Takes in what one process did, and checks what it could have broken.
    pub fn look(&mut self, node: usize, seen: Vec<Seen>, processes: &[Process]) {
        let filled = seen.iter().any(|what| matches!(what, Seen::Filled(_)));
        for what in seen {
            if let Err(error) = self.take(node, what, processes) {
                return self.fail(error);
            }
        }
        if let Err(error) = self.stable_is_held(node, processes) {
            self.fail(error);
        }
        if filled && let Err(error) = self.is_the_history(&processes[node]) {
            self.fail(error);
        }
    }

    /// Whether the rows of a device are what the records up to its `applied` make of nothing.
    fn is_the_history(&self, process: &Process) -> Result<(), String> {
        let device = process.disk.current();
        let mut rows: BTreeMap<&RowKey, (Version, &[u8])> = BTreeMap::new();
        for record in self.history.records().take_while(|record| record.seq <= device.applied()) {
            for write in &record.writes {
                match write {
                    Write::Put { row, value } => drop(rows.insert(row, (record.seq, value))),
                    Write::Delete { row } => drop(rows.remove(row)),
                }
            }
        }
        let held = device.rows.iter().filter(|(key, _)| !dtm::crossing::is_of_machine(key.catalogue));
        let held: BTreeMap<&RowKey, (Version, &[u8])> = held.map(|(key, row)| (key, (row.version, row.value.as_slice()))).collect();
        if held != rows {
            return Err(format!("full copy: {} has other rows at {} than the history makes", process.device(), device.applied()));
        }
        Ok(())
    }

    fn take(&mut self, node: usize, seen: Seen, processes: &[Process]) -> Result<(), String> {
        let process = &processes[node];
        match seen {
            Seen::Applied(records) => records.iter().try_for_each(|record| self.history.apply(process.device(), record)),
            Seen::CopyBegun => Ok(()),
            Seen::Restored(applied) | Seen::Filled(applied) => {
                self.history.restart(process.device(), applied);
                Ok(())
            }
            Seen::Cut(after) => {
                // What is STABLE is never cut: after the batch it is still held by as many.
                let mut seq = after.next();
                while seq <= self.stable {
                    if let Some(dtx) = self.history.at(seq).map(|r| r.dtx) {
                        held(seq, dtx, processes, |p| p.disk.current())?;
                    }
                    seq = seq.next();
                }
                Ok(())
            }
            Seen::Answered(dtx, reply) => self.answer(dtx, &reply, processes),
            Seen::Reported(report) => self.report(process, &report),
            Seen::Broken(what) => Err(what),
        }
    }

    fn answer(&mut self, dtx: DtxId, reply: &ExecuteReply, processes: &[Process]) -> Result<(), String> {
        let Ok(outcome) = reply else { return Ok(()) };
        let Some(seq) = self.history.place_of(&dtx) else { return Err(format!("{dtx} was answered {outcome:?} and not applied")) };
        if let Outcome::Done { version, .. } = outcome
            && *version != seq
        {
            return Err(format!("{dtx} was answered {version} and applied at {seq}"));
        }
        self.answered.answer(dtx, seq, outcome)?;
        self.answered_upto = self.answered_upto.max(seq);
        held(seq, dtx, processes, |p| p.disk.synced())
    }

    fn report(&self, process: &Process, report: &Report) -> Result<(), String> {
        match report {
            Report::Active { .. } => Ok(()),
            Report::Recovered { epoch, .. } => {
                let need = self.announced.get(epoch).copied().unwrap_or_default();
                let has = held_upto(process);
                if has < need {
                    return Err(format!(
                        "recovery completeness: {} recovered from {epoch} with {has}, {need} was answered",
                        process.device()
                    ));
                }
                Ok(())
            }
            Report::NeedsCopy { .. } if self.copies => Ok(()),
            Report::Filled { .. } => Ok(()),
            Report::Amnesia { .. } | Report::NeedsCopy { .. } | Report::Diverged { .. } => {
                Err(format!("{} reports {report:?}, and no disk lied", process.device()))
            }
        }
    }

    /// Whatever a replica newly calls STABLE is durable at f+1.
    fn stable_is_held(&mut self, node: usize, processes: &[Process]) -> Result<(), String> {
        let Some(replica) = &processes[node].replica else { return Ok(()) };
        while self.stable < replica.stable() {
            let seq = self.stable.next();
            let dtx = processes[node].disk.current().log.get(&seq).map(|r| r.dtx).or_else(|| self.history.at(seq).map(|r| r.dtx));
            let Some(dtx) = dtx else { return Err(format!("{} calls {seq} STABLE and does not hold it", processes[node].device())) };
            held(seq, dtx, processes, |p| p.disk.synced())?;
            self.stable = seq;
        }
        Ok(())
    }

    /// Everything is over and well: all that can only be said at the end.
    pub fn finish(&mut self, history: &[Done], processes: &[Process]) -> Result<(), String> {
        let replicas = processes.iter().map(|p| (p.device(), (p.disk.current().applied(), &p.disk.current().rows))).collect();
        replicas_equal::check(&replicas)?;
        let holding = |p: &Process| Holding { log: p.disk.current().log.clone(), applied: p.disk.current().applied() };
        let held: BTreeMap<DeviceId, Holding> = processes.iter().map(|p| (p.device(), holding(p))).collect();
        self.answered.check(&held, processes.len())?;
        self.linearizable(history)
    }

    /// Whether all have applied the same, and everything.
    pub fn is_converged(processes: &[Process]) -> bool {
        let last = |p: &Process| p.replica.as_ref().map(|r| (r.applied(), r.log_range().1, p.disk.current().applied()));
        let first = last(&processes[0]);
        first.is_some_and(|(applied, end, disk)| applied == end && disk == end) && processes.iter().all(|p| last(p) == first)
    }

    fn linearizable(&self, history: &[Done]) -> Result<(), String> {
        let mut values: BTreeMap<Version, Value> = BTreeMap::new();
        for record in self.history.records() {
            for write in &record.writes {
                if let Write::Put { value, .. } = write {
                    values.insert(record.seq, value_of_bytes(value));
                }
            }
        }
        let operations: Vec<Operation> = history.iter().map(|done| with_values(done, &values)).collect();
        for row in by_row(&operations) {
            let plain = row.iter().all(|o| matches!(o.action, Action::Read | Action::Put(_, crate::checkers::history::Condition::Always)));
            if plain {
                zone::check(&row).map_err(|e| format!("row {} is not linearizable: {e}: {row:?}", row[0].row))?;
            } else if let verdict @ wgl::Verdict::Violation { .. } = wgl::check(&row) {
                return Err(format!("row {} is not linearizable: {verdict:?}: {row:?}", row[0].row));
            }
        }
        Ok(())
    }
}

/// Whether a record is at f+1 of the disks, in what is synced of them or in all of it.
fn held<'a>(seq: Seq, dtx: DtxId, processes: &'a [Process], of: impl Fn(&'a Process) -> &'a Device) -> Result<(), String> {
    let holds = |p: &&'a Process| match of(p).log.get(&seq) {
        Some(record) => record.dtx == dtx,
        None => seq <= of(p).applied(),
    };
    let holders = processes.iter().filter(holds).count();
    // A device that came back empty is one of the f that may be lost.
    let lost = processes.iter().filter(|p| p.is_blank()).count();
    if holders + lost <= processes.len() / 2 {
        return Err(format!("{dtx} at {seq} is called STABLE, and {holders} of {} hold it", processes.len()));
    }
    Ok(())
}

fn with_values(done: &Done, values: &BTreeMap<Version, Value>) -> Operation {
    let before = done.version_before.map(|version| version.map(|v| values.get(&v).copied().unwrap_or(Value::MAX)));
    let answer = match done.operation.answer {
        Answer::Done(_) => Answer::Done(before),
        Answer::Refused(_) => Answer::Refused(before),
        other => other,
    };
    Operation { answer, ..done.operation }
}

/// The last seq that a process durably holds.
fn held_upto(process: &Process) -> Seq {
    let device = process.disk.synced();
    device.log.last_key_value().map_or(Seq(0), |(seq, _)| *seq).max(device.applied())
}
