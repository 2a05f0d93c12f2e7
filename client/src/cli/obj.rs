//! `redoubt obj`: objects.

mod get;
mod ls;
mod ls_versions;
mod put;
mod rm;
mod stat;

use client::ObjectInfo;
use serde_json::{Value, json};
use types::map::ClusterMap;

use super::Common;
use super::exit::Failure;
use super::name::shown;

/// How many objects of a directory are under way at once, unless told otherwise.
const JOBS: usize = 8;
/// Most objects under way at once.
const JOBS_MAX: usize = 64;

/// Verbs on objects.
#[derive(clap::Subcommand)]
pub enum Verb {
    /// Stores a file, a directory, or standard input (`-`)
    Put(put::Arguments),
    /// Reads an object into a file or standard output (`-`), or all below a prefix into a directory
    Get(get::Arguments),
    /// Shows what is known of an object
    Stat(stat::Arguments),
    /// Lists objects
    Ls(ls::Arguments),
    /// Deletes objects
    Rm(rm::Arguments),
}

/// Which bucket.
#[derive(clap::Args, Clone, Debug)]
pub struct Bucket {
    /// The bucket
    #[arg(long, default_value = "default")]
    pub bucket: String,
}

/// Runs a verb.
pub async fn run(common: &Common, verb: Verb) -> Result<(), Failure> {
    match verb {
        Verb::Put(arguments) => put::run(common, arguments).await,
        Verb::Get(arguments) => get::run(common, arguments).await,
        Verb::Stat(arguments) => stat::run(common, arguments).await,
        Verb::Ls(arguments) => ls::run(common, arguments).await,
        Verb::Rm(arguments) => rm::run(common, arguments).await,
    }
}

/// An object in JSON.
fn json_of(bucket: &str, info: &ObjectInfo, map: &ClusterMap) -> Value {
    let parts: Vec<Value> = info
        .parts
        .iter()
        .map(|part| {
            let pool = part.fid.group.pool;
            json!({
                "offset": part.offset,
                "length": part.length,
                "fid": part.fid.to_string(),
                "pool": map.pools.get(&pool).map_or_else(|| pool.to_string(), |p| p.name.clone()),
                "group": part.fid.group.to_string(),
                "scheme": format!("{}+{}", part.data, part.parity),
                "unit_bytes": part.unit_bytes,
            })
        })
        .collect();
    let words: serde_json::Map<String, Value> = info.user_metadata.iter().map(|(k, v)| (k.clone(), json!(v))).collect();
    json!({
        "bucket": bucket,
        "name": shown(&info.name),
        "size": info.size,
        "checksum": format!("{:08x}", info.checksum),
        "version": info.version.0,
        "version_id": info.id.to_string(),
        "modified_unix_ms": info.modified_ms,
        "inline": info.parts.is_empty(),
        "parts": parts,
        "user_metadata": words,
    })
}

/// What a transfer of one or many objects amounted to.
#[derive(Default, Clone, Copy)]
struct Total {
    objects: u64,
    bytes: u64,
}

impl Total {
    fn json(self, seconds: f64) -> Value {
        json!({"objects": self.objects, "bytes": self.bytes, "seconds": seconds, "bytes_per_second": self.rate(seconds)})
    }

    fn rate(self, seconds: f64) -> u64 {
        if seconds > 0.0 { (self.bytes as f64 / seconds) as u64 } else { 0 }
    }

    fn words(self, seconds: f64) -> String {
        let (bytes, rate) = (super::output::bytes_words(self.bytes), super::output::bytes_words(self.rate(seconds)));
        let noun = if self.objects == 1 { "object" } else { "objects" };
        format!("{} {noun}, {bytes} in {seconds:.2} s, {rate}/s", self.objects)
    }
}
