//! `redoubt obj rm NAME...`: deletes objects.

use std::ffi::OsString;
use std::os::unix::ffi::OsStrExt;

use client::{Client, Condition, Error, ListRequest};
use futures::{StreamExt, TryStreamExt};
use serde_json::json;

use super::{Bucket, JOBS};
use crate::cli::connect::with_client;
use crate::cli::exit::Failure;
use crate::cli::{Common, output};

/// Arguments of `obj rm`.
#[derive(clap::Args)]
pub struct Arguments {
    /// Names of objects; with --recursive, prefixes
    #[arg(required = true)]
    names: Vec<OsString>,
    /// Delete all objects whose names begin so
    #[arg(short, long)]
    recursive: bool,
    /// Only if the object has this version
    #[arg(long, value_name = "VERSION", conflicts_with = "recursive")]
    if_version: Option<u64>,
    /// An object that is not there is no error
    #[arg(short, long)]
    force: bool,
    #[command(flatten)]
    bucket: Bucket,
}

/// Runs the verb.
pub async fn run(common: &Common, arguments: Arguments) -> Result<(), Failure> {
    let condition = arguments.if_version.map_or(Condition::Always, |version| Condition::Version(types::Seq(version)));
    let Arguments { names, recursive, force, bucket: Bucket { bucket }, .. } = arguments;
    with_client(common, |client| async move {
        let mut deleted = 0;
        for name in &names {
            if recursive {
                deleted += delete_below(&client, &bucket, name.as_bytes()).await?;
                continue;
            }
            match client.delete(&bucket, name.as_bytes(), condition).await {
                Err(Error::NotFound(_)) if force => {}
                other => {
                    other?;
                    deleted += 1;
                }
            }
        }
        output::value(common.output, &json!({"deleted": deleted}), String::new)
    })
    .await
}

async fn delete_below(client: &Client, bucket: &str, prefix: &[u8]) -> Result<u64, Failure> {
    let mut request = ListRequest { prefix: prefix.to_vec(), ..ListRequest::default() };
    let mut deleted = 0;
    loop {
        let page = client.list(bucket, &request).await?;
        let deletes = futures::stream::iter(&page.objects).map(|info| async {
            match client.delete(bucket, &info.name, Condition::Always).await {
                Err(Error::NotFound(_)) => Ok(0),
                other => other.map(|()| 1),
            }
        });
        deleted += deletes.buffer_unordered(JOBS).try_fold(0, |sum, one: u64| async move { Ok(sum + one) }).await?;
        match page.next {
            Some(token) => request.after = Some(token),
            None => return Ok(deleted),
        }
    }
}
