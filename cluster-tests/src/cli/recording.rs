//! `cluster-tests replay|shrink|report`: what one does with a recording.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context, Result};
use clap::Args;
use cluster_tests::harness::report;
use cluster_tests::harness::run::Outcome;
use cluster_tests::sim::recorded::{self, Look};

use super::Output;

/// Plays a recording.
#[derive(Args)]
pub struct Replay {
    /// The recording.
    file: PathBuf,
    /// Shows each event and what became of everybody by it, and waits for Enter where input is a terminal.
    #[arg(long)]
    step: bool,
    /// Shows events from this number on.
    #[arg(long)]
    from: Option<u64>,
    /// Shows events up to this number.
    #[arg(long)]
    to: Option<u64>,
}

impl Replay {
    /// Does it.
    pub fn run(self) -> Result<ExitCode> {
        let shown = self.step || self.from.is_some() || self.to.is_some();
        let numbers = shown.then(|| self.from.unwrap_or(1)..=self.to.unwrap_or(u64::MAX));
        let outcome = recorded::replay(&self.file, &Look { numbers, step: self.step })?;
        println!("{} events, trace hash {:016x}", outcome.events, outcome.trace_hash);
        println!("{}", outcome.violation.as_deref().unwrap_or("nothing went wrong"));
        Ok(ExitCode::from(u8::from(outcome.violation.is_some())))
    }
}

/// Makes a recording smaller.
#[derive(Args)]
pub struct Shrink {
    /// The recording.
    file: PathBuf,
    /// Where what is left goes; beside the recording where not given.
    #[arg(long)]
    to: Option<PathBuf>,
    /// Most attempts.
    #[arg(long, default_value_t = 4000)]
    plays: u32,
    /// Form of the result.
    #[arg(long, value_enum, default_value = "text")]
    output: Output,
}

impl Shrink {
    /// Does it.
    pub fn run(self) -> Result<ExitCode> {
        let to = self.to.unwrap_or_else(|| self.file.with_extension("small.events"));
        let smaller = recorded::smaller(&self.file, &to, self.plays)?;
        match self.output {
            Output::Json => println!("{}", serde_json::to_string(&smaller)?),
            Output::Text => {
                let of = |(faults, operations, events)| format!("{faults} faults, {operations} operations, {events} events");
                println!("{} -> {}, after {} attempts", of(smaller.before), of(smaller.after), smaller.plays);
                let least = if smaller.is_least { "nothing more can be taken away" } else { "more attempts may find more" };
                println!("{}: {least}\n{}", to.display(), smaller.violation);
            }
        }
        Ok(ExitCode::SUCCESS)
    }
}

/// Draws a recording.
#[derive(Args)]
pub struct Report {
    /// The recording.
    file: PathBuf,
    /// Where the page goes; beside the recording where not given.
    #[arg(long)]
    to: Option<PathBuf>,
}

impl Report {
    /// Does it.
    pub fn run(self) -> Result<ExitCode> {
        let to = self.to.unwrap_or_else(|| self.file.with_extension("html"));
        if is_of_processes(&self.file)? {
            report::write(&Outcome::load(&self.file)?, &to)?;
        } else {
            report::simulated::write(&recorded::drawn(&self.file)?, &self.file, &to)?;
        }
        println!("{}", to.display());
        Ok(ExitCode::SUCCESS)
    }
}

/// Records of processes are JSON.
fn is_of_processes(path: &Path) -> Result<bool> {
    let mut first = [0];
    let mut file = std::fs::File::open(path).with_context(|| path.display().to_string())?;
    let read = std::io::Read::read(&mut file, &mut first).with_context(|| path.display().to_string())?;
    Ok(read == 1 && first[0] == b'{')
}
