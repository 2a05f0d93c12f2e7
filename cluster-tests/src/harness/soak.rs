//! A soak: scenarios with fresh seeds and simulated runs in turn, for hours; what it came to is a row of a committed table.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::run::FaultCount;
use crate::model::{search, state::World, worlds};
use crate::process::say;
use crate::sim::network::NetworkConfig;
use crate::sim::{cluster, crossing, dtm, ha};

/// Simulated runs of each world of one group between two scenarios.
const SIMULATED: u64 = 100;
/// Of so many of these, one of a whole cluster.
const CLUSTER_EVERY: u64 = 4;
/// Faults of simulated runs begin so.
const SIMULATED_FAULT: &str = "simulated: ";
/// Of so many, one of several groups.
const CROSSING_EVERY: u64 = 2;
/// How long the model is walked in between two scenarios, in one of its larger worlds.
const WALK: Duration = Duration::from_secs(3);
/// The row with the sums.
const TOTAL: &str = "total";
/// What stands for no fault.
const NONE: &str = "none";
/// What stands for the sums of each kind.
const BELOW: &str = "below";
/// Heads of the table, in the order of a row.
const HEADS: &[&str] = &[
    "commit",
    "hours",
    "scenario runs",
    "load s",
    "operations",
    "faults",
    "dtm runs",
    "crossing runs",
    "ha runs",
    "cluster runs",
    "simulated s",
    "violations",
    "faults of real processes by kind: times (count)",
];
/// Heads of the table of faults.
const FAULT_HEADS: &[&str] = &["fault", "times", "count"];

/// What a soak is asked to do.
#[derive(Debug)]
pub struct Soak {
    /// Folder of scenarios, or one file; without, nothing but simulated runs.
    pub scenarios: Option<PathBuf>,
    /// How long.
    pub lasts: Duration,
    /// Where pages of failed runs go.
    pub pages: PathBuf,
    /// The committed table.
    pub table: PathBuf,
    /// The first seed.
    pub seed: u64,
}

/// A row: counts in the order of [`HEADS`], without the commit and the kinds of faults; and these in words.
#[derive(Clone, Debug, Default, PartialEq)]
struct Row(Vec<f64>, String);

/// What a soak came to.
#[derive(Debug, Default, Serialize)]
pub struct Soaked {
    hours: f64,
    scenario_runs: u64,
    load_seconds: f64,
    operations: u64,
    /// By kind: how often, and what it came to.
    faults: BTreeMap<String, FaultCount>,
    dtm_runs: u64,
    crossing_runs: u64,
    ha_runs: u64,
    cluster_runs: u64,
    simulated_seconds: f64,
    /// What went wrong, with its seed.
    pub violations: Vec<String>,
}

impl Soak {
    /// Does it, and writes the table.
    pub fn run(&self) -> Result<Soaked> {
        let began = Instant::now();
        let files: Vec<Option<PathBuf>> = match &self.scenarios {
            Some(scenarios) => files(scenarios)?.into_iter().map(Some).collect(),
            None => vec![None],
        };
        std::fs::create_dir_all(&self.pages)?;
        let mut soaked = Soaked::default();
        let mut seed = self.seed;
        'all: loop {
            for file in &files {
                if began.elapsed() >= self.lasts {
                    break 'all;
                }
                seed = seed.wrapping_add(1);
                if let Some(file) = file {
                    self.scenario(file, seed, &mut soaked)?;
                }
                simulate(seed.wrapping_mul(SIMULATED), &mut soaked);
                soaked.hours = began.elapsed().as_secs_f64() / 3600.0;
                say(soaked.words());
            }
        }
        let text = std::fs::read_to_string(&self.table).with_context(|| self.table.display().to_string())?;
        std::fs::write(&self.table, with_row(&text, &commit(), &soaked)?)?;
        Ok(soaked)
    }

    /// In a process of its own: a run leaves nothing behind for the next.
    fn scenario(&self, file: &Path, seed: u64, soaked: &mut Soaked) -> Result<()> {
        let name = file.file_stem().unwrap_or_default().to_string_lossy().into_owned();
        let page = self.pages.join(format!("{name}-{seed}.html"));
        let own = std::env::current_exe()?;
        let arguments = ["run", "--output", "json", "--seed", &seed.to_string(), "--report"];
        let out = Command::new(own).args(arguments).arg(&page).arg(file).output()?;
        let text = String::from_utf8_lossy(&out.stdout);
        soaked.scenario_runs += 1;
        let Some(outcome) = text.lines().last().and_then(|line| serde_json::from_str::<Value>(line).ok()) else {
            let words = String::from_utf8_lossy(&out.stderr);
            soaked.violations.push(format!("{name}, seed {seed}: no result: {}", words.trim()));
            return Ok(());
        };
        soaked.take(&outcome);
        if outcome["passed"] == true {
            // Only what failed is looked at again.
            std::fs::remove_file(&page)?;
        } else {
            say(format!("FAILED: {name}, seed {seed}: {}", outcome["violations"]));
            soaked.violations.push(format!("{name}, seed {seed}: {}", outcome["violations"]));
        }
        Ok(())
    }
}

