//! The fallback: a few threads that call `pread` and `pwrite`. Works on every file system and kernel.

use std::collections::VecDeque;
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;

use types::buf::IoBuf;
use types::limits::BLOCK_BYTES;

use super::{BlockIo, Run, Transfer, Way};
use crate::guard::EndsProcess;

/// Transfers of a device at a time.
const THREADS: usize = 4;

/// Threads and their queue.
pub(crate) struct PlainIo {
    file: Arc<File>,
    queue: Arc<Queue>,
    threads: Mutex<Vec<JoinHandle<()>>>,
}

#[derive(Default)]
struct Queue {
    state: Mutex<State>,
    more: Condvar,
}

#[derive(Default)]
struct State {
    // Bounded by the permits of the device: every transfer has one.
    waiting: VecDeque<Transfer>,
    stopped: bool,
}

impl Queue {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn next(&self) -> Option<Transfer> {
        let mut state = self.state();
        loop {
            match state.waiting.pop_front() {
                Some(transfer) => return Some(transfer),
                None if state.stopped => return None,
                None => state = self.more.wait(state).unwrap_or_else(PoisonError::into_inner),
            }
        }
    }
}

impl PlainIo {
    /// Starts the threads.
    pub fn start(file: Arc<File>) -> io::Result<Self> {
        let queue = Arc::<Queue>::default();
        let mut threads = Vec::with_capacity(THREADS);
        for number in 0..THREADS {
            let (file, queue) = (Arc::clone(&file), Arc::clone(&queue));
            let work = move || {
                let _guard = EndsProcess("blocks");
                while let Some(mut transfer) = queue.next() {
                    let result = carry_out(&file, &mut transfer);
                    transfer.finish(result);
                }
            };
            threads.push(std::thread::Builder::new().name(format!("blocks-{number}")).spawn(work)?);
        }
        Ok(Self { file, queue, threads: Mutex::new(threads) })
    }
}

impl BlockIo for PlainIo {
    fn submit(&self, transfer: Transfer) {
        let mut state = self.queue.state();
        if state.stopped {
            drop(state);
            return transfer.finish(Err(stopped()));
        }
        state.waiting.push_back(transfer);
        drop(state);
        self.queue.more.notify_one();
    }

    fn sync(&self) -> io::Result<()> {
        self.file.sync_data()
    }

    fn stop(&self) {
        self.queue.state().stopped = true;
        self.queue.more.notify_all();
        let threads = std::mem::take(&mut *self.threads.lock().unwrap_or_else(PoisonError::into_inner));
        for thread in threads {
            // A panic of such a thread was reported where it happened.
            drop(thread.join());
        }
    }
}

/// What a transfer gets that comes after the end.
pub(super) fn stopped() -> io::Error {
    io::Error::other("the device is closed")
}

fn carry_out(file: &File, transfer: &mut Transfer) -> io::Result<()> {
    for run in 0..transfer.runs.len() {
        rest_of_run(file, transfer, run, 0)?;
    }
    Ok(())
}

/// Carries out a run from its byte `begun` on.
pub(super) fn rest_of_run(file: &File, transfer: &mut Transfer, run: usize, begun: usize) -> io::Result<()> {
    let Run { at, header, data } = transfer.runs[run].clone();
    let mut skip = begun;
    let mut at = at + begun as u64;
    if header {
        let block = transfer.header.as_mut().expect("a run with a header has its block");
        if let Some(left) = block.bytes_mut().get_mut(skip..).filter(|left| !left.is_empty()) {
            piece(file, transfer.way, left, at)?;
            at += left.len() as u64;
        }
        skip = skip.saturating_sub(BLOCK_BYTES);
    }
    let left = &mut transfer.data.bytes_mut()[data][skip..];
    if left.is_empty() { Ok(()) } else { piece(file, transfer.way, left, at) }
}

fn piece(file: &File, way: Way, bytes: &mut [u8], at: u64) -> io::Result<()> {
    match way {
        Way::Read => file.read_exact_at(bytes, at),
        Way::Write => file.write_all_at(bytes, at),
    }
}
