//! io_uring: one thread per device submits and reaps; whoever has a transfer puts it in a queue and wakes the thread.
//!
//! Guaranteed: buffers stay with the ring until the kernel has said that it is done with them. A transfer is one operation a run; a short
//! one (rare: a signal, the end of the file) is ended with `pread` or `pwrite`.

#![allow(unsafe_code, reason = "the kernel reads and writes memory by its address")]

use std::collections::VecDeque;
use std::fs::File;
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, mpsc};
use std::thread::JoinHandle;

use io_uring::{IoUring, opcode, squeue, types};
use rustix::event::{EventfdFlags, eventfd};
use types_buf::IoBuf;

use super::plain::{rest_of_run, stopped};
use super::{BlockIo, Transfer, Way};
use crate::guard::EndsProcess;

use ::types::buf as types_buf;

/// Operations that the kernel has at a time.
const OPERATIONS_MAX: usize = 128;
/// Entries of the submission queue: the operations and the wake-up.
const ENTRIES: u32 = 2 * OPERATIONS_MAX as u32;
/// Mark of the wake-up among the completions.
const WAKE: u64 = u64::MAX;

/// The queue's end at the device.
pub(crate) struct UringIo {
    file: Arc<File>,
    shared: Arc<Shared>,
    thread: Mutex<Option<JoinHandle<()>>>,
}

struct Shared {
    queue: Mutex<Queue>,
    wake: OwnedFd,
    /// Whether the thread will see the wake-up that is due: spares a system call for each transfer of a burst.
    woken: AtomicBool,
}

#[derive(Default)]
struct Queue {
    // Bounded by the permits of the device: every transfer has one.
    waiting: VecDeque<Transfer>,
    stopped: bool,
}

impl Shared {
    fn queue(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn wake(&self) {
        if !self.woken.swap(true, Ordering::AcqRel) {
            // It cannot fail but by overflow, and then the thread is awake anyway.
            let _ = rustix::io::write(&self.wake, &1u64.to_ne_bytes());
        }
    }
}

impl UringIo {
    /// Sets up a ring and its thread; fails where the kernel refuses.
    pub fn start(file: Arc<File>) -> io::Result<Self> {
        let wake = eventfd(0, EventfdFlags::CLOEXEC)?;
        let shared = Arc::new(Shared { queue: Mutex::default(), wake, woken: AtomicBool::new(false) });
        let (ready, started) = mpsc::sync_channel(1);
        let work = {
            let (file, shared) = (Arc::clone(&file), Arc::clone(&shared));
            move || match set_up() {
                Ok(ring) => {
                    // Whoever started us waits for this.
                    drop(ready.send(Ok(())));
                    Engine::new(ring, file, shared).run();
                }
                Err(error) => drop(ready.send(Err(error))),
            }
        };
        let thread = std::thread::Builder::new().name("blocks-ring".into()).spawn(work)?;
        started.recv().unwrap_or_else(|_| Err(stopped()))?;
        Ok(Self { file, shared, thread: Mutex::new(Some(thread)) })
    }
}

/// A ring of the calling thread, which alone may use it.
///
/// Its completions wait until the thread asks for them, and come together (Linux 6.1); before that each one interrupts whatever it does.
fn set_up() -> io::Result<IoUring> {
    match IoUring::builder().setup_single_issuer().setup_defer_taskrun().build(ENTRIES) {
        Err(error) if error.raw_os_error() == Some(libc::EINVAL) => IoUring::builder().build(ENTRIES),
        made => made,
    }
}

impl BlockIo for UringIo {
    fn submit(&self, transfer: Transfer) {
        let mut queue = self.shared.queue();
        if queue.stopped {
            drop(queue);
            return transfer.finish(Err(stopped()));
        }
        queue.waiting.push_back(transfer);
        drop(queue);
        self.shared.wake();
    }

    fn sync(&self) -> io::Result<()> {
        self.file.sync_data()
    }

    fn stop(&self) {
        self.shared.queue().stopped = true;
        self.shared.wake();
        if let Some(thread) = self.thread.lock().unwrap_or_else(PoisonError::into_inner).take() {
            // A panic of the thread was reported where it happened.
            drop(thread.join());
        }
    }
}

/// A transfer that the kernel works at.
struct Slot {
    transfer: Transfer,
    /// What the kernel reads where to put or take the bytes: as stable as the buffers.
    vectors: Vec<[libc::iovec; 2]>,
    /// Runs under way.
    left: usize,
    result: io::Result<()>,
}

struct Engine {
    ring: IoUring,
    file: Arc<File>,
    shared: Arc<Shared>,
    waiting: VecDeque<Transfer>,
    slots: Vec<Option<Slot>>,
    free: Vec<usize>,
    operations: usize,
    /// Where the wake-up is read into.
    counter: Box<u64>,
    armed: bool,
}

impl Engine {
    fn new(ring: IoUring, file: Arc<File>, shared: Arc<Shared>) -> Self {
        Self {
            ring,
            file,
            shared,
            waiting: VecDeque::new(),
            slots: Vec::new(),
            free: Vec::new(),
            operations: 0,
            counter: Box::new(0),
            armed: false,
        }
    }