fn files(scenarios: &Path) -> Result<Vec<PathBuf>> {
    if scenarios.is_file() {
        return Ok(vec![scenarios.into()]);
    }
    let mut files = Vec::new();
    for entry in std::fs::read_dir(scenarios).with_context(|| scenarios.display().to_string())? {
        let path = entry?.path();
        if path.extension().is_some_and(|extension| extension == "yaml") {
            super::read::load(&path)?;
            files.push(path);
        }
    }
    files.sort();
    if files.is_empty() {
        bail!("no scenario (*.yaml) in {}", scenarios.display());
    }
    Ok(files)
}

fn simulate(first: u64, soaked: &mut Soaked) {
    for seed in (0..SIMULATED).map(|number| first.wrapping_add(number)) {
        let (group, authority) = (dtm::settings::Settings::draw(seed), ha::settings::Settings::draw(seed));
        soaked.note_network(&group.swarm.network);
        soaked.note_network(&authority.swarm.network);
        let run = dtm::run_settings(seed, group, None);
        let other = ha::run_settings(seed, authority, None);
        soaked.dtm_runs += 1;
        soaked.ha_runs += 1;
        soaked.simulated_seconds += (run.counts.simulated + other.counts.simulated) as f64 / 1e6;
        let mut outcomes = vec![("dtm", run.outcome), ("ha", other.outcome)];
        if seed.is_multiple_of(CROSSING_EVERY) {
            let settings = crossing::draw(seed);
            soaked.note_network(&settings[0].swarm.network);
            let (several, _) = crossing::run_settings(seed, settings, None);
            soaked.crossing_runs += 1;
            soaked.simulated_seconds += several.counts.simulated as f64 / 1e6;
            outcomes.push(("crossing", several.outcome));
        }
        // Whole clusters take their time.
        if seed.is_multiple_of(CLUSTER_EVERY) {
            let settings = cluster::settings::Settings::draw(seed);
            soaked.note_network(&settings.swarm.network);
            let whole = cluster::run_settings(seed, settings, None);
            soaked.cluster_runs += 1;
            soaked.simulated_seconds += whole.counts.simulated as f64 / 1e6;
            outcomes.push(("cluster", whole.outcome));
        }
        for (world, outcome) in outcomes {
            for (kind, count) in outcome.faults {
                soaked.note(format!("{SIMULATED_FAULT}{kind}"), count);
            }
            soaked.violations.extend(outcome.violation.map(|what| format!("sim --world {world} --seed {seed}: {what}")));
        }
    }
    walk(first, soaked);
}

fn walk(seed: u64, soaked: &mut Soaked) {
    let bounds = worlds::WALKED[(seed % worlds::WALKED.len() as u64) as usize];
    let found = World::parse(bounds).map(|world| search::walk(&world, ::dtm::Rules::default(), seed, u64::MAX, search::WALK_STEPS, WALK));
    match found.map(|found| found.violation) {
        Ok(None) => {}
        Ok(Some((what, _))) => soaked.violations.push(format!("model --world {bounds} --walk {seed}: {what}")),
        Err(error) => soaked.violations.push(error),
    }
}

impl Soaked {
    /// A fault that happened so often in one run.
    fn note(&mut self, kind: String, count: u64) {
        self.add(kind, FaultCount { times: 1, count: usize::try_from(count).unwrap_or(usize::MAX) });
    }

    fn add(&mut self, kind: String, more: FaultCount) {
        let sum = self.faults.entry(kind).or_default();
        *sum = sum.and(more);
    }

    fn of_scenarios(&self) -> impl Iterator<Item = (&String, &FaultCount)> {
        self.faults.iter().filter(|(kind, _)| !kind.starts_with(SIMULATED_FAULT))
    }

    /// What the network of a run does to messages, all of the time.
    fn note_network(&mut self, network: &NetworkConfig) {
        let does = [
            (network.loss_per_mille > 0, "loss"),
            (network.duplicate_per_mille > 0, "doubling"),
            (network.slow_per_mille > 0, "delay"),
            (network.reorder, "reordering"),
        ];
        for (_, kind) in does.into_iter().filter(|(does, _)| *does) {
            self.note(format!("{SIMULATED_FAULT}{kind}, in runs"), 1);
        }
    }

    fn take(&mut self, outcome: &Value) {
        self.load_seconds += outcome["load_seconds"].as_f64().unwrap_or(0.0);
        for (_, count) in outcome["operations"].as_object().into_iter().flatten() {
            self.operations += count["done"].as_u64().unwrap_or(0);
        }
        for (kind, count) in outcome["faults"].as_object().into_iter().flatten() {
            self.add(kind.clone(), FaultCount::deserialize(count).unwrap_or_default());
        }
    }

