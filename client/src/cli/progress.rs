//! Progress of what takes long: on standard error, and only where that is a terminal.

use std::io::IsTerminal;
use std::pin::Pin;
use std::task::{Context, Poll};

use indicatif::{ProgressBar, ProgressStyle};
use tokio::io::{AsyncRead, ReadBuf};

use super::output::Format;

/// A bar, or nothing.
#[derive(Clone)]
pub struct Progress(ProgressBar);

impl Progress {
    /// A bar over that many bytes, if known, where somebody looks.
    pub fn bytes(total: Option<u64>, what: &str, format: Format) -> Self {
        if format == Format::Json || !std::io::stderr().is_terminal() {
            return Self(ProgressBar::hidden());
        }
        let bar = total.map_or_else(ProgressBar::new_spinner, ProgressBar::new);
        let template = if total.is_some() {
            "{msg} [{wide_bar}] {bytes}/{total_bytes} {bytes_per_sec} {eta}"
        } else {
            "{msg} {spinner} {bytes} {bytes_per_sec}"
        };
        if let Ok(style) = ProgressStyle::with_template(template) {
            bar.set_style(style.progress_chars("=> "));
        }
        bar.set_message(what.to_string());
        Self(bar)
    }

    /// So many more.
    pub fn advance(&self, more: u64) {
        self.0.inc(more);
    }

    /// A count of what is done, where somebody looks.
    pub fn count(what: &str, format: Format) -> Self {
        if format == Format::Json || !std::io::stderr().is_terminal() {
            return Self(ProgressBar::hidden());
        }
        let bar = ProgressBar::new_spinner();
        if let Ok(style) = ProgressStyle::with_template("{msg} {spinner} {pos}, {per_sec}") {
            bar.set_style(style);
        }
        bar.set_message(what.to_string());
        Self(bar)
    }

    /// Says something beside the bar.
    pub fn aside(&self, say: impl FnOnce()) {
        self.0.suspend(say);
    }

    /// Takes the bar away.
    pub fn finish(&self) {
        self.0.finish_and_clear();
    }

    /// A reader that moves the bar.
    pub fn reader<R>(&self, reader: R) -> Reader<R> {
        Reader { reader, progress: self.clone() }
    }
}

/// A reader that moves a bar.
pub struct Reader<R> {
    reader: R,
    progress: Progress,
}

impl<R: AsyncRead + Unpin> AsyncRead for Reader<R> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<std::io::Result<()>> {
        let before = buf.filled().len();
        let polled = Pin::new(&mut self.reader).poll_read(cx, buf);
        self.progress.advance((buf.filled().len() - before) as u64);
        polled
    }
}
