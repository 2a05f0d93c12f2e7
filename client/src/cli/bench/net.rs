//! `redoubt bench net`: the fabric between two processes of this machine, beside raw libfabric, raw TCP and memory copy.

use std::process::Stdio;
use std::time::{Duration, Instant};

use net::bench::{Pattern, Row, Via};
use serde_json::{Value, json};

use crate::cli::exit::{Exit, Failure};
use crate::cli::output::Format;
use crate::cli::{Common, output};

/// How long the other process may take to listen.
const START: Duration = Duration::from_secs(10);
/// Pause between two attempts to reach it.
const AGAIN: Duration = Duration::from_millis(50);

/// Arguments of `bench net`.
#[derive(clap::Args)]
pub struct Arguments {
    /// Sizes, as 64 or 1MiB; may be given several times
    #[arg(long = "size", value_name = "SIZE", value_parser = crate::cli::size::parse, default_values = ["64", "4KiB", "64KiB", "1MiB", "16MiB"])]
    sizes: Vec<u64>,
    /// Operations under way at once; may be given several times
    #[arg(long = "window", value_name = "COUNT", default_values_t = [1, 8, 32])]
    windows: Vec<usize>,
    /// libfabric's provider
    #[arg(long, default_value = "tcp")]
    provider: String,
    /// Serve at this address (and the two ports after it) instead of measuring
    #[arg(long, value_name = "IP:PORT", hide = true)]
    serve: Option<String>,
}

/// Runs the verb.
pub async fn run(common: &Common, arguments: Arguments) -> Result<(), Failure> {
    let failed = |e: net::NetError| Failure::new(Exit::Failure, e.to_string());
    if let Some(address) = &arguments.serve {
        return net::bench::server(address, &arguments.provider).await.map_err(failed);
    }
    let address = format!("127.0.0.1:{}", service::ports::free_in_a_row(3).map_err(|e| Failure::other(e.to_string()))?);
    let own = std::env::current_exe().map_err(|e| Failure::io("our own executable", &e))?;
    // It ends with this process, whatever becomes of it.
    let mut server = tokio::process::Command::new(own)
        .args(["bench", "net", "--provider", &arguments.provider, "--serve", &address])
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .kill_on_drop(true)
        .spawn()
        .map_err(|e| Failure::io("the other process", &e))?;
    let sizes: Vec<usize> = arguments.sizes.iter().map(|size| usize::try_from(*size).unwrap_or(usize::MAX)).collect();
    let deadline = Instant::now() + START;
    let rows = loop {
        let tell = |row: &Row| {
            if common.output == Format::Text {
                output::note(line(row).join("  "));
            }
        };
        match net::bench::run(&address, &arguments.provider, &sizes, &arguments.windows, tell).await {
            Ok(rows) => break rows,
            Err(error) if Instant::now() < deadline && error.is_not_sent() => tokio::time::sleep(AGAIN).await,
            Err(error) => return Err(failed(error)),
        }
    };
    // It has nothing to save.
    let _ = server.kill().await;
    let list: Vec<Value> = rows.iter().map(json_of).collect();
    output::value(common.output, &json!({"figures": list}), || {
        let heading = ["", "VIA", "SIZE", "WINDOW", "OP/S", "GIB/S", "P50 US", "P99 US", "CPU US/OP", "CPU S/GIB"];
        let mut table = vec![heading.map(String::from).to_vec()];
        table.extend(rows.iter().map(line));
        let ratios = ratios(&rows);
        format!("{}\n{}", output::table(&table), ratios.join("\n"))
    })
}

fn words(row: &Row) -> (&'static str, &'static str) {
    let pattern = match row.pattern {
        Pattern::Echo => "echo",
        Pattern::Pull => "pull",
        Pattern::Push => "push",
        Pattern::Copy => "copy",
    };
    let via = match row.via {
        Via::Transport => "redoubt",
        Via::Libfabric => "libfabric",
        Via::Tcp => "tcp",
        Via::Memory => "memory",
    };
    (pattern, via)
}

fn line(row: &Row) -> Vec<String> {
    let (pattern, via) = words(row);
    vec![
        pattern.into(),
        via.into(),
        output::bytes_words(row.bytes as u64),
        row.window.to_string(),
        format!("{:.0}", row.rate()),
        format!("{:.3}", row.gib_per_second()),
        format!("{:.1}", row.p50_us),
        format!("{:.1}", row.p99_us),
        format!("{:.1}", row.cpu_us()),
        format!("{:.2}", row.cpu_seconds_per_gib()),
    ]
}

fn json_of(row: &Row) -> Value {
    let (pattern, via) = words(row);
    json!({
        "pattern": pattern,
        "via": via,
        "bytes": row.bytes,
        "window": row.window,
        "operations": row.operations,
        "seconds": row.seconds,
        "operations_per_second": row.rate(),
        "gib_per_second": row.gib_per_second(),
        "p50_us": row.p50_us,
        "p99_us": row.p99_us,
        "cpu_us_per_operation": row.cpu_us(),
        "cpu_seconds_per_gib": row.cpu_seconds_per_gib(),
    })
}

/// How the transport compares with raw libfabric, figure by figure.
fn ratios(rows: &[Row]) -> Vec<String> {
    let ours = rows.iter().filter(|row| row.via == Via::Transport);
    ours.filter_map(|row| {
        let same = |other: &&Row| {
            other.via == Via::Libfabric && other.pattern == row.pattern && other.bytes == row.bytes && other.window == row.window
        };
        let raw = rows.iter().find(same)?;
        let (pattern, size) = (words(row).0, output::bytes_words(row.bytes as u64));
        Some(format!(
            "{pattern} {size} x{}: {:.2} of libfabric's rate, {:.2} times its CPU",
            row.window,
            row.rate() / raw.rate(),
            row.cpu_seconds / row.operations as f64 / (raw.cpu_seconds / raw.operations as f64).max(1e-12)
        ))
    })
    .collect()
}