    fn row(&self) -> Row {
        let faults = self.of_scenarios().map(|(_, faults)| faults.times).sum::<usize>() as u64;
        let runs = [self.dtm_runs, self.crossing_runs, self.ha_runs, self.cluster_runs];
        let mut row = vec![self.hours, self.scenario_runs as f64, self.load_seconds];
        row.extend([self.operations, faults].into_iter().chain(runs).map(|count| count as f64));
        row.extend([self.simulated_seconds, self.violations.len() as f64]);
        let kinds: Vec<String> = self.of_scenarios().map(|(kind, faults)| format!("{kind} {} ({})", faults.times, faults.count)).collect();
        Row(row, if kinds.is_empty() { NONE.into() } else { kinds.join(", ") })
    }

    /// What it came to so far.
    pub fn words(&self) -> String {
        let Row(values, kinds) = self.row();
        let cells: Vec<String> = HEADS.iter().skip(1).zip(values).map(|(head, value)| format!("{head} {}", number(value))).collect();
        format!("{}; {kinds}", cells.join(", "))
    }
}

fn number(value: f64) -> String {
    if value.fract() == 0.0 { format!("{value:.0}") } else { format!("{value:.2}") }
}

/// The commit that was soaked.
fn commit() -> String {
    let out = Command::new("git").args(["rev-parse", "--short", "HEAD"]).output();
    out.ok().filter(|out| out.status.success()).map_or("?".into(), |out| String::from_utf8_lossy(&out.stdout).trim().into())
}

fn cells(line: &str) -> Vec<&str> {
    line.trim().trim_matches('|').split('|').map(str::trim).collect()
}

/// The text of the table with one more row, and new sums. What stands before the tables stays.
fn with_row(text: &str, commit: &str, soaked: &Soaked) -> Result<String> {
    let mut rows: Vec<(String, Row)> = Vec::new();
    let mut faults = soaked.faults.clone();
    let intro = text.split("\n|").next().unwrap_or(text).trim_end();
    for line in text.lines().filter(|line| line.starts_with('|') && !line.starts_with("|-")) {
        let cells = cells(line);
        match cells.len() {
            n if n == HEADS.len() && cells[0] != HEADS[0] && cells[0] != TOTAL => {
                let (counts, kinds) = (&cells[1..HEADS.len() - 1], cells[HEADS.len() - 1]);
                let values =
                    counts.iter().map(|cell| cell.parse().with_context(|| format!("`{cell}` in the table"))).collect::<Result<_>>()?;
                rows.push((cells[0].into(), Row(values, kinds.into())));
            }
            n if n == FAULT_HEADS.len() && cells[0] != FAULT_HEADS[0] => {
                let sum = faults.entry(cells[0].into()).or_default();
                *sum = sum.and(FaultCount { times: cells[1].parse()?, count: cells[2].parse()? });
            }
            _ => {}
        }
    }
    rows.push((commit.into(), soaked.row()));
    let sum = (0..HEADS.len() - 2).map(|at| rows.iter().map(|(_, row)| row.0[at]).sum()).collect();
    rows.push((TOTAL.into(), Row(sum, BELOW.into())));
    let table = |heads: &[&str], rows: Vec<Vec<String>>| {
        let line = |cells: Vec<String>| format!("| {} |\n", cells.join(" | "));
        let rule = format!("|{}\n", "---|".repeat(heads.len()));
        line(heads.iter().map(|head| (*head).to_string()).collect()) + &rule + &rows.into_iter().map(line).collect::<String>()
    };
    let row = |(name, Row(values, kinds))| [name].into_iter().chain(values.into_iter().map(number)).chain([kinds]).collect();
    let main = rows.into_iter().map(row).collect();
    let kinds = faults.into_iter().map(|(kind, FaultCount { times, count })| vec![kind, times.to_string(), count.to_string()]).collect();
    Ok(format!("{intro}\n\n{}\n{}", table(HEADS, main), table(FAULT_HEADS, kinds)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_row_is_added_and_all_sums_grow() {
        let mut soaked = Soaked { hours: 0.5, scenario_runs: 3, dtm_runs: 100, crossing_runs: 7, ..Soaked::default() };
        soaked.take(&serde_json::json!({"faults": {"kill": {"times": 2, "count": 4}, "disk: sync io": {"times": 1, "count": 9}}}));
        soaked.note(format!("{SIMULATED_FAULT}Cut"), 5);
        let first = with_row("# Soak\n\nWords.\n", "aaa", &soaked).expect("a table");
        let second = with_row(&first, "bbb", &soaked).expect("a table");
        assert!(second.starts_with("# Soak\n\nWords.\n\n| commit | hours |"), "{second}");
        for row in ["aaa", "bbb"].map(|row| format!("| {row} | 0.50 | 3 | 0 | 0 | 3 | 100 | 7 |")) {
            let line = second.lines().find(|line| line.starts_with(&row)).expect("a row");
            assert!(line.ends_with("| disk: sync io 1 (9), kill 2 (4) |"), "{line}");
        }
        assert!(second.contains("| total | 1 | 6 | 0 | 0 | 6 | 200 | 14 |") && second.contains("| kill | 4 | 8 |"), "{second}");
        assert!(second.contains("| disk: sync io | 2 | 18 |") && second.contains("| simulated: Cut | 2 | 10 |"), "{second}");
        assert_eq!(second.matches(TOTAL).count(), 1);
    }
}
