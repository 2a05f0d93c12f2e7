//! `redoubt idx drop INDEX`.

use client::CatalogueKind;
use serde_json::json;

use crate::cli::connect::with_client;
use crate::cli::exit::Failure;
use crate::cli::{Common, output};

/// Arguments of `idx drop`.
#[derive(clap::Args)]
pub struct Arguments {
    /// The index
    index: String,
}

/// Runs the verb.
pub async fn run(common: &Common, arguments: Arguments) -> Result<(), Failure> {
    with_client(common, |client| async move {
        client.remove(CatalogueKind::Index, &arguments.index).await?;
        output::value(common.output, &json!({"index": arguments.index, "dropped": true}), String::new)
    })
    .await
}
