//! `redoubt bench s3`: puts, gets and listings through S3, in closed loops, of the local cluster or of any other server.
//!
//! Contents are random and differ from object to object every 64 KiB: no server finds anything to compress or to keep only once. Bodies are not
//! signed (`UNSIGNED-PAYLOAD`), the requests are.

mod connection;

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use client::{Signer, ToSign, UNSIGNED, random};
use serde_json::{Value, json};

use self::connection::{Answer, Connection};
use super::report::{self, Figure};
use super::server_cpu::ServerCpu;
use super::{Length, load};
use crate::cli::dev::cluster::ClusterFile;
use crate::cli::exit::Failure;
use crate::cli::{Common, output};

/// Bytes of which contents are made.
const PATTERN_BYTES: usize = 1024 * 1024;
/// Bytes after which the number of an object stands in it.
const STAMP_EVERY: usize = 64 * 1024;
/// Bytes of the objects that are listed.
const LISTED_BYTES: u64 = 64;
/// How often a request is made that is told to come again, and the first pause before that.
const ATTEMPTS_MAX: u32 = 10;
const AGAIN: Duration = Duration::from_millis(100);
/// Names in one answer of a listing.
const PAGE: usize = 1000;

/// Arguments of `bench s3`.
#[derive(clap::Args)]
pub struct Arguments {
    /// Sizes of objects, as 16MiB; may be given several times
    #[arg(long = "size", value_name = "SIZE", value_parser = crate::cli::size::parse, default_values = ["4KiB", "256KiB", "16MiB"])]
    sizes: Vec<u64>,
    /// Objects in the bucket that is listed; 0 for no listing
    #[arg(long, default_value_t = 10_000, value_name = "COUNT")]
    list: u64,
    #[command(flatten)]
    length: Length,
    /// The bucket; made if need be, its objects of earlier benches are replaced
    #[arg(long, default_value = "bench")]
    bucket: String,
    /// Another server than the local cluster, as HOST:PORT; may be given several times
    #[arg(long = "endpoint", value_name = "ADDRESS", requires_all = ["access_key", "secret_key"])]
    endpoints: Vec<String>,
    /// Its access key
    #[arg(long, value_name = "KEY")]
    access_key: Option<String>,
    /// Its secret key
    #[arg(long, value_name = "SECRET", env = "REDOUBT_BENCH_SECRET_KEY", hide_env_values = true)]
    secret_key: Option<String>,
    /// Its region
    #[arg(long, default_value = "us-east-1")]
    region: String,
    /// A process of it on this machine, for its CPU time; may be given several times
    #[arg(long = "server-pid", value_name = "PID")]
    server_pids: Vec<u32>,
}

/// Whom is asked, and how.
struct Target {
    hosts: Vec<String>,
    signer: Signer,
    bucket: String,
    /// Connections that nobody uses now, by host.
    idle: Vec<Mutex<Vec<Connection>>>,
    pattern: Vec<u8>,
    /// Requests that were told to come again.
    again: AtomicU64,
}

/// Runs the verb.
pub async fn run(common: &Common, arguments: Arguments) -> Result<(), Failure> {
    let (target, cpu) = target(common, &arguments)?;
    let target = Arc::new(target);
    let bucket = format!("/{}", target.bucket);
    let made = target.ask(0, "PUT", &bucket, "", None).await?;
    if made.status != 200 && made.status != 409 {
        return Err(made.failure("the bucket is not made"));
    }
    let mut figures = Vec::new();
    for size in &arguments.sizes {
        figures.extend(one_size(&target, &arguments.length, *size, &cpu).await?);
    }
    if arguments.list > 0 {
        figures.push(listing(&target, &arguments, &cpu).await?);
    }
    let list: Vec<Value> = figures.iter().map(Figure::json).collect();
    let again = target.again.load(Ordering::Relaxed);
    let value = json!({"figures": list, "endpoints": target.hosts, "told_to_come_again": again});
    output::value(common.output, &value, || format!("{}\ntold to come again (503): {again}", report::table(&figures)))
}

