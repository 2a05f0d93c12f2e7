//! Writes down everything that this process does to the files of one directory, in the order in which it happens: what a disk would be told.
//!
//! The functions of the C library that change files are replaced in this executable, for RocksDB and for our own code alike: each does the
//! same system call, and notes it. One lock is held over call and note, so the order is the true one. [`Record::replay`] shows that nothing
//! is missed: what was noted, done again from the beginning, gives the same files.
#![allow(unsafe_code, reason = "functions of the C library are replaced")]

use std::collections::BTreeMap;
use std::ffi::{CStr, OsStr};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use libc::{c_char, c_int, c_void, off_t, size_t, ssize_t};

/// A file, for as long as it is there, whatever it is called.
pub type FileId = usize;

/// What was done. Names are relative to the directory.
#[derive(Clone, Debug)]
pub enum Op {
    /// Bytes were written.
    Write { file: FileId, at: u64, bytes: Vec<u8> },
    /// All that was written to the file before is durable.
    Sync { file: FileId },
    /// All names are as they are for good.
    SyncNames,
    /// A new, empty file.
    Create { name: PathBuf, file: FileId },
    /// It took another name, perhaps another file's.
    Rename { from: PathBuf, to: PathBuf },
    /// It is gone.
    Remove { name: PathBuf },
}

static RECORDING: AtomicBool = AtomicBool::new(false);
static STATE: Mutex<State> = Mutex::new(State { root: None, ops: Vec::new(), inodes: BTreeMap::new(), next: 0 });

struct State {
    root: Option<PathBuf>,
    ops: Vec<Op>,
    inodes: BTreeMap<u64, FileId>,
    next: FileId,
}

/// What lay in the directory before, and what was done to it.
pub struct Record {
    /// Files by name, with their bytes.
    pub before: BTreeMap<PathBuf, (FileId, Vec<u8>)>,
    /// All that was done.
    pub ops: Vec<Op>,
}

fn state() -> MutexGuard<'static, State> {
    STATE.lock().unwrap_or_else(PoisonError::into_inner)
}

/// All files below a directory.
pub fn files(root: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let (mut found, mut left) = (BTreeMap::new(), vec![root.to_path_buf()]);
    while let Some(dir) = left.pop() {
        for entry in std::fs::read_dir(&dir).expect("lists") {
            let path = entry.expect("an entry").path();
            if path.is_dir() {
                left.push(path);
            } else {
                let name = path.strip_prefix(root).expect("it is below").to_path_buf();
                found.insert(name, std::fs::read(&path).expect("reads"));
            }
        }
    }
    found
}

/// Begins: from here on everything below `root` is written down.
pub fn begin(root: &Path) -> Record {
    let root = root.canonicalize().expect("it is there");
    let mut state = state();
    *state = State { root: Some(root.clone()), ops: Vec::new(), inodes: BTreeMap::new(), next: 0 };
    let mut before = BTreeMap::new();
    for (name, bytes) in files(&root) {
        let file = state.new_file(inode_of(&root.join(&name)).expect("it is there"));
        before.insert(name, (file, bytes));
    }
    drop(state);
    RECORDING.store(true, Ordering::SeqCst);
    Record { before, ops: Vec::new() }
}

/// How much was done so far.
pub fn count() -> usize {
    state().ops.len()
}

impl Record {
    /// Ends.
    pub fn end(&mut self) {
        RECORDING.store(false, Ordering::SeqCst);
        self.ops = std::mem::take(&mut state().ops);
    }

    /// What lies there when all that was noted is done again.
    pub fn replay(&self) -> BTreeMap<PathBuf, Vec<u8>> {
        let mut bytes: BTreeMap<FileId, Vec<u8>> = BTreeMap::new();
        let mut names: BTreeMap<PathBuf, FileId> = BTreeMap::new();
        for (name, (file, content)) in &self.before {
            names.insert(name.clone(), *file);
            bytes.insert(*file, content.clone());
        }
        for op in &self.ops {
            match op {
                Op::Write { file, at, bytes: new } => {
                    let content = bytes.entry(*file).or_default();
                    let (from, to) = (*at as usize, *at as usize + new.len());
                    content.resize(content.len().max(to), 0);
                    content[from..to].copy_from_slice(new);
                }
                Op::Sync { .. } | Op::SyncNames => {}
                Op::Create { name, file } => drop(names.insert(name.clone(), *file)),
                Op::Rename { from, to } => {
                    let file = names.remove(from).expect("it is there");
                    names.insert(to.clone(), file);
                }
                Op::Remove { name } => drop(names.remove(name).expect("it is there")),
            }
        }
        names.into_iter().map(|(name, file)| (name, bytes.remove(&file).unwrap_or_default())).collect()
    }
}

impl State {
    fn new_file(&mut self, inode: u64) -> FileId {
        self.next += 1;
        self.inodes.insert(inode, self.next);
        self.next
    }

    /// The name of a path below the directory.
    fn name(&self, path: &Path) -> Option<PathBuf> {
        path.strip_prefix(self.root.as_ref()?).ok().map(Path::to_path_buf)
    }

    /// The file behind a descriptor, and whether it is a directory, if it lies below; notes a file that nobody has written to yet.
    fn file(&mut self, fd: c_int) -> Option<(FileId, bool)> {
        let link = format!("/proc/self/fd/{fd}");
        let name = self.name(&std::fs::read_link(link).ok()?)?;
        // SAFETY: the descriptor is the caller's, and `fstat` fills all of the zeroed structure that it succeeds on.
        let found = unsafe {
            let mut found: libc::stat = std::mem::zeroed();
            (libc::fstat(fd, &raw mut found) == 0).then_some(found)?
        };
        if found.st_mode & libc::S_IFMT == libc::S_IFDIR {
            return Some((0, true));
        }
        self.appeared(&name, Some(found.st_ino)).map(|file| (file, false))
    }

