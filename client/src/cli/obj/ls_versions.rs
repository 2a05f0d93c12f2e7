//! `redoubt obj ls --versions [PREFIX]`: all versions of the names of a bucket, of each from the newest on.

use std::time::Duration;

use client::{VersionInfo, VersionsRequest};
use serde_json::json;
use types::limits::SCAN_KEYS_MAX;

use super::json_of;
use super::ls::Arguments;
use crate::cli::connect::with_client;
use crate::cli::exit::Failure;
use crate::cli::name::shown;
use crate::cli::output::Format;
use crate::cli::time::local;
use crate::cli::{Common, output};

/// Runs the verb.
pub async fn run(common: &Common, arguments: Arguments) -> Result<(), Failure> {
    let mut request = VersionsRequest {
        prefix: arguments.prefix.as_bytes().to_vec(),
        after: None,
        delimiter: arguments.delimiter.map(|delimiter| delimiter.to_string().into_bytes()),
        limit: 0,
    };
    let (bucket, format) = (&arguments.bucket.bucket, common.output);
    let mut left = arguments.limit.unwrap_or(usize::MAX);
    with_client(common, |client| async move {
        let map = client.map(Duration::from_secs(1)).await?;
        let mut before = "{\"entries\":[";
        let mut say = |value: serde_json::Value| {
            let said = output::raw(format!("{before}{value}").as_bytes());
            before = ",";
            said
        };
        while left > 0 {
            request.limit = left.min(SCAN_KEYS_MAX);
            let page = client.versions(bucket, &request).await?;
            left = left.saturating_sub(page.versions.len() + page.prefixes.len());
            for prefix in &page.prefixes {
                match format {
                    Format::Json => say(json!({"prefix": shown(prefix)}))?,
                    Format::Text => output::line(format!("{:>64}  {}", "", shown(prefix)))?,
                }
            }
            for version in &page.versions {
                match format {
                    Format::Json => {
                        let mut value = match &version.object {
                            Some(info) => json_of(bucket, info, &map),
                            None => json!({"bucket": bucket, "name": shown(&version.name), "modified_unix_ms": version.modified_ms}),
                        };
                        value["version_id"] = version.id.to_string().into();
                        value["current"] = version.is_current.into();
                        value["delete_marker"] = version.object.is_none().into();
                        say(value)?;
                    }
                    Format::Text => output::line(line(version))?,
                }
            }
            match page.next {
                Some(token) => request.after = Some(token),
                None => break,
            }
        }
        if format == Format::Json {
            let begin = if before == "," { "" } else { before };
            output::line(format!("{begin}]}}"))?;
        }
        Ok(())
    })
    .await
}

fn line(version: &VersionInfo) -> String {
    let size = version.object.as_ref().map_or("deleted".to_owned(), |info| info.size.to_string());
    let current = if version.is_current { "*" } else { " " };
    format!("{size:>14} {} {:>16} {current} {}", local(version.modified_ms), version.id.to_string(), shown(&version.name))
}
