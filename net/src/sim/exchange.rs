//! The server's side of a simulated call: transfers into and out of what the caller lent, and the answer.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use tokio::sync::oneshot;
use tokio::time::Instant;
use types::buf::IoBuf;

use super::link::{Link, Message};
use crate::service::Exchange;
use crate::{Buf, Lend, NetError};

/// Largest piece of a transfer: a link that ends in between leaves the rest undone.
const PIECE_BYTES: usize = 1024 * 1024;

/// A request until it is answered.
pub(super) struct Served {
    pub(super) transfers: usize,
    pub(super) answer: Option<(Result<Bytes, String>, usize)>,
    pub(super) cancelled: Arc<AtomicBool>,
}

/// The service's way back.
pub(super) struct SimExchange {
    pub(super) link: Arc<Link>,
    pub(super) number: u64,
    pub(super) cancelled: Arc<AtomicBool>,
}

impl SimExchange {
    /// As on the fabric, a transfer goes on if whoever asked for it goes away, and the request's end waits for it.
    async fn transfer(&self, buf: Buf, offset: usize, length: usize, write: bool) -> Result<Buf, NetError> {
        let (done, result) = oneshot::channel();
        {
            let mut inner = self.link.lock();
            let served = inner.serving.get_mut(&self.number).filter(|_| !self.is_cancelled()).ok_or(NetError::CallerGone)?;
            served.transfers += 1;
        }
        let transfer = Transfer { link: self.link.clone(), number: self.number, cancelled: self.cancelled.clone(), write };
        tokio::spawn(async move {
            let link = transfer.link.clone();
            let result = tokio::select! {
                result = transfer.run(buf, offset, length) => result,
                () = link.until_ended() => Err(NetError::CallerGone),
            };
            // Whoever asked may have gone: then the buffer returns to its pool here.
            let _ = done.send(result);
            link.transfer_done(transfer.number);
        });
        result.await.unwrap_or(Err(NetError::Closed))
    }
}

struct Transfer {
    link: Arc<Link>,
    number: u64,
    cancelled: Arc<AtomicBool>,
    write: bool,
}

impl Transfer {
    async fn run(&self, mut buf: Buf, offset: usize, length: usize) -> Result<Buf, NetError> {
        let mut done = 0;
        while done < length {
            let piece = PIECE_BYTES.min(length - done);
            let time = Duration::from_nanos((piece as u64).saturating_mul(1_000_000_000) / self.link.world.options.bytes_per_second.max(1));
            tokio::time::sleep(time).await;
            // A read asks first.
            if !self.write {
                self.link.travel(true, Instant::now()).await.map_err(|reason| self.broken(&reason))?;
            }
            self.link.travel(false, Instant::now()).await.map_err(|reason| self.broken(&reason))?;
            if self.cancelled.load(Ordering::Relaxed) {
                return Err(NetError::CallerGone);
            }
            self.copy(&mut buf, offset + done, done, piece)?;
            done += piece;
        }
        Ok(buf)
    }

    fn copy(&self, buf: &mut Buf, remote: usize, local: usize, length: usize) -> Result<(), NetError> {
        let mut inner = self.link.lock();
        let lend = inner.pending.get_mut(&self.number).and_then(|pending| pending.lend.as_mut()).ok_or(NetError::CallerGone)?;
        match lend {
            Lend::Room(room) if self.write => {
                let into = room.bytes_mut().get_mut(remote..remote + length).ok_or(NetError::NotLent("outside of what was lent"))?;
                into.copy_from_slice(&buf.bytes()[local..local + length]);
            }
            Lend::Give(data) if !self.write => {
                let from = data.bytes().get(remote..remote + length).ok_or(NetError::NotLent("outside of what was lent"))?;
                buf.bytes_mut()[local..local + length].copy_from_slice(from);
            }
            _ => return Err(NetError::NotLent("the other way")),
        }
        Ok(())
    }

    fn broken(&self, reason: &str) -> NetError {
        self.link.end(reason);
        NetError::CallerGone
    }
}

impl Link {
    fn transfer_done(&self, number: u64) {
        let mut inner = self.lock();
        let Some(served) = inner.serving.get_mut(&number) else { return };
        served.transfers -= 1;
        if served.transfers > 0 {
            return;
        }
        if served.cancelled.load(Ordering::Relaxed) {
            inner.serving.remove(&number);
            drop(inner);
            self.answer(Message::Cancelled { number });
        } else if let Some((answer, pushed)) = served.answer.take() {
            inner.serving.remove(&number);
            drop(inner);
            self.answer(Message::Answer { number, answer, pushed });
        }
    }

    /// The caller gives a request up.
    pub(super) fn on_cancel(&self, number: u64) {
        {
            let mut inner = self.lock();
            if let Some(served) = inner.serving.get_mut(&number) {
                served.cancelled.store(true, Ordering::Relaxed);
                if served.transfers > 0 {
                    return;
                }
                inner.serving.remove(&number);
            }
        }
        self.answer(Message::Cancelled { number });
    }
}

#[async_trait]
impl Exchange for SimExchange {
    async fn pull(&self, buf: Buf, offset: usize, length: usize) -> Result<Buf, NetError> {
        self.transfer(buf, offset, length, false).await
    }

    async fn push(&self, buf: Buf, offset: usize, length: usize) -> Result<Buf, NetError> {
        self.transfer(buf, offset, length, true).await
    }

    fn finish(&self, answer: Result<Bytes, String>, pushed: usize) {
        {
            let mut inner = self.link.lock();
            let Some(served) = inner.serving.get_mut(&self.number) else { return };
            if served.transfers > 0 {
                served.answer = Some((answer, pushed));
                return;
            }
            inner.serving.remove(&self.number);
        }
        self.link.answer(Message::Answer { number: self.number, answer, pushed });
    }

    fn is_cancelled(&self) -> bool {
        self.cancelled.load(Ordering::Relaxed)
    }
}
