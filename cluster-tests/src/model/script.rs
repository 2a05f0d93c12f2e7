//! Scripts: the first steps of a search, by hand, so that a deep counterexample is found without searching everything before it.
//!
//! Words, with devices numbered from 1:
//!
//! | word | what happens |
//! |---|---|
//! | `e0@1` | a client asks device 1 for transaction 0 |
//! | `1>2`, `1>2:Peer` | every message on its way from 1 to 2 (with that in it, spaces as `_`) is delivered, oldest view first |
//! | `h2` | device 2 hears what HA said last |
//! | `v2`, `v-` | HA issues a view with primary 2, or with none |
//! | `m2>4@1` | HA replaces member 2 by learner 4, with primary 1 |
//! | `j4` | HA makes device 4 a learner |
//! | `f2` | device 2, which was removed, forgets the group |
//! | `s2` | device 2 syncs |
//! | `c2`, `c2:1` | device 2 dies, nothing (one batch) of what is not synced is kept |
//! | `b2` | device 2 comes back empty |
//! | `x2` | HA says that 2 is away and that no log is kept for it |
//! | `l2`, `r2` | the lease of 2 ends, is renewed |
//! | `+`, `o2` | HA records the view active, learns that 2 has recovered |
//!
//! `e`, `h` and deliveries may end in `!`: the device dies before the sync that follows. Deliveries may end in `*`: the message may come
//! once more.

use std::sync::Arc;

use dtm::Config;

use super::search::advance;
use super::state::{State, World};
use super::step::Action;

/// Plays a script from the first state of a world. A violation comes with the steps to it.
pub fn play(world: &World, config: &Arc<Config>, script: &str) -> Result<(State, Vec<Action>), (String, Vec<Action>)> {
    let mut state = State::first(world, config).map_err(|error| (error, Vec::new()))?;
    let mut way = Vec::new();
    for word in script.split_whitespace() {
        let actions = read(&state, word).ok_or_else(|| (format!("`{word}` is no step of a script"), way.clone()))?;
        for action in actions {
            way.push(action);
            match advance(&state, world, config, action) {
                Ok(Some(next)) => state = next,
                Ok(None) => {}
                Err(violation) => return Err((violation, way)),
            }
        }
    }
    Ok((state, way))
}

fn read(state: &State, word: &str) -> Option<Vec<Action>> {
    let (word, crash) = word.strip_suffix('!').map_or((word, false), |word| (word, true));
    let (word, again) = word.strip_suffix('*').map_or((word, false), |word| (word, true));
    let number = |text: &str| text.parse::<usize>().ok()?.checked_sub(1);
    let one = |action: Action| Some(vec![action]);
    let (first, rest) = word.split_at_checked(1)?;
    match first {
        "e" => {
            let (operation, at) = rest.split_once('@')?;
            one(Action::Execute { operation: operation.parse().ok()?, at: number(at)?, crash })
        }
        "h" => one(Action::Hear { at: number(rest)?, index: state.authority.said.len() - 1, crash }),
        "v" if rest == "-" => one(Action::View { primary: None }),
        "v" => one(Action::View { primary: Some(number(rest)?) }),
        "m" => {
            let (out, rest) = rest.split_once('>')?;
            let (into, primary) = rest.split_once('@')?;
            one(Action::Replace { out: number(out)?, into: number(into)?, primary: number(primary)? })
        }
        "j" => one(Action::Learn { into: number(rest)? }),
        "f" => one(Action::Forget { at: number(rest)? }),
        "s" => one(Action::Sync { at: number(rest)? }),
        "c" => {
            let (at, kept) = rest.split_once(':').unwrap_or((rest, "0"));
            one(Action::Crash { at: number(at)?, kept: kept.parse().ok()? })
        }
        "b" => one(Action::Blank { at: number(rest)? }),
        "x" => one(Action::Mark { at: number(rest)? }),
        "l" => one(Action::LeaseEnds { at: number(rest)? }),
        "r" => one(Action::Renew { at: number(rest)? }),
        "o" => one(Action::Online { at: number(rest)? }),
        "+" => one(Action::Record),
        _ => {
            let (pair, kind) = word.split_once(':').unwrap_or((word, ""));
            let (from, to) = pair.split_once('>')?;
            deliveries(state, number(from)?, number(to)?, kind, crash, again)
        }
    }
}

fn deliveries(state: &State, from: usize, to: usize, kind: &str, crash: bool, again: bool) -> Option<Vec<Action>> {
    let (from, to) = (super::authority::device(from), super::authority::device(to));
    let mut found: Vec<(types::ViewNumber, String, u64)> = state
        .messages
        .iter()
        .filter(|(_, envelope)| envelope.from == from && envelope.to == to)
        .map(|(hash, envelope)| (envelope.message.view(), format!("{:?}", envelope.message), *hash))
        .filter(|(_, text, _)| text.replace(' ', "_").contains(kind))
        .collect();
    found.sort();
    // Where the script means a message and none is there, the script is wrong.
    (!found.is_empty()).then(|| found.into_iter().map(|(_, _, message)| Action::Deliver { message, crash, again }).collect())
}
