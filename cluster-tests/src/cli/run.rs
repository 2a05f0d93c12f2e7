//! `cluster-tests run|soak`: scenarios of real processes.

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::Result;
use clap::Args;
use cluster_tests::harness::scenario::{Scenario, Where};
use cluster_tests::harness::soak::Soak;
use cluster_tests::harness::{self, network, read};

use super::{NOT_PERMITTED, Output};

/// Scenarios to run.
#[derive(Args)]
pub struct Runs {
    /// Their files.
    #[arg(required = true)]
    scenarios: Vec<PathBuf>,
    /// Decides all that is drawn; another one each time where not given.
    #[arg(long)]
    seed: Option<u64>,
    /// A page about the run; with several scenarios a directory of pages.
    #[arg(long, value_name = "FILE")]
    report: Option<PathBuf>,
    /// All of the run, for `report`; with several scenarios a directory.
    #[arg(long, value_name = "FILE")]
    record: Option<PathBuf>,
    /// Form of the result; one line of JSON a run.
    #[arg(long, value_enum, default_value = "text")]
    output: Output,
    /// The directory of the cluster stays, also where all went well.
    #[arg(long)]
    keep: bool,
    /// Only reads the files and says what is wrong with them.
    #[arg(long)]
    check: bool,
}

impl Runs {
    /// Does it.
    pub fn run(self) -> Result<ExitCode> {
        let wants_network = |scenario: &Scenario| scenario.topology.network == Where::Own;
        // All files are read before the first run: a mistake in the last is not found after an hour.
        let scenarios = self.scenarios.iter().map(|path| read::load(path)).collect::<Result<Vec<_>>>()?;
        if self.check {
            scenarios.iter().for_each(|scenario| println!("{}: {}", scenario.name.value, scenario.about.trim()));
            return Ok(ExitCode::SUCCESS);
        }
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
            if let Some(path) = self.place(self.report.as_ref(), &outcome.scenario, "html")? {
                harness::report::write(&outcome, &path)?;
            }
            if let Some(path) = self.place(self.record.as_ref(), &outcome.scenario, "json")? {
                outcome.save(&path)?;
            }
            match self.output {
                Output::Text => println!("{}", outcome.words()),
                Output::Json => println!("{}", serde_json::to_string(&outcome)?),
            }
        }
        Ok(ExitCode::from(u8::from(failed)))
    }

    /// Where something about a run goes.
    fn place(&self, path: Option<&PathBuf>, scenario: &str, ending: &str) -> Result<Option<PathBuf>> {
        match path {
            Some(path) if self.scenarios.len() > 1 => {
                std::fs::create_dir_all(path)?;
                Ok(Some(path.join(format!("{scenario}.{ending}"))))
            }
            path => Ok(path.cloned()),
        }
    }
}

/// A soak.
#[derive(Args)]
pub struct Soaks {
    /// How long.
    #[arg(long, default_value_t = 1.0)]
    hours: f64,
    /// A folder of scenarios, or one of them.
    #[arg(long, default_value = "cluster-tests/scenarios")]
    scenarios: PathBuf,
    /// No scenarios, nothing but simulated runs: for a machine whose processors others need, too.
    #[arg(long, conflicts_with = "scenarios")]
    simulation: bool,
    /// Where pages of failed runs go.
    #[arg(long, default_value = "target/soak")]
    pages: PathBuf,
    /// The table.
    #[arg(long, default_value = "docs/soak.md")]
    table: PathBuf,
    /// The first seed; another one each time where not given.
    #[arg(long)]
    seed: Option<u64>,
    /// Form of the report.
    #[arg(long, value_enum, default_value = "text")]
    output: Output,
}

impl Soaks {
    /// Does it.
    pub fn run(self) -> Result<ExitCode> {
        let lasts = Duration::from_secs_f64(self.hours * 3600.0);
        // Small enough that the seeds of simulated runs, which follow from it, do not wrap.
        let seed = self.seed.unwrap_or_else(|| rand::random::<u64>() >> 16);
        let Self { scenarios, simulation, pages, table, .. } = self;
        let scenarios = (!simulation).then_some(scenarios);
        let soaked = Soak { scenarios, lasts, pages, table, seed }.run()?;
        match self.output {
            Output::Json => println!("{}", serde_json::to_string(&soaked)?),
            Output::Text => {
                println!("{}", soaked.words());
                soaked.violations.iter().for_each(|violation| println!("{violation}"));
            }
        }
        Ok(ExitCode::from(u8::from(!soaked.violations.is_empty())))
    }
}
