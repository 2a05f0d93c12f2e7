//! Opening the data file: `O_DIRECT` where the file system takes it, and only one process at a time.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use rustix::fs::{FlockOperation, OFlags, flock};

use crate::StorageError;

/// Opens an existing data file, with a lock on it for as long as it is open.
pub(crate) fn open(path: &Path, direct: bool) -> Result<File, StorageError> {
    let file = match try_open(path, direct) {
        // The file system has no direct I/O.
        Err(error) if direct && error.raw_os_error() == Some(rustix::io::Errno::INVAL.raw_os_error()) => {
            tracing::warn!(path = %path.display(), "the file system refuses O_DIRECT; the page cache is used");
            try_open(path, false)
        }
        other => other,
    };
    let file = file.map_err(|e| StorageError::io(format!("opening {}", path.display()), &e))?;
    lock(&file, path)?;
    Ok(file)
}

fn try_open(path: &Path, direct: bool) -> io::Result<File> {
    let flags = if direct { OFlags::DIRECT.bits().cast_signed() } else { 0 };
    OpenOptions::new().read(true).write(true).custom_flags(flags).open(path)
}

/// Keeps other processes away from the device.
pub(crate) fn lock(file: &File, path: &Path) -> Result<(), StorageError> {
    match flock(file, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => Ok(()),
        Err(rustix::io::Errno::WOULDBLOCK) => Err(StorageError::InUse(path.display().to_string())),
        Err(error) => Err(StorageError::io(format!("locking {}", path.display()), &error.into())),
    }
}
