//! `redoubt idx scan INDEX`: keys and values, in the order of the keys' bytes.

use client::ScanRequest;
use serde_json::json;

use crate::cli::connect::with_client;
use crate::cli::exit::Failure;
use crate::cli::name::{Name, parser, shown};
use crate::cli::output::Format;
use crate::cli::{Common, output};

/// Arguments of `idx scan`.
#[derive(clap::Args)]
pub struct Arguments {
    /// The index
    index: String,
    /// Only keys that begin so
    #[arg(long, default_value = "", value_parser = parser())]
    prefix: Name,
    /// Only keys at or after this one
    #[arg(long, default_value = "", value_parser = parser())]
    from: Name,
    /// At most so many
    #[arg(long, value_name = "COUNT")]
    limit: Option<usize>,
    /// Leave the values out
    #[arg(long)]
    keys_only: bool,
}

/// Runs the verb.
pub async fn run(common: &Common, arguments: Arguments) -> Result<(), Failure> {
    let mut request = ScanRequest {
        prefix: arguments.prefix.as_bytes().to_vec(),
        from: arguments.from.as_bytes().to_vec(),
        limit: 0,
        keys_only: arguments.keys_only,
    };
    let mut left = arguments.limit.unwrap_or(usize::MAX);
    let is_json = common.output == Format::Json;
    with_client(common, |client| async move {
        let mut before = "{\"entries\":[";
        while left > 0 {
            request.limit = left.min(types::limits::SCAN_KEYS_MAX);
            let page = client.index_scan(&arguments.index, &request).await?;
            left = left.saturating_sub(page.entries.len());
            for entry in &page.entries {
                if is_json {
                    let mut value = json!({"key": shown(&entry.key), "version": entry.version.0});
                    if !arguments.keys_only {
                        value["value"] = shown(&entry.value).into();
                    }
                    output::raw(format!("{before}{value}").as_bytes())?;
                    before = ",";
                } else if arguments.keys_only {
                    output::line(shown(&entry.key))?;
                } else {
                    output::line(format!("{}\t{}", shown(&entry.key), shown(&entry.value)))?;
                }
            }
            match page.next {
                Some(next) => request.from = next,
                None => break,
            }
        }
        // Nothing is printed before the first page is there: an error leaves standard output empty.
        match (is_json, before) {
            (false, _) => Ok(()),
            (true, ",") => output::line("]}"),
            (true, begin) => output::line(format!("{begin}]}}")),
        }
    })
    .await
}
