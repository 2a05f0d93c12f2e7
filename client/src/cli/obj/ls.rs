//! `redoubt obj ls [PREFIX]`: the names of a bucket, in the order of their bytes.

use std::time::Duration;

use client::{ListPage, ListRequest};

use super::{Bucket, json_of};
use crate::cli::connect::with_client;
use crate::cli::exit::Failure;
use crate::cli::name::{Name, parser, shown};
use crate::cli::output::Format;
use crate::cli::time::local;
use crate::cli::{Common, output};

/// Arguments of `obj ls`.
#[derive(clap::Args)]
pub struct Arguments {
    /// Only names that begin so
    #[arg(default_value = "", value_parser = parser())]
    pub(super) prefix: Name,
    /// Roll names up at this character after the prefix, as `/` does for directories
    #[arg(long, value_name = "CHARACTER")]
    pub(super) delimiter: Option<char>,
    /// Only names after this one
    #[arg(long, value_name = "NAME", value_parser = parser())]
    after: Option<Name>,
    /// All versions and delete markers too, of each name from the newest on
    #[arg(long, conflicts_with = "after")]
    versions: bool,
    /// At most so many
    #[arg(long, value_name = "COUNT")]
    pub(super) limit: Option<usize>,
    /// Show size, time and version too
    #[arg(short, long)]
    long: bool,
    #[command(flatten)]
    pub(super) bucket: Bucket,
}

/// Runs the verb.
pub async fn run(common: &Common, arguments: Arguments) -> Result<(), Failure> {
    if arguments.versions {
        return super::ls_versions::run(common, arguments).await;
    }
    let mut request = ListRequest {
        prefix: arguments.prefix.as_bytes().to_vec(),
        after: arguments.after.as_ref().map(|after| after.as_bytes().to_vec()),
        delimiter: arguments.delimiter.map(|delimiter| delimiter.to_string().into_bytes()),
        limit: 0,
    };
    let (bucket, format) = (&arguments.bucket.bucket, common.output);
    let mut left = arguments.limit.unwrap_or(usize::MAX);
    with_client(common, |client| async move {
        let map = client.map(Duration::from_secs(1)).await?;
        let mut before = "{\"entries\":[";
        let mut next = None;
        while left > 0 {
            request.limit = left.min(types::limits::SCAN_KEYS_MAX);
            let page = client.list(bucket, &request).await?;
            left = left.saturating_sub(page.objects.len() + page.prefixes.len());
            for entry in entries(&page) {
                match (format, &entry) {
                    (Format::Json, entry) => {
                        let value = match entry {
                            Entry::Object(info) => json_of(bucket, info, &map),
                            Entry::Prefix(prefix) => serde_json::json!({"prefix": shown(prefix)}),
                        };
                        output::raw(format!("{before}{value}").as_bytes())?;
                        before = ",";
                    }
                    (Format::Text, Entry::Object(info)) if arguments.long => {
                        output::line(format!(
                            "{:>14} {} {:>10}  {}",
                            info.size,
                            local(info.modified_ms),
                            info.version.0,
                            shown(&info.name)
                        ))?;
                    }
                    (Format::Text, Entry::Object(info)) => output::line(shown(&info.name))?,
                    (Format::Text, Entry::Prefix(prefix)) if arguments.long => output::line(format!("{:>55}  {}", "", shown(prefix)))?,
                    (Format::Text, Entry::Prefix(prefix)) => output::line(shown(prefix))?,
                }
            }
            next = page.next;
            match &next {
                Some(token) => request.after = Some(token.clone()),
                None => break,
            }
        }
        if format == Format::Json {
            let next = next.map_or(serde_json::Value::Null, |token| shown(&token).into());
            let begin = if before == "," { "" } else { before };
            output::line(format!("{begin}],\"next\":{next}}}"))?;
        }
        Ok(())
    })
    .await
}

/// One line of a listing.
enum Entry<'a> {
    Object(&'a client::ObjectInfo),
    Prefix(&'a [u8]),
}

/// Objects and rolled-up prefixes in one order.
fn entries(page: &ListPage) -> Vec<Entry<'_>> {
    let mut all: Vec<(&[u8], Entry<'_>)> = page.objects.iter().map(|info| (info.name.as_slice(), Entry::Object(info))).collect();
    all.extend(page.prefixes.iter().map(|prefix| (prefix.as_slice(), Entry::Prefix(prefix))));
    all.sort_by(|a, b| a.0.cmp(b.0));
    all.into_iter().map(|(_, entry)| entry).collect()
}
