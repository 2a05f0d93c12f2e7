//! How bytes get to the data file and back: one trait, and three ways behind it: io_uring ([`uring`]), threads with `pread` and `pwrite`
//! ([`plain`]), and the simulated disk ([`crate::sim`]).
//!
//! A transfer owns its buffers until it is over, whether its caller still waits or not: nobody can touch what the kernel reads or writes.

use std::io;
use std::ops::Range;

use crate::buf::{AlignedBuf, AnyBuf};

pub(crate) mod file;
pub(crate) mod plain;
pub(crate) mod uring;

/// A run of the data file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Run {
    /// Its first byte in the file.
    pub at: u64,
    /// Whether the header block comes first.
    pub header: bool,
    /// The bytes of the buffer that come then.
    pub data: Range<usize>,
}

/// What a transfer is done with.
pub(crate) struct Finished {
    /// How it went: all of it, or an error.
    pub result: io::Result<()>,
    /// The header block, where there was one.
    pub header: Option<AlignedBuf>,
    /// The data.
    pub data: Box<dyn AnyBuf>,
}

/// Called once, on a thread of the device; must not block.
pub(crate) type Done = Box<dyn FnOnce(Finished) + Send>;

/// Which way the bytes go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Way {
    /// From the file.
    Read,
    /// To the file.
    Write,
}

/// A unit, or some chunks of one, on its way.
pub(crate) struct Transfer {
    /// Which way.
    pub way: Way,
    /// Where in the file.
    pub runs: Vec<Run>,
    /// The header block, where a run has one.
    pub header: Option<AlignedBuf>,
    /// The data.
    pub data: Box<dyn AnyBuf>,
    /// What then.
    pub done: Done,
}

impl Transfer {
    /// It is over.
    pub fn finish(self, result: io::Result<()>) {
        (self.done)(Finished { result, header: self.header, data: self.data });
    }
}

/// The data file.
pub(crate) trait BlockIo: Send + Sync {
    /// Starts a transfer; its `done` is called when it is over, perhaps before this returns. Does not block.
    fn submit(&self, transfer: Transfer);

    /// Makes every write whose `done` was called durable. Blocks.
    fn sync(&self) -> io::Result<()>;

    /// Ends every transfer under way and takes no more.
    fn stop(&self);
}
