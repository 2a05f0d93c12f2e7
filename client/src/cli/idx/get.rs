//! `redoubt idx get INDEX KEY`: prints the value as it is; a terminal gets an end of line after it.

use std::io::IsTerminal;

use serde_json::json;

use super::Place;
use crate::cli::connect::with_client;
use crate::cli::exit::{Exit, Failure};
use crate::cli::name::shown;
use crate::cli::output::Format;
use crate::cli::{Common, Reading, output};

/// Arguments of `idx get`.
#[derive(clap::Args)]
pub struct Arguments {
    #[command(flatten)]
    place: Place,
    #[command(flatten)]
    reading: Reading,
}

/// Runs the verb.
pub async fn run(common: &Common, arguments: Arguments) -> Result<(), Failure> {
    let place = arguments.place;
    let common = &common.reading(arguments.reading);
    with_client(common, |client| async move {
        let entry = client.index_get(&place.index, place.key()).await?;
        let missing = || Failure::new(Exit::NotFound, format!("key {} of index {} does not exist", shown(place.key()), place.index));
        let entry = entry.ok_or_else(missing)?;
        if common.output == Format::Json {
            return output::line(json!({"key": shown(&entry.key), "value": shown(&entry.value), "version": entry.version.0}));
        }
        output::raw(&entry.value)?;
        if std::io::stdout().is_terminal() { output::raw(b"\n") } else { Ok(()) }
    })
    .await
}
