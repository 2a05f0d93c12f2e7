//! The body of a PUT on its way in: hashed as it passes, and checked against what the caller said of it before its end is told.
//!
//! The last bytes are held back until the whole body is known to be what was announced: whoever reads from here never sees the end of a body
//! that is wrong, so nothing wrong is ever committed.

use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use futures::Stream;
use md5::{Digest, Md5};
use s3s::checksum::ChecksumHasher;
use s3s::dto::{Checksum, StreamingBlob};
use s3s::{S3Error, S3ErrorCode, TrailingHeaders, s3_error};
use tokio::io::{AsyncRead, ReadBuf};
use tokio::time::{Instant, Sleep, sleep};

use crate::checksum::Algorithm;
use crate::limits::slow_down;
use crate::serve::SIGNED_BYTES_MAX;

/// A body of which nothing comes for so long is given up.
pub const SILENT_MAX: Duration = Duration::from_secs(30);

/// What does not match.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Mismatch {
    /// `Content-MD5`.
    #[error("Content-MD5")]
    ContentMd5,
    /// One of the additional checksums.
    #[error("x-amz-checksum-{0}")]
    Checksum(&'static str),
    /// Fewer or more bytes than were announced.
    #[error("Content-Length")]
    Length,
    /// What was said to come behind the body did not.
    #[error("x-amz-trailer")]
    Trailer,
    /// Nothing came for too long.
    #[error("silence")]
    Silent,
    /// More than a form's policy allows.
    #[error("too large")]
    TooLarge,
    /// Less than a form's policy asks for.
    #[error("too small")]
    TooSmall,
    /// The stream of the body, in words: a signature of a chunk, for example.
    #[error("{0}")]
    Broken(String),
}

impl Mismatch {
    /// As S3 says it.
    pub fn to_error(&self) -> S3Error {
        match self {
            Self::ContentMd5 => s3_error!(BadDigest, "The Content-MD5 you specified did not match what we received."),
            Self::Checksum(name) => {
                let name = name.to_ascii_uppercase();
                s3_error!(BadDigest, "The {name} you specified did not match the calculated checksum.")
            }
            Self::Trailer => {
                let words = "The request contained trailing data that was not well-formed or did not conform to our published schema.";
                let mut error = S3Error::with_message(S3ErrorCode::Custom("MalformedTrailerError".into()), words);
                error.set_status_code(hyper::StatusCode::BAD_REQUEST);
                error
            }
            Self::Length => {
                s3_error!(IncompleteBody, "You did not provide the number of bytes specified by the Content-Length HTTP header")
            }
            Self::Silent => {
                s3_error!(RequestTimeout, "Your socket connection to the server was not read from or written to within the timeout period.")
            }
            // The stream's own errors come as words: the one of its crate is not to be named from outside.
            Self::Broken(words) if words.contains("SignatureMismatch") => s3_error!(SignatureDoesNotMatch),
            Self::Broken(words) if words.contains("Sha256Mismatch") => {
                let code = S3ErrorCode::Custom("XAmzContentSHA256Mismatch".into());
                let mut error = S3Error::with_message(code, "The provided 'x-amz-content-sha256' header does not match what was computed.");
                error.set_status_code(hyper::StatusCode::BAD_REQUEST);
                error
            }
            Self::Broken(words) if words.contains("ChunkTooLarge") => {
                let most = SIGNED_BYTES_MAX / 1024 / 1024;
                s3_error!(EntityTooLarge, "A signed chunk of the body has more than {most} MiB")
            }
            Self::Broken(words) if words.contains("NoRoomForChunk") => slow_down(),
            Self::Broken(words) if words.contains("Incomplete") => Self::Length.to_error(),
            Self::TooLarge => s3_error!(EntityTooLarge, "Your proposed upload exceeds the maximum allowed size"),
            Self::TooSmall => s3_error!(EntityTooSmall, "Your proposed upload is smaller than the minimum allowed size"),
            Self::Broken(words) => s3_error!(InvalidRequest, "The body cannot be read: {words}"),
        }
    }
}

/// What the caller said of the body.
#[derive(Debug, Default)]
pub struct Announced {
    /// Bytes in it.
    pub length: Option<u64>,
    /// Its MD5.
    pub md5: Option<[u8; 16]>,
    /// Checksums in the headers, in base64.
    pub checksums: Checksum,
    /// Checksums that come after it.
    pub trailer: Option<TrailingHeaders>,
    /// Of which algorithms they are.
    pub trails: Vec<Algorithm>,
}

impl Announced {
    /// The checksums that the caller names: in a header, as what a trailer will bring, or as an algorithm.
    pub fn named(&self, algorithm: Option<&str>) -> Vec<Algorithm> {
        let named = |one: &Algorithm| {
            one.of(&self.checksums).is_some()
                || algorithm.is_some_and(|named| named.eq_ignore_ascii_case(one.name()))
                || self.trails.contains(one)
        };
        Algorithm::ALL.into_iter().filter(named).collect()
    }
}

