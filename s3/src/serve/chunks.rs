//! Bodies that come in chunks with lengths of their own (`aws-chunked`), on their way to the protocol's crate, which holds each chunk in memory
//! whole. A signed chunk has to be held until its signature is seen to be right: a large one only where there is room for it, and none beyond a
//! bound. An unsigned one is divided: some clients send all of a body as one.

use std::collections::VecDeque;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use hyper::HeaderMap;
use hyper::body::{Body, Frame};
use s3s::StdError;

use crate::limits::Slot;

/// Largest signed chunk: clients send 64 KiB to 1 MiB.
pub const SIGNED_BYTES_MAX: u64 = 16 * 1024 * 1024;
/// Chunks up to here are held by every request that is let in.
const FREE_BYTES: u64 = 1024 * 1024;
/// Longest line before a chunk.
const LINE_BYTES_MAX: usize = 1024;
const LINE_END: &[u8] = b"\r\n";

/// Why a body is not read any further. Its words tell them apart where they come out again.
#[derive(Debug, thiserror::Error)]
pub enum ChunkError {
    /// A signed chunk is larger than any may be.
    #[error("ChunkTooLarge")]
    TooLarge,
    /// There is no room for it now.
    #[error("NoRoomForChunk")]
    NoRoom,
    /// Something else than the end of a line lies behind a chunk.
    #[error("FormatError")]
    Format,
}

/// How a body is divided, as its head says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Each chunk has a signature.
    Signed,
    /// None has.
    Unsigned,
}

impl Kind {
    /// Of a request; `None` where its body does not come in chunks.
    pub fn of(headers: &HeaderMap) -> Option<Self> {
        let said = headers.get("x-amz-content-sha256")?.to_str().ok()?;
        match said.strip_prefix("STREAMING-")? {
            unsigned if unsigned.starts_with("UNSIGNED-") => Some(Self::Unsigned),
            _ => Some(Self::Signed),
        }
    }
}

#[derive(Debug)]
enum At {
    /// In the line before a chunk, as far as it came.
    Line(Vec<u8>),
    /// In a chunk and the end of its line: so many bytes are left.
    Chunk(u64),
    /// In a chunk that is divided.
    Divided(u64),
    /// Behind one: so much of the end of its line was seen.
    Behind(usize),
    /// Behind all chunks.
    Rest,
}

/// The body.
pub struct Chunks<B> {
    body: B,
    kind: Kind,
    slot: Arc<Slot>,
    /// What the request holds besides.
    base: u64,
    at: At,
    /// What came and was not looked at.
    left: Bytes,
    /// What goes out next.
    out: VecDeque<Bytes>,
}

impl<B> Chunks<B> {
    /// Of that kind, for a request that has this place.
    pub fn new(body: B, kind: Kind, slot: Arc<Slot>) -> Self {
        let base = slot.held();
        Self { body, kind, slot, base, at: At::Line(Vec::new()), left: Bytes::new(), out: VecDeque::new() }
    }

    /// Goes on with what came.
    fn step(&mut self) -> Result<(), ChunkError> {
        match &mut self.at {
            At::Line(line) => {
                let end = self.left.iter().position(|byte| *byte == b'\n').map(|at| at + 1);
                let piece = self.left.split_to(end.unwrap_or(self.left.len()));
                line.extend_from_slice(&piece);
                if end.is_some() || line.len() > LINE_BYTES_MAX {
                    let line = std::mem::take(line);
                    self.at = self.begin(line)?;
                }
            }
            At::Chunk(bytes) => {
                let piece = self.left.split_to(usize::try_from(*bytes).unwrap_or(usize::MAX).min(self.left.len()));
                *bytes -= piece.len() as u64;
                if *bytes == 0 {
                    self.at = At::Line(Vec::new());
                }
                self.out.push_back(piece);
            }
            At::Divided(bytes) => {
                let piece = self.left.split_to(usize::try_from(*bytes).unwrap_or(usize::MAX).min(self.left.len()));
                *bytes -= piece.len() as u64;
                if *bytes == 0 {
                    self.at = At::Behind(0);
                }
                let line = format!("{:x}\r\n", piece.len());
                self.out.extend([Bytes::from(line), piece, Bytes::from_static(LINE_END)]);
            }
            At::Behind(seen) => {
                if self.left.split_to(1)[0] != LINE_END[*seen] {
                    return Err(ChunkError::Format);
                }
                *seen += 1;
                if *seen == LINE_END.len() {
                    self.at = At::Line(Vec::new());
                }
            }
            At::Rest => self.out.push_back(std::mem::take(&mut self.left)),
        }
        Ok(())
    }

