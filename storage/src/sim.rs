//! A simulated disk: production code above, an image in memory below, and everything that disks do to people in between.
//!
//! What was not synced is lost, or torn at the sectors of 512 bytes, when the power is cut; and the power can be cut at every single
//! write and sync. Reads and writes fail once or for ever, bits rot, the disk is full, a sync lies. Metadata is kept in memory with a
//! durable image of its own ([`crate::meta::memory`]). One seed decides everything; no thread runs: whoever uses such a device calls
//! [`pump`] to have what waits committed.

mod state;

use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use types::buf::IoBuf;

use crate::device::{Committing, assemble};
use crate::io::{BlockIo, Run, Transfer, Way};
use crate::meta::memory::FrozenImage;
use crate::meta::store::{Change, Family, Frozen, MetaStore, Visit};
use crate::options::OpenOptions;
use crate::{Device, Identity, StorageError};
use state::State;
pub use state::{Faults, SECTOR_BYTES};

/// A simulated disk. Clones are the same disk.
#[derive(Clone)]
pub struct SimDisk {
    identity: Identity,
    state: Arc<Mutex<State>>,
}

impl SimDisk {
    /// A formatted, empty disk; `seed` decides what a power cut leaves.
    pub fn new(identity: Identity, seed: u64) -> Self {
        Self { identity, state: Arc::new(Mutex::new(State::new(identity.bytes, seed))) }
    }

    /// Opens the device on it, as after a power cut: what was open before gets errors from now on.
    pub fn open(&self, options: &OpenOptions) -> Result<Device, StorageError> {
        let generation = self.state().power_on();
        let end = || End { state: Arc::clone(&self.state), generation };
        assemble(self.identity, Box::new(end()), Arc::new(end()), options, Committing::Pumped)
    }

    /// Cuts the power: what was not synced is lost, or torn, or there, as the seed has it.
    pub fn cut_power(&self) {
        self.state().cut_power();
    }

    /// Cuts the power in the middle of the write or sync that comes after so many others.
    pub fn cut_power_after(&self, steps: u64) {
        self.state().cut_power_after(steps);
    }

    /// Whether the power was cut since the disk was last opened.
    pub fn is_off(&self) -> bool {
        self.state().is_off()
    }

    /// Writes and syncs since the disk was made.
    pub fn steps(&self) -> u64 {
        self.state().steps()
    }

    /// Sets what goes wrong from now on.
    pub fn set_faults(&self, faults: Faults) {
        self.state().faults = faults;
    }

    /// Flips a bit of the data file where it lies.
    pub fn rot(&self, at: u64, bit: u8) {
        self.state().rot(at, bit);
    }

    /// Damages a value of the metadata where it lies; tells whether there was one.
    pub fn rot_meta(&self, family: Family, key: &[u8], damage: impl Fn(&mut Vec<u8>)) -> bool {
        self.state().meta.corrupt(family, key, damage)
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Commits all that waits on a simulated device.
pub fn pump(device: &Device) {
    device.pump();
}

/// One opening's end of the disk.
struct End {
    state: Arc<Mutex<State>>,
    generation: u64,
}

impl End {
    fn with<T>(&self, then: impl FnOnce(&mut State) -> io::Result<T>) -> io::Result<T> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.check(self.generation)?;
        then(&mut state)
    }

    fn carry_out(&self, transfer: &mut Transfer) -> io::Result<()> {
        for Run { at, header, data } in transfer.runs.clone() {
            let mut at = at;
            let block = transfer.header.as_mut().filter(|_| header).map(IoBuf::bytes_mut);
            let rest = &mut transfer.data.bytes_mut()[data];
            for bytes in block.into_iter().chain([rest]).filter(|bytes| !bytes.is_empty()) {
                self.with(|state| match transfer.way {
                    Way::Read => state.read(at, bytes),
                    Way::Write => state.write(at, bytes),
                })?;
                at += bytes.len() as u64;
            }
        }
        Ok(())
    }
}

impl BlockIo for End {
    fn submit(&self, mut transfer: Transfer) {
        let result = self.carry_out(&mut transfer);
        transfer.finish(result);
    }

    fn sync(&self) -> io::Result<()> {
        self.with(State::sync)
    }

    fn stop(&self) {}
}

fn failed(error: &io::Error) -> StorageError {
    StorageError::io("the simulated metadata", error)
}

impl MetaStore for End {
    fn get(&self, family: Family, key: &[u8]) -> Result<Option<Vec<u8>>, StorageError> {
        self.with(|state| Ok(state.meta.get(family, key))).map_err(|error| failed(&error))
    }

    fn scan(&self, family: Family, from: &[u8], end: &[u8], visit: Visit<'_>) -> Result<(), StorageError> {
        // As of one moment, and without the lock while the visitor works.
        let rows = self.with(|state| {
            let mut rows = Vec::new();
            state.meta.scan(family, from, end, &mut |key, value| {
                rows.push((key.to_vec(), value.to_vec()));
                std::ops::ControlFlow::Continue(())
            });
            Ok(rows)
        });
        for (key, value) in rows.map_err(|error| failed(&error))? {
            if visit(&key, &value).is_break() {
                break;
            }
        }
        Ok(())
    }

    fn freeze(&self) -> Result<Box<dyn Frozen>, StorageError> {
        let image = self.with(|state| Ok(state.meta.live().clone())).map_err(|error| failed(&error))?;
        Ok(Box::new(FrozenImage(image)))
    }

    fn write(&self, changes: Vec<Change>, sync: bool) -> Result<(), StorageError> {
        let written = self.with(|state| state.write_meta(changes)).and_then(|()| if sync { self.with(State::sync_meta) } else { Ok(()) });
        written.map_err(|error| failed(&error))
    }

    fn bytes(&self) -> u64 {
        self.with(|state| Ok(state.meta.bytes())).unwrap_or(0)
    }

    fn free(&self) -> Result<u64, StorageError> {
        self.with(|state| Ok(state.faults.meta_free_bytes)).map_err(|error| failed(&error))
    }
}
