//! From what lies on a device to a replica: a new member of a new group, a blank one, or one that comes back.
//!
//! A replica that comes back is built step by step, so that its log need not be in memory at once: state, results, records, then `finish`.
//! What it finds it checks; a device that contradicts itself is an error, and may come back only as a new incarnation.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use types::record::{Record, Row, RowKey};
use types::{Epoch, Seq, ViewNumber};

use crate::config::Config;
use crate::crossing::Crossings;
use crate::effect::Ticket;
use crate::error::DtmError;
use crate::log::Log;
use crate::placement::Placement;
use crate::replica::{Identity, Mark, Replica, Turn};
use crate::results::{Results, StoredResult};
use crate::role::Role;
use crate::state::ReplicaState;

/// A replica that is being brought back.
#[derive(Debug)]
pub struct Restore {
    replica: Replica,
    saved: ReplicaState,
}

impl Replica {
    /// A replica of a group of which the device holds nothing.
    ///
    /// A first member, formatted before the group was created (`created` of the group's view), begins non-blank, as of the view that created
    /// the group: it cannot have lost anything. Any other begins blank: it does not count, and takes nothing of a view before its format.
    pub fn new(me: Identity, config: Arc<Config>, placement: &Placement, created: Epoch) -> Self {
        let first = me.registered <= created && placement.members.contains(&me.device);
        if first { Self::first_member(me, config, ViewNumber(created.0)) } else { Self::blank(me, config) }
    }

    /// A member of a group since the view that created it.
    pub fn first_member(me: Identity, config: Arc<Config>, created: ViewNumber) -> Self {
        let saved = ReplicaState { promised: created, normal: Some(created), ..ReplicaState::default() };
        build(me, config, &saved)
    }

    /// A replica on a device that was formatted after its group had begun.
    pub fn blank(me: Identity, config: Arc<Config>) -> Self {
        let floor = if config.blank_starts_at_epoch() { ViewNumber(me.registered.0) } else { ViewNumber(0) };
        build(me, config, &ReplicaState { promised: floor, ..ReplicaState::default() })
    }
}

impl Restore {
    /// Begins with the state that was saved.
    pub fn new(me: Identity, config: Arc<Config>, mut saved: ReplicaState) -> Self {
        let wipe_due = saved.copying && config.copy_wiped_at_restart();
        if wipe_due {
            saved = ReplicaState { promised: saved.promised, ..ReplicaState::default() };
        }
        let mut replica = build(me, config, &saved);
        (replica.saved, replica.wipe_due) = (true, wipe_due);
        Self { replica, saved }
    }

    /// Whether nothing but the state is wanted: the rest is a piece of a copy that was interrupted.
    pub fn is_over(&self) -> bool {
        self.replica.wipe_due
    }

    /// The next results row: its seq and its value. All of them, in order of seq.
    pub fn result(&mut self, seq: Seq, value: &[u8]) -> Result<(), DtmError> {
        if self.is_over() {
            return Ok(());
        }
        let results = &mut self.replica.results;
        if results.len() == 0 {
            *results = Results::starting_at(seq);
        }
        if seq != results.next() {
            return Err(DtmError::ResultRow(seq));
        }
        let result = StoredResult::decode(value)?;
        self.replica.log.set_last_at(result.at);
        self.replica.results.push(result);
        Ok(())
    }

    /// The next row of [`crate::crossing`]: all of both its catalogues, in whatever order.
    pub fn crossing(&mut self, key: &RowKey, row: &Row) -> Result<(), DtmError> {
        if self.is_over() { Ok(()) } else { self.replica.crossings.take_row(key, row) }
    }

    /// The next record of the log. All of them, in order of seq.
    pub fn record(&mut self, record: Arc<Record>) -> Result<(), DtmError> {
        if self.is_over() {
            return Ok(());
        }
        let log = &mut self.replica.log;
        let expected = log.last().next();
        if record.seq != expected {
            return Err(DtmError::Hole { expected, found: record.seq });
        }
        let before = log.last_position().view;
        if record.view < before || record.view > self.saved.promised {
            return Err(DtmError::View(record.seq));
        }
        log.append(record);
        let last = log.last();
        log.evict(last, self.replica.config.cache_bytes_max);
        Ok(())
    }

