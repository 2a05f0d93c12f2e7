//! `redoubt bench io`: puts and gets of objects of one size or several, in closed loops.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll};

use client::{CatalogueKind, Client, Condition, Error, PutOptions};
use serde_json::{Value, json};
use tokio::io::{AsyncRead, ReadBuf};

use super::machine::{self, Limits};
use super::report::{self, Figure};
use super::server_cpu::ServerCpu;
use super::{Length, load};
use crate::cli::connect::with_client;
use crate::cli::exit::Failure;
use crate::cli::{Common, output};

/// What the objects are made of is repeated after so many bytes.
const PATTERN_BYTES: usize = 4 * 1024 * 1024;

/// Arguments of `bench io`.
#[derive(clap::Args)]
pub struct Arguments {
    /// Sizes of objects, as 16MiB; may be given several times
    #[arg(long = "size", value_name = "SIZE", value_parser = crate::cli::size::parse, default_values = ["16MiB"])]
    sizes: Vec<u64>,
    #[command(flatten)]
    length: Length,
    /// The bucket; made if need be, its objects of earlier benches are replaced
    #[arg(long, default_value = "bench")]
    bucket: String,
    /// Into this pool, rather than where the policy says
    #[arg(long)]
    pool: Option<String>,
    /// Leave the objects there
    #[arg(long)]
    keep: bool,
}

/// Runs the verb.
pub async fn run(common: &Common, arguments: Arguments) -> Result<(), Failure> {
    let cpu = ServerCpu::of(common);
    let dir = if common.ha.is_empty() { common.dir.clone() } else { std::env::temp_dir() };
    let limits = tokio::task::spawn_blocking(move || machine::measure(&dir)).await;
    let limits = limits.map_err(|e| Failure::other(e.to_string()))??;
    let figures = with_client(common, |client| async move {
        client.ensure(CatalogueKind::Bucket, &arguments.bucket).await?;
        let mut figures = Vec::new();
        for size in &arguments.sizes {
            figures.extend(one_size(&client, &arguments, *size, &cpu).await?);
        }
        Ok(figures)
    })
    .await?;
    let ratios: Vec<Value> = figures.iter().map(|figure| ratio(figure, &limits)).collect();
    let list: Vec<Value> = figures.iter().map(Figure::json).collect();
    let value = json!({"durable": true, "figures": list, "machine": limits, "ratios": ratios});
    output::value(common.output, &value, || {
        let mut lines = vec![report::table(&figures), report::limits(&limits)];
        for (figure, ratio) in figures.iter().zip(&ratios) {
            let words = |key: &str| ratio[key].as_f64().unwrap_or(0.0);
            lines.push(format!(
                "{} {}: {:.3} of the device, {:.3} of loopback, {:.3} of memory copy",
                figure.what,
                output::bytes_words(figure.bytes),
                words("of_device"),
                words("of_loopback"),
                words("of_memcpy")
            ));
        }
        lines.join("\n")
    })
}

fn ratio(figure: &Figure, limits: &Limits) -> Value {
    let device = if figure.what == "put" { limits.device_write_mb_s } else { limits.device_read_mb_s };
    let rate = figure.mb_s();
    json!({
        "what": figure.what,
        "bytes": figure.bytes,
        "of_device": rate / device,
        "of_loopback": rate / limits.loopback_mb_s,
        "of_memcpy": rate / limits.memcpy_mb_s,
        "p50_in_fdatasyncs": figure.load.percentile(0.5) / limits.fdatasync_ms,
    })
}

async fn one_size(client: &Client, arguments: &Arguments, size: u64, cpu: &ServerCpu) -> Result<Vec<Figure>, Failure> {
    let begun = Arc::new(AtomicU64::new(0));
    let measured = measure(client, arguments, size, cpu, &begun).await;
    if !arguments.keep {
        // What it has written goes, too, where it failed, as for lack of room.
        let swept = sweep(client, arguments, size, cpu, begun.load(Ordering::Relaxed)).await;
        if measured.is_ok() {
            swept?;
        }
    }
    measured
}

fn name(size: u64, number: u64) -> Vec<u8> {
    format!("bench/{size}/{number:08}").into_bytes()
}

async fn measure(
    client: &Client,
    arguments: &Arguments,
    size: u64,
    cpu: &ServerCpu,
    begun: &Arc<AtomicU64>,
) -> Result<Vec<Figure>, Failure> {
    let Arguments { length, bucket, pool, .. } = arguments;
    let pattern: Arc<[u8]> = (0..PATTERN_BYTES as u32).map(|i| (i.wrapping_mul(2_654_435_761) >> 13) as u8).collect();
    let options = Arc::new(PutOptions { pool: pool.clone(), ..PutOptions::default() });
    let (putter, to, repeated, begun) = (client.clone(), bucket.clone(), pattern.clone(), begun.clone());
    let puts = load::run(length, cpu, move |number| {
        begun.fetch_max(number + 1, Ordering::Relaxed);
        let (client, bucket, options) = (putter.clone(), to.clone(), options.clone());
        let source = Repeated { pattern: repeated.clone(), at: number as usize % PATTERN_BYTES, left: size };
        async move { client.put(&bucket, &name(size, number), source, Some(size), &options).await.map(drop).map_err(Failure::from) }
    })
    .await?;
    let written = puts.operations.max(1);
    let (getter, from) = (client.clone(), bucket.clone());
    let gets = load::run(length, cpu, move |number| {
        let (client, bucket) = (getter.clone(), from.clone());
        async move {
            let mut reader = client.get(&bucket, &name(size, number % written), None).await?;
            while reader.next().await?.is_some() {}
            Ok(())
        }
    })
    .await?;
    let figure = |what: &str, load| Figure { what: what.into(), clients: length.clients, bytes: size, load };
    Ok(vec![figure("put", puts), figure("get", gets)])
}

/// Deletes what was begun to be written; what is not there is none.
async fn sweep(client: &Client, arguments: &Arguments, size: u64, cpu: &ServerCpu, begun: u64) -> Result<(), Failure> {
    if begun == 0 {
        return Ok(());
    }
    let (client, bucket) = (client.clone(), arguments.bucket.clone());
    let all = Length { operations: Some(begun), ..arguments.length.clone() };
    let delete = move |number| {
        let (client, bucket) = (client.clone(), bucket.clone());
        async move {
            match client.delete(&bucket, &name(size, number), Condition::Always).await {
                Ok(_) | Err(Error::NotFound(_)) => Ok(()),
                Err(error) => Err(Failure::from(error)),
            }
        }
    };
    load::run(&all, cpu, delete).await.map(drop)
}

/// A reader of a pattern, over and over.
struct Repeated {
    pattern: Arc<[u8]>,
    at: usize,
    left: u64,
}

impl AsyncRead for Repeated {
    fn poll_read(mut self: Pin<&mut Self>, _: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<std::io::Result<()>> {
        let left = usize::try_from(self.left).unwrap_or(usize::MAX);
        let count = buf.remaining().min(left).min(self.pattern.len() - self.at);
        buf.put_slice(&self.pattern[self.at..self.at + count]);
        self.at = (self.at + count) % self.pattern.len();
        self.left -= count as u64;
        Poll::Ready(Ok(()))
    }
}
