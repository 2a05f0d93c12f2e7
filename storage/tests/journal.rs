//! The journal and RocksDB's manifest with one bit flipped, or sectors of the journal as they were before: opening ends, and either all is there, or
//! it is refused, or a tail that a crash could have torn is gone. And a ring that is gone round many times while batches of all sizes come in.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::mpsc;
use std::time::Duration;

use storage::StorageError;
use storage::meta::rocks::RocksStore;
use storage::meta::store::{Change, Family, MetaStore};

const RECORDS: u32 = 120;
const JOURNAL_BYTES: u64 = 128 * 1024;
const SECTOR_BYTES: usize = 512;
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

/// Leaves in `killed` what a process leaves that is killed after so many records, the last of them synced.
fn filled(dir: &Path, killed: &Path) {
    RocksStore::create_with(dir, JOURNAL_BYTES).expect("creates");
    let store = RocksStore::open(dir).expect("opens");
    for number in 0..RECORDS {
        let value = vec![number as u8; (number % 97) as usize];
        store.write(vec![Change::Put(Family::Log, number.to_be_bytes().to_vec(), value)], number + 1 == RECORDS).expect("writes");
    }
    // Closing would flush: what lies there now is what a killed process leaves.
    copy(dir, killed);
}

/// Copies RocksDB's directory as a killed process would leave it: again, if files came, went or grew meanwhile.
fn copy(from: &Path, to: &Path) {
    let files = || -> BTreeMap<PathBuf, u64> {
        let entries = fs::read_dir(from).expect("lists").map(|entry| entry.expect("an entry"));
        entries.filter_map(|entry| Some((entry.path(), entry.metadata().ok()?.len()))).collect()
    };
    loop {
        let before = files();
        drop(fs::remove_dir_all(to));
        let copied = copy_once(from, to);
        if copied.is_ok() && files() == before {
            return;
        }
    }
}

fn copy_once(from: &Path, to: &Path) -> std::io::Result<()> {
    fs::create_dir_all(to)?;
    for entry in fs::read_dir(from)? {
        let path = entry?.path();
        fs::copy(&path, to.join(path.file_name().expect("a name")))?;
    }
    Ok(())
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
    copy(good, dir.path());
    fs::write(dir.path().join(file.file_name().expect("a name")), bytes).expect("writes");
    opened(dir.path())
}

#[test]
fn a_flipped_bit_of_journal_or_manifest_is_refused_or_does_no_harm() {
    let dir = tempfile::tempdir().expect("a directory");
    let good = dir.path().join("killed");
    filled(&dir.path().join("meta"), &good);
    assert_eq!(opened_copy(&good), Ok(RECORDS));
    let is_journal: fn(&str) -> bool = |name| name == "journal";
    let is_manifest: fn(&str) -> bool = |name| name.starts_with("MANIFEST-");
    let step = std::env::var("REDOUBT_TEST_JOURNAL_STEP").ok().and_then(|step| step.parse().ok()).unwrap_or(613);
    for is in [is_journal, is_manifest] {
        let file = files(&good, is);
        let whole = fs::read(&file).expect("reads");
        // Behind the last record the ring is empty.
        let used = whole.iter().rposition(|byte| *byte != 0).map_or(0, |last| last + 1);
        let mut refused = 0;
        for bit in (0..used * 8).step_by(step) {
            let mut bytes = whole.clone();
            bytes[bit / 8] ^= 1 << (bit % 8);
            match with(&good, &file, &bytes) {
                Ok(count) => assert_eq!(count, RECORDS, "{} with bit {bit} flipped", file.display()),
                Err(error) => {
                    refused += 1;
                    assert!(matches!(error, StorageError::Damaged(_)), "{error}");
                }
            }
        }
        assert!(refused > 0, "nothing was damaged in {}", file.display());
    }
}

#[test]
fn sectors_that_a_crash_kept_from_the_disk_cost_the_tail_and_nothing_before_it() {
    let dir = tempfile::tempdir().expect("a directory");
    let good = dir.path().join("killed");
    filled(&dir.path().join("meta"), &good);
    let file = files(&good, |name| name == "journal");
    let whole = fs::read(&file).expect("reads");
    let used = whole.iter().rposition(|byte| *byte != 0).map_or(0, |last| last / SECTOR_BYTES + 1);
    assert!(used > 20, "{used} sectors");
    let mut last = RECORDS;
    for kept in (0..used).rev() {
        let mut bytes = whole.clone();
        bytes[kept * SECTOR_BYTES..used * SECTOR_BYTES].fill(0);
        // Nothing but the last record was synced, and no later one says so.
        let count = with(&good, &file, &bytes).expect("a torn tail is no damage");
        assert!(count <= last && count + 16 >= last, "{count} records with {kept} of {used} sectors, {last} with one more");
        last = count;
    }
    assert_eq!(last, 0);
    let cut = with(&good, &file, &whole[..whole.len() - SECTOR_BYTES]);
    assert!(matches!(cut, Err(StorageError::Damaged(_))), "a ring of another size: {cut:?}");
}

#[test]
fn the_ring_is_gone_round_many_times_and_a_batch_that_it_cannot_hold_is_flushed() {
    let dir = tempfile::tempdir().expect("a directory");
    let (meta, killed) = (dir.path().join("meta"), dir.path().join("killed"));
    RocksStore::create_with(&meta, JOURNAL_BYTES).expect("creates");
    let sizes = [10usize, 3000, 700, 40_000, 1, 12_345];
    let value = |number: u32| vec![number as u8; sizes[number as usize % sizes.len()]];
    let key = |number: u32| (number % 50).to_be_bytes().to_vec();
    for opening in 0..3u32 {
        let store = RocksStore::open(&meta).expect("opens");
        let range = opening * 200..(opening + 1) * 200;
        for number in range.clone() {
            store.write(vec![Change::Put(Family::Catalogues, key(number), value(number))], number % 7 == 0).expect("writes");
        }
        store.write(vec![Change::Delete(Family::Catalogues, key(range.end - 1))], true).expect("writes");
        copy(&meta, &killed);
        let after = RocksStore::open(&killed).expect("opens after a kill");
        for number in range.end - 50..range.end {
            let there = after.get(Family::Catalogues, &key(number)).expect("reads");
            assert_eq!(there, (number + 1 != range.end).then(|| value(number)), "row of {number}");
        }
    }
}

fn opened_copy(good: &Path) -> Result<u32, StorageError> {
    let dir = tempfile::tempdir().expect("a directory");
    copy(good, dir.path());
    opened(dir.path())
}