    /// The replica, if what was found can be.
    pub fn finish(mut self) -> Result<Replica, DtmError> {
        let last = self.replica.log.last();
        let needed = self.saved.last.max(self.saved.stable).max(self.saved.applied);
        if last < needed {
            return Err(DtmError::Short { last, needed });
        }
        let results = &mut self.replica.results;
        if results.len() == 0 {
            *results = Results::starting_at(self.saved.applied.next());
        }
        if results.next() != self.saved.applied.next() {
            return Err(DtmError::ResultRow(results.next()));
        }
        self.replica.durable.last = last;
        Ok(self.replica)
    }
}

fn build(me: Identity, config: Arc<Config>, saved: &ReplicaState) -> Replica {
    let durable = Mark { ticket: Ticket(0), last: saved.floor.seq, applied: saved.applied, promised: saved.promised, normal: saved.normal };
    Replica {
        me,
        config,
        promised: saved.promised,
        normal: saved.normal,
        stable: saved.stable,
        applied: saved.applied,
        log: Log::new(saved.floor),
        results: Results::starting_at(saved.applied.next()),
        crossings: Crossings::default(),
        issued: Ticket(0),
        issued_sync: Ticket(0),
        committed: Ticket(0),
        synced: Ticket(0),
        marks: VecDeque::new(),
        durable,
        committed_applied: saved.applied,
        turn: Turn::default(),
        saved: false,
        placement: None,
        epoch: Epoch(0),
        lease: None,
        role: Role::Follower,
        matched: Seq(0),
        told_floor: Seq(0),
        ack_to: None,
        all_persistent: saved.floor.seq,
        reading_apply: false,
        copy: None,
        wipe_due: false,
        ended: None,
        heard: BTreeMap::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::effect::Effect;
    use crate::event::Event;
    use crate::results::result_row;
    use crate::testing::{config, identity, placement, record, step};

    fn saved(stable: u64, applied: u64) -> ReplicaState {
        let (promised, normal) = (ViewNumber(10), Some(ViewNumber(10)));
        ReplicaState { promised, normal, last: Seq(3), stable: Seq(stable), applied: Seq(applied), ..ReplicaState::default() }
    }

    fn begin(saved: ReplicaState) -> Restore {
        Restore::new(identity(), Arc::new(config()), saved)
    }

    #[test]
    fn what_is_stable_and_not_applied_is_applied_with_the_first_event() {
        let mut restore = begin(saved(2, 1));
        restore.result(Seq(1), &result_row(&record(1, 10)).1.value).expect("the first");
        for seq in 1..=3 {
            restore.record(record(seq, 10)).expect("dense");
        }
        let mut replica = restore.finish().expect("whole");
        let effects = step(&mut replica, Event::Flush);
        assert!(matches!(&effects[0], Effect::Apply { records, .. } if **records == [record(2, 10)]), "{effects:?}");
        assert_eq!(replica.state(), saved(2, 2));
    }

    #[test]
    fn a_device_that_contradicts_itself_is_refused() {
        let (expected, found) = (Seq(1), Seq(2));
        assert_eq!(begin(saved(0, 0)).record(record(2, 10)), Err(DtmError::Hole { expected, found }));
        assert_eq!(begin(saved(0, 0)).record(record(1, 11)), Err(DtmError::View(Seq(1))));
        let short = begin(saved(0, 0)).finish().map(|_| ());
        assert_eq!(short, Err(DtmError::Short { last: Seq(0), needed: Seq(3) }));
        let mut without = begin(saved(2, 2));
        without.result(Seq(1), &result_row(&record(1, 10)).1.value).expect("the first");
        for seq in 1..=3 {
            without.record(record(seq, 10)).expect("dense");
        }
        assert_eq!(without.finish().map(|_| ()), Err(DtmError::ResultRow(Seq(2))));
    }

    #[test]
    fn only_a_device_formatted_before_its_group_begins_non_blank() {
        let placement = placement(10, identity().device);
        let new = |created| Replica::new(identity(), Arc::new(config()), &placement, Epoch(created));
        assert_eq!(new(10).normal(), Some(ViewNumber(10)));
        let blank = new(1);
        assert_eq!((blank.normal(), blank.promised()), (None, ViewNumber(2)));
    }
}
