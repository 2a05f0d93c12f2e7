//! Breadth-first search, and random walks.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::time::{Duration, Instant};

use dtm::{Config, Rules};
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;

use super::check;
use super::script;
use super::state::{State, World};
use super::step::{Action, enabled, step};

/// Most steps of one walk.
pub const WALK_STEPS: usize = 150;

/// What a search came to.
#[derive(Clone, Debug)]
pub struct Found<A = Action> {
    /// States seen.
    pub states: usize,
    /// Depth of the last level that was begun.
    pub depth: usize,
    /// Whether every state of the world was seen.
    pub complete: bool,
    /// The first violation, with the shortest way to it.
    pub violation: Option<(String, Vec<A>)>,
}

/// Limits of a search.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// States.
    pub states: usize,
    /// Time.
    pub time: Duration,
}

fn configure(world: &World, rules: Rules) -> Arc<Config> {
    Arc::new(Config { rules, ..world.config() })
}

/// The next state, checked as a whole.
pub(super) fn advance(state: &State, world: &World, config: &Arc<Config>, action: Action) -> Result<Option<State>, String> {
    let next = step(state, world, config, action)?;
    if let Some(next) = &next {
        check::state(next, world.leases)?;
    }
    Ok(next)
}

/// Searches a world by breadth.
pub fn breadth_first(world: &World, rules: Rules, limits: Limits) -> Found {
    breadth_first_after(world, rules, "", limits)
}

/// Searches what can follow in a world after a script's steps ([`super::script`]); a violation is given with those in front.
pub fn breadth_first_after(world: &World, rules: Rules, script: &str, limits: Limits) -> Found {
    let began = Instant::now();
    let config = configure(world, rules);
    let mut found = Found { states: 0, depth: 0, complete: false, violation: None };
    let (first, prefix) = match script::play(world, &config, script) {
        Ok(played) => played,
        Err(violation) => return Found { violation: Some(violation), ..found },
    };
    let root = first.hash();
    let mut seen: HashMap<u128, (u128, Option<Action>)> = HashMap::from([(root, (root, None))]);
    let mut queue = VecDeque::from([(first, root, 0)]);
    while let Some((state, hash, depth)) = queue.pop_front() {
        found.depth = depth;
        for action in enabled(&state, world) {
            match advance(&state, world, &config, action) {
                Ok(None) => {}
                Ok(Some(next)) => {
                    let next_hash = next.hash();
                    if let std::collections::hash_map::Entry::Vacant(place) = seen.entry(next_hash) {
                        place.insert((hash, Some(action)));
                        queue.push_back((next, next_hash, depth + 1));
                    }
                }
                Err(violation) => {
                    found.states = seen.len();
                    found.violation = Some((violation, prefix.into_iter().chain(way(&seen, hash, action)).collect()));
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
pub(super) fn way<A: Copy>(seen: &HashMap<u128, (u128, Option<A>)>, mut at: u128, last: A) -> Vec<A> {
    let mut way = vec![last];
    while let Some((before, Some(action))) = seen.get(&at) {
        way.push(*action);
        at = *before;
    }
    way.reverse();
    way
}

/// Walks at random from the first state, `walks` times at most so many steps. Walk `i` has the seed `seed + i`.
pub fn walk(world: &World, rules: Rules, seed: u64, walks: u64, steps_max: usize, time: Duration) -> Found {
    let began = Instant::now();
    let config = configure(world, rules);
    let mut found = Found { states: 0, depth: 0, complete: false, violation: None };
    let first = match State::first(world, &config) {
        Ok(first) => first,
        Err(error) => return Found { violation: Some((error, Vec::new())), ..found },
    };
    for number in 0..walks {
        let mut rng = ChaCha8Rng::seed_from_u64(seed + number);
        let mut state = first.clone();
        let mut way = Vec::new();
        while way.len() < steps_max {
            let actions = enabled(&state, world);
            if actions.is_empty() {
                break;
            }
            // Many actions change nothing: a few are tried before the walk is over.
            let next = (0..50).find_map(|_| {
                let action = pick(&actions, &mut rng);
                match advance(&state, world, &config, action) {
                    Ok(None) => None,
                    Ok(Some(next)) => Some((action, Ok(next))),
                    Err(error) => Some((action, Err(error))),
                }
            });
            let Some((action, next)) = next else { break };
            way.push(action);
            found.states += 1;
            found.depth = found.depth.max(way.len());
            match next {
                Ok(next) => state = next,
                Err(violation) => {
                    found.violation = Some((format!("walk {}: {violation}", seed + number), way));
                    return found;
                }
            }
        }
        if began.elapsed() >= time {
            break;
        }
    }
    found
}

/// One of the actions: most often one of the protocol's own, so that a walk does not spend its crashes and views before anything has
/// happened.
fn pick(actions: &[Action], rng: &mut ChaCha8Rng) -> Action {
    let class = |action: &Action| match action {
        Action::Deliver { crash: false, .. } | Action::Sync { .. } | Action::Hear { crash: false, .. } => 0,
        Action::Execute { crash: false, .. } => 1,
        Action::Record | Action::Online { .. } | Action::Renew { .. } => 2,
        _ => 3,
    };
    let wanted = match rng.random_range(0..100) {
        0..70 => 0,
        70..82 => 1,
        82..90 => 2,
        _ => 3,
    };
    let of_class: Vec<&Action> = actions.iter().filter(|action| class(action) == wanted).collect();
    if of_class.is_empty() { actions[rng.random_range(0..actions.len())] } else { *of_class[rng.random_range(0..of_class.len())] }
}

/// Takes away steps of a trace that its violation does not need.
pub fn shrink(world: &World, rules: &Rules, trace: &[Action]) -> Vec<Action> {
    let config = configure(world, rules.clone());
    let fails = |trace: &[Action]| {
        let Ok(mut state) = State::first(world, &config) else { return true };
        for action in trace {
            if !enabled(&state, world).contains(action) {
                continue;
            }
            match advance(&state, world, &config, *action) {
                Ok(Some(next)) => state = next,
                Ok(None) => {}
                Err(_) => return true,
            }
        }
        false
    };
    let mut trace = trace.to_vec();
    loop {
        let before = trace.len();
        for place in (0..trace.len()).rev() {
            let mut shorter = trace.clone();
            shorter.remove(place);
            if fails(&shorter) {
                trace = shorter;
            }
        }
        if trace.len() == before {
            return trace;
        }
    }
}
