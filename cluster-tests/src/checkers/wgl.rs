//! Linearizability of one row by search: every order that real time allows is tried, with memory of what was tried (Wing and Gong; Lowe,
//! "Testing for linearizability", 2017). For conditional writes and deletes, on few operations.

use std::collections::HashSet;

use super::history::{Action, Answer, Condition, Moment, Operation, Value};

/// Most operations on one row that the search takes.
pub const OPERATIONS_MAX: usize = 128;
/// Most states that a search visits before it gives up.
pub const STATES_MAX: usize = 4_000_000;

/// What the search came to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// There is an order.
    Linearizable,
    /// There is none; no order gets past this many operations.
    Violation {
        /// The longest order that was found.
        longest: usize,
    },
    /// Too much to search.
    GaveUp,
}

/// Whether the operations of one row can be put in one order.
pub fn check(operations: &[Operation]) -> Verdict {
    let operations: Vec<Operation> = operations
        .iter()
        .filter(|o| o.answer != Answer::Never && !(o.action == Action::Read && o.answer == Answer::Unknown))
        .map(|o| Operation { ret: if o.answer == Answer::Unknown { Moment::MAX } else { o.ret }, ..*o })
        .collect();
    if operations.len() > OPERATIONS_MAX {
        return Verdict::GaveUp;
    }
    let required = operations.iter().enumerate().filter(|(_, o)| o.answer != Answer::Unknown).fold(0u128, |mask, (i, _)| mask | 1 << i);
    let mut seen: HashSet<(u128, Option<Value>)> = HashSet::new();
    let mut stack = vec![(0u128, None)];
    let mut longest = 0;
    while let Some((done, row)) = stack.pop() {
        if done & required == required {
            return Verdict::Linearizable;
        }
        if !seen.insert((done, row)) {
            continue;
        }
        if seen.len() > STATES_MAX {
            return Verdict::GaveUp;
        }
        longest = longest.max(done.count_ones() as usize);
        let left = || operations.iter().enumerate().filter(move |(i, _)| done & (1 << i) == 0);
        let horizon = left().map(|(_, o)| o.ret).min().unwrap_or(Moment::MAX);
        for (i, operation) in left().filter(|(_, o)| o.call <= horizon) {
            if let Some(row) = step(operation, row) {
                stack.push((done | 1 << i, row));
            }
        }
    }
    Verdict::Violation { longest }
}

/// The row after the operation, where its answer fits the row before it.
fn step(operation: &Operation, row: Option<Value>) -> Option<Option<Value>> {
    let (condition, after) = match operation.action {
        Action::Read => return (operation.answer == Answer::Read(row)).then_some(row),
        Action::Put(value, condition) => (condition, Some(value)),
        Action::Delete(condition) => (condition, None),
    };
    let holds = match condition {
        Condition::Always => true,
        Condition::Absent => row.is_none(),
        Condition::Present => row.is_some(),
        Condition::Is(value) => row == Some(value),
    };
    let told = |told: Option<Option<Value>>| told.is_none_or(|told| told == row);
    match operation.answer {
        Answer::Unknown => Some(if holds { after } else { row }),
        Answer::Done(before) => (holds && told(before)).then_some(after),
        Answer::Refused(now) => (!holds && told(now)).then_some(row),
        Answer::Read(_) | Answer::Never => None,
    }
}

#[cfg(test)]
mod tests {
    use super::super::zone;
    use super::*;
    use rand::{Rng, SeedableRng};
    use rand_chacha::ChaCha8Rng;

    fn op(action: Action, answer: Answer, call: Moment, ret: Moment) -> Operation {
        Operation { client: 0, row: 0, call, ret, action, answer }
    }

