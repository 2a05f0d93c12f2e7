//! One-sided operations of a link: the buffers that they use stay here until the last piece has completed or the endpoint is closed.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

use tokio::sync::oneshot;
use types::wire::frame::LendDescriptor;

use super::{LinkId, Ticket};
use crate::fabric::sys::{Ep, Memory, Posted, Range, Remote};
use crate::{Buf, NetError};

/// Largest piece of a transfer.
const PIECE_BYTES: usize = 1024 * 1024;
/// Pieces under way on a link, up to which another one is posted: a large one, and a small one.
const PIECES_MAX: [usize; 2] = [8, 64];
/// Largest small piece.
const SMALL_BYTES: usize = 64 * 1024;

/// A pull or push under way.
pub(in super::super) struct Job {
    pub(in super::super) call: u64,
    buf: Buf,
    remote: Remote,
    length: usize,
    posted: usize,
    under_way: usize,
    /// The call was given up: nothing more is posted, and what was is of no use.
    stopped: bool,
    done: oneshot::Sender<Result<Buf, NetError>>,
}

impl Job {
    pub(in super::super) fn new(
        call: u64,
        buf: Buf,
        lent: LendDescriptor,
        offset: usize,
        length: usize,
        write: bool,
        done: oneshot::Sender<Result<Buf, NetError>>,
    ) -> Self {
        let remote = Remote { address: lent.address.wrapping_add(offset as u64), key: lent.key, write };
        Self { call, buf, remote, length, posted: 0, under_way: 0, stopped: false, done }
    }

    /// Ends it, after the last piece.
    pub(in super::super) fn finish(self) {
        // Whoever asked may have gone: then the buffer returns to its pool here.
        let _ = self.done.send(if self.stopped { Err(NetError::CallerGone) } else { Ok(self.buf) });
    }

    /// Ends it badly; nothing may be under way.
    pub(in super::super) fn fail(self, error: NetError) {
        let _ = self.done.send(Err(error));
    }
}

/// All transfers of a link.
#[derive(Default)]
pub(in super::super) struct Transfers {
    jobs: HashMap<u32, Job>,
    /// Those of which pieces are not posted yet.
    waiting: VecDeque<u32>,
    next: u32,
    under_way: usize,
    memory: Option<Arc<Memory>>,
}

impl Transfers {
    /// Begins a transfer out of or into the pool's registered memory.
    pub(in super::super) fn add(&mut self, job: Job, memory: &Arc<Memory>) {
        self.memory.get_or_insert_with(|| memory.clone());
        while self.jobs.contains_key(&self.next) {
            self.next = self.next.wrapping_add(1);
        }
        self.jobs.insert(self.next, job);
        self.waiting.push_back(self.next);
        self.next = self.next.wrapping_add(1);
    }

    /// Pieces that were posted and have not completed.
    pub(in super::super) fn under_way(&self) -> usize {
        self.under_way
    }

    /// Posts pieces. `false` if the provider is full.
    pub(super) fn pump(&mut self, ep: &Ep, link: LinkId) -> Result<bool, NetError> {
        let Some(memory) = &self.memory else { return Ok(true) };
        while let Some(id) = self.waiting.front() {
            let job = self.jobs.get_mut(id).expect("a waiting transfer is in the table");
            let local = Range { offset: job.buf.offset() + job.posted, length: PIECE_BYTES.min(job.length - job.posted) };
            if self.under_way >= PIECES_MAX[usize::from(local.length <= SMALL_BYTES)] {
                break;
            }
            let remote = Remote { address: job.remote.address.wrapping_add(job.posted as u64), ..job.remote };
            if ep.transfer(memory, local, remote, Ticket::Transfer(link, *id).pack())? == Posted::Again {
                return Ok(false);
            }
            job.posted += local.length;
            job.under_way += 1;
            self.under_way += 1;
            if job.posted == job.length {
                self.waiting.pop_front();
            }
        }
        Ok(true)
    }

    /// A piece has completed; gives the job if it was the last.
    pub(in super::super) fn completed(&mut self, id: u32) -> Option<Job> {
        let job = self.jobs.get_mut(&id)?;
        job.under_way = job.under_way.checked_sub(1).expect("a piece completes once");
        self.under_way -= 1;
        if job.under_way == 0 && job.posted == job.length { self.jobs.remove(&id) } else { None }
    }

    /// Stops the jobs of a call: gives those of which nothing is under way; the others post nothing more and complete.
    pub(in super::super) fn stop(&mut self, call: u64) -> Vec<Job> {
        let ours: Vec<u32> = self.jobs.iter().filter(|(_, job)| job.call == call).map(|(id, _)| *id).collect();
        let mut idle = Vec::new();
        for id in ours {
            self.waiting.retain(|waiting| *waiting != id);
            let job = self.jobs.get_mut(&id).expect("just found");
            job.length = job.posted;
            job.stopped = true;
            if job.under_way == 0 {
                idle.extend(self.jobs.remove(&id));
            }
        }
        idle
    }

    /// All jobs, after the endpoint was closed.
    pub(in super::super) fn into_jobs(self) -> impl Iterator<Item = Job> {
        self.jobs.into_values()
    }
}
