//! Where the bytes of a PUT come from: the caller's reader, cut into runs, and runs that are to be sent once more.

use std::collections::VecDeque;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use tokio::io::{AsyncRead, AsyncReadExt};

use crate::Error;

/// A reader that gives nothing for so long is given up: no wait is without an end.
const SOURCE_SILENT_MAX: Duration = Duration::from_secs(300);
/// Spent buffers kept for the next runs.
const SPARE_MAX: usize = 4;

/// Runs of one object's bytes, in order.
pub(crate) struct Source<R> {
    reader: R,
    what: String,
    /// How many bytes the reader will give, where that is known.
    left: Option<u64>,
    ended: bool,
    /// What is to be sent before the reader is asked again.
    again: VecDeque<Bytes>,
    spare: Vec<BytesMut>,
}

impl<R: AsyncRead + Unpin> Source<R> {
    pub(crate) fn new(what: impl Into<String>, reader: R, length: Option<u64>) -> Self {
        Self { reader, what: what.into(), left: length, ended: length == Some(0), again: VecDeque::new(), spare: Vec::new() }
    }

    /// The next bytes, as many as asked for but at the end; none at the end.
    pub(crate) async fn take(&mut self, bytes: usize) -> Result<Vec<Bytes>, Error> {
        let mut runs = Vec::new();
        let mut missing = bytes;
        while missing > 0 {
            let run = match self.again.front_mut() {
                Some(front) if front.len() > missing => front.split_to(missing),
                Some(_) => self.again.pop_front().expect("it has a front"),
                None if self.ended => break,
                None => self.read(missing).await?,
            };
            missing -= run.len();
            if !run.is_empty() {
                runs.push(run);
            }
        }
        Ok(runs)
    }

    /// Puts runs back, to be taken again before all others.
    pub(crate) fn put_back(&mut self, runs: Vec<Bytes>) {
        for run in runs.into_iter().rev() {
            self.again.push_front(run);
        }
    }

    /// Gives the memory of runs that are not needed any more back.
    pub(crate) fn recycle(&mut self, runs: Vec<Bytes>) {
        for run in runs {
            if self.spare.len() < SPARE_MAX
                && let Ok(mut buffer) = run.try_into_mut()
            {
                buffer.clear();
                self.spare.push(buffer);
            }
        }
    }

    async fn read(&mut self, bytes: usize) -> Result<Bytes, Error> {
        let wanted = usize::try_from(self.left.unwrap_or(u64::MAX)).unwrap_or(usize::MAX).min(bytes);
        let mut buffer = self.spare.pop().unwrap_or_default();
        buffer.reserve(wanted);
        while buffer.len() < wanted {
            let room = wanted - buffer.len();
            let mut limited = (&mut self.reader).take(room as u64);
            let read = tokio::time::timeout(SOURCE_SILENT_MAX, limited.read_buf(&mut buffer)).await;
            let read = read.unwrap_or_else(|_| Err(std::io::Error::from(std::io::ErrorKind::TimedOut)));
            if read.map_err(|e| Error::io(format!("the source of {}", self.what), e))? == 0 {
                self.ended = true;
                break;
            }
        }
        if let Some(left) = &mut self.left {
            *left -= buffer.len() as u64;
            if self.ended && *left > 0 {
                return Err(Error::Invalid(format!("the source of {} ended {left} bytes early", self.what)));
            }
            self.ended = *left == 0;
        }
        Ok(buffer.freeze())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn joined(runs: &[Bytes]) -> Vec<u8> {
        runs.concat()
    }

    #[tokio::test]
    async fn bytes_that_were_put_back_come_first_and_may_be_cut_anew() {
        let data: Vec<u8> = (0..100).collect();
        let mut source = Source::new("a", &data[..], None);
        let first = source.take(40).await.expect("reads");
        assert_eq!(joined(&first), data[..40]);
        source.put_back(first);
        assert_eq!(joined(&source.take(30).await.expect("reads")), data[..30]);
        assert_eq!(joined(&source.take(60).await.expect("reads")), data[30..90]);
        assert_eq!(joined(&source.take(60).await.expect("reads")), data[90..]);
        assert!(source.take(60).await.expect("reads").is_empty());
    }

    #[tokio::test]
    async fn a_source_that_ends_early_is_an_error() {
        let mut source = Source::new("a", &[1u8, 2, 3][..], Some(4));
        assert!(matches!(source.take(10).await, Err(Error::Invalid(_))));
        let mut source = Source::new("a", &[1u8, 2, 3][..], Some(2));
        assert_eq!(joined(&source.take(10).await.expect("reads")), [1, 2]);
    }
}
