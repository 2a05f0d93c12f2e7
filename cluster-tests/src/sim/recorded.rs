//! What one does with the file of a failed run: play it again step by step, make it smaller, draw it.

use std::collections::VecDeque;
use std::io::{BufRead, IsTerminal, Write};
use std::ops::RangeInclusive;
use std::path::Path;

use anyhow::{Context, Result, anyhow, bail};
use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;

use super::cluster::world::ClusterWorld;
use super::crossing::CrossingWorld;
use super::dtm::world::GroupWorld;
use super::ha::world::HaWorld;
use super::heap::Micros;
use super::play::{Played, play};
use super::run::{self, Outcome};
use super::shown::{Arrow, Part, Recorded, kind_of, time};
use super::shrink::{counts, shrink};
use super::trace::{Recording, world_of};

/// Most events that a drawing shows.
const DRAWN_MAX: usize = 90;
/// Most events that a drawing lists.
const LISTED_MAX: usize = 400;

/// What is shown of a recording while it is played.
#[derive(Clone, Debug, Default)]
pub struct Look {
    /// Events of these numbers, from 1, in words, and what became of everybody by them.
    pub numbers: Option<RangeInclusive<u64>>,
    /// Waits for a line of input after each.
    pub step: bool,
}

/// What was made smaller.
#[derive(Clone, Debug, serde::Serialize)]
pub struct Smaller {
    /// How it fails.
    pub violation: String,
    /// Faults, operations and events that there were.
    pub before: (usize, usize, usize),
    /// And that are left.
    pub after: (usize, usize, usize),
    /// How often something was tried.
    pub plays: u32,
    /// Whether nothing more could be taken away.
    pub is_least: bool,
}

/// A recording as it is drawn.
#[derive(Clone, Debug, Default)]
pub struct Drawn {
    /// Of which world.
    pub world: String,
    /// What went wrong.
    pub violation: Option<String>,
    /// How many events there were.
    pub events: u64,
    /// When the last was.
    pub ended: Micros,
    /// What the members of the network are called.
    pub names: Vec<String>,
    /// How they were at the end.
    pub states: Vec<String>,
    /// The last messages, faults and operations.
    pub last: Vec<Shot>,
    /// Messages that were sent meanwhile and never came: when, and what.
    pub lost: Vec<(Micros, Arrow)>,
    /// Every fault and the end of every fault, with its time.
    pub faults: Vec<(Micros, String)>,
    /// The last events of all kinds, in words.
    pub listed: Vec<(u64, Micros, String)>,
}

/// One thing in a drawing.
#[derive(Clone, Debug)]
pub struct Shot {
    /// When.
    pub at: Micros,
    /// A message, and when it was sent.
    pub arrow: Option<(Arrow, Micros)>,
    /// In words.
    pub words: String,
}

/// Plays the recording exactly, and shows what is asked for.
pub fn replay(path: &Path, look: &Look) -> Result<Outcome> {
    match world_of(path)?.as_str() {
        GroupWorld::WORLD => replay_of::<GroupWorld>(path, look),
        HaWorld::WORLD => replay_of::<HaWorld>(path, look),
        ClusterWorld::WORLD => replay_of::<ClusterWorld>(path, look),
        CrossingWorld::WORLD => replay_of::<CrossingWorld>(path, look),
        other => bail!("no world is called `{other}`"),
    }
}

/// Makes the recording smaller and writes what is left to another file.
pub fn smaller(path: &Path, to: &Path, plays_max: u32) -> Result<Smaller> {
    match world_of(path)?.as_str() {
        GroupWorld::WORLD => smaller_of::<GroupWorld>(path, to, plays_max),
        HaWorld::WORLD => smaller_of::<HaWorld>(path, to, plays_max),
        ClusterWorld::WORLD => smaller_of::<ClusterWorld>(path, to, plays_max),
        CrossingWorld::WORLD => smaller_of::<CrossingWorld>(path, to, plays_max),
        other => bail!("no world is called `{other}`"),
    }
}

/// What there is to draw of the recording.
pub fn drawn(path: &Path) -> Result<Drawn> {
    match world_of(path)?.as_str() {
        GroupWorld::WORLD => drawn_of::<GroupWorld>(path),
        HaWorld::WORLD => drawn_of::<HaWorld>(path),
        ClusterWorld::WORLD => drawn_of::<ClusterWorld>(path),
        CrossingWorld::WORLD => drawn_of::<CrossingWorld>(path),
        other => bail!("no world is called `{other}`"),
    }
}

