//! `redoubt idx del INDEX KEY`.

use client::Condition;
use serde_json::json;

use super::{Place, if_version};
use crate::cli::connect::with_client;
use crate::cli::exit::Failure;
use crate::cli::name::shown;
use crate::cli::{Common, output};

/// Arguments of `idx del`.
#[derive(clap::Args)]
pub struct Arguments {
    #[command(flatten)]
    place: Place,
    /// Only if the key has this version
    #[arg(long, value_name = "VERSION")]
    if_version: Option<u64>,
}

/// Runs the verb.
pub async fn run(common: &Common, arguments: Arguments) -> Result<(), Failure> {
    let condition = if_version(arguments.if_version).unwrap_or(Condition::Always);
    let place = arguments.place;
    with_client(common, |client| async move {
        client.index_delete(&place.index, place.key(), condition).await?;
        output::value(common.output, &json!({"key": shown(place.key()), "deleted": true}), String::new)
    })
    .await
}
