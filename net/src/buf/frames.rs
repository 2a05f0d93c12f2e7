//! Which parts of a pool are taken: frames of 1 MiB, of which some are cut into quarters or sixteenths.
//!
//! Buffers above a frame take whole frames in a row. Nothing here touches memory.

use std::collections::BTreeSet;

use super::POOL_FRAME_BYTES;

/// Sizes into which a frame may be cut.
const CUTS: [usize; 2] = [64 * 1024, 256 * 1024];

/// A part of the region that is taken. Exists once: it is not `Clone`.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Run {
    offset: usize,
    bytes: usize,
}

impl Run {
    /// Stands where a run was taken from.
    pub(super) const NOTHING: Self = Self { offset: usize::MAX, bytes: 0 };

    pub(super) fn offset(&self) -> usize {
        self.offset
    }

    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    pub(super) fn is_nothing(&self) -> bool {
        self.bytes == 0
    }
}

/// What a frame is used for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Use {
    Free,
    Whole,
    /// Cut in pieces of `CUTS[cut]`; a set bit is a taken piece.
    Cut {
        cut: usize,
        taken: u16,
    },
}

/// The state of every frame.
#[derive(Debug)]
pub(super) struct Frames {
    frames: Vec<Use>,
    /// Cut frames with a free piece, by cut.
    open: [BTreeSet<usize>; CUTS.len()],
    free_bytes: usize,
}

impl Frames {
    pub(super) fn new(count: usize) -> Self {
        Self { frames: vec![Use::Free; count], open: Default::default(), free_bytes: count * POOL_FRAME_BYTES }
    }

    pub(super) fn free_bytes(&self) -> usize {
        self.free_bytes
    }

    /// A run of at least `length` bytes.
    pub(super) fn take(&mut self, length: usize) -> Option<Run> {
        let run = match CUTS.iter().position(|size| length <= *size) {
            Some(cut) => self.take_piece(cut)?,
            None => self.take_whole(length.div_ceil(POOL_FRAME_BYTES))?,
        };
        self.free_bytes -= run.bytes;
        Some(run)
    }

    fn take_piece(&mut self, cut: usize) -> Option<Run> {
        let index = match self.open[cut].first() {
            Some(index) => *index,
            None => {
                // From the end, so that the beginning stays free for long runs.
                let index = self.frames.iter().rposition(|state| *state == Use::Free)?;
                self.frames[index] = Use::Cut { cut, taken: 0 };
                self.open[cut].insert(index);
                index
            }
        };
        let Use::Cut { taken, .. } = &mut self.frames[index] else { unreachable!("only cut frames are open") };
        let piece = taken.trailing_ones() as usize;
        *taken |= 1 << piece;
        if taken.count_ones() as usize == POOL_FRAME_BYTES / CUTS[cut] {
            self.open[cut].remove(&index);
        }
        Some(Run { offset: index * POOL_FRAME_BYTES + piece * CUTS[cut], bytes: CUTS[cut] })
    }

    fn take_whole(&mut self, count: usize) -> Option<Run> {
        let mut from = 0;
        while from + count <= self.frames.len() {
            match self.frames[from..from + count].iter().rposition(|state| *state != Use::Free) {
                Some(used) => from += used + 1,
                None => {
                    self.frames[from..from + count].fill(Use::Whole);
                    return Some(Run { offset: from * POOL_FRAME_BYTES, bytes: count * POOL_FRAME_BYTES });
                }
            }
        }
        None
    }

    /// Takes a run back.
    pub(super) fn give_back(&mut self, run: Run) {
        let index = run.offset / POOL_FRAME_BYTES;
        self.free_bytes += run.bytes;
        if run.bytes >= POOL_FRAME_BYTES {
            self.frames[index..index + run.bytes / POOL_FRAME_BYTES].fill(Use::Free);
            return;
        }
        let Use::Cut { cut, taken } = &mut self.frames[index] else { unreachable!("a piece comes from a cut frame") };
        let cut = *cut;
        *taken &= !(1 << (run.offset % POOL_FRAME_BYTES / CUTS[cut]));
        if *taken == 0 {
            self.frames[index] = Use::Free;
            self.open[cut].remove(&index);
        } else {
            self.open[cut].insert(index);
        }
    }
}