    fn run(mut self) {
        // Dropped before the ring: what is lent to the kernel is never freed under it.
        let _guard = EndsProcess("blocks-ring");
        loop {
            let stopped = self.take_waiting();
            self.start_waiting();
            if stopped && self.operations == 0 && self.waiting.is_empty() {
                return;
            }
            self.arm();
            match self.ring.submit_and_wait(1) {
                Ok(_) => {}
                Err(error) if matches!(error.raw_os_error(), Some(libc::EINTR | libc::EAGAIN | libc::EBUSY)) => {}
                Err(error) => {
                    tracing::error!(%error, "the ring of a device is broken");
                    std::process::abort();
                }
            }
            self.reap();
        }
    }

    /// Moves what was submitted here; tells whether the device is being closed.
    fn take_waiting(&mut self) -> bool {
        self.shared.woken.store(false, Ordering::Release);
        let mut queue = self.shared.queue();
        self.waiting.append(&mut queue.waiting);
        queue.stopped
    }

    fn start_waiting(&mut self) {
        while let Some(next) = self.waiting.front() {
            if self.operations > 0 && self.operations + next.runs.len() > OPERATIONS_MAX {
                return;
            }
            let Some(transfer) = self.waiting.pop_front() else { return };
            self.start(transfer);
        }
    }

    fn start(&mut self, mut transfer: Transfer) {
        let vectors: Vec<_> = (0..transfer.runs.len()).map(|run| vectors(&mut transfer, run)).collect();
        let left = vectors.len();
        let slot = Slot { transfer, vectors, left, result: Ok(()) };
        let index = self.free.pop().unwrap_or(self.slots.len());
        if index == self.slots.len() {
            self.slots.push(None);
        }
        self.slots[index] = Some(slot);
        self.operations += left;
        for run in 0..left {
            self.push_run(index, run);
        }
    }

    fn push_run(&mut self, index: usize, run: usize) {
        let slot = self.slots[index].as_ref().expect("a slot with runs under way is taken");
        let [first, second] = &slot.vectors[run];
        let (vectors, count) = if first.iov_len == 0 { (second, 1) } else { (first, if second.iov_len == 0 { 1 } else { 2 }) };
        let file = types::Fd(self.file.as_raw_fd());
        let at = slot.transfer.runs[run].at;
        let entry = match slot.transfer.way {
            Way::Read => opcode::Readv::new(file, vectors, count).offset(at).build(),
            Way::Write => opcode::Writev::new(file, vectors, count).offset(at).build(),
        };
        self.push(&entry.user_data((index as u64) << 16 | run as u64));
    }

    fn push(&mut self, entry: &squeue::Entry) {
        // SAFETY: the buffers and the vectors that the entry points to belong to a slot, which is freed only when all its runs are reaped
        // (or, of the wake-up, to `counter`, which lives as long as the ring).
        while unsafe { self.ring.submission().push(entry) }.is_err() {
            if let Err(error) = self.ring.submit()
                && !matches!(error.raw_os_error(), Some(libc::EINTR | libc::EAGAIN | libc::EBUSY))
            {
                tracing::error!(%error, "the ring of a device is broken");
                std::process::abort();
            }
        }
    }

    fn arm(&mut self) {
        if !self.armed {
            let fd = types::Fd(self.shared.wake.as_raw_fd());
            let entry = opcode::Read::new(fd, (&raw mut *self.counter).cast(), 8).build().user_data(WAKE);
            self.push(&entry);
            self.armed = true;
        }
    }

    fn reap(&mut self) {
        let completions: Vec<(u64, i32)> = self.ring.completion().map(|entry| (entry.user_data(), entry.result())).collect();
        for (mark, result) in completions {
            if mark == WAKE {
                self.armed = false;
            } else {
                self.reap_run((mark >> 16) as usize, (mark & 0xffff) as usize, result);
            }
        }
    }

    fn reap_run(&mut self, index: usize, run: usize, result: i32) {
        if matches!(-result, libc::EINTR | libc::EAGAIN) {
            return self.push_run(index, run);
        }
        let slot = self.slots[index].as_mut().expect("a slot with runs under way is taken");
        let outcome = match usize::try_from(result) {
            Ok(done) if done == slot.vectors[run].iter().map(|vector| vector.iov_len).sum() => Ok(()),
            Ok(done) => rest_of_run(&self.file, &mut slot.transfer, run, done),
            Err(_) => Err(io::Error::from_raw_os_error(-result)),
        };
        if slot.result.is_ok() {
            slot.result = outcome;
        }
        slot.left -= 1;
        self.operations -= 1;
        if slot.left == 0
            && let Some(slot) = self.slots[index].take()
        {
            self.free.push(index);
            slot.transfer.finish(slot.result);
        }
    }
}

fn vectors(transfer: &mut Transfer, run: usize) -> [libc::iovec; 2] {
    let run = transfer.runs[run].clone();
    let vector = |bytes: &mut [u8]| libc::iovec { iov_base: bytes.as_mut_ptr().cast(), iov_len: bytes.len() };
    let header = match transfer.header.as_mut().filter(|_| run.header) {
        Some(block) => vector(block.bytes_mut()),
        None => vector(&mut []),
    };
    [header, vector(&mut transfer.data.bytes_mut()[run.data])]
}

// SAFETY: the addresses in the vectors are of buffers that the slot owns; they are handed to the kernel only.
unsafe impl Send for Slot {}
