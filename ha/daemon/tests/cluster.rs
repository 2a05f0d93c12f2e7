//! Three real daemons in one process, on loopback: agreement, detection, subscriptions, restarts, strangers.

mod support;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use ha_api::{Found, HaError, Notice};
use ha_state::{Command, State};
use types::load::NodeLoad;
use types::map::CatalogueKind;
use types::state::ProcessState;
use types::wire::request::DeviceUsage;
use types::{ClusterId, DeviceId, Epoch, NodeId};

use support::{Cluster, eventually};

const SECOND: Duration = Duration::from_secs(1);

/// What a subscriber makes of the notices, up to an index.
async fn followed(client: &ha_api::HaClient, upto: u64) -> (State, Vec<(u64, Vec<u8>)>) {
    let mut follower = client.follow(0);
    let (mut state, mut entries) = (State::new(), Vec::new());
    while state.index() < upto {
        match follower.next().await.expect("the follower goes on") {
            Notice::Snapshot { state: bytes, .. } => state = State::decode(&bytes).expect("a snapshot of ours"),
            Notice::Entry { index, command } if command.is_empty() => {
                state.pass(index);
                entries.push((index, command));
            }
            Notice::Entry { index, command } => {
                // A refusal is an answer too: only the state counts here.
                drop(state.apply(index, &Command::decode(&command).expect("a command of ours")));
                entries.push((index, command));
            }
        }
    }
    (state, entries)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn three_daemons_elect_agree_and_survive_the_loss_of_each() {
    let mut cluster = Cluster::start(3).await;
    let client = cluster.client();
    let map = client.map(Epoch(1)).await.expect("a map");
    assert_eq!(map.nodes.len(), 3);
    for round in 0..3 {
        let name = format!("node {round}");
        let session = client.open_session().await.expect(&name);
        let leader = cluster.leader().await;
        cluster.kill(leader).await;
        let killed = Instant::now();
        let rest = cluster.client_without(leader);
        rest.renew_session(session.session).await.expect("another daemon leads and knows the session");
        assert!(killed.elapsed() < 2 * SECOND, "{:?}", killed.elapsed());
        cluster.restart(leader).await;
        client.close_session(session.session).await.expect("closed");
    }
    // All of them tell the same story.
    let status = client.status().await.expect("a status");
    let index = status.map.index;
    let (first, _) = followed(&cluster.client_of(0), index).await;
    for i in 1..3 {
        let (other, _) = followed(&cluster.client_of(i), first.index()).await;
        if other.index() == first.index() {
            assert_eq!(other, first);
        }
    }
    cluster.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_daemon_that_hangs_costs_a_client_a_moment() {
    let mut cluster = Cluster::start(3).await;
    // Takes connections, and never says a word.
    let mute = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let mute_address = mute.local_addr().expect("it is bound").to_string();
    let addresses: Vec<String> = std::iter::once(mute_address).chain((0..3).map(|i| cluster.address(i))).collect();
    let connect = |addresses: &[String]| ha_api::HaClient::connect(addresses).expect("good addresses");
    let began = Instant::now();
    let map = connect(&addresses).map(Epoch(1)).await.expect("a map");
    connect(&addresses).open_session().await.expect("a session");
    assert!(began.elapsed() < SECOND, "{:?}", began.elapsed());

    // Without a majority nobody can say that a map is the newest: it is given all the same, as the best there is.
    let leader = cluster.leader().await;
    let left = (leader + 1) % 3;
    cluster.kill(leader).await;
    cluster.kill((leader + 2) % 3).await;
    let client = connect(&[cluster.address(left), addresses[0].clone()]);
    let began = Instant::now();
    assert!(client.map(Epoch(1)).await.expect("a map").index >= map.index);
    assert!(began.elapsed() < 2 * SECOND, "{:?}", began.elapsed());
    cluster.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn everything_is_there_after_all_daemons_were_down() {
    let mut cluster = Cluster::start(3).await;
    let client = cluster.client();
    let session = client.open_session().await.expect("a session").session;
    for i in 0..3 {
        cluster.kill(i).await;
    }
    assert!(matches!(client.open_session().await, Err(HaError::Unavailable(_) | HaError::Unknown(_))));
    for i in 0..3 {
        cluster.restart(i).await;
    }
    client.renew_session(session).await.expect("the session is there");
    cluster.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn followers_get_every_entry_once_across_the_restart_of_their_daemon() {
    let mut cluster = Cluster::start(3).await;
    let client = cluster.client();
    let mut follower = cluster.client().follow(0);
    let Some(Notice::Snapshot { index, .. }) = follower.next().await else { panic!("a snapshot comes first") };
    let mut last = index;
    for round in 0..3 {
        let session = client.open_session().await.expect("a session").session;
        while last < session.0 {
            match follower.next().await.expect("it goes on") {
                Notice::Entry { index, .. } => {
                    assert_eq!(index, last + 1, "in order, none left out");
                    last = index;
                }
                Notice::Snapshot { .. } => panic!("nothing was left out, so no snapshot is needed"),
            }
        }
        cluster.kill(round).await;
        cluster.restart(round).await;
    }
    cluster.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_killed_process_is_seen_at_once_and_a_silent_one_when_its_lease_is_over() {
    let cluster = Cluster::start(3).await;
    let mut child = std::process::Command::new("sleep").arg("60").spawn().expect("sleep runs");
    let (one, two) = (cluster.client_of(0), cluster.client_of(1));
    let found = [(DeviceId(1), Found::Blank)];
    let first = one.register(NodeId(1), child.id(), &found).await.expect("registered");
    let second = two.register(NodeId(2), std::process::id(), &[(DeviceId(2), Found::Blank)]).await.expect("registered");
    for _ in 0..5 {
        let grant = one.renew(NodeId(1), first.boot, child.id(), 0, &NodeLoad::default()).await.expect("a lease");
        assert!(grant.epoch >= first.epoch);
        two.renew(NodeId(2), second.boot, std::process::id(), 0, &NodeLoad::default()).await.expect("a lease");
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    let renewed = Instant::now();
    let mut follower = cluster.client_of(2).follow(cluster.client().map(Epoch(0)).await.expect("a map").index);
    child.kill().expect("it is ours");
    let killed = Instant::now();
    let lost = support::wait_for_loss(&mut follower, first.boot).await;
    assert!(killed.elapsed() < support::BUSY * 100, "seen after {:?}", killed.elapsed());
    assert_eq!(lost, ha_state::LossReason::Ended);
    child.wait().expect("it has ended");
    let lost = support::wait_for_loss(&mut follower, second.boot).await;
    let after = renewed.elapsed();
    assert_eq!(lost, ha_state::LossReason::LeaseExpired);
    assert!(after > support::FACTOR_MS * 1000 - Duration::from_millis(250) && after < support::FACTOR_MS * 1500, "seen after {after:?}");
    assert!(matches!(two.renew(NodeId(2), second.boot, std::process::id(), 0, &NodeLoad::default()).await, Err(HaError::OldBoot(_))));
    // The same process registers again, as a new one.
    let again = two.register(NodeId(2), std::process::id(), &[(DeviceId(2), Found::Blank)]).await.expect("registered");
    assert!(again.boot > second.boot);
    two.report_recovered(again.boot, again.epoch).await.expect("recovered");
    let map = cluster.client_of(0).map(again.epoch).await.expect("a map");
    assert_eq!((map.nodes[&NodeId(2)].state, map.nodes[&NodeId(1)].state), (ProcessState::Online, ProcessState::Transient));
    cluster.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_daemon_that_restarts_beside_a_process_takes_it_up_again() {
    let mut cluster = Cluster::start(3).await;
    let mut child = std::process::Command::new("sleep").arg("60").spawn().expect("sleep runs");
    let client = cluster.client();
    let registered = client.register(NodeId(1), child.id(), &[(DeviceId(1), Found::Blank)]).await.expect("registered");
    cluster.kill(0).await;
    // The renewals go on through the others meanwhile.
    for _ in 0..5 {
        client.renew(NodeId(1), registered.boot, child.id(), 0, &NodeLoad::default()).await.expect("a lease");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    cluster.restart(0).await;
    let local = cluster.client_of(0);
    eventually("the local daemon renews", async || {
        local.renew(NodeId(1), registered.boot, child.id(), 0, &NodeLoad::default()).await.is_ok()
    })
    .await;
    let map = client.map(Epoch(0)).await.expect("a map");
    assert_eq!(map.nodes[&NodeId(1)].boot, registered.boot, "its boot stays");
    assert_ne!(map.nodes[&NodeId(1)].state, ProcessState::Transient);
    let mut follower = cluster.client_of(1).follow(map.index);
    child.kill().expect("it is ours");
    assert_eq!(support::wait_for_loss(&mut follower, registered.boot).await, ha_state::LossReason::Ended);
    child.wait().expect("it has ended");
    cluster.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn catalogues_are_made_once_and_unknown_things_are_said_to_be_unknown() {
    let cluster = Cluster::start(3).await;
    let client = cluster.client();
    // How far the processes say that they have taken the log in; the last one lags at first.
    let confirmed = [(); 3].map(|()| Arc::new(AtomicU64::new(u64::MAX)));
    confirmed[2].store(0, Ordering::Relaxed);
    for i in 0..3u16 {
        let found = [(DeviceId(u32::from(i) + 1), Found::Blank)];
        let registered = cluster.client_of(i.into()).register(NodeId(i + 1), std::process::id(), &found).await.expect("registered");
        client.report_recovered(registered.boot, registered.epoch).await.expect("recovered");
        let (client, confirmed) = (cluster.client_of(i.into()), confirmed[usize::from(i)].clone());
        let usage =
            |device| DeviceUsage { device: DeviceId(device), bytes: 100, free: 60, meta_bytes: 5, units: 4, ..DeviceUsage::default() };
        // Devices of others, and of nobody, are not believed.
        let load = NodeLoad { devices: vec![usage(u32::from(i) + 1), usage(77)], at_ms: 7, ..NodeLoad::default() };
        tokio::spawn(async move {
            loop {
                let confirmed = confirmed.load(Ordering::Relaxed);
                drop(client.renew(NodeId(i + 1), registered.boot, std::process::id(), confirmed, &load).await);
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        });
    }
    eventually("the pool has its groups", async || client.map(Epoch(0)).await.is_ok_and(|m| m.groups.len() == 8)).await;
    let made = client.create_catalogue(CatalogueKind::Index, "people", 0, None).await.expect("made");
    assert!(made.created);
    let again = client.create_catalogue(CatalogueKind::Index, "people", 0, None).await.expect("there");
    assert_eq!((again.id, again.created), (made.id, false));
    let map = client.map(Epoch(0)).await.expect("a map");
    assert!(map.catalogue_named(CatalogueKind::Index, "people").is_some(), "a read after a change sees it");
    let early = tokio::time::timeout(Duration::from_millis(700), client.drop_catalogue(made.id)).await;
    assert!(early.is_err(), "one process may admit writes still: {early:?}");
    let map = client.map(Epoch(0)).await.expect("a map");
    assert!(map.catalogue_named(CatalogueKind::Index, "people").is_none(), "nobody finds it any more");
    // Whichever daemon is asked, the leader or another: it waits for the last process, and answers then.
    let asked: Vec<_> = (0..3).map(|i| cluster.client_of(i)).collect();
    let drops = asked.iter().map(|client| client.drop_catalogue(made.id));
    let confirms = async {
        tokio::time::sleep(Duration::from_millis(300)).await;
        confirmed[2].store(u64::MAX, Ordering::Relaxed);
        Instant::now()
    };
    let (dropped, told) = tokio::join!(futures::future::join_all(drops), confirms);
    assert!(dropped.iter().all(Result::is_ok), "{dropped:?}");
    assert!(told.elapsed() < SECOND, "{:?}", told.elapsed());
    assert!(matches!(client.create_catalogue(CatalogueKind::Index, "", 0, None).await, Err(HaError::Refused(_))));
    assert!(matches!(client.renew_session(types::SessionId(u64::MAX)).await, Err(HaError::NotFound(_))));
    let (events, confirmed) = client.events(0, 100).await.expect("a history");
    assert!(confirmed);
    assert!(events.iter().any(|e| e.subject == "cluster" && e.what == "created"));
    let status = client.status().await.expect("a status");
    assert!(status.confirmed && status.nodes.values().all(|n| n.pid == std::process::id() && n.lease_age_ms.is_some()));
    assert_eq!(status.usage.keys().copied().collect::<Vec<_>>(), [DeviceId(1), DeviceId(2), DeviceId(3)]);
    assert!(status.nodes.values().all(|n| n.load.as_ref().is_some_and(|load| load.at_ms == 7 && load.devices.is_empty())));
    assert_eq!((status.space(&[DeviceId(1), DeviceId(2)]).used, status.dropped), (80, 1));
    let raft = client.raft_status().await.expect("raft");
    assert_eq!(raft.voters.len(), 3);
    cluster.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn strangers_and_garbage_are_refused_and_nothing_ends() {
    use tokio::io::AsyncWriteExt;
    let cluster = Cluster::start(1).await;
    let address = cluster.address(0);
    let options = ha_api::ClientOptions { cluster: Some(ClusterId(99)), ..Default::default() };
    let stranger = ha_api::HaClient::with_options(&[&address], options).expect("an address");
    let error = stranger.map(Epoch(0)).await.expect_err("another cluster");
    assert!(matches!(&error, HaError::Stranger(text) if text.contains("not of the one that was asked for")), "{error}");
    for garbage in [&b"GET / HTTP/1.0\r\n\r\n"[..], &[0xff; 4000], b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\x00\xff\xff\xff\xff\xff\xff\xff\xff"]
    {
        let mut socket = tokio::net::TcpStream::connect(&address).await.expect("the port is open");
        // The daemon may close while we write.
        drop(socket.write_all(garbage).await);
    }
    let mut peer = ha_api::pb::peer_client::PeerClient::connect(format!("http://{address}")).await.expect("the port is open");
    let frame =
        ha_api::pb::PeerFrame { cluster: vec![1; 16], store: vec![2; 16], from: 1, to: 1, body: vec![3; 100], ..Default::default() };
    assert!(peer.call(frame).await.is_err());
    cluster.client().map(Epoch(0)).await.expect("it serves as before");
    let error = cluster.start_in_dir_of(0, ClusterId(99)).await;
    assert!(error.contains("this is the store of node-1 of cluster"), "{error}");
    cluster.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_fourth_daemon_follows_without_a_vote_and_serves_all_the_same() {
    let cluster = Cluster::start(4).await;
    let raft = cluster.client_of(3);
    eventually("the fourth follows", async || raft.raft_status().await.is_ok_and(|s| s.learners == [NodeId(4)] && s.voters.len() == 3))
        .await;
    let session = raft.open_session().await.expect("a session through the fourth").session;
    cluster.client_of(0).renew_session(session).await.expect("the others know it");
    let map = raft.map(Epoch(0)).await.expect("a map");
    assert_eq!(map.nodes.values().filter(|n| n.voter).count(), 3);
    cluster.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_daemon_that_was_away_for_long_takes_a_snapshot() {
    let mut cluster = Cluster::start(3).await;
    let behind = (cluster.leader().await + 1) % 3;
    let mut follower = cluster.client_of(behind).follow(0);
    let before = follower.next().await.expect("a first notice").index();
    cluster.kill(behind).await;
    let client = cluster.client_without(behind);
    let writers: Vec<_> = (0..16)
        .map(|_| {
            let client = client.clone();
            tokio::spawn(async move {
                for _ in 0..80 {
                    client.open_session().await.expect("a session");
                }
            })
        })
        .collect();
    for writer in writers {
        writer.await.expect("it does not panic");
    }
    let others: Vec<usize> = (0..3).filter(|i| *i != behind).collect();
    for i in others {
        cluster.compact(i).await;
        eventually("the log is let go", async || cluster.client_of(i).raft_status().await.is_ok_and(|s| s.purged_index > before)).await;
    }
    cluster.restart(behind).await;
    let session = client.open_session().await.expect("a session").session;
    let late = cluster.client_of(behind);
    eventually("it has caught up", async || late.raft_status().await.is_ok_and(|s| s.applied_index >= session.0)).await;
    // Its subscriber, who was behind too, gets a snapshot and then entries.
    let mut snapshots = 0;
    let mut last = before;
    while last < session.0 {
        match follower.next().await.expect("it goes on") {
            Notice::Snapshot { index, state } => {
                snapshots += 1;
                assert_eq!(State::decode(&state).expect("a snapshot of ours").index(), index);
                last = index;
            }
            Notice::Entry { index, .. } => {
                assert_eq!(index, last + 1);
                last = index;
            }
        }
    }
    assert!(snapshots > 0);
    cluster.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_wiped_daemon_makes_no_second_group_and_is_refused_by_the_others() {
    let mut cluster = Cluster::start(3).await;
    cluster.client().open_session().await.expect("a session");
    // The first voter is the one that makes groups.
    cluster.kill(0).await;
    cluster.wipe(0);
    cluster.restart(0).await;
    cluster.client_without(0).open_session().await.expect("the others go on");
    let error = cluster.client_of(0).open_session().await.expect_err("it takes part in nothing");
    assert!(error.is_retryable(), "{error}");
    // It stays out: what it needs is its old store, or that an operator has its node replaced.
    assert!(cluster.client_of(0).raft_status().await.expect("it answers").voters.is_empty());
    cluster.stop().await;
}
