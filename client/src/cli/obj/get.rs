//! `redoubt obj get NAME FILE`: reads an object into a file or standard output, or all objects below a prefix into a directory.
//!
//! A file appears whole or not at all: the bytes go to a file beside it first, which then takes its name.

use std::path::{Path, PathBuf};
use std::time::Instant;

use client::{Client, Error, ListRequest, ObjectInfo, ObjectReader, Range, VersionId};
use futures::StreamExt;
use tokio::io::{AsyncWrite, AsyncWriteExt};

use super::put::jobs;
use super::{Bucket, JOBS, Total, json_of};
use crate::cli::connect::with_client;
use crate::cli::exit::{Exit, Failure};
use crate::cli::name::{Name, below, parser, shown};
use crate::cli::output::Format;
use crate::cli::progress::Progress;
use crate::cli::{Common, Reading, output};

/// Most objects that could not be got whose reasons are said one by one.
const SAID_MAX: u64 = 20;

/// Arguments of `obj get`.
#[derive(clap::Args)]
pub struct Arguments {
    /// The object's name; with --recursive, or where it ends with `/` and no object has that name, what the names begin with
    #[arg(value_parser = parser())]
    name: Name,
    /// A file, a directory, or `-` for standard output
    file: PathBuf,
    /// Which bytes: FIRST-LAST (both included), FIRST- or -COUNT (the last so many)
    #[arg(long, value_name = "RANGE", value_parser = range, allow_hyphen_values = true)]
    range: Option<Range>,
    /// All objects whose names begin so, into a directory
    #[arg(short, long, conflicts_with_all = ["range", "version"])]
    recursive: bool,
    /// This version of it, as `obj ls --versions` names it
    #[arg(long, value_name = "VERSION")]
    version: Option<VersionId>,
    /// How many objects are under way at once
    #[arg(long, default_value_t = JOBS, value_parser = jobs)]
    jobs: usize,
    #[command(flatten)]
    bucket: Bucket,
    #[command(flatten)]
    reading: Reading,
}

fn range(text: &str) -> Result<Range, String> {
    let wrong = || format!("`{text}` is no range: say FIRST-LAST, FIRST- or -COUNT");
    let (first, last) = text.split_once('-').ok_or_else(wrong)?;
    let number = |part: &str| part.parse::<u64>().map_err(|_| wrong());
    match (first.is_empty(), last.is_empty()) {
        (true, true) => Err(wrong()),
        (true, false) => Ok(Range::Last(number(last)?)),
        (false, true) => Ok(Range::From(number(first)?)),
        (false, false) => {
            let (first, last) = (number(first)?, number(last)?);
            if first > last { Err(wrong()) } else { Ok(Range::FromTo(first, last)) }
        }
    }
}

/// Runs the verb.
pub async fn run(common: &Common, arguments: Arguments) -> Result<(), Failure> {
    let common = &common.reading(arguments.reading);
    with_client(common, |client| async move {
        if arguments.recursive {
            return get_tree(common, &client, &arguments).await;
        }
        let began = Instant::now();
        let (bucket, name) = (&arguments.bucket.bucket, arguments.name.as_bytes());
        let mut reader = match client.get_version(bucket, name, arguments.version, arguments.range).await {
            Err(Error::NotFound(_)) if name.ends_with(b"/") && arguments.range.is_none() && arguments.version.is_none() => {
                return get_tree(common, &client, &arguments).await;
            }
            other => other?,
        };
        let bytes = reader.left();
        let progress = Progress::bytes(Some(bytes), &shown(name), common.output);
        let is_stdout = arguments.file.as_os_str() == "-";
        if is_stdout {
            copy(&mut reader, &mut tokio::io::stdout(), &progress, "standard output").await?;
        } else {
            let path = if arguments.file.is_dir() { arguments.file.join(last_part(name)?) } else { arguments.file.clone() };
            to_file(&mut reader, &path, &progress).await?;
        }
        progress.finish();
        let seconds = began.elapsed().as_secs_f64();
        match common.output {
            Format::Text if is_stdout => Ok(()),
            Format::Text => {
                output::note(Total { objects: 1, bytes }.words(seconds));
                Ok(())
            }
            Format::Json => {
                let mut value = json_of(bucket, reader.info(), &*client.map(std::time::Duration::from_secs(60)).await?);
                value["seconds"] = seconds.into();
                value["bytes"] = bytes.into();
                if is_stdout {
                    output::note(value);
                    return Ok(());
                }
                output::line(value)
            }
        }
    })
    .await
}

fn last_part(name: &[u8]) -> Result<PathBuf, Failure> {
    below(Path::new(""), name.rsplit(|&byte| byte == b'/').next().unwrap_or(name)).map_err(|failure| {
        let message = format!("the name `{}` gives no file of that directory a name: say FILE with the file's name", shown(name));
        Failure { message, ..failure }
    })
}

