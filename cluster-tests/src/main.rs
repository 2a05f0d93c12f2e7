//! `cluster-tests`: simulated runs by seed, and recordings played again.
//!
//! The last line of `sim --output json` is one JSON object; the exit code is 1 where something went wrong.

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::Result;
use clap::{Parser, Subcommand, ValueEnum};
use cluster_tests::model::{search, state::World, worlds};
use cluster_tests::sim::dtm::{self, settings::Settings};
use cluster_tests::sim::ha;
use serde::Serialize;

#[derive(Parser)]
#[command(about = "Redoubt's simulator and model check")]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Output {
    Text,
    Json,
}

/// What is simulated.
#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Simulated {
    /// One replicated group of DTM0.
    Dtm,
    /// HA: its state, leaders and leases.
    Ha,
}

#[derive(Subcommand)]
enum Command {
    /// Simulated runs: seeds SEED, SEED+1, ...
    Sim {
        /// Of what.
        #[arg(long, value_enum, default_value = "dtm")]
        world: Simulated,
        /// The first seed.
        #[arg(long, default_value_t = 1)]
        seed: u64,
        /// How many.
        #[arg(long, default_value_t = 1)]
        runs: u64,
        /// Where recordings of failures go.
        #[arg(long)]
        record: Option<PathBuf>,
        /// Form of the report.
        #[arg(long, value_enum, default_value = "text")]
        output: Output,
    },
    /// Searches small worlds of the machine: all that CI exhausts, or one of the given bounds.
    Model {
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
        /// Walks at random with this first seed, where one is given.
        #[arg(long)]
        walk: Option<u64>,
    },
    /// Plays a recording again.
    Replay {
        /// Of what it is.
        #[arg(long, value_enum, default_value = "dtm")]
        world: Simulated,
        /// The recording.
        file: PathBuf,
    },
}

#[derive(Serialize)]
struct Violation {
    seed: u64,
    trace_hash: String,
    what: String,
}

#[derive(Default, Serialize)]
struct Summary {
    seed: u64,
    runs: u64,
    trace_hash: String,
    violations: Vec<Violation>,
    events: u64,
    answered: u64,
    kills: u64,
    wipes: u64,
    copies_begun: u64,
    copies_complete: u64,
    simulated_seconds: f64,
    wall_seconds: f64,
}

fn main() -> Result<ExitCode> {
    match Arguments::parse().command {
        Command::Sim { world, seed, runs, record, output } => simulate(world, seed, runs, record, output),
        Command::Model { without, script, world, states, seconds, walk } => {
            let rules = worlds::without(&without).map_err(anyhow::Error::msg)?;
            let limits = search::Limits { states, time: Duration::from_secs(seconds) };
            let chosen = match &world {
                Some(text) => vec![World::parse(text).map_err(anyhow::Error::msg)?],
                None => worlds::parse(worlds::EXHAUSTED).map_err(anyhow::Error::msg)?,
            };
            let violations = chosen.iter().filter(|world| model(world, &rules, &script, limits, walk)).count();
            Ok(ExitCode::from(u8::from(violations > 0)))
        }
        Command::Replay { world, file } => {
            let outcome = match world {
                Simulated::Dtm => dtm::replay(&file)?.outcome,
                Simulated::Ha => ha::replay(&file)?.outcome,
            };
            println!("{} events, trace hash {:016x}", outcome.events, outcome.trace_hash);
            println!("{}", outcome.violation.as_deref().unwrap_or("nothing went wrong"));
            Ok(ExitCode::from(u8::from(outcome.violation.is_some())))
        }
    }
}

/// Searches one world and says what it found; whether that was a violation.
fn model(world: &World, rules: &::dtm::Rules, script: &str, limits: search::Limits, walk: Option<u64>) -> bool {
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

fn simulate(world: Simulated, first: u64, runs: u64, record: Option<PathBuf>, output: Output) -> Result<ExitCode> {
    let began = Instant::now();
    let mut summary = Summary { seed: first, runs, ..Summary::default() };
    let mut all = cluster_tests::sim::trace::TraceHash::default();
    if let Some(directory) = &record {
        std::fs::create_dir_all(directory)?;
    }
    for seed in first..first + runs {
        let name = if world == Simulated::Dtm { "dtm" } else { "ha" };
        let path = record.as_ref().map(|directory| directory.join(format!("{name}-{seed}.events")));
        let (outcome, simulated) = match world {
            Simulated::Dtm => {
                let report = dtm::run_settings(seed, Settings::draw(seed), path.as_deref());
                summary.answered += report.counts.answered;
                summary.kills += report.counts.kills;
                summary.wipes += report.counts.wipes;
                summary.copies_begun += report.counts.copies.0;
                summary.copies_complete += report.counts.copies.1;
                (report.outcome, report.counts.simulated)
            }
            Simulated::Ha => {
                let report = ha::run_settings(seed, ha::settings::Settings::draw(seed), path.as_deref());
                summary.answered += report.counts.grants;
                summary.kills += report.counts.kills;
                (report.outcome, report.counts.simulated)
            }
        };
        all.add(&outcome.trace_hash.to_le_bytes());
        summary.events += outcome.events;
        summary.simulated_seconds += simulated as f64 / 1e6;
        if let Some(what) = outcome.violation {
            if output == Output::Text {
                println!("seed {seed}: {what}");
            }
            summary.violations.push(Violation { seed, trace_hash: format!("{:016x}", outcome.trace_hash), what });
        }
    }
    summary.trace_hash = format!("{:016x}", all.value());
    summary.wall_seconds = began.elapsed().as_secs_f64();
    match output {
        Output::Json => println!("{}", serde_json::to_string(&summary)?),
        Output::Text => println!(
            "{} runs, {} events, {} operations answered, {} kills, {} wipes, {} copies of {} complete, {:.0} simulated s in {:.1} s, trace hash {}, {} violations",
            runs,
            summary.events,
            summary.answered,
            summary.kills,
            summary.wipes,
            summary.copies_complete,
            summary.copies_begun,
            summary.simulated_seconds,
            summary.wall_seconds,
            summary.trace_hash,
            summary.violations.len()
        ),
    }
    Ok(ExitCode::from(u8::from(!summary.violations.is_empty())))
}
