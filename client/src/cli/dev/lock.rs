//! One command at a time works on a local cluster's directory: a lock that ends with the process that holds it.

use std::fs::File;
use std::io::{Read, Write};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::fs::{FlockOperation, flock};
use tokio::time::Instant;

use crate::cli::exit::{Exit, Failure};

/// The name of the lock in the cluster's directory.
const FILE_NAME: &str = "dev.lock";
/// How often a lock that somebody holds is tried.
const LOOK_INTERVAL: Duration = Duration::from_millis(20);
/// How long it may take whoever has just taken the lock to write its name into it.
const NAME_WAIT: Duration = Duration::from_millis(200);

/// The lock, as long as this lives.
pub struct Lock(#[expect(dead_code, reason = "the lock is that of the open file")] File);

impl Lock {
    /// The lock of that directory, which has to be there; an error that says who holds it where that takes longer than `patience`.
    pub async fn take(dir: &Path, patience: Duration) -> Result<Self, Failure> {
        let path = dir.join(FILE_NAME);
        let deadline = Instant::now() + patience;
        loop {
            if let Some(lock) = Self::attempt(&path)? {
                return Ok(lock);
            }
            if Instant::now() >= deadline {
                return Err(Failure::new(Exit::Unavailable, held(dir, &path).await));
            }
            tokio::time::sleep(LOOK_INTERVAL).await;
        }
    }

    fn attempt(path: &PathBuf) -> Result<Option<Self>, Failure> {
        let failed = |e: std::io::Error| Failure::io(path.display(), &e);
        let mut file = File::options().create(true).truncate(false).read(true).write(true).open(path).map_err(failed)?;
        match flock(&file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => {}
            Err(rustix::io::Errno::WOULDBLOCK) => return Ok(None),
            Err(error) => return Err(failed(error.into())),
        }
        // Whoever held it may have removed the directory: then this is a lock of nothing.
        let is_there = std::fs::metadata(path).is_ok_and(|there| file.metadata().is_ok_and(|own| own.ino() == there.ino()));
        if !is_there {
            return Ok(None);
        }
        file.set_len(0).and_then(|()| writeln!(file, "{}", std::process::id())).map_err(failed)?;
        Ok(Some(Self(file)))
    }
}

async fn held(dir: &Path, path: &Path) -> String {
    let deadline = Instant::now() + NAME_WAIT;
    let who = loop {
        let mut holder = String::new();
        let known = File::open(path).and_then(|file| file.take(20).read_to_string(&mut holder)).is_ok() && !holder.trim().is_empty();
        if known {
            break format!(" (pid {})", holder.trim());
        }
        if Instant::now() >= deadline {
            break String::new();
        }
        tokio::time::sleep(LOOK_INTERVAL).await;
    };
    format!("another `redoubt dev` command{who} works on {}: wait for its end, or end it", dir.display())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_directory_has_one_command_at_a_time_and_the_error_names_the_other() {
        let dir = tempfile::tempdir().expect("a directory");
        let first = Lock::take(dir.path(), Duration::ZERO).await.expect("free");
        let error = Lock::take(dir.path(), Duration::from_millis(50)).await.err().expect("held");
        assert_eq!(error.exit, Exit::Unavailable);
        assert!(error.message.contains(&format!("pid {}", std::process::id())), "{}", error.message);
        drop(first);
        Lock::take(dir.path(), Duration::ZERO).await.expect("free again");
    }

    #[tokio::test]
    async fn a_lock_whose_directory_was_removed_is_none() {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("cluster");
        std::fs::create_dir(&path).expect("a directory");
        let held = Lock::take(&path, Duration::ZERO).await.expect("free");
        std::fs::remove_dir_all(&path).expect("removed");
        std::fs::create_dir(&path).expect("a new one");
        Lock::take(&path, Duration::ZERO).await.expect("the new one is free");
        drop(held);
    }
}
