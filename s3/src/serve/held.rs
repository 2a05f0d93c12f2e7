//! An answer that keeps the place of its request until it has gone out.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;
use hyper::body::{Body, Frame, SizeHint};
use s3s::{HttpResponse, StdError};

use crate::limits::Slot;

/// The body of such an answer.
struct Held {
    body: s3s::Body,
    _slot: Arc<Slot>,
}

/// Holds the place for an answer that is still being made; one that is there as a whole needs none.
pub fn until_sent(answer: HttpResponse, slot: Arc<Slot>) -> HttpResponse {
    if answer.body().bytes().is_some() {
        return answer;
    }
    answer.map(|body| s3s::Body::http_body_unsync(Held { body, _slot: slot }))
}

impl Body for Held {
    type Data = Bytes;
    type Error = StdError;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, StdError>>> {
        Pin::new(&mut self.body).poll_frame(cx)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
