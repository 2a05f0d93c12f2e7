//! Metadata in one RocksDB: all column families share one write-ahead log, and so one sync.
//!
//! It opens with `TolerateCorruptedTailRecords` and with its log files tracked in the manifest: a torn tail is what a crash leaves, damage
//! anywhere else means that synced records are gone, and then the device does not open at all. (RocksDB's default would open it and
//! silently drop what lies behind the damage.)

use std::ops::ControlFlow;
use std::path::{Path, PathBuf};

use rocksdb::{
    BlockBasedOptions, Cache, ColumnFamily, ColumnFamilyDescriptor, DB, DBRecoveryMode, Direction, IteratorMode, LogLevel, Options,
    ReadOptions, WriteBatch, WriteOptions,
};

use super::store::{Change, Family, MetaStore, Visit};
use super::wal;
use crate::StorageError;

/// Memory of all memtables of a device; reaching it starts a flush.
const MEMTABLES_BYTES_MAX: usize = 16 * 1024 * 1024;
/// Memory of cached blocks, indexes and filters of a device.
const CACHE_BYTES: usize = 32 * 1024 * 1024;
/// Write-ahead log beyond which RocksDB flushes the memtables that hold it: bounds the replay after a crash.
const WAL_BYTES_MAX: u64 = 64 * 1024 * 1024;
/// Bits per key of the filters: one false answer in a hundred.
const FILTER_BITS: f64 = 10.0;
/// Open files of one RocksDB.
const FILES_MAX: i32 = 256;
/// Size of RocksDB's own log file, of which two are kept.
const INFO_LOG_BYTES_MAX: usize = 1024 * 1024;

/// The store of a real device.
pub struct RocksStore {
    db: DB,
    dir: PathBuf,
}

fn error(what: &str, error: &rocksdb::Error) -> StorageError {
    StorageError::Damaged(format!("{what}: {error}"))
}

fn options(create: bool) -> Options {
    let mut options = Options::default();
    options.create_if_missing(create);
    options.create_missing_column_families(create);
    options.set_error_if_exists(create);
    options.set_wal_recovery_mode(DBRecoveryMode::TolerateCorruptedTailRecords);
    options.set_track_and_verify_wals_in_manifest(true);
    options.set_paranoid_checks(true);
    options.set_db_write_buffer_size(MEMTABLES_BYTES_MAX);
    options.set_max_total_wal_size(WAL_BYTES_MAX);
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
        Self::start(dir, true).map(drop)
    }

    /// Opens what lies in `dir`; replays the write-ahead log.
    pub fn open(dir: &Path) -> Result<Self, StorageError> {
        wal::check(dir)?;
        Self::start(dir, false)
    }

    /// Opens what lies in `dir` for reading; nothing is changed there.
    pub fn open_read_only(dir: &Path) -> Result<Self, StorageError> {
        wal::check(dir)?;
        let db = DB::open_cf_descriptors_read_only(&options(false), dir, Self::families(), false)
            .map_err(|e| error("the metadata does not open", &e))?;
        Ok(Self { db, dir: dir.to_path_buf() })
    }

    fn start(dir: &Path, create: bool) -> Result<Self, StorageError> {
        let db = DB::open_cf_descriptors(&options(create), dir, Self::families()).map_err(|e| error("the metadata does not open", &e))?;
        Ok(Self { db, dir: dir.to_path_buf() })
    }

    fn families() -> Vec<ColumnFamilyDescriptor> {
        let cache = Cache::new_lru_cache(CACHE_BYTES);
        let named = Family::ALL.iter().map(|family| ColumnFamilyDescriptor::new(family.name(), family_options(&cache)));
        named.chain([ColumnFamilyDescriptor::new("default", Options::default())]).collect()
    }

    fn family(&self, family: Family) -> &ColumnFamily {
        self.db.cf_handle(family.name()).expect("all families were opened with the store")
    }
}

impl MetaStore for RocksStore {
    fn get(&self, family: Family, key: &[u8]) -> Result<Option<Vec<u8>>, StorageError> {
        self.db.get_cf(self.family(family), key).map_err(|e| error("a key does not read", &e))
    }

    fn scan(&self, family: Family, from: &[u8], end: &[u8], visit: Visit<'_>) -> Result<(), StorageError> {
        let mut reading = ReadOptions::default();
        reading.set_iterate_upper_bound(end.to_vec());
        let mode = IteratorMode::From(from, Direction::Forward);
        for item in self.db.iterator_cf_opt(self.family(family), reading, mode) {
            let (key, value) = item.map_err(|e| error("a range does not read", &e))?;
            if let ControlFlow::Break(()) = visit(&key, &value) {
                break;
            }
        }
        Ok(())
    }

    fn write(&self, changes: Vec<Change>, sync: bool) -> Result<(), StorageError> {
        let mut batch = WriteBatch::default();
        for change in &changes {
            match change {
                Change::Put(family, key, value) => batch.put_cf(self.family(*family), key, value),
                Change::Delete(family, key) => batch.delete_cf(self.family(*family), key),
                Change::DeleteRange(family, from, end) => batch.delete_range_cf(self.family(*family), from, end),
            }
        }
        let mut writing = WriteOptions::default();
        writing.set_sync(sync);
        self.db.write_opt(batch, &writing).map_err(|e| StorageError::Failed(format!("a metadata write failed: {e}")))
    }

    fn bytes(&self) -> u64 {
        let tables = |family: &Family| {
            self.db.property_int_value_cf(self.family(*family), "rocksdb.total-sst-files-size").ok().flatten().unwrap_or(0)
        };
        Family::ALL.iter().map(tables).sum()
    }

    fn free(&self) -> Result<u64, StorageError> {
        let statistics = rustix::fs::statvfs(&self.dir)
            .map_err(|e| StorageError::io(format!("the file system of {}", self.dir.display()), &e.into()))?;
        Ok(statistics.f_bavail * statistics.f_frsize)
    }
}
