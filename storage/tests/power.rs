//! The power is cut under a real device: RocksDB, journal and units as they are used, on files.
//!
//! Everything that the process does to the device's files is recorded (`support/recorder.rs`) while units and metadata are written and deleted
//! at the same time, and RocksDB flushes and compacts on its own threads. Then, for a cut in the middle of every single operation, the files
//! are made that a disk may hold after it (`support/image.rs`), the device is opened on them, and the invariants of `docs/formats/device.md` are
//! checked against what had been acknowledged until then. `REDOUBT_TEST_POWER_RUNS=n` records more workloads; a failure names its seed and cut.

#[path = "support/common.rs"]
mod common;
#[path = "support/image.rs"]
mod image;
#[path = "support/promises.rs"]
mod promises;
#[path = "support/recorder.rs"]
mod recorder;

use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use common::{CLUSTER, DEVICE, options, record};
use image::Disk;
use promises::{GROUP, META_GROUP, MetaModel, Promises, check, meta_batch, start_write};
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use recorder::{Op, Record};
use storage::meta::rocks::RocksStore;
use storage::options::DEVICE_BYTES_MIN;
use storage::{Device, Durability, FormatOptions, IoMode, OpenOptions, StorageError};
use types::{Fid, Incarnation, Seq};

/// So small that it goes round, and is flushed, many times.
const JOURNAL_BYTES: u64 = 128 * 1024;
const STEPS: usize = 90;
const RUNS: u64 = 1;
const THREADS: usize = 2;

/// What a workload saw, in order, each with the number of operations that were over by then.
#[derive(Default)]
struct Story {
    events: Mutex<Vec<(usize, Event)>>,
}

#[derive(Clone)]
enum Event {
    WriteBegins(Fid, u32, u32),
    Written(Fid, u32, u32),
    Refused(Fid, u32),
    DeleteBegins(Fid),
    Deleted(Fid),
    Commits(MetaModel),
    /// The newest commit, and all before it.
    Synced,
}

impl Story {
    fn tell(&self, event: Event) {
        let mut events = self.events.lock().expect("nobody panics with this lock held");
        events.push((recorder::count(), event));
    }
}

impl Promises {
    fn hear(&mut self, event: &Event) {
        match event.clone() {
            Event::WriteBegins(fid, unit, blocks) => drop(self.unsure.insert((fid, unit), blocks)),
            // It may have been told after the delete that came behind it.
            Event::Written(fid, unit, blocks) if !self.dead.contains(&fid) => drop(self.units.insert((fid, unit), blocks)),
            Event::Written(..) => {}
            Event::Refused(fid, unit) => drop(self.unsure.remove(&(fid, unit))),
            Event::DeleteBegins(fid) => self.delete(fid),
            Event::Deleted(fid) => {
                self.dead.insert(fid);
                self.delete(fid);
                self.unsure.retain(|name, _| name.0 != fid);
            }
            Event::Commits(model) => self.history.push(model),
            Event::Synced => self.synced = self.history.len() - 1,
        }
    }
}

fn opening() -> OpenOptions {
    // What goes by io_uring is not seen by the recorder; `tests/kill.rs` has that.
    OpenOptions { io: IoMode::Plain, direct: false, ..options() }
}

/// Where nothing has to wait for a disk: what is durable is the recorder's to say.
fn directory() -> tempfile::TempDir {
    let memory = Path::new("/dev/shm");
    if memory.is_dir() { tempfile::tempdir_in(memory) } else { tempfile::tempdir() }.expect("a directory")
}

fn format(dir: &Path) {
    Device::format(dir, &FormatOptions { uuid: Some(42), ..FormatOptions::new(CLUSTER, DEVICE, Incarnation(1), DEVICE_BYTES_MIN) })
        .expect("formats");
    std::fs::remove_dir_all(dir.join("meta")).expect("it is there");
    RocksStore::create_with(&dir.join("meta"), JOURNAL_BYTES).expect("creates");
}

/// Some units and a delete, all at once.
fn step(device: &Device, rng: &mut ChaCha8Rng, story: &Story, next: &mut u64) {
    let mut writes = Vec::new();
    for _ in 0..rng.random_range(1..4) {
        *next += 1;
        let (fid, unit) = (common::fid(GROUP, *next / 3), (*next % 3) as u32);
        let blocks = if rng.random_ratio(1, 8) { 17 } else { rng.random_range(1..4) };
        story.tell(Event::WriteBegins(fid, unit, blocks));
        writes.push((fid, unit, blocks));
    }
    let dead = rng.random_ratio(1, 2).then(|| common::fid(GROUP, rng.random_range(next.saturating_sub(40) / 3..=*next / 3)));
    if let Some(fid) = dead {
        story.tell(Event::DeleteBegins(fid));
    }
    let started = writes.iter().map(|(fid, unit, blocks)| start_write(device, *fid, *unit, *blocks));
    let written = futures::future::join_all(started);
    let deleted = async {
        match dead {
            Some(fid) => device.delete_fids(&[fid]).await,
            None => Ok(()),
        }
    };
    let (written, deleted) = futures::executor::block_on(futures::future::join(written, deleted));
    for ((fid, unit, blocks), answer) in writes.into_iter().zip(written) {
        match answer {
            Ok(_) => story.tell(Event::Written(fid, unit, blocks)),
            Err(StorageError::Fenced(_) | StorageError::Full(_)) => story.tell(Event::Refused(fid, unit)),
            Err(error) => panic!("nothing is wrong with this disk: {error}"),
        }
    }
    deleted.expect("nothing is wrong with this disk");
    if let Some(fid) = dead {
        story.tell(Event::Deleted(fid));
    }
}

