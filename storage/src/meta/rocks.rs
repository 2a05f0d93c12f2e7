//! Metadata in one RocksDB, made durable by a [`journal`] of ours: RocksDB writes no log of its own.
//!
//! All column families are flushed together, so its tables are always the state after some record of the journal, and say after which: the
//! mark, a row of the `default` family that changes with every batch. Opening does the records after it again.

use std::fs::File;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use rocksdb::{
    BlockBasedOptions, Cache, ColumnFamily, ColumnFamilyDescriptor, DB, DBIterator, Direction, ErrorKind, FlushOptions, IteratorMode,
    LogLevel, Options, ReadOptions, ReadTier, WriteBatch, WriteOptions,
};

use types::checksum::crc32c;

use super::journal::ring::Shape;
use super::journal::{Journal, Mark};
use super::manifest;
use super::store::{self, Change, Family, Frozen, MetaStore, Visit};
use crate::StorageError;
use crate::guard::EndsProcess;

mod frozen;

/// Memory of all memtables of a device; reaching it starts a flush.
const MEMTABLES_BYTES_MAX: usize = 16 * 1024 * 1024;
/// Memory of cached blocks, indexes and filters of a device.
const CACHE_BYTES: usize = 32 * 1024 * 1024;
/// Size of the journal: bounds what is done again after a crash. Half of it fills the memtables.
const JOURNAL_BYTES: u64 = 32 * 1024 * 1024;
/// How old a figure of the file system's free bytes may be: what is written in that time is far less than the reserve.
const FREE_AGE: Duration = Duration::from_millis(20);
/// How old the figure of the tables' bytes may be while there are writes.
const TABLES_AGE: Duration = Duration::from_secs(1);
/// The journal's name in RocksDB's directory, and its mark's key in the family `default`.
const JOURNAL: &str = "journal";
/// Bits per key of the filters: one false answer in a hundred.
const FILTER_BITS: f64 = 10.0;
/// Open files of one RocksDB.
const FILES_MAX: i32 = 256;
/// Size of RocksDB's own log file, of which two are kept.
const INFO_LOG_BYTES_MAX: usize = 1024 * 1024;

/// The store of a real device.
pub struct RocksStore {
    inner: Arc<Inner>,
    flusher: Option<JoinHandle<()>>,
}

struct Inner {
    db: Arc<DB>,
    dir: PathBuf,
    journal: Journal,
    /// When the file system was last asked for its free bytes, and what it said.
    free: Mutex<Option<(Instant, u64)>>,
    /// When RocksDB was last asked for the bytes of its tables, by whoever wrote, and what it said.
    tables: Mutex<(Instant, u64)>,
}

fn error(what: &str, error: &rocksdb::Error) -> StorageError {
    StorageError::Damaged(format!("{what}: {error}"))
}

fn options(create: bool) -> Options {
    let mut options = Options::default();
    options.create_if_missing(create);
    options.create_missing_column_families(create);
    options.set_error_if_exists(create);
    options.set_atomic_flush(true);
    options.set_paranoid_checks(true);
    options.set_db_write_buffer_size(MEMTABLES_BYTES_MAX);
    options.set_max_background_jobs(2);
    options.set_max_open_files(FILES_MAX);
    options.set_keep_log_file_num(2);
    options.set_max_log_file_size(INFO_LOG_BYTES_MAX);
    options.set_log_level(LogLevel::Warn);
    options.set_stats_dump_period_sec(0);
    options
}

fn family_options(cache: &Cache) -> Options {
    let mut table = BlockBasedOptions::default();
    table.set_block_cache(cache);
    table.set_cache_index_and_filter_blocks(true);
    table.set_pin_l0_filter_and_index_blocks_in_cache(true);
    table.set_bloom_filter(FILTER_BITS, false);
    let mut options = Options::default();
    options.set_block_based_table_factory(&table);
    options.set_write_buffer_size(MEMTABLES_BYTES_MAX / 2);
    options.set_level_compaction_dynamic_level_bytes(true);
    options
}

impl RocksStore {
    /// Makes a new, empty store in `dir`, which must not hold one.
    pub fn create(dir: &Path) -> Result<(), StorageError> {
        Self::create_with(dir, JOURNAL_BYTES)
    }

