//! A bucket that goes only where it is empty, while others write into it: it stays with what was acknowledged, or goes and nothing was.

use std::time::Duration;

use anyhow::{Result, ensure};
use client::{CatalogueKind, Client, Error, ListRequest, PutOptions};
use cluster_tests::process::{Clients, Cluster, say};

const WRITERS: usize = 3;
/// Rounds, each with a bucket of its own.
const ROUNDS: u64 = 24;
/// How far the removal and the writes are apart, in milliseconds: about as long as either takes.
const SPREAD_MS: u64 = 12;

async fn put_after(client: Client, bucket: String, name: String, pause: Duration) -> Result<(), Error> {
    tokio::time::sleep(pause).await;
    // Every other object has units, and a transaction before that which shows it.
    let bytes = vec![7; if name.ends_with('1') { 100_000 } else { 1000 }];
    Box::pin(client.put(&bucket, name.as_bytes(), &bytes[..], Some(bytes.len() as u64), &PutOptions::default())).await.map(drop)
}

#[test]
fn a_bucket_is_removed_only_where_nothing_was_acknowledged_in_it() -> Result<()> {
    let cluster = Cluster::up(3, &[])?;
    let writers: Vec<Clients> = (0..WRITERS).map(|_| Clients::connect(&cluster, Duration::from_secs(15))).collect::<Result<_>>()?;
    let main = Clients::connect(&cluster, Duration::from_secs(30))?;
    let (mut removed, mut kept) = (0, 0);
    for round in 0..ROUNDS {
        let bucket = format!("round-{round}");
        main.wait(main.client().create(CatalogueKind::Bucket, &bucket, None))?;
        let id = main.wait(main.client().catalogue(CatalogueKind::Bucket, &bucket))?.id;
        let puts = (0..).zip(&writers).map(|(number, writer): (u64, _)| {
            let pause = Duration::from_millis((round * 5 + number * 7) % SPREAD_MS);
            writer.spawn(put_after(writer.client().clone(), bucket.clone(), format!("object-{number}"), pause))
        });
        let puts: Vec<_> = puts.collect();
        std::thread::sleep(Duration::from_millis(round * 7 % SPREAD_MS));
        let is_gone = main.wait(main.client().remove_empty_bucket(&bucket, id))?;
        let mut acknowledged = 0;
        for (writer, put) in writers.iter().zip(puts) {
            match writer.wait(put)? {
                Ok(()) => acknowledged += 1,
                Err(Error::NotFound(_)) => {}
                Err(other) => return Err(other.into()),
            }
        }
        if is_gone {
            removed += 1;
            ensure!(acknowledged == 0, "round {round}: {acknowledged} objects were acknowledged in a bucket that was found empty");
        } else {
            kept += 1;
            let page = main.wait(main.client().list(&bucket, &ListRequest::default()))?;
            ensure!(page.objects.len() == acknowledged && acknowledged == WRITERS, "round {round}: {acknowledged} of {WRITERS}, {page:?}");
        }
    }
    say(format!("{removed} buckets were removed, {kept} stayed"));
    ensure!(removed > 0 && kept > 0, "both came about: {removed} and {kept}");
    Ok(())
}
