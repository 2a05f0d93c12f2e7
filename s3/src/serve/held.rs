//! An answer that keeps the place of its request until it has gone out, and counts what goes out.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;
use hyper::body::{Body, Frame, SizeHint};
use s3s::{HttpResponse, StdError};

use crate::figures::Asking;
use crate::limits::Slot;

/// The body of such an answer.
struct Held {
    body: s3s::Body,
    _slot: Arc<Slot>,
    asking: Asking,
}

/// Counts an answer that has no place to keep: one that is there as a whole.
pub fn counted(answer: HttpResponse, mut asking: Asking) -> HttpResponse {
    asking.answered(answer.status());
    asking.sent(answer.body().bytes().map_or(0, |bytes| bytes.len()));
    answer
}

/// Holds the place for an answer that is still being made; one that is there as a whole needs none.
pub fn until_sent(answer: HttpResponse, slot: Arc<Slot>, mut asking: Asking) -> HttpResponse {
    if answer.body().bytes().is_some() {
        return counted(answer, asking);
    }
    asking.answered(answer.status());
    answer.map(|body| s3s::Body::http_body_unsync(Held { body, _slot: slot, asking }))
}

impl Body for Held {
    type Data = Bytes;
    type Error = StdError;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, StdError>>> {
        let polled = Pin::new(&mut self.body).poll_frame(cx);
        if let Poll::Ready(Some(Ok(frame))) = &polled {
            self.asking.sent(frame.data_ref().map_or(0, Bytes::len));
        }
        polled
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
