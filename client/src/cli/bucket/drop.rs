//! `redoubt bucket drop BUCKET`: an empty one, unless told to take what is in it along.

use client::CatalogueKind;
use serde_json::json;

use crate::cli::connect::with_client;
use crate::cli::exit::{Exit, Failure};
use crate::cli::{Common, output};

/// Arguments of `bucket drop`.
#[derive(clap::Args)]
pub struct Arguments {
    /// The bucket
    bucket: String,
    /// With all objects in it
    #[arg(short, long)]
    recursive: bool,
}

/// Runs the verb.
pub async fn run(common: &Common, arguments: Arguments) -> Result<(), Failure> {
    let Arguments { bucket, recursive } = arguments;
    with_client(common, |client| async move {
        if recursive {
            client.remove(CatalogueKind::Bucket, &bucket).await?;
        } else {
            let id = client.catalogue(CatalogueKind::Bucket, &bucket).await?.id;
            if !client.remove_empty_bucket(&bucket, id).await? {
                let what = format!("bucket `{bucket}` is not empty: say --recursive to drop it with all its objects");
                return Err(Failure::new(Exit::Condition, what));
            }
        }
        output::value(common.output, &json!({"bucket": bucket, "dropped": true}), String::new)
    })
    .await
}
