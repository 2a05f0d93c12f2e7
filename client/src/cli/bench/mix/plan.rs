//! The file of a load.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::{Duration, Instant};

use serde::Deserialize;

use crate::cli::exit::{Exit, Failure};

/// Most names of one client: it remembers what each holds.
const NAMES_MAX: u64 = 1_000_000;
/// Largest value of a row.
const ROW_BYTES_MAX: u64 = 1024 * 1024;

/// A load.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Plan {
    /// How long it goes on.
    #[serde(default)]
    pub seconds: Option<f64>,
    /// How many operations of each workload.
    #[serde(default)]
    pub operations: Option<u64>,
    /// Decides what is drawn.
    #[serde(default)]
    pub seed: Option<u64>,
    /// What is done, at the same time.
    pub workloads: Vec<Workload>,
}

/// One part of a load.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Workload {
    /// Objects or rows.
    pub on: On,
    /// The bucket or index.
    pub name: String,
    /// Clients at once.
    #[serde(default = "clients")]
    pub clients: usize,
    /// What they do, in parts.
    pub mix: BTreeMap<Verb, u32>,
    /// Names of each client.
    #[serde(default = "names")]
    pub names: u64,
    /// Which of them is next.
    #[serde(default)]
    pub choice: Choice,
    /// Sizes, drawn evenly.
    pub sizes: Vec<Size>,
    /// Operations a second of each client.
    #[serde(default)]
    pub rate: Option<f64>,
    /// Whether what is read is compared.
    #[serde(default = "yes")]
    pub verify: bool,
    /// Whether what was written stays.
    #[serde(default)]
    pub keep: bool,
}

/// What is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum On {
    /// Objects of a bucket.
    Objects,
    /// Rows of an index.
    Rows,
}

/// What is done.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Verb {
    /// Write.
    Put,
    /// Read.
    Get,
    /// Remove.
    Delete,
    /// List all of a client's.
    Scan,
}

impl Verb {
    /// Its word.
    pub fn word(self) -> &'static str {
        match self {
            Self::Put => "put",
            Self::Get => "get",
            Self::Delete => "delete",
            Self::Scan => "scan",
        }
    }
}

/// Which name is next.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Choice {
    /// Any.
    #[default]
    Uniform,
    /// A few of them mostly.
    Zipf,
    /// One after the other.
    InOrder,
}

/// A size, as `64KiB` or a number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Size(pub u64);

impl<'de> Deserialize<'de> for Size {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        #[serde(untagged)]
        enum Form {
            Number(u64),
            Text(String),
        }
        match Form::deserialize(deserializer)? {
            Form::Number(bytes) => Ok(Self(bytes)),
            Form::Text(text) => crate::cli::size::parse(&text).map(Self).map_err(serde::de::Error::custom),
        }
    }
}

fn clients() -> usize {
    4
}

fn names() -> u64 {
    100
}

fn yes() -> bool {
    true
}

/// Reads and checks a file.
pub fn read(file: &Path) -> Result<Plan, Failure> {
    let usage = |why: String| Failure { exit: Exit::Usage, message: format!("{}: {why}", file.display()) };
    let text = std::fs::read_to_string(file).map_err(|error| usage(error.to_string()))?;
    parse(&text).map_err(usage)
}

fn parse(text: &str) -> Result<Plan, String> {
    let plan: Plan = serde_saphyr::from_str(text).map_err(|error| error.to_string())?;
    match (plan.seconds, plan.operations) {
        (None, None) => return Err("say `seconds` or `operations`".into()),
        (Some(seconds), _) if !(0.1..=1e7).contains(&seconds) => return Err("`seconds` is 0.1 to 10000000".into()),
        _ => {}
    }
    if plan.workloads.is_empty() {
        return Err("`workloads` is empty".into());
    }
    for (number, workload) in plan.workloads.iter().enumerate() {
        workload.check().map_err(|why| format!("workloads[{number}].{why}"))?;
    }
    Ok(plan)
}

impl Plan {
    /// When it ends, if time ends it.
    pub fn until(&self, began: Instant) -> Option<Instant> {
        self.seconds.map(|seconds| began + Duration::from_secs_f64(seconds))
    }
}

impl Workload {
    fn check(&self) -> Result<(), String> {
        let limit = |is_good: bool, why: &str| if is_good { Ok(()) } else { Err(why.to_string()) };
        limit((1..=super::super::CLIENTS_MAX).contains(&self.clients), "clients: say 1 to 1024")?;
        limit((1..=NAMES_MAX).contains(&self.names), "names: say 1 to 1000000")?;
        limit(self.mix.values().any(|parts| *parts > 0), "mix: nothing is to be done")?;
        limit(!self.sizes.is_empty(), "sizes: say at least one")?;
        limit(self.rate.is_none_or(|rate| rate > 0.0 && rate.is_finite()), "rate: say more than 0")?;
        let largest = self.sizes.iter().map(|size| size.0).max().unwrap_or(0);
        limit(self.on == On::Objects || largest <= ROW_BYTES_MAX, "sizes: a row has at most 1 MiB")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &str = "seconds: 1\nworkloads:\n  - {on: rows, name: mix, mix: {put: 1, get: 2}, sizes: [16, 1KiB]}\n";

    #[test]
    fn a_file_is_read_with_its_defaults_and_what_is_wrong_is_named() {
        let plan = parse(GOOD).expect("a good one");
        let workload = &plan.workloads[0];
        assert_eq!((workload.clients, workload.names, workload.verify), (4, 100, true));
        assert_eq!(workload.sizes, [Size(16), Size(1024)]);
        for (from, to, says) in [
            ("seconds: 1\n", "", "seconds"),
            ("seconds: 1", "seconds: -1", "seconds"),
            ("name: mix, ", "", "name"),
            ("put: 1, get: 2", "putt: 1", "putt"),
            ("put: 1, get: 2", "put: 0", "workloads[0].mix"),
            ("[16, 1KiB]", "[]", "workloads[0].sizes"),
            ("[16, 1KiB]", "[2MiB]", "workloads[0].sizes"),
            ("[16, 1KiB]", "[1parsec]", "parsec"),
            ("on: rows", "on: rows, clients: 0", "workloads[0].clients"),
        ] {
            let error = parse(&GOOD.replace(from, to)).expect_err(to);
            assert!(error.contains(says), "{to}: {error}");
        }
    }
}
