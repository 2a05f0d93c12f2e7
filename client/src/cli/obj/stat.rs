//! `redoubt obj stat NAME`: what is known of an object, without its bytes.

use std::time::Duration;

use client::VersionId;

use super::{Bucket, json_of};
use crate::cli::connect::with_client;
use crate::cli::exit::Failure;
use crate::cli::name::{Name, parser, shown};
use crate::cli::time::local;
use crate::cli::{Common, Reading, output};

/// Arguments of `obj stat`.
#[derive(clap::Args)]
pub struct Arguments {
    /// The object's name
    #[arg(value_parser = parser())]
    name: Name,
    /// This version of it, as `obj ls --versions` names it
    #[arg(long, value_name = "VERSION")]
    version: Option<VersionId>,
    #[command(flatten)]
    bucket: Bucket,
    #[command(flatten)]
    reading: Reading,
}

/// Runs the verb.
pub async fn run(common: &Common, arguments: Arguments) -> Result<(), Failure> {
    let Arguments { name, version, bucket: Bucket { bucket }, reading } = arguments;
    let common = &common.reading(reading);
    with_client(common, |client| async move {
        let info = client.stat_version(&bucket, name.as_bytes(), version).await?;
        let map = client.map(Duration::from_secs(1)).await?;
        let value = json_of(&bucket, &info, &map);
        output::value(common.output, &value, || {
            let mut lines = vec![
                format!("name      {}", shown(&info.name)),
                format!("bucket    {bucket}"),
                format!("size      {} ({})", info.size, output::bytes_words(info.size)),
                format!("checksum  crc32c {:08x}", info.checksum),
                format!("version   {}", info.version.0),
                format!("modified  {}", local(info.modified_ms)),
            ];
            if info.parts.is_empty() {
                lines.push("content   in the record".into());
            }
            for part in &info.parts {
                let pool = map.pools.get(&part.fid.group.pool).map_or_else(|| part.fid.group.pool.to_string(), |p| p.name.clone());
                lines.push(format!(
                    "part      {} + {} in {} ({}+{} units of {}), fid {}",
                    part.offset, part.length, pool, part.data, part.parity, part.unit_bytes, part.fid
                ));
            }
            lines.extend(info.user_metadata.iter().map(|(key, value)| format!("metadata  {key}={value}")));
            lines.join("\n")
        })
    })
    .await
}
