//! Quotas on the command line: `--bytes 10GiB --objects 1000000`, or `--none`.

use client::Quota;
use serde_json::{Value, json};

use crate::cli::{output, size};

/// What may be held at most. What is not named has no bound.
#[derive(clap::Args)]
#[group(required = true, multiple = true)]
pub struct Bounds {
    /// Bytes, as 4096, 64KiB or 10GiB
    #[arg(long, value_name = "SIZE", value_parser = size::parse)]
    bytes: Option<u64>,
    /// Objects and former versions
    #[arg(long, value_name = "COUNT")]
    objects: Option<u64>,
    /// No bounds any more
    #[arg(long, conflicts_with_all = ["bytes", "objects"])]
    none: bool,
}

impl Bounds {
    /// The quota that is meant.
    pub fn quota(&self) -> Quota {
        Quota { bytes: self.bytes, objects: self.objects }
    }
}

/// In JSON: `null` where there is no bound.
pub fn shown(quota: Quota) -> Value {
    json!({"bytes": quota.bytes, "objects": quota.objects})
}

/// In words.
pub fn words(quota: Quota) -> String {
    let bytes = quota.bytes.map(output::bytes_words);
    let objects = quota.objects.map(|objects| format!("{objects} objects"));
    let words: Vec<String> = bytes.into_iter().chain(objects).collect();
    if words.is_empty() { "-".into() } else { words.join(", ") }
}
