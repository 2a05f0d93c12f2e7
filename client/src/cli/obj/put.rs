//! `redoubt obj put FILE NAME`: stores a file, a directory with all that is in it, or standard input.

use std::path::{Path, PathBuf};
use std::time::Instant;

use client::{CatalogueKind, Client, Condition, ObjectInfo, PutOptions};
use futures::{StreamExt, TryStreamExt};
use types::object::{ENCRYPTION, PLAIN_BYTES};

use super::{Bucket, JOBS, JOBS_MAX, Total, json_of};
use crate::cli::connect::with_client;
use crate::cli::exit::{Exit, Failure};
use crate::cli::name::{Name, joined, parser, shown};
use crate::cli::output::Format;
use crate::cli::progress::Progress;
use crate::cli::{Common, output};

/// What one read of a file asks for: large reads cost less.
const READ_BYTES: usize = 1024 * 1024;

/// Arguments of `obj put`.
#[derive(clap::Args)]
pub struct Arguments {
    /// A file, a directory, or `-` for standard input
    file: PathBuf,
    /// The object's name; of a directory, what the names of its files begin with
    #[arg(value_parser = parser())]
    name: Name,
    /// Only if there is no such object
    #[arg(long, conflicts_with = "if_version")]
    if_absent: bool,
    /// Only if the object has this version
    #[arg(long, value_name = "VERSION")]
    if_version: Option<u64>,
    /// Into this pool, rather than where the policy says
    #[arg(long)]
    pool: Option<String>,
    /// Words to keep with the object
    #[arg(long = "meta", value_name = "KEY=VALUE")]
    metadata: Vec<String>,
    /// How many files of a directory are under way at once
    #[arg(long, default_value_t = JOBS, value_parser = jobs)]
    jobs: usize,
    #[command(flatten)]
    bucket: Bucket,
}

/// How many at once, within bounds.
pub fn jobs(text: &str) -> Result<usize, String> {
    match text.parse() {
        Ok(count) if (1..=JOBS_MAX).contains(&count) => Ok(count),
        _ => Err(format!("say 1 to {JOBS_MAX}")),
    }
}

impl Arguments {
    fn options(&self) -> Result<PutOptions, Failure> {
        let condition = match self.if_version {
            Some(version) => Condition::Version(types::Seq(version)),
            None if self.if_absent => Condition::Absent,
            None => Condition::Always,
        };
        let word = |text: &String| match text.split_once('=') {
            Some((ENCRYPTION | PLAIN_BYTES, _)) => Err(Failure::usage(format!("`{text}` is said by who encrypts: choose another KEY"))),
            Some((key, value)) if !key.is_empty() => Ok((key.to_string(), value.to_string())),
            _ => Err(Failure::usage(format!("`{text}` is no metadata: say KEY=VALUE"))),
        };
        let user_metadata = self.metadata.iter().map(word).collect::<Result<_, _>>()?;
        Ok(PutOptions { condition, pool: self.pool.clone(), user_metadata, ..PutOptions::default() })
    }
}

/// Runs the verb.
pub async fn run(common: &Common, arguments: Arguments) -> Result<(), Failure> {
    let options = arguments.options()?;
    let is_stdin = arguments.file.as_os_str() == "-";
    let metadata =
        if is_stdin { None } else { Some(std::fs::metadata(&arguments.file).map_err(|e| Failure::io(arguments.file.display(), &e))?) };
    if metadata.as_ref().is_some_and(|m| !m.is_dir()) || is_stdin {
        client_name_is_good(arguments.name.as_bytes())?;
    }
    with_client(common, |client| async move {
        let bucket = &arguments.bucket.bucket;
        // Before anything is read.
        client.catalogue(CatalogueKind::Bucket, bucket).await?;
        match metadata {
            Some(metadata) if metadata.is_dir() => put_tree(common, &client, &arguments, &options).await,
            metadata => {
                let began = Instant::now();
                let length = metadata.filter(std::fs::Metadata::is_file).map(|m| m.len());
                let progress = Progress::bytes(length, &shown(arguments.name.as_bytes()), common.output);
                let name = arguments.name.as_bytes();
                let info = if is_stdin {
                    client.put(bucket, name, progress.reader(tokio::io::stdin()), None, &options).await?
                } else {
                    put_file(&client, bucket, name, &arguments.file, length, &options, &progress).await?
                };
                progress.finish();
                told(common, &client, bucket, &info, began).await
            }
        }
    })
    .await
}

