//! A node is killed: writes go on within 3 s, reads of what is there have no error at all, and nobody hangs past a deadline.

use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Result, bail};
use client::{CatalogueKind, Condition, Error, PutOptions, ScanRequest};
use cluster_tests::process::{BUCKET, Clients, Cluster, Crew, INDEX, Kind, Ledger, Load, Signal, Verb, Worked, say, send, within};
use futures::future::BoxFuture;

/// How long no write may be answered after a node is killed.
const GAP: Duration = Duration::from_secs(3);
const ONLINE: Duration = Duration::from_secs(30);

fn crews(fixed: &Arc<Ledger>) -> [Crew; 4] {
    let crew = |kind, workers, lengths, fixed| Crew { kind, workers, mix: [1, 0, 0], lengths, pause: Duration::from_millis(5), fixed };
    [
        crew(Kind::Object, 2, &[2_000, 60_000][..], None),
        crew(Kind::Object, 2, &[200_000, 1_500_000][..], None),
        crew(Kind::Key, 4, &[100][..], None),
        crew(Kind::Object, 2, &[][..], Some(fixed.clone())),
    ]
}

/// The longest time that any write took which the kill could delay: no worker waits for longer between two answers.
fn gap(worked: &Worked, killed: Instant) -> Duration {
    let mut longest = Duration::ZERO;
    for (kind, verb) in [(Kind::Object, Verb::Put), (Kind::Key, Verb::Put), (Kind::Object, Verb::Get)] {
        if let Some(step) = worked.longest(kind, verb, killed) {
            say(format!("longest {verb:?} of {kind:?}: {} ms", step.took.as_millis()));
            longest = if verb == Verb::Put { longest.max(step.took) } else { longest };
        }
    }
    longest
}

#[test]
fn writes_go_on_within_three_seconds_whichever_node_is_killed() -> Result<()> {
    let cluster = Cluster::up(3, &[])?;
    let clients = Clients::connect(&cluster, Duration::from_secs(15))?;
    let fixed = Arc::new(clients.fill(Kind::Object, "fixed", &[500, 70_000, 1_000_000, 3_000_000], 16)?);
    let leader = cluster.leader(ONLINE)?;
    let mut nodes = cluster.nodes()?;
    nodes.sort_by_key(|node| *node != leader);
    for node in &nodes {
        let with = if cluster.leader(ONLINE)? == *node { ", HA's leader on it" } else { "" };
        within(&format!("{node} killed{with}: writes go on"), GAP, || {
            let load = Load::begin(&clients, rand::random(), &crews(&fixed));
            std::thread::sleep(Duration::from_millis(800));
            let moment = send(&cluster.pids_of(node)?.both(), Signal::KILL)?;
            std::thread::sleep(GAP + Duration::from_millis(500));
            let worked = load.end(&clients)?;
            cluster.start(node)?;
            cluster.all_online(ONLINE)?;
            if let Some(error) = worked.errors.first() {
                bail!("{} of {} steps failed, such as: {error}", worked.errors.len(), worked.steps.len());
            }
            let ended = |verb| worked.steps.iter().filter(|step| step.verb == verb && step.began > moment.at).count();
            assert!(ended(Verb::Put) > 100 && ended(Verb::Get) > 100, "the load goes on: {} puts after the kill", ended(Verb::Put));
            clients.verify(&worked)?;
            Ok(gap(&worked, moment.at))
        })?;
    }
    Ok(())
}

/// What is called, in how many steps, and the call.
type Call<'a> = (&'static str, u32, BoxFuture<'a, Result<(), Error>>);

#[test]
fn no_client_waits_past_its_deadline_while_most_nodes_hang() -> Result<()> {
    const TIMEOUT: Duration = Duration::from_secs(2);
    /// For what is no wait: starting, encoding, a busy machine.
    const SLACK: Duration = Duration::from_secs(1);
    let cluster = Cluster::up(3, &[])?;
    let clients = Clients::connect(&cluster, TIMEOUT)?;
    let ledger = clients.fill(Kind::Object, "kept", &[1_000, 400_000], 4)?;
    let pids = cluster.pids()?;
    let hung: Vec<u32> = pids.iter().skip(1).flat_map(|(_, pids)| pids.both()).collect();
    send(&hung, Signal::STOP)?;
    let client = clients.client();
    let bytes = vec![7; 400_000];
    let scan = ScanRequest::default();
    let options = PutOptions::default();
    // Each of them has one or two steps, and each step that time.
    let calls: [Call<'_>; 6] = [
        ("put a key", 1, Box::pin(async { client.index_put(INDEX, b"key", b"value", Condition::Always).await.map(drop) })),
        ("put a small object", 1, Box::pin(async { client.put(BUCKET, b"small", &bytes[..100], Some(100), &options).await.map(drop) })),
        ("put an object", 2, Box::pin(async { client.put(BUCKET, b"large", &bytes[..], Some(400_000), &options).await.map(drop) })),
        ("scan an index", 1, Box::pin(async { client.index_scan(INDEX, &scan).await.map(drop) })),
        ("create an index", 1, Box::pin(async { client.create(CatalogueKind::Index, "new", None).await })),
        (
            "read objects",
            4,
            Box::pin(async {
                for name in ledger.names() {
                    client.get(BUCKET, name.as_bytes(), None).await?.bytes().await?;
                }
                Ok(())
            }),
        ),
    ];
    for (what, steps, call) in calls {
        let began = Instant::now();
        let bound = TIMEOUT * steps + SLACK;
        let Ok(ended) = clients.wait(async { tokio::time::timeout(bound, call).await }) else {
            bail!("{what} was not over after {bound:?}, with a deadline of {TIMEOUT:?} for each of {steps} steps");
        };
        let Err(error) = ended else { bail!("{what} succeeded, with two of three nodes hanging") };
        say(format!("{what}: {} ms: {error}", began.elapsed().as_millis()));
        assert!(matches!(error, Error::Unavailable { .. } | Error::OutcomeUnknown { .. }), "{what}: {error:?}");
    }
    send(&hung, Signal::CONT)?;
    cluster.all_online(ONLINE)?;
    clients.verify(&Worked { objects: ledger, ..Worked::default() })
}