    /// The same with a journal of that many bytes, a multiple of 4096.
    pub fn create_with(dir: &Path, journal_bytes: u64) -> Result<(), StorageError> {
        let db = start(dir, true)?;
        let mark = Journal::create(&dir.join(JOURNAL), journal_bytes)?;
        write(&db, &[], mark)?;
        flush(&db)?;
        File::open(dir).and_then(|dir| dir.sync_all()).map_err(|error| StorageError::io(format!("syncing {}", dir.display()), &error))
    }

    /// Opens what lies in `dir`; does what the journal holds again.
    pub fn open(dir: &Path) -> Result<Self, StorageError> {
        manifest::check(dir)?;
        let db = start(dir, false)?;
        let path = dir.join(JOURNAL);
        let mark = Journal::replay(&path, mark(&db)?, |payload, mark| {
            let changes = store::decode(payload).ok_or_else(|| StorageError::Damaged("a record of the journal makes no sense".into()))?;
            write(&db, &changes, mark)
        })?;
        write(&db, &[], mark)?;
        flush(&db)?;
        let (tables, journal) = (Mutex::new((Instant::now(), table_bytes(&db))), Journal::start(&path, mark)?);
        let inner = Arc::new(Inner { db: Arc::new(db), dir: dir.to_path_buf(), journal, free: Mutex::default(), tables });
        let flusher = std::thread::Builder::new().name("meta-flush".into()).spawn({
            let inner = Arc::clone(&inner);
            move || {
                let _guard = EndsProcess("meta-flush");
                inner.journal.run_flushes(|| flush(&inner.db));
            }
        });
        let flusher = flusher.map_err(|error| StorageError::io("starting the thread that flushes metadata", &error))?;
        Ok(Self { inner, flusher: Some(flusher) })
    }

    fn families() -> Vec<ColumnFamilyDescriptor> {
        let cache = Cache::new_lru_cache(CACHE_BYTES);
        let named = Family::ALL.iter().map(|family| ColumnFamilyDescriptor::new(family.name(), family_options(&cache)));
        named.chain([ColumnFamilyDescriptor::new("default", Options::default())]).collect()
    }
}

impl Drop for RocksStore {
    fn drop(&mut self) {
        self.inner.journal.stop();
        if let Some(flusher) = self.flusher.take() {
            // A panic of the thread was reported where it happened.
            drop(flusher.join());
        }
    }
}

fn start(dir: &Path, create: bool) -> Result<DB, StorageError> {
    DB::open_cf_descriptors(&options(create), dir, RocksStore::families()).map_err(|e| error("the metadata does not open", &e))
}

fn column(db: &DB, family: Family) -> &ColumnFamily {
    db.cf_handle(family.name()).expect("all families were opened with the store")
}

/// Shows what an iterator over a range gives.
fn visit_all<'a>(
    from: &[u8],
    end: &[u8],
    visit: Visit<'_>,
    iterate: impl FnOnce(ReadOptions, IteratorMode<'_>) -> DBIterator<'a>,
) -> Result<(), StorageError> {
    let mut reading = ReadOptions::default();
    reading.set_iterate_upper_bound(end.to_vec());
    for item in iterate(reading, IteratorMode::From(from, Direction::Forward)) {
        let (key, value) = item.map_err(|e| error("a range does not read", &e))?;
        if let ControlFlow::Break(()) = visit(&key, &value) {
            break;
        }
    }
    Ok(())
}

/// Puts changes, and how far that brings us in the journal, into RocksDB's memory.
fn write(db: &DB, changes: &[Change], mark: Mark) -> Result<(), StorageError> {
    let mut batch = WriteBatch::default();
    for change in changes {
        match change {
            Change::Put(of, key, value) => batch.put_cf(column(db, *of), key, value),
            Change::Delete(of, key) => batch.delete_cf(column(db, *of), key),
            Change::DeleteRange(of, from, end) => batch.delete_range_cf(column(db, *of), from, end),
        }
    }
    batch.put(JOURNAL, encode_mark(mark));
    let mut writing = WriteOptions::default();
    writing.disable_wal(true);
    db.write_opt(batch, &writing).map_err(|e| StorageError::Failed(format!("a metadata write failed: {e}")))
}

/// Makes all that was written durable in tables.
fn flush(db: &DB) -> Result<(), StorageError> {
    let mut all: Vec<&ColumnFamily> = Family::ALL.iter().map(|of| column(db, *of)).collect();
    all.extend(db.cf_handle("default"));
    let mut options = FlushOptions::default();
    options.set_wait(true);
    db.flush_cfs_opt(&all, &options).map_err(|e| StorageError::Failed(format!("a flush of metadata failed: {e}")))
}

