//! What this machine can do at all: the device under the cluster, one sync, the loopback, memory, checksums, the erasure code.

use std::fs::{File, OpenOptions};
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use layout::erasure::Code;
use serde::Serialize;
use types::buf::IoBuf;

use crate::cli::exit::Failure;

/// Size of one write or read.
const PIECE_BYTES: usize = 1024 * 1024;
/// Size of the file that is written and read.
const FILE_BYTES: usize = 256 * 1024 * 1024;
/// How many writes or reads are under way at once.
const DEPTH: usize = 8;
/// Syncs whose median counts.
const SYNCS: usize = 200;
/// How long each of the others is measured.
const MEASURE: Duration = Duration::from_millis(300);

/// The machine's limits, in MB (10^6 bytes) a second but where another unit is named.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Limits {
    /// Direct sequential writes of 1 MiB.
    pub device_write_mb_s: f64,
    /// Direct sequential reads of 1 MiB.
    pub device_read_mb_s: f64,
    /// Median of one 4 KiB write with fdatasync, in milliseconds.
    pub fdatasync_ms: f64,
    /// One TCP connection over loopback.
    pub loopback_mb_s: f64,
    /// Copying in memory, one thread.
    pub memcpy_mb_s: f64,
    /// CRC32C, one thread.
    pub crc32c_mb_s: f64,
    /// Encoding 4+2 with units of 1 MiB, one thread, data bytes.
    pub encode_mb_s: f64,
}

/// Measures them, with a file in `dir`. Blocks for a few seconds.
pub fn measure(dir: &Path) -> Result<Limits, Failure> {
    let path = Scratch(dir.join(format!("bench-{}.tmp", std::process::id())));
    let failed = |e: std::io::Error| Failure::io(path.0.display(), &e);
    let (device_write_mb_s, device_read_mb_s) = device(&path.0)?;
    Ok(Limits {
        device_write_mb_s,
        device_read_mb_s,
        fdatasync_ms: fdatasync(&path.0).map_err(failed)?,
        loopback_mb_s: loopback().map_err(|e| Failure::io("loopback", &e))?,
        memcpy_mb_s: memcpy(),
        crc32c_mb_s: crc32c(),
        encode_mb_s: encode()?,
    })
}

struct Scratch(PathBuf);

impl Drop for Scratch {
    fn drop(&mut self) {
        // It may not have come into being.
        let _ = std::fs::remove_file(&self.0);
    }
}

fn mb_s(bytes: usize, took: Duration) -> f64 {
    bytes as f64 / 1e6 / took.as_secs_f64()
}

fn device(path: &Path) -> Result<(f64, f64), Failure> {
    let failed = |e: std::io::Error| Failure::io(path.display(), &e);
    let open = |direct: i32| OpenOptions::new().create(true).truncate(false).read(true).write(true).custom_flags(direct).open(path);
    // Not every file system has direct I/O; then the figure is that of the page cache, and says less.
    let file = open(libc::O_DIRECT).or_else(|_| open(0)).map_err(failed)?;
    rustix::fs::fallocate(&file, rustix::fs::FallocateFlags::empty(), 0, FILE_BYTES as u64).map_err(|e| failed(e.into()))?;
    let pool = net::BufPool::new(DEPTH * PIECE_BYTES).map_err(|e| Failure::other(e.to_string()))?;
    let mut figures = [0.0; 2];
    for (figure, write) in figures.iter_mut().zip([true, false]) {
        let began = Instant::now();
        let done: Result<Vec<()>, std::io::Error> = std::thread::scope(|scope| {
            let threads: Vec<_> = (0..DEPTH)
                .map(|thread| {
                    let (file, pool) = (&file, &pool);
                    scope.spawn(move || every_nth_piece(file, pool, thread, write))
                })
                .collect();
            threads.into_iter().map(|t| t.join().unwrap_or_else(|_| Err(std::io::ErrorKind::Other.into()))).collect()
        });
        done.map_err(failed)?;
        *figure = mb_s(FILE_BYTES, began.elapsed());
    }
    Ok((figures[0], figures[1]))
}