    /// A chunk begins, or the last one has ended.
    fn begin(&mut self, line: Vec<u8>) -> Result<At, ChunkError> {
        // The chunk before is on its way, and its memory that of whoever writes it.
        self.slot.hold(self.base);
        let bytes = size_of(&line).ok_or(ChunkError::Format)?;
        if bytes == 0 {
            self.out.push_back(line.into());
            return Ok(At::Rest);
        }
        if bytes > FREE_BYTES {
            match self.kind {
                Kind::Unsigned => return Ok(At::Divided(bytes)),
                Kind::Signed if bytes > SIGNED_BYTES_MAX => return Err(ChunkError::TooLarge),
                Kind::Signed if !self.slot.hold(self.base + bytes) => return Err(ChunkError::NoRoom),
                Kind::Signed => {}
            }
        }
        self.out.push_back(line.into());
        Ok(At::Chunk(bytes + LINE_END.len() as u64))
    }
}

/// The size that the line before a chunk says: 1 to 8 hexadecimal digits, and behind them its signature or its end. The protocol's crate takes more
/// for a size, and other sizes for it; what the two understand must be the same, or a chunk passes that nobody has bounded.
fn size_of(line: &[u8]) -> Option<u64> {
    let digits = line.iter().position(|byte| !byte.is_ascii_hexdigit())?;
    let is_ended = line[digits] == b';' || line[digits..] == *LINE_END;
    let text = std::str::from_utf8(&line[..digits]).ok().filter(|_| is_ended && (1..=8).contains(&digits))?;
    u64::from_str_radix(text, 16).ok()
}

