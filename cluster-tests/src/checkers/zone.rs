//! Linearizability of one register whose writes are all of different values, in O(n log n): the zones of Gibbons and Korach, "Testing
//! shared memories", SIAM J. Comput. 26(4), 1997, theorem 4.3.
//!
//! A write and the reads that saw its value form a cluster; `finish` is the earliest return in it and `start` the latest call. Two
//! clusters contradict each other where each has something that ended before something of the other began. Where no two do, and no read
//! ended before its write began, the clusters can be put in a row. Conditional writes and deletes are for [`super::wgl`].

use std::collections::HashMap;

use super::history::{Action, Answer, Condition, Moment, Operation, Value};

/// Why a history is not linearizable, or not one that this checker reads.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ZoneError {
    /// Not a plain register's operation.
    #[error("operation {0} is neither a read nor an unconditional write")]
    Kind(usize),
    /// Two writes of one value.
    #[error("value {0} was written twice")]
    Twice(Value),
    /// A value out of nowhere.
    #[error("value {0} was read and never written")]
    Unwritten(Value),
    /// A value before its time.
    #[error("value {0} was read before it was written")]
    BeforeWrite(Value),
    /// Two values that were each there before and after the other; 0 is the beginning.
    #[error("values {0} and {1} each came before the other")]
    Contradiction(Value, Value),
}

/// The value that stands for the row before any write.
const INITIAL: Value = 0;

#[derive(Clone, Copy)]
struct Zone {
    value: Value,
    /// Earliest return.
    finish: Moment,
    /// Latest call.
    start: Moment,
    write_call: Moment,
    seen: bool,
    answered: bool,
}

/// Whether the operations of one row can be put in one order.
pub fn check(operations: &[Operation]) -> Result<(), ZoneError> {
    let zones = zones(operations)?;
    let (mut forward, backward): (Vec<&Zone>, Vec<&Zone>) = zones.iter().partition(|zone| zone.finish < zone.start);
    forward.sort_unstable_by_key(|zone| zone.finish);
    for pair in forward.windows(2) {
        if pair[1].finish < pair[0].start {
            return Err(ZoneError::Contradiction(pair[0].value, pair[1].value));
        }
    }
    for zone in backward {
        // Forward zones are disjoint: of those that finish before this one's latest call, the last reaches furthest.
        let after = forward.partition_point(|other| other.finish < zone.start);
        if let Some(other) = after.checked_sub(1).map(|place| forward[place])
            && zone.finish < other.start
        {
            return Err(ZoneError::Contradiction(other.value, zone.value));
        }
    }
    Ok(())
}

fn zones(operations: &[Operation]) -> Result<Vec<Zone>, ZoneError> {
    // Moments are moved up by one, so that the beginning is before all of them.
    let mut zones = vec![Zone { value: INITIAL, finish: 0, start: 0, write_call: 0, seen: true, answered: true }];
    let mut places: HashMap<Value, usize> = HashMap::with_capacity(operations.len() + 1);
    places.insert(INITIAL, 0);
    for (number, operation) in operations.iter().enumerate() {
        match (operation.action, operation.answer) {
            (Action::Put(value, Condition::Always), Answer::Done(_) | Answer::Unknown) => {
                let answered = operation.answer != Answer::Unknown;
                let finish = if answered { operation.ret.saturating_add(1) } else { Moment::MAX };
                let call = operation.call + 1;
                if places.insert(value, zones.len()).is_some() {
                    return Err(ZoneError::Twice(value));
                }
                zones.push(Zone { value, finish, start: call, write_call: call, seen: false, answered });
            }
            (Action::Read, Answer::Read(_) | Answer::Unknown | Answer::Never) | (Action::Put(_, Condition::Always), Answer::Never) => {}
            _ => return Err(ZoneError::Kind(number)),
        }
    }
    for operation in operations {
        if let Answer::Read(value) = operation.answer {
            let value = value.unwrap_or(INITIAL);
            let zone = &mut zones[*places.get(&value).ok_or(ZoneError::Unwritten(value))?];
            let (call, ret) = (operation.call + 1, operation.ret.saturating_add(1));
            if ret < zone.write_call {
                return Err(ZoneError::BeforeWrite(value));
            }
            zone.seen = true;
            zone.finish = zone.finish.min(ret);
            zone.start = zone.start.max(call);
        }
    }
    // A write that was never answered and never seen may come after everything.
    zones.retain(|zone| zone.seen || zone.answered);
    Ok(zones)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn write(value: Value, call: Moment, ret: Moment) -> Operation {
        Operation { client: 0, row: 0, call, ret, action: Action::Put(value, Condition::Always), answer: Answer::Done(None) }
    }

    fn read(value: Option<Value>, call: Moment, ret: Moment) -> Operation {
        Operation { client: 1, row: 0, call, ret, action: Action::Read, answer: Answer::Read(value) }
    }

    #[test]
    fn a_stale_read_is_found() {
        let history = [write(1, 0, 1), write(2, 2, 3), read(Some(1), 4, 5)];
        assert_eq!(check(&history), Err(ZoneError::Contradiction(1, 2)));
        assert_eq!(check(&[write(1, 0, 1), read(None, 2, 3)]), Err(ZoneError::Contradiction(0, 1)), "a lost write");
    }

    #[test]
    fn a_value_that_comes_back_is_found() {
        let history = [write(1, 0, 9), write(2, 0, 9), read(Some(1), 1, 2), read(Some(2), 3, 4), read(Some(1), 5, 6)];
        assert!(matches!(check(&history), Err(ZoneError::Contradiction(..))));
        assert_eq!(check(&history[..4]), Ok(()));
    }

    #[test]
    fn a_value_read_too_early_or_never_written_is_found() {
        assert_eq!(check(&[read(Some(1), 0, 1), write(1, 2, 3)]), Err(ZoneError::BeforeWrite(1)));
        assert_eq!(check(&[read(Some(7), 0, 1)]), Err(ZoneError::Unwritten(7)));
        assert_eq!(check(&[write(1, 0, 1), write(1, 2, 3)]), Err(ZoneError::Twice(1)));
    }

    #[test]
    fn an_unanswered_write_may_be_seen_late_or_never_but_not_undone() {
        let lost = Operation { ret: Moment::MAX, answer: Answer::Unknown, ..write(2, 2, 3) };
        assert_eq!(check(&[write(1, 0, 1), lost, read(Some(1), 4, 5)]), Ok(()));
        assert_eq!(check(&[write(1, 0, 1), lost, read(Some(1), 4, 5), read(Some(2), 6, 7)]), Ok(()));
        let undone = [write(1, 0, 1), lost, read(Some(2), 4, 5), read(Some(1), 6, 7)];
        assert!(check(&undone).is_err());
    }

    #[test]
    fn a_million_operations_on_one_row_are_checked_quickly() {
        // 256 clients whose operations overlap, every one of them at its place in the order.
        let mut history = Vec::with_capacity(1_000_000);
        let mut last = None;
        for i in 0..1_000_000u64 {
            let (call, ret) = ((i * 10).saturating_sub(1_000), i * 10 + 1_000);
            if i % 2 == 0 {
                history.push(write(i + 1, call, ret));
                last = Some(i + 1);
            } else {
                history.push(read(last, call, ret));
            }
        }
        let began = std::time::Instant::now();
        assert_eq!(check(&history), Ok(()));
        assert!(began.elapsed().as_secs() < 5, "{:?}", began.elapsed());
    }
}
