//! `redoubt bench kv`: transactions and reads of single keys, in closed loops.

use client::{CatalogueKind, Client, Condition, Error};
use serde_json::{Value, json};

use super::machine;
use super::report::{self, Figure};
use super::server_cpu::ServerCpu;
use super::{Length, load};
use crate::cli::connect::with_client;
use crate::cli::exit::Failure;
use crate::cli::{Common, output};

/// Arguments of `bench kv`.
#[derive(clap::Args)]
pub struct Arguments {
    #[command(flatten)]
    length: Length,
    /// Bytes of a value
    #[arg(long, default_value = "100", value_parser = crate::cli::size::parse)]
    value_bytes: u64,
    /// An index to use and keep; one of its own is made and dropped without
    #[arg(long)]
    index: Option<String>,
}

/// Runs the verb.
pub async fn run(common: &Common, arguments: Arguments) -> Result<(), Failure> {
    client::check_value("the value", &vec![0; usize::try_from(arguments.value_bytes).unwrap_or(usize::MAX).min(1 << 20)])?;
    let cpu = ServerCpu::of(common);
    let dir = if common.ha.is_empty() { common.dir.clone() } else { std::env::temp_dir() };
    let limits = tokio::task::spawn_blocking(move || machine::measure(&dir)).await;
    let limits = limits.map_err(|e| Failure::other(e.to_string()))??;
    let figures = with_client(common, |client| async move {
        let own = format!("bench-{}", std::process::id());
        let index = arguments.index.clone().unwrap_or_else(|| own.clone());
        client.ensure(CatalogueKind::Index, &index).await?;
        let measured = measure(&client, &arguments, &index, &cpu).await;
        if arguments.index.is_none() {
            match client.remove(CatalogueKind::Index, &own).await {
                Ok(()) | Err(Error::NotFound(_)) => {}
                Err(error) => output::note(format!("the index {own} stays: {error}")),
            }
        }
        measured
    })
    .await?;
    let fdatasyncs = |figure: &Figure| figure.load.percentile(0.5) / limits.fdatasync_ms;
    let ratios: Vec<Value> = figures.iter().map(|f| json!({"what": f.what, "p50_in_fdatasyncs": fdatasyncs(f)})).collect();
    let list: Vec<Value> = figures.iter().map(Figure::json).collect();
    let value = json!({"durable": true, "figures": list, "machine": limits, "ratios": ratios});
    output::value(common.output, &value, || {
        let mut lines = vec![report::table(&figures), report::limits(&limits)];
        lines.extend(figures.iter().map(|figure| format!("{}: p50 is {:.2} of one fdatasync", figure.what, fdatasyncs(figure))));
        lines.join("\n")
    })
}

async fn measure(client: &Client, arguments: &Arguments, index: &str, cpu: &ServerCpu) -> Result<Vec<Figure>, Failure> {
    let length = &arguments.length;
    let bytes = arguments.value_bytes;
    let value = vec![b'v'; bytes as usize];
    let key = |number: u64| format!("key-{number:010}").into_bytes();
    let (putter, to) = (client.clone(), index.to_string());
    let puts = load::run(length, cpu, move |number| {
        let (client, index, value) = (putter.clone(), to.clone(), value.clone());
        async move { client.index_put(&index, &key(number), &value, Condition::Always).await.map(drop).map_err(Failure::from) }
    })
    .await?;
    let written = puts.operations.max(1);
    let (getter, from) = (client.clone(), index.to_string());
    let gets = load::run(length, cpu, move |number| {
        let (client, index) = (getter.clone(), from.clone());
        async move {
            let name = key(number % written);
            let found = client.index_get(&index, &name).await?;
            found.map(drop).ok_or_else(|| Failure::other(format!("{} was put and is not there", String::from_utf8_lossy(&name))))
        }
    })
    .await?;
    let figure = |what: &str, load| Figure { what: what.into(), clients: length.clients, bytes, load };
    Ok(vec![figure("put", puts), figure("get", gets)])
}
