//! `cluster-tests model`: searches of small worlds.

use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::Result;
use clap::Args;
use cluster_tests::model::{search, state::World, worlds};

/// A search.
#[derive(Args)]
pub struct Model {
    /// Rules to leave out, by commas.
    #[arg(long, default_value = "")]
    without: String,
    /// Steps to begin with.
    #[arg(long, default_value = "")]
    script: String,
    /// Bounds of the world: `ops=1,views=1,crashes=1,blanks=0,marks=0,replacements=0,duplicates=0,lease-ends=0`, and words `leases recovery prune
    /// notices short-redo torn-copies lazy five`.
    #[arg(long)]
    world: Option<String>,
    /// Most states.
    #[arg(long, default_value_t = 1_000_000)]
    states: usize,
    /// Most seconds.
    #[arg(long, default_value_t = 60)]
    seconds: u64,
    /// The worlds that are too large for CI, each as far as the limits go.
    #[arg(long, conflicts_with = "world")]
    large: bool,
    /// Walks at random with this first seed, where one is given.
    #[arg(long)]
    walk: Option<u64>,
}

impl Model {
    /// Does it.
    pub fn run(self) -> Result<ExitCode> {
        let rules = worlds::without(&self.without).map_err(anyhow::Error::msg)?;
        let limits = search::Limits { states: self.states, time: Duration::from_secs(self.seconds) };
        let chosen = match &self.world {
            Some(text) => vec![World::parse(text).map_err(anyhow::Error::msg)?],
            None if self.large => worlds::parse(worlds::LARGE).map_err(anyhow::Error::msg)?,
            None => worlds::parse(worlds::EXHAUSTED).map_err(anyhow::Error::msg)?,
        };
        let violations = chosen.iter().filter(|world| one(world, &rules, &self.script, limits, self.walk)).count();
        Ok(ExitCode::from(u8::from(violations > 0)))
    }
}

/// Searches one world and says what it found; whether that was a violation.
fn one(world: &World, rules: &dtm::Rules, script: &str, limits: search::Limits, walk: Option<u64>) -> bool {
    let began = Instant::now();
    let found = match walk {
        Some(seed) => search::walk(world, rules.clone(), seed, u64::MAX, search::WALK_STEPS, limits.time),
        None => search::breadth_first_after(world, rules.clone(), script, limits),
    };
    let end = if found.complete { "COMPLETE" } else { "cut" };
    println!("{}: {} states, depth {}, {end}, {:.1} s", world.name, found.states, found.depth, began.elapsed().as_secs_f64());
    let Some((violation, trace)) = found.violation else { return false };
    let short = search::shrink(world, rules, &trace);
    println!("{violation}, after {} steps, {} of them needed:", trace.len(), short.len());
    short.iter().for_each(|action| println!("  {}", action));
    true
}
