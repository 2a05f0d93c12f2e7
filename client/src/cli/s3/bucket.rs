//! `redoubt s3 bucket`: whose buckets are, and how much they may hold.

use std::collections::BTreeMap;

use client::Error;
use serde_json::{Value, json};
use types::records::{Bucket, BucketDocument, ROOT};

use super::quota::{self, Bounds};
use crate::cli::connect::{ha, with_client};
use crate::cli::exit::Failure;
use crate::cli::{Common, output};

/// Verbs on buckets.
#[derive(clap::Subcommand)]
pub enum Verb {
    /// Lists the buckets with their owners and quotas
    List,
    /// Shows a bucket, and counts what is in it
    Show {
        /// The bucket
        bucket: String,
    },
    /// Sets how much a bucket may hold
    Quota {
        /// The bucket
        bucket: String,
        #[command(flatten)]
        bounds: Bounds,
    },
}

/// Runs a verb.
pub async fn run(common: &Common, verb: Verb) -> Result<(), Failure> {
    let mut buckets = ha(common)?.buckets().await.map_err(|e| Failure::from(&e))?;
    match verb {
        Verb::List => {
            let listed: Vec<Value> = buckets.iter().map(|(name, bucket)| shown(name, bucket)).collect();
            output::value(common.output, &json!({"buckets": listed}), || table(&buckets))
        }
        Verb::Show { bucket: name } => {
            let bucket = found(&mut buckets, &name)?;
            with_client(common, |client| async move {
                let usage = client.count(&name).await?;
                let mut value = shown(&name, &bucket);
                value["usage"] = json!({"bytes": usage.bytes, "objects": usage.objects});
                let text = || {
                    let row = |name: &str, value: String| vec![name.to_owned(), value];
                    output::table(&[
                        row("bucket", name.clone()),
                        row("owner", owner(&bucket).into()),
                        row("holds", format!("{}, {} objects", output::bytes_words(usage.bytes), usage.objects)),
                        row("quota", quota::words(bucket.quota())),
                    ])
                };
                output::value(common.output, &value, text)
            })
            .await
        }
        Verb::Quota { bucket: name, bounds } => {
            let (bucket, quota) = (found(&mut buckets, &name)?, bounds.quota());
            with_client(common, |client| async move {
                let text = quota.is_set().then(|| quota.to_text());
                client.set_bucket_document(bucket.id, BucketDocument::Quota, text).await?;
                output::value(common.output, &json!({"bucket": name, "quota": quota::shown(quota)}), String::new)
            })
            .await
        }
    }
}

fn found(buckets: &mut BTreeMap<String, Bucket>, name: &str) -> Result<Bucket, Failure> {
    buckets.remove(name).ok_or_else(|| Failure::from(Error::NotFound(format!("bucket `{name}`"))))
}

fn owner(bucket: &Bucket) -> &str {
    if bucket.owner.is_empty() { ROOT } else { &bucket.owner }
}

fn shown(name: &str, bucket: &Bucket) -> Value {
    json!({"bucket": name, "owner": owner(bucket), "created_ms": bucket.created_ms, "quota": quota::shown(bucket.quota())})
}

fn table(buckets: &BTreeMap<String, Bucket>) -> String {
    let row = |(name, bucket): (&String, &Bucket)| vec![name.clone(), owner(bucket).into(), quota::words(bucket.quota())];
    let heading = ["BUCKET", "OWNER", "QUOTA"].map(String::from).to_vec();
    output::table(&std::iter::once(heading).chain(buckets.iter().map(row)).collect::<Vec<_>>())
}
