//! A body on its way in, encrypted as it passes. Its last segment comes when the whole body was seen, and so was found to be what was said of it.

use std::pin::Pin;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, ReadBuf};

use super::segment::{PieceKey, SEGMENT_BYTES, TAG_BYTES};

/// Bytes that are encrypted as they are read.
pub struct Sealed<R> {
    source: R,
    key: PieceKey,
    /// Of the next segment.
    segment: u64,
    /// Its bytes, and one more: with that it is known not to be the last.
    plain: Box<[u8]>,
    filled: usize,
    /// Encrypted bytes, of which so many were given out.
    sealed: Vec<u8>,
    given: usize,
    ended: bool,
}

impl<R> Sealed<R> {
    /// The bytes of a source under the key of their piece.
    pub fn new(source: R, key: PieceKey) -> Self {
        let plain = vec![0; SEGMENT_BYTES + 1].into_boxed_slice();
        Self { source, key, segment: 0, plain, filled: 0, sealed: Vec::new(), given: 0, ended: false }
    }

    /// Encrypts the segment that is there.
    fn seal(&mut self, is_last: bool) {
        let length = self.filled.min(SEGMENT_BYTES);
        self.sealed.clear();
        self.sealed.reserve(length + TAG_BYTES);
        self.sealed.extend_from_slice(&self.plain[..length]);
        self.plain.copy_within(length..self.filled, 0);
        self.filled -= length;
        self.key.seal(self.segment, is_last, &mut self.sealed);
        self.given = 0;
        self.segment += 1;
        self.ended = is_last;
    }
}

impl<R: AsyncRead + Unpin> AsyncRead for Sealed<R> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, out: &mut ReadBuf<'_>) -> Poll<std::io::Result<()>> {
        let me = &mut *self;
        while me.given == me.sealed.len() && !me.ended {
            if me.filled == me.plain.len() {
                me.seal(false);
                continue;
            }
            let mut room = ReadBuf::new(&mut me.plain[me.filled..]);
            ready!(Pin::new(&mut me.source).poll_read(cx, &mut room))?;
            let count = room.filled().len();
            me.filled += count;
            if count == 0 {
                me.seal(true);
            }
        }
        let bytes = (me.sealed.len() - me.given).min(out.remaining());
        out.put_slice(&me.sealed[me.given..me.given + bytes]);
        me.given += bytes;
        Poll::Ready(Ok(()))
    }
}

#[cfg(test)]
mod tests {
    use super::super::segment::{DataKey, PieceName, STORED_BYTES, stored_bytes};
    use super::*;
    use tokio::io::AsyncReadExt;

    #[tokio::test]
    async fn a_body_of_any_size_becomes_segments_of_which_the_last_is_marked() {
        let data_key = DataKey::drawn();
        for size in [0, 1, SEGMENT_BYTES - 1, SEGMENT_BYTES, SEGMENT_BYTES + 1, 3 * SEGMENT_BYTES, 3 * SEGMENT_BYTES + 5] {
            let plain: Vec<u8> = (0..size).map(|at| (at % 251) as u8).collect();
            let mut sealed = Vec::new();
            let mut source = Sealed::new(&plain[..], data_key.piece(PieceName::WHOLE));
            source.read_to_end(&mut sealed).await.expect("reads");
            assert_eq!(sealed.len() as u64, stored_bytes(size as u64));
            let count = sealed.chunks(STORED_BYTES).count();
            let key = data_key.piece(PieceName::WHOLE);
            let opened = sealed.chunks(STORED_BYTES).enumerate().flat_map(|(at, segment)| {
                let mut bytes = segment.to_vec();
                let length = key.open(at as u64, at + 1 == count, &mut bytes).expect("it is that segment");
                bytes.truncate(length);
                bytes
            });
            assert!(opened.eq(plain), "{size}");
        }
    }

    #[tokio::test]
    async fn of_a_body_that_breaks_off_no_last_segment_comes() {
        let source = broken();
        let mut sealed = Vec::new();
        let mut reader = Sealed::new(source, DataKey::drawn().piece(PieceName::WHOLE));
        assert!(reader.read_to_end(&mut sealed).await.is_err());
        assert_eq!(sealed.len(), STORED_BYTES, "the first segment, and nothing of the second");
    }

    /// A segment and a little more, and then an error.
    fn broken() -> impl AsyncRead + Unpin {
        struct Broken(usize);
        impl AsyncRead for Broken {
            fn poll_read(mut self: Pin<&mut Self>, _: &mut Context<'_>, out: &mut ReadBuf<'_>) -> Poll<std::io::Result<()>> {
                if self.0 == 0 {
                    return Poll::Ready(Err(std::io::Error::other("broken")));
                }
                let bytes = self.0.min(out.remaining());
                out.put_slice(&vec![7; bytes]);
                self.0 -= bytes;
                Poll::Ready(Ok(()))
            }
        }
        Broken(SEGMENT_BYTES + 10)
    }
}
