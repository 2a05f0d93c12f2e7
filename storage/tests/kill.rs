//! A real process works on a real device and is killed at random moments; what it was told is durable has to be there after it.

#[path = "support/common.rs"]
mod common;

use std::collections::{BTreeMap, BTreeSet};
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use common::{CLUSTER, DEVICE, fid, options, payload, record, unit_info};
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use storage::{AlignedBuf, Device, Durability, FormatOptions, IoMode, OpenOptions};
use types::buf::IoBuf;
use types::checksum::unit_checksums;
use types::limits::BLOCK_BYTES;
use types::{GroupId, Incarnation, PoolId, Seq};

const GROUP: GroupId = GroupId { pool: PoolId(1), index: 0 };
const DIR: &str = "REDOUBT_TEST_DEVICE";
const FIRST: &str = "REDOUBT_TEST_FIRST";
const KILLS: usize = 30;
const TIME: Duration = Duration::from_secs(25);
const WRITERS: u64 = 4;

fn blocks(counter: u64) -> u32 {
    [1, 3, 17, 64][(counter % 4) as usize]
}

/// The child: writes units from `FIRST` on, deletes every third, appends to a log, and says what is durable.
#[test]
#[ignore = "run by the other test, as its child"]
fn child() {
    let Ok(dir) = std::env::var(DIR) else { return };
    let first: u64 = std::env::var(FIRST).expect("a first counter").parse().expect("a number");
    let io = if first.is_multiple_of(2) { IoMode::Auto } else { IoMode::Plain };
    let device = Device::open(Path::new(&dir), &OpenOptions { io, ..options() }).expect("opens after a kill");
    let say = |line: String| {
        let mut out = std::io::stdout().lock();
        // The parent kills us between any two bytes; it takes whole lines only.
        writeln!(out, "{line}").and_then(|()| out.flush()).expect("the parent listens");
    };
    let logger = device.clone();
    std::thread::spawn(move || {
        loop {
            let next = logger.meta().log_bounds(GROUP).map_or(Seq(1), |(_, last)| last.next());
            let mut batch = logger.meta().batch();
            batch.append_record(GROUP, &record(next));
            batch.prune_log(GROUP, Seq(next.0.saturating_sub(100)));
            logger.meta().commit(batch, Durability::Sync).expect("commits");
            say(format!("L {}", next.0));
        }
    });
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    let writer = |lane: u64| {
        let device = device.clone();
        async move {
            for counter in (first + lane..).step_by(WRITERS as usize) {
                let (fid, blocks) = (fid(GROUP, counter), blocks(counter));
                let data = payload(fid, 0, blocks);
                let sums = unit_checksums(fid, 0, &data);
                say(format!("B {counter}"));
                device.write_unit(unit_info(fid, 0, blocks), sums, AlignedBuf::copy_of(&data)).await.expect("writes");
                say(format!("W {counter}"));
                // The device stays about half full.
                if counter >= 60 {
                    say(format!("X {}", counter - 60));
                    device.delete_fids(&[common::fid(GROUP, counter - 60)]).await.expect("deletes");
                    say(format!("D {}", counter - 60));
                }
            }
        }
    };
    runtime.block_on(futures::future::join_all((0..WRITERS).map(writer)));
}

/// What the children said.
#[derive(Default)]
struct Said {
    /// By counter: the last thing said of it.
    units: BTreeMap<u64, char>,
    logged: u64,
}

impl Said {
    fn hear(&mut self, line: &str) {
        let Some((what, number)) = line.split_once(' ') else { return };
        let (Some(what), Ok(number)) = (what.chars().next(), number.parse::<u64>()) else { return };
        match what {
            'L' => self.logged = self.logged.max(number),
            'B' | 'W' | 'X' | 'D' => drop(self.units.insert(number, what)),
            _ => {}
        }
    }
}

fn run_and_kill(dir: &Path, first: u64, rng: &mut ChaCha8Rng, said: &mut Said) {
    let mut child = Command::new(std::env::current_exe().expect("our own path"))
        .args(["--exact", "child", "--ignored", "--nocapture", "--test-threads", "1"])
        .env(DIR, dir)
        .env(FIRST, first.to_string())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .expect("the child starts");
    let out = child.stdout.take().expect("a pipe");
    let mut lines = BufReader::new(out);
    let mut left: u32 = rng.random_range(1..150);
    let mut killed = false;
    loop {
        let mut line = String::new();
        if lines.read_line(&mut line).expect("reads") == 0 {
            break;
        }
        // A line that was cut by the kill was not said.
        if line.ends_with('\n') {
            said.hear(line.trim_end());
        }
        left = left.saturating_sub(1);
        if left == 0 && !killed {
            child.kill().expect("is killed");
            killed = true;
        }
    }
    let status = child.wait().expect("ends");
    assert!(killed, "the child ended by itself: {status}");
}

async fn check(device: &Device, said: &Said) {
    let there: BTreeSet<u64> = device.units(GROUP, None, usize::MAX).expect("records read").iter().map(|info| info.fid.counter).collect();
    for (counter, last) in &said.units {
        match last {
            'W' => assert!(there.contains(counter), "unit {counter} was acknowledged and is gone"),
            'D' => assert!(!there.contains(counter), "unit {counter} was deleted and is there"),
            _ => {}
        }
    }
    let mut stored = 0;
    for counter in &there {
        let (fid, blocks) = (fid(GROUP, *counter), blocks(*counter));
        let length = blocks as usize * BLOCK_BYTES;
        stored += (length + BLOCK_BYTES) as u64;
        let (buf, _) = device.read_unit(fid, 0, 0, length as u32, AlignedBuf::zeroed(length)).await.expect("what is there reads");
        assert!(buf.bytes() == payload(fid, 0, blocks), "unit {counter}");
    }
    assert_eq!(device.usage().free + stored, device.usage().bytes, "space is conserved");
    let last = device.meta().log_bounds(GROUP).map_or(0, |(_, last)| last.0);
    assert!(last >= said.logged, "record {} was acknowledged, the log ends at {last}", said.logged);
}

#[test]
fn what_a_killed_process_was_told_is_durable_is_there() {
    let dir = tempfile::tempdir().expect("a directory");
    Device::format(dir.path(), &FormatOptions::new(CLUSTER, DEVICE, Incarnation(1), 64 << 20)).expect("formats");
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    let mut rng = ChaCha8Rng::seed_from_u64(7);
    let mut said = Said::default();
    let begin = Instant::now();
    let mut kills = 0;
    while kills < KILLS && begin.elapsed() < TIME {
        let first = said.units.keys().next_back().map_or(0, |last| last + 1);
        run_and_kill(dir.path(), first, &mut rng, &mut said);
        kills += 1;
        let device = Device::open(dir.path(), &options()).expect("opens after a kill");
        runtime.block_on(check(&device, &said));
    }
    assert!(kills >= 3 && said.units.len() > 20, "{kills} kills, {} units: too slow to mean anything", said.units.len());
}
