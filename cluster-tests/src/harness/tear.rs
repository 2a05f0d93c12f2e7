//! A torn write under a process that runs: it ends as it begins to make its journal durable, and of what it has written before that only some
//! sectors are on the disk, as after a power cut.
//!
//! The process is stopped and the journal read; then `strace` kills the process at the entry into its next sync of it. What differs by then was
//! written and never synced, so nobody was told of it: any part of it may be lost. What the kernel had taken before that stays.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use rand::{Rng, RngCore};

use super::inject;
use crate::process::{Signal, send};

/// What a disk writes whole.
const SECTOR: usize = 512;
/// How long a process may take until it stands still.
const STOPS: Duration = Duration::from_secs(10);
/// How long a process may take until it syncs.
const SYNCS: Duration = Duration::from_secs(20);

/// Does it to the process that `pids` gives; how many sectors are as they were before.
pub fn tear(pids: impl Fn() -> Vec<u32>, device: &Path, random: &mut impl RngCore) -> Result<usize> {
    inject::permitted()?;
    let journal = device.join("meta/journal");
    let pid = *pids().first().context("the storage process does not run")?;
    send(&[pid], Signal::STOP)?;
    let stopped = stands_still(pid).and_then(|()| std::fs::read(&journal).with_context(|| journal.display().to_string()));
    let tracer = inject::attach(kill_at_sync(pid, &journal));
    send(&[pid], Signal::CONT)?;
    let (before, mut tracer) = (stopped?, Tracer(tracer?));
    let until = Instant::now() + SYNCS;
    while !pids().is_empty() {
        if Instant::now() > until {
            bail!("it has not synced within {SYNCS:?}");
        }
        std::thread::sleep(Duration::from_millis(5));
    }
    // It ends with whom it traces.
    tracer.0.wait()?;
    tear_apart(&journal, &before, random)
}

/// Waits until every thread has stopped: one that is in a call goes on until that is over.
fn stands_still(pid: u32) -> Result<()> {
    let until = Instant::now() + STOPS;
    let tasks = Path::new("/proc").join(pid.to_string()).join("task");
    loop {
        let mut moves = false;
        for task in std::fs::read_dir(&tasks).with_context(|| tasks.display().to_string())? {
            let stat = std::fs::read_to_string(task?.path().join("stat")).unwrap_or_default();
            moves |= !stat.rsplit_once(") ").is_some_and(|(_, rest)| rest.starts_with(['T', 't']));
        }
        if !moves {
            return Ok(());
        }
        if Instant::now() > until {
            bail!("it has not stopped within {STOPS:?}");
        }
        std::thread::sleep(Duration::from_millis(2));
    }
}

fn kill_at_sync(pid: u32, journal: &Path) -> Command {
    let mut command = Command::new("strace");
    command.args(["-f", "-p", &pid.to_string(), "-e", "trace=fdatasync,fsync", "-e", "inject=fdatasync,fsync:retval=0:signal=KILL"]);
    command.arg("-P").arg(journal).args(["-o", "/dev/null"]);
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
    command
}

struct Tracer(Child);

impl Drop for Tracer {
    fn drop(&mut self) {
        if matches!(self.0.try_wait(), Ok(None)) {
            inject::detach(&mut self.0);
        }
    }
}

/// Of the sectors that have changed, each is new or as it was before; one at least is as it was.
fn tear_apart(journal: &Path, before: &[u8], random: &mut impl RngCore) -> Result<usize> {
    let after = std::fs::read(journal)?;
    let file = File::options().write(true).open(journal)?;
    let sectors = before.chunks(SECTOR).zip(after.chunks(SECTOR)).enumerate();
    let mut changed: Vec<(u64, &[u8])> =
        sectors.filter(|(_, (old, new))| old != new).map(|(at, (old, _))| ((at * SECTOR) as u64, old)).collect();
    if changed.is_empty() {
        return Ok(0);
    }
    let lost = random.random_range(1..=changed.len());
    for _ in 0..lost {
        let (at, old) = changed.swap_remove(random.random_range(0..changed.len()));
        file.write_all_at(old, at)?;
    }
    file.sync_all()?;
    Ok(lost)
}

#[cfg(test)]
mod tests {
    use rand::SeedableRng;
    use rand_chacha::ChaCha8Rng;

    use super::*;

    #[test]
    fn a_torn_write_has_sectors_of_before_and_of_after_and_nothing_else() {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("journal");
        let (before, mut after) = (vec![0; 16 * SECTOR], vec![0; 16 * SECTOR]);
        after[4 * SECTOR..9 * SECTOR].fill(7);
        let mut seen = std::collections::BTreeSet::new();
        for seed in 0..40 {
            std::fs::write(&path, &after).expect("a file");
            let lost = tear_apart(&path, &before, &mut ChaCha8Rng::seed_from_u64(seed)).expect("torn");
            let torn = std::fs::read(&path).expect("a file");
            let is_new = |at: &usize| torn[at * SECTOR..(at + 1) * SECTOR].iter().all(|byte| *byte == 7);
            let is_old = |at: &usize| torn[at * SECTOR..(at + 1) * SECTOR].iter().all(|byte| *byte == 0);
            assert!((0..16).all(|at| is_old(&at) || is_new(&at)) && (4..9).filter(is_old).count() == lost && lost > 0);
            assert_eq!((0..16).filter(is_new).count(), 5 - lost);
            seen.insert(lost);
        }
        assert!(seen.contains(&5) && seen.len() > 2, "all of it lost, and part of it: {seen:?}");
        std::fs::write(&path, &before).expect("a file");
        assert_eq!(tear_apart(&path, &before, &mut ChaCha8Rng::seed_from_u64(1)).expect("nothing"), 0);
    }
}
