//! `redoubt obj rm NAME...`: deletes objects.

use client::{Client, Condition, Error, ListRequest, Lock, VersionId};
use futures::{StreamExt, TryStreamExt};
use serde_json::json;

use super::{Bucket, JOBS};
use crate::cli::connect::with_client;
use crate::cli::exit::{Exit, Failure};
use crate::cli::name::{Name, parser, shown};
use crate::cli::output::Format;
use crate::cli::progress::Progress;
use crate::cli::{Common, output};

/// Arguments of `obj rm`.
#[derive(clap::Args)]
#[command(
    after_help = "What was deleted is gone at once; its space comes back when ten minutes have passed, for readers that began before"
)]
pub struct Arguments {
    /// Names of objects; with --recursive, prefixes
    #[arg(required = true, value_parser = parser())]
    names: Vec<Name>,
    /// Delete all objects whose names begin so
    #[arg(short, long)]
    recursive: bool,
    /// Only if the object has this version
    #[arg(long, value_name = "VERSION", conflicts_with_all = ["recursive", "version"])]
    if_version: Option<u64>,
    /// Remove this version for good, as `obj ls --versions` names it
    #[arg(long, value_name = "VERSION", conflicts_with = "recursive")]
    version: Option<VersionId>,
    /// What is not there is no error
    #[arg(short, long)]
    force: bool,
    #[command(flatten)]
    bucket: Bucket,
}

/// Runs the verb.
pub async fn run(common: &Common, arguments: Arguments) -> Result<(), Failure> {
    let condition = arguments.if_version.map_or(Condition::Always, |version| Condition::Version(types::Seq(version)));
    let Arguments { names, recursive, force, version, bucket: Bucket { bucket }, .. } = arguments;
    with_client(common, |client| async move {
        let mut deleted = 0;
        for name in &names {
            if recursive {
                let progress = Progress::count(&shown(name.as_bytes()), common.output);
                let below = delete_below(&client, &bucket, name.as_bytes(), &progress).await;
                progress.finish();
                let below = below?;
                if below == 0 && !force {
                    let what = format!("no object's name in bucket `{bucket}` begins with `{}`", shown(name.as_bytes()));
                    return Err(Failure::new(Exit::NotFound, what));
                }
                deleted += below;
                continue;
            }
            let gone = match version {
                Some(id) => remove_version(&client, &bucket, name.as_bytes(), id).await,
                None => client.delete(&bucket, name.as_bytes(), condition).await.map(drop),
            };
            match gone {
                Err(Error::NotFound(_)) if force => {}
                other => {
                    other?;
                    deleted += 1;
                }
            }
        }
        if common.output == Format::Text && recursive {
            output::note(format!("{deleted} {} deleted", if deleted == 1 { "object" } else { "objects" }));
        }
        output::value(common.output, &json!({"deleted": deleted}), String::new)
    })
    .await
}

/// Removes a version that is not locked.
async fn remove_version(client: &Client, bucket: &str, name: &[u8], id: VersionId) -> Result<(), Error> {
    let found = client.version(bucket, name, Some(id)).await?;
    let lock = found.object.map(|object| Lock::of(&object.user_metadata)).unwrap_or_default();
    if lock.keeps(now_ms(), false) {
        return Err(Error::Refused(format!("that version of object {} is locked", shown(name))));
    }
    client.delete_version(bucket, name, id, Some(found.version)).await.map(drop)
}

fn now_ms() -> u64 {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    since.map_or(0, |since| u64::try_from(since.as_millis()).unwrap_or(u64::MAX))
}

async fn delete_below(client: &Client, bucket: &str, prefix: &[u8], progress: &Progress) -> Result<u64, Failure> {
    let mut request = ListRequest { prefix: prefix.to_vec(), ..ListRequest::default() };
    let mut deleted = 0;
    loop {
        let page = client.list(bucket, &request).await?;
        let deletes = futures::stream::iter(&page.objects).map(|info| async {
            match client.delete(bucket, &info.name, Condition::Always).await {
                Err(Error::NotFound(_)) => Ok(0),
                other => {
                    progress.advance(1);
                    other.map(|_| 1)
                }
            }
        });
        deleted += deletes.buffer_unordered(JOBS).try_fold(0, |sum, one: u64| async move { Ok(sum + one) }).await?;
        match page.next {
            Some(token) => request.after = Some(token),
            None => return Ok(deleted),
        }
    }
}