fn load<W: Recorded>(path: &Path) -> Result<Recording<W::Config, W::Event>> {
    Recording::load(W::WORLD, path)
}

fn replay_of<W: Recorded>(path: &Path, look: &Look) -> Result<Outcome> {
    let recording = load::<W>(path)?;
    let mut world = W::of(&recording.config);
    let mut unused = ChaCha8Rng::seed_from_u64(0);
    let (mut number, mut before, mut over) = (0, Vec::new(), false);
    let stdin = std::io::stdin();
    let outcome = run::replay_seen(&mut world, &recording.events, &mut unused, |world, at, event| {
        number += 1;
        let wanted = look.numbers.as_ref().is_some_and(|numbers| numbers.contains(&number));
        if !wanted || over {
            return;
        }
        let mut out = std::io::stdout().lock();
        let states = world.states();
        let changed = world.names().into_iter().zip(&states).enumerate();
        let changed = changed.filter(|(n, (_, state))| !state.is_empty() && before.get(*n) != Some(*state));
        // A reader that closes the pipe has seen enough.
        over |= writeln!(out, "#{number:<7} {:>12}  {}", time(at), world.words(event)).is_err();
        for (_, (name, state)) in changed {
            over |= writeln!(out, "{:24}{name}: {state}", "").is_err();
        }
        before = states;
        if look.step && stdin.is_terminal() {
            over |= stdin.lock().read_line(&mut String::new()).is_ok_and(|bytes| bytes == 0);
        }
    });
    Ok(outcome)
}

fn smaller_of<W: Recorded>(path: &Path, to: &Path, plays_max: u32) -> Result<Smaller> {
    let recording = load::<W>(path)?;
    let without_chance = W::without_chance(&recording.config);
    let before = counts::<W>(&recording.events);
    let shrunk = shrink(|| W::of(&without_chance), &recording.events, plays_max).map_err(|why| anyhow!("{}: {why}", path.display()))?;
    let smaller = Recording { config: recording.config, events: shrunk.events };
    smaller.save(W::WORLD, to)?;
    // What is left is worth nothing unless it shows the same by itself.
    let again = replay_of::<W>(to, &Look::default())?.violation.context("what is left shows nothing wrong when it is played exactly")?;
    if kind_of(&again) != kind_of(&shrunk.violation) {
        bail!("what is left shows something else: {again}");
    }
    let after = counts::<W>(&smaller.events);
    Ok(Smaller { violation: again, before, after, plays: shrunk.plays, is_least: shrunk.is_least })
}

fn drawn_of<W: Recorded>(path: &Path) -> Result<Drawn> {
    let recording = load::<W>(path)?;
    let mut world = W::of(&W::without_chance(&recording.config));
    let mut drawn = Drawn { world: W::WORLD.into(), ..Drawn::default() };
    let (mut last, mut listed) = (VecDeque::new(), VecDeque::new());
    let Played { outcome, steps: _, left } = play(&mut world, &recording.events, |world, step| {
        drawn.events += 1;
        drawn.ended = step.at;
        let words = world.words(&step.event);
        let part = W::part(&step.event);
        let arrow = W::arrow(&step.event).map(|arrow| (arrow, step.caused.unwrap_or(step.at)));
        if part == Part::Fault {
            drawn.faults.push((step.at, words.clone()));
        }
        if arrow.is_some() || matches!(part, Part::Fault | Part::Operation) {
            keep(&mut last, DRAWN_MAX, Shot { at: step.at, arrow, words: words.clone() });
        }
        keep(&mut listed, LISTED_MAX, (drawn.events, step.at, words));
    });
    let began = last.front().map_or(0, |shot| shot.at);
    let lost = left.into_iter().filter(|(at, _)| *at >= began).filter_map(|(at, event)| Some((at, W::arrow(&event)?)));
    drawn.lost = lost.collect();
    drawn.lost.sort_by_key(|(at, _)| *at);
    (drawn.last, drawn.listed) = (last.into(), listed.into());
    (drawn.names, drawn.states, drawn.violation) = (world.names(), world.states(), outcome.violation);
    Ok(drawn)
}

fn keep<T>(list: &mut VecDeque<T>, most: usize, item: T) {
    if list.len() == most {
        list.pop_front();
    }
    list.push_back(item);
}