/// What the body turned out to be.
#[derive(Clone, Debug, Default)]
pub struct Sums {
    /// Bytes in it.
    pub bytes: u64,
    /// Its MD5.
    pub md5: [u8; 16],
    /// The checksums that were asked for, in base64.
    pub checksums: Checksum,
}

/// Where the sums of a body are put at its end.
pub type SumsSlot = Arc<Mutex<Option<Sums>>>;

/// A body being received.
pub struct Received {
    stream: StreamingBlob,
    /// Given out from here.
    current: Bytes,
    /// Given out when what follows is known.
    held: Bytes,
    announced: Announced,
    seen: u64,
    md5: Md5,
    hasher: Option<ChecksumHasher>,
    sums: SumsSlot,
    /// When its silence has lasted too long: while it is silent it holds memory that others wait for.
    silent: Pin<Box<Sleep>>,
    ended: bool,
}

impl Received {
    /// A body, with what was said of it; `hasher` computes the checksums that are wanted.
    pub fn new(stream: StreamingBlob, announced: Announced, hasher: ChecksumHasher) -> (Self, SumsSlot) {
        let sums = SumsSlot::default();
        let received = Self {
            stream,
            current: Bytes::new(),
            held: Bytes::new(),
            announced,
            seen: 0,
            md5: Md5::new(),
            hasher: Some(hasher),
            sums: sums.clone(),
            silent: Box::pin(sleep(SILENT_MAX)),
            ended: false,
        };
        (received, sums)
    }

    fn take(&mut self, chunk: Bytes) -> Result<(), Mismatch> {
        self.seen += chunk.len() as u64;
        if self.announced.length.is_some_and(|length| self.seen > length) {
            // Whoever reads asks for no more than was announced: this is the last moment to see it.
            return Err(Mismatch::Length);
        }
        self.md5.update(&chunk);
        if let Some(hasher) = &mut self.hasher {
            hasher.update(&chunk);
        }
        self.current = std::mem::replace(&mut self.held, chunk);
        Ok(())
    }

    /// Checks everything at the end of the body.
    fn finish(&mut self) -> Result<(), Mismatch> {
        let md5: [u8; 16] = std::mem::take(&mut self.md5).finalize().into();
        let checksums = self.hasher.take().map(ChecksumHasher::finalize).unwrap_or_default();
        if self.announced.length.is_some_and(|length| length != self.seen) {
            return Err(Mismatch::Length);
        }
        if self.announced.md5.is_some_and(|wanted| wanted != md5) {
            return Err(Mismatch::ContentMd5);
        }
        let trailing = |name: &str| {
            let trailer = self.announced.trailer.as_ref()?;
            trailer.read(|headers| headers.get(name).and_then(|value| value.to_str().ok().map(str::to_owned)))?
        };
        for algorithm in Algorithm::ALL {
            let said = algorithm.of(&self.announced.checksums).cloned().or_else(|| trailing(&algorithm.header()));
            if said.is_none() && self.announced.trails.contains(&algorithm) {
                return Err(Mismatch::Trailer);
            }
            if said.is_some_and(|wanted| Some(&wanted) != algorithm.of(&checksums)) {
                return Err(Mismatch::Checksum(algorithm.name()));
            }
        }
        *self.sums.lock().unwrap_or_else(PoisonError::into_inner) = Some(Sums { bytes: self.seen, md5, checksums });
        Ok(())
    }
}