async fn get_tree(common: &Common, client: &Client, arguments: &Arguments) -> Result<(), Failure> {
    let began = Instant::now();
    let (bucket, prefix) = (&arguments.bucket.bucket, arguments.name.as_bytes());
    let progress = Progress::bytes(None, &shown(prefix), common.output);
    let mut request = ListRequest { prefix: prefix.to_vec(), ..ListRequest::default() };
    let (mut total, mut left_out) = (Total::default(), LeftOut::default());
    loop {
        let page = client.list(bucket, &request).await?;
        let gets = futures::stream::iter(&page.objects).map(|info| get_below(client, bucket, prefix, info, &arguments.file, &progress));
        let mut gets = gets.buffer_unordered(arguments.jobs);
        while let Some(got) = gets.next().await {
            match got {
                Ok(bytes) => total = Total { objects: total.objects + 1, bytes: total.bytes + bytes },
                Err(failure) => left_out.add(failure, &progress)?,
            }
        }
        match page.next {
            Some(token) => request.after = Some(token),
            None => break,
        }
    }
    progress.finish();
    if total.objects + left_out.count == 0 {
        return Err(Failure::new(Exit::NotFound, format!("no object's name in bucket `{bucket}` begins with `{}`", shown(prefix))));
    }
    let seconds = began.elapsed().as_secs_f64();
    match common.output {
        Format::Text => output::note(total.words(seconds)),
        Format::Json => {
            let mut value = total.json(seconds);
            value["left_out"] = left_out.count.into();
            output::line(value)?;
        }
    }
    left_out.into_result()
}

/// Objects that could not be got. The others do not wait for them.
#[derive(Default)]
struct LeftOut {
    count: u64,
    exit: Option<Exit>,
}

impl LeftOut {
    /// Notes one and says why, or gives the failure back where it is of the cluster: then the others fail, too.
    fn add(&mut self, failure: Failure, progress: &Progress) -> Result<(), Failure> {
        if failure.exit == Exit::Unavailable {
            return Err(failure);
        }
        self.count += 1;
        if self.count <= SAID_MAX {
            progress.aside(|| output::note(format!("left out: {}", failure.message)));
        }
        self.exit = Some(self.exit.filter(|before| *before != failure.exit).map_or(failure.exit, |_| Exit::Failure));
        Ok(())
    }

    fn into_result(self) -> Result<(), Failure> {
        let objects = if self.count == 1 { "1 object was" } else { &format!("{} objects were", self.count) };
        self.exit.map_or(Ok(()), |exit| Err(Failure::new(exit, format!("{objects} left out, all others are there"))))
    }
}

async fn get_below(
    client: &Client,
    bucket: &str,
    prefix: &[u8],
    info: &ObjectInfo,
    to: &Path,
    progress: &Progress,
) -> Result<u64, Failure> {
    let path = below(to, &info.name[prefix.len()..]).map_err(|_| {
        let message =
            format!("the name `{}` is no path of a file: get that object by itself, into a file that you name", shown(&info.name));
        Failure::usage(message)
    })?;
    if let Some(parent) = path.parent() {
        tokio::fs::create_dir_all(parent).await.map_err(|e| Failure::io(parent.display(), &e))?;
    }
    let mut reader = client.get(bucket, &info.name, None).await?;
    let bytes = reader.left();
    to_file(&mut reader, &path, progress).await?;
    Ok(bytes)
}

/// All or nothing, where the target is a file or is not there; straight into it where it is a device or a pipe.
async fn to_file(reader: &mut ObjectReader, path: &Path, progress: &Progress) -> Result<(), Failure> {
    let failed = |e: std::io::Error| Failure::io(path.display(), &e);
    if std::fs::metadata(path).is_ok_and(|m| !m.is_file()) {
        let mut file = tokio::fs::OpenOptions::new().write(true).open(path).await.map_err(failed)?;
        return copy(reader, &mut file, progress, &path.display().to_string()).await;
    }
    let mut beside = path.as_os_str().to_os_string();
    beside.push(format!(".part-{}", std::process::id()));
    let part = Unfinished(PathBuf::from(beside));
    let mut file = tokio::fs::File::create(&part.0).await.map_err(failed)?;
    file.set_max_buf_size(types::limits::UNIT_BYTES_MAX);
    copy(reader, &mut file, progress, &path.display().to_string()).await?;
    drop(file);
    tokio::fs::rename(&part.0, path).await.map_err(failed)
}

/// A file that goes away unless it got its name.
struct Unfinished(PathBuf);

impl Drop for Unfinished {
    fn drop(&mut self) {
        // After the rename there is nothing left of that name.
        let _ = std::fs::remove_file(&self.0);
    }
}

async fn copy<W: AsyncWrite + Unpin>(reader: &mut ObjectReader, sink: &mut W, progress: &Progress, what: &str) -> Result<(), Failure> {
    let written = |result: std::io::Result<()>| match result {
        // Whoever reads our standard output has seen enough.
        Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => std::process::exit(0),
        other => other.map_err(|e| Failure::io(what, &e)),
    };
    while let Some(bytes) = reader.next().await? {
        written(sink.write_all(&bytes).await)?;
        progress.advance(bytes.len() as u64);
    }
    written(sink.flush().await)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_are_read_as_they_are_written() {
        assert_eq!(range("0-0"), Ok(Range::FromTo(0, 0)));
        assert_eq!(range("7-"), Ok(Range::From(7)));
        assert_eq!(range("-7"), Ok(Range::Last(7)));
        for bad in ["", "-", "7", "9-7", "a-b", "1-2-3"] {
            assert!(range(bad).is_err(), "{bad}");
        }
    }
}
