//! One run of a scenario, from an empty directory to a verdict.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};

use super::checks::{self, Check, Checked, Failing};
use super::deploy::Deployment;
use super::faults::{self, Done};
use super::network::Counts;
use super::scenario::{Scenario, Verb};
use super::schedule;
use super::sides::{Probe, Served};
use super::workload::{Load, Step, Worked, longest_gap};
use crate::process::{Event, Moment, say};

/// What came of a run.
#[derive(Debug, Serialize, Deserialize)]
pub struct Outcome {
    /// Name of the scenario.
    pub scenario: String,
    /// What it shows.
    pub about: String,
    /// What decided all that is drawn.
    pub seed: u64,
    /// Whether everything held.
    pub passed: bool,
    /// What did not.
    pub violations: Vec<String>,
    /// How long the load lasted.
    pub load_seconds: f64,
    /// How long the whole run took.
    pub wall_seconds: f64,
    /// Faults by kind: how often, and what they came to.
    pub faults: BTreeMap<String, FaultCount>,
    /// Operations by verb.
    pub operations: BTreeMap<String, VerbCount>,
    /// The longest time of any client without a success, an entry of the workload each, in milliseconds.
    pub gaps_ms: Vec<u64>,
    /// Packets, where the network was ours.
    pub packets: Option<Counts>,
    /// What each side of partitions served.
    pub sides: Vec<Served>,
    /// All that was checked.
    pub checks: Vec<Check>,
    /// Per cent of the last 10 s of the load in which something waited for a processor.
    pub cpu_pressure: f64,
    /// Where the cluster's directory is, if it stays.
    pub dir: Option<String>,
    /// What the report shows beside.
    #[serde(skip)]
    pub story: Story,
}

/// A kind of fault in a run.
#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize)]
pub struct FaultCount {
    /// How often.
    pub times: usize,
    /// Signals sent, units flipped, cuts laid.
    pub count: usize,
}

impl FaultCount {
    /// The sum of both.
    pub fn and(self, more: Self) -> Self {
        Self { times: self.times + more.times, count: self.count.saturating_add(more.count) }
    }
}

/// A verb in a run.
#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize)]
pub struct VerbCount {
    /// Ended well.
    pub done: u64,
    /// Ended with a clear error.
    pub failed: u64,
    /// Half of those that ended well took less, in microseconds.
    pub p50_us: u64,
    /// All but one in a hundred took less.
    pub p99_us: u64,
    /// The longest.
    pub longest_us: u64,
}

/// What happened, for the report.
#[derive(Debug, Default, Serialize, Deserialize)]
pub struct Story {
    /// Every fault.
    pub faults: Vec<Done>,
    /// Every operation.
    pub steps: Vec<Step>,
    /// HA's history, with milliseconds from the begin of the load.
    pub events: Vec<(i64, Event)>,
    /// Names of the nodes.
    pub nodes: Vec<String>,
    /// Histories that no order explains.
    pub failing: Vec<Failing>,
    /// Some of the errors that clients were told.
    pub errors: Vec<String>,
}

/// Does it. An error means that the run could not be made, not that it failed.
pub fn run(scenario: &Scenario, seed: u64, keep: bool) -> Result<Outcome> {
    let began = Instant::now();
    let schedule = schedule::draw(scenario, seed);
    say(format!("{}: seed {seed}, {} nodes, {} faults", scenario.name.value, scenario.topology.nodes.value, schedule.len()));
    let mut deployment = Deployment::start(scenario, seed)?;
    say(format!("serves after {:.1} s", began.elapsed().as_secs_f64()));
    let probes = Probe::prepare(scenario, &deployment, &schedule)?;
    let load = Load::begin(scenario, &deployment, seed)?;
    let moment = Moment { at: load.began, ..Moment::now() };
    let (done, sides) = std::thread::scope(|scope| {
        let asked: Vec<_> = probes.iter().map(|probe| scope.spawn(move || probe.run(moment.at))).collect();
        let done = faults::run(&deployment, &schedule, moment.at, seed);
        let sides: Vec<Served> = asked.into_iter().map(|asked| asked.join().expect("a probe does not panic")).collect();
        std::thread::sleep((moment.at + scenario.duration.value.0).saturating_duration_since(Instant::now()));
        (done, sides)
    });
    let pressure = crate::process::pressure();
    let ended = moment.at.elapsed();
    let mut worked = load.end()?;
    let mut checked = Checked::default();
    note_faults(&done, &mut checked);
    let whole = checks::heal(&deployment, &scenario.checks);
    let is_whole = whole.is_ok();
    checked.note("whole again", whole);
    if is_whole {
        note_sides(&probes, &sides, scenario, &mut checked);
        checks::run(&deployment, scenario, &mut worked, moment.at, ended, &mut checked);
    }
    let outcome = outcome(scenario, seed, &deployment, Ran { moment, ended, pressure, done, sides, worked, checked }, began);
    if keep || !outcome.passed {
        deployment.keep();
    }
    let dir = (keep || !outcome.passed).then(|| deployment.cluster().dir.display().to_string());
    Ok(Outcome { dir, ..outcome })
}

fn note_faults(done: &[Done], checked: &mut Checked) {
    let failed: Vec<String> =
        done.iter().filter_map(|done| done.failed.as_ref().map(|why| format!("{}: {why}", done.kind.word()))).collect();
    let result = match failed.first() {
        Some(first) => Err(anyhow::anyhow!("{first} ({} in all)", failed.len())),
        None => Ok(format!("{} done", done.len())),
    };
    checked.note("faults", result);
}

