//! `cluster-tests`: simulated runs by seed, and recordings played again.
//!
//! The last line of `sim --output json` is one JSON object; the exit code is 1 where something went wrong.

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Instant;

use anyhow::Result;
use clap::{Parser, Subcommand, ValueEnum};
use cluster_tests::sim::dtm::{self, settings::Settings};
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

#[derive(Subcommand)]
enum Command {
    /// Simulated runs of one replicated group: seeds SEED, SEED+1, ...
    Sim {
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
    /// Plays a recording again.
    Replay {
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
    simulated_seconds: f64,
    wall_seconds: f64,
}

fn main() -> Result<ExitCode> {
    match Arguments::parse().command {
        Command::Sim { seed, runs, record, output } => simulate(seed, runs, record, output),
        Command::Replay { file } => {
            let report = dtm::replay(&file)?;
            println!("{} events, trace hash {:016x}", report.outcome.events, report.outcome.trace_hash);
            println!("{}", report.outcome.violation.as_deref().unwrap_or("nothing went wrong"));
            Ok(ExitCode::from(u8::from(report.outcome.violation.is_some())))
        }
    }
}

fn simulate(first: u64, runs: u64, record: Option<PathBuf>, output: Output) -> Result<ExitCode> {
    let began = Instant::now();
    let mut summary = Summary { seed: first, runs, ..Summary::default() };
    let mut all = cluster_tests::sim::trace::TraceHash::default();
    if let Some(directory) = &record {
        std::fs::create_dir_all(directory)?;
    }
    for seed in first..first + runs {
        let path = record.as_ref().map(|directory| directory.join(format!("dtm-{seed}.events")));
        let report = dtm::run_settings(seed, Settings::draw(seed), path.as_deref());
        all.add(&report.outcome.trace_hash.to_le_bytes());
        summary.events += report.outcome.events;
        summary.answered += report.counts.answered;
        summary.kills += report.counts.kills;
        summary.simulated_seconds += report.counts.simulated as f64 / 1e6;
        if let Some(what) = report.outcome.violation {
            if output == Output::Text {
                println!("seed {seed}: {what}");
            }
            summary.violations.push(Violation { seed, trace_hash: format!("{:016x}", report.outcome.trace_hash), what });
        }
    }
    summary.trace_hash = format!("{:016x}", all.value());
    summary.wall_seconds = began.elapsed().as_secs_f64();
    match output {
        Output::Json => println!("{}", serde_json::to_string(&summary)?),
        Output::Text => println!(
            "{} runs, {} events, {} operations answered, {} kills, {:.0} simulated s in {:.1} s, trace hash {}, {} violations",
            runs,
            summary.events,
            summary.answered,
            summary.kills,
            summary.simulated_seconds,
            summary.wall_seconds,
            summary.trace_hash,
            summary.violations.len()
        ),
    }
    Ok(ExitCode::from(u8::from(!summary.violations.is_empty())))
}
