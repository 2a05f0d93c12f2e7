//! The free space of a device, in memory: rebuilt from the units' records at open, changed with them.
//!
//! Guaranteed: what is allocated never overlaps; free and allocated space together are the whole. Left to others: giving back space only
//! once the record that held it is durably gone.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};
use types::limits::BLOCK_BYTES;

/// A unit lies in at most so many extents: bounds its record and its header.
pub const EXTENTS_MAX: usize = 8;
/// Free extents looked at from the cursor on before the best fit of all is taken.
const SEARCH_MAX: usize = 64;

/// A run of the data file, in whole blocks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Extent {
    /// Its first byte in the data file.
    pub at: u64,
    /// How many bytes.
    pub bytes: u64,
}

impl Extent {
    /// The byte after it; `None` where there is no such number.
    pub fn end(self) -> Option<u64> {
        self.at.checked_add(self.bytes)
    }
}

/// Free extents by place and by length.
#[derive(Debug)]
pub struct Allocator {
    by_place: BTreeMap<u64, u64>,
    by_length: BTreeSet<(u64, u64)>,
    free: u64,
    cursor: u64,
}

impl Allocator {
    /// All of `area` is free.
    pub fn new(area: Extent) -> Self {
        let mut new = Self { by_place: BTreeMap::new(), by_length: BTreeSet::new(), free: 0, cursor: area.at };
        new.put(area);
        new
    }

    /// Bytes free.
    pub fn free(&self) -> u64 {
        self.free
    }

    /// Space for a unit: one extent where there is one, else a few; `None`, and nothing changed, where there is not enough.
    pub fn allocate(&mut self, bytes: u64) -> Option<Vec<Extent>> {
        debug_assert!(bytes > 0 && bytes.is_multiple_of(BLOCK_BYTES as u64));
        if bytes > self.free {
            return None;
        }
        if let Some(at) = self.find(bytes) {
            let extent = Extent { at, bytes };
            self.cut(at, extent);
            self.cursor = at + bytes;
            return Some(vec![extent]);
        }
        self.allocate_pieces(bytes)
    }

    /// Marks as allocated what a record says is. `false`, and nothing changed, where it is not wholly free.
    pub fn claim(&mut self, extent: Extent) -> bool {
        let Some(end) = extent.end() else { return false };
        let Some((&at, &bytes)) = self.by_place.range(..=extent.at).next_back() else { return false };
        if extent.bytes == 0 || end > at + bytes {
            return false;
        }
        self.cut(at, extent);
        true
    }

    /// Gives space back.
    ///
    /// # Panics
    /// Where some of it is free already: two owners would then write over each other.
    pub fn release(&mut self, extent: Extent) {
        let (mut at, mut end) = (extent.at, extent.end().expect("an extent that was allocated ends in the file"));
        if let Some((&before, &bytes)) = self.by_place.range(..at).next_back() {
            assert!(before + bytes <= at, "{extent:?} is given back twice");
            if before + bytes == at {
                self.take(before);
                at = before;
            }
        }
        if let Some((&next, &bytes)) = self.by_place.range(extent.at..).next() {
            assert!(end <= next, "{extent:?} is given back twice");
            if next == end {
                self.take(next);
                end = next + bytes;
            }
        }
        self.put(Extent { at, bytes: end - at });
    }

    fn find(&self, bytes: u64) -> Option<u64> {
        let onwards = self.by_place.range(self.cursor..).take(SEARCH_MAX);
        let near = onwards.chain(self.by_place.iter().take(SEARCH_MAX)).find(|(_, length)| **length >= bytes);
        near.map(|(at, _)| *at).or_else(|| self.by_length.range((bytes, 0)..).next().map(|(_, at)| *at))
    }

    fn allocate_pieces(&mut self, bytes: u64) -> Option<Vec<Extent>> {
        let largest: Vec<_> = self.by_length.iter().rev().take(EXTENTS_MAX).copied().collect();
        if largest.iter().map(|(length, _)| length).sum::<u64>() < bytes {
            return None;
        }
        let mut extents = Vec::new();
        let mut left = bytes;
        for (length, at) in largest {
            let extent = Extent { at, bytes: length.min(left) };
            self.cut(at, extent);
            extents.push(extent);
            left -= extent.bytes;
            if left == 0 {
                break;
            }
        }
        Some(extents)
    }

