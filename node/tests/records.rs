//! Rows through real processes: executed, read, kept through the loss of the primary, a restart, and a stop of everything.

mod support;

use net::{Operation, Request};
use support::{Cluster, put, user_row};
use types::map::ClusterMap;
use types::record::{Outcome, Row};
use types::wire::request::{Execute, Read};
use types::{ViewNumber, codec};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_answered_is_there_after_every_loss_and_restart() {
    let mut cluster = Cluster::start().await;
    let catalogue = cluster.catalogue("rows").await;
    let map = cluster.map().await;
    let group = cluster.group_of(&map, &catalogue);
    let row = user_row(&catalogue, b"key");

    // The same name is the same transaction.
    let (dtx, ops) = (cluster.dtx(), [put(&catalogue, b"key", b"first")]);
    let first = cluster.execute_once(&map, group, dtx, &ops).await.expect("answered");
    assert!(matches!(first, Outcome::Done { .. }));
    assert_eq!(cluster.execute_once(&map, group, dtx, &ops).await, Ok(first));
    assert_eq!(cluster.read(group, &row).await.map(|row| row.value), Some(b"first".to_vec()));
    assert_eq!(cluster.read(group, &user_row(&catalogue, b"none")).await, None);
    strangers_are_told(&cluster, &map, &catalogue).await;

    // The primary dies; another takes over, and has it all.
    let primary = cluster.primary(&map, group).expect("a primary").0;
    cluster.kill_node(primary);
    cluster.execute(group, &[put(&catalogue, b"key", b"second")]).await;
    assert_eq!(cluster.read(group, &row).await.map(|row| row.value), Some(b"second".to_vec()));
    for i in 0..200u32 {
        cluster.execute(group, &[put(&catalogue, &i.to_be_bytes(), &[7; 1000])]).await;
    }

    // It comes back and has what it missed: the others may go.
    cluster.start_node(primary);
    cluster.all_online().await;
    let other = primary % 3 + 1;
    cluster.kill_node(other);
    assert_eq!(cluster.read(group, &row).await.map(|row| row.value), Some(b"second".to_vec()));
    assert!(cluster.read(group, &user_row(&catalogue, &199u32.to_be_bytes())).await.is_some());

    // Everything stops where it stands, and comes back by itself.
    for node in 1..=3 {
        cluster.kill_node(node);
    }
    for node in 1..=3 {
        cluster.start_node(node);
    }
    cluster.all_online().await;
    assert_eq!(cluster.read(group, &row).await.map(|row| row.value), Some(b"second".to_vec()));
    assert!(cluster.read(group, &user_row(&catalogue, &0u32.to_be_bytes())).await.is_some());
    assert_eq!(cluster.stop_node(1).await, Some(0));
}

/// Who has another view of the group, asks another node, or sends nonsense, is told so.
async fn strangers_are_told(cluster: &Cluster, map: &ClusterMap, catalogue: &types::map::Catalogue) {
    let group = cluster.group_of(map, catalogue);
    let primary = cluster.primary(map, group).expect("a primary");
    let view = map.view(group).expect("a replicated group").number;
    let execute = |view| Execute {
        group,
        view,
        dtx: cluster.dtx(),
        ops: vec![put(catalogue, b"key", b"never")],
        parts: Vec::new(),
        cause: Default::default(),
    };
    let ask = async |node, operation, head: Vec<u8>| cluster.ask::<Outcome>(map, node, Request::new(operation, head)).await.map(|_| ());
    let stale = ask(primary, Operation::Execute, codec::encode(&execute(ViewNumber(view.0 - 1)))).await;
    assert!(stale.expect_err("stale").starts_with("WrongView"));
    let ahead = ask(primary, Operation::Execute, codec::encode(&execute(ViewNumber(u64::MAX / 2)))).await;
    assert!(ahead.expect_err("ahead").starts_with("Busy"));
    let other = map.nodes.keys().copied().find(|node| *node != primary).expect("three nodes");
    let elsewhere = ask(other, Operation::Execute, codec::encode(&execute(view))).await;
    assert!(elsewhere.expect_err("elsewhere").starts_with("WrongView"));
    let nothing = Execute { ops: Vec::new(), ..execute(view) };
    assert!(ask(primary, Operation::Execute, codec::encode(&nothing)).await.expect_err("nothing").starts_with("Ops"));
    assert!(ask(primary, Operation::Execute, vec![1, 2, 3]).await.expect_err("garbage").starts_with("Invalid"));
    let read = |count| Read { group, view, rows: vec![user_row(catalogue, b"key"); count] };
    let (all, _) =
        cluster.ask::<Vec<Option<Row>>>(map, primary, Request::new(Operation::Read, codec::encode(&read(100)))).await.expect("read");
    assert!(all.len() == 100 && all.iter().flatten().all(|row| row.value == b"first"), "{all:?}");
    let read = read(2000);
    let many = cluster.ask::<Vec<Option<Row>>>(map, primary, Request::new(Operation::Read, codec::encode(&read))).await;
    assert!(many.expect_err("too many").starts_with("Invalid"));
    assert_eq!(cluster.read(group, &user_row(catalogue, b"key")).await.map(|row| row.value), Some(b"first".to_vec()));
}
