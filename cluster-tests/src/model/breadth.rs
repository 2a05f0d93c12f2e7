//! Search by breadth, of whatever has states and what can happen in them.

use std::collections::{HashMap, VecDeque};
use std::time::{Duration, Instant};

/// States, and what leads from one to another.
pub trait Space {
    /// A state.
    type State;
    /// One thing that can happen.
    type Action: Copy;

    /// What makes a state differ from others.
    fn hash(&self, state: &Self::State) -> u128;

    /// What can happen in a state.
    fn enabled(&self, state: &Self::State) -> Vec<Self::Action>;

    /// The state after; `None` where nothing changes. An error is a violation.
    fn advance(&self, state: &Self::State, action: Self::Action) -> Result<Option<Self::State>, String>;

    /// Looks at a state that was not seen before. An error is a violation.
    fn look(&self, _state: &Self::State) -> Result<(), String> {
        Ok(())
    }
}

/// What a search came to.
#[derive(Clone, Debug)]
pub struct Found<A> {
    /// States seen.
    pub states: usize,
    /// Depth of the last level that was begun.
    pub depth: usize,
    /// Whether every state of the world was seen.
    pub complete: bool,
    /// The first violation, with the shortest way to it.
    pub violation: Option<(String, Vec<A>)>,
}

impl<A> Found<A> {
    /// Nothing was looked at.
    pub fn nothing() -> Self {
        Self { states: 0, depth: 0, complete: false, violation: None }
    }

    /// A violation before anything could be searched.
    pub fn at_once(violation: String, way: Vec<A>) -> Self {
        Self { violation: Some((violation, way)), ..Self::nothing() }
    }
}

/// Limits of a search.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// States.
    pub states: usize,
    /// Time.
    pub time: Duration,
}

/// For each state seen, by its hash: the one before it, and what led here.
type Seen<A> = HashMap<u128, (u128, Option<A>)>;

/// Searches what can follow from a state.
pub fn search<S: Space>(space: &S, first: S::State, limits: Limits) -> Found<S::Action> {
    let began = Instant::now();
    let mut found = Found::nothing();
    let root = space.hash(&first);
    let mut seen: Seen<S::Action> = HashMap::from([(root, (root, None))]);
    let mut queue = VecDeque::from([(first, root, 0)]);
    while let Some((state, hash, depth)) = queue.pop_front() {
        found.depth = depth;
        for action in space.enabled(&state) {
            let next = space.advance(&state, action).and_then(|next| match next.map(|next| (space.hash(&next), next)) {
                Some((next_hash, next)) if !seen.contains_key(&next_hash) => space.look(&next).map(|()| Some((next_hash, next))),
                _ => Ok(None),
            });
            match next {
                Ok(None) => {}
                Ok(Some((next_hash, next))) => {
                    seen.insert(next_hash, (hash, Some(action)));
                    queue.push_back((next, next_hash, depth + 1));
                }
                Err(violation) => {
                    found.states = seen.len();
                    found.violation = Some((violation, way(&seen, hash, action)));
                    return found;
                }
            }
        }
        found.states = seen.len();
        if found.states >= limits.states || began.elapsed() >= limits.time {
            return found;
        }
    }
    found.complete = true;
    found
}

/// The way to a state, and a last step from it.
fn way<A: Copy>(seen: &Seen<A>, mut at: u128, last: A) -> Vec<A> {
    let mut way = vec![last];
    while let Some((before, Some(action))) = seen.get(&at) {
        way.push(*action);
        at = *before;
    }
    way.reverse();
    way
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Numbers that can be doubled or grow by one, up to a bound; one of them is bad.
    struct Numbers {
        bad: u32,
    }

    impl Space for Numbers {
        type State = u32;
        type Action = char;

        fn hash(&self, state: &u32) -> u128 {
            u128::from(*state)
        }

        fn enabled(&self, state: &u32) -> Vec<char> {
            if *state < 100 { vec!['+', '*'] } else { Vec::new() }
        }

        fn advance(&self, state: &u32, action: char) -> Result<Option<u32>, String> {
            let next = if action == '+' { state + 1 } else { state * 2 };
            Ok((next != *state).then_some(next))
        }

        fn look(&self, state: &u32) -> Result<(), String> {
            if *state == self.bad { Err(format!("{state} is bad")) } else { Ok(()) }
        }
    }

    #[test]
    fn the_shortest_way_to_what_is_bad_is_found_and_where_nothing_is_all_is_seen() {
        let limits = Limits { states: usize::MAX, time: Duration::from_secs(60) };
        let found = search(&Numbers { bad: 26 }, 1, limits);
        assert_eq!(found.violation, Some(("26 is bad".into(), vec!['+', '+', '*', '*', '+', '*'])), "1, 2, 3, 6, 12, 13, 26");
        let all = search(&Numbers { bad: 1000 }, 1, limits);
        assert!(all.complete && all.violation.is_none() && all.states > 100, "{all:?}");
        assert!(!search(&Numbers { bad: 1000 }, 1, Limits { states: 5, ..limits }).complete);
    }
}