fn target(common: &Common, arguments: &Arguments) -> Result<(Target, ServerCpu), Failure> {
    let (hosts, access_key, secret_key) = match (&arguments.endpoints[..], &arguments.access_key, &arguments.secret_key) {
        ([_, ..], Some(access_key), Some(secret_key)) => (arguments.endpoints.clone(), access_key.clone(), secret_key.clone()),
        _ => {
            let file = ClusterFile::read(&common.dir)?;
            let keys = file.s3.ok_or_else(|| Failure::usage("the local cluster has no S3; say --endpoint"))?;
            (file.nodes.into_iter().filter_map(|node| node.s3).collect(), keys.access_key, keys.secret_key)
        }
    };
    if hosts.is_empty() {
        return Err(Failure::usage("no gateway of the local cluster is known; say --endpoint"));
    }
    let cpu = if arguments.endpoints.is_empty() { ServerCpu::of(common) } else { ServerCpu::these(arguments.server_pids.clone()) };
    let signer = Signer::new(&access_key, &secret_key, &arguments.region);
    let pattern = (0..PATTERN_BYTES / 32).flat_map(|_| random::<32>()).collect();
    let idle = hosts.iter().map(|_| Mutex::default()).collect();
    Ok((Target { hosts, signer, bucket: arguments.bucket.clone(), idle, pattern, again: AtomicU64::new(0) }, cpu))
}

async fn one_size(target: &Arc<Target>, length: &Length, size: u64, cpu: &ServerCpu) -> Result<Vec<Figure>, Failure> {
    let path = move |bucket: &str, number: u64| format!("/{bucket}/bench/{size}/{number:08}");
    let putter = target.clone();
    let puts = load::run(length, cpu, move |number| {
        let target = putter.clone();
        async move { target.done(number, "PUT", &path(&target.bucket, number), Some(size)).await }
    })
    .await?;
    let (getter, written) = (target.clone(), puts.operations.max(1));
    let gets = load::run(length, cpu, move |number| {
        let target = getter.clone();
        async move { target.done(number, "GET", &path(&target.bucket, number % written), None).await }
    })
    .await?;
    let (remover, all) = (target.clone(), Length { operations: Some(written), ..length.clone() });
    load::run(&all, cpu, move |number| {
        let target = remover.clone();
        async move { target.done(number, "DELETE", &path(&target.bucket, number), None).await }
    })
    .await?;
    let figure = |what: &str, load| Figure { what: what.into(), clients: length.clients, bytes: size, load };
    Ok(vec![figure("put", puts), figure("get", gets)])
}

/// Listings of so many names, each whole, page after page.
async fn listing(target: &Arc<Target>, arguments: &Arguments, cpu: &ServerCpu) -> Result<Figure, Failure> {
    let (length, wanted) = (&arguments.length, arguments.list);
    let (putter, all) = (target.clone(), Length { operations: Some(wanted), ..length.clone() });
    load::run(&all, cpu, move |number| {
        let target = putter.clone();
        async move { target.done(number, "PUT", &format!("/{}/list/{number:08}", target.bucket), Some(LISTED_BYTES)).await }
    })
    .await?;
    let lister = target.clone();
    let lists = load::run(length, cpu, move |number| {
        let target = lister.clone();
        async move { target.list(number, wanted).await }
    })
    .await?;
    Ok(Figure { what: format!("list {wanted}"), clients: length.clients, bytes: 0, load: lists })
}

impl Target {
    /// An operation that has to succeed; as clients of S3 do, who is told to come again comes again, and that is a part of its time.
    async fn done(&self, number: u64, method: &str, path: &str, body_bytes: Option<u64>) -> Result<(), Failure> {
        for attempt in 1.. {
            let answer = self.ask(number, method, path, "", body_bytes).await?;
            match answer.status {
                200..300 => return Ok(()),
                503 if attempt < ATTEMPTS_MAX => {
                    self.again.fetch_add(1, Ordering::Relaxed);
                    tokio::time::sleep(AGAIN * attempt).await;
                }
                _ => return Err(answer.failure(&format!("{method} {path}"))),
            }
        }
        unreachable!("the last attempt returns")
    }

