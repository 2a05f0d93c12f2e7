//! `cluster-tests`: simulated runs by seed, recordings played again, and scenarios of real processes with real faults.
//!
//! The last line of `sim --output json`, and each line of `run --output json`, is one JSON object; the exit code is 1 where something
//! went wrong, 2 where a run could not be made, 3 where the machine does not permit it.

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::Result;
use clap::{Parser, Subcommand, ValueEnum};
use cluster_tests::harness::scenario::{Scenario, Where};
use cluster_tests::harness::soak::Soak;
use cluster_tests::harness::{self, network, read};
use cluster_tests::model::{search, state::World, worlds};
use cluster_tests::sim::dtm::{self, settings::Settings};
use cluster_tests::sim::{crossing, ha};
use serde::Serialize;

/// Exit code where the machine does not permit what a scenario needs.
const NOT_PERMITTED: u8 = 3;
/// Exit code where a run could not be made: a file is wrong, a cluster does not start.
const NOT_RUN: u8 = 2;

#[derive(Parser)]
#[command(about = "Redoubt's simulator, model check and harness of real processes")]
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
    /// Three groups of DTM0 with transactions over several.
    Crossing,
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
        /// The worlds that are too large for CI, each as far as the limits go.
        #[arg(long, conflicts_with = "world")]
        large: bool,
        /// Walks at random with this first seed, where one is given.
        #[arg(long)]
        walk: Option<u64>,
    },
    /// Runs scenarios with real processes and real faults (docs/harness.md).
    Run {
        /// Their files.
        #[arg(required = true)]
        scenarios: Vec<PathBuf>,
        /// Decides all that is drawn; another one each time where not given.
        #[arg(long)]
        seed: Option<u64>,
        /// A page about the run; with several scenarios a directory of pages.
        #[arg(long, value_name = "FILE")]
        report: Option<PathBuf>,
        /// Form of the result; one line of JSON a run.
        #[arg(long, value_enum, default_value = "text")]
        output: Output,
        /// The directory of the cluster stays, also where all went well.
        #[arg(long)]
        keep: bool,
        /// Only reads the files and says what is wrong with them.
        #[arg(long)]
        check: bool,
    },
    /// Scenarios and simulated runs with fresh seeds for hours; adds a row to a table.
    Soak {
        /// How long.
        #[arg(long, default_value_t = 1.0)]
        hours: f64,
        /// A folder of scenarios, or one of them.
        #[arg(long, default_value = "cluster-tests/scenarios")]
        scenarios: PathBuf,
        /// Where pages of failed runs go.
        #[arg(long, default_value = "target/soak")]
        pages: PathBuf,
        /// The table.
        #[arg(long, default_value = "docs/soak.md")]
        table: PathBuf,
        /// The first seed; another one each time where not given.
        #[arg(long)]
        seed: Option<u64>,
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

fn main() -> ExitCode {
    run().unwrap_or_else(|error| {
        eprintln!("{error:#}");
        ExitCode::from(NOT_RUN)
    })
}

fn run() -> Result<ExitCode> {
    match Arguments::parse().command {
        Command::Sim { world, seed, runs, record, output } => simulate(world, seed, runs, record, output),
        Command::Model { without, script, world, states, seconds, large, walk } => {
            let rules = worlds::without(&without).map_err(anyhow::Error::msg)?;
            let limits = search::Limits { states, time: Duration::from_secs(seconds) };
            let chosen = match &world {
                Some(text) => vec![World::parse(text).map_err(anyhow::Error::msg)?],
                None if large => worlds::parse(worlds::LARGE).map_err(anyhow::Error::msg)?,
                None => worlds::parse(worlds::EXHAUSTED).map_err(anyhow::Error::msg)?,
            };
            let violations = chosen.iter().filter(|world| model(world, &rules, &script, limits, walk)).count();
            Ok(ExitCode::from(u8::from(violations > 0)))
        }
        Command::Run { scenarios, seed, report, output, keep, check } => {
            let runs = Runs { scenarios, seed, report, output, keep };
            if check { runs.check() } else { runs.run() }
        }
        Command::Soak { hours, scenarios, pages, table, seed } => {
            let lasts = Duration::from_secs_f64(hours * 3600.0);
            // Small enough that the seeds of simulated runs, which follow from it, do not wrap.
            let seed = seed.unwrap_or_else(|| rand::random::<u64>() >> 16);
            let soaked = Soak { scenarios, lasts, pages, table, seed }.run()?;
            println!("{}", soaked.words(lasts));
            soaked.violations.iter().for_each(|violation| println!("{violation}"));
            Ok(ExitCode::from(u8::from(!soaked.violations.is_empty())))
        }
        Command::Replay { world, file } => {
            let outcome = match world {
                Simulated::Dtm => dtm::replay(&file)?.outcome,
                Simulated::Crossing => crossing::replay(&file)?.outcome,
                Simulated::Ha => ha::replay(&file)?.outcome,
            };
            println!("{} events, trace hash {:016x}", outcome.events, outcome.trace_hash);
            println!("{}", outcome.violation.as_deref().unwrap_or("nothing went wrong"));
            Ok(ExitCode::from(u8::from(outcome.violation.is_some())))
        }
    }
}

/// Scenarios to run.
struct Runs {
    scenarios: Vec<PathBuf>,
    seed: Option<u64>,
    report: Option<PathBuf>,
    output: Output,
    keep: bool,
}

impl Runs {
    fn check(&self) -> Result<ExitCode> {
        for path in &self.scenarios {
            let scenario = read::load(path)?;
            println!("{}: {}", scenario.name.value, scenario.about.trim());
        }
        Ok(ExitCode::SUCCESS)
    }

    fn run(&self) -> Result<ExitCode> {
        let wants_network = |scenario: &Scenario| scenario.topology.network == Where::Own;
        // All files are read before the first run: a mistake in the last is not found after an hour.
        let scenarios = self.scenarios.iter().map(|path| read::load(path)).collect::<Result<Vec<_>>>()?;
        if scenarios.iter().any(wants_network)
            && let Err(why) = network::permitted()
        {
            eprintln!("not permitted on this machine: {why:#}");
            return Ok(ExitCode::from(NOT_PERMITTED));
        }
        let mut failed = false;
        for scenario in &scenarios {
            let outcome = harness::run::run(scenario, self.seed.unwrap_or_else(rand::random), self.keep)?;
            failed |= !outcome.passed;
            self.write_report(&outcome)?;
            match self.output {
                Output::Text => println!("{}", outcome.words()),
                Output::Json => println!("{}", serde_json::to_string(&outcome)?),
            }
        }
        Ok(ExitCode::from(u8::from(failed)))
    }

    fn write_report(&self, outcome: &harness::run::Outcome) -> Result<()> {
        let Some(path) = &self.report else { return Ok(()) };
        if self.scenarios.len() == 1 {
            return harness::report::write(outcome, path);
        }
        std::fs::create_dir_all(path)?;
        harness::report::write(outcome, &path.join(format!("{}.html", outcome.scenario)))
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
        let name = match world {
            Simulated::Dtm => "dtm",
            Simulated::Crossing => "crossing",
            Simulated::Ha => "ha",
        };
        let path = record.as_ref().map(|directory| directory.join(format!("{name}-{seed}.events")));
        let (outcome, simulated) = match world {
            Simulated::Dtm | Simulated::Crossing => {
                let report = if world == Simulated::Dtm {
                    dtm::run_settings(seed, Settings::draw(seed), path.as_deref())
                } else {
                    crossing::run_settings(seed, crossing::draw(seed), path.as_deref()).0
                };
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
