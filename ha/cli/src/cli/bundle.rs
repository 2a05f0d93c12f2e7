//! `ha bundle FILE`: all that somebody needs who is asked for help, in one archive: the cluster as HA has it, and what this host knows of its own
//! processes. Bounded, and without secrets.
//!
//! It is wanted most where much does not work: each part is got, or a file in its place says why not.

mod host;
mod tar;

use std::collections::BTreeMap;
use std::fs::{File, OpenOptions};
use std::io::{BufWriter, Read, Seek, SeekFrom};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use ha_api::Status;
use ha_api::repair::Repair;
use serde_json::{Value, json};

use super::{Common, check, events, log, pool, rebalance, repair, status};
use crate::connect::Ha;
use crate::exit::{Exit, Failure};
use crate::output::{Format, bytes, show};
use crate::time::local;

/// Most bytes of one part: of what is longer the end is kept.
const PART_BYTES_MAX: usize = 4 * 1024 * 1024;
/// Most bytes in all.
const BYTES_MAX: usize = 128 * 1024 * 1024;
/// Newest events that are kept.
const EVENTS: u32 = 10_000;

/// `ha bundle`.
#[derive(clap::Args, Clone, Debug)]
pub struct Args {
    /// The archive, as help.tar; one that is there is not overwritten
    #[arg(value_name = "FILE")]
    file: PathBuf,
}

/// What is gathered.
#[derive(Default)]
pub struct Bundle {
    parts: BTreeMap<String, String>,
    missing: BTreeMap<String, String>,
    /// Values that were left out of configurations: they are left out wherever else they are.
    secrets: Vec<String>,
}

impl Bundle {
    /// Adds a part, or why it is not there.
    fn put(&mut self, name: &str, part: Result<String, String>) {
        match part {
            Ok(text) => self.parts.insert(name.into(), end_of(text)),
            Err(why) => self.missing.insert(name.into(), why),
        };
    }

    fn put_json(&mut self, name: &str, value: &Value) {
        self.put(name, serde_json::to_string_pretty(value).map_err(|e| e.to_string()));
    }

    /// The files of the archive, without secrets.
    fn files(&self) -> Vec<(String, String)> {
        let clean = |text: &str| self.secrets.iter().fold(text.to_owned(), |text, secret| text.replace(secret.as_str(), "left out"));
        let there = self.parts.iter().map(|(name, text)| (format!("bundle/{name}"), clean(text)));
        let missing = self.missing.iter().map(|(name, why)| (format!("bundle/{name}.missing"), clean(why) + "\n"));
        there.chain(missing).collect()
    }

    fn write(&self, path: &Path, seconds: u64) -> std::io::Result<usize> {
        let mut out = BufWriter::new(OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?);
        let mut length = 0;
        for (name, text) in self.files() {
            let text = if length + text.len() > BYTES_MAX { "the bundle is full\n" } else { text.as_str() };
            length += text.len();
            tar::add(&mut out, &name, seconds, text.as_bytes())?;
        }
        tar::end(&mut out)?;
        out.into_inner().map_err(std::io::IntoInnerError::into_error)?.sync_all()?;
        Ok(length)
    }
}

/// The end of a text that is too long.
fn end_of(mut text: String) -> String {
    let mut from = text.len().saturating_sub(PART_BYTES_MAX);
    while !text.is_char_boundary(from) {
        from += 1;
    }
    text.split_off(from)
}

/// The end of a file.
fn tail(path: &Path) -> Result<String, String> {
    let read = || -> std::io::Result<Vec<u8>> {
        let mut file = File::open(path)?;
        let length = file.metadata()?.len();
        // What is in /proc says that it is empty.
        file.seek(SeekFrom::Start(length.saturating_sub(PART_BYTES_MAX as u64)))?;
        let mut bytes = Vec::new();
        file.take(PART_BYTES_MAX as u64).read_to_end(&mut bytes)?;
        Ok(bytes)
    };
    read().map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).map_err(|e| format!("{}: {e}", path.display()))
}

