//! Opening the data file: `O_DIRECT` where the file system takes it, and only one process at a time.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::time::{Duration, Instant};

use rustix::fs::{FlockOperation, OFlags, flock};

use crate::StorageError;

/// Between two attempts to get the lock.
const LOCK_PAUSE: Duration = Duration::from_millis(5);

/// Opens an existing data file, with a lock on it for as long as it is open.
pub(crate) fn open(path: &Path, direct: bool, lock_wait: Duration) -> Result<File, StorageError> {
    let file = open_unlocked(path, direct)?;
    lock(&file, path, lock_wait)?;
    Ok(file)
}

/// Opens an existing file that somebody's lock on another covers.
pub(crate) fn open_unlocked(path: &Path, direct: bool) -> Result<File, StorageError> {
    let file = match try_open(path, direct) {
        // The file system has no direct I/O.
        Err(error) if direct && error.raw_os_error() == Some(rustix::io::Errno::INVAL.raw_os_error()) => {
            tracing::warn!(path = %path.display(), "the file system refuses O_DIRECT; the page cache is used");
            try_open(path, false)
        }
        other => other,
    };
    file.map_err(|e| StorageError::io(format!("opening {}", path.display()), &e))
}

fn try_open(path: &Path, direct: bool) -> io::Result<File> {
    let flags = if direct { OFlags::DIRECT.bits().cast_signed() } else { 0 };
    OpenOptions::new().read(true).write(true).custom_flags(flags).open(path)
}

/// Keeps other processes away from the device; waits for one that is just ending.
///
/// The lock belongs to the open file, and so does every transfer that the kernel has: when a process is killed, its lock goes only when
/// the last write of its ring is over. That takes moments, and until then nobody else may give space to a new unit.
pub(crate) fn lock(file: &File, path: &Path, wait: Duration) -> Result<(), StorageError> {
    let begin = Instant::now();
    loop {
        match flock(file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => return Ok(()),
            Err(rustix::io::Errno::INTR) => {}
            Err(rustix::io::Errno::WOULDBLOCK) if begin.elapsed() < wait => std::thread::sleep(LOCK_PAUSE),
            Err(rustix::io::Errno::WOULDBLOCK) => return Err(StorageError::InUse(path.display().to_string())),
            Err(error) => return Err(StorageError::io(format!("locking {}", path.display()), &error.into())),
        }
    }
}
