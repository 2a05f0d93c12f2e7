//! Keeps a counter in an index: read, add one, write on the condition that nobody else did meanwhile.
//!
//! Run it on a local cluster: `redoubt dev up`, then `cargo run -p client --example index -- HA_ADDRESS`.

use client::{CatalogueKind, Client, Condition, Error, Options, ScanRequest};

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let addresses: Vec<String> = std::env::args().skip(1).collect();
    let client = Client::connect(&addresses, Options::default()).await?;
    client.ensure(CatalogueKind::Index, "counters").await?;

    let count = loop {
        let (value, condition) = match client.index_get("counters", b"visits").await? {
            Some(entry) => (String::from_utf8(entry.value)?.parse::<u64>()?, Condition::Version(entry.version)),
            None => (0, Condition::Absent),
        };
        let next = value + 1;
        match client.index_put("counters", b"visits", next.to_string().as_bytes(), condition).await {
            Ok(_) => break next,
            // Somebody else was faster: read again.
            Err(Error::Condition { .. }) => {}
            Err(error) => return Err(error.into()),
        }
    };
    println!("visit number {count}");

    let page = client.index_scan("counters", &ScanRequest::default()).await?;
    for entry in page.entries {
        println!("{} = {}", String::from_utf8_lossy(&entry.key), String::from_utf8_lossy(&entry.value));
    }
    client.close().await;
    Ok(())
}
