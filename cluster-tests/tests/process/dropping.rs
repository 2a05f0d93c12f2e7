//! A bucket or an index that is dropped: no write is acknowledged that began after it, its name is free at once, and its space comes back.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use client::{CatalogueKind, Client, Condition, Error, PutOptions};
use cluster_tests::process::{Clients, Cluster, say};

/// How old dead fids get here.
const DEAD_AGE: &[(&str, &str)] = &[("REDOUBT_DEAD_AGE_MS", "1000")];
/// How long it may take until nothing is left.
const EMPTIED: Duration = Duration::from_secs(60);
/// How long writers go on after a drop.
const AFTER: Duration = Duration::from_secs(2);
const WRITERS: u64 = 4;
const NAME: &str = "passing";

/// What became of the writes of one writer.
#[derive(Default)]
struct Written {
    /// When each acknowledged write began.
    acknowledged: Vec<Instant>,
    /// The first refusal.
    refused: Option<(Instant, Error)>,
}

/// Writes with a client of its own, which knows the catalogue from before, until told to stop.
async fn write(client: Client, kind: CatalogueKind, writer: u64, stop: Arc<AtomicBool>) -> Written {
    let mut written = Written::default();
    for number in 0u64.. {
        if stop.load(Ordering::Relaxed) {
            break;
        }
        let (name, began) = (format!("{writer}-{number}"), Instant::now());
        // Every third object has units, the others lie in their record.
        let bytes = vec![7; if number % 3 == 0 { 100_000 } else { 1000 }];
        let done = match kind {
            CatalogueKind::Index => client.index_put(NAME, name.as_bytes(), &bytes[..1000], Condition::Always).await.map(drop),
            CatalogueKind::Bucket => {
                let options = PutOptions::default();
                Box::pin(client.put(NAME, name.as_bytes(), &bytes[..], Some(bytes.len() as u64), &options)).await.map(drop)
            }
        };
        match done {
            Ok(()) => written.acknowledged.push(began),
            Err(error) => {
                written.refused.get_or_insert((began, error));
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        }
    }
    written
}

fn units(cluster: &Cluster) -> Result<u64> {
    let devices = cluster.ha(&["device", "list"])?;
    let of = |device: &serde_json::Value| device["units"].as_u64().with_context(|| format!("its use is known: {device}"));
    devices.as_array().context("a list")?.iter().map(of).sum()
}

/// Drops while others write, with `around` done before and after; everything of it has to go.
fn dropped(cluster: &Cluster, kind: CatalogueKind, before: impl FnOnce() -> Result<()>, after: impl FnOnce() -> Result<()>) -> Result<()> {
    let all: Vec<Clients> = (0..WRITERS).map(|_| Clients::connect(cluster, Duration::from_secs(15))).collect::<Result<_>>()?;
    let main = Clients::connect(cluster, Duration::from_secs(30))?;
    main.wait(main.client().create(kind, NAME, None))?;
    let stop = Arc::new(AtomicBool::new(false));
    let writers: Vec<_> =
        all.iter().zip(0..).map(|(each, number)| each.spawn(write(each.client().clone(), kind, number, stop.clone()))).collect();
    std::thread::sleep(Duration::from_secs(1));
    if kind == CatalogueKind::Bucket {
        cluster.wait_for("there are units", EMPTIED, || Ok(units(cluster)? > 0))?;
    }
    before()?;
    let began = Instant::now();
    main.wait(main.client().remove(kind, NAME))?;
    let over = Instant::now();
    after()?;
    std::thread::sleep(AFTER);
    stop.store(true, Ordering::Relaxed);
    let mut acknowledged = 0;
    for (each, writer) in all.iter().zip(writers) {
        let written = each.wait(writer)?;
        acknowledged += written.acknowledged.len();
        let late = written.acknowledged.iter().filter(|began| **began > over).count();
        assert_eq!(late, 0, "writes that began after the drop had returned were acknowledged");
        let (_, error) = written.refused.context("a writer was refused")?;
        assert!(matches!(error, Error::NotFound(_) | Error::OutcomeUnknown { .. } | Error::Unavailable { .. }), "{error:?}");
    }
    say(format!("dropped in {} ms; {acknowledged} writes before it", (over - began).as_millis()));
    assert!(acknowledged > 20, "{acknowledged} writes");
    // The name is free at once; what was in it is not seen.
    main.wait(main.client().create(kind, NAME, None))?;
    if kind == CatalogueKind::Index {
        assert!(main.wait(main.client().index_scan(NAME, &client::ScanRequest::default()))?.entries.is_empty());
    }
    main.wait(main.client().remove(kind, NAME))?;
    let began = Instant::now();
    cluster.wait_for("all of it is gone", EMPTIED, || Ok(cluster.ha(&["status"])?["catalogues_being_emptied"] == 0))?;
    cluster.wait_for("no unit is left", EMPTIED, || Ok(units(cluster)? == 0))?;
    say(format!("nothing is left {} ms later", began.elapsed().as_millis()));
    Ok(())
}

#[test]
fn nothing_is_acknowledged_after_a_drop_and_its_space_comes_back() -> Result<()> {
    let cluster = Cluster::up_with(3, &[], DEAD_AGE)?;
    for kind in [CatalogueKind::Index, CatalogueKind::Bucket] {
        dropped(&cluster, kind, || Ok(()), || Ok(()))?;
    }
    let gone = cluster.events_after(0)?.iter().filter(|event| event.what == "gone").count();
    assert_eq!(gone, 4);
    Ok(())
}

#[test]
fn a_process_that_hangs_does_not_hold_up_a_drop_and_acknowledges_nothing_when_it_goes_on() -> Result<()> {
    let cluster = Cluster::up_with(3, &[], DEAD_AGE)?;
    let signal = |signal: &str| cluster.ok(&["dev", "kill", "node-3", "--only", "node", "--signal", signal]).map(drop);
    dropped(&cluster, CatalogueKind::Bucket, || signal("STOP"), || signal("CONT"))?;
    cluster.all_online(Duration::from_secs(20))
}
