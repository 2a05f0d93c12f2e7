//! Metadata in memory, with the image that a power cut would leave: the store of the simulator.
//!
//! `live` is what readers see; `durable` is what was synced; between them lie the batches that a crash keeps a prefix of, as a torn
//! write-ahead log would.

use std::collections::BTreeMap;
use std::ops::{Bound, ControlFlow};

use super::store::{Change, Family, Frozen, Visit};
use crate::StorageError;

/// All keys of all families.
pub type Image = BTreeMap<(Family, Vec<u8>), Vec<u8>>;

/// A live image, a durable one, and what lies between them.
#[derive(Clone, Debug, Default)]
pub struct MemoryImages {
    live: Image,
    durable: Image,
    unsynced: Vec<Vec<Change>>,
}

/// An image that nobody changes any more.
#[derive(Clone, Debug)]
pub struct FrozenImage(pub Image);

impl Frozen for FrozenImage {
    fn get(&self, family: Family, key: &[u8]) -> Result<Option<Vec<u8>>, StorageError> {
        Ok(self.0.get(&(family, key.to_vec())).cloned())
    }

    fn scan(&self, family: Family, from: &[u8], end: &[u8], visit: Visit<'_>) -> Result<(), StorageError> {
        show(&self.0, family, from, end, visit);
        Ok(())
    }
}

fn show(image: &Image, family: Family, from: &[u8], end: &[u8], visit: Visit<'_>) {
    if from >= end {
        return;
    }
    let range = (Bound::Included((family, from.to_vec())), Bound::Excluded((family, end.to_vec())));
    for ((_, key), value) in image.range(range) {
        if let ControlFlow::Break(()) = visit(key, value) {
            break;
        }
    }
}

fn make(image: &mut Image, changes: &[Change]) {
    for change in changes {
        match change {
            Change::Put(family, key, value) => drop(image.insert((*family, key.clone()), value.clone())),
            Change::Delete(family, key) => drop(image.remove(&(*family, key.clone()))),
            Change::DeleteRange(family, from, end) => {
                let gone: Vec<_> = image.range((*family, from.clone())..(*family, end.clone())).map(|(key, _)| key.clone()).collect();
                for key in gone {
                    image.remove(&key);
                }
            }
        }
    }
}

impl MemoryImages {
    /// The value of a key.
    pub fn get(&self, family: Family, key: &[u8]) -> Option<Vec<u8>> {
        self.live.get(&(family, key.to_vec())).cloned()
    }

    /// Shows a range of keys.
    pub fn scan(&self, family: Family, from: &[u8], end: &[u8], visit: Visit<'_>) {
        show(&self.live, family, from, end, visit);
    }

    /// A batch that readers see and a crash may lose.
    pub fn write(&mut self, changes: Vec<Change>) {
        make(&mut self.live, &changes);
        self.unsynced.push(changes);
    }

    /// Everything so far is durable.
    pub fn sync(&mut self) {
        for changes in self.unsynced.drain(..) {
            make(&mut self.durable, &changes);
        }
    }

    /// How many batches a crash may lose.
    pub fn unsynced(&self) -> usize {
        self.unsynced.len()
    }

    /// The power is cut: the first `kept` batches that were not synced happen to have reached the disk, the others are lost.
    pub fn crash(&mut self, kept: usize) {
        let lost = self.unsynced.split_off(kept.min(self.unsynced.len()));
        drop(lost);
        self.sync();
        self.live = self.durable.clone();
    }

    /// Bytes of keys and values.
    pub fn bytes(&self) -> u64 {
        self.live.iter().map(|((_, key), value)| (key.len() + value.len()) as u64).sum()
    }

    /// All that readers see.
    pub fn live(&self) -> &Image {
        &self.live
    }

    /// Damages a value where it lies: readers get it so.
    pub fn corrupt(&mut self, family: Family, key: &[u8], damage: impl Fn(&mut Vec<u8>)) -> bool {
        for image in [&mut self.live, &mut self.durable] {
            match image.get_mut(&(family, key.to_vec())) {
                Some(value) => damage(value),
                None => return false,
            }
        }
        true
    }
}
