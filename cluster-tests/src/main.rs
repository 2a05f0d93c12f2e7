//! `cluster-tests`: simulated runs by seed, recordings played again, made smaller and drawn, and scenarios of real processes with real
//! faults.
//!
//! The last line of `sim --output json`, and each line of `run --output json`, is one JSON object; the exit code is 1 where something
//! went wrong, 2 where a run could not be made, 3 where the machine does not permit it.

mod cli;

use std::process::ExitCode;

use anyhow::Result;
use clap::{Parser, Subcommand};

#[derive(Parser)]
#[command(about = "Redoubt's simulator, model check and harness of real processes")]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Simulated runs: seeds SEED, SEED+1, ...; each that fails leaves a recording.
    Sim(cli::sim::Sim),
    /// Searches small worlds of the machine: all that CI exhausts, or one of the given bounds.
    Model(cli::model::Model),
    /// Runs scenarios with real processes and real faults (docs/harness.md).
    Run(cli::run::Runs),
    /// Scenarios and simulated runs with fresh seeds for hours; adds a row to a table.
    Soak(cli::run::Soaks),
    /// Figures of clusters of real processes, with their limits.
    #[command(subcommand)]
    Bench(cli::bench::Bench),
    /// Plays a recording of a simulated run again, and shows its events.
    Replay(cli::recording::Replay),
    /// Makes a recording of a simulated run smaller: what is left still fails in the same way.
    Shrink(cli::recording::Shrink),
    /// Makes the page of a recorded run: of a simulated one, or of one that `run --record` has written.
    Report(cli::recording::Report),
}

fn main() -> ExitCode {
    run().unwrap_or_else(|error| {
        eprintln!("{error:#}");
        ExitCode::from(cli::NOT_RUN)
    })
}

fn run() -> Result<ExitCode> {
    match Arguments::parse().command {
        Command::Sim(sim) => sim.run(),
        Command::Model(model) => model.run(),
        Command::Run(runs) => runs.run(),
        Command::Soak(soaks) => soaks.run(),
        Command::Bench(bench) => bench.run(),
        Command::Replay(replay) => replay.run(),
        Command::Shrink(shrink) => shrink.run(),
        Command::Report(report) => report.run(),
    }
}
