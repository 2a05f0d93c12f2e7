//! What a disk may hold when the power is cut after some of the recorded operations, in the middle of the next.
//!
//! What was synced is there. Of what was not, what the file systems that we run on (ext4 ordered, XFS) may leave: a write over bytes that
//! were there is torn at the sectors of 512 bytes, each old or new, whichever order they were written in; bytes added to a file are there up
//! to any byte; names come, change and go in their order, up to any of them. A sync of a file does not make its name durable.

use std::collections::BTreeMap;
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use rand::Rng;
use rand_chacha::ChaCha8Rng;

use super::recorder::{FileId, Op, Record};

const SECTOR_BYTES: usize = 512;
type Sector = [u8; SECTOR_BYTES];
static ZEROS: [u8; 64 * 1024] = [0; 64 * 1024];

/// One file.
#[derive(Default)]
struct Content {
    /// What is durable of it.
    durable: Vec<u8>,
    /// Sectors of it that were written since, each with all that was written there.
    over: BTreeMap<usize, Vec<Sector>>,
    /// What was added to it since.
    added: Vec<u8>,
}

/// A disk on its way through a record.
pub struct Disk<'a> {
    record: &'a Record,
    done: usize,
    files: BTreeMap<FileId, Content>,
    /// Names that are durable, and what became of names since.
    names: BTreeMap<PathBuf, FileId>,
    renamed: Vec<&'a Op>,
}

impl Content {
    /// What is read from one sector now.
    fn sector(&self, number: usize) -> Sector {
        let newest = self.over.get(&number).and_then(|all| all.last());
        newest.copied().unwrap_or_else(|| self.durable_sector(number))
    }

    fn durable_sector(&self, number: usize) -> Sector {
        self.durable[number * SECTOR_BYTES..][..SECTOR_BYTES].try_into().expect("a whole sector")
    }

    fn write(&mut self, at: usize, bytes: &[u8]) {
        if at >= self.durable.len() {
            assert_eq!(at, self.durable.len() + self.added.len(), "files of this kind grow at their end");
            return self.added.extend(bytes);
        }
        assert!(
            self.durable.len().is_multiple_of(SECTOR_BYTES) && at + bytes.len() <= self.durable.len(),
            "files of this kind do not grow"
        );
        for number in at / SECTOR_BYTES..(at + bytes.len()).div_ceil(SECTOR_BYTES) {
            let mut sector = self.sector(number);
            let begin = number * SECTOR_BYTES;
            let (from, to) = (at.max(begin), (at + bytes.len()).min(begin + SECTOR_BYTES));
            sector[from - begin..to - begin].copy_from_slice(&bytes[from - at..to - at]);
            self.over.entry(number).or_default().push(sector);
        }
    }

    fn sync(&mut self) {
        for (number, all) in std::mem::take(&mut self.over) {
            self.durable[number * SECTOR_BYTES..][..SECTOR_BYTES].copy_from_slice(all.last().expect("it was written"));
        }
        self.durable.append(&mut self.added);
    }

    /// Writes what a power cut leaves of it; nothing where nothing but zeros is.
    fn leave(&self, path: &Path, rng: &mut ChaCha8Rng) -> std::io::Result<()> {
        let file = File::create(path)?;
        // Some cuts lose all, some nothing, most something.
        let kept_of_8 = rng.random_range(0..=8);
        let more = match kept_of_8 {
            0 => 0,
            8 => self.added.len(),
            _ => rng.random_range(0..=self.added.len()),
        };
        file.set_len((self.durable.len() + more) as u64)?;
        for (number, part) in self.durable.chunks(ZEROS.len()).enumerate() {
            if *part != ZEROS[..part.len()] {
                file.write_all_at(part, (number * ZEROS.len()) as u64)?;
            }
        }
        file.write_all_at(&self.added[..more], self.durable.len() as u64)?;
        for (number, all) in &self.over {
            if rng.random_range(0..8) < kept_of_8 {
                file.write_all_at(&all[rng.random_range(0..all.len())], (number * SECTOR_BYTES) as u64)?;
            }
        }
        Ok(())
    }
}

impl<'a> Disk<'a> {
    /// As it was when the recording began.
    pub fn new(record: &'a Record) -> Self {
        let content = |bytes: &Vec<u8>| Content { durable: bytes.clone(), ..Content::default() };
        let files = record.before.values().map(|(file, bytes)| (*file, content(bytes))).collect();
        let names = record.before.iter().map(|(name, (file, _))| (name.clone(), *file)).collect();
        Self { record, done: 0, files, names, renamed: Vec::new() }
    }

    /// Goes on until so many operations are done.
    pub fn go_to(&mut self, count: usize) {
        while self.done < count {
            self.go_on();
        }
    }

    fn go_on(&mut self) {
        let op = &self.record.ops[self.done];
        self.done += 1;
        match op {
            Op::Write { file, at, bytes } => self.files.entry(*file).or_default().write(*at as usize, bytes),
            Op::Sync { file } => self.files.entry(*file).or_default().sync(),
            Op::SyncNames => {
                for op in std::mem::take(&mut self.renamed) {
                    rename(&mut self.names, op);
                }
            }
            Op::Create { .. } | Op::Rename { .. } | Op::Remove { .. } => self.renamed.push(op),
        }
    }

    /// The power is cut in the middle of the next operation: leaves in `dir`, which is empty, what is there then.
    pub fn cut(&mut self, dir: &Path, rng: &mut ChaCha8Rng) -> std::io::Result<()> {
        // A sync that does not return has perhaps done some of its work, as it is with any that was not begun.
        if !matches!(self.record.ops.get(self.done), None | Some(Op::Sync { .. } | Op::SyncNames)) {
            self.go_on();
        }
        let mut names = self.names.clone();
        for op in &self.renamed[..rng.random_range(0..=self.renamed.len())] {
            rename(&mut names, op);
        }
        for (name, file) in names {
            let path = dir.join(name);
            std::fs::create_dir_all(path.parent().expect("it is below"))?;
            match self.files.get(&file) {
                Some(content) => content.leave(&path, rng)?,
                None => drop(File::create(&path)?),
            }
        }
        Ok(())
    }
}

fn rename(names: &mut BTreeMap<PathBuf, FileId>, op: &Op) {
    match op {
        Op::Create { name, file } => drop(names.insert(name.clone(), *file)),
        Op::Rename { from, to } => {
            let file = names.remove(from).expect("it is there");
            names.insert(to.clone(), file);
        }
        Op::Remove { name } => drop(names.remove(name)),
        Op::Write { .. } | Op::Sync { .. } | Op::SyncNames => {}
    }
}