fn meta_steps(device: &Device, rng: &mut ChaCha8Rng, story: &Story, model: &mut MetaModel) {
    for _ in 0..STEPS {
        // Most are short, some fill the journal, and one in a hundred is too long for it.
        let long = |rng: &mut ChaCha8Rng| match rng.random_range(0..100) {
            0 => 40_000,
            1..10 => 6_000,
            _ => rng.random_range(0..40),
        };
        let (batch, after) = meta_batch(device, rng, model, long);
        *model = after;
        story.tell(Event::Commits(model.clone()));
        let sync = rng.random_ratio(1, 2);
        device.meta().commit(batch, if sync { Durability::Sync } else { Durability::Buffered }).expect("nothing is wrong with this disk");
        if sync {
            story.tell(Event::Synced);
        }
    }
}

/// A workload on a device, with all that it did to the disk.
fn recorded(seed: u64) -> (Record, Story) {
    let dir = directory();
    format(dir.path());
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    let (story, mut model, mut next) = (Story::default(), MetaModel::default(), 0);
    let mut rng_of_meta = ChaCha8Rng::seed_from_u64(!seed);
    let mut recording = recorder::begin(dir.path());
    // It is opened twice: the power goes while it is being closed and opened, too.
    for _ in 0..2 {
        let device = Device::open(dir.path(), &opening()).expect("opens");
        std::thread::scope(|scope| {
            scope.spawn(|| meta_steps(&device, &mut rng_of_meta, &story, &mut model));
            (0..STEPS).for_each(|_| step(&device, &mut rng, &story, &mut next));
        });
    }
    recording.end();
    let (there, noted) = (recorder::files(dir.path()), recording.replay());
    let lock = PathBuf::from("meta/LOCK");
    for (name, bytes) in &there {
        assert!(*name == lock || bytes.is_empty() || noted.get(name) == Some(bytes), "{} was changed unseen", name.display());
    }
    assert!(noted.keys().all(|name| there.contains_key(name)), "files went unseen");
    (recording, story)
}

/// Cuts the power in every operation whose number is `first`, or so many `apart`, and checks what is left; gives how many those were.
fn cut_all(seed: u64, record: &Record, story: &Story, first: usize, apart: usize, failed: &AtomicUsize) -> usize {
    let mut disk = Disk::new(record);
    let (mut promises, mut heard, mut cuts) = (Promises::new(), 0, 0);
    let events = story.events.lock().expect("nobody panics with this lock held").clone();
    for cut in (first..=record.ops.len()).step_by(apart) {
        disk.go_to(cut);
        while let Some((_, event)) = events.get(heard).filter(|(at, _)| *at <= cut) {
            promises.hear(event);
            heard += 1;
        }
        let dir = directory();
        let mut rng = ChaCha8Rng::seed_from_u64(seed << 32 | cut as u64);
        disk.cut(dir.path(), &mut rng).expect("there is room");
        failed.store(cut, Ordering::Relaxed);
        let device = Device::open(dir.path(), &opening()).unwrap_or_else(|error| panic!("seed {seed}, cut {cut}: {error}"));
        check(&device, &promises);
        goes_on(&device, cut as u64);
        cuts += 1;
    }
    cuts
}

/// The device takes a unit and a record as if nothing had been.
fn goes_on(device: &Device, cut: u64) {
    let fid = common::fid(GROUP, 1_000_000 + cut);
    futures::executor::block_on(start_write(device, fid, 0, 1)).expect("a unit is written");
    let next = device.meta().log_bounds(META_GROUP).map_or(Seq(1), |(_, last)| last.next());
    let mut batch = device.meta().batch();
    batch.append_record(META_GROUP, &record(next));
    device.meta().commit(batch, Durability::Sync).expect("a record is written");
}

#[test]
fn a_real_device_keeps_its_promises_wherever_the_power_goes() {
    let runs = std::env::var("REDOUBT_TEST_POWER_RUNS").ok().and_then(|runs| runs.parse().ok()).unwrap_or(RUNS);
    let mut cuts = 0;
    for seed in 0..runs {
        let (record, story) = recorded(seed);
        let flushes = record.ops.iter().filter(|op| matches!(op, Op::Rename { .. } | Op::Create { .. })).count();
        assert!(flushes > 20, "{flushes} files came: RocksDB is to flush meanwhile");
        cuts += std::thread::scope(|scope| {
            let (record, story) = (&record, &story);
            let cutting: Vec<_> = (0..THREADS)
                .map(|thread| {
                    scope.spawn(move || {
                        let at = AtomicUsize::new(0);
                        let done =
                            std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| cut_all(seed, record, story, thread, THREADS, &at)));
                        done.unwrap_or_else(|_| panic!("seed {seed}, cut {}: see above", at.into_inner()))
                    })
                })
                .collect();
            cutting.into_iter().map(|thread| thread.join().expect("every cut leaves a good device")).sum::<usize>()
        });
    }
    println!("{cuts} power cuts");
    assert!(cuts > 1500, "only {cuts} power cuts were tried");
}
