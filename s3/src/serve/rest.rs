//! What is left of a request's body when it is answered: a caller who is refused before the end of the body still writes, and would lose the
//! answer with the connection if that were closed on it.

use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use hyper::body::{Body, Frame, Incoming, SizeHint};
use s3s::StdError;
use tokio::sync::oneshot;
use tokio::time::Sleep;

/// How much of a body that nobody wants is read.
const BYTES_MAX: usize = 8 * 1024 * 1024;
/// How long that may take.
const TIME_MAX: Duration = Duration::from_secs(5);

/// How long nothing may come of a body that somebody waits for; objects are given up before that, in words of their own.
const SILENT_MAX: Duration = Duration::from_secs(60);

/// Nothing came for too long.
#[derive(Debug, thiserror::Error)]
#[error("nothing came of the request's body for {} s", SILENT_MAX.as_secs())]
pub struct Silent;

/// A body on its way in, that comes back when it is given up.
pub struct Lent {
    body: Option<Incoming>,
    /// Until when something has to come, while somebody waits for it.
    silent: Option<Pin<Box<Sleep>>>,
    back: Option<oneshot::Sender<(Incoming, bool)>>,
    /// Somebody began to read it.
    is_begun: bool,
}

/// Where it comes back, and whether it was begun.
pub struct Back(oneshot::Receiver<(Incoming, bool)>);

/// Lends a body.
pub fn lend(body: Incoming) -> (Lent, Back) {
    let (tx, rx) = oneshot::channel();
    (Lent { body: Some(body), silent: None, back: Some(tx), is_begun: false }, Back(rx))
}

impl Body for Lent {
    type Data = Bytes;
    type Error = StdError;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, StdError>>> {
        self.is_begun = true;
        let Some(body) = &mut self.body else { return Poll::Ready(None) };
        if let Poll::Ready(frame) = Pin::new(body).poll_frame(cx) {
            self.silent = None;
            return Poll::Ready(frame.map(|frame| frame.map_err(StdError::from)));
        }
        let silent = self.silent.get_or_insert_with(|| Box::pin(tokio::time::sleep(SILENT_MAX)));
        silent.as_mut().poll(cx).map(|()| Some(Err(StdError::from(Silent))))
    }

    fn is_end_stream(&self) -> bool {
        self.body.as_ref().is_none_or(Body::is_end_stream)
    }

    fn size_hint(&self) -> SizeHint {
        self.body.as_ref().map(Body::size_hint).unwrap_or_default()
    }
}

impl Drop for Lent {
    fn drop(&mut self) {
        if let Some((body, back)) = self.body.take().zip(self.back.take()) {
            // Where nobody waits for it it is dropped here, as it always was.
            let _unwanted = back.send((body, self.is_begun));
        }
    }
}

impl Back {
    /// Reads what is left, within bounds; whether the connection can be used for another request then.
    pub async fn read_out(mut self, is_awaited: bool) -> bool {
        let Ok((mut body, is_begun)) = self.0.try_recv() else { return true };
        if body.is_end_stream() {
            return true;
        }
        // Who waits to be told to send has sent nothing as long as nobody reads, and is told that nobody wants it.
        (is_begun || !is_awaited) && tokio::time::timeout(TIME_MAX, read_out(&mut body)).await.unwrap_or(false)
    }
}

async fn read_out(body: &mut Incoming) -> bool {
    let mut seen = 0;
    while seen <= BYTES_MAX {
        match std::future::poll_fn(|cx| Pin::new(&mut *body).poll_frame(cx)).await {
            None => return true,
            Some(Err(_)) => return false,
            Some(Ok(frame)) => seen += frame.data_ref().map_or(0, Bytes::len),
        }
    }
    false
}
