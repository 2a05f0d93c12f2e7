//! One flat directory of files, as narrow as the store needs it: so that tests can crash it at each write.

use std::collections::BTreeMap;
use std::fs::{self, File, OpenOptions};
use std::io::{self, ErrorKind, Write};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

/// Ending of files that are being written; whatever has it is left over from a crash.
pub const TEMPORARY: &str = ".tmp";

/// A directory. What is not said to be durable may be lost, wholly or in part, by a crash.
pub trait Disk: Send + 'static {
    /// The names of the files, in order.
    fn list(&self) -> io::Result<Vec<String>>;
    /// A whole file.
    fn read(&self, name: &str) -> io::Result<Vec<u8>>;
    /// Makes or replaces a whole file: durable when it returns, and never seen in part.
    fn put(&mut self, name: &str, bytes: &[u8]) -> io::Result<()>;
    /// Writes into a file that is there, from a byte of it on; it grows where it has to. Not durable.
    fn write_at(&mut self, name: &str, at: u64, bytes: &[u8]) -> io::Result<()>;
    /// Makes durable what was written into a file.
    fn sync(&mut self, name: &str) -> io::Result<()>;
    /// Cuts a file, durably.
    fn cut(&mut self, name: &str, length: u64) -> io::Result<()>;
    /// Removes a file, durably; one that is gone is no error.
    fn remove(&mut self, name: &str) -> io::Result<()>;
}

/// A real directory.
#[derive(Debug)]
pub struct FsDisk {
    dir: PathBuf,
    /// Files being written to.
    open: BTreeMap<String, File>,
}

impl FsDisk {
    /// Makes the directory where it is missing.
    pub fn open(dir: &Path) -> io::Result<Self> {
        fs::create_dir_all(dir)?;
        if let Some(parent) = dir.parent().filter(|p| !p.as_os_str().is_empty()) {
            File::open(parent)?.sync_all()?;
        }
        Ok(Self { dir: dir.into(), open: BTreeMap::new() })
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.join(name)
    }

    fn sync_dir(&self) -> io::Result<()> {
        File::open(&self.dir)?.sync_all()
    }

    fn file(&mut self, name: &str) -> io::Result<&mut File> {
        if !self.open.contains_key(name) {
            let file = OpenOptions::new().write(true).open(self.path(name))?;
            self.open.insert(name.into(), file);
        }
        self.open.get_mut(name).ok_or_else(|| io::Error::from(ErrorKind::NotFound))
    }
}

impl Disk for FsDisk {
    fn list(&self) -> io::Result<Vec<String>> {
        let mut names = Vec::new();
        for entry in fs::read_dir(&self.dir)? {
            let entry = entry?;
            if entry.file_type()?.is_file() {
                names.push(entry.file_name().to_string_lossy().into_owned());
            }
        }
        names.sort();
        Ok(names)
    }

    fn read(&self, name: &str) -> io::Result<Vec<u8>> {
        fs::read(self.path(name))
    }

    fn put(&mut self, name: &str, bytes: &[u8]) -> io::Result<()> {
        self.open.remove(name);
        let temporary = self.path(&format!("{name}{TEMPORARY}"));
        let mut file = File::create(&temporary)?;
        file.write_all(bytes)?;
        file.sync_all()?;
        fs::rename(&temporary, self.path(name))?;
        self.sync_dir()
    }

    fn write_at(&mut self, name: &str, at: u64, bytes: &[u8]) -> io::Result<()> {
        self.file(name)?.write_all_at(bytes, at)
    }

    fn sync(&mut self, name: &str) -> io::Result<()> {
        self.file(name)?.sync_data()
    }

    fn cut(&mut self, name: &str, length: u64) -> io::Result<()> {
        self.open.remove(name);
        let file = OpenOptions::new().write(true).open(self.path(name))?;
        file.set_len(length)?;
        file.sync_all()
    }

    fn remove(&mut self, name: &str) -> io::Result<()> {
        self.open.remove(name);
        match fs::remove_file(self.path(name)) {
            Err(e) if e.kind() != ErrorKind::NotFound => Err(e),
            _ => self.sync_dir(),
        }
    }
}