fn note_sides(probes: &[Probe], sides: &[Served], scenario: &Scenario, checked: &mut Checked) {
    for (probe, served) in probes.iter().zip(sides) {
        let words = format!(
            "{} rounds: {} writes served and {} refused as they should be; {} groups were served nowhere",
            served.rounds, served.served, served.refused, served.nowhere
        );
        let result = match served.violations.first() {
            Some(first) => Err(anyhow::anyhow!("{first} ({} in all); {words}", served.violations.len())),
            None => Ok(words),
        };
        checked.note("sides of the partition", result);
        let agree = probe.all_agree(served, scenario.checks.heal.0).map(|()| "every side serves every group".to_string());
        checked.note("healed without an operator", agree);
    }
}

/// All that a run came to.
struct Ran {
    moment: Moment,
    ended: Duration,
    pressure: f64,
    done: Vec<Done>,
    sides: Vec<Served>,
    worked: Worked,
    checked: Checked,
}

fn outcome(scenario: &Scenario, seed: u64, deployment: &Deployment, ran: Ran, began: Instant) -> Outcome {
    let violations = ran.checked.violations();
    let since = |event: &Event| i64::try_from(event.wall_ms).unwrap_or(i64::MAX) - i64::try_from(ran.moment.wall_ms).unwrap_or(0);
    // A run whose HA does not answer has no history to show, and says so in its checks.
    let events = deployment.cluster().events_after(0).unwrap_or_default();
    let faults =
        faults::counts(&ran.done).into_iter().map(|(kind, (times, count))| (kind.to_string(), FaultCount { times, count })).collect();
    let gaps =
        scenario.workload.iter().enumerate().map(|(number, entry)| longest_gap(&ran.worked.steps, number, entry.value.clients, ran.ended));
    let gaps_ms = gaps.map(|gap| u64::try_from(gap.as_millis()).unwrap_or(u64::MAX)).collect();
    Outcome {
        scenario: scenario.name.value.clone(),
        about: scenario.about.clone(),
        seed,
        passed: violations.is_empty(),
        violations,
        load_seconds: ran.ended.as_secs_f64(),
        wall_seconds: began.elapsed().as_secs_f64(),
        faults,
        operations: verbs(&ran.worked.steps),
        gaps_ms,
        packets: deployment.network().map(super::network::Network::counts),
        sides: ran.sides,
        checks: ran.checked.checks,
        cpu_pressure: ran.pressure,
        dir: None,
        story: Story {
            faults: ran.done,
            steps: ran.worked.steps,
            events: events.into_iter().map(|event| (since(&event), event)).collect(),
            nodes: deployment.nodes().iter().map(|node| node.name.clone()).collect(),
            failing: ran.checked.failing,
            errors: ran.worked.errors.into_iter().map(|(entry, error)| format!("workload[{entry}]: {error}")).collect(),
        },
    }
}

fn verbs(steps: &[Step]) -> BTreeMap<String, VerbCount> {
    let mut counts = BTreeMap::new();
    for verb in [Verb::Put, Verb::Get, Verb::Delete, Verb::Scan] {
        let own = || steps.iter().filter(move |step| step.verb == verb);
        let mut took: Vec<u64> = own().filter(|step| step.is_ok).map(|step| step.took_us).collect();
        let failed = own().filter(|step| !step.is_ok).count() as u64;
        if took.is_empty() && failed == 0 {
            continue;
        }
        took.sort_unstable();
        let at = |share: usize| took.get(took.len().saturating_sub(1) * share / 100).copied().unwrap_or(0);
        let count = VerbCount { done: took.len() as u64, failed, p50_us: at(50), p99_us: at(99), longest_us: at(100) };
        counts.insert(verb.word().to_string(), count);
    }
    counts
}

/// A run as a file keeps it.
#[derive(Serialize, Deserialize)]
struct Kept<O, S> {
    outcome: O,
    story: S,
}

impl Outcome {
    /// Writes all of it to a file.
    pub fn save(&self, path: &Path) -> Result<()> {
        let bytes = serde_json::to_vec(&Kept { outcome: self, story: &self.story })?;
        std::fs::write(path, bytes).with_context(|| path.display().to_string())
    }

    /// Reads what [`Outcome::save`] wrote.
    pub fn load(path: &Path) -> Result<Self> {
        let bytes = std::fs::read(path).with_context(|| path.display().to_string())?;
        let kept: Kept<Self, Story> =
            serde_json::from_slice(&bytes).with_context(|| format!("{} is not the record of a run", path.display()))?;
        Ok(Self { story: kept.story, ..kept.outcome })
    }

    /// What a person wants to know of it.
    pub fn words(&self) -> String {
        let mut lines = vec![format!(
            "{}: {} (seed {}, {:.0} s of load in {:.0} s)",
            self.scenario,
            if self.passed { "passed" } else { "FAILED" },
            self.seed,
            self.load_seconds,
            self.wall_seconds
        )];
        for (verb, count) in &self.operations {
            let ms = |us: u64| us as f64 / 1000.0;
            lines.push(format!(
                "  {verb:<7} {:>7} done, {:>4} failed, p50 {:.1} ms, p99 {:.1} ms, longest {:.0} ms",
                count.done,
                count.failed,
                ms(count.p50_us),
                ms(count.p99_us),
                ms(count.longest_us)
            ));
        }
        let faults: Vec<String> = self.faults.iter().map(|(kind, count)| format!("{kind} {} ({})", count.times, count.count)).collect();
        lines.push(format!("  faults: {}", if faults.is_empty() { "none".into() } else { faults.join(", ") }));
        for check in &self.checks {
            lines.push(format!("  {} {}: {}", if check.is_ok { "ok  " } else { "FAIL" }, check.name, check.what));
        }
        if let Some(dir) = &self.dir {
            lines.push(format!("  the cluster's directory stays for a look: {dir}"));
        }
        lines.join("\n")
    }
}
