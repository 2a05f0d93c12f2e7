//! From a directory to a device: formatted, probed, opened.
//!
//! ```text
//! dir/formatting   there while a format is under way: what lies beside it is worth nothing
//! dir/blocks       superblock, units, superblock
//! dir/meta/        RocksDB
//! ```

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustix::fs::FallocateFlags;

use super::{Committing, Core, Device, commit};
use crate::io::{BlockIo, file, plain::PlainIo, uring::UringIo};
use crate::meta::rocks::RocksStore;
use crate::meta::store::MetaStore;
use crate::meta::{Health, Meta};
use crate::options::{DEVICE_BYTES_MIN, FormatOptions, IoMode, OpenOptions};
use crate::{Identity, StorageError, superblock};

pub(super) fn blocks(dir: &Path) -> PathBuf {
    dir.join("blocks")
}

pub(super) fn meta(dir: &Path) -> PathBuf {
    dir.join("meta")
}

fn marker(dir: &Path) -> PathBuf {
    dir.join("formatting")
}

fn io_error(what: &str, path: &Path) -> impl FnOnce(std::io::Error) -> StorageError {
    let what = format!("{what} {}", path.display());
    move |error| StorageError::io(what, &error)
}

fn sync_dir(dir: &Path) -> Result<(), StorageError> {
    File::open(dir).and_then(|dir| dir.sync_all()).map_err(io_error("syncing", dir))
}

pub(super) fn format(dir: &Path, options: &FormatOptions) -> Result<Identity, StorageError> {
    let bytes = options.file_bytes();
    if bytes < DEVICE_BYTES_MIN {
        return Err(StorageError::Invalid(format!("a device has at least {DEVICE_BYTES_MIN} bytes, not {}", options.bytes)));
    }
    fs::create_dir_all(dir).map_err(io_error("creating", dir))?;
    let _lock = clear(dir, options)?;
    // The marker goes last: until then whatever lies here is not a device.
    File::create(marker(dir)).and_then(|file| file.sync_all()).map_err(io_error("creating", &marker(dir)))?;
    sync_dir(dir)?;
    for old in [meta(dir), blocks(dir)] {
        remove(&old)?;
    }
    RocksStore::create(&meta(dir))?;
    let path = blocks(dir);
    let file = allocate(&path, bytes)?;
    let identity = Identity {
        uuid: options.uuid.unwrap_or_else(rand::random),
        cluster: options.cluster,
        device: options.device,
        incarnation: options.incarnation,
        bytes,
    };
    superblock::write(&file, &identity, &[0, bytes - types::limits::BLOCK_BYTES as u64])?;
    sync_dir(dir)?;
    remove(&marker(dir))?;
    sync_dir(dir)?;
    Ok(identity)
}

/// A new data file of `bytes` bytes, none of them to be looked for later; where there is no room, none is taken.
fn allocate(path: &Path, bytes: u64) -> Result<File, StorageError> {
    let file = File::options().read(true).write(true).create_new(true).open(path).map_err(io_error("creating", path))?;
    match rustix::fs::fallocate(&file, FallocateFlags::empty(), 0, bytes) {
        Ok(()) => Ok(file),
        Err(error) => {
            remove(path)?;
            Err(io_error(&format!("allocating {bytes} bytes for"), path)(error.into()))
        }
    }
}

/// Makes sure that nothing is lost that is not to be: what lies here is ours to replace, and nobody works on it.
fn clear(dir: &Path, options: &FormatOptions) -> Result<Option<File>, StorageError> {
    let unfinished = marker(dir).exists();
    let path = blocks(dir);
    if (path.exists() || meta(dir).exists()) && !unfinished && !options.replace {
        return Err(StorageError::NotEmpty(dir.display().to_string()));
    }
    if !path.exists() {
        return Ok(None);
    }
    let file = File::open(&path).map_err(io_error("opening", &path))?;
    file::lock(&file, &path, options.lock_wait)?;
    Ok(Some(file))
}

fn remove(path: &Path) -> Result<(), StorageError> {
    let removed = if path.is_dir() { fs::remove_dir_all(path) } else { fs::remove_file(path) };
    match removed {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(io_error("removing", path)(error)),
        _ => Ok(()),
    }
}

pub(super) fn probe(dir: &Path) -> Result<Option<Identity>, StorageError> {
    let path = blocks(dir);
    if marker(dir).exists() || !path.exists() {
        return Ok(None);
    }
    let file = File::open(&path).map_err(io_error("opening", &path))?;
    Ok(Some(superblock::read(&file)?.identity))
}

/// Finds and weighs what lies in `dir`; nothing is touched.
pub(super) fn check(dir: &Path, options: &OpenOptions) -> Result<superblock::Found, StorageError> {
    let path = blocks(dir);
    if marker(dir).exists() || !path.exists() {
        return Err(StorageError::NotFormatted(dir.display().to_string()));
    }
    let file = File::open(&path).map_err(io_error("opening", &path))?;
    let found = superblock::read(&file)?;
    if found.identity.cluster != options.cluster {
        return Err(StorageError::WrongCluster { found: found.identity.cluster, expected: options.cluster });
    }
    if found.identity.device != options.device {
        return Err(StorageError::WrongDevice { found: found.identity.device, expected: options.device });
    }
    Ok(found)
}

pub(super) fn open(dir: &Path, options: &OpenOptions) -> Result<Device, StorageError> {
    let found = check(dir, options)?;
    let path = blocks(dir);
    let file = Arc::new(file::open(&path, options.direct, options.lock_wait)?);
    let store = RocksStore::open(&meta(dir))?;
    if !found.damaged.is_empty() {
        tracing::warn!(dir = %dir.display(), "a superblock was damaged and is written anew from its copy");
        // Not through the data file itself: with O_DIRECT it takes aligned memory only.
        let plain = File::options().write(true).open(&path).map_err(io_error("opening", &path))?;
        superblock::write(&plain, &found.identity, &found.damaged)?;
    }
    let io = start_io(file, options.io).map_err(io_error("starting the threads of", &path))?;
    let device = assemble(found.identity, io, Arc::new(store), options, Committing::Thread)?;
    Ok(Device { mended: found.damaged.len(), ..device })
}

fn start_io(file: Arc<File>, mode: IoMode) -> std::io::Result<Box<dyn BlockIo>> {
    if mode != IoMode::Plain {
        match UringIo::start(Arc::clone(&file)) {
            Ok(io) => return Ok(Box::new(io)),
            Err(error) if mode == IoMode::Uring => return Err(error),
            Err(error) => tracing::warn!(%error, "the kernel refuses io_uring; threads are used"),
        }
    }
    Ok(Box::new(PlainIo::start(file)?))
}

/// Puts a device together from its parts, real or simulated.
pub(crate) fn assemble(
    identity: Identity,
    io: Box<dyn BlockIo>,
    store: Arc<dyn MetaStore>,
    options: &OpenOptions,
    committing: Committing,
) -> Result<Device, StorageError> {
    let health = Arc::<Health>::default();
    let meta = Meta::new(store, Arc::clone(&health), options.meta_reserve_bytes)?;
    let core = Arc::new(Core::new(identity, io, meta, health, (Arc::clone(&options.closed), Arc::clone(&options.filling)))?);
    let thread = match committing {
        Committing::Thread => Some(commit::start(&core).map_err(|error| StorageError::io("starting the commit thread", &error))?),
        Committing::Pumped => None,
    };
    Ok(Device::of(core, thread))
}
