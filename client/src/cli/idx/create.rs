//! `redoubt idx create INDEX`.

use client::CatalogueKind;
use serde_json::json;

use crate::cli::connect::with_client;
use crate::cli::exit::Failure;
use crate::cli::{Common, output};

/// Arguments of `idx create`.
#[derive(clap::Args)]
pub struct Arguments {
    /// The index
    index: String,
    /// Over how many groups it is spread, fixed for its life
    #[arg(long)]
    width: Option<u32>,
}

/// Runs the verb.
pub async fn run(common: &Common, arguments: Arguments) -> Result<(), Failure> {
    client::check_catalogue_name("the name of the index", &arguments.index)?;
    with_client(common, |client| async move {
        client.create(CatalogueKind::Index, &arguments.index, arguments.width).await?;
        output::value(common.output, &json!({"index": arguments.index, "created": true}), String::new)
    })
    .await
}