impl<B: Body<Data = Bytes, Error: Into<StdError>> + Unpin> Body for Chunks<B> {
    type Data = Bytes;
    type Error = StdError;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, StdError>>> {
        let me = &mut *self;
        loop {
            if let Some(piece) = me.out.pop_front() {
                return Poll::Ready(Some(Ok(Frame::data(piece))));
            }
            if !me.left.is_empty() {
                me.step()?;
                continue;
            }
            match ready!(Pin::new(&mut me.body).poll_frame(cx)) {
                None => match std::mem::replace(&mut me.at, At::Rest) {
                    // What is not whole is looked at like all that is wrong.
                    At::Line(line) if !line.is_empty() => me.out.push_back(line.into()),
                    _ => return Poll::Ready(None),
                },
                Some(Err(error)) => return Poll::Ready(Some(Err(error.into()))),
                Some(Ok(frame)) => match frame.into_data() {
                    Ok(data) => me.left = data,
                    Err(other) => return Poll::Ready(Some(Ok(other))),
                },
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::limits::Limits;
    use std::convert::Infallible;

    /// A body in pieces.
    struct Pieces(VecDeque<Bytes>);

    impl Body for Pieces {
        type Data = Bytes;
        type Error = Infallible;

        fn poll_frame(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
            Poll::Ready(self.0.pop_front().map(|piece| Ok(Frame::data(piece))))
        }
    }

    /// What comes out of a body that comes in pieces of that size.
    fn through(text: &[u8], size: usize, kind: Kind, slot: &Arc<Slot>) -> Result<Vec<u8>, String> {
        let pieces = Pieces(text.chunks(size).map(Bytes::copy_from_slice).collect());
        let mut chunks = Chunks::new(pieces, kind, slot.clone());
        let mut all = Vec::new();
        loop {
            match Pin::new(&mut chunks).poll_frame(&mut Context::from_waker(std::task::Waker::noop())) {
                Poll::Ready(None) => return Ok(all),
                Poll::Ready(Some(Ok(frame))) => all.extend(frame.into_data().expect("data")),
                Poll::Ready(Some(Err(error))) => return Err(error.to_string()),
                Poll::Pending => panic!("it is all there"),
            }
        }
    }

    fn slot() -> Arc<Slot> {
        Arc::new(Limits::default()).enter().expect("room")
    }

    #[test]
    fn chunks_of_the_usual_sizes_go_through_as_they_are() {
        let signed = b"5;chunk-signature=aa\r\nhello\r\n3;chunk-signature=bb\r\nyou\r\n0;chunk-signature=cc\r\nx-amz-trailer:1\r\n\r\n";
        let unsigned = b"5\r\nhello\r\n0\r\nx-amz-checksum-crc32:AAAAAA==\r\n\r\n";
        for size in 1..signed.len() {
            assert_eq!(through(signed, size, Kind::Signed, &slot()).as_deref(), Ok(&signed[..]), "{size}");
            assert_eq!(through(unsigned, size, Kind::Unsigned, &slot()).as_deref(), Ok(&unsigned[..]), "{size}");
        }
        for odd in ["", "5", "5\r\nhe"] {
            assert_eq!(through(odd.as_bytes(), 7, Kind::Signed, &slot()).as_deref(), Ok(odd.as_bytes()), "nothing is mended");
        }
    }

    #[test]
    fn a_line_that_others_might_take_for_another_size_ends_the_body() {
        for kind in [Kind::Signed, Kind::Unsigned] {
            for line in [
                "x",
                "",
                "f0000000z;chunk-signature=aa",
                "5 ;chunk-signature=aa",
                "00000000f0000000;a",
                "1ffffffffffffffff",
                "-5",
                "5\n;",
                &"a".repeat(2000),
            ] {
                let body = format!("{line}\r\nhello\r\n0\r\n\r\n");
                assert_eq!(through(body.as_bytes(), 7, kind, &slot()), Err("FormatError".into()), "{line}");
            }
        }
    }

    #[test]
    fn an_unsigned_chunk_of_any_size_is_divided() {
        let bytes = 3 * FREE_BYTES as usize + 5;
        let body = [format!("{bytes:x}\r\n").as_bytes(), &vec![b'a'; bytes], b"\r\n2\r\nbb\r\n0\r\nt:1\r\n\r\n"].concat();
        let out = through(&body, 600_000, Kind::Unsigned, &slot()).expect("divided");
        let (mut rest, mut seen) = (&out[..], Vec::new());
        loop {
            let end = rest.windows(2).position(|two| two == LINE_END).expect("a line");
            let size = usize::from_str_radix(std::str::from_utf8(&rest[..end]).expect("digits"), 16).expect("a size");
            rest = &rest[end + 2..];
            if size == 0 {
                break;
            }
            assert!(size <= 600_000);
            seen.extend_from_slice(&rest[..size]);
            assert_eq!(&rest[size..size + 2], LINE_END);
            rest = &rest[size + 2..];
        }
        assert_eq!((seen.len(), seen.ends_with(b"abb"), rest), (bytes + 2, true, &b"t:1\r\n\r\n"[..]));
        let wrong = [format!("{bytes:x}\r\n").as_bytes(), &vec![b'a'; bytes], b"xx"].concat();
        assert_eq!(through(&wrong, 600_000, Kind::Unsigned, &slot()), Err("FormatError".into()));
    }

    #[test]
    fn a_large_signed_chunk_needs_room_and_a_larger_one_is_refused() {
        let chunk = |bytes: u64| [format!("{bytes:x};chunk-signature=aa\r\n").as_bytes(), &vec![b'a'; bytes as usize], b"\r\n"].concat();
        let of = |bytes: u64, slot: &Arc<Slot>| through(&chunk(bytes), 1 << 20, Kind::Signed, slot).map(|all| all.len());
        assert_eq!(of(SIGNED_BYTES_MAX + 1, &slot()), Err("ChunkTooLarge".into()));
        let limits = Arc::new(Limits::default());
        let (holder, slot) = (limits.enter().expect("room"), limits.enter().expect("room"));
        assert!(of(2 * FREE_BYTES, &slot).is_ok() && slot.hold(0));
        assert!(holder.hold(256 * FREE_BYTES), "all there is");
        assert_eq!(of(2 * FREE_BYTES, &slot), Err("NoRoomForChunk".into()));
        assert!(of(FREE_BYTES, &slot).is_ok(), "usual ones need none");
    }

    #[test]
    fn a_head_says_how_its_body_is_divided() {
        let of = |said: &'static str| {
            Kind::of(&HeaderMap::from_iter([("x-amz-content-sha256".parse().expect("a name"), said.parse().expect("a value"))]))
        };
        assert_eq!(of("STREAMING-AWS4-HMAC-SHA256-PAYLOAD"), Some(Kind::Signed));
        assert_eq!(of("STREAMING-AWS4-HMAC-SHA256-PAYLOAD-TRAILER"), Some(Kind::Signed));
        assert_eq!(of("STREAMING-UNSIGNED-PAYLOAD-TRAILER"), Some(Kind::Unsigned));
        assert_eq!((of("UNSIGNED-PAYLOAD"), Kind::of(&HeaderMap::new())), (None, None));
    }
}
