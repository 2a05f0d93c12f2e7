//! Files to store: made from a seed, or found on the machine; and the comparison of two trees.

use std::fs::{self, File};
use std::io::{BufReader, BufWriter, Read, Write};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use rand::{RngCore, SeedableRng};
use rand_chacha::ChaCha8Rng;

/// Bytes that depend on a seed and on their place: no two runs of it are alike.
#[derive(Clone, Copy, Debug)]
pub struct Pattern(pub u64);

impl Pattern {
    /// The first `length` bytes, in memory.
    pub fn bytes(self, length: usize) -> Vec<u8> {
        let mut bytes = vec![0; length];
        ChaCha8Rng::seed_from_u64(self.0).fill_bytes(&mut bytes);
        bytes
    }

    /// Writes a file of `length` bytes without holding it in memory.
    pub fn write(self, path: &Path, length: u64) -> Result<()> {
        let mut random = ChaCha8Rng::seed_from_u64(self.0);
        let mut out = BufWriter::new(File::create(path).with_context(|| path.display().to_string())?);
        let mut block = vec![0; 1 << 16];
        let mut left = length;
        while left > 0 {
            let now = usize::try_from(left.min(1 << 16))?;
            random.fill_bytes(&mut block);
            out.write_all(&block[..now])?;
            left -= now as u64;
        }
        out.flush()?;
        Ok(())
    }
}

/// Copies real files of this machine to `to` until there are at least so many files and bytes; gives both counts.
///
/// Takes small ones first for the count, then large ones for the bytes, so that sizes are mixed.
pub fn copy_some_files(from: &[&Path], to: &Path, files_min: usize, bytes_min: u64) -> Result<(usize, u64)> {
    const FILE_BYTES_MAX: u64 = 96 << 20;
    let mut found = Vec::new();
    for root in from {
        walk(root, &mut |path, length| {
            if length <= FILE_BYTES_MAX {
                found.push((length, path.to_path_buf()));
            }
            Ok(())
        })?;
    }
    found.sort();
    let step = (found.len() / files_min.max(1)).max(1);
    let (mut count, mut bytes) = (0, 0);
    let mut taken = vec![false; found.len()];
    let take = |at: usize, count: &mut usize, bytes: &mut u64| -> Result<()> {
        let (length, path) = &found[at];
        let target = to.join(format!("d{:02}", *count % 40)).join(format!("{:05}-{}", *count, name_of(path)));
        fs::create_dir_all(target.parent().context("has a parent")?)?;
        if fs::copy(path, &target).is_ok() {
            *count += 1;
            *bytes += length;
        }
        Ok(())
    };
    let per_file = 4 * bytes_min / files_min.max(1) as u64;
    for at in (0..found.len()).step_by(step).filter(|at| found[*at].0 <= per_file.max(1 << 20)) {
        taken[at] = true;
        take(at, &mut count, &mut bytes)?;
    }
    for at in (0..found.len()).rev() {
        if count >= files_min && bytes >= bytes_min {
            break;
        }
        if !taken[at] && (count < files_min || found[at].0 <= bytes_min / 8) {
            take(at, &mut count, &mut bytes)?;
        }
    }
    if count < files_min || bytes < bytes_min {
        bail!("this machine has only {count} readable files with {bytes} bytes in {from:?}; {files_min} and {bytes_min} are needed");
    }
    Ok((count, bytes))
}

fn name_of(path: &Path) -> String {
    path.file_name().unwrap_or_default().to_string_lossy().chars().take(80).collect()
}

fn walk(dir: &Path, visit: &mut dyn FnMut(&Path, u64) -> Result<()>) -> Result<()> {
    // Unreadable directories of a live machine are not ours to complain about.
    let Ok(entries) = fs::read_dir(dir) else { return Ok(()) };
    let mut entries: Vec<PathBuf> = entries.flatten().map(|e| e.path()).collect();
    entries.sort();
    for path in entries {
        let Ok(about) = fs::symlink_metadata(&path) else { continue };
        if about.is_dir() {
            walk(&path, visit)?;
        } else if about.is_file() {
            visit(&path, about.len())?;
        }
    }
    Ok(())
}

/// Compares every file below `left` with the one of the same path below `right`, byte by byte; gives files and bytes compared.
pub fn compare_trees(left: &Path, right: &Path) -> Result<(usize, u64)> {
    let (mut files, mut bytes) = (0, 0);
    walk(left, &mut |path, length| {
        let other = right.join(path.strip_prefix(left)?);
        if let Some(at) = first_difference(path, &other)? {
            bail!("{} and {} differ at byte {at}", path.display(), other.display());
        }
        files += 1;
        bytes += length;
        Ok(())
    })?;
    Ok((files, bytes))
}

/// The first byte in which two files differ.
pub fn first_difference(left: &Path, right: &Path) -> Result<Option<u64>> {
    let open = |path: &Path| File::open(path).map(|f| BufReader::with_capacity(1 << 20, f)).with_context(|| path.display().to_string());
    let (mut left, mut right) = (open(left)?, open(right)?);
    let (mut a, mut b) = (vec![0; 1 << 20], vec![0; 1 << 20]);
    let mut at = 0;
    loop {
        let (n, m) = (fill(&mut left, &mut a)?, fill(&mut right, &mut b)?);
        if let Some(i) = a[..n].iter().zip(&b[..m]).position(|(x, y)| x != y) {
            return Ok(Some(at + i as u64));
        }
        if n != m {
            return Ok(Some(at + n.min(m) as u64));
        }
        if n == 0 {
            return Ok(None);
        }
        at += n as u64;
    }
}

fn fill(from: &mut impl Read, block: &mut [u8]) -> Result<usize> {
    let mut filled = 0;
    while filled < block.len() {
        match from.read(&mut block[filled..])? {
            0 => break,
            n => filled += n,
        }
    }
    Ok(filled)
}