    #[test]
    fn two_conditional_writes_on_one_value_cannot_both_happen() {
        let first = op(Action::Put(1, Condition::Absent), Answer::Done(None), 0, 1);
        let swap = |value, answer| op(Action::Put(value, Condition::Is(1)), answer, 2, 9);
        let both = [first, swap(2, Answer::Done(None)), swap(3, Answer::Done(None))];
        assert_eq!(check(&both), Verdict::Violation { longest: 2 });
        let one = [first, swap(2, Answer::Done(None)), swap(3, Answer::Refused(Some(Some(2))))];
        assert_eq!(check(&one), Verdict::Linearizable);
    }

    #[test]
    fn a_deleted_row_does_not_come_back() {
        let put = op(Action::Put(1, Condition::Always), Answer::Done(Some(None)), 0, 1);
        let delete = op(Action::Delete(Condition::Present), Answer::Done(Some(Some(1))), 2, 3);
        let read = |value, call| op(Action::Read, Answer::Read(value), call, call + 1);
        assert_eq!(check(&[put, delete, read(None, 4)]), Verdict::Linearizable);
        assert!(matches!(check(&[put, delete, read(Some(1), 4)]), Verdict::Violation { .. }));
    }

    #[test]
    fn a_refusal_that_no_state_explains_is_found() {
        let put = op(Action::Put(1, Condition::Always), Answer::Done(None), 0, 1);
        let refused = op(Action::Put(2, Condition::Present), Answer::Refused(Some(None)), 2, 3);
        assert!(matches!(check(&[put, refused]), Verdict::Violation { .. }));
        let twice = op(Action::Put(1, Condition::Absent), Answer::Done(None), 4, 5);
        assert!(matches!(check(&[put, twice]), Verdict::Violation { .. }), "executed although the row was there");
    }

    #[test]
    fn an_unanswered_conditional_write_may_have_happened_or_not() {
        let put = op(Action::Put(1, Condition::Always), Answer::Done(None), 0, 1);
        let swap = op(Action::Put(2, Condition::Is(1)), Answer::Unknown, 2, 3);
        for seen in [1, 2] {
            let read = op(Action::Read, Answer::Read(Some(seen)), 4, 5);
            assert_eq!(check(&[put, swap, read]), Verdict::Linearizable);
        }
    }

    /// A small history of overlapping operations on a register; most often nearly right.
    fn random_history(rng: &mut ChaCha8Rng) -> Vec<Operation> {
        let count = rng.random_range(2..9);
        let mut moments: Vec<Moment> = (0..2 * count).collect();
        let mut history = Vec::new();
        let (mut value, mut written) = (None, vec![None]);
        for i in 0..count {
            let at = rng.random_range(0..moments.len().min(4));
            let call = moments.remove(at);
            let ret = moments.remove(rng.random_range(at.min(moments.len() - 1)..moments.len().min(at + 4)));
            let (call, ret) = (call.min(ret), call.max(ret));
            if rng.random_bool(0.5) {
                value = Some(i + 1);
                written.push(value);
                let answer = if rng.random_bool(0.15) { Answer::Unknown } else { Answer::Done(None) };
                history.push(op(Action::Put(i + 1, Condition::Always), answer, call, ret));
            } else {
                let seen = if rng.random_bool(0.7) { value } else { written[rng.random_range(0..written.len())] };
                history.push(op(Action::Read, Answer::Read(seen), call, ret));
            }
        }
        history
    }

    #[test]
    fn zones_and_the_search_agree_on_small_random_histories() {
        let mut rng = ChaCha8Rng::seed_from_u64(7);
        let (mut good, mut bad) = (0, 0);
        for number in 0..20_000 {
            let history = random_history(&mut rng);
            let exhaustive = check(&history) == Verdict::Linearizable;
            assert_eq!(zone::check(&history).is_ok(), exhaustive, "history {number}: {history:?}");
            if exhaustive { good += 1 } else { bad += 1 }
        }
        assert!(good > 2_000 && bad > 2_000, "{good} good and {bad} bad ones: too one-sided to mean anything");
    }
}