    async fn list(&self, number: u64, wanted: u64) -> Result<(), Failure> {
        let (mut seen, mut after) = (0, String::new());
        loop {
            let start = if after.is_empty() { String::new() } else { format!("&start-after={after}") };
            let query = format!("list-type=2&max-keys={PAGE}&prefix=list%2F{start}");
            let answer = self.ask(number, "GET", &format!("/{}", self.bucket), &query, None).await?;
            let text = String::from_utf8_lossy(&answer.kept).into_owned();
            if answer.status != 200 {
                return Err(answer.failure("a listing"));
            }
            seen += text.matches("<Key>").count() as u64;
            let last = text.rsplit_once("<Key>").and_then(|(_, rest)| rest.split_once("</Key>"));
            match last {
                Some((name, _)) if text.contains("<IsTruncated>true<") => after = name.replace('/', "%2F"),
                _ if seen == wanted => return Ok(()),
                _ => return Err(Failure::other(format!("a listing has {seen} names of {wanted}"))),
            }
        }
    }

    /// One request and its answer, on a connection that is idle or new.
    async fn ask(&self, number: u64, method: &str, path: &str, query: &str, body_bytes: Option<u64>) -> Result<Answer, Failure> {
        let which = (number % self.hosts.len() as u64) as usize;
        let host = &self.hosts[which];
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
        let signed = self.signer.sign(now, ToSign { method, path, query, host, content: UNSIGNED });
        let target = if query.is_empty() { path.to_owned() } else { format!("{path}?{query}") };
        let length = body_bytes.map_or(String::new(), |bytes| format!("content-length: {bytes}\r\n"));
        let length = if method == "PUT" && body_bytes.is_none() { "content-length: 0\r\n".to_owned() } else { length };
        let head = format!(
            "{method} {target} HTTP/1.1\r\nhost: {host}\r\nx-amz-date: {}\r\nx-amz-content-sha256: {UNSIGNED}\r\nauthorization: {}\r\n{length}\r\n",
            signed.date, signed.authorization
        );
        let lost = |error: std::io::Error| Failure::other(format!("{host}: {method} {path}: {error}"));
        let idle = self.idle[which].lock().unwrap_or_else(PoisonError::into_inner).pop();
        let mut connection = match idle {
            Some(connection) => connection,
            None => Connection::open(host).await.map_err(lost)?,
        };
        let mut left = usize::try_from(body_bytes.unwrap_or(0)).map_err(|_| Failure::usage("an object is too large for this machine"))?;
        connection.send(head.as_bytes()).await.map_err(lost)?;
        let mut piece = Vec::with_capacity(STAMP_EVERY);
        let mut at = (number as usize).wrapping_mul(STAMP_EVERY) % PATTERN_BYTES;
        while left > 0 {
            let bytes = left.min(STAMP_EVERY);
            piece.clear();
            piece.extend_from_slice(&self.pattern[at..at + bytes]);
            let stamp = number.to_le_bytes();
            let stamped = bytes.min(stamp.len());
            piece[..stamped].copy_from_slice(&stamp[..stamped]);
            connection.send(&piece).await.map_err(lost)?;
            (at, left) = ((at + STAMP_EVERY) % PATTERN_BYTES, left - bytes);
        }
        let (answer, is_open) = connection.answer(!query.is_empty()).await.map_err(lost)?;
        if is_open {
            self.idle[which].lock().unwrap_or_else(PoisonError::into_inner).push(connection);
        }
        Ok(answer)
    }
}

impl Answer {
    fn failure(&self, what: &str) -> Failure {
        Failure::other(format!("{what}: {}: {}", self.status, String::from_utf8_lossy(&self.kept)))
    }
}
