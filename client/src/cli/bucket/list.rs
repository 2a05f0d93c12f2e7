//! `redoubt bucket list`.

use client::CatalogueKind;
use serde_json::{Value, json};

use crate::cli::connect::with_client;
use crate::cli::exit::Failure;
use crate::cli::{Common, output};

/// Runs the verb.
pub async fn run(common: &Common) -> Result<(), Failure> {
    with_client(common, |client| async move {
        let found = client.catalogues(CatalogueKind::Bucket).await?;
        let list: Vec<Value> = found.iter().map(|c| json!({"name": c.name, "id": c.id.0, "width": c.width})).collect();
        let names = || found.iter().map(|c| c.name.as_str()).collect::<Vec<_>>().join("\n");
        output::value(common.output, &json!({"buckets": list}), names)
    })
    .await
}
