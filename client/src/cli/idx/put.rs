//! `redoubt idx put INDEX KEY VALUE`: the value comes from the command line, a file or standard input.

use std::ffi::OsString;
use std::io::Read;
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;

use client::Condition;
use serde_json::json;
use types::limits::VALUE_BYTES_MAX;

use super::{Place, if_version};
use crate::cli::connect::with_client;
use crate::cli::exit::Failure;
use crate::cli::name::shown;
use crate::cli::{Common, output};

/// Arguments of `idx put`.
#[derive(clap::Args)]
pub struct Arguments {
    #[command(flatten)]
    place: Place,
    /// The value
    #[arg(required_unless_present = "file", conflicts_with = "file")]
    value: Option<OsString>,
    /// Take the value from this file; `-` is standard input
    #[arg(short, long)]
    file: Option<PathBuf>,
    /// Only if there is no such key
    #[arg(long, conflicts_with = "if_version")]
    if_absent: bool,
    /// Only if the key has this version
    #[arg(long, value_name = "VERSION")]
    if_version: Option<u64>,
}

impl Arguments {
    fn value(&self) -> Result<Vec<u8>, Failure> {
        let Some(file) = &self.file else { return Ok(self.value.as_ref().map(|v| v.as_bytes().to_vec()).unwrap_or_default()) };
        let mut value = Vec::new();
        // One byte more than allowed is enough to see that it is too long.
        let most = VALUE_BYTES_MAX as u64 + 1;
        let read = if file.as_os_str() == "-" {
            std::io::stdin().take(most).read_to_end(&mut value)
        } else {
            std::fs::File::open(file).and_then(|file| file.take(most).read_to_end(&mut value))
        };
        read.map_err(|e| Failure::io(file.display(), &e))?;
        Ok(value)
    }
}

/// Runs the verb.
pub async fn run(common: &Common, arguments: Arguments) -> Result<(), Failure> {
    let value = arguments.value()?;
    client::check_name("the key", arguments.place.key())?;
    client::check_value("the value", &value)?;
    let absent = if arguments.if_absent { Condition::Absent } else { Condition::Always };
    let condition = if_version(arguments.if_version).unwrap_or(absent);
    with_client(common, |client| async move {
        let version = client.index_put(&arguments.place.index, arguments.place.key(), &value, condition).await?;
        output::value(common.output, &json!({"key": shown(arguments.place.key()), "version": version.0}), String::new)
    })
    .await
}
