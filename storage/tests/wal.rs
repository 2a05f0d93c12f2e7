//! RocksDB's log and manifest with one bit flipped, or cut short: opening ends, and either all is there, or it is refused, or a tail that a crash
//! could have torn is gone.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::mpsc;
use std::time::Duration;

use storage::StorageError;
use storage::meta::rocks::RocksStore;
use storage::meta::store::{Change, Family, MetaStore};

const RECORDS: u32 = 120;
/// An opening takes milliseconds; one that takes this long never ends.
const OPENING: Duration = Duration::from_secs(20);

fn files(dir: &Path, is: impl Fn(&str) -> bool) -> PathBuf {
    let named = |path: &PathBuf| path.file_name().and_then(|name| name.to_str()).is_some_and(&is);
    fs::read_dir(dir)
        .expect("lists")
        .map(|entry| entry.expect("an entry").path())
        .filter(named)
        .max_by_key(|path| fs::metadata(path).expect("a file").len())
        .expect("such a file")
}

fn filled(dir: &Path) {
    RocksStore::create(dir).expect("creates");
    let store = RocksStore::open(dir).expect("opens");
    for number in 0..RECORDS {
        let value = vec![number as u8; (number % 97) as usize];
        store.write(vec![Change::Put(Family::Log, number.to_be_bytes().to_vec(), value)], number + 1 == RECORDS).expect("writes");
    }
}

/// How many records are there from the first on, without a gap; an opening that does not end fails the test.
fn opened(dir: &Path) -> Result<u32, StorageError> {
    let (send, receive) = mpsc::channel();
    let dir = dir.to_path_buf();
    std::thread::spawn(move || {
        let count = RocksStore::open(&dir).map(|store| {
            let there = |number: &u32| store.get(Family::Log, &number.to_be_bytes()).expect("reads").is_some();
            let count = (0..RECORDS).take_while(there).count() as u32;
            assert!((count..RECORDS).all(|number| !there(&number)), "records are missing in the middle");
            count
        });
        drop(send.send(count));
    });
    receive.recv_timeout(OPENING).expect("opening ends")
}

fn with(good: &Path, file: &Path, bytes: &[u8]) -> Result<u32, StorageError> {
    let dir = tempfile::tempdir().expect("a directory");
    for entry in fs::read_dir(good).expect("lists") {
        let path = entry.expect("an entry").path();
        fs::copy(&path, dir.path().join(path.file_name().expect("a name"))).expect("copies");
    }
    fs::write(dir.path().join(file.file_name().expect("a name")), bytes).expect("writes");
    opened(dir.path())
}

#[test]
fn a_flipped_bit_of_log_or_manifest_is_refused_or_does_no_harm() {
    let dir = tempfile::tempdir().expect("a directory");
    let good = dir.path().join("meta");
    filled(&good);
    let is_log: fn(&str) -> bool = |name| name.ends_with(".log");
    let is_manifest: fn(&str) -> bool = |name| name.starts_with("MANIFEST-");
    let step = std::env::var("REDOUBT_TEST_WAL_STEP").ok().and_then(|step| step.parse().ok()).unwrap_or(613);
    for is in [is_log, is_manifest] {
        let file = files(&good, is);
        let whole = fs::read(&file).expect("reads");
        for bit in (0..whole.len() * 8).step_by(step) {
            let mut bytes = whole.clone();
            bytes[bit / 8] ^= 1 << (bit % 8);
            match with(&good, &file, &bytes) {
                Ok(count) => assert_eq!(count, RECORDS, "{} with bit {bit} flipped", file.display()),
                Err(error) => assert!(matches!(error, StorageError::Damaged(_)), "{error}"),
            }
        }
    }
}

#[test]
fn a_type_of_recycled_logs_is_refused_wherever_it_stands() {
    let dir = tempfile::tempdir().expect("a directory");
    let good = dir.path().join("meta");
    filled(&good);
    let file = files(&good, |name| name.ends_with(".log"));
    let whole = fs::read(&file).expect("reads");
    let mut at = 0;
    let mut tried = 0;
    // The first few records, by their headers.
    while tried < 5 {
        let mut bytes = whole.clone();
        bytes[at + 6] ^= 4;
        assert!(matches!(with(&good, &file, &bytes), Err(StorageError::Damaged(_))), "record {tried}");
        at += 7 + usize::from(u16::from_le_bytes([whole[at + 4], whole[at + 5]]));
        tried += 1;
    }
}

#[test]
fn a_log_that_is_cut_short_loses_its_tail_and_nothing_before_it() {
    let dir = tempfile::tempdir().expect("a directory");
    let good = dir.path().join("meta");
    filled(&good);
    let file = files(&good, |name| name.ends_with(".log"));
    let whole = fs::read(&file).expect("reads");
    let mut last = RECORDS;
    for length in (0..whole.len()).rev().step_by(whole.len() / 40) {
        let count = with(&good, &file, &whole[..length]).expect("a torn tail is no damage");
        assert!(count <= last && u64::from(RECORDS - count) <= 1 + (whole.len() - length) as u64 / 20, "{count} of {RECORDS} at {length}");
        last = count;
    }
}