impl AsyncRead for Received {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, out: &mut ReadBuf<'_>) -> Poll<std::io::Result<()>> {
        let me = &mut *self;
        while me.current.is_empty() && !me.ended {
            let next = match Pin::new(&mut me.stream).poll_next(cx) {
                Poll::Ready(next) => next,
                Poll::Pending => {
                    ready!(me.silent.as_mut().poll(cx));
                    me.ended = true;
                    return Poll::Ready(Err(std::io::Error::other(Mismatch::Silent)));
                }
            };
            match next {
                Some(Ok(chunk)) if chunk.is_empty() => {}
                Some(Ok(chunk)) => {
                    me.silent.as_mut().reset(Instant::now() + SILENT_MAX);
                    if let Err(mismatch) = me.take(chunk) {
                        me.ended = true;
                        return Poll::Ready(Err(std::io::Error::other(mismatch)));
                    }
                }
                Some(Err(error)) => {
                    me.ended = true;
                    let mismatch = match error.downcast::<Mismatch>() {
                        Ok(known) => *known,
                        Err(other) => Mismatch::Broken(other.to_string()),
                    };
                    return Poll::Ready(Err(std::io::Error::other(mismatch)));
                }
                None => {
                    me.ended = true;
                    me.finish().map_err(std::io::Error::other)?;
                    me.current = std::mem::take(&mut me.held);
                }
            }
        }
        let bytes = me.current.len().min(out.remaining());
        out.put_slice(&me.current.split_to(bytes));
        Poll::Ready(Ok(()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::AsyncReadExt;

    fn blob(chunks: &[&'static str]) -> StreamingBlob {
        let chunks: Vec<Result<Bytes, std::io::Error>> = chunks.iter().map(|chunk| Ok(Bytes::from_static(chunk.as_bytes()))).collect();
        StreamingBlob::wrap(futures::stream::iter(chunks))
    }

    async fn read(chunks: &[&'static str], announced: Announced) -> (std::io::Result<usize>, Vec<u8>, Option<Sums>) {
        let hasher = ChecksumHasher { crc32c: Some(Default::default()), ..Default::default() };
        let (mut received, sums) = Received::new(blob(chunks), announced, hasher);
        let mut bytes = Vec::new();
        let read = received.read_to_end(&mut bytes).await;
        let sums = sums.lock().expect("nobody panics with it").clone();
        (read, bytes, sums)
    }

    #[tokio::test]
    async fn a_body_that_is_what_was_said_comes_through_whole_with_its_sums() {
        let md5 = [0x5e, 0xb6, 0x3b, 0xbb, 0xe0, 0x1e, 0xee, 0xd0, 0x93, 0xcb, 0x22, 0xbb, 0x8f, 0x5a, 0xcd, 0xc3];
        let announced = Announced { length: Some(11), md5: Some(md5), ..Announced::default() };
        let (read, bytes, sums) = read(&["hello", "", " world"], announced).await;
        assert_eq!((read.expect("good"), bytes.as_slice()), (11, &b"hello world"[..]));
        let sums = sums.expect("at the end");
        assert_eq!(sums.md5, md5);
        assert_eq!(sums.checksums.checksum_crc32c.as_deref(), Some("yZRlqg=="));
    }

    #[tokio::test]
    async fn the_end_of_a_body_that_is_not_what_was_said_is_never_seen() {
        let wrong = [
            (Announced { length: Some(12), ..Announced::default() }, Mismatch::Length),
            (Announced { md5: Some([0; 16]), ..Announced::default() }, Mismatch::ContentMd5),
            (
                Announced {
                    checksums: Checksum { checksum_crc32c: Some("AAAAAA==".into()), ..Default::default() },
                    ..Announced::default()
                },
                Mismatch::Checksum("crc32c"),
            ),
        ];
        for (announced, mismatch) in wrong {
            let (read, bytes, sums) = read(&["hello", " world"], announced).await;
            let error = read.expect_err("it is wrong");
            assert_eq!(error.get_ref().and_then(|inner| inner.downcast_ref::<Mismatch>()), Some(&mismatch));
            assert_eq!(bytes, b"hello", "the last chunk is held back");
            assert!(sums.is_none());
        }
    }

    #[tokio::test]
    async fn a_checksum_that_was_said_to_follow_and_does_not_is_missed() {
        let (read, bytes, sums) = read(&["hello"], Announced { trails: vec![Algorithm::Crc32c], ..Announced::default() }).await;
        let error = read.expect_err("nothing vouches for it");
        assert_eq!(error.get_ref().and_then(|inner| inner.downcast_ref::<Mismatch>()), Some(&Mismatch::Trailer));
        assert!(bytes.is_empty() && sums.is_none());
    }

    #[tokio::test]
    async fn a_body_that_is_longer_than_was_said_is_refused_before_its_reader_has_enough() {
        let (mut received, sums) =
            Received::new(blob(&["hello", " wor", "ld"]), Announced { length: Some(5), ..Announced::default() }, ChecksumHasher::default());
        let mut five = [0; 5];
        let error = received.read_exact(&mut five).await.expect_err("there is more");
        assert_eq!(error.get_ref().and_then(|inner| inner.downcast_ref::<Mismatch>()), Some(&Mismatch::Length));
        assert!(sums.lock().expect("nobody panics with it").is_none());
    }

    #[tokio::test(start_paused = true)]
    async fn a_silent_body_is_given_up() {
        let (mut received, _) = Received::new(
            StreamingBlob::wrap(futures::stream::pending::<Result<Bytes, std::io::Error>>()),
            Announced::default(),
            ChecksumHasher::default(),
        );
        let error = received.read_to_end(&mut Vec::new()).await.expect_err("nothing comes");
        assert_eq!(error.get_ref().and_then(|inner| inner.downcast_ref::<Mismatch>()), Some(&Mismatch::Silent));
    }

    #[test]
    fn what_breaks_a_stream_is_told_as_s3_tells_it() {
        let code = |words: &str| Mismatch::Broken(words.into()).to_error().code().as_str().to_owned();
        assert_eq!(code("AwsChunkedStreamError: SignatureMismatch"), "SignatureDoesNotMatch");
        assert_eq!(code("UploadStreamError: Sha256Mismatch"), "XAmzContentSHA256Mismatch");
        assert_eq!(code("AwsChunkedStreamError: Underlying: ChunkTooLarge"), "EntityTooLarge");
        assert_eq!(code("AwsChunkedStreamError: Underlying: NoRoomForChunk"), "SlowDown");
        assert_eq!((code("AwsChunkedStreamError: Incomplete"), code("else")), ("IncompleteBody".into(), "InvalidRequest".into()));
    }

    #[tokio::test]
    async fn an_empty_body_is_checked_too() {
        let (read, ..) = read(&[], Announced { length: Some(1), ..Announced::default() }).await;
        assert!(read.is_err());
    }
}
