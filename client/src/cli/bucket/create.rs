//! `redoubt bucket create BUCKET`.

use client::CatalogueKind;
use serde_json::json;

use crate::cli::connect::with_client;
use crate::cli::exit::Failure;
use crate::cli::{Common, output};

/// Arguments of `bucket create`.
#[derive(clap::Args)]
pub struct Arguments {
    /// The bucket
    bucket: String,
    /// Over how many groups its records are spread, fixed for its life
    #[arg(long)]
    width: Option<u32>,
}

/// Runs the verb.
pub async fn run(common: &Common, arguments: Arguments) -> Result<(), Failure> {
    client::check_catalogue_name("the name of the bucket", &arguments.bucket)?;
    with_client(common, |client| async move {
        client.create(CatalogueKind::Bucket, &arguments.bucket, arguments.width).await?;
        output::value(common.output, &json!({"bucket": arguments.bucket, "created": true}), String::new)
    })
    .await
}