/// How far the tables are in the journal.
fn mark(db: &DB) -> Result<Mark, StorageError> {
    let found = db.get(JOURNAL).map_err(|e| error("the journal's mark does not read", &e))?;
    found.as_deref().and_then(decode_mark).ok_or_else(|| StorageError::Damaged("the journal has no mark, or a damaged one".into()))
}

fn encode_mark(mark: Mark) -> Vec<u8> {
    let Shape { generation, sectors } = mark.shape;
    let mut bytes = [&generation.to_le_bytes()[..], &sectors.to_le_bytes(), &mark.position.to_le_bytes()].concat();
    bytes.extend(crc32c(&bytes).to_le_bytes());
    bytes
}

fn decode_mark(bytes: &[u8]) -> Option<Mark> {
    let (generation, rest) = bytes.split_first_chunk()?;
    let (sectors, rest) = rest.split_first_chunk()?;
    let (position, _) = rest.split_first_chunk()?;
    let shape = Shape { generation: u32::from_le_bytes(*generation), sectors: u64::from_le_bytes(*sectors) };
    let mark = Mark { shape, position: u64::from_le_bytes(*position) };
    (encode_mark(mark) == bytes && shape.is_possible()).then_some(mark)
}

/// Bytes of all tables.
fn table_bytes(db: &DB) -> u64 {
    let of = |of: &Family| db.property_int_value_cf(column(db, *of), "rocksdb.total-sst-files-size").ok().flatten().unwrap_or(0);
    Family::ALL.iter().map(of).sum()
}

impl Inner {
    /// Asks RocksDB for the bytes of its tables once in a while. Writers do: whoever is told the figure must not wait for a disk that hangs.
    fn look_at_tables(&self) {
        let last = self.tables.lock().unwrap_or_else(PoisonError::into_inner).0;
        if last.elapsed() >= TABLES_AGE {
            let bytes = table_bytes(&self.db);
            *self.tables.lock().unwrap_or_else(PoisonError::into_inner) = (Instant::now(), bytes);
        }
    }
}

impl MetaStore for RocksStore {
    fn get(&self, family: Family, key: &[u8]) -> Result<Option<Vec<u8>>, StorageError> {
        self.inner.db.get_cf(column(&self.inner.db, family), key).map_err(|e| error("a key does not read", &e))
    }

    fn get_now(&self, family: Family, key: &[u8]) -> Result<Option<Option<Vec<u8>>>, StorageError> {
        let mut reading = ReadOptions::default();
        reading.set_read_tier(ReadTier::BlockCache);
        match self.inner.db.get_cf_opt(column(&self.inner.db, family), key, &reading) {
            Ok(found) => Ok(Some(found)),
            Err(e) if e.kind() == ErrorKind::Incomplete => Ok(None),
            Err(e) => Err(error("a key does not read", &e)),
        }
    }

    fn scan(&self, family: Family, from: &[u8], end: &[u8], visit: Visit<'_>) -> Result<(), StorageError> {
        let db = &self.inner.db;
        visit_all(from, end, visit, |reading, mode| db.iterator_cf_opt(column(db, family), reading, mode))
    }

    fn freeze(&self) -> Result<Box<dyn Frozen>, StorageError> {
        Ok(Box::new(frozen::FrozenRocks::new(&self.inner.db)))
    }

    fn write(&self, changes: Vec<Change>, sync: bool) -> Result<(), StorageError> {
        let Inner { db, journal, .. } = &*self.inner;
        self.inner.look_at_tables();
        let payload = store::encode(&changes);
        if payload.len() > journal.payload_max() {
            return journal.write_through(|mark| write(db, &changes, mark).and_then(|()| flush(db)));
        }
        journal.write(&payload, sync, |mark| write(db, &changes, mark))
    }

    fn bytes(&self) -> u64 {
        self.inner.tables.lock().unwrap_or_else(PoisonError::into_inner).1
    }

    fn free(&self) -> Result<u64, StorageError> {
        let mut known = self.inner.free.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((asked, free)) = *known
            && asked.elapsed() < FREE_AGE
        {
            return Ok(free);
        }
        let statistics = rustix::fs::statvfs(&self.inner.dir)
            .map_err(|e| StorageError::io(format!("the file system of {}", self.inner.dir.display()), &e.into()))?;
        let free = statistics.f_bavail * statistics.f_frsize;
        *known = Some((Instant::now(), free));
        Ok(free)
    }
}