fn client_name_is_good(name: &[u8]) -> Result<(), Failure> {
    client::check_name("the object's name", name).map_err(Failure::from)
}

async fn told(common: &Common, client: &Client, bucket: &str, info: &ObjectInfo, began: Instant) -> Result<(), Failure> {
    let seconds = began.elapsed().as_secs_f64();
    if common.output == Format::Text {
        output::note(Total { objects: 1, bytes: info.size }.words(seconds));
        return Ok(());
    }
    let mut value = json_of(bucket, info, &*client.map(std::time::Duration::from_secs(60)).await?);
    value["seconds"] = seconds.into();
    output::line(value)
}

async fn put_file(
    client: &Client,
    bucket: &str,
    name: &[u8],
    path: &Path,
    length: Option<u64>,
    options: &PutOptions,
    progress: &Progress,
) -> Result<ObjectInfo, Failure> {
    let mut file = tokio::fs::File::open(path).await.map_err(|e| Failure::io(path.display(), &e))?;
    file.set_max_buf_size(READ_BYTES);
    Ok(client.put(bucket, name, progress.reader(file), length, options).await?)
}

async fn put_tree(common: &Common, client: &Client, arguments: &Arguments, options: &PutOptions) -> Result<(), Failure> {
    let began = Instant::now();
    let files = files_below(&arguments.file)?;
    let bytes = files.iter().map(|(_, length)| length).sum();
    let progress = Progress::bytes(Some(bytes), &arguments.file.display().to_string(), common.output);
    let puts = futures::stream::iter(&files).map(|(relative, length)| {
        let name = joined(arguments.name.as_bytes(), relative);
        let (path, bucket, progress) = (arguments.file.join(relative), &arguments.bucket.bucket, &progress);
        async move {
            client_name_is_good(&name)?;
            let put = put_file(client, bucket, &name, &path, Some(*length), options, progress).await;
            put.map(|info| info.size).map_err(|failure| Failure { message: format!("{}: {}", path.display(), failure.message), ..failure })
        }
    });
    let add = |total: Total, bytes: u64| async move { Ok(Total { objects: total.objects + 1, bytes: total.bytes + bytes }) };
    let total = puts.buffer_unordered(arguments.jobs).try_fold(Total::default(), add).await?;
    progress.finish();
    let seconds = began.elapsed().as_secs_f64();
    match common.output {
        Format::Text => output::note(total.words(seconds)),
        Format::Json => output::line(total.json(seconds))?,
    }
    Ok(())
}

/// All regular files below a directory, relative to it, with their lengths; links to files are followed, links to directories are not.
fn files_below(directory: &Path) -> Result<Vec<(PathBuf, u64)>, Failure> {
    let mut files = Vec::new();
    let mut left = vec![PathBuf::new()];
    while let Some(relative) = left.pop() {
        let here = directory.join(&relative);
        let failed = |e: &std::io::Error| Failure::io(here.display(), e);
        for entry in std::fs::read_dir(&here).map_err(|e| failed(&e))? {
            let entry = entry.map_err(|e| failed(&e))?;
            let (kind, path) = (entry.file_type().map_err(|e| failed(&e))?, relative.join(entry.file_name()));
            if kind.is_dir() {
                left.push(path);
                continue;
            }
            match std::fs::metadata(entry.path()) {
                Ok(metadata) if metadata.is_file() => files.push((path, metadata.len())),
                Ok(_) => output::note(format!("{}: not a regular file, left out", entry.path().display())),
                Err(error) if kind.is_symlink() => output::note(format!("{}: {error}, left out", entry.path().display())),
                Err(error) => return Err(Failure::io(entry.path().display(), &error)),
            }
        }
    }
    if files.is_empty() {
        return Err(Failure::new(Exit::Failure, format!("{}: no file is in it, nothing was stored", directory.display())));
    }
    files.sort();
    Ok(files)
}