fn every_nth_piece(file: &File, pool: &net::BufPool, first: usize, write: bool) -> std::io::Result<()> {
    let mut buf = pool.try_take(PIECE_BYTES).ok_or(std::io::ErrorKind::OutOfMemory)?;
    buf.bytes_mut().fill(0x5a);
    for piece in (first..FILE_BYTES / PIECE_BYTES).step_by(DEPTH) {
        let at = (piece * PIECE_BYTES) as u64;
        if write { file.write_all_at(buf.bytes(), at)? } else { file.read_exact_at(buf.bytes_mut(), at)? }
    }
    if write { file.sync_data() } else { Ok(()) }
}

fn fdatasync(path: &Path) -> std::io::Result<f64> {
    let file = OpenOptions::new().write(true).open(path)?;
    let block = [1u8; types::limits::BLOCK_BYTES];
    let mut times = Vec::with_capacity(SYNCS);
    for number in 0..SYNCS {
        let began = Instant::now();
        file.write_all_at(&block, (number * block.len()) as u64)?;
        file.sync_data()?;
        times.push(began.elapsed().as_secs_f64() * 1e3);
    }
    times.sort_by(f64::total_cmp);
    Ok(times[SYNCS / 2])
}

fn loopback() -> std::io::Result<f64> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let mut sender = TcpStream::connect(listener.local_addr()?)?;
    let (mut receiver, _) = listener.accept()?;
    let sink = std::thread::spawn(move || -> std::io::Result<usize> {
        let (mut room, mut total) = (vec![0; 256 * 1024], 0);
        loop {
            match receiver.read(&mut room)? {
                0 => return Ok(total),
                count => total += count,
            }
        }
    });
    let data = vec![1u8; 256 * 1024];
    let began = Instant::now();
    while began.elapsed() < MEASURE {
        sender.write_all(&data)?;
    }
    drop(sender);
    let total = sink.join().unwrap_or_else(|_| Err(std::io::ErrorKind::Other.into()))?;
    Ok(mb_s(total, began.elapsed()))
}

/// How many bytes a second `act` does, each time `bytes` of them.
fn rate(bytes: usize, mut act: impl FnMut()) -> f64 {
    let (began, mut total) = (Instant::now(), 0);
    while began.elapsed() < MEASURE {
        act();
        total += bytes;
    }
    mb_s(total, began.elapsed())
}

fn memcpy() -> f64 {
    let from = vec![1u8; 16 * PIECE_BYTES];
    let mut to = vec![2u8; 16 * PIECE_BYTES];
    rate(from.len(), || {
        to.copy_from_slice(std::hint::black_box(&from));
        std::hint::black_box(&mut to);
    })
}

fn crc32c() -> f64 {
    let data = vec![1u8; PIECE_BYTES];
    rate(data.len(), || {
        std::hint::black_box(types::checksum::crc32c(std::hint::black_box(&data)));
    })
}

fn encode() -> Result<f64, Failure> {
    let failed = |e: layout::erasure::CodeError| Failure::other(e.to_string());
    let code = Code::new(4, 2).map_err(failed)?;
    let data = vec![vec![1u8; PIECE_BYTES]; 4];
    let mut parity = vec![vec![0u8; PIECE_BYTES]; 2];
    let sources: Vec<&[u8]> = data.iter().map(Vec::as_slice).collect();
    let mut outcome = Ok(());
    let figure = rate(4 * PIECE_BYTES, || {
        let mut targets: Vec<&mut [u8]> = parity.iter_mut().map(Vec::as_mut_slice).collect();
        if let Err(error) = code.encode(&sources, &mut targets) {
            outcome = Err(error);
        }
    });
    outcome.map_err(failed)?;
    Ok(figure)
}
