//! Stores an object and reads it back, whole and in part.
//!
//! Run it on a local cluster: `redoubt dev up`, then `cargo run -p client --example put_get -- HA_ADDRESS`.

use client::{CatalogueKind, Client, Condition, Options, PutOptions, Range};

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let addresses: Vec<String> = std::env::args().skip(1).collect();
    let client = Client::connect(&addresses, Options::default()).await?;
    client.ensure(CatalogueKind::Bucket, "examples").await?;

    // Anything that can be read can be stored; where the length is known, say so.
    let bytes = vec![7u8; 3_000_000];
    let options = PutOptions { user_metadata: vec![("made-by".into(), "put_get".into())], ..PutOptions::default() };
    let stored = client.put("examples", b"sevens", &bytes[..], Some(bytes.len() as u64), &options).await?;
    println!("{} bytes at version {}", stored.size, stored.version.0);

    // Streamed: memory is bounded, whatever the object's size.
    let mut reader = client.get("examples", b"sevens", None).await?;
    let mut length = 0;
    while let Some(run) = reader.next().await? {
        length += run.len();
    }
    assert_eq!(length, bytes.len());

    let part = client.get("examples", b"sevens", Some(Range::FromTo(1_000_000, 1_000_009))).await?.bytes().await?;
    assert_eq!(part, [7; 10]);

    client.delete("examples", b"sevens", Condition::Version(stored.version)).await?;
    client.close().await;
    Ok(())
}
