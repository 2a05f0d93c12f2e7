//! Wall clocks that are wrong: processes are started with `libfaketime`, which adds what a file says to the time of day. Clocks that only go
//! forward are left alone: nothing can step those.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

/// Where Debian and others have the library, below the folder of libraries.
const LIBRARY: &str = "faketime/libfaketimeMT.so.1";
/// Folders of libraries.
const FOLDERS: [&str; 4] = ["/usr/lib/x86_64-linux-gnu", "/usr/lib/aarch64-linux-gnu", "/usr/lib64", "/usr/lib"];
/// The file that says by how much the clock of a node is off.
const FILE: &str = "clock";

fn library() -> Result<PathBuf> {
    let paths = FOLDERS.iter().map(|folder| Path::new(folder).join(LIBRARY));
    paths.into_iter().find(|path| path.exists()).context("`clock` needs libfaketime (package faketime), which is not installed")
}

/// The environment of a process whose node is in that directory.
pub fn env(dir: &Path) -> Result<[(&'static str, PathBuf); 4]> {
    Ok([
        ("LD_PRELOAD", library()?),
        ("FAKETIME_TIMESTAMP_FILE", dir.join(FILE)),
        ("FAKETIME_NO_CACHE", "1".into()),
        ("DONT_FAKE_MONOTONIC", "1".into()),
    ])
}

/// From now on it is off by so many seconds.
pub fn set(dir: &Path, seconds: i64) -> Result<()> {
    let file = dir.join(FILE);
    // Put in place whole: whoever reads it meanwhile finds the old or the new.
    let new = dir.join(format!("{FILE}.new"));
    std::fs::write(&new, format!("{seconds:+}\n")).and_then(|()| std::fs::rename(&new, &file)).with_context(|| file.display().to_string())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::process::Command;

    #[test]
    fn a_process_has_the_time_that_the_file_says() {
        let dir = tempfile::tempdir().expect("a directory");
        let Ok(env) = env(dir.path()) else { return eprintln!("SKIPPED: no libfaketime") };
        let year = |seconds| {
            set(dir.path(), seconds).expect("a file");
            let out = Command::new("date").arg("+%s").envs(env.clone()).output().expect("date");
            String::from_utf8_lossy(&out.stdout).trim().parse::<i64>().expect("seconds")
        };
        let (now, then) = (year(0), year(-100_000));
        assert!((99_000..101_000).contains(&(now - then)), "{now} {then}");
    }
}
