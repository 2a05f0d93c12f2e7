//! As much of HTTP/1.1 as a bench needs: a request after the other on one connection, bodies of a known length or in chunks.

use std::io::{Error, ErrorKind};
use std::time::Duration;

use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpStream;
use tokio::time::timeout;

/// Longest wait for anything of the other side.
const PATIENCE: Duration = Duration::from_secs(120);
/// Longest head of an answer, and longest body that is kept.
const KEPT_MAX: usize = 4 * 1024 * 1024;
/// Bytes that are read at once.
const READ_BYTES: usize = 256 * 1024;

/// A connection.
pub struct Connection(BufReader<TcpStream>);

/// An answer.
#[derive(Debug)]
pub struct Answer {
    /// Its status.
    pub status: u16,
    /// Its body, where it is an error's or is wanted.
    pub kept: Vec<u8>,
}

fn wrong(what: &str) -> Error {
    Error::new(ErrorKind::InvalidData, what.to_owned())
}

async fn patiently<T>(act: impl Future<Output = std::io::Result<T>>) -> std::io::Result<T> {
    timeout(PATIENCE, act).await.map_err(|_| Error::from(ErrorKind::TimedOut))?
}

impl Connection {
    /// Connects.
    pub async fn open(host: &str) -> std::io::Result<Self> {
        let stream = patiently(TcpStream::connect(host)).await?;
        stream.set_nodelay(true)?;
        Ok(Self(BufReader::with_capacity(READ_BYTES, stream)))
    }

    /// Sends a part of a request.
    pub async fn send(&mut self, bytes: &[u8]) -> std::io::Result<()> {
        patiently(self.0.get_mut().write_all(bytes)).await
    }

    /// Reads an answer whole; whether the connection can be used again.
    pub async fn answer(&mut self, keep: bool) -> std::io::Result<(Answer, bool)> {
        let line = self.line().await?;
        let status = line.split(' ').nth(1).and_then(|status| status.parse().ok()).ok_or_else(|| wrong("no status"))?;
        let (mut length, mut is_chunked, mut is_open) = (0, false, true);
        loop {
            let line = self.line().await?.to_ascii_lowercase();
            let Some((name, value)) = line.split_once(':') else { break };
            match (name, value.trim()) {
                ("content-length", value) => length = value.parse().map_err(|_| wrong("no length"))?,
                ("transfer-encoding", value) => is_chunked = value.contains("chunked"),
                ("connection", "close") => is_open = false,
                _ => {}
            }
        }
        let (mut kept, keep) = (Vec::new(), keep || status >= 300);
        if !is_chunked {
            self.body(length, keep.then_some(&mut kept)).await?;
            return Ok((Answer { status, kept }, is_open));
        }
        loop {
            let line = self.line().await?;
            let bytes = u64::from_str_radix(line.split(';').next().unwrap_or_default(), 16).map_err(|_| wrong("no chunk"))?;
            self.body(bytes, keep.then_some(&mut kept)).await?;
            self.line().await?;
            if bytes == 0 {
                return Ok((Answer { status, kept }, is_open));
            }
        }
    }

    async fn body(&mut self, mut left: u64, mut kept: Option<&mut Vec<u8>>) -> std::io::Result<()> {
        while left > 0 {
            let bytes = patiently(self.0.fill_buf()).await?;
            if bytes.is_empty() {
                return Err(ErrorKind::UnexpectedEof.into());
            }
            let taken = bytes.len().min(usize::try_from(left).unwrap_or(usize::MAX));
            if let Some(kept) = kept.as_mut().filter(|kept| kept.len() + taken <= KEPT_MAX) {
                kept.extend_from_slice(&bytes[..taken]);
            }
            self.0.consume(taken);
            left -= taken as u64;
        }
        Ok(())
    }

    async fn line(&mut self) -> std::io::Result<String> {
        let mut line = Vec::new();
        let mut bounded = (&mut self.0).take(KEPT_MAX as u64);
        patiently(bounded.read_until(b'\n', &mut line)).await?;
        if line.last() != Some(&b'\n') {
            return Err(ErrorKind::UnexpectedEof.into());
        }
        Ok(String::from_utf8_lossy(&line).trim_end().to_owned())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::net::TcpListener;

    #[tokio::test]
    async fn answers_follow_each_other_on_a_connection() {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("loopback");
        let host = listener.local_addr().expect("bound").to_string();
        tokio::spawn(async move {
            let (mut stream, _) = listener.accept().await.expect("one comes");
            let text = "HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nabcHTTP/1.1 404 Not Found\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nde\r\n1;x\r\nf\r\n0\r\n\r\n\
                        HTTP/1.1 204 No Content\r\nConnection: close\r\n\r\n";
            stream.write_all(text.as_bytes()).await.expect("it takes it");
        });
        let mut connection = Connection::open(&host).await.expect("it listens");
        let mut told = Vec::new();
        for keep in [true, false, false] {
            let (answer, is_open) = connection.answer(keep).await.expect("an answer");
            told.push((answer.status, answer.kept, is_open));
        }
        assert_eq!(told, [(200, b"abc".to_vec(), true), (404, b"def".to_vec(), true), (204, Vec::new(), false)]);
        assert!(connection.answer(false).await.is_err(), "there is no more");
    }
}