    /// Takes `extent` out of the free extent that begins at `at` and holds it.
    fn cut(&mut self, at: u64, extent: Extent) {
        let bytes = self.take(at);
        let (end, extent_end) = (at + bytes, extent.at + extent.bytes);
        self.put(Extent { at, bytes: extent.at - at });
        self.put(Extent { at: extent_end, bytes: end - extent_end });
    }

    fn put(&mut self, extent: Extent) {
        if extent.bytes > 0 {
            self.by_place.insert(extent.at, extent.bytes);
            self.by_length.insert((extent.bytes, extent.at));
            self.free += extent.bytes;
        }
    }

    fn take(&mut self, at: u64) -> u64 {
        let bytes = self.by_place.remove(&at).expect("the extent is free");
        self.by_length.remove(&(bytes, at));
        self.free -= bytes;
        bytes
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const BLOCK: u64 = BLOCK_BYTES as u64;
    const BLOCKS: u64 = 64;

    fn whole() -> Allocator {
        Allocator::new(Extent { at: BLOCK, bytes: BLOCKS * BLOCK })
    }

    #[test]
    fn a_unit_is_spread_where_no_single_extent_holds_it() {
        let mut space = whole();
        let all: Vec<_> = (0..BLOCKS).map(|_| space.allocate(BLOCK).expect("room")[0]).collect();
        assert_eq!(space.allocate(BLOCK), None);
        for extent in all.iter().step_by(2).take(EXTENTS_MAX) {
            space.release(*extent);
        }
        let spread = space.allocate(EXTENTS_MAX as u64 * BLOCK).expect("just enough");
        assert_eq!((spread.len(), space.free()), (EXTENTS_MAX, 0));
    }

    #[test]
    fn an_extent_out_of_the_file_or_taken_is_not_claimed() {
        let mut space = whole();
        assert!(space.claim(Extent { at: 3 * BLOCK, bytes: BLOCK }));
        for (at, bytes) in [(3 * BLOCK, BLOCK), (2 * BLOCK, 2 * BLOCK), (0, BLOCK), (BLOCKS * BLOCK, 2 * BLOCK), (u64::MAX, 2), (BLOCK, 0)]
        {
            assert!(!space.claim(Extent { at, bytes }), "{at} {bytes}");
        }
        assert_eq!(space.free(), (BLOCKS - 1) * BLOCK);
    }

    #[test]
    #[should_panic(expected = "given back twice")]
    fn space_given_back_twice_is_a_broken_invariant() {
        whole().release(Extent { at: 2 * BLOCK, bytes: BLOCK });
    }

    proptest! {
        #[test]
        fn space_is_conserved_and_never_given_twice(steps in proptest::collection::vec((0u8..3, 1u64..20, any::<prop::sample::Index>()), 1..200)) {
            let mut space = whole();
            let mut held: Vec<Vec<Extent>> = Vec::new();
            for (kind, blocks, index) in steps {
                if kind == 0 && !held.is_empty() {
                    for extent in held.swap_remove(index.index(held.len())) {
                        space.release(extent);
                    }
                } else if let Some(extents) = space.allocate(blocks * BLOCK) {
                    prop_assert_eq!(extents.iter().map(|e| e.bytes).sum::<u64>(), blocks * BLOCK);
                    prop_assert!(extents.len() <= EXTENTS_MAX);
                    held.push(extents);
                }
                let mut taken: Vec<_> = held.iter().flatten().copied().collect();
                taken.sort_unstable();
                prop_assert!(taken.windows(2).all(|pair| pair[0].at + pair[0].bytes <= pair[1].at));
                prop_assert_eq!(taken.iter().map(|e| e.bytes).sum::<u64>() + space.free(), BLOCKS * BLOCK);
                let mut again = whole();
                prop_assert!(taken.iter().all(|extent| again.claim(*extent)));
                prop_assert_eq!(again.free(), space.free());
            }
        }
    }
}
