//! The server's side: requests and posts to the service, transfers for them, answers.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use bytes::Bytes;
use types::wire::Operation;
use types::wire::frame::{FrameHeader, FrameKind, LendAccess};

use super::Shard;
use crate::fabric::command::{AnswerCommand, TransferCommand};
use crate::fabric::link::{Job, LinkId, Message};
use crate::fabric::serving::{FabricExchange, Served};
use crate::{Incoming, NetError};

/// Most requests of one link that are served at once, and most bytes of their heads: more than the caller's own bound.
const SERVED_MAX: usize = 2048;
const SERVED_BYTES_MAX: usize = 32 * 1024 * 1024;
/// Longest reason that is sent with a failure.
const REASON_BYTES_MAX: usize = 1024;
/// How long a post may be of use.
const POST_DEADLINE: Duration = Duration::from_secs(10);

impl Shard {
    pub(super) fn on_request(&mut self, id: LinkId, header: FrameHeader, head: Bytes) {
        let Some(link) = self.links.get_mut(&id) else { return };
        let Some(from) = link.peer else { return };
        if link.serving.contains_key(&header.call) {
            return self.refuse_frame(id, "two requests with one number");
        }
        let operation = Operation::from_u16(header.operation).filter(|_| header.operation_version == 1);
        let (Some(operation), Some(service)) = (operation, self.parts.service.clone()) else {
            let what = format!("operation {} in version {} is not served here", header.operation, header.operation_version);
            return self.send_answer(id, header.call, Err(what), 0);
        };
        if link.serving.len() >= SERVED_MAX || link.serving_bytes + head.len() > SERVED_BYTES_MAX {
            return self.send_answer(id, header.call, Err("too many requests at once".to_owned()), 0);
        }
        let cancelled = Arc::new(AtomicBool::new(false));
        let exchange = FabricExchange { shard: self.handle.clone(), link: id, call: header.call, cancelled: cancelled.clone() };
        link.serving_bytes += head.len();
        link.serving.insert(header.call, Served { lend: header.lend, head_bytes: head.len(), transfers: 0, answer: None, cancelled });
        let lend = header.lend.map(|lend| (lend.length as usize, lend.access == LendAccess::Write));
        let deadline = tokio::time::Instant::now() + Duration::from_millis(header.amount.into());
        service.serve(Incoming::new(operation, head, from, deadline).with_exchange(Box::new(exchange), lend));
    }

    pub(super) fn on_incoming_post(&mut self, id: LinkId, header: FrameHeader, head: Bytes) {
        let Some(from) = self.links.get(&id).and_then(|link| link.peer) else { return };
        let operation = Operation::from_u16(header.operation).filter(|_| header.operation_version == 1);
        let (Some(operation), Some(service)) = (operation, &self.parts.service) else {
            tracing::debug!(operation = header.operation, "a post that is not served here");
            return;
        };
        service.serve(Incoming::new(operation, head, from, tokio::time::Instant::now() + POST_DEADLINE));
    }

    pub(super) fn on_transfer(&mut self, command: TransferCommand) {
        let TransferCommand { link: id, call, buf, offset, length, write, done } = command;
        let error = match self.links.get_mut(&id).and_then(|link| link.serving.get_mut(&call).map(|served| (served, &mut link.transfers))) {
            None => NetError::CallerGone,
            Some((served, _)) if served.cancelled.load(Ordering::Relaxed) => NetError::CallerGone,
            Some(_) if !buf.is_of(&self.parts.pool) => NetError::NotLent("a buffer of another pool"),
            Some((served, transfers)) => match served.lend {
                Some(lent) if (lent.access == LendAccess::Write) == write && offset + length <= lent.length as usize => {
                    served.transfers += 1;
                    transfers.add(Job::new(call, buf, lent, offset, length, write, done), &self.memory);
                    return self.list(id);
                }
                _ => NetError::NotLent("outside of what was lent"),
            },
        };
        // Whoever asked may have gone.
        let _ = done.send(Err(error));
    }

    /// The last piece of a transfer has completed.
    pub(super) fn on_transferred(&mut self, id: LinkId, job: Job) {
        let call = job.call;
        job.finish();
        let Some(served) = self.links.get_mut(&id).and_then(|link| link.serving.get_mut(&call)) else { return };
        served.transfers -= 1;
        if served.transfers > 0 {
            return;
        }
        if served.cancelled.load(Ordering::Relaxed) {
            self.end_served(id, call);
            self.confirm_cancel(id, call);
        } else if let Some((answer, pushed)) = served.answer.take() {
            self.end_served(id, call);
            self.send_answer(id, call, answer, pushed);
        }
    }

    pub(super) fn on_answer(&mut self, command: AnswerCommand) {
        let AnswerCommand { link: id, call, answer, pushed } = command;
        // A request that was cancelled and confirmed is not here any more.
        let Some(served) = self.links.get_mut(&id).and_then(|link| link.serving.get_mut(&call)) else { return };
        if served.transfers > 0 {
            served.answer = Some((answer, pushed));
            return;
        }
        self.end_served(id, call);
        self.send_answer(id, call, answer, pushed);
    }

    pub(super) fn end_served(&mut self, id: LinkId, call: u64) {
        if let Some(link) = self.links.get_mut(&id)
            && let Some(served) = link.serving.remove(&call)
        {
            link.serving_bytes -= served.head_bytes;
        }
    }

    fn send_answer(&mut self, id: LinkId, call: u64, answer: Result<Bytes, String>, pushed: usize) {
        let Some(link) = self.links.get_mut(&id) else { return };
        let (kind, head) = match answer {
            Ok(head) => (FrameKind::Reply, head),
            Err(mut reason) => {
                let mut end = REASON_BYTES_MAX.min(reason.len());
                while !reason.is_char_boundary(end) {
                    end -= 1;
                }
                reason.truncate(end);
                (FrameKind::Failed, Bytes::from(reason))
            }
        };
        link.push(Message::new(FrameHeader { call, amount: pushed as u32, ..FrameHeader::new(kind) }, head));
        self.list(id);
    }
}
