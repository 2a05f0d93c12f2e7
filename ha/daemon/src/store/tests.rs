//! openraft's own suite on our store, and stores that must not open.

use openraft::StorageError;
use openraft::testing::{StoreBuilder, Suite};

use super::*;
use crate::machine::Machine;
use crate::raft::Types;

const CLUSTER: ClusterId = ClusterId(7);
const NODE: NodeId = NodeId(1);

struct Builder;

impl StoreBuilder<Types, Log, Machine, (tempfile::TempDir, Lock)> for Builder {
    async fn build(&self) -> Result<((tempfile::TempDir, Lock), Log, Machine), StorageError<u64>> {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let store = Store::open(dir.path(), CLUSTER, NODE).expect("a new store");
        let machine = Machine::open(store.snapshots).expect("no snapshot");
        Ok(((dir, store.lock), store.log, machine))
    }
}

#[test]
fn openrafts_own_suite_of_storage_tests_passes() {
    Suite::test_all(Builder).expect("the suite passes");
}

fn error_of(dir: &Path, cluster: ClusterId, node: NodeId) -> String {
    open_after(dir, cluster, node).expect_err("must not open").to_string()
}

/// Opens a store that was just closed: the log's thread gives its hold up a moment after the last user has.
fn open_after(dir: &Path, cluster: ClusterId, node: NodeId) -> Result<Store, StoreError> {
    let began = std::time::Instant::now();
    loop {
        match Store::open(dir, cluster, node) {
            Err(StoreError::InUse(_)) if began.elapsed().as_secs() < 10 => std::thread::yield_now(),
            other => return other,
        }
    }
}

#[test]
fn a_store_counts_its_openings_and_keeps_its_uuid() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let first = Store::open(dir.path(), CLUSTER, NODE).expect("a new store");
    let identity = first.identity;
    drop(first);
    let second = open_after(dir.path(), CLUSTER, NODE).expect("the same store");
    assert_eq!(second.identity, Identity { incarnation: 2, ..identity });
}

#[test]
fn a_store_of_another_cluster_or_node_or_in_use_is_refused() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let open = Store::open(dir.path(), CLUSTER, NODE).expect("a new store");
    let error = Store::open(dir.path(), CLUSTER, NODE).expect_err("in use").to_string();
    assert!(error.contains("another HA daemon uses this store"), "{error}");
    drop(open);
    assert!(error_of(dir.path(), ClusterId(8), NODE).contains("of cluster 00000000000000000000000000000008"));
    assert!(error_of(dir.path(), CLUSTER, NodeId(2)).contains("this is the store of node-1"));
}

#[test]
fn damage_to_any_file_of_the_store_is_seen() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    drop(Store::open(dir.path(), CLUSTER, NODE).expect("a new store"));
    for name in ["identity", "peers", "log/0000000000000001.wal"] {
        let path = dir.path().join(name);
        let good = std::fs::read(&path).expect("it is there");
        let mut bad = good.clone();
        bad[9] ^= 0x40;
        std::fs::write(&path, &bad).expect("it can be written");
        let error = error_of(dir.path(), CLUSTER, NODE);
        assert!(!error.contains("another HA daemon"), "{name}: {error}");
        std::fs::write(&path, &good).expect("it can be written");
    }
    std::fs::remove_file(dir.path().join("log/0000000000000001.wal")).expect("it can be removed");
    assert!(error_of(dir.path(), CLUSTER, NODE).contains("the log is missing"));
}

#[test]
fn a_peer_whose_store_was_wiped_or_rolled_back_is_refused() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let store = Store::open(dir.path(), CLUSTER, NODE).expect("a new store");
    let own = store.identity;
    let peer = Identity { node: NodeId(2), store: 42, incarnation: 5, ..own };
    assert_eq!(store.pins.check(&own, &peer), Ok(()));
    drop(store);
    let pins = open_after(dir.path(), CLUSTER, NODE).expect("the same store").pins;
    assert_eq!(pins.check(&own, &Identity { incarnation: 6, ..peer }), Ok(()));
    assert!(pins.check(&own, &peer).is_err_and(|e| e.contains("rolled back")));
    assert!(pins.check(&own, &Identity { store: 43, ..peer }).is_err_and(|e| e.contains("wiped")));
    assert!(pins.check(&own, &Identity { cluster: ClusterId(8), ..peer }).is_err_and(|e| e.contains("is of cluster")));
}
