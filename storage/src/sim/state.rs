//! What a simulated disk holds, and what becomes of it when the power is cut.

use std::collections::BTreeSet;
use std::io;
use std::ops::Range;

use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;

use crate::meta::memory::MemoryImages;
use crate::meta::store::Change;

/// What a disk writes whole or not at all.
pub const SECTOR_BYTES: usize = 512;

/// What goes wrong.
#[derive(Clone, Debug)]
pub struct Faults {
    /// Reads of these bytes fail, always.
    pub bad_reads: Option<Range<u64>>,
    /// So many writes of data fail from now on.
    pub failing_writes: u32,
    /// So many syncs of the data file fail from now on.
    pub failing_syncs: u32,
    /// So many writes of metadata fail from now on.
    pub failing_meta_writes: u32,
    /// So many syncs of metadata fail from now on.
    pub failing_meta_syncs: u32,
    /// Syncs of the data file say that they are done, and are not.
    pub lying_syncs: bool,
    /// Bytes free for metadata.
    pub meta_free_bytes: u64,
}

impl Default for Faults {
    /// Nothing goes wrong.
    fn default() -> Self {
        Self {
            bad_reads: None,
            failing_writes: 0,
            failing_syncs: 0,
            failing_meta_writes: 0,
            failing_meta_syncs: 0,
            lying_syncs: false,
            meta_free_bytes: u64::MAX,
        }
    }
}

pub(super) struct State {
    /// What reads see.
    live: Vec<u8>,
    /// What was synced.
    durable: Vec<u8>,
    /// Sectors that differ between the two.
    unsynced: BTreeSet<usize>,
    pub meta: MemoryImages,
    pub faults: Faults,
    rng: ChaCha8Rng,
    steps: u64,
    cut_at: Option<u64>,
    off: bool,
    generation: u64,
}

fn eio() -> io::Error {
    io::Error::other("injected input/output error")
}

fn fails(left: &mut u32) -> io::Result<()> {
    if *left == 0 {
        return Ok(());
    }
    *left -= 1;
    Err(eio())
}

impl State {
    pub fn new(bytes: u64, seed: u64) -> Self {
        let bytes = usize::try_from(bytes).expect("a simulated disk fits into memory");
        Self {
            live: vec![0; bytes],
            durable: vec![0; bytes],
            unsynced: BTreeSet::new(),
            meta: MemoryImages::default(),
            faults: Faults::default(),
            rng: ChaCha8Rng::seed_from_u64(seed),
            steps: 0,
            cut_at: None,
            off: false,
            generation: 0,
        }
    }

    pub fn power_on(&mut self) -> u64 {
        self.off = false;
        self.generation += 1;
        self.generation
    }

    pub fn is_off(&self) -> bool {
        self.off
    }

    pub fn steps(&self) -> u64 {
        self.steps
    }

    pub fn cut_power_after(&mut self, steps: u64) {
        self.cut_at = Some(self.steps + steps);
    }

    pub fn check(&self, generation: u64) -> io::Result<()> {
        if self.off || generation != self.generation { Err(io::Error::other("the power is off")) } else { Ok(()) }
    }

    /// Counts a write or sync; the power goes in the middle of it where that was asked for.
    fn step(&mut self) -> io::Result<()> {
        let step = self.steps;
        self.steps += 1;
        if self.cut_at == Some(step) {
            self.cut_at = None;
            self.cut_power();
            return Err(io::Error::other("the power went"));
        }
        Ok(())
    }

    pub fn cut_power(&mut self) {
        self.off = true;
        // Some cuts lose all, some nothing, most something.
        let kept_of_8 = self.rng.random_range(0..=8);
        for sector in std::mem::take(&mut self.unsynced) {
            if self.rng.random_range(0..8) < kept_of_8 {
                self.make_durable(sector);
            }
        }
        self.live.clone_from(&self.durable);
        let kept = self.rng.random_range(0..=self.meta.unsynced());
        self.meta.crash(kept);
    }

    fn make_durable(&mut self, sector: usize) {
        let range = sector * SECTOR_BYTES..(sector + 1) * SECTOR_BYTES;
        self.durable[range.clone()].copy_from_slice(&self.live[range]);
    }

    fn range(&self, at: u64, length: usize) -> io::Result<Range<usize>> {
        let start = usize::try_from(at).map_err(|_| eio())?;
        let end = start.checked_add(length).filter(|end| *end <= self.live.len());
        end.map(|end| start..end).ok_or_else(|| io::ErrorKind::UnexpectedEof.into())
    }

    pub fn read(&self, at: u64, bytes: &mut [u8]) -> io::Result<()> {
        let range = self.range(at, bytes.len())?;
        let bad = self.faults.bad_reads.as_ref();
        if bad.is_some_and(|bad| bad.start < range.end as u64 && bad.end > range.start as u64) {
            return Err(eio());
        }
        bytes.copy_from_slice(&self.live[range]);
        Ok(())
    }

    pub fn write(&mut self, at: u64, bytes: &[u8]) -> io::Result<()> {
        fails(&mut self.faults.failing_writes)?;
        let range = self.range(at, bytes.len())?;
        self.live[range.clone()].copy_from_slice(bytes);
        self.unsynced.extend(range.start / SECTOR_BYTES..range.end.div_ceil(SECTOR_BYTES));
        self.step()
    }

    pub fn sync(&mut self) -> io::Result<()> {
        self.step()?;
        fails(&mut self.faults.failing_syncs)?;
        if !self.faults.lying_syncs {
            for sector in std::mem::take(&mut self.unsynced) {
                self.make_durable(sector);
            }
        }
        Ok(())
    }

    pub fn write_meta(&mut self, changes: Vec<Change>) -> io::Result<()> {
        fails(&mut self.faults.failing_meta_writes)?;
        self.meta.write(changes);
        self.step()
    }

    pub fn sync_meta(&mut self) -> io::Result<()> {
        self.step()?;
        fails(&mut self.faults.failing_meta_syncs)?;
        self.meta.sync();
        Ok(())
    }

    pub fn rot(&mut self, at: u64, bit: u8) {
        let at = usize::try_from(at).expect("a simulated disk fits into memory");
        for image in [&mut self.live, &mut self.durable] {
            image[at] ^= 1 << (bit % 8);
        }
    }
}