    /// The file with that inode; a new one where it is not known.
    fn appeared(&mut self, name: &Path, inode: Option<u64>) -> Option<FileId> {
        let inode = inode?;
        if let Some(file) = self.inodes.get(&inode) {
            return Some(*file);
        }
        let file = self.new_file(inode);
        self.ops.push(Op::Create { name: name.to_path_buf(), file });
        Some(file)
    }

    fn wrote(&mut self, fd: c_int, at: u64, bytes: &[u8]) {
        if let Some((file, false)) = self.file(fd) {
            self.ops.push(Op::Write { file, at, bytes: bytes.to_vec() });
        }
    }

    fn synced(&mut self, fd: c_int) {
        match self.file(fd) {
            Some((_, true)) => self.ops.push(Op::SyncNames),
            Some((file, false)) => self.ops.push(Op::Sync { file }),
            None => {}
        }
    }
}

/// Does a system call, and has it noted where that succeeded.
fn noted(call: impl FnOnce() -> i64, note: impl FnOnce(&mut State, i64)) -> i64 {
    if !RECORDING.load(Ordering::SeqCst) {
        return call();
    }
    let mut state = state();
    let result = call();
    if result >= 0 {
        note(&mut state, result);
    }
    result
}

/// # Safety
/// As `pwrite`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn pwrite64(fd: c_int, bytes: *const c_void, count: size_t, at: off_t) -> ssize_t {
    // SAFETY: handed on as it came; the kernel has read `count` bytes of it.
    unsafe {
        noted(
            || libc::syscall(libc::SYS_pwrite64, fd, bytes, count, at),
            |state, count| state.wrote(fd, at as u64, std::slice::from_raw_parts(bytes.cast(), count as usize)),
        ) as ssize_t
    }
}

/// # Safety
/// As `pwrite`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn pwrite(fd: c_int, bytes: *const c_void, count: size_t, at: off_t) -> ssize_t {
    // SAFETY: the same.
    unsafe { pwrite64(fd, bytes, count, at) }
}

/// # Safety
/// As `write`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn write(fd: c_int, bytes: *const c_void, count: size_t) -> ssize_t {
    // SAFETY: handed on as it came; the kernel has read `count` bytes of it, and the descriptor stands behind them.
    unsafe {
        noted(
            || libc::syscall(libc::SYS_write, fd, bytes, count),
            |state, count| {
                let end = libc::lseek(fd, 0, libc::SEEK_CUR);
                state.wrote(fd, (end - count).max(0) as u64, std::slice::from_raw_parts(bytes.cast(), count as usize));
            },
        ) as ssize_t
    }
}

/// # Safety
/// As `fdatasync`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn fdatasync(fd: c_int) -> c_int {
    // SAFETY: handed on as it came.
    noted(|| unsafe { libc::syscall(libc::SYS_fdatasync, fd) }, |state, _| state.synced(fd)) as c_int
}

/// # Safety
/// As `fsync`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn fsync(fd: c_int) -> c_int {
    // SAFETY: handed on as it came.
    noted(|| unsafe { libc::syscall(libc::SYS_fsync, fd) }, |state, _| state.synced(fd)) as c_int
}

/// # Safety
/// As `ftruncate`. Of files of ours only to the length that they have: RocksDB gives back what it had reserved.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ftruncate64(fd: c_int, length: off_t) -> c_int {
    // SAFETY: handed on as it came.
    noted(|| unsafe { libc::syscall(libc::SYS_ftruncate, fd, length) }, |_, _| {}) as c_int
}

/// # Safety
/// As `rename`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn rename(from: *const c_char, to: *const c_char) -> c_int {
    // SAFETY: handed on as they came; both end with a zero byte, as for the kernel.
    unsafe {
        noted(
            || libc::syscall(libc::SYS_renameat2, libc::AT_FDCWD, from, libc::AT_FDCWD, to, 0),
            |state, _| {
                let inode = inode_of(path(to));
                if let (Some(from), Some(to)) = (state.name(path(from)), state.name(path(to))) {
                    state.appeared(&from, inode);
                    state.ops.push(Op::Rename { from, to });
                }
            },
        ) as c_int
    }
}

/// # Safety
/// As `unlink`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn unlink(name: *const c_char) -> c_int {
    // SAFETY: handed on as it came; it ends with a zero byte, as for the kernel.
    unsafe {
        let inode = inode_of(path(name));
        noted(
            || libc::syscall(libc::SYS_unlinkat, libc::AT_FDCWD, name, 0),
            |state, _| {
                if let (Some(name), Some(inode)) = (state.name(path(name)), inode)
                    && state.inodes.remove(&inode).is_some()
                {
                    state.ops.push(Op::Remove { name });
                }
            },
        ) as c_int
    }
}

fn inode_of(path: &Path) -> Option<u64> {
    std::fs::metadata(path).ok().map(|found| found.ino())
}

/// # Safety
/// It ends with a zero byte.
unsafe fn path<'a>(name: *const c_char) -> &'a Path {
    // SAFETY: the caller's.
    Path::new(OsStr::from_bytes(unsafe { CStr::from_ptr(name) }.to_bytes()))
}
