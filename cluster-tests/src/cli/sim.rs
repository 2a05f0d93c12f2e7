//! `cluster-tests sim`: simulated runs, one after the other.

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Instant;

use anyhow::Result;
use clap::{Args, ValueEnum};
use cluster_tests::sim::heap::Micros;
use cluster_tests::sim::run::Outcome;
use cluster_tests::sim::trace::TraceHash;
use cluster_tests::sim::{cluster, crossing, dtm, ha};
use serde::Serialize;

use super::Output;

/// What is simulated.
#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Simulated {
    /// One replicated group of DTM0.
    Dtm,
    /// Three groups of DTM0 with transactions over several.
    Crossing,
    /// HA: its state, leaders and leases.
    Ha,
    /// A whole cluster: nodes with drivers and devices, HA, clients.
    Cluster,
}

/// Runs.
#[derive(Args)]
pub struct Sim {
    /// Of what.
    #[arg(long, value_enum, default_value = "dtm")]
    world: Simulated,
    /// The first seed.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// How many.
    #[arg(long, default_value_t = 1)]
    runs: u64,
    /// For a whole cluster: so many nodes; drawn where not given.
    #[arg(long)]
    nodes: Option<u32>,
    /// Where recordings of failures go.
    #[arg(long, default_value = "target/sim")]
    record: PathBuf,
    /// Leaves a rule of the protocol out, as the model check does: to see how that fails.
    #[arg(long, value_name = "RULE")]
    without: Option<String>,
    /// Form of the report.
    #[arg(long, value_enum, default_value = "text")]
    output: Output,
}

#[derive(Serialize)]
struct Violation {
    seed: u64,
    trace_hash: String,
    what: String,
    recording: String,
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
    power_cuts: u64,
    lost_devices: u64,
    copies_begun: u64,
    copies_complete: u64,
    simulated_seconds: f64,
    wall_seconds: f64,
}

impl Sim {
    /// Does it.
    pub fn run(self) -> Result<ExitCode> {
        let began = Instant::now();
        let rules =
            self.without.as_deref().map(|rule| ::dtm::Rules::without(rule).ok_or_else(|| anyhow::anyhow!("there is no rule `{rule}`")));
        let rules = rules.transpose()?;
        let mut summary = Summary { seed: self.seed, runs: self.runs, ..Summary::default() };
        let mut all = TraceHash::default();
        for seed in self.seed..self.seed.saturating_add(self.runs) {
            let outcome = self.one(seed, rules.as_ref(), None, &mut summary);
            all.add(&outcome.trace_hash.to_le_bytes());
            summary.events += outcome.events;
            if let Some(what) = outcome.violation {
                let recording = self.record(seed, rules.as_ref())?;
                if self.output == Output::Text {
                    println!("seed {seed}: {what}\n  recorded in {recording}");
                }
                summary.violations.push(Violation { seed, trace_hash: format!("{:016x}", outcome.trace_hash), what, recording });
            }
        }
        summary.trace_hash = format!("{:016x}", all.value());
        summary.wall_seconds = began.elapsed().as_secs_f64();
        match self.output {
            Output::Json => println!("{}", serde_json::to_string(&summary)?),
            Output::Text => println!("{}", summary.words()),
        }
        Ok(ExitCode::from(u8::from(!summary.violations.is_empty())))
    }

    /// Runs a seed that has failed once more, and keeps what happens.
    fn record(&self, seed: u64, rules: Option<&::dtm::Rules>) -> Result<String> {
        std::fs::create_dir_all(&self.record)?;
        let name = self.world.to_possible_value().map_or_else(String::new, |value| value.get_name().to_string());
        let path = self.record.join(format!("{name}-{seed}.events"));
        self.one(seed, rules, Some(&path), &mut Summary::default());
        Ok(path.display().to_string())
    }

    fn one(&self, seed: u64, rules: Option<&::dtm::Rules>, path: Option<&Path>, summary: &mut Summary) -> Outcome {
        let (outcome, simulated) = match self.world {
            Simulated::Dtm => {
                let mut settings = dtm::settings::Settings::draw(seed);
                if let Some(rules) = rules {
                    settings.machine.rules = rules.clone();
                }
                summary.of_groups(dtm::run_settings(seed, settings, path))
            }
            Simulated::Crossing => {
                let mut settings = crossing::draw(seed);
                if let Some(rules) = rules {
                    settings.iter_mut().for_each(|group| group.machine.rules = rules.clone());
                }
                summary.of_groups(crossing::run_settings(seed, settings, path).0)
            }
            Simulated::Ha => {
                let report = ha::run_settings(seed, ha::settings::Settings::draw(seed), path);
                summary.answered += report.counts.grants;
                summary.kills += report.counts.kills;
                (report.outcome, report.counts.simulated)
            }
            Simulated::Cluster => {
                let mut settings = match self.nodes {
                    Some(nodes) => cluster::settings::Settings::draw_of(seed, nodes),
                    None => cluster::settings::Settings::draw(seed),
                };
                settings.without.clone_from(&self.without);
                let report = cluster::run_settings(seed, settings, path);
                summary.answered += report.counts.answered;
                summary.kills += report.counts.kills;
                summary.power_cuts += report.counts.power_cuts;
                summary.lost_devices += report.counts.lost_devices;
                (report.outcome, report.counts.simulated)
            }
        };
        summary.simulated_seconds += simulated as f64 / 1e6;
        outcome
    }
}

impl Summary {
    fn of_groups(&mut self, report: dtm::Report) -> (Outcome, Micros) {
        self.answered += report.counts.answered;
        self.kills += report.counts.kills;
        self.wipes += report.counts.wipes;
        self.copies_begun += report.counts.copies.0;
        self.copies_complete += report.counts.copies.1;
        (report.outcome, report.counts.simulated)
    }

    fn words(&self) -> String {
        format!(
            "{} runs, {} events, {} operations answered, {} kills, {} power cuts, {} devices lost, {} wipes, {} copies of {} complete, {:.0} simulated s in {:.1} s, trace hash {}, {} violations",
            self.runs,
            self.events,
            self.answered,
            self.kills,
            self.power_cuts,
            self.lost_devices,
            self.wipes,
            self.copies_complete,
            self.copies_begun,
            self.simulated_seconds,
            self.wall_seconds,
            self.trace_hash,
            self.violations.len()
        )
    }
}
