//! Breadth-first search of a world of one group, and random walks.

use std::sync::Arc;
use std::time::{Duration, Instant};

use dtm::{Config, Rules};
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;

pub use super::breadth::Limits;
use super::breadth::{self, Space};
use super::check;
use super::script;
use super::state::{State, World};
use super::step::{Action, enabled, step};

/// Most steps of one walk.
pub const WALK_STEPS: usize = 150;

/// What a search came to.
pub type Found<A = Action> = breadth::Found<A>;

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
    let config = configure(world, rules);
    let (first, prefix) = match script::play(world, &config, script) {
        Ok(played) => played,
        Err((violation, way)) => return Found::at_once(violation, way),
    };
    let mut found = breadth::search(&OfWorld { world, config: &config }, first, limits);
    if let Some((_, way)) = &mut found.violation {
        way.splice(0..0, prefix);
    }
    found
}

/// The states of a world.
struct OfWorld<'a> {
    world: &'a World,
    config: &'a Arc<Config>,
}

impl Space for OfWorld<'_> {
    type State = State;
    type Action = Action;

    fn hash(&self, state: &State) -> u128 {
        state.hash()
    }

    fn enabled(&self, state: &State) -> Vec<Action> {
        enabled(state, self.world)
    }

    fn advance(&self, state: &State, action: Action) -> Result<Option<State>, String> {
        advance(state, self.world, self.config, action)
    }
}

/// Walks at random from the first state, `walks` times at most so many steps. Walk `i` has the seed `seed + i`.
pub fn walk(world: &World, rules: Rules, seed: u64, walks: u64, steps_max: usize, time: Duration) -> Found {
    let began = Instant::now();
    let config = configure(world, rules);
    let mut found = Found::nothing();
    let first = match State::first(world, &config) {
        Ok(first) => first,
        Err(error) => return Found::at_once(error, Vec::new()),
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