/// Runs the verb.
pub async fn run(common: &Common, format: Format, args: &Args) -> Result<(), Failure> {
    if args.file.exists() {
        return Err(Failure::new(Exit::Usage, format!("{} is there already: name another file", args.file.display())));
    }
    let mut bundle = Bundle::default();
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let about = format!("ha {}\nmade {}\n", env!("CARGO_PKG_VERSION"), local(u64::try_from(now.as_millis()).unwrap_or(u64::MAX)));
    bundle.put("about.txt", Ok(about));
    match Ha::of(common) {
        Ok(ha) => cluster(&mut bundle, &ha).await,
        Err(failure) => without_ha(&mut bundle, &failure.message),
    }
    host::gather(&mut bundle, &common.dir).await;
    let failed = |e: std::io::Error| Failure::new(Exit::Failure, format!("{}: {e}", args.file.display()));
    let length = bundle.write(&args.file, now.as_secs()).map_err(failed)?;
    let value = json!({ "file": args.file, "bytes": length, "files": bundle.parts.len(), "missing": bundle.missing });
    show(format, &value, |_| {
        let mut text = format!("{} files, {}, in {}", bundle.parts.len(), bytes(length as u64), args.file.display());
        for (name, why) in &bundle.missing {
            text.push_str(&format!("\nnot in it: {name}: {}", why.lines().next().unwrap_or_default()));
        }
        text
    })
}

/// The cluster as HA has it.
async fn cluster(bundle: &mut Bundle, ha: &Ha) {
    match status::ask(ha).await {
        Ok(known) => of_status(bundle, ha, &known).await,
        Err(failure) => return without_ha(bundle, &failure.message),
    }
    match events::ask(ha, 0, EVENTS).await {
        Ok(all) => bundle.put_json("cluster/events.json", &all.iter().map(events::value).collect()),
        Err(failure) => bundle.put("cluster/events.json", Err(failure.message)),
    }
}

/// Why nothing of the cluster is there, in the place of each part.
fn without_ha(bundle: &mut Bundle, why: &str) {
    for part in ["status", "events", "repair", "rebalance", "pools", "may-be-stopped", "raft"] {
        bundle.put(&format!("cluster/{part}.json"), Err(why.to_owned()));
    }
}

async fn of_status(bundle: &mut Bundle, ha: &Ha, known: &Status) {
    bundle.put_json("cluster/status.json", &status::value(known));
    bundle.put("cluster/status.txt", Ok(status::text(known, false)));
    bundle.put_json("cluster/repair.json", &repair::value(&Repair::of(known)));
    bundle.put_json("cluster/rebalance.json", &rebalance::value(known));
    let pools = known.map.pools.values();
    bundle.put_json("cluster/pools.json", &pools.map(|of| pool::whole_value(known, of)).collect());
    let nodes = known.map.nodes.values();
    bundle.put_json("cluster/may-be-stopped.json", &nodes.map(|node| check::value(known, node)).collect());
    match log::ask_all(ha, known).await {
        Ok(raft) => bundle.put_json("cluster/raft.json", &raft.iter().map(|(node, raft)| log::value(node, raft)).collect()),
        Err(failure) => bundle.put("cluster/raft.json", Err(failure.message)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_part_that_is_not_there_says_why_and_a_secret_is_nowhere() {
        let mut bundle = Bundle { secrets: vec!["hush-hush".into()], ..Bundle::default() };
        bundle.put("logs/a.txt", Ok("it said hush-hush twice: hush-hush".into()));
        bundle.put("logs/b.txt", Err("no such file: hush-hush".into()));
        let files = bundle.files();
        assert_eq!(files[0], ("bundle/logs/a.txt".into(), "it said left out twice: left out".into()));
        assert_eq!(files[1], ("bundle/logs/b.txt.missing".into(), "no such file: left out\n".into()));
    }

    #[test]
    fn of_what_is_too_long_the_end_is_kept() {
        let text = format!("é{}", "x".repeat(PART_BYTES_MAX - 1));
        assert_eq!(end_of(text).len(), PART_BYTES_MAX - 1, "no half of a character");
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("log");
        std::fs::write(&path, [vec![b'a'; PART_BYTES_MAX], b"the end".to_vec()].concat()).expect("written");
        let kept = tail(&path).expect("read");
        assert!(kept.len() == PART_BYTES_MAX && kept.ends_with("the end"));
        assert!(tail(Path::new("/proc/uptime")).expect("read").len() > 3, "it says that it is empty");
        assert!(tail(&dir.path().join("none")).expect_err("nothing").contains("none"));
    }
}
